"""Gaussian clusters of different shapes by a semidefinite relaxation adjusted to their covariances."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy.special import logsumexp
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ..base import PartialLabelMixin, check_range, check_weights, fit_method, order_by_size
from ..engine import RowBlocks, fit_progress
from ..labels import UNLABELED, decode
from ..numerics import (
    COVARIANCE_TYPES,
    Gaussians,
    make_gaussians,
    n_parameters,
    pose_problem,
    quantiles_by_class,
    size_statistics_of_codes,
)
from ._likelihood_rows import MeasuredRows, measure
from ._likelihood_search import Run, SearchSettings, search, settle, trivial_run
from ._likelihood_starts import INITS, improved_starts
from ._profile_likelihood import GroupProblem, Partition, log_volumes, point_costs

_LOG_2PI = float(np.log(2 * np.pi))
# Numbers of clusters without improvement after which "auto" stops.
_PATIENCE = 4


class LikelihoodAdjustedSDP(ClassNamePrefixFeaturesOutMixin, TransformerMixin, PartialLabelMixin, BaseEstimator):
    """Gaussian clusters of different shapes, by the iterated likelihood-adjusted semidefinite program (iLA-SDP).

    For given covariances the most likely partition is found through a semidefinite relaxation; from the partition
    follow new covariances; and so on, from several starts, as long as the likelihood grows. Unlike the assignments of
    expectation-maximization the relaxation moves all rows and all means at once.

    Parameters
    ----------
    n_clusters : int or "auto", default=8
        Number of classes, known and novel together. ``"auto"`` takes the number with the best classification
        likelihood less a price for the parameters, see Notes.
    covariance_type : {"full", "tied", "diag", "spherical"}, default="full"
        Each cluster has a covariance of its own ("full"), a diagonal one, or one multiple of the identity; or all
        share one ("tied"), and the relaxation becomes that of k-means in the metric of the shared covariance.
    n_init : int, default=5
        Starts that are followed: those with the smallest ``F`` among the many that are tried.
    init : {"best", "ward", "k-means++", "spectral", "random"}, default="best"
        Where starts come from. "best" compares all of them: the best of ten runs of k-means, Ward's agglomeration, a
        spectral clustering, and ``4 * n_init`` partitions around random rows; each of them improved by classification
        expectation-maximization, at once and after soft iterations.
    reg_covar : float or "auto", default="auto"
        Rows, counted in distinct ones, that a spherical covariance is worth beside the rows of a cluster: with `n_a`
        rows it has the share ``reg_covar / (n_a + reg_covar)`` in the estimate. ``"auto"`` is the number of features
        for "full" and "tied", else 1.
    max_outer : int, default=20
        Relaxations solved from each start at most.
    dim_reduction : {"lda"} or None, default=None
        "lda" solves each relaxation on the ``n_clusters - 1`` discriminant axes of the current partition. Likelihoods
        are compared in all dimensions.
    solver : {"auto", "low-rank", "cvxpy"}, default="auto"
        "low-rank": nonnegative thin factors, in time linear in the rows. "cvxpy": the reference, by SCS, for about a
        hundred rows. "auto" is "low-rank".
    max_iter : int, default=1000
        Gradient steps for a relaxation; a tenth of the iterations of SCS.
    tol : float, default=1e-3
        The solver stops when the factors change by less, and the row sums are met up to this.
    k_max : int, default=None
        Largest number of classes that ``n_clusters="auto"`` tries; None for ``max(30, 3 * n_known)``.
    unlabeled_value : int, str, bool or None, default=-1
        Value of `y` that stands for "no label", besides None, NaN and ``pd.NA``.
    random_state : int, RandomState instance or None, default=None
        Seed of the starts, and of the noise in the factors.

    Attributes
    ----------
    classes_ : ndarray of shape (n_clusters_,)
        Names of the classes: known ones in sorted order, then novel ones by decreasing size.
    novel_classes_ : ndarray of shape (n_novel,)
        Names of the novel classes.
    labels_ : ndarray of shape (n_samples,)
        Class of each training row: its label, or what ``predict`` says.
    n_clusters_ : int
        Number of classes found.
    n_clusters_scores_ : dict of int to float
        With ``n_clusters="auto"``, the criterion of each number of classes tried; lower is better.
    means_ : ndarray of shape (n_clusters_, n_features)
        Means, in the order of ``classes_``.
    covariances_ : ndarray
        Covariances, shaped as those of scikit-learn's mixtures.
    precisions_cholesky_ : ndarray
        Cholesky factors of the precisions, or square roots of them; shaped like ``covariances_``.
    class_prior_ : ndarray of shape (n_clusters_,)
        Share of each class among all training rows; enters ``score`` only.
    membership_ : ndarray of shape (n_samples, n_clusters_)
        Share of each training row in each class in the last relaxation: rows sum to 1, and a row between classes
        belongs to several. Rows that took no part, those of weight 0 for example, have what ``predict_proba`` says.
    objective_ : float
        ``F`` of ``labels_``: twice the negative log classification likelihood with ridge, see Notes. Lower is better.
    relaxed_objective_ : float
        Value of the last relaxation; below ``objective_`` by what fractional memberships gain. With
        ``dim_reduction="lda"`` it is in the units of the discriminant axes. The solver is local: it is no bound.
    objective_path_ : list of float
        ``F`` of the start and after each relaxation of the best start; never rises.
    n_iter_ : int
        Relaxations solved from the best start.
    converged_ : bool
        Whether the partition stopped changing before `max_outer`.
    distance_quantiles_ : ndarray of shape (n_clusters_, 101)
        Percentiles of the Mahalanobis distance of the training rows of each class, for ``predict(X, reject=...)``.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, when all are strings.

    See Also
    --------
    SDPKMeans : Spherical clusters of one size, with a certificate.
    sklearn_sslcluster.mixture.SemiSupervisedGaussianMixture : Expectation-maximization with partial labels.

    Notes
    -----
    What is minimized over partitions and covariances is

    .. math::
        F = \\sum_a \\Big[ n_a \\log|\\Sigma_a| + \\sum_{i \\in G_a} \\lVert x_i - \\bar x_a \\rVert^2_{\\Sigma_a^{-1}}
            + \\nu \\big( \\log|\\Sigma_a| - d \\log s + s \\operatorname{tr} \\Sigma_a^{-1} - d \\big) \\Big]

    with the mean variance :math:`s` of a feature within the clusters of k-means and :math:`\\nu` the `reg_covar` (for
    "tied" the last term stands once). Given the partition, the best covariance is
    :math:`(S_a + \\nu s I) / (n_a + \\nu)`. Without a ridge clusters of few rows would be infinitely likely. Given the
    covariances, and up to what does not depend on the partition, `F` is :math:`\\sum_a \\langle A_a, Z_a \\rangle` with

    .. math::
        A_a(i, j) = \\log|\\Sigma_a| + \\tfrac12 \\lVert x_i - x_j \\rVert^2_{\\Sigma_a^{-1}}, \\qquad
        Z_a = 1_{G_a} 1_{G_a}^T / n_a,

    relaxed to :math:`Z_a \\succeq 0`, :math:`Z_a \\ge 0`, :math:`\\operatorname{tr} Z_a = 1` and
    :math:`\\sum_a Z_a 1 = 1` [1]_. The low-rank solver puts :math:`Z_a = U_a U_a^T` with nonnegative :math:`U_a`, which
    is a little tighter than the relaxation and no longer convex. Its solution is rounded, improved by classification
    expectation-maximization [2]_, and rejected if `F` is not smaller.

    A labeled row may belong to the block of its class only. The labeled rows of a class are one weighted point, and so
    are equal rows: a row of weight 2 is the same as the row twice. Above about 30,000 distinct rows a sample of them is
    fitted.

    Departures from [1]_: the ridge, without which clusters of few rows are infinitely likely; the comparison of many
    starts by `F`, since near a poor partition the covariances are poor and the relaxation confirms them; and that `F`
    never rises. Most of the accuracy comes from the starts: hard iterations, soft ones, and soft ones that begin with
    flatter densities and rounder covariances. The relaxation then corrects some rows, rarely many.

    The default ridge was chosen on planted clusters of different shapes (200 rows, condition number 10, 30 replicates
    of each of five settings): of 0.1, 0.3, 1 and 3 times the number of features, 1 gave the lowest mean error in four
    settings and was 0.1 percent points behind in the fifth. In 20 features 0.1 cost eight points, 3 cost three.

    The likelihood of skewed or heavy-tailed clusters may be largest for a dense core and the rows around it, as it is
    for two clusters of scikit-learn's breast cancer table. There a shared covariance ("tied") finds the diagnosis.

    ``n_clusters="auto"`` minimizes :math:`F - 2 \\sum_a n_a \\log(n_a / n) + p \\log n` for the improved starts, with
    `p` the number of free parameters; it stops after four numbers in a row without improvement.

    ``score`` is the mean log density of rows under the mixture with the shares ``class_prior_``; the posterior of
    ``predict_proba`` and the choice of ``predict`` give all classes the same share, as `F` does.

    References
    ----------
    .. [1] Y. Zhuang, X. Chen, Y. Yang, "Likelihood adjusted semidefinite programs for clustering heterogeneous data",
       ICML 2023.
    .. [2] G. Celeux, G. Govaert, "A classification EM algorithm for clustering and two stochastic versions",
       Computational Statistics and Data Analysis 14, 1992.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_sslcluster.sdp import LikelihoodAdjustedSDP
    >>> rng = np.random.default_rng(0)
    >>> flat, tall = rng.normal(size=(60, 2)) * [6, 0.3], rng.normal(size=(60, 2)) * [0.3, 3] + [0, 5]
    >>> model = LikelihoodAdjustedSDP(2, random_state=0).fit(np.vstack([flat, tall]))
    >>> first = model.labels_[0]
    >>> int((model.labels_[:60] == first).sum()), np.round(np.sqrt(model.covariances_[first].diagonal()))
    (60, array([5., 1.]))
    """

    _parameter_constraints: dict = {
        "n_clusters": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "covariance_type": [StrOptions(set(COVARIANCE_TYPES))],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "init": [StrOptions({"best", *INITS})],
        "reg_covar": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "max_outer": [Interval(Integral, 1, None, closed="left")],
        "dim_reduction": [StrOptions({"lda"}), None],
        "solver": [StrOptions({"auto", "low-rank", "cvxpy"})],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "k_max": [Interval(Integral, 1, None, closed="left"), None],
        "unlabeled_value": [Integral, str, "boolean", None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_clusters: Any = 8,
        *,
        covariance_type: str = "full",
        n_init: int = 5,
        init: str = "best",
        reg_covar: float | str = "auto",
        max_outer: int = 20,
        dim_reduction: str | None = None,
        solver: str = "auto",
        max_iter: int = 1000,
        tol: float = 1e-3,
        k_max: int | None = None,
        unlabeled_value: Any = -1,
        random_state: Any = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.covariance_type = covariance_type
        self.n_init = n_init
        self.init = init
        self.reg_covar = reg_covar
        self.max_outer = max_outer
        self.dim_reduction = dim_reduction
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.k_max = k_max
        self.unlabeled_value = unlabeled_value
        self.random_state = random_state

    @fit_method
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> LikelihoodAdjustedSDP:
        """Find the classes of partially labeled rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows.
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
            If `X` has NaN or infinite values, `y` has another length or holds floats that are not whole numbers, or all
            rows of a class have weight 0.
        TypeError
            If `y` holds values that are no labels, dates for example.
        """
        random_state = check_random_state(self.random_state)
        rows = self._measure(X, y, sample_weight, random_state)
        scores: dict[str, Any] = {}
        if self.n_clusters == "auto":
            n_novel, scores["n_clusters_scores_"] = self._choose_n_novel(rows, random_state)
        else:
            n_novel = self._n_novel_wanted(rows.labels)
        problem = self._group_problem(rows, rows.labels.n_known + min(n_novel, rows.most_novel), random_state)
        with fit_progress(self, X, y, max_steps=None, step_name="start") as step:

            def on_run(now: Run) -> bool:
                return step(lambda: self._attributes(rows, problem, now))

            run = trivial_run(problem) or search(problem, self._search_settings(), random_state, on_run)
        fitted = self._attributes(rows, problem, run)
        if rows.labels.unlabeled.any():
            self._warn_if_fewer(rows.labels.n_known + n_novel, fitted["n_clusters_"])
        self._set_fitted(**fitted, **scores)
        return self

    def predict(self, X: Any, *, reject: float | None = None) -> np.ndarray:
        """Name the most likely class of each row, known or novel, all classes having the same share.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        reject : float in (0, 1], default=None
            Leave a row unassigned (-1, or None where names are not integers) when its Mahalanobis distance from its
            class exceeds this quantile of the training rows of that class; 0.99 for example.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            Names of ``classes_``.
        """
        costs = self._costs(X)
        codes = costs.argmin(axis=1)
        if reject is not None:
            codes = self._reject(codes, self._distances(costs)[np.arange(len(codes)), codes], reject)
        return decode(codes, self.classes_, unlabeled_value=self.unlabeled_value)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Posterior probability of each class, all classes having the same share.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        resp : ndarray of shape (n_samples, n_clusters_)
            Columns in the order of ``classes_``; rows sum to 1.
        """
        return _posterior(self._costs(X))

    def transform(self, X: Any) -> np.ndarray:
        """Mahalanobis distance of each row to every class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        distances : ndarray of shape (n_samples, n_clusters_)
            Columns in the order of ``classes_``.
        """
        return self._distances(self._costs(X))

    def score_samples(self, X: Any) -> np.ndarray:
        """Log density of each row under the mixture of the classes with the shares ``class_prior_``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        log_prob : ndarray of shape (n_samples,)
            In nats.
        """
        log_densities = -(self._costs(X) + self.n_features_in_ * _LOG_2PI) / 2
        return logsumexp(log_densities + np.log(self.class_prior_), axis=1)

    def score(self, X: Any, y: Any = None) -> float:
        """Mean log density of rows; uses no labels, and can be compared between numbers of clusters.

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

    def novelty_score(self, X: Any) -> np.ndarray:
        """How much a row looks like a novel rather than a known class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        score : ndarray of shape (n_samples,)
            The largest density of a novel class over the sum of the largest of a novel and of a known one: above one
            half exactly where ``predict`` names a novel class. 0 everywhere if no novel class was found, 1 if no class
            is known.
        """
        costs = self._costs(X)
        n_known = len(self.classes_) - len(self.novel_classes_)
        if n_known in (0, costs.shape[1]):
            return np.full(len(costs), 0.0 if n_known else 1.0)
        difference = costs[:, n_known:].min(axis=1) - costs[:, :n_known].min(axis=1)
        return 1 / (1 + np.exp(np.clip(difference / 2, -700, 700)))

    def _check_rows(self, X: Any, *, reset: bool = False) -> Any:
        return self._validate_rows(X, reset=reset, dtype=[np.float64, np.float32])

    def _costs(self, X: Any) -> np.ndarray:
        """Log volume plus squared Mahalanobis distance, (n_samples, n_clusters_)."""
        check_is_fitted(self)
        return _map_costs(RowBlocks(self._check_rows(X)), self._gaussians())

    def _gaussians(self) -> Gaussians:
        return Gaussians(self.covariance_type, self.means_, self.covariances_, self.precisions_cholesky_)

    def _distances(self, costs: np.ndarray) -> np.ndarray:
        return np.sqrt(np.maximum(costs - log_volumes(self._gaussians()), 0.0))

    def _measure(self, X: Any, y: Any, sample_weight: Any, random_state: np.random.RandomState) -> MeasuredRows:
        """Validate and measure the input of ``fit``."""
        X = self._check_rows(X, reset=True)
        sample_weight = self._check_weights(sample_weight, X)
        labels = self._encode_labels(y, X)
        codes = labels.codes if labels.n_known else None
        n_groups = labels.n_known if self.n_clusters == "auto" else max(self.n_clusters, labels.n_known)
        problem = pose_problem(
            RowBlocks(X, (codes, sample_weight)), labels.n_known, random_state, n_groups, center=True
        )
        check_weights(problem, labels)
        check_range(problem, X.dtype)
        return measure(problem, labels)

    def _group_problem(self, rows: MeasuredRows, n_groups: int, random_state: np.random.RandomState) -> GroupProblem:
        strength = self.reg_covar
        if strength == "auto":
            strength = rows.X.shape[1] if self.covariance_type in ("full", "tied") else 1
        return rows.group_problem(n_groups, self.covariance_type, float(strength), random_state)

    def _search_settings(self) -> SearchSettings:
        return SearchSettings(
            self.n_init, self.init, self.max_outer, self.dim_reduction, self.solver, self.max_iter, self.tol
        )

    def _choose_n_novel(self, rows: MeasuredRows, random_state: np.random.RandomState) -> tuple[int, dict[int, float]]:
        """(novel classes, criterion of each number of classes tried)."""
        n_known = rows.labels.n_known
        scores: dict[int, float] = {}
        for n_clusters in self._candidates(n_known):
            if n_clusters - n_known > rows.most_novel:
                break
            problem = self._group_problem(rows, n_clusters, random_state)
            run = trivial_run(problem)
            best = run.partition if run else improved_starts(problem, "best", 1, random_state)[0]
            scores[n_clusters] = _criterion(problem, best)
            if n_clusters - min(scores, key=lambda k: scores[k]) >= _PATIENCE:
                break
        return min(scores, key=lambda k: scores[k]) - n_known, scores

    def _attributes(self, rows: MeasuredRows, problem: GroupProblem, run: Run) -> dict[str, Any]:
        """Fitted attributes that follow from a run."""
        labels, blocks, n_known = rows.labels, rows.problem.source, rows.labels.n_known
        settled, partition, kept = settle(problem, run.partition)
        found = partition.gaussians
        gaussians, _ = make_gaussians(
            problem.kind, found.means * rows.unit + rows.shift, found.covariances * rows.unit**2
        )
        order, codes = _order(blocks, gaussians, n_known)
        gaussians = gaussians.subset(order)
        costs = _map_costs(blocks.like(blocks.X), gaussians)
        np.copyto(codes, labels.codes, where=labels.codes != UNLABELED)
        names = self._name_classes(labels.classes, len(order) - n_known)
        mass = run.mass[kept[order]]
        distances = costs[np.arange(len(codes)), codes] - log_volumes(gaussians)[codes]
        weight = blocks.row_data[1]
        counted = np.ones(len(codes), dtype=bool) if weight is None else weight > 0
        path = run.path if settled is problem else [partition.value]
        total = float(partition.sizes.sum())
        return {
            **names,
            "labels_": decode(codes, names["classes_"]),
            "n_clusters_": len(order),
            "means_": gaussians.means,
            "covariances_": gaussians.covariances,
            "precisions_cholesky_": gaussians.precisions_cholesky,
            "class_prior_": partition.sizes[order] / total,
            "membership_": _membership(mass, rows.point_of, costs),
            "objective_": rows.in_data_units(path[-1], total),
            "relaxed_objective_": rows.in_data_units(run.relaxed, total),
            "objective_path_": [rows.in_data_units(value, total) for value in path],
            "n_iter_": run.n_iter,
            "converged_": run.converged,
            "distance_quantiles_": quantiles_by_class(
                np.sqrt(np.maximum(distances[counted], 0)),
                codes[counted],
                np.ones(len(codes))[counted] if weight is None else weight[counted],
                len(order),
            ),
            "_n_features_out": len(order),
        }


def _block_costs(block: Any, row_data: tuple, gaussians: Gaussians) -> tuple[np.ndarray]:
    return (point_costs(block.astype(np.float64), gaussians).T,)


def _map_costs(blocks: RowBlocks, gaussians: Gaussians) -> np.ndarray:
    """Costs of rows in groups, (n_rows, n_groups)."""
    return blocks.map(_block_costs, gaussians)[0]


def _posterior(costs: np.ndarray) -> np.ndarray:
    shares = np.exp((costs.min(axis=1, keepdims=True) - costs) / 2)
    return shares / shares.sum(axis=1, keepdims=True)


def _order(blocks: RowBlocks, gaussians: Gaussians, n_known: int) -> tuple[np.ndarray, np.ndarray]:
    """(groups in the order of their classes, class of each row): novel groups by decreasing size."""
    codes = _map_costs(blocks.like(blocks.X), gaussians).argmin(axis=1)
    sizes = blocks.like(blocks.X, (codes, *blocks.row_data)).sum(size_statistics_of_codes, gaussians.n_components)[0]
    order = np.concatenate([np.arange(n_known), n_known + order_by_size(sizes[n_known:], gaussians.means[n_known:])])
    return order.astype(np.intp), np.argsort(order)[codes]


def _membership(mass: np.ndarray, point_of: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """Shares of the rows in the classes; rows that took no part have their posterior."""
    total = mass.sum(axis=0)
    mass = np.where(total > 0, mass / np.where(total > 0, total, 1), 1 / len(mass))
    return np.where((point_of >= 0)[:, None], mass.T[np.maximum(point_of, 0)], _posterior(costs))


def _criterion(problem: GroupProblem, partition: Partition) -> float:
    """`F` of a partition with its shares, and a price for the parameters."""
    sizes = partition.sizes[partition.sizes > 0]
    total = sizes.sum()
    shares = -2 * float(sizes @ np.log(sizes / total))
    return partition.value + shares + n_parameters(problem.kind, problem.n_groups, problem.n_features) * np.log(total)
