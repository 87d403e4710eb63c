"""What the mixtures of this room share: methods that follow from weights, means and covariances."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ..base import PartialLabelMixin, lazily, order_by_size
from ..engine import DaskBlocks, RowBlocks, blocks_of
from ..labels import UNLABELED, PartialLabels, decode, warn_user
from ..numerics import (
    COVARIANCE_TYPES,
    CenterProblem,
    Evaluation,
    Gaussians,
    Mixture,
    evaluation_of,
    labeled_rows,
    largest_square,
    log_joint_densities,
    n_parameters,
    own_distances,
    quantiles_by_class,
    size_statistics_of_codes,
)


class BaseGaussianMixture(PartialLabelMixin, BaseEstimator):
    """Base of mixtures whose components are classes.

    A subclass fits ``weights_``, ``means_``, ``covariances_`` and ``precisions_cholesky_`` through
    ``_mixture_attributes``.
    """

    _accepts_dask = True
    _count_parameter: ClassVar[str] = "n_components"
    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "covariance_type": [StrOptions(set(COVARIANCE_TYPES))],
        "class_weights": [StrOptions({"unlabeled", "all", "uniform"})],
        "labeled_weight": [Interval(Real, 0, None, closed="neither")],
        "reg_covar": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "k_max": [Interval(Integral, 1, None, closed="left"), None],
        "dtype": [StrOptions({"auto", "float64"})],
        "block_size": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "device": [str, None],
        "unlabeled_value": [Integral, str, "boolean", None],
        "random_state": ["random_state"],
    }

    @lazily
    def predict(self, X: Any, *, reject: float | None = None) -> np.ndarray:
        """Name the most likely class of each row, known or novel.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; of a Dask array or DataFrame the answer is a lazy Dask array.
        reject : float in (0, 1], default=None
            Leave a row unassigned (-1, or None where names are not integers) when its Mahalanobis distance from its
            component exceeds this quantile of the training rows of that class; 0.99 for example.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            Names of ``classes_``.
        """
        X = self._check_fitted_rows(X)
        codes = self._map_joint(X, "code")
        if reject is not None:
            codes = self._reject(codes, self._own_distances(X, codes), reject)
        return decode(codes, self.classes_, unlabeled_value=self.unlabeled_value)

    @lazily
    def predict_proba(self, X: Any) -> np.ndarray:
        """Posterior probability of each class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; of a Dask array or DataFrame the answer is a lazy Dask array.

        Returns
        -------
        resp : ndarray of shape (n_samples, n_clusters_)
            Columns in the order of ``classes_``; rows sum to 1.
        """
        return self._map_joint(self._check_fitted_rows(X), "resp")

    @lazily
    def score_samples(self, X: Any) -> np.ndarray:
        """Log density of each row under the mixture, with the shares of all training rows (``class_prior_``).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; of a Dask array or DataFrame the answer is a lazy Dask array.

        Returns
        -------
        log_prob : ndarray of shape (n_samples,)
            In nats.
        """
        return self._map_joint(self._check_fitted_rows(X), "density", self.class_prior_)

    def score(self, X: Any, y: Any = None) -> float:
        """Mean log density of rows; uses no labels, and can be compared between numbers of components.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        y : None
            Ignored.

        Returns
        -------
        score : float
            In nats; higher is better.
        """
        return float(self.score_samples(X).mean())

    @lazily
    def novelty_score(self, X: Any) -> np.ndarray:
        """How much a row looks like a novel rather than a known class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; of a Dask array or DataFrame the answer is a lazy Dask array.

        Returns
        -------
        score : ndarray of shape (n_samples,)
            The largest posterior of a novel class over the sum of the largest of a novel and of a known one: above one
            half exactly where ``predict`` names a novel class. 0 everywhere if no novel class was found, 1 if no class
            is known.
        """
        joint = self._map_joint(self._check_fitted_rows(X), "joint")
        n_known = len(self.classes_) - len(self.novel_classes_)
        if n_known in (0, joint.shape[1]):
            return np.full(len(joint), 0.0 if n_known else 1.0)
        known, novel = joint[:, :n_known].max(axis=1), joint[:, n_known:].max(axis=1)
        return 1 / (1 + np.exp(np.clip(known - novel, -700, 700)))

    def sample(self, n_samples: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Draw rows from the mixture, with the shares of all training rows (``class_prior_``).

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Rows, grouped by class.
        labels : ndarray of shape (n_samples,)
            Their classes.

        Raises
        ------
        ValueError
            If `n_samples` is less than 1.
        """
        check_is_fitted(self)
        if n_samples < 1:
            raise ValueError(f"n_samples must be at least 1, got {n_samples!r}.")
        random_state = check_random_state(self.random_state)
        counts = random_state.multinomial(n_samples, self.class_prior_)
        covariances = self._mixture().gaussians.full_covariances()
        drawn = [
            random_state.multivariate_normal(mean, covariance, size=int(count))
            for mean, covariance, count in zip(self.means_, covariances, counts, strict=True)
        ]
        return np.vstack(drawn), np.repeat(self.classes_, counts)

    def bic(self, X: Any) -> float:
        """Bayesian information criterion of rows, lower is better: ``-2 log L + p log n``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, seen without labels.

        Returns
        -------
        bic : float
            Twice a description length in nats.
        """
        log_prob = np.asarray(self.score_samples(X))
        return float(-2 * log_prob.sum() + self._n_parameters() * np.log(len(log_prob)))

    def aic(self, X: Any) -> float:
        """Akaike information criterion of rows, lower is better: ``-2 log L + 2 p``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, seen without labels.

        Returns
        -------
        aic : float
            Twice an expected loss in nats.
        """
        return float(-2 * self.score_samples(X).sum() + 2 * self._n_parameters())

    def icl(self, X: Any) -> float:
        """Integrated completed likelihood of rows, lower is better: ``bic`` plus twice the entropy of the posteriors.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, seen without labels.

        Returns
        -------
        icl : float
            Biernacki, Celeux and Govaert, IEEE PAMI 22(7), 2000.
        """
        resp = self.predict_proba(X)
        entropy = -(resp * np.log(np.maximum(resp, np.finfo(np.float64).tiny))).sum()
        return self.bic(X) + 2 * float(entropy)

    def _n_parameters(self) -> int:
        return n_parameters(self._kind, *self.means_.shape)

    @property
    def _kind(self) -> str:
        return getattr(self, "covariance_type", "full")

    @property
    def _accepts_sparse(self) -> bool:
        return self._kind in ("diag", "spherical")

    def _check_rows(self, X: Any, *, reset: bool = False) -> Any:
        accept = "csr" if self._accepts_sparse else False
        return self._validate_rows(X, reset=reset, accept_sparse=accept, dtype=[np.float64, np.float32])

    def _check_fitted_rows(self, X: Any) -> Any:
        check_is_fitted(self)
        return self._check_rows(X)

    def _blocks(self, X: Any, row_data: tuple = (), device: str | None = None) -> RowBlocks | DaskBlocks:
        return blocks_of(X, row_data, block_size=getattr(self, "block_size", "auto"), device=device)

    def _mixture(self, weights: np.ndarray | None = None) -> Mixture:
        gaussians = Gaussians(self._kind, self.means_, self.covariances_, self.precisions_cholesky_)
        return Mixture(gaussians, self.weights_ if weights is None else weights)

    def _evaluation(self, X: Any, weights: np.ndarray | None = None) -> Evaluation:
        return self._evaluate(X, self.means_, self._mixture(weights))

    def _evaluate(self, X: Any, means: np.ndarray, mixture: Mixture) -> Evaluation:
        """How densities of rows are computed, seen from the middle of the `means` in the coordinates of the rows."""
        shift = None if issparse(X) else means.mean(axis=0).astype(X.dtype).astype(np.float64)
        mixture = seen_from(mixture, means, shift)
        exact = getattr(self, "dtype", "auto") == "float64"
        return evaluation_of(mixture, shift, largest_square(self._blocks(X), shift), X.dtype, exact=exact)

    def _map_joint(self, X: Any, wanted: str, weights: np.ndarray | None = None) -> np.ndarray:
        return self._blocks(X).map(log_joint_densities, (self._evaluation(X, weights), wanted))[0]

    def _codes(self, blocks: RowBlocks | DaskBlocks, means: np.ndarray, mixture: Mixture) -> np.ndarray:
        """Most likely component of each row; `means` are those of the mixture in the coordinates of the rows."""
        return blocks.map(log_joint_densities, (self._evaluate(blocks.X, means, mixture), "code"))[0]

    def _own_distances(self, X: Any, codes: np.ndarray) -> np.ndarray:
        return self._blocks(X, (codes,)).map(own_distances, self._evaluation(X))[0]

    def _mixture_attributes(
        self,
        problem: CenterProblem,
        labels: PartialLabels,
        mixture: Mixture,
        *,
        keep_all: bool = False,
    ) -> dict[str, Any]:
        """Attributes that follow from a mixture relative to ``problem.frame.shift``, known classes first.

        Novel components that no row belongs to are dropped unless `keep_all`.
        """
        shift, blocks, n_known = problem.frame.shift, problem.source, labels.n_known
        public = mixture.gaussians.means if shift is None else mixture.gaussians.means + shift
        codes = self._codes(blocks, public, mixture)
        sizes = blocks.like(blocks.X, (codes, blocks.row_data[0], blocks.row_data[1])).sum(
            size_statistics_of_codes, mixture.n_components
        )[0]
        novel = n_known + order_by_size(sizes[n_known:], public[n_known:])
        occupied = sizes[novel] > 0
        if not keep_all:
            novel = novel[occupied]
        elif not occupied.all():
            warn_user(
                f"{int((~occupied).sum())} components of the given start ended without rows; give other start means, "
                "or fewer components.",
                ConvergenceWarning,
            )
        order = np.concatenate([np.arange(n_known), novel]).astype(np.intp)
        some_dropped = len(order) < mixture.n_components
        mixture, public = mixture.subset(order), public[order]
        if some_dropped:
            # Without the components that were dropped some rows may change sides.
            codes = self._codes(blocks, public, mixture)
        else:
            codes = np.argsort(order).astype(codes.dtype)[codes]
        np.copyto(codes, labels.codes, where=labels.codes != UNLABELED)
        names = self._name_classes(labels.classes, len(order) - n_known)
        return {
            **names,
            "labels_": decode(codes, names["classes_"]),
            "component_labels_": names["classes_"].copy(),
            "is_novel_": np.arange(len(order)) >= n_known,
            "weights_": mixture.weights,
            "means_": public,
            "covariances_": mixture.gaussians.covariances,
            "precisions_cholesky_": mixture.gaussians.precisions_cholesky,
            "n_components_": len(order),
            "n_clusters_": len(order),
            "class_prior_": self._class_prior(problem, mixture.weights),
            "distance_quantiles_": self._distance_quantiles(problem, labels, seen_from(mixture, public, shift)),
        }

    def _class_prior(self, problem: CenterProblem, weights: np.ndarray) -> np.ndarray:
        """Shares of the classes among all rows, the labeled ones included."""
        counts = problem.frame.weight * weights
        counts[: len(problem.anchors.weight)] += problem.anchors.weight
        return counts / counts.sum()

    def _distance_quantiles(self, problem: CenterProblem, labels: PartialLabels, mixture: Mixture) -> np.ndarray:
        """Percentiles of the Mahalanobis distance of the distinct training rows of each class, by weight."""
        sample = problem.sample
        evaluation = evaluation_of(mixture, None, np.inf, np.dtype(np.float64))
        source = problem.sample_source
        codes = source.map(log_joint_densities, (evaluation, "code"))[0]
        parts = [(source.like(sample.X, (codes,)).map(own_distances, evaluation)[0], codes, sample.weight)]
        if labels.n_known:
            rows = labeled_rows(problem.source, np.random.RandomState(0))
            seen = evaluation_of(mixture, problem.frame.shift, np.inf, np.dtype(np.float64))
            own = labels.codes[rows.rows]
            parts.append((source.like(rows.X, (own,)).map(own_distances, seen)[0], own, rows.weight))
        distances, codes, weight = (np.concatenate(part) for part in zip(*parts, strict=True))
        return quantiles_by_class(distances, codes, weight, mixture.n_components)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = self._accepts_sparse
        return tags


def seen_from(mixture: Mixture, public: np.ndarray, shift: np.ndarray | None) -> Mixture:
    """The mixture with means relative to another shift."""
    old = mixture.gaussians
    means = public if shift is None else public - shift
    return Mixture(Gaussians(old.kind, means, old.covariances, old.precisions_cholesky), mixture.weights)
