"""Networks of novel class discovery, with weights drawn by a seed; the generator of torch is left as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from .networks import SideBySide, build_encoder, build_head, build_perceptron
from .settings import NetworkSettings


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def build_projection(
    encoder: Any,
    decoder: NetworkSettings,
    shape: tuple[int, int],
    n_outputs: int,
    n_known: int,
    seed: int,
    n_networks: int = 1,
) -> nn.ModuleDict:
    """Encoder, decoder, and a head for the known classes; or several of them, whose encoders stand side by side.

    Parameters
    ----------
    encoder : NetworkSettings or a subclass of torch.nn.Module
    decoder : NetworkSettings
        The decoder has its hidden layers in reverse.
    shape : (int, int)
        Rows and columns of the table.
    n_outputs, n_known : int
    seed : int
    n_networks : int, default=1
    """
    n_rows, n_features = shape
    widths = decoder.widths(n_rows, n_features)[::-1]
    with _seeded(seed):
        members = [
            {
                "encoder": build_encoder(encoder, n_rows, n_features, n_outputs),
                "decoder": build_perceptron(n_outputs, widths, n_features, decoder),
                "head": build_head(n_outputs, max(n_known, 1)),
            }
            for _ in range(n_networks)
        ]
    if n_networks == 1:
        return nn.ModuleDict(members[0])
    parts: dict[str, nn.Module] = {
        name: nn.ModuleList([member[name] for member in members]) for name in ("decoder", "head")
    }
    return nn.ModuleDict({"encoder": SideBySide([member["encoder"] for member in members]), **parts})


def build_tabular(
    encoder: Any, shape: tuple[int, int, int], n_outputs: int, n_known: int, n_novel: int, seed: int
) -> nn.ModuleDict:
    """Encoder, two heads, and the two estimators of VIME.

    Parameters
    ----------
    encoder : NetworkSettings or a subclass of torch.nn.Module
    shape : (int, int, int)
        Rows, columns after encoding, columns of the table.
    n_outputs, n_known, n_novel : int
    seed : int
    """
    n_rows, n_encoded, n_columns = shape
    with _seeded(seed):
        return nn.ModuleDict(
            {
                "encoder": build_encoder(encoder, n_rows, n_encoded, n_outputs),
                "mask_estimator": build_head(n_outputs, n_columns),
                "row_estimator": build_head(n_outputs, n_encoded),
                "class_head": build_head(n_outputs, max(n_known + (n_novel > 0), 1)),
                "cluster_head": build_head(n_outputs, max(n_novel, 1)),
            }
        )
