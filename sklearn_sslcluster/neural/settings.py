"""What a user may say about a network and its optimizer; searchable as ``encoder__hidden`` and ``optimizer__lr``."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

from sklearn.base import BaseEstimator

ACTIVATIONS = ("relu", "leaky_relu", "gelu", "tanh", "sigmoid")
# Rows below which the smaller network is taken.
_SMALL = 20_000


class NetworkSettings(BaseEstimator):
    """Shape of a perceptron.

    Parameters
    ----------
    hidden : "auto" or sequence of int, default="auto"
        Widths of the hidden layers. ``"auto"``: three layers, 64-256-128 for small tables of few columns, wider for
        large ones.
    activation : {"relu", "leaky_relu", "gelu", "tanh", "sigmoid"}, default="relu"
        After each hidden layer.
    batch_norm : bool, default=False
        Normalize over the batch after each activation.
    dropout : float in [0, 1), default=0.0
        Share of units dropped after each hidden layer while training.
    """

    def __init__(
        self,
        hidden: Any = "auto",
        *,
        activation: str = "relu",
        batch_norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        self.hidden = hidden
        self.activation = activation
        self.batch_norm = batch_norm
        self.dropout = dropout

    def widths(self, n_rows: int, n_features: int) -> list[int]:
        """Widths of the hidden layers for a table of this size.

        Raises
        ------
        ValueError, TypeError
            If a setting is out of its range.
        """
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"encoder__activation must be one of {', '.join(ACTIVATIONS)}, got {self.activation!r}.")
        if not isinstance(self.dropout, Real) or not 0 <= self.dropout < 1:
            raise ValueError(f"encoder__dropout must be in [0, 1), got {self.dropout!r}.")
        if isinstance(self.hidden, str):
            if self.hidden != "auto":
                raise ValueError(f"encoder__hidden must be 'auto' or widths, got {self.hidden!r}.")
            base = 64 if n_rows < _SMALL else 128
            return [max(base, min(n_features, 512)), 4 * base, 2 * base]
        widths = list(self.hidden)
        for width in widths:
            if not isinstance(width, Integral) or width < 1:
                raise ValueError(f"encoder__hidden must hold positive integers, got {self.hidden!r}.")
        return [int(width) for width in widths]


class OptimizerSettings(BaseEstimator):
    """How weights are updated.

    Parameters
    ----------
    name : {"adam", "adamw", "sgd"}, default="adam"
        Rule of the updates.
    lr : float, default=1e-3
        Learning rate.
    weight_decay : float, default=0.0
        Decay of the weights.
    momentum : float, default=0.9
        Of "sgd".
    schedule : {"cosine"} or None, default=None
        Lower the learning rate to 0 over the epochs of a phase.
    max_grad_norm : float or None, default=5.0
        Longer gradients are cut to this norm.
    """

    def __init__(
        self,
        name: str = "adam",
        *,
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        momentum: float = 0.9,
        schedule: str | None = None,
        max_grad_norm: float | None = 5.0,
    ) -> None:
        self.name = name
        self.lr = lr
        self.weight_decay = weight_decay
        self.momentum = momentum
        self.schedule = schedule
        self.max_grad_norm = max_grad_norm

    def checked(self) -> OptimizerSettings:
        """The same, or an error that names the setting that is out of its range."""
        if self.name not in ("adam", "adamw", "sgd"):
            raise ValueError(f"optimizer__name must be 'adam', 'adamw' or 'sgd', got {self.name!r}.")
        for name in ("lr", "weight_decay", "momentum"):
            value = getattr(self, name)
            if not isinstance(value, Real) or float(value) < 0 or (name == "lr" and not float(value) > 0):
                raise ValueError(f"optimizer__{name} must be a non-negative number, lr a positive one, got {value!r}.")
        if self.schedule not in (None, "cosine"):
            raise ValueError(f"optimizer__schedule must be None or 'cosine', got {self.schedule!r}.")
        return self
