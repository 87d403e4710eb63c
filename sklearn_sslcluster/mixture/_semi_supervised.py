"""Gaussian mixture whose first components are known classes, and whose further ones are classes to discover."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import StrOptions

from ..base import fit_method
from ..engine import fit_progress
from ..labels import PartialLabels, warn_user
from ..numerics import INITS, MaximizationSettings, Mixture, MixtureFit, expectation_maximization
from ._fit_tools import final_settings, first_regularization, niw_prior, pose, whole_rows
from ._incremental import IncrementalMixtureMixin
from ._search import find_mixture
from ._starts import initial_mixture, previous_mixture, variances_of_start


class SemiSupervisedGaussianMixture(IncrementalMixtureMixin):
    """Gaussian mixture in which labeled rows keep their class, and which finds the classes that have no label.

    Each known class is one component, that of its labeled rows and of unlabeled rows as far as they belong to it;
    further components are novel classes.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Number of components, known and novel classes together. An int below the number of known classes is raised to
        it, with a warning. ``"auto"`` compares numbers from that of the known classes (no novel class) up to `k_max`
        by a penalized likelihood, see Notes.
    covariance_type : {"full", "tied", "diag", "spherical"}, default="full"
        Shape of the components, as in :class:`sklearn.mixture.GaussianMixture`.
    class_weights : {"unlabeled", "all", "uniform"}, default="unlabeled"
        Rows that ``weights_`` are estimated on. Labels are rarely spread evenly over the classes (novel classes have
        none), so that the unlabeled rows tell better what a row without a label may be. ``"uniform"``: no estimate.
        Without unlabeled rows, ``"all"`` takes the place of ``"unlabeled"``.
    labeled_weight : float, default=1.0
        How many unlabeled rows a labeled row counts as.
    prior : None, "labeled" or dict, default=None
        Normal-inverse-Wishart prior of every component, whose mode the parameters then are. ``"labeled"``: its
        covariance is that within the known classes. A dict may hold ``"mean"`` (ndarray of shape (n_features,), default
        the mean of the unlabeled rows), ``"mean_strength"`` (default 0.01), ``"dof"`` (default ``n_features + 20``) and
        ``"scale"`` (ndarray of shape (n_features, n_features), default so that the mean covariance is that of
        ``"labeled"``).
    reg_covar : float or "auto", default="auto"
        Added to the variances. ``"auto"``: the variance of each feature (of each principal axis of the rows, for "full"
        and "tied") within the components, times 0.01 plus one over the number of distinct rows a component (at most
        0.5). While starts are compared and moves are tried, 0.4 times that variance, or at first 0.2 times the variance
        of all rows. A float is used throughout and for all features, in squared units of `X`, as in scikit-learn.
    n_init : int, default=20
        Short runs from different starts; the best three are finished and improved by moves.
    init : {"ss-kmeans", "k-means++", "random"}, default="ss-kmeans"
        Partition that a run starts from: by semi-supervised k-means, by the nearest of seeds drawn far from each other,
        or of rows drawn at random. The means of the known classes are among the centers in any case.
    selection : {"likelihood", "labeled"} or callable, default="likelihood"
        The best run has the largest (penalized) likelihood, or gives labeled rows the largest mean log posterior of
        their own class. A callable gets distinct unlabeled rows and their codes and returns a number, larger is better.
        With anything but ``"likelihood"`` no moves are tried.
    max_iter : int, default=200
        Iterations of one run.
    tol : float, default=1e-4
        A run ends when the mean penalized log likelihood of a row grows by less.
    warm_start : bool, default=False
        Start from the parameters of the last fit, its classes matched by name, instead of `n_init` starts.
    weights_init : array-like of shape (n_components,), default=None
        Start weights. With any of the three start parameters there is one run, and neither starts nor moves.
    means_init : array-like of shape (n_components, n_features), default=None
        Start means: those of the known classes first, in sorted order.
    precisions_init : array-like, default=None
        Start precisions, of the shape that belongs to `covariance_type`.
    k_max : int, default=None
        Largest number of components that ``n_components="auto"`` tries; None for ``max(30, 3 * n_known)``.
    dtype : {"auto", "float64"}, default="auto"
        ``"auto"`` computes float32 rows in float32 wherever that is exact enough (judged by their distance from the
        middle in units of the smallest standard deviation); sums and parameters are float64 in any case.
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
        Class of each training row: its label, or what ``predict`` says. After ``partial_fit``, of the last batch.
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
        Number of components.
    n_components_scores_ : dict of int to float
        With ``n_components="auto"``, the penalized log likelihood of each number tried, in nats.
    lower_bound_ : float
        Mean penalized log likelihood of a row, labeled rows included; see Notes.
    lower_bounds_ : list of float
        The same after each iteration of the last run; it never falls, unless by a large float `reg_covar`.
    n_iter_ : int
        Iterations of the last run.
    converged_ : bool
        Whether it ended by `tol`.
    distance_quantiles_ : ndarray of shape (n_clusters_, 101)
        Percentiles of the Mahalanobis distance of the training rows of each class, for ``predict(X, reject=...)``.
    reg_covar_ : ndarray of shape (n_features,)
        What was added to the variances of the features in the end.
    prior_ : dict or None
        The prior, all its entries given.
    n_samples_seen_ : float
        Weight of the unlabeled training rows.
    unlikely_ : float
        Log density below which ``partial_fit`` keeps rows aside: a hundredth of the training rows have less.
    unlikely_rows_ : ndarray of shape (n_kept, n_features)
        Rows that ``partial_fit`` has kept aside.
    unlikely_weights_ : ndarray of shape (n_kept,)
        Their weights.
    statistics_ : dict of str to ndarray
        Weights, means and scatters of the labeled rows of each class; after ``partial_fit`` also of the unlabeled rows
        of each component.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, when all are strings.

    See Also
    --------
    SplitMergeGaussianMixture : Finds the number of components by moves with a prior.
    sklearn.mixture.GaussianMixture : Uses no labels.
    sklearn_sslcluster.discovery.SemiSupervisedKMeans : Round classes of equal size; faster.

    Notes
    -----
    With labeled rows :math:`L` of weight :math:`w_L` and unlabeled rows :math:`U`, the model maximizes

    .. math::
        w_L \\sum_{i \\in L} \\log \\mathcal N(x_i; \\mu_{y_i}, \\Sigma_{y_i})
        + \\sum_{i \\in U} \\log \\sum_k \\pi_k \\mathcal N(x_i; \\mu_k, \\Sigma_k)
        + \\sum_{k \\text{ known}} \\log \\pi_k + \\log p(\\mu, \\Sigma)

    by expectation-maximization with the responsibilities of labeled rows clamped ([1]_, [2]_). With
    ``class_weights="all"`` the labeled rows also give :math:`w_L \\log \\pi_{y_i}`, and the third term, worth one row
    a known class, is left out. The last term is there with a `prior` only.

    *Starts.* Short runs start from semi-supervised k-means; the best three are finished, and improved by moves that
    split one component and merge two others, as long as the likelihood grows [3]_. Likelihoods of full covariances are
    rough with few rows in many dimensions, and good partitions are found far more often with strong regularization,
    which is lowered in the end. Above about 16,000 distinct rows the search runs on a sample of them.

    *Number of components.* Mixtures are grown by splits from the known classes alone. The penalty for a component is
    that of the Bayesian information criterion, counting those parameters that the regularization leaves free; where
    classes are known it is raised to what splitting a known class brings on this table, times a factor: the geometric
    mean of the median of these gains and of the smallest loss of merging two known classes, but no more than 1.5 times
    the largest gain. Classes that are no Gaussians are therefore not taken to pieces. It supposes that known and novel
    classes are of a kind, and of similar size.

    Regularization added to variances is no part of the likelihood, which it may let fall. With ``reg_covar="auto"`` a
    run ends before it does; with a float it goes on until the likelihood settles, as in scikit-learn.

    References
    ----------
    .. [1] D. J. Miller, J. Browning, "A mixture model and EM-based algorithm for class discovery, robust
       classification, and outlier rejection in mixed labeled/unlabeled data sets", IEEE PAMI 25(11), 2003.
    .. [2] B. Zhao, X. Wen, K. Han, "Learning semi-supervised Gaussian mixture models for generalized category
       discovery", ICCV 2023, section 3.2.
    .. [3] N. Ueda, R. Nakano, Z. Ghahramani, G. E. Hinton, "SMEM algorithm for mixture models", Neural
       Computation 12(9), 2000.

    Examples
    --------
    >>> from sklearn_sslcluster.datasets import make_partially_labeled_blobs
    >>> from sklearn_sslcluster.mixture import SemiSupervisedGaussianMixture
    >>> X, y, _ = make_partially_labeled_blobs(n_known=3, n_novel=2, random_state=0)
    >>> model = SemiSupervisedGaussianMixture(random_state=0).fit(X, y)
    >>> model.classes_, model.novel_classes_
    (array([0, 1, 2, 3, 4]), array([3, 4]))
    """

    _parameter_constraints: dict = {
        **IncrementalMixtureMixin._parameter_constraints,
        "prior": [None, StrOptions({"labeled"}), dict],
        "init": [StrOptions(set(INITS))],
        "selection": [StrOptions({"likelihood", "labeled"}), callable],
        "warm_start": ["boolean"],
        "weights_init": ["array-like", None],
        "means_init": ["array-like", None],
        "precisions_init": ["array-like", None],
    }

    def __init__(
        self,
        n_components: Any = "auto",
        *,
        covariance_type: str = "full",
        class_weights: str = "unlabeled",
        labeled_weight: float = 1.0,
        prior: Any = None,
        reg_covar: Any = "auto",
        n_init: int = 20,
        init: str = "ss-kmeans",
        selection: str | Callable = "likelihood",
        max_iter: int = 200,
        tol: float = 1e-4,
        warm_start: bool = False,
        weights_init: Any = None,
        means_init: Any = None,
        precisions_init: Any = None,
        k_max: int | None = None,
        dtype: str = "auto",
        block_size: int | str = "auto",
        device: str | None = None,
        unlabeled_value: Any = -1,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.class_weights = class_weights
        self.labeled_weight = labeled_weight
        self.prior = prior
        self.reg_covar = reg_covar
        self.n_init = n_init
        self.init = init
        self.selection = selection
        self.max_iter = max_iter
        self.tol = tol
        self.warm_start = warm_start
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.k_max = k_max
        self.dtype = dtype
        self.block_size = block_size
        self.device = device
        self.unlabeled_value = unlabeled_value
        self.random_state = random_state

    @fit_method
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> SemiSupervisedGaussianMixture:
        """Find the classes of partially labeled rows.

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
            If `X` has NaN or infinite values, `y` has another length or holds floats that are not whole numbers, all
            rows of a class have weight 0, or a start parameter has the wrong shape.
        TypeError
            If `y` holds values that are no labels, dates for example, or `X` is sparse with "full" or "tied".
        """
        random_state = check_random_state(self.random_state)
        posed = pose(self, X, y, sample_weight, random_state)
        labels, problem = posed.labels, posed.problem
        start = self._given_start(posed)
        scores: dict[str, Any] = {}
        with fit_progress(self, X, y, max_steps=None, step_name="iteration") as step:

            def on_step(mixture: Mixture, objective: float) -> bool:
                return step(lambda: self._state(posed, mixture, objective))

            if start is not None:
                settings = final_settings(posed, self.reg_covar, variances_of_start(start), start.n_components)
                fit = expectation_maximization(whole_rows(posed), start, settings, self.max_iter, self.tol, on_step)
                wanted = start.n_components
            else:
                fit, wanted, settings, scores = find_mixture(self, posed, random_state, on_step)
        if not fit.converged and fit.n_iter >= self.max_iter:
            warn_user(
                f"The likelihood still grows after max_iter={self.max_iter} iterations; raise max_iter or tol.",
                ConvergenceWarning,
            )
        fitted = self._mixture_attributes(problem, labels, fit.mixture, keep_all=start is not None)
        self._warn_if_fewer(wanted, fitted["n_clusters_"])
        running = self._running_attributes(posed, fit.mixture, settings)
        self._set_fitted(**fitted, **scores, **self._run_attributes(fit), **running)
        return self

    def _given_start(self, posed: Any) -> Mixture | None:
        given = {"weights": self.weights_init, "means": self.means_init, "precisions": self.precisions_init}
        if any(value is not None for value in given.values()):
            return initial_mixture(self, posed, given)
        if self.warm_start and hasattr(self, "means_") and self.means_.shape[1] == posed.problem.source.n_features:
            return previous_mixture(self, posed)
        return None

    def _run_attributes(self, fit: MixtureFit) -> dict[str, Any]:
        return {
            "lower_bound_": fit.objective,
            "lower_bounds_": [float(value) for value in fit.lower_bounds],
            "n_iter_": max(fit.n_iter, 1),
            "converged_": bool(fit.converged),
        }

    def _state(self, posed: Any, mixture: Mixture, objective: float) -> dict[str, Any]:
        """Attributes with which callbacks can use the estimator as if the fit had stopped here."""
        shift, gaussians = posed.problem.frame.shift, mixture.gaussians
        names = self._name_classes(posed.labels.classes, mixture.n_components - posed.labels.n_known)
        return {
            "weights_": mixture.weights,
            "means_": gaussians.means if shift is None else gaussians.means + shift,
            "covariances_": gaussians.covariances,
            "precisions_cholesky_": gaussians.precisions_cholesky,
            "n_components_": mixture.n_components,
            "n_clusters_": mixture.n_components,
            "lower_bound_": objective,
            **names,
        }

    def _settings(self, problem: Any, labels: PartialLabels) -> MaximizationSettings:
        """Settings of a first search."""
        class_weights = self.class_weights
        if class_weights == "unlabeled" and not problem.frame.weight:
            class_weights = "all"
        regularization = first_regularization(self.reg_covar, problem)
        prior = niw_prior(self.prior, problem, labels.n_known, self.covariance_type)
        return MaximizationSettings(
            self.covariance_type, class_weights, regularization, prior, monotone=self.reg_covar == "auto"
        )
