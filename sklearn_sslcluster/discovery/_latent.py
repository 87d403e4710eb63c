"""What the two estimators with a network share: parameters, the size of the embedding, distances for rejection."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import clone
from sklearn.utils._param_validation import Interval

from .. import neural
from ..neural import NetworkSettings, NeuralMixin, OptimizerSettings
from ..numerics import distances_to, quantiles_by_class
from ._base import BaseCenterDiscovery

_NARROWEST_EMBEDDING = 5
_NO_PARAMETERS = ("max_iter", "max_pretrain_epochs", "tol")


def adamw() -> OptimizerSettings:
    """The optimizer of the papers."""
    return OptimizerSettings("adamw", weight_decay=0.01, max_grad_norm=None)


class BaseLatentDiscovery(NeuralMixin, BaseCenterDiscovery):
    """Base of estimators whose rows are represented by a network.

    Far rows are known by their distance to the mean of a class, measured in the columns the network reads, because an
    embedding of unit length puts rows that lie far away anywhere.
    """

    _parameter_constraints: dict = {
        **{
            name: rule
            for name, rule in BaseCenterDiscovery._parameter_constraints.items()
            if name not in _NO_PARAMETERS
        },
        **{name: rule for name, rule in NeuralMixin._neural_constraints.items() if name not in _NO_PARAMETERS},
        "embedding_size": [
            Interval(Integral, 1, None, closed="left"),
            Interval(Real, 0, 1, closed="right"),
            None,
        ],
        "encoder": [NetworkSettings, type, None],
    }
    _nested: ClassVar[dict[str, Callable[[], Any]]] = {"encoder": NetworkSettings, "optimizer": adamw}
    _accept_sparse = False

    def transform(self, X: Any) -> np.ndarray:
        """Embedding of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        embedding : ndarray of shape (n_samples, embedding_size_)
            Outputs of the encoder.
        """
        return self._represent(self._check_fitted_rows(X))

    def _default_hidden(self, n_features: int) -> list[int]:
        """Widths that ``hidden="auto"`` stands for."""
        raise NotImplementedError

    def _encoder_settings(self, n_features: int) -> Any:
        """The encoder, its hidden layers settled."""
        encoder = self._nested["encoder"]() if self.encoder is None else self.encoder
        if isinstance(encoder, NetworkSettings) and isinstance(encoder.hidden, str) and encoder.hidden == "auto":
            return clone(encoder).set_params(hidden=self._default_hidden(n_features))
        return encoder

    def _n_outputs(self, n_features: int) -> int:
        size = self.embedding_size
        if isinstance(size, Integral):
            return int(size)
        return max(_NARROWEST_EMBEDDING, round(size * n_features))

    def _network_rows(self, X: np.ndarray) -> np.ndarray:
        """Rows as the network reads them."""
        return neural.standardize(X, self.mean_, self.scale_)

    def _class_distances(self, X: np.ndarray, Z: np.ndarray, codes: np.ndarray) -> np.ndarray:
        return distances_to(self._network_rows(X), self.class_means_[codes])

    @staticmethod
    def _far_rows(S: np.ndarray, codes: np.ndarray, n_classes: int) -> dict[str, np.ndarray]:
        """The fitted attributes ``class_means_`` and ``distance_quantiles_``; a class without rows has the mean of all.

        Parameters
        ----------
        S : ndarray of shape (n_rows, n_inputs)
            Rows as the network reads them.
        codes : ndarray of shape (n_rows,)
        n_classes : int
        """
        means = np.tile(S.mean(axis=0), (n_classes, 1))
        for code in np.unique(codes):
            means[code] = S[codes == code].mean(axis=0)
        distances = distances_to(S, means[codes])
        quantiles = quantiles_by_class(distances, codes, np.ones(len(codes)), n_classes)
        return {"class_means_": means, "distance_quantiles_": quantiles}
