"""What a user may say about a network and its optimizer; searchable as ``encoder__hidden`` and ``optimizer__lr``."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
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

    See Also
    --------
    OptimizerSettings : How its weights are updated.

    Examples
    --------
    >>> from sklearn_sslcluster.deep import DeepEmbeddedClustering, NetworkSettings
    >>> NetworkSettings().widths(n_rows=1000, n_features=20)
    [64, 256, 128]
    >>> model = DeepEmbeddedClustering(encoder=NetworkSettings((32, 16), batch_norm=True))
    >>> model.set_params(encoder__dropout=0.1).encoder.dropout
    0.1
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

        Parameters
        ----------
        n_rows : int
            Rows to train on.
        n_features : int
            Columns that the network reads.

        Returns
        -------
        widths : list of int
            Those of the encoder; a decoder has them in reverse.

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
        if isinstance(self.hidden, Integral) or not isinstance(self.hidden, Iterable):
            raise TypeError(f"encoder__hidden must be 'auto' or a sequence of widths, got {self.hidden!r}.")
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

    See Also
    --------
    NetworkSettings : The shape of the network.

    Examples
    --------
    >>> from sklearn_sslcluster.deep import DeepKMeans, OptimizerSettings
    >>> model = DeepKMeans(optimizer=OptimizerSettings("adamw", schedule="cosine"))
    >>> model.set_params(optimizer__lr=3e-4).optimizer.lr
    0.0003
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
        """The same, or an error that names the setting that is out of its range.

        Returns
        -------
        self : OptimizerSettings
            These settings.

        Raises
        ------
        ValueError
            If a setting is out of its range.
        """
        if self.name not in ("adam", "adamw", "sgd"):
            raise ValueError(f"optimizer__name must be 'adam', 'adamw' or 'sgd', got {self.name!r}.")
        for name in ("lr", "weight_decay", "momentum"):
            value = getattr(self, name)
            least = "positive" if name == "lr" else "non-negative"
            if not isinstance(value, Real) or not 0 <= float(value) < inf or (name == "lr" and float(value) == 0):
                raise ValueError(f"optimizer__{name} must be a finite {least} number, got {value!r}.")
        norm = self.max_grad_norm
        if norm is not None and (not isinstance(norm, Real) or not float(norm) > 0):
            raise ValueError(f"optimizer__max_grad_norm must be a positive number or None, got {norm!r}.")
        if self.schedule not in (None, "cosine"):
            raise ValueError(f"optimizer__schedule must be None or 'cosine', got {self.schedule!r}.")
        return self
