"""K-means parts that a Gaussian mixture confirms: repeatable classes without a number of clusters."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from math import comb
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from ..base import fit_method
from ..engine import fit_progress
from ..labels import PartialLabels, warn_user
from ..numerics import (
    MaximizationSettings,
    Mixture,
    PartTask,
    component_codes,
    divide,
    evaluation_of,
    expectation_maximization,
    fit_parts,
    labeled_rows,
    merge_unconfirmed,
    separabilities,
    shaped_rows,
    shifted,
    thinned,
    within_variances,
)
from ._base import BaseGaussianMixture
from ._fit_tools import Posed, final_settings, first_regularization, pose, whole_rows
from ._repeats import Repeat, most_typical

# Distinct rows that are divided, and of them the fewest that a part without labels has on the average.
_MOST_DIVIDED_ROWS = 8192
_ROWS_PER_PART = 6
# Parts without labels: so many, or so many times the known classes.
_FEWEST_PARTS, _PARTS_PER_CLASS = 30, 3
_MOST_SUBSETS = 100_000


class ProbabilisticPartitivePartitioning(BaseGaussianMixture):
    """Classes that k-means and a Gaussian mixture agree on, repeatable whatever the start.

    The rows are divided into many parts by k-means. Parts that a mixture does not confirm are merged, until all
    divisions left are confirmed. There is no number of clusters to choose. The whole is repeated from other starts, and
    the repeat that agrees best with the others is kept.

    Parameters
    ----------
    n_parts : int or "auto", default="auto"
        Parts that the rows are divided into at first, those of the known classes included; at least one more than the
        known classes. It should be some times the number of classes expected. ``"auto"``: one for each known class,
        and beside them 30 or three times the number of known classes, whichever is more, but no more than one for six
        distinct unlabeled rows.
    covariance_type : {"full", "tied", "diag", "spherical"}, default="full"
        Shape of the components, as in :class:`sklearn.mixture.GaussianMixture`.
    agreement : float in [0, 1], default=0.8
        A division of two parts is kept only if the mixture gives the rows of either part at least this probability of
        belonging there rather than to the other part, in the mean. 1 merges all parts that overlap at all.
    n_repeats : int, default=5
        Repeats from different starts.
    class_weights : {"unlabeled", "all", "uniform"}, default="unlabeled"
        Rows that ``weights_`` are estimated on, see :class:`SemiSupervisedGaussianMixture`.
    reg_covar : float or "auto", default="auto"
        Added to the variances. ``"auto"``: the variance of each feature within the components, times 0.01 plus one over
        the number of distinct rows a component (at most 0.5); while parts are judged, 0.1 of the variance within them
        and more where parts have few rows. A float is used throughout and for all features, in squared units of `X`.
    max_iter : int, default=200
        Iterations of expectation-maximization after the merges.
    tol : float, default=1e-4
        Expectation-maximization ends when the mean log likelihood of a row grows by less.
    k_max : int, default=None
        Most classes, not counting that known ones are never merged; None for no limit.
    block_size : int or "auto", default="auto"
        Rows worked on at a time; ``"auto"`` takes about 8 MiB. The result does not depend on it.
    device : {"cpu", "cuda", "auto"}, default=None
        Where iterations over all rows are computed: None for numpy, otherwise torch, on the CPU or a GPU. ``"auto"``
        takes a GPU where there is one, else numpy. Starts, ``predict`` and sparse rows are left to numpy.
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
    covariances_ : ndarray
        Covariances, shaped as in scikit-learn, `reg_covar` included.
    precisions_cholesky_ : ndarray
        Cholesky factors of the precisions.
    n_components_, n_clusters_ : int
        Number of classes found.
    n_parts_ : int
        Parts that the kept repeat began with.
    repeatability_ : float
        Mean adjusted Rand index between the partitions of two repeats, on distinct unlabeled rows; 1 for one repeat.
        Far below 1, the classes depend on the start and should not be trusted.
    repeat_n_clusters_ : ndarray of shape (n_repeats,)
        Number of classes that each repeat found.
    separability_ : ndarray of shape (n_features,)
        How well each feature alone tells the classes apart, from 0 to 1; see ``rank_features``.
    lower_bound_ : float
        Mean log likelihood of a row.
    n_iter_ : int
        Iterations of expectation-maximization in the end.
    converged_ : bool
        Whether it ended by `tol`.
    distance_quantiles_ : ndarray of shape (n_clusters_, 101)
        Percentiles of the Mahalanobis distance of the training rows of each class, for ``predict(X, reject=...)``.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, when all are strings.

    See Also
    --------
    SemiSupervisedGaussianMixture : Compares numbers of components by a penalized likelihood; for classes that overlap.
    SplitMergeGaussianMixture : Finds the number of components by moves with a prior.

    Notes
    -----
    *From the paper* [1]_, of which only the abstract was available, are the aims and the means: compact partitions that
    do not depend on the start, no number of clusters, partitions of large data by k-means that a Gaussian mixture
    validates, repetition, and the search for the features in which rows are most separable. *All the rest is ours*, so
    that results here say nothing of the paper's procedure. Dividing strictly from the top, two parts at a time as long
    as a mixture of two confirms them, stops at once where classes overlap, because two halves of several classes are no
    two Gaussians. Hence many parts first, and validation on the way back.

    *Division.* The best of five k-means runs; the means of known classes are among the centers, and labeled rows stay
    with their class. Above 8,192 distinct unlabeled rows the parts are found on a sample, and only the last
    expectation-maximization sees all rows.

    *Validation.* Before each merge, ten iterations of expectation-maximization from the parts put rows where the
    mixture wants them. Two parts of weights :math:`a, b` whose common covariance is :math:`W`, and :math:`T` around
    their common mean, are merged when

    .. math::
        \\frac{a+b}{2} \\log\\frac{|T|}{|W|} + a \\log\\frac{a}{a+b} + b \\log\\frac{b}{a+b}
        < \\frac{p + 1}{2} \\log n

    with :math:`p` the features as far as regularization leaves them free and :math:`n` the distinct rows: the
    classification likelihood of two Gaussians of one covariance against one Gaussian, by the Bayesian information
    criterion. (Two covariances would cost more, in many dimensions, than any distance between the parts can bring.)
    Pairs with the smallest difference come first. When none is left, pairs are merged on which the mixture and the
    partition disagree, see `agreement`, after the mixture was allowed to correct the partition twice. Two known classes
    are never merged; a novel part may be merged into a known class. :math:`W` is a full matrix for dense rows of up to
    64 features, whatever the `covariance_type`, and of the shape of the components otherwise; :math:`T` adds to it what
    the distance of the means takes.

    A class of several clumps, or a bent one, remains several classes, and classes nearer than about four standard
    deviations along their line become one. Few rows in many dimensions are the hardest case.

    *Separability.* With the found mixture :math:`\\sum_k \\pi_k f_k` and the marginals :math:`f_k^F` in the features
    :math:`F`, the share of the rows that get the same class by :math:`F` alone estimates the Bayes accuracy
    :math:`A_F = \\int \\max_k \\pi_k f_k^F`, one minus the overlap. The score is
    :math:`(A_F - \\max_k \\pi_k) / (1 - \\max_k \\pi_k)`.

    References
    ----------
    .. [1] M. Sultan, "Probabilistic partitive partitioning (PPP)", arXiv 2003.04372, 2020.

    Examples
    --------
    >>> from sklearn_sslcluster.datasets import make_partially_labeled_blobs
    >>> from sklearn_sslcluster.mixture import ProbabilisticPartitivePartitioning
    >>> X, y, _ = make_partially_labeled_blobs(n_known=3, n_novel=2, random_state=0)
    >>> model = ProbabilisticPartitivePartitioning(random_state=0).fit(X, y)
    >>> model.novel_classes_, model.repeatability_
    (array([3, 4]), 1.0)
    """

    _parameter_constraints: dict = {
        "n_parts": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "agreement": [Interval(Real, 0, 1, closed="both")],
        "n_repeats": [Interval(Integral, 1, None, closed="left")],
        **{
            name: BaseGaussianMixture._parameter_constraints[name]
            for name in (
                "covariance_type",
                "class_weights",
                "reg_covar",
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
        n_parts: Any = "auto",
        *,
        covariance_type: str = "full",
        agreement: float = 0.8,
        n_repeats: int = 5,
        class_weights: str = "unlabeled",
        reg_covar: Any = "auto",
        max_iter: int = 200,
        tol: float = 1e-4,
        k_max: int | None = None,
        block_size: int | str = "auto",
        device: str | None = None,
        unlabeled_value: Any = -1,
        random_state: Any = None,
    ) -> None:
        self.n_parts = n_parts
        self.covariance_type = covariance_type
        self.agreement = agreement
        self.n_repeats = n_repeats
        self.class_weights = class_weights
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.tol = tol
        self.k_max = k_max
        self.block_size = block_size
        self.device = device
        self.unlabeled_value = unlabeled_value
        self.random_state = random_state

    @fit_method
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> ProbabilisticPartitivePartitioning:
        """Find the classes of rows, some of which may be labeled.

        Parameters
        ----------
        X : {array-like, sparse matrix, Dask collection} of shape (n_samples, n_features)
            Training rows, float64 or float32 (others are converted); a memory map is read in blocks, never as a whole.
            Of a Dask array or DataFrame sums over its chunks are computed where they lie; no chunk is gathered.
            Sparse rows only for ``covariance_type`` "diag" or "spherical".
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
            If `y` holds values that are no labels, dates for example, or `X` is sparse with "full" or "tied".
        """
        random_state = check_random_state(self.random_state)
        posed = pose(self, X, y, sample_weight, random_state)
        task = self._task(posed, random_state)
        seeds = random_state.randint(np.iinfo(np.int32).max, size=self.n_repeats if self._n_new_parts(posed) else 1)
        repeats: list[Repeat] = []
        with fit_progress(self, X, y, max_steps=len(seeds), step_name="repeat") as step:
            for seed in seeds:
                repeats.append(self._repeat(posed, task, int(seed)))
                mixture = repeats[-1].fit.mixture
                if step(lambda mixture=mixture: self._mixture_attributes(posed.problem, posed.labels, mixture)):
                    break
        best, repeatability = most_typical(repeats)
        fit = best.fit
        if not task.problem.sample.complete:
            fit = expectation_maximization(whole_rows(posed), fit.mixture, best.settings, self.max_iter, self.tol)
        if not fit.converged and fit.n_iter >= self.max_iter:
            warn_user(
                f"The likelihood still grows after max_iter={self.max_iter} iterations; raise max_iter or tol.",
                ConvergenceWarning,
            )
        fitted = self._mixture_attributes(posed.problem, posed.labels, fit.mixture)
        self._set_fitted(
            **fitted,
            n_parts_=best.n_parts,
            repeatability_=repeatability,
            repeat_n_clusters_=np.array([repeat.fit.mixture.n_components for repeat in repeats]),
            separability_=self._separability(posed, task, fit.mixture),
            lower_bound_=fit.objective,
            n_iter_=max(fit.n_iter, 1),
            converged_=bool(fit.converged),
        )
        return self

    def rank_features(self, X: Any, *, size: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Features, or sets of them, in which the classes are most separable.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows, of the training data or others like them.
        size : int, default=1
            Features in a set: 2 ranks all pairs.

        Returns
        -------
        features : ndarray of shape (n_sets, size)
            Columns of each set, the most separable first.
        separability : ndarray of shape (n_sets,)
            From 1, no overlap, to 0, no better than naming the largest class.

        Raises
        ------
        ValueError
            If `size` is not between 1 and the number of features, or there are more than 100,000 sets of this size.
        """
        X = self._check_fitted_rows(X)
        n_features = X.shape[1]
        if not isinstance(size, Integral) or not 1 <= size <= n_features:
            raise ValueError(f"size must be an integer from 1 to the number of features {n_features}, got {size!r}.")
        n_sets = comb(n_features, int(size))
        if n_sets > _MOST_SUBSETS:
            raise ValueError(
                f"{n_features} features have {n_sets} sets of size={size}, more than the {_MOST_SUBSETS} that can be "
                "ranked; take a smaller size."
            )
        subsets = [np.array(subset) for subset in combinations(range(n_features), int(size))]
        evaluation = self._evaluation(X, self.class_prior_)
        scores = separabilities([self._blocks(X, (None, None))], evaluation, subsets)
        order = np.argsort(-scores, kind="stable")
        return np.array(subsets)[order], scores[order]

    def _task(self, posed: Posed, random_state: np.random.RandomState) -> PartTask:
        problem = thinned(posed.problem, _MOST_DIVIDED_ROWS, random_state)
        rows = posed.rows_of(problem)
        adaptive = self.reg_covar == "auto"
        shaped = shaped_rows(problem, rows, self.covariance_type)
        return PartTask(problem, rows, shaped, posed.settings, adaptive, float(self.agreement), self.k_max, self.tol)

    def _n_new_parts(self, posed: Posed) -> int:
        """Parts beside those of the known classes."""
        n_distinct, n_known = posed.problem.sample.X.shape[0], posed.labels.n_known
        if not n_distinct:
            return 0
        if self.n_parts != "auto":
            return max(self.n_parts - n_known, 1)
        return int(np.clip(n_distinct // _ROWS_PER_PART, 1, max(_FEWEST_PARTS, _PARTS_PER_CLASS * n_known)))

    def _repeat(self, posed: Posed, task: PartTask, seed: int) -> Repeat:
        """Divide, merge what is not confirmed, and let the mixture settle."""
        parts, n_parts = divide(task, self._n_new_parts(posed), seed)
        codes, n_classes = merge_unconfirmed(task, parts, n_parts)
        fit = fit_parts(task, codes, n_classes, self.max_iter)
        within = within_variances(task.rows, fit, task.settings.kind)
        settings = final_settings(posed, self.reg_covar, within, fit.mixture.n_components)
        fit = expectation_maximization(task.rows, fit.mixture, settings, self.max_iter, self.tol)
        return Repeat(fit, settings, component_codes(task.rows, fit.mixture), n_parts)

    def _separability(self, posed: Posed, task: PartTask, mixture: Mixture) -> np.ndarray:
        """Of each feature, on the distinct rows that were divided and the labeled ones."""
        problem = task.problem
        mixture = replace(mixture, weights=self._class_prior(problem, mixture.weights))
        evaluation = evaluation_of(mixture, None, np.inf, np.dtype(np.float64))
        source = problem.sample_source
        # As many rows as the table has, so that labeled and unlabeled ones count in proportion.
        free = problem.sample.weight / (problem.sample_share or 1.0)
        sources = [source.like(problem.sample.X, (None, free))]
        if posed.labels.n_known:
            labeled = labeled_rows(problem.source, np.random.RandomState(0))
            weight = labeled.weight * (problem.anchors.weight.sum() / labeled.weight.sum())
            rows = shifted(labeled.X.astype(np.float64), problem.frame.shift)
            sources.append(source.like(rows, (posed.labels.codes[labeled.rows], weight)))
        return separabilities(sources, evaluation, [np.array([j]) for j in range(source.n_features)])

    def _settings(self, problem: Any, labels: PartialLabels) -> MaximizationSettings:
        """Settings of a first search."""
        class_weights = self.class_weights
        if class_weights == "unlabeled" and not problem.frame.weight:
            class_weights = "all"
        return MaximizationSettings(self.covariance_type, class_weights, first_regularization(self.reg_covar, problem))
