"""Steps of a fit that the estimators with centers share."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from ..base import BaseCenterEstimator, check_range, check_weights
from ..engine import blocks_of
from ..labels import PartialLabels
from ..numerics import (
    CenterProblem,
    LloydSettings,
    choose_n_clusters,
    measure_anchors,
    nearest_centers,
    pose_problem,
    shifted_centers,
)
from ._admm import Relaxed
from ._points import MergedRows, Points
from ._rounding import fill_empty, seat_known
from ._solve import SolverOptions, round_relaxed

SOLVERS = ("auto", "cvxpy", "admm", "low-rank")


class BaseSDPKMeans(BaseCenterEstimator):
    """Rows measured, a k-means start, and centers of a partition."""

    _parameter_constraints: dict = {
        **BaseCenterEstimator._parameter_constraints,
        "solver": [StrOptions(set(SOLVERS))],
        "rank": [Interval(Integral, 2, None, closed="left"), None],
        "rounding": [StrOptions({"best", "spectral", "denoised"})],
        "polish": ["boolean"],
        "max_iter": [Interval(Integral, 1, None, closed="left"), None],
        "device": [str, None],
    }

    def _pose(
        self, X: Any, y: Any, sample_weight: Any, random_state: np.random.RandomState
    ) -> tuple[CenterProblem, PartialLabels]:
        """Validate and measure the input of ``fit``."""
        X = self._check_rows(X, reset=True)
        sample_weight = self._check_weights(sample_weight, X)
        labels = self._encode_labels(y, X)
        codes = labels.codes if labels.n_known else None
        n_wanted = 0 if self.n_clusters == "auto" else max(self.n_clusters - labels.n_known, 0)
        blocks = blocks_of(X, (codes, sample_weight))
        problem = pose_problem(blocks, labels.n_known, random_state, labels.n_known + n_wanted, center=True)
        check_weights(problem, labels)
        check_range(problem, X.dtype)
        return problem, labels

    def _choose_n_clusters(
        self, problem: CenterProblem, labels: PartialLabels, random_state: np.random.RandomState
    ) -> tuple[int, dict[str, Any]]:
        """(number of clusters asked for, scores of "auto")."""
        if self.n_clusters != "auto":
            return labels.n_known + self._n_novel_wanted(labels), {}
        k, scores = choose_n_clusters(
            problem,
            self._candidates(labels.n_known),
            LloydSettings(self.n_init),
            random_state,
            move_known=True,
            criterion="silhouette",
        )
        return k, {"n_clusters_scores_": scores}

    def _state(self, labels: PartialLabels, centers: np.ndarray) -> dict[str, Any]:
        """Attributes with which callbacks can use the estimator as if the fit had stopped here."""
        names = self._name_classes(labels.classes, len(centers) - labels.n_known)
        return {"cluster_centers_": centers, "n_clusters_": len(centers), **names}

    def _solver_options(self) -> SolverOptions:
        return SolverOptions(self.solver, self.rank, self.max_iter, self.tol, self.device)

    def _round(
        self, points: Points, relaxed: Relaxed, start: np.ndarray, random_state: np.random.RandomState
    ) -> np.ndarray:
        return round_relaxed(points, relaxed, start, self.rounding, random_state, polished=self.polish)

    def _row_codes(self, problem: CenterProblem, labels: PartialLabels, centers: np.ndarray) -> np.ndarray:
        """Number of the class of each training row."""
        codes = self._map(nearest_centers, problem.source.X, centers)[0]
        return np.where(labels.codes >= 0, labels.codes, codes)


def partition_of_centers(merged: MergedRows, row_codes: np.ndarray) -> np.ndarray:
    """Cluster of each point from those of the rows, none of them empty."""
    points = merged.points
    codes = np.zeros(points.n_points, dtype=np.int32)
    counted = merged.point_of >= 0
    codes[merged.point_of[counted]] = row_codes[counted]
    return seat_known(points, fill_empty(points, codes))


def centers_of_partition(problem: CenterProblem, point_of: np.ndarray, codes: np.ndarray, k: int) -> np.ndarray:
    """Means of the clusters of points, in the coordinates of the rows; only clusters that have rows."""
    row_codes = np.where(point_of >= 0, codes[np.maximum(point_of, 0)], -1).astype(np.int32)
    source = problem.source
    clusters = measure_anchors(source.like(source.X, (row_codes, source.row_data[1])), k, problem.frame.shift)
    return shifted_centers(clusters.means[clusters.weight > 0], problem.frame.shift)
