"""What is lowered while training: the contract, and reconstruction, which most methods begin with."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn


class Batch(NamedTuple):
    """Rows of one training step.

    Attributes
    ----------
    rows : Tensor of shape (n_batch, n_features)
        Standardized.
    index : Tensor of shape (n_batch,) or None
        Their numbers in the training table; None where that is a sample, and rows are read as they are needed.
    codes : Tensor of shape (n_batch,)
        Codes of known classes, -1 for unlabeled rows.
    counted : float, default=1.0
        What a row counts in sums over all processes that train together.
    """

    rows: torch.Tensor
    index: torch.Tensor
    codes: torch.Tensor
    counted: float = 1.0


class Objective(nn.Module):
    """Base of objectives: modules, so that centers and the like are learned with the network.

    `requires` names the parts of the network that ``loss`` uses, "encoder" or "decoder" for example. ``start`` is
    called once before the first epoch of its phase, with the embedding of all rows; ``refresh`` before every epoch
    whose number is a multiple of the phase's ``refresh_every``, and what it returns are the clusters by which the share
    of changed labels is measured. State that ``loss`` needs from ``refresh`` is kept in registered buffers; state that
    a later phase needs, in the network: a training that is resumed skips the phases that are over.

    An objective of several losses that take turns may offer ``steps(batch, network)``, a generator with one loss (or
    None, for none in this batch) for each learning rate of its phase. The optimizer of a loss steps before the next
    loss is asked for; ``loss`` then only serves to monitor held-out rows.

    `given` is data of its own beside rows, codes and the parameters of the estimator: a checkpoint of a fit with other
    such data is refused.
    """

    requires: tuple[str, ...] = ("encoder",)
    given: Any = None

    def start(self, embedding: torch.Tensor) -> None:
        """Set up from the embedding of all rows (n_rows, n_outputs)."""

    def loss(self, batch: Batch, network: nn.ModuleDict) -> torch.Tensor:
        """Mean loss of a batch."""
        raise NotImplementedError

    def refresh(self, embedding: torch.Tensor) -> torch.Tensor | None:
        """Update targets from the embedding of all rows; codes of the clusters, or None."""
        return None

    def running(self) -> dict[str, torch.Tensor]:
        """What a training on further rows needs of this one, beside the network."""
        return {}

    def go_on(self, embedding: torch.Tensor, running: dict[str, torch.Tensor]) -> None:
        """After ``start``: go on from what ``running`` gave at the end of a training on other rows."""


class Reconstruction(Objective):
    """Mean squared error of the decoded embedding.

    Parameters
    ----------
    noise : float, default=0.0
        Standard deviation of noise added to the rows first (a denoising autoencoder), in units of a column's own.
    """

    requires = ("encoder", "decoder")

    def __init__(self, noise: float = 0.0) -> None:
        super().__init__()
        self.noise = noise

    def loss(self, batch: Batch, network: nn.ModuleDict) -> torch.Tensor:
        rows = batch.rows
        if self.noise and self.training:
            rows = rows + self.noise * torch.randn_like(rows)
        return nn.functional.mse_loss(network["decoder"](network["encoder"](rows)), batch.rows)


def check_objective(objective: object, network: nn.ModuleDict) -> None:
    """Refuse an objective that does not keep the contract.

    Raises
    ------
    TypeError
        If a method is missing.
    ValueError
        If the network lacks a part that the objective requires.
    """
    for method in ("start", "loss", "refresh"):
        if not callable(getattr(objective, method, None)):
            raise TypeError(f"{type(objective).__name__} is no objective: it has no method {method!r}.")
    if not isinstance(objective, nn.Module):
        raise TypeError(f"{type(objective).__name__} is no objective: it is no torch.nn.Module.")
    missing = [part for part in getattr(objective, "requires", ()) if part not in network]
    if missing:
        raise ValueError(f"{type(objective).__name__} requires a {missing[0]!r}, which the network does not have.")
