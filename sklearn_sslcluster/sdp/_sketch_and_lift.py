"""The relaxation of a sample, lifted to all rows."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from scipy.sparse import issparse
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from ..base import fit_method
from ..engine import fit_progress
from ..labels import PartialLabels
from ..numerics import CenterProblem, LloydSettings, lloyd, match_clusters, nearest_centers, objective, shifted_centers
from ._base import BaseSDPKMeans
from ._points import Points, make_points
from ._rounding import fill_empty, seat_known
from ._solve import solve_relaxation

# Rows of a sketch for each cluster, at least.
_FEWEST_ROWS = 10


class SketchAndLiftKMeans(BaseSDPKMeans):
    """K-means by the semidefinite relaxation of a sample, lifted to all rows.

    For tables too large for :class:`SDPKMeans`, or where an answer is wanted cheaply: the relaxation is solved on a
    sample, and every row goes to the nearest of the centers found there.

    Parameters
    ----------
    n_clusters : int or "auto", default=8
        Number of classes, known and novel together; see :class:`SDPKMeans`.
    strategy : {"uniform", "bias-corrected", "weighted", "multi-epoch"}, default="uniform"
        - "uniform": one sample, every row equally likely.
        - "bias-corrected": as before, and centers are means of as many rows as the smallest cluster has.
        - "weighted": rows of small clusters (by k-means, then by the last round) are more likely, so that clusters are
          balanced in the sample.
        - "multi-epoch": `n_rounds` samples, whose centers are matched and averaged.
    sketch_size : int, default=1000
        Rows drawn for a sample (with replacement, by weight), at least ten times `n_clusters`. A table with no more
        distinct rows is taken as it is.
    n_rounds : int, default=1
        Samples of "multi-epoch", and rounds of "weighted".
    solver : {"auto", "cvxpy", "admm", "low-rank"}, default="auto"
        See :class:`SDPKMeans`.
    rank : int, default=None
        Columns of the factor of "low-rank", at least one a cluster; None for twice the number of clusters.
    rounding : {"best", "spectral", "denoised"}, default="best"
        How clusters of the sample are read off the solution.
    polish : bool, default=True
        Continue from the lifted centers with Lloyd's iterations on all rows, which never raise the inertia. False is
        the method of the paper.
    max_iter : int, default=None
        Iterations of the solver; None for its own default.
    tol : float, default=1e-4
        Relative residuals at which the solver stops.
    n_init : int, default=10
        Runs of k-means for the start on a sample.
    k_max : int, default=None
        Largest number of classes that ``n_clusters="auto"`` tries; None for ``max(30, 3 * n_known)``.
    unlabeled_value : int, str, bool or None, default=-1
        Value of `y` that stands for "no label", besides None, NaN and ``pd.NA``.
    device : {"cpu", "cuda", "auto"}, default=None
        Where "admm" keeps its matrices: None for numpy, otherwise torch.
    random_state : int, RandomState instance or None, default=None
        Draws samples and starts.

    Attributes
    ----------
    classes_ : ndarray of shape (n_clusters_,)
        Names of the classes: known ones in sorted order, then novel ones by decreasing size.
    novel_classes_ : ndarray of shape (n_novel,)
        Names of the novel classes.
    labels_ : ndarray of shape (n_samples,)
        Class of each training row: its label, or what ``predict`` says.
    cluster_centers_ : ndarray of shape (n_clusters_, n_features)
        Center of each class, in the order of ``classes_``.
    n_clusters_ : int
        Number of classes found.
    n_clusters_scores_ : dict of int to float
        With ``n_clusters="auto"``, the mean silhouette of each number of classes tried.
    known_share_ : float
        Share (by weight) of the unlabeled rows that lie nearest to a known class.
    inertia_ : float
        Weighted sum of squared distances of the rows to the centers of their classes.
    n_iter_ : int
        Iterations of the solver over all samples, at least 1.
    distance_quantiles_ : ndarray of shape (n_clusters_, 101)
        Percentiles of the distance of the training rows of each class to its center, for ``predict(X, reject=...)``.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, when all are strings.

    See Also
    --------
    SDPKMeans : Solves the relaxation of all rows.
    certify_kmeans : Certifies the labels, at any size.

    Notes
    -----
    Differences from [1]_: rows are drawn with replacement by weight instead of kept with a given probability, so that a
    row of weight 2 is the same as the row twice, and from at most 32,768 distinct rows of a larger table, themselves a
    sample; known classes are in every sample as a whole, and the number of samples of "multi-epoch" is `n_rounds`
    instead of the inverse of the sampling rate.

    References
    ----------
    .. [1] Y. Zhuang, X. Chen, Y. Yang, "Sketch-and-lift: scalable subsampled semidefinite program for k-means
       clustering", AISTATS 2022.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from sklearn_sslcluster.sdp import SketchAndLiftKMeans
    >>> X, _ = make_blobs(5000, centers=4, random_state=0)
    >>> SketchAndLiftKMeans(4, sketch_size=200, random_state=0).fit(X).cluster_centers_.shape
    (4, 2)
    """

    _accepts_dask = True
    _parameter_constraints: dict = {
        **BaseSDPKMeans._parameter_constraints,
        "strategy": [StrOptions({"uniform", "bias-corrected", "weighted", "multi-epoch"})],
        "sketch_size": [Interval(Integral, 10, None, closed="left")],
        "n_rounds": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        n_clusters: Any = 8,
        *,
        strategy: str = "uniform",
        sketch_size: int = 1000,
        n_rounds: int = 1,
        solver: str = "auto",
        rank: int | None = None,
        rounding: str = "best",
        polish: bool = True,
        max_iter: int | None = None,
        tol: float = 1e-4,
        n_init: int = 10,
        k_max: int | None = None,
        unlabeled_value: Any = -1,
        device: str | None = None,
        random_state: Any = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.strategy = strategy
        self.sketch_size = sketch_size
        self.n_rounds = n_rounds
        self.solver = solver
        self.rank = rank
        self.rounding = rounding
        self.polish = polish
        self.max_iter = max_iter
        self.tol = tol
        self.n_init = n_init
        self.k_max = k_max
        self.unlabeled_value = unlabeled_value
        self.device = device
        self.random_state = random_state

    @fit_method
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> SketchAndLiftKMeans:
        """Cluster partially labeled rows by way of samples.

        Parameters
        ----------
        X : {array-like, sparse matrix, Dask collection} of shape (n_samples, n_features)
            Training rows; a memory map is read in blocks, and sparse samples are made dense inside. Of a Dask array or
            DataFrame sums over its chunks are computed where they lie; no chunk but for the sample is gathered.
        y : array-like of shape (n_samples,), default=None
            Partial labels: ints, strings, bools or categories, and -1, None, NaN or ``pd.NA`` for rows without one.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row; 2 counts like the row twice, 0 like no row.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If `X` has NaN or infinite values, `y` has another length or holds floats that are not whole numbers, all
            rows of a class have weight 0, or torch sees no such `device`.
        TypeError
            If `y` holds values that are no labels, dates for example.
        """
        random_state = check_random_state(self.random_state)
        problem, labels = self._pose(X, y, sample_weight, random_state)
        with fit_progress(self, X, y, max_steps=None, step_name="iteration") as step:
            k, scores = self._choose_n_clusters(problem, labels, random_state)
            n_points = labels.n_known + problem.sample.X.shape[0]
            centers, n_iter = self._lifted(problem, labels, min(k, n_points), random_state, step)
        if self.polish:
            centers, _ = lloyd(problem.source, centers, problem.anchors, problem.frame, LloydSettings())
        centers = shifted_centers(centers, problem.frame.shift)
        fitted = self._class_attributes(problem, labels, centers[: labels.n_known], centers[labels.n_known :])
        self._warn_if_fewer(k, fitted["n_clusters_"])
        shift = problem.frame.shift
        around = fitted["cluster_centers_"] if shift is None else fitted["cluster_centers_"] - shift
        inertia = objective(problem.source, around, problem.anchors, problem.frame)
        self._set_fitted(**fitted, **scores, inertia_=inertia, n_iter_=max(n_iter, 1))
        return self

    def _lifted(
        self,
        problem: CenterProblem,
        labels: PartialLabels,
        k: int,
        random_state: np.random.RandomState,
        step: Any,
    ) -> tuple[np.ndarray, int]:
        """(centers, relative to ``frame.shift``; iterations of the solver)."""
        found: list[np.ndarray] = []
        n_iter, centers = 0, None
        repeats = self.n_rounds if self.strategy in ("weighted", "multi-epoch") else 1

        def on_step() -> bool:
            return (
                step(lambda: self._state(labels, shifted_centers(found[-1], problem.frame.shift))) if found else step()
            )

        for _ in range(repeats):
            rows, counts = self._draw(problem, k, centers, random_state)
            points, dense = self._sketch(problem, rows, counts, k)
            start = _k_means(points, self.n_init, random_state)
            relaxed, _ = solve_relaxation(points, start, self._solver_options(), random_state, on_step)
            codes = self._round(points, relaxed, start, random_state)
            centers = _means(dense, self._balanced(points, codes, random_state), codes, k)
            n_iter += relaxed.n_iter
            found.append(centers)
        if self.strategy == "multi-epoch":
            centers = np.mean([_matched(found[0], other, labels.n_known) for other in found], axis=0)
        return np.asarray(centers), n_iter

    def _draw(
        self, problem: CenterProblem, k: int, centers: np.ndarray | None, random_state: np.random.RandomState
    ) -> tuple[np.ndarray, np.ndarray]:
        """(rows of the sample, how often each was drawn)."""
        weight = problem.sample.weight
        size = max(self.sketch_size, _FEWEST_ROWS * k)
        if len(weight) <= size:
            return np.arange(len(weight)), weight
        share = weight / weight.sum()
        if self.strategy == "weighted":
            if centers is None:
                model = KMeans(k, n_init=1, random_state=random_state)
                codes = model.fit(problem.sample.X, sample_weight=weight).labels_
            else:
                codes = problem.sample_source.map(nearest_centers, (centers, None))[0]
            share = share / np.bincount(codes, weight, k)[codes]
        counts = random_state.multinomial(size, share / share.sum())
        rows = np.flatnonzero(counts)
        return rows, counts[rows].astype(np.float64)

    def _sketch(
        self, problem: CenterProblem, rows: np.ndarray, counts: np.ndarray, k: int
    ) -> tuple[Points, np.ndarray]:
        """The points of a sample, known classes first; and the same in the coordinates of the rows."""
        X, anchors = problem.sample.X[rows], problem.anchors
        X = X.toarray() if issparse(X) else X
        share = counts.sum() / problem.frame.weight if problem.frame.weight else 1.0
        dense = np.vstack([anchors.means, X])
        points, _, _ = make_points(dense, np.concatenate([anchors.weight * share, counts]), k, len(anchors.weight))
        return points, dense

    def _balanced(self, points: Points, codes: np.ndarray, random_state: np.random.RandomState) -> np.ndarray:
        """Weights with which centers are averaged."""
        if self.strategy != "bias-corrected":
            return points.weight
        weight = np.zeros(points.n_points)
        smallest = int(np.bincount(codes).min())
        for code in range(points.n_clusters):
            chosen = random_state.permutation(np.flatnonzero(codes == code))[:smallest]
            weight[chosen] = points.weight[chosen]
        weight[: points.n_known] = points.weight[: points.n_known]
        return weight


def _k_means(points: Points, n_init: int, random_state: np.random.RandomState) -> np.ndarray:
    """Start on a sample."""
    k = points.n_clusters
    if points.n_points <= k:
        return np.arange(points.n_points, dtype=np.int32)
    model = KMeans(k, n_init=n_init, random_state=random_state)
    codes = model.fit(points.rows, sample_weight=points.weight).labels_
    return seat_known(points, fill_empty(points, codes))


def _means(dense: np.ndarray, weight: np.ndarray, codes: np.ndarray, k: int) -> np.ndarray:
    sums = np.stack([np.bincount(codes, weight * column, k) for column in dense.T], axis=1)
    return sums / np.bincount(codes, weight, k)[:, None]


def _matched(first: np.ndarray, other: np.ndarray, n_known: int) -> np.ndarray:
    """Centers in the order of `first`, by the matching with the smallest sum of squared distances.

    Those of known classes come first in both.
    """
    _, columns = match_clusters(-cdist(first[n_known:], other[n_known:], "sqeuclidean"))
    return np.vstack([other[:n_known], other[n_known:][columns]])
