"""Mixture whose number of components is found by split and merge moves."""

from __future__ import annotations

from dataclasses import replace
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from ..base import fit_method
from ..engine import fit_progress
from ..labels import PartialLabels
from ..numerics import (
    CenterProblem,
    MaximizationSettings,
    MixtureFit,
    MixtureTask,
    MoveSettings,
    SplitMergeRun,
    best_fits,
    expectation_maximization,
    start_mixture,
    thinned,
)
from ._base import BaseGaussianMixture
from ._fit_tools import MOST_SEARCHED_ROWS, feature_variances, niw_prior, pose, whole_rows

# Degrees of freedom of the prior beyond the number of features: for each feature, and at most.
_DOF_PER_FEATURE, _MOST_DOF = 5, 100
# Without labels: components to begin with, whose spread the prior takes, and how little it is trusted.
_UNLABELED_START = 8
_UNLABELED_DOF = 3
_SMALLEST_RIDGE = 1e-6
_EM_ITER = 30


class SplitMergeGaussianMixture(BaseGaussianMixture):
    """Gaussian mixture that splits and merges its components until their number fits the rows.

    Expectation-maximization alternates with moves that are judged by the marginal likelihood of a Dirichlet process
    mixture; components of known classes keep their labeled rows.

    Parameters
    ----------
    n_components_init : int or "auto", default="auto"
        Components to begin with, known classes included; ``"auto"`` takes half as many novel as known classes, at least
        one.
    concentration : float, default=1.0
        Concentration of the Dirichlet process (alpha); enters by its logarithm only.
    acceptance : {"greedy", "metropolis"}, default="greedy"
        ``"greedy"`` makes the moves that raise the marginal likelihood. ``"metropolis"`` makes a move with probability
        ``min(1, ratio)``, and keeps the most probable partition it has seen.
    prior : "labeled" or dict, default="labeled"
        Normal-inverse-Wishart prior of every component. ``"labeled"``: its mean covariance is that within the known
        classes, with ``n_features + min(5 * n_features, 100)`` degrees of freedom; without labels, that within a start
        of eight components, with ``n_features + 3``. A dict may hold ``"mean"``, ``"mean_strength"``, ``"dof"`` and
        ``"scale"``, see :class:`SemiSupervisedGaussianMixture`.
    min_size : float, default=5
        Fewest distinct rows that a split leaves on each side.
    absorb : bool, default=True
        Whether a known class may absorb novel components.
    class_weights : {"unlabeled", "all", "uniform"}, default="unlabeled"
        Rows that ``weights_`` are estimated on, see :class:`SemiSupervisedGaussianMixture`.
    labeled_weight : float, default=1.0
        How many unlabeled rows a labeled row counts as.
    n_init : int, default=3
        Runs from different starts; the result has the most probable partition.
    max_rounds : int, default=30
        Rounds of moves in a run.
    max_iter : int, default=200
        Iterations of expectation-maximization in the end; at most 30 after each round.
    tol : float, default=1e-4
        Expectation-maximization ends when the mean penalized log likelihood of a row grows by less.
    k_max : int, default=None
        Most components; None for ``max(30, 3 * n_known)``.
    block_size : int or "auto", default="auto"
        Rows worked on at a time; ``"auto"`` takes about 8 MiB.
    device : {"cpu", "cuda", "auto"}, default=None
        Where iterations over all rows are computed: None for numpy, otherwise torch, on the CPU or a GPU. ``"auto"``
        takes a GPU where there is one, else numpy. Starts, ``predict`` and sparse rows are left to numpy.
    unlabeled_value : int, str, bool or None, default=-1
        Value of `y` that stands for "no label", besides None, NaN and ``pd.NA``.
    random_state : int, RandomState instance or None, default=None
        Seed of the starts, the proposals and the walk.

    Attributes
    ----------
    classes_ : ndarray of shape (n_clusters_,)
        Names of the classes: known ones in sorted order, then novel ones by decreasing size.
    novel_classes_ : ndarray of shape (n_novel,)
        Names of the novel classes.
    labels_ : ndarray of shape (n_samples,)
        Class of each training row: its label, or what ``predict`` says.
    component_labels_ : ndarray of shape (n_components_,)
        Class of each component.
    is_novel_ : ndarray of shape (n_components_,), dtype bool
        Whether the class of a component is novel.
    weights_ : ndarray of shape (n_components_,)
        Share of each component, by `class_weights`.
    class_prior_ : ndarray of shape (n_components_,)
        Share of each component among all training rows, labeled and unlabeled.
    means_ : ndarray of shape (n_components_, n_features)
        Means, in the order of ``classes_``.
    covariances_ : ndarray of shape (n_components_, n_features, n_features)
        Covariances: modes of the posterior.
    precisions_cholesky_ : ndarray of shape (n_components_, n_features, n_features)
        Cholesky factors of the precisions.
    n_components_, n_clusters_ : int
        Number of components found.
    history_ : list of dict
        Accepted moves of the chosen run in order: ``"round"``, ``"move"`` ("split" or "merge"), ``"components"`` (their
        numbers at the time), ``"log_ratio"`` and ``"n_components"`` afterwards.
    log_joint_ : float
        Log probability of the partition and its rows, in nats.
    lower_bound_ : float
        Mean penalized log likelihood of a row.
    n_iter_ : int
        Iterations of expectation-maximization in the end.
    distance_quantiles_ : ndarray of shape (n_clusters_, 101)
        Percentiles of the Mahalanobis distance of the training rows of each class, for ``predict(X, reject=...)``.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, when all are strings.

    See Also
    --------
    SemiSupervisedGaussianMixture : Compares numbers of components by a penalized likelihood.
    sklearn.mixture.BayesianGaussianMixture : Variational, without labels or moves.

    Notes
    -----
    With the marginal likelihood :math:`f` of the rows :math:`X` of a component under its prior, the Hastings ratio of a
    split of :math:`n` rows into :math:`n_1` and :math:`n_2` is [1]_, [2]_

    .. math::
        H = \\alpha\\, \\frac{\\Gamma(n_1) f(X_1)\\, \\Gamma(n_2) f(X_2)}{\\Gamma(n) f(X)}

    and that of a merge its inverse. All three need only weights, means and scatters.

    The released code of [1]_ differs from the paper; none of its departures is followed. Moves are accepted by the
    ratio, never with a constant probability; the true number of classes is not used anywhere; a merge removes the
    components merged, and each takes part in one merge at most; expectation-maximization is run, with labeled rows
    clamped; components go by their number, not by the value of a label; scatters are about the mean of the rows;
    reducing the dimension is left to a transformer before; nothing is chosen by accuracy on novel classes; and empty
    components are dropped. Ours are also: splits proposed by 2-means and at the mean along two principal axes, each
    refined by a few steps of expectation-maximization on the rows of the component; unlabeled rows split off known
    classes; merges of all pairs instead of nearest neighbors; the prior from the labeled rows; and counts in distinct
    rows, so that repeating all rows changes nothing.

    In greedy runs the number of components may still depend on the start; above about 16,000 distinct rows moves are
    made on a sample.

    References
    ----------
    .. [1] B. Zhao, X. Wen, K. Han, "Learning semi-supervised Gaussian mixture models for generalized category
       discovery", ICCV 2023, section 3.3.
    .. [2] J. Chang, J. W. Fisher III, "Parallel sampling of DP mixture models using sub-cluster splits", NIPS 2013.

    Examples
    --------
    >>> from sklearn_sslcluster.datasets import make_partially_labeled_blobs
    >>> from sklearn_sslcluster.mixture import SplitMergeGaussianMixture
    >>> X, y, _ = make_partially_labeled_blobs(n_known=3, n_novel=2, random_state=0)
    >>> model = SplitMergeGaussianMixture(random_state=0).fit(X, y)
    >>> model.novel_classes_, [move["move"] for move in model.history_]
    (array([3, 4]), ['split'])
    """

    _parameter_constraints: dict = {
        "n_components_init": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "concentration": [Interval(Real, 0, None, closed="neither")],
        "acceptance": [StrOptions({"greedy", "metropolis"})],
        "prior": [StrOptions({"labeled"}), dict],
        "min_size": [Interval(Real, 0, None, closed="neither")],
        "absorb": ["boolean"],
        "max_rounds": [Interval(Integral, 1, None, closed="left")],
        **{
            name: BaseGaussianMixture._parameter_constraints[name]
            for name in (
                "class_weights",
                "labeled_weight",
                "n_init",
                "max_iter",
                "tol",
                "k_max",
                "block_size",
                "device",
                "unlabeled_value",
                "random_state",
            )
        },
    }

    def __init__(
        self,
        n_components_init: Any = "auto",
        *,
        concentration: float = 1.0,
        acceptance: str = "greedy",
        prior: Any = "labeled",
        min_size: float = 5,
        absorb: bool = True,
        class_weights: str = "unlabeled",
        labeled_weight: float = 1.0,
        n_init: int = 3,
        max_rounds: int = 30,
        max_iter: int = 200,
        tol: float = 1e-4,
        k_max: int | None = None,
        block_size: int | str = "auto",
        device: str | None = None,
        unlabeled_value: Any = -1,
        random_state: Any = None,
    ) -> None:
        self.n_components_init = n_components_init
        self.concentration = concentration
        self.acceptance = acceptance
        self.prior = prior
        self.min_size = min_size
        self.absorb = absorb
        self.class_weights = class_weights
        self.labeled_weight = labeled_weight
        self.n_init = n_init
        self.max_rounds = max_rounds
        self.max_iter = max_iter
        self.tol = tol
        self.k_max = k_max
        self.block_size = block_size
        self.device = device
        self.unlabeled_value = unlabeled_value
        self.random_state = random_state

    @fit_method
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> SplitMergeGaussianMixture:
        """Find the classes of partially labeled rows.

        Parameters
        ----------
        X : {array-like, Dask collection} of shape (n_samples, n_features)
            Training rows, float64 or float32 (others are converted); a memory map is read in blocks, never as a whole.
            Of a Dask array or DataFrame sums over its chunks are computed where they lie; no chunk is gathered.
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
            rows of a class have weight 0, or `prior` has an entry that it cannot have.
        TypeError
            If `y` holds values that are no labels, dates for example.
        """
        random_state = check_random_state(self.random_state)
        posed = pose(self, X, y, sample_weight, random_state)
        n_known, k_max = posed.labels.n_known, self._candidates(posed.labels.n_known)[-1]
        problem = thinned(posed.problem, max(MOST_SEARCHED_ROWS, 8 * posed.problem.source.n_features), random_state)
        problem = _in_distinct_rows(problem)
        first = MixtureTask(problem, posed.rows_of(problem), posed.settings, tol=self.tol)
        n_novel = self._n_novel_init(posed.labels, k_max)
        seeds = random_state.randint(np.iinfo(np.int32).max, size=self.n_init if n_novel else 1)
        settings = self._with_prior(posed, first, n_novel, int(seeds[0]))
        settings = replace(settings, known_weight=1.0)
        task = MixtureTask(problem, first.rows, settings, max_iter=_EM_ITER, tol=self.tol)
        runs: list[tuple[MixtureFit, float, SplitMergeRun]] = []
        with fit_progress(self, X, y, max_steps=len(seeds), step_name="run") as step:
            for number, seed in enumerate(seeds):
                run = SplitMergeRun(task, self._move_settings(settings, k_max), np.random.RandomState(seed))
                fit, log_joint = run.run(start_mixture(task, n_novel, number, int(seed)))
                runs.append((fit, log_joint, run))
                if step(lambda mixture=fit.mixture: self._mixture_attributes(posed.problem, posed.labels, mixture)):
                    break
        values = {id(fit): log_joint for fit, log_joint, _ in runs}
        best = best_fits([fit for fit, _, _ in runs], lambda fit: values[id(fit)])[0]
        run = next(run for fit, _, run in runs if fit is best)
        rows = task.rows if problem.sample.complete else whole_rows(posed)
        final = expectation_maximization(rows, best.mixture, settings, self.max_iter, self.tol)
        fitted = self._mixture_attributes(posed.problem, posed.labels, final.mixture)
        if n_known == 0 or posed.labels.unlabeled.any():
            self._warn_if_fewer(max(n_known, 1), fitted["n_clusters_"])
        self._set_fitted(
            **fitted,
            history_=[_as_dict(move) for move in run.history],
            log_joint_=values[id(best)],
            lower_bound_=final.objective,
            n_iter_=max(final.n_iter, 1),
        )
        return self

    def _n_novel_init(self, labels: PartialLabels, k_max: int) -> int:
        if not labels.unlabeled.any():
            return 0
        if self.n_components_init == "auto":
            wanted = max(1, labels.n_known // 2) if labels.n_known else _UNLABELED_START
            return min(wanted, max(k_max - labels.n_known, 0))
        return max(min(self.n_components_init, k_max) - labels.n_known, 0)

    def _settings(self, problem: Any, labels: PartialLabels) -> MaximizationSettings:
        class_weights = self.class_weights
        if class_weights == "unlabeled" and not problem.frame.weight:
            class_weights = "all"
        ridge = _SMALLEST_RIDGE * feature_variances(problem)
        return MaximizationSettings("full", class_weights, ridge)

    def _with_prior(self, posed: Any, task: MixtureTask, n_novel: int, seed: int) -> MaximizationSettings:
        """Settings with the prior: its covariance from the labeled rows, or from a start."""
        expected = None
        if not posed.labels.n_known:
            moments = task.run(start_mixture(task, max(n_novel, 1), 0, seed), 1).moments
            expected = moments.scatter.sum(axis=0) / max(float(moments.weight.sum()), 1e-300)
        n_features = posed.problem.source.n_features
        more_dof = min(_DOF_PER_FEATURE * n_features, _MOST_DOF) if posed.labels.n_known else _UNLABELED_DOF
        prior = niw_prior(self.prior, posed.problem, posed.labels.n_known, "full", more_dof=more_dof, expected=expected)
        return replace(posed.settings, prior=prior)

    def _move_settings(self, settings: MaximizationSettings, k_max: int) -> MoveSettings:
        return MoveSettings(
            settings.prior,
            float(self.concentration),
            self.acceptance == "greedy",
            self.max_rounds,
            float(self.min_size),
            bool(self.absorb),
            k_max,
        )


def _as_dict(move: Any) -> dict[str, Any]:
    return {
        "round": move.round,
        "move": move.kind,
        "components": [int(k) for k in move.components],
        "log_ratio": float(move.log_ratio),
        "n_components": move.n_components,
    }


def _in_distinct_rows(problem: CenterProblem) -> CenterProblem:
    """The problem with weights that sum to the number of distinct rows, which is what a prior is weighed against."""
    sample = problem.sample
    if not sample.weight.sum() > 0:
        return problem
    sample = replace(sample, weight=sample.weight * (len(sample.weight) / sample.weight.sum()))
    return replace(problem, sample=sample, sample_source=problem.sample_source.like(sample.X, (None, sample.weight)))
