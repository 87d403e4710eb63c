"""The k-means problem of weighted points that solvers and bounds work on.

Rows that must share a cluster are one point: equal rows, and the labeled rows of one known class. What they differ by
among themselves adds a constant to the inertia of every clustering. No two known classes may share a cluster.

With weights :math:`w` let :math:`q = \\sqrt{w}` (elementwise), :math:`u = q / \\lVert q \\rVert` and :math:`A` the
points times `q`, seen from their weighted mean, so that :math:`A^T u = 0`. The relaxation of Peng and Wei then reads

.. math::
    \\max_Y \\langle A A^T, Y \\rangle \\quad\\text{s.t.}\\quad
    Y q = q,\\ \\operatorname{tr} Y = k,\\ Y \\ge 0,\\ Y \\succeq 0

and the inertia of a clustering with :math:`Y = \\sum_a q_a q_a^T / w(G_a)` is
:math:`\\lVert A \\rVert_F^2 - \\langle A A^T, Y \\rangle`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import issparse

from ..numerics import CenterProblem, distinct_rows, shifted


@dataclass(frozen=True)
class Points:
    """Weighted points in units of their own: the largest singular value of `A` is 1, the mean weight 1.

    Attributes
    ----------
    A : ndarray of shape (n_points, n_features)
        Centered points times `q`.
    q : ndarray of shape (n_points,)
        Square roots of the weights.
    n_clusters : int
        Bounds and solvers take 2 to ``n_points - 1``: see `is_trivial`.
    n_known : int
        The first points are the known classes; no two of them may share a cluster.
    """

    A: np.ndarray
    q: np.ndarray
    n_clusters: int
    n_known: int = 0

    @property
    def n_points(self) -> int:
        return len(self.q)

    @property
    def u(self) -> np.ndarray:
        return self.q / np.sqrt(self.q @ self.q)

    @property
    def rows(self) -> np.ndarray:
        """The points themselves."""
        return self.A / self.q[:, None]

    @property
    def weight(self) -> np.ndarray:
        return self.q**2

    @property
    def is_trivial(self) -> bool:
        """Whether all clusterings are equally good, or one is exact: nothing is to be solved."""
        return self.n_clusters == 1 or self.n_points <= self.n_clusters or not self.total > 0

    @property
    def total(self) -> float:
        """Inertia of one cluster."""
        return float(np.einsum("ij,ij->", self.A, self.A))

    def separated(self) -> np.ndarray:
        """Mask of shape (n_known, n_known): pairs of known classes, which no clustering puts together."""
        return ~np.eye(self.n_known, dtype=bool)

    def subset(self, rows: np.ndarray, weight: np.ndarray | None = None) -> tuple[Points, float]:
        """Some of the points, with other weights if given, in units of their own.

        Known classes must come first among them.

        Returns
        -------
        points : Points
        unit : float
            One unit of their inertia in units of this one.
        """
        weight = self.weight[rows] if weight is None else weight
        part, unit, _ = make_points(self.rows[rows], weight, self.n_clusters, int((rows < self.n_known).sum()))
        return part, unit


def make_points(
    rows: np.ndarray, weight: np.ndarray, n_clusters: int, n_known: int
) -> tuple[Points, float, np.ndarray]:
    """Center and scale.

    Returns
    -------
    points : Points
    unit : float
        One unit of inertia in the units of `rows` and `weight`.
    center : ndarray of shape (n_features,)
        Weighted mean of `rows`.
    """
    mean_weight = weight.mean()
    q = np.sqrt(weight / mean_weight)
    center = np.average(rows, axis=0, weights=weight)
    A = (rows - center) * q[:, None]
    # A second time, since the first mean is rounded in units of the offset of the rows.
    correction = q @ A / (q @ q)
    A -= np.outer(q, correction)
    if A.shape[1] > A.shape[0]:
        # Only distances matter: the same points in as many dimensions as there are points.
        A = np.asarray(np.linalg.qr(A.T, mode="r")).T
    largest = float(np.sqrt(max(np.linalg.eigvalsh(A.T @ A)[-1], 0.0)))
    scale = largest if largest > 0 else 1.0
    return Points(A / scale, q, n_clusters, n_known), float(scale**2 * mean_weight), center + correction


@dataclass(frozen=True)
class MergedRows:
    """Rows of a table as points.

    Attributes
    ----------
    points : Points
    unit : float
        One unit of the inertia of `points` in units of the rows.
    mean_weight : float
        Weight of the rows of a point, in the mean.
    within : float
        Inertia that the rows of merged points have in every clustering.
    center : ndarray of shape (n_features,)
        Where the points are seen from.
    point_of : ndarray of shape (n_samples,)
        Point of each row, -1 for rows with weight 0.
    """

    points: Points
    unit: float
    mean_weight: float
    within: float
    center: np.ndarray
    point_of: np.ndarray

    def inertia(self, value: float) -> float:
        """Inertia in the units of the rows."""
        return self.unit * value + self.within

    def clustering_inertia(self, clusters: np.ndarray, sample_weight: np.ndarray | None) -> float:
        """Inertia around the means of a clustering of the rows, in which equal rows may be in different clusters.

        Seen from the middle of the table, whatever its origin and however far its known classes lie apart.
        """
        counted = np.flatnonzero(self.point_of >= 0)
        weight = np.ones(len(counted)) if sample_weight is None else sample_weight[counted]
        n_clusters = int(clusters.max()) + 1
        pairs, inverse = np.unique(self.point_of[counted] * n_clusters + clusters[counted], return_inverse=True)
        point, cluster = np.divmod(pairs, n_clusters)
        # Weights in the units of the points, whose mean weight is 1.
        weight = np.bincount(inverse, weight)
        weight *= self.points.weight.sum() / weight.sum()
        rows = self.points.rows[point]
        sizes = np.bincount(cluster, weight)
        sums = np.stack([np.bincount(cluster, weight * column) for column in rows.T], axis=1)
        difference = rows - (sums / np.where(sizes > 0, sizes, 1)[:, None])[cluster]
        return self.inertia(float(weight @ np.einsum("ij,ij->i", difference, difference)))


def merge_rows(problem: CenterProblem, n_clusters: int) -> MergedRows:
    """The distinct unlabeled rows and the known classes of a measured table as points."""
    source, anchors, shift = problem.source, problem.anchors, problem.frame.shift
    codes, sample_weight = source.row_data
    free = distinct_rows(source, source.row_data, max_rows=source.n_rows, random_state=np.random.RandomState(0))
    X = free.X.toarray() if issparse(free.X) else np.asarray(free.X)
    X = shifted(X.astype(np.float64), shift)
    rows = np.vstack([anchors.means, X])
    weight = np.concatenate([anchors.weight, free.weight])
    n_known = len(anchors.weight)
    points, unit, center = make_points(rows, weight, n_clusters, n_known)
    counted = np.ones(source.n_rows, dtype=bool) if sample_weight is None else sample_weight > 0
    point_of = np.full(source.n_rows, -1, dtype=np.intp)
    unlabeled = counted if codes is None else counted & (codes < 0)
    if free.inverse is not None:
        point_of[unlabeled] = n_known + free.inverse
    if codes is not None:
        point_of[codes >= 0] = codes[codes >= 0]
    within = 0.0
    if n_known:
        # Not `anchors.scatter`, a difference of sums of squares: where classes lie far apart, little of it is left.
        within = float(source.sum(_deviations, (anchors.means, shift))[0])
    return MergedRows(points, unit, float(weight.mean()), within, center if shift is None else center + shift, point_of)


def _deviations(block: Any, row_data: tuple, parameters: tuple[np.ndarray, np.ndarray | None]) -> tuple:
    """Weighted sum of squared distances of the labeled rows to the means of their classes."""
    means, shift = parameters
    codes, sample_weight = row_data
    labeled = np.flatnonzero(codes >= 0)
    Z = block[labeled]
    Z = shifted((Z.toarray() if issparse(Z) else Z).astype(np.float64), shift)
    squares = ((Z - means[codes[labeled]]) ** 2).sum(axis=1)
    return (squares.sum() if sample_weight is None else sample_weight[labeled] @ squares,)
