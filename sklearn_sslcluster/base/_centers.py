"""Estimators whose classes are centers, in the space of the rows or in an embedding of them."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ..engine import DaskBlocks, RowBlocks, blocks_of
from ..labels import UNLABELED, PartialLabels, decode
from ..numerics import (
    CenterProblem,
    RowSource,
    center_distances,
    distances_to,
    labeled_rows,
    nearest_centers,
    quantiles_by_class,
    shifted,
    size_statistics,
)
from ._lazy import lazily
from ._partial_labels import PartialLabelMixin, order_by_size
from ._scores import mean_silhouette


def _middle(Z: Any, centers: np.ndarray) -> np.ndarray | None:
    """Where dense rows are seen from, so that data far from the origin lose no digits."""
    return None if issparse(Z) or not len(centers) else centers.mean(axis=0)


def _as_seen(X: Any, shift: np.ndarray | None) -> Any:
    return shifted(X.astype(np.float64), shift)


class BaseCenterEstimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, PartialLabelMixin, BaseEstimator):
    """Base of estimators whose classes are centers.

    A subclass fits ``cluster_centers_`` and may override ``_represent``, which maps rows to the space of the centers.
    """

    _parameter_constraints: dict = {
        "n_clusters": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "k_max": [Interval(Integral, 1, None, closed="left"), None],
        "unlabeled_value": [Integral, str, "boolean", None],
        "random_state": ["random_state"],
    }
    _accept_sparse: bool | str = "csr"
    _assumes_novel = False

    @lazily
    def predict(self, X: Any, *, reject: float | None = None) -> np.ndarray:
        """Name the class of each row: that of the nearest of all centers, known and novel.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows; of a Dask array or DataFrame, where ``fit`` takes one, the answer is a lazy Dask array.
        reject : float in (0, 1], default=None
            Leave a row unassigned (-1, or None where names are not integers) when it lies farther from its center
            than this quantile of the training rows of that class; 0.99 for example.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            Names of ``classes_``.
        """
        X = self._check_fitted_rows(X)
        Z = self._represent(X)
        codes = self._assign(Z)
        if reject is not None:
            codes = self._reject(codes, self._class_distances(X, Z, codes), reject)
        return decode(codes, self.classes_, unlabeled_value=self.unlabeled_value)

    @lazily
    def transform(self, X: Any) -> np.ndarray:
        """Distance of each row to every center.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows; of a Dask array or DataFrame, where ``fit`` takes one, the answer is a lazy Dask array.

        Returns
        -------
        distances : ndarray of shape (n_samples, n_clusters_)
            Euclidean distances, columns in the order of ``classes_``.
        """
        return self._map(center_distances, self._represent(self._check_fitted_rows(X)), self.cluster_centers_)[0]

    @lazily
    def novelty_score(self, X: Any) -> np.ndarray:
        """How much a row looks like a novel rather than a known class.

        The distance to the nearest known center over the sum of the distances to the nearest known and to the
        nearest novel center: above one half exactly where ``predict`` names a novel class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows; of a Dask array or DataFrame, where ``fit`` takes one, the answer is a lazy Dask array.

        Returns
        -------
        score : ndarray of shape (n_samples,)
            In [0, 1]; 0 everywhere if no novel class was found, 1 if no class is known.
        """
        Z = self._represent(self._check_fitted_rows(X))
        codes = self._map(nearest_centers, Z, self.cluster_centers_)[0]
        distances = self._map(center_distances, Z, self.cluster_centers_)[0]
        return self._novelty(codes, distances)

    def score(self, X: Any, y: Any = None) -> float:
        """Mean silhouette width of the predicted classes, on at most 5,000 fixed distinct rows of `X`.

        Uses no labels, and can be compared between numbers of clusters.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : None
            Ignored.

        Returns
        -------
        score : float
            In [-1, 1], higher is better; 0 where all rows fall in one class.
        """
        X = self._check_fitted_rows(X)
        return mean_silhouette(X, self._assign(self._represent(X)))

    def _novelty(self, codes: np.ndarray, distances: np.ndarray) -> np.ndarray:
        """`novelty_score` of rows with these codes and distances to all classes."""
        n_known = len(self.classes_) - len(self.novel_classes_)
        if n_known in (0, len(self.classes_)):
            return np.full(len(distances), 0.0 if n_known else 1.0)
        known = distances[:, :n_known].min(axis=1).astype(np.float64)
        total = known + distances[:, n_known:].min(axis=1)
        score = np.divide(known, total, out=np.full(len(known), 0.5), where=total > 0)
        # Where two distances differ by rounding only, `predict` has settled which is smaller.
        return np.where(codes >= n_known, np.maximum(score, np.nextafter(0.5, 1)), np.minimum(score, 0.5))

    def _check_rows(self, X: Any, *, reset: bool = False) -> Any:
        return self._validate_rows(X, reset=reset, accept_sparse=self._accept_sparse, dtype=[np.float64, np.float32])

    def _represent(self, X: Any) -> Any:
        """Rows in the space of the centers."""
        return X

    def _assign(self, Z: Any) -> np.ndarray:
        """Code of the class of each row, given where it lies."""
        return self._map(nearest_centers, Z, self.cluster_centers_)[0]

    def _check_fitted_rows(self, X: Any) -> Any:
        check_is_fitted(self)
        return self._check_rows(X)

    def _map(self, function: Callable, Z: Any, centers: np.ndarray) -> tuple:
        """Map a function of (block, row_data, (centers, shift)) over rows, seen from the middle of the centers."""
        shift = _middle(Z, centers)
        around = centers if shift is None else centers - shift
        return self._blocks(Z).map(function, (around, shift))

    def _blocks(self, Z: Any, row_data: tuple = ()) -> RowBlocks | DaskBlocks:
        return blocks_of(Z, row_data, block_size=getattr(self, "block_size", "auto"))

    def _class_distances(self, X: Any, Z: Any, codes: np.ndarray) -> np.ndarray:
        """How far each row lies from its class: for ``predict(X, reject=...)``."""
        return self._center_distances(Z, codes, self.cluster_centers_)

    def _center_distances(self, Z: Any, codes: np.ndarray, centers: np.ndarray) -> np.ndarray:
        """Distance of each row to the center of its class."""

        def own(block: Any, row_data: tuple, parameters: Any) -> tuple:
            return (distances_to(block, centers[row_data[0]]),)

        return self._blocks(Z, (codes,)).map(own)[0]

    def _class_attributes(
        self, problem: CenterProblem, labels: PartialLabels, known: np.ndarray, novel: np.ndarray
    ) -> dict[str, Any]:
        """Labels, names and sizes that follow from centers; the novel ones are put in the order of their names."""
        blocks = problem.source
        all_sizes = self._sizes(blocks, np.vstack([known, novel]))
        sizes = all_sizes[len(known) :]
        order = order_by_size(sizes, novel)
        order = order[self._is_kept(sizes[order])]
        centers = np.vstack([known, novel[order]])
        codes = self._map(nearest_centers, blocks.X, centers)[0]
        np.copyto(codes, labels.codes, where=labels.codes != UNLABELED)
        names = self._name_classes(labels.classes, len(order))
        return {
            **names,
            "labels_": decode(codes, names["classes_"]),
            "cluster_centers_": centers,
            "distance_quantiles_": self._distance_quantiles(problem, labels, codes, centers),
            "n_clusters_": len(centers),
            "known_share_": float(all_sizes[: len(known)].sum() / max(all_sizes.sum(), np.finfo(float).tiny)),
            "_n_features_out": len(centers),
        }

    def _sizes(self, blocks: RowSource, centers: np.ndarray) -> np.ndarray:
        """Weight of the unlabeled rows nearest to each center."""
        shift = _middle(blocks.X, centers)
        (sizes,) = blocks.sum(size_statistics, (centers if shift is None else centers - shift, shift))
        return sizes

    def _is_kept(self, sizes: np.ndarray) -> np.ndarray:
        """Which novel clusters are classes: those that some row belongs to.

        Where rows are taken to be novel, all of them: a center whose rows lie nearer to a known one still answers
        ``predict_novel``.
        """
        return (sizes > 0) | self._assumes_novel

    def _distance_quantiles(
        self, problem: CenterProblem, labels: PartialLabels, codes: np.ndarray, centers: np.ndarray
    ) -> np.ndarray:
        """Percentiles of the distance to the center, of the distinct training rows of each class, by weight.

        Of large tables a sample of the rows, and all rows of classes that the sample missed.
        """
        shift = problem.frame.shift
        around = centers if shift is None else centers - shift
        sample = problem.sample
        parts = [(sample.X, nearest_centers(sample.X, (), (around, None))[0], sample.weight)]
        if labels.n_known:
            rows = labeled_rows(problem.source, np.random.RandomState(0))
            parts.append((_as_seen(rows.X, shift), labels.codes[rows.rows], rows.weight))
        seen = np.concatenate([part[1] for part in parts])
        for code in np.setdiff1d(np.arange(len(centers)), seen):
            rows = np.flatnonzero(codes == code)
            parts.append((_as_seen(problem.source.take(rows), shift), codes[rows], np.ones(len(rows))))
        distances = [distances_to(X, around[part_codes]) for X, part_codes, _ in parts]
        weight = np.concatenate([part[2] for part in parts])
        part_codes = np.concatenate([part[1] for part in parts])
        return quantiles_by_class(np.concatenate(distances), part_codes, weight, len(centers))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = bool(self._accept_sparse)
        return tags
