"""K-means with clusters of equal or given sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import StrOptions

from ..base import BaseCenterEstimator, check_range, fit_method, order_by_size
from ..engine import RowBlocks, fit_progress
from ..labels import UNLABELED, PartialLabels, decode, warn_user
from ..numerics import (
    BalancedFit,
    BalancedRows,
    BalancedSettings,
    CenterProblem,
    LloydSettings,
    cell_codes,
    center_distances,
    choose_n_clusters,
    distances_to,
    distinct_rows,
    labeled_rows,
    lift,
    pose_problem,
    quantiles_by_class,
    shifted,
    shifted_centers,
    solve_balanced,
    target_sizes,
)


class BalancedKMeans(BaseCenterEstimator):
    """K-means with clusters of equal or given sizes.

    Rows and centers are assigned in turn, as in k-means. But the assignment is the cheapest of all in which every
    cluster has the size asked for, an optimal transport between rows and centers, and not that to the nearest center.
    For rows to be dealt evenly: batches, stores, codebooks all of whose codes are used. Where classes differ in size,
    balance cuts the large ones and fills the small ones with rows of others.

    Parameters
    ----------
    n_clusters : int or "auto", default=8
        Number of clusters, known classes included. An int below the number of known classes is raised to it, with a
        warning. ``"auto"`` takes the length of `sizes`, and without sizes the number with the largest mean silhouette
        of plain k-means up to `k_max`.
    sizes : array-like of shape (n_clusters,), default=None
        Relative sizes of the clusters, shares or counts, those of the known classes first in sorted order; labeled rows
        count. Which of the further clusters becomes larger is up to the data. None: all equal.
    solver : {"auto", "paths", "sinkhorn"}, default="auto"
        Where the first assignment of a run begins: ``"paths"`` at the nearest centers, ``"sinkhorn"`` at the potentials
        of entropic transport, by Sinkhorn's algorithm. Shortest paths move the surplus rows from there, and end in the
        same cheapest assignment. ``"auto"`` takes ``"sinkhorn"`` for at most 16 clusters of at least 200 rows each,
        where it is faster.
    n_init : int, default=10
        Runs from different starts; the one with the smallest inertia is kept.
    max_iter : int, default=100
        Assignments of one run.
    tol : float, default=0.0
        A run ends when an iteration lowers the inertia by no more than this share of it.
    k_max : int, default=None
        Largest number of clusters that ``n_clusters="auto"`` tries; None for ``max(30, 3 * n_known)``.
    unlabeled_value : int, str, bool or None, default=-1
        Value of `y` that stands for "no label", besides None, NaN and ``pd.NA``.
    random_state : int, RandomState instance or None, default=None
        Seed of the starts.

    Attributes
    ----------
    classes_ : ndarray of shape (n_clusters_,)
        Names of the classes: known ones in sorted order, then novel ones by decreasing size.
    novel_classes_ : ndarray of shape (n_novel,)
        Names of the novel classes.
    labels_ : ndarray of shape (n_samples,)
        Class of each training row: its label, or what ``predict`` says.
    sizes_ : ndarray of shape (n_clusters_,)
        Number of training rows in each class.
    cluster_centers_ : ndarray of shape (n_clusters_, n_features)
        Mean of the rows of each class, in the order of ``classes_``.
    potentials_ : ndarray of shape (n_clusters_,)
        What is taken off the squared distances to each center, at most 0: a row belongs to the class with the smallest
        difference. All 0 where nearest centers give the sizes asked for.
    n_clusters_ : int
        Number of classes found.
    n_clusters_scores_ : dict of int to float
        With ``n_clusters="auto"``, the mean silhouette of each number tried. Empty where the number was settled before.
    known_share_ : float
        Share of the unlabeled rows that belong to a known class.
    inertia_ : float
        Sum of squared distances of all rows to the centers of their classes.
    n_iter_ : int
        Assignments of the best run.
    distance_quantiles_ : ndarray of shape (n_clusters_, 101)
        Percentiles of the distance of the training rows of each class to its center, for ``predict(X, reject=...)``.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, when all are strings.

    See Also
    --------
    sklearn.cluster.KMeans : Clusters of any size.
    sklearn_sslcluster.discovery.SemiSupervisedKMeans : The same with partial labels.

    Notes
    -----
    With sizes :math:`s_1, \\dots, s_K` the inertia is lowered by centers and assignments in turn,

    .. math::
        \\min_{\\mu, z} \\sum_i \\lVert x_i - \\mu_{z_i} \\rVert^2
        \\quad \\text{with} \\quad |\\{i : z_i = k\\}| = s_k ,

    which for given centers is a transport problem whose solution is whole [1]_. Its dual variables, one a cluster, cut
    the space into a power diagram: row i is in the cluster with the smallest
    :math:`\\lVert x_i - \\mu_k \\rVert^2 - v_k` [2]_. ``predict`` answers by the same rule, so that new rows from the
    same source come in about the same shares, but no sizes are forced on them. Each assignment is exact, whatever
    `solver`: rows move one by one along shortest paths in a graph with one node a cluster.

    Sizes are whole numbers next to those asked for; equal ones differ by at most one row. There are two exceptions.
    Equal rows cannot be told apart by their values and stay together, so that sizes differ by up to the number of equal
    rows. A known class with more labeled rows than its share keeps them, and the other clusters share the rest; with
    `sizes` this is an error. Rows are counted, so there is no ``sample_weight``.

    Memory grows with rows times clusters, and the time of an assignment with that and with the number of rows that
    nearest centers would put elsewhere: tens of thousands of rows are fine, millions are not.

    References
    ----------
    .. [1] P. S. Bradley, K. P. Bennett, A. Demiriz, "Constrained K-Means Clustering", Microsoft Research, 2000.
    .. [2] F. Aurenhammer, F. Hoffmann, B. Aronov, "Minkowski-Type Theorems and Least-Squares Clustering",
       Algorithmica 20, 1998.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.preprocessing import scale
    >>> from sklearn_sslcluster.quantization import BalancedKMeans
    >>> X = scale(load_wine().data)
    >>> BalancedKMeans(4, random_state=0).fit(X).sizes_
    array([45, 45, 44, 44])
    >>> BalancedKMeans(sizes=[0.5, 0.3, 0.2], n_clusters="auto", random_state=0).fit(X).sizes_
    array([89, 53, 36])
    """

    _parameter_constraints: dict = {
        **BaseCenterEstimator._parameter_constraints,
        "sizes": ["array-like", None],
        "solver": [StrOptions({"auto", "paths", "sinkhorn"})],
    }

    def __init__(
        self,
        n_clusters: Any = 8,
        *,
        sizes: Any = None,
        solver: str = "auto",
        n_init: int = 10,
        max_iter: int = 100,
        tol: float = 0.0,
        k_max: int | None = None,
        unlabeled_value: Any = -1,
        random_state: Any = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.sizes = sizes
        self.solver = solver
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.k_max = k_max
        self.unlabeled_value = unlabeled_value
        self.random_state = random_state

    @fit_method
    def fit(self, X: Any, y: Any = None) -> BalancedKMeans:
        """Find clusters of the sizes asked for.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training rows, float64 or float32 (others are converted).
        y : array-like of shape (n_samples,), default=None
            Partial labels: ints, strings, bools or categories, and -1, None, NaN or ``pd.NA`` for rows without one.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If `X` has NaN or infinite values, `y` has another length or holds floats that are not whole numbers, or
            `sizes` are not positive, not one a cluster, or less than the labeled rows of a class.
        TypeError
            If `y` holds values that are no labels, dates for example.
        """
        X = self._check_rows(X, reset=True)
        labels = self._encode_labels(y, X)
        random_state = check_random_state(self.random_state)
        problem = pose_problem(
            RowBlocks(X, (labels.codes if labels.n_known else None, None)), labels.n_known, random_state, center=True
        )
        check_range(problem, X.dtype)
        rows = _balanced_rows(problem)
        k, scores = self._count(problem, labels, random_state)
        shares = self._shares(labels, k)
        settings = BalancedSettings(self.n_init, self.max_iter, self.tol, self.solver)
        with fit_progress(self, X, y, max_steps=None, step_name="start") as step:

            def on_step(now: BalancedFit) -> bool:
                return step(lambda: self._state(problem, labels, now))

            fit = solve_balanced(rows, k - labels.n_known, shares, settings, random_state, on_step)
        if self.sizes is not None and len(fit.centers) < k:
            raise ValueError(f"sizes asks for {k} clusters, but X has distinct rows for {len(fit.centers)} only.")
        fitted = self._balanced_attributes(problem, labels, rows, fit)
        self._warn_if_fewer(k, fitted["n_clusters_"])
        self._warn_if_unbalanced(labels, fitted["sizes_"], shares, rows.unit)
        self._set_fitted(**fitted, **scores)
        return self

    def predict(self, X: Any, *, reject: float | None = None, nearest: bool = False) -> np.ndarray:
        """Name the class of each row: that of the smallest squared distance less ``potentials_``.

        The sizes of what comes out depend on the rows, they are not forced.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        reject : float in (0, 1], default=None
            Leave a row unassigned (-1, or None where names are not integers) when it lies farther from its center
            than this quantile of the training rows of that class; 0.99 for example.
        nearest : bool, default=False
            Name the class of the nearest center, and leave the potentials out of it: training rows may then get another
            class than in ``labels_``.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            Names of ``classes_``.
        """
        X = self._check_fitted_rows(X)
        codes = super()._assign(X) if nearest else self._assign(X)
        if reject is not None:
            codes = self._reject(codes, self._class_distances(X, X, codes), reject)
        return decode(codes, self.classes_, unlabeled_value=self.unlabeled_value)

    def novelty_score(self, X: Any) -> np.ndarray:
        """How much a row looks like a novel rather than a known class.

        With :math:`r_k = \\sqrt{\\lVert x - \\mu_k \\rVert^2 - v_k}`, the smallest of known classes over the sum of
        that and the smallest of novel classes: above one half exactly where ``predict`` names a novel class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        score : ndarray of shape (n_samples,)
            In [0, 1]; 0 everywhere if no novel class was found, 1 if no class is known.
        """
        X = self._check_fitted_rows(X)

        def lifted_distances(block: Any, row_data: tuple, parameters: tuple) -> tuple:
            around, shift, heights = parameters
            Z, lifted = lift(shifted(block, shift), around, heights)
            return center_distances(Z, (), (lifted, None))

        (distances,) = self._blocks(X).map(lifted_distances, _cells(X, self.cluster_centers_, self.potentials_))
        return self._novelty(self._assign(X), distances)

    def _assign(self, Z: Any) -> np.ndarray:
        return self._blocks(Z).map(cell_codes, _cells(Z, self.cluster_centers_, self.potentials_))[0]

    def _count(
        self, problem: CenterProblem, labels: PartialLabels, random_state: np.random.RandomState
    ) -> tuple[int, dict[str, Any]]:
        """(number of clusters asked for, scores of "auto")."""
        if self.n_clusters != "auto":
            return labels.n_known + self._n_novel_wanted(labels), {}
        if self.sizes is not None and labels.unlabeled.any():
            return len(self.sizes), {"n_clusters_scores_": {}}
        ks, settings = self._candidates(labels.n_known), LloydSettings(self.n_init)
        k, scores = choose_n_clusters(problem, ks, settings, random_state, move_known=True)
        return k, {"n_clusters_scores_": scores}

    def _shares(self, labels: PartialLabels, k: int) -> np.ndarray:
        """Relative sizes of the clusters, checked."""
        # Where every row has its class there is nothing to balance.
        if self.sizes is None or not labels.unlabeled.any():
            return np.ones(k)
        try:
            shares = np.asarray(self.sizes, dtype=np.float64)
        except (TypeError, ValueError):
            raise ValueError(f"sizes must be one positive number a cluster, got {self.sizes!r}.") from None
        if shares.ndim != 1 or not np.isfinite(shares).all() or not (shares > 0).all():
            raise ValueError(f"sizes must be one positive number a cluster, got {self.sizes!r}.")
        if len(shares) != k or k < labels.n_known:
            raise ValueError(
                f"sizes has {len(shares)} entries, expected one a cluster: n_clusters={self.n_clusters!r}, and y has "
                f"{labels.n_known} known classes."
            )
        wanted = np.ceil(len(labels.codes) * shares / shares.sum() - 1e-9)
        over = self._first_over(labels, wanted)
        if over is not None:
            raise ValueError(
                f"Class {labels.classes.tolist()[over]!r} has {_labeled(labels)[over]} labeled rows, more than the "
                f"{int(wanted[over])} that sizes leaves it; enlarge its size, or leave labels out."
            )
        return shares

    def _first_over(self, labels: PartialLabels, wanted: np.ndarray) -> int | None:
        over = np.flatnonzero(_labeled(labels) > wanted[: labels.n_known])
        return int(over[0]) if len(over) else None

    def _warn_if_unbalanced(self, labels: PartialLabels, sizes: np.ndarray, shares: np.ndarray, unit: int) -> None:
        if not labels.unlabeled.any():
            return
        n_rows = len(labels.codes)
        wanted = np.ceil(n_rows * shares / shares.sum() - 1e-9)
        over = self._first_over(labels, wanted)
        if over is not None:
            warn_user(
                f"Class {labels.classes.tolist()[over]!r} has {_labeled(labels)[over]} labeled rows, more than its "
                f"share of {int(wanted[over])}: it keeps them, and the other clusters share the rest. Ask for other "
                "sizes, or leave labels out."
            )
        if len(sizes) != len(shares):
            return
        labeled = np.append(_labeled(labels), np.zeros(len(shares) - labels.n_known))
        targets = target_sizes(labeled, n_rows, shares)
        if (np.abs(np.sort(sizes) - np.sort(targets)) >= unit + 1e-6).any():
            warn_user(
                f"The clusters have {sizes.min()} to {sizes.max()} rows, not the sizes asked for: rows that are equal "
                "stay together. Leave duplicates out, or add columns that tell them apart."
            )

    def _state(self, problem: CenterProblem, labels: PartialLabels, now: BalancedFit) -> dict[str, Any]:
        """Attributes with which callbacks can use the estimator as if the fit had stopped here."""
        centers = shifted_centers(now.centers, problem.frame.shift)
        names = self._name_classes(labels.classes, len(centers) - labels.n_known)
        return {"cluster_centers_": centers, "potentials_": now.potentials, "n_clusters_": len(centers), **names}

    def _balanced_attributes(
        self, problem: CenterProblem, labels: PartialLabels, rows: BalancedRows, fit: BalancedFit
    ) -> dict[str, Any]:
        """What follows from centers and potentials, novel classes by decreasing size, none of them empty."""
        X, n_known = problem.source.X, labels.n_known
        centers = shifted_centers(fit.centers, problem.frame.shift)
        codes = self._blocks(X).map(cell_codes, _cells(X, centers, fit.potentials))[0]
        free_sizes = np.bincount(codes[labels.unlabeled], minlength=len(centers))
        order = n_known + order_by_size(free_sizes[n_known:], centers[n_known:])
        kept = np.append(np.arange(n_known), order[free_sizes[order] > 0])
        centers, potentials = centers[kept], fit.potentials[kept]
        rank = np.full(len(free_sizes), UNLABELED)
        rank[kept] = np.arange(len(kept))
        codes = np.where(labels.unlabeled, rank[codes], labels.codes)
        names = self._name_classes(labels.classes, len(kept) - n_known)
        return {
            **names,
            "labels_": decode(codes, names["classes_"]),
            "sizes_": np.bincount(codes, minlength=len(kept)),
            "cluster_centers_": centers,
            "potentials_": potentials,
            "n_clusters_": len(kept),
            "known_share_": float(free_sizes[:n_known].sum() / max(free_sizes.sum(), 1)),
            "inertia_": float((self._center_distances(X, codes, centers).astype(np.float64) ** 2).sum()),
            "n_iter_": fit.n_iter,
            "distance_quantiles_": self._cell_quantiles(problem, rows, rank[fit.codes], labels.codes, centers),
            "_n_features_out": len(kept),
        }

    def _cell_quantiles(
        self,
        problem: CenterProblem,
        rows: BalancedRows,
        free_codes: np.ndarray,
        label_codes: np.ndarray,
        centers: np.ndarray,
    ) -> np.ndarray:
        """Percentiles of the distance to the center, of the distinct training rows of each class."""
        shift = problem.frame.shift
        around = centers if shift is None else centers - shift
        seated = free_codes >= 0
        parts = [(rows.X[seated], free_codes[seated], rows.weight[seated])]
        if problem.source.row_data[0] is not None:
            labeled = labeled_rows(problem.source, np.random.RandomState(0))
            Z = shifted(labeled.X.astype(np.float64), shift)
            parts.append((Z, label_codes[labeled.rows], labeled.weight))
        distances = np.concatenate([distances_to(Z, around[codes]) for Z, codes, _ in parts])
        codes = np.concatenate([codes for _, codes, _ in parts])
        weight = np.concatenate([weight for _, _, weight in parts])
        return quantiles_by_class(distances, codes, weight, len(centers))


def _balanced_rows(problem: CenterProblem) -> BalancedRows:
    """All distinct rows without a label, as seen from the middle."""
    source, sample = problem.source, problem.sample
    if sample.complete:
        return BalancedRows(sample.X, sample.weight, problem.anchors)
    distinct = distinct_rows(source, source.row_data, max_rows=source.n_rows, random_state=np.random.RandomState(0))
    return BalancedRows(shifted(distinct.X.astype(np.float64), problem.frame.shift), distinct.weight, problem.anchors)


def _labeled(labels: PartialLabels) -> np.ndarray:
    """Labeled rows of each known class."""
    return np.bincount(labels.codes[~labels.unlabeled], minlength=labels.n_known)


def _cells(X: Any, centers: np.ndarray, potentials: np.ndarray) -> tuple:
    """(centers as seen from their middle, the middle, their heights above the rows)."""
    shift = None if issparse(X) or not len(centers) else centers.mean(axis=0)
    return centers if shift is None else centers - shift, shift, np.sqrt(np.maximum(-potentials, 0.0))
