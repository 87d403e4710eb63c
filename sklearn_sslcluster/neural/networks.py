"""Networks of torch, and their weights as numpy arrays."""

from __future__ import annotations

from collections.abc import Callable
from inspect import isclass
from typing import Any

import numpy as np
import torch
from scipy.linalg import block_diag
from torch import nn

from .settings import NetworkSettings

_MODULES = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}
_KINDS = {module: kind for kind, module in _MODULES.items()}


class Normalize(nn.Module):
    """Rows to unit length."""

    def forward(self, Z: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(Z, dim=1)


class SideBySide(nn.Module):
    """Networks that read the same rows; their outputs stand next to each other."""

    def __init__(self, members: list[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return torch.cat([member(X) for member in self.members], dim=1)


def build_perceptron(n_inputs: int, hidden: list[int], n_outputs: int, settings: NetworkSettings) -> nn.Sequential:
    """Linear layers with activation, normalization and dropout after each but the last."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(n_inputs, width), _MODULES[settings.activation]()]
        if settings.batch_norm:
            layers.append(nn.BatchNorm1d(width))
        if settings.dropout:
            layers.append(nn.Dropout(settings.dropout))
        n_inputs = width
    return nn.Sequential(*layers, nn.Linear(n_inputs, n_outputs))


def build_encoder(encoder: Any, n_rows: int, n_features: int, n_outputs: int) -> nn.Module:
    """Encoder that a parameter ``encoder`` stands for.

    Parameters
    ----------
    encoder : None, "identity", NetworkSettings or a subclass of torch.nn.Module
        A class is called with ``(n_features, n_outputs)``.
    n_rows, n_features, n_outputs : int

    Raises
    ------
    TypeError, ValueError
        If `encoder` is none of these.
    """
    if encoder is None or isinstance(encoder, NetworkSettings):
        settings = encoder or NetworkSettings()
        return build_perceptron(n_features, settings.widths(n_rows, n_features), n_outputs, settings)
    if isclass(encoder) and issubclass(encoder, nn.Module):
        build: Callable[[int, int], nn.Module] = encoder
        return _checked_module(build(n_features, n_outputs), n_features, n_outputs)
    if isinstance(encoder, str):
        if encoder != "identity":
            raise ValueError(f"encoder must be None, 'identity', NetworkSettings or a module class, got {encoder!r}.")
        return nn.Sequential()
    raise TypeError(f"encoder must be None, 'identity', NetworkSettings or a module class, got {encoder!r}.")


def _checked_module(module: nn.Module, n_features: int, n_outputs: int) -> nn.Module:
    """The user's own module, or an error if its embedding has another shape than asked for."""
    training = module.training
    module.eval()
    with torch.no_grad():
        shape = tuple(module(torch.zeros(2, n_features)).shape)
    module.train(training)
    if shape != (2, n_outputs):
        raise ValueError(
            f"encoder={type(module).__name__} maps 2 rows of {n_features} columns to shape {shape}, expected "
            f"{(2, n_outputs)}: it is called with (n_features, embedding_size)."
        )
    return module


def build_decoder(encoder: Any, n_rows: int, n_features: int, n_inputs: int) -> nn.Module:
    """Mirror image of the encoder; of the default one where a user's own module is the encoder."""
    if encoder == "identity":
        return nn.Sequential()
    settings = encoder if isinstance(encoder, NetworkSettings) else NetworkSettings()
    return build_perceptron(n_inputs, settings.widths(n_rows, n_features)[::-1], n_features, settings)


def build_autoencoder(encoder: Any, n_rows: int, n_features: int, n_outputs: int, seed: int) -> nn.ModuleDict:
    """Encoder and decoder with weights drawn by a seed; the generator of torch is left as it was."""
    with torch.random.fork_rng(devices=[]):
        # Of the CPU alone: `torch.manual_seed` would also change the generators of GPUs.
        torch.default_generator.manual_seed(seed)
        n_inputs = n_features if encoder == "identity" else n_outputs
        return nn.ModuleDict(
            {
                "encoder": build_encoder(encoder, n_rows, n_features, n_outputs),
                "decoder": build_decoder(encoder, n_rows, n_features, n_inputs),
            }
        )


def build_projected(encoder: Any, n_rows: int, n_features: int, sizes: tuple[int, int], seed: int) -> nn.ModuleDict:
    """Encoder, decoder, and a projector of one hidden layer; `sizes` are the columns of embedding and projection."""
    n_outputs, n_projected = sizes
    network = build_autoencoder(encoder, n_rows, n_features, n_outputs, seed)
    n_inputs = n_features if encoder == "identity" else n_outputs
    with torch.random.fork_rng(devices=[]):
        # Another seed than that of the autoencoder, which draws the same numbers.
        torch.default_generator.manual_seed(seed + 1)
        network["projector"] = build_perceptron(n_inputs, [2 * n_inputs], n_projected, NetworkSettings())
    return network


def build_head(n_inputs: int, n_outputs: int) -> nn.Linear:
    return nn.Linear(n_inputs, n_outputs)


def export_layers(module: nn.Module) -> list[dict[str, Any]] | None:
    """Layers for ``apply_layers``; None for a module of a kind that numpy does not know."""
    if isinstance(module, nn.Sequential):
        layers: list[dict[str, Any]] = []
        for child in module:
            below = export_layers(child)
            if below is None:
                return None
            layers += below
        return layers
    if isinstance(module, SideBySide):
        exported = [export_layers(member) for member in module.members]
        return None if None in exported else _side_by_side(exported)  # type: ignore[arg-type]
    if isinstance(module, nn.Linear):
        bias = np.zeros(module.out_features) if module.bias is None else _array(module.bias)
        return [{"kind": "linear", "weight": _array(module.weight), "bias": bias}]
    if isinstance(module, nn.BatchNorm1d):
        scale = _array(module.weight) / np.sqrt(_array(module.running_var) + module.eps)
        return [{"kind": "affine", "scale": scale, "shift": _array(module.bias) - scale * _array(module.running_mean)}]
    if isinstance(module, nn.Dropout | nn.Identity):
        return []
    if isinstance(module, Normalize):
        return [{"kind": "normalize"}]
    kind = _KINDS.get(type(module))
    return None if kind is None else [{"kind": kind}]


def _side_by_side(networks: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Layers of one network that computes what networks of the same shape do, each in columns of its own."""
    layers: list[dict[str, Any]] = []
    for stage, same in enumerate(zip(*networks, strict=True)):
        merged = {name: np.concatenate([layer[name] for layer in same]) for name in same[0] if name != "kind"}
        if same[0]["kind"] == "linear" and stage:
            merged["weight"] = block_diag(*(layer["weight"] for layer in same))
        layers.append({"kind": same[0]["kind"], **merged})
    return layers


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().astype(np.float64)
