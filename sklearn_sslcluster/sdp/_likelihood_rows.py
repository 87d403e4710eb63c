"""A table of partially labeled rows as the points that iLA-SDP groups, in units in which they have variance 1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

from ..labels import PartialLabels
from ..numerics import CenterProblem, Moments, labeled_moments, labeled_rows
from ._likelihood_starts import best_k_means
from ._profile_likelihood import GroupProblem

_RUNS_FOR_SPREAD = 10
# Smallest variance that a ridge may have, in units of the variance of all rows.
_SMALLEST_SPREAD = 1e-8
# Free rows nearer to a known mean than this, in units of the standard deviation of all rows, are no class of their own.
_SAME = 1e-9


@dataclass(frozen=True)
class MeasuredRows:
    """Points of a table.

    Attributes
    ----------
    labels : PartialLabels
    problem : CenterProblem
        The table itself.
    X : ndarray of shape (n_points, n_features)
        Means of the labeled rows of the known classes, then distinct free rows; in units of `unit`.
    weight : ndarray of shape (n_points,)
        In distinct rows: repeating the whole table changes nothing.
    within : ndarray of shape (n_known, n_features, n_features)
        Scatter of the labeled rows of each known class about their mean.
    unit : float
        Standard deviation of a feature.
    row_weight : float
        Distinct rows for one unit of the weights of the table.
    point_of : ndarray of shape (n_samples,)
        Point of each row, -1 for rows that took no part.
    most_novel : int
        Novel classes that there can be.
    """

    labels: PartialLabels
    problem: CenterProblem
    X: np.ndarray
    weight: np.ndarray
    within: np.ndarray
    unit: float
    row_weight: float
    point_of: np.ndarray
    most_novel: int

    @property
    def shift(self) -> np.ndarray:
        shift = self.problem.frame.shift
        return np.zeros(self.X.shape[1]) if shift is None else shift

    def group_problem(
        self, n_groups: int, kind: str, strength: float, random_state: np.random.RandomState
    ) -> GroupProblem:
        """The problem for a number of groups; the spread of its ridge is that within the clusters of k-means."""
        n_known, d = len(self.within), self.X.shape[1]
        _, inertia = best_k_means(self.X, self.weight, n_known, n_groups, _RUNS_FOR_SPREAD, random_state)
        inertia += float(np.einsum("aii->", self.within))
        spread = max(inertia / (d * self.weight.sum()), _SMALLEST_SPREAD)
        return GroupProblem(self.X, self.weight, self.within, n_groups, kind, strength, spread)

    def in_data_units(self, value: float, total: float) -> float:
        """`F` of the rows from that of the points, whose weights sum to `total`."""
        return float((value + 2 * total * self.X.shape[1] * np.log(self.unit)) / self.row_weight)


def measure(problem: CenterProblem, labels: PartialLabels) -> MeasuredRows:
    """Points of a posed table."""
    source, anchors, sample, shift = problem.source, problem.anchors, problem.sample, problem.frame.shift
    codes, sample_weight = source.row_data
    n_known, d = labels.n_known, source.n_features
    known = labeled_moments(source, anchors, "full", shift) if n_known else None
    if known is None:
        known = Moments(np.zeros(0), np.zeros((0, d)), np.zeros((0, d, d)))
    known = known.scaled(problem.sample_share)
    n_distinct = len(sample.weight)
    if n_known:
        n_distinct += len(labeled_rows(source, np.random.RandomState(0)).weight)
    X = np.vstack([known.means, sample.X])
    weight = np.concatenate([known.weight, sample.weight])
    row_weight = n_distinct / weight.sum()
    middle = np.average(X, axis=0, weights=weight)
    total = weight @ ((X - middle) ** 2).sum(axis=1) + np.einsum("aii->", known.scatter)
    unit = float(np.sqrt(total / (d * weight.sum()))) or _magnitude(X if shift is None else X + shift)
    X = X / unit
    far = cdist(X[n_known:], X[:n_known]).min(axis=1) > _SAME if n_known else np.ones(len(sample.weight), dtype=bool)
    point_of = np.full(source.n_rows, -1, dtype=np.intp)
    counted = np.ones(source.n_rows, dtype=bool) if sample_weight is None else sample_weight > 0
    unlabeled = counted if codes is None else counted & (codes < 0)
    if sample.inverse is not None:
        point_of[unlabeled] = n_known + sample.inverse
    if codes is not None:
        point_of[codes >= 0] = codes[codes >= 0]
    within = known.scatter * (row_weight / unit**2)
    return MeasuredRows(
        labels, problem, X, weight * row_weight, within, unit, float(row_weight), point_of, int(far.sum())
    )


def _magnitude(X: np.ndarray) -> float:
    """A unit for rows that do not vary."""
    return float(np.abs(X).max(initial=0.0)) or 1.0
