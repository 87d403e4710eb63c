"""What the training loop is told, and what it leaves behind."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from .incremental import RunningState
from .networks import export_layers
from .samplers import RandomBatches
from .settings import OptimizerSettings


@dataclass(frozen=True)
class Phase:
    """One objective, lowered for some epochs.

    Attributes
    ----------
    name : str
    objective : Objective
    max_epochs : int
    refresh_every : int or None
        Epochs between two calls of ``refresh``; None for never.
    tol : float or None
        Stop when ``refresh`` changes the cluster of no larger share of the rows; None for never.
    patience : int or None
        Stop when the monitored loss (held out, or of training without such rows) has not improved for so many epochs.
    restore_best : bool
        End with the weights of the epoch with the lowest monitored loss.
    smallest_share : float
        Stop, as collapsed, when the smallest cluster of ``refresh`` holds less than this share of the rows that the
        smallest one held at the first look of the phase. A cluster that is small from the start is no collapse.
    lr : float, tuple of float or None
        Learning rate of this phase; None for that of the optimizer. A tuple for an objective with ``steps``: one for
        each of its losses, every one of which has an optimizer of its own.
    batch_size : int or None
        None for that of the settings.
    hold_out : bool
        Whether the held-out rows monitor this phase; else it trains on all rows.
    sampler : RandomBatches or another batch sampler
        Which rows a training step sees together.
    """

    name: str
    objective: Any
    max_epochs: int
    refresh_every: int | None = None
    tol: float | None = 0.0
    patience: int | None = None
    restore_best: bool = False
    smallest_share: float = 0.0
    lr: float | tuple[float, ...] | None = None
    batch_size: int | None = None
    hold_out: bool = True
    sampler: Any = field(default_factory=RandomBatches)


@dataclass(frozen=True)
class TrainingSettings:
    """How all phases are run.

    Attributes
    ----------
    optimizer : OptimizerSettings
    batch_size : int
    seed : int
    device : str
        Of torch.
    validation_share : float
        Share of the rows held out to monitor the loss.
    checkpoint : str or None
        File that keeps the state after every epoch.
    fingerprint : str
        Of data and parameters: a checkpoint of another fit is refused.
    """

    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    batch_size: int = 256
    seed: int = 0
    device: str = "cpu"
    validation_share: float = 0.0
    checkpoint: str | None = None
    fingerprint: str = ""


@dataclass
class Trained:
    """What training leaves behind.

    Attributes
    ----------
    network : torch.nn.ModuleDict
    history : dict of str to list of dict
        For every phase one entry an epoch: "epoch", "train_loss", where rows are held out "valid_loss", and after
        ``refresh`` "changed" and "smallest_share".
    starts : dict of str to dict
        Weights of the network at the start of every phase.
    collapsed : dict of str to bool
        Whether a phase was stopped because a cluster all but vanished.
    end : RunningState or None
        What a training that went on from such a state has left for the next.
    """

    network: nn.ModuleDict
    history: dict[str, list[dict[str, float]]]
    starts: dict[str, dict[str, torch.Tensor]]
    collapsed: dict[str, bool]
    end: RunningState | None = None

    def layers(self, part: str, phase: str | None = None) -> list[dict[str, Any]] | None:
        """A part of the network for numpy, at the end or as it was at the start of a phase."""
        module = copy.deepcopy(self.network[part])
        module.load_state_dict(self.state(part, phase))
        return export_layers(module)

    def state(self, part: str, phase: str | None = None) -> dict[str, torch.Tensor]:
        """Weights of a part of the network, on the CPU."""
        if phase is None:
            return {name: tensor.detach().cpu() for name, tensor in self.network[part].state_dict().items()}
        prefix = part + "."
        state = self.starts[phase]
        return {name[len(prefix) :]: tensor.cpu() for name, tensor in state.items() if name.startswith(prefix)}
