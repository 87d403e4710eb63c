"""Search for hyperparameters by hiding known classes and finding them again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from sklearn.base import _fit_context, clone
from sklearn.metrics import check_scoring, get_scorer_names
from sklearn.model_selection import ParameterGrid, ParameterSampler
from sklearn.model_selection._search import BaseSearchCV, _check_refit
from sklearn.model_selection._validation import (
    _fit_and_score,
    _insert_error_scores,
    _warn_or_raise_about_fit_failures,
)
from sklearn.utils import _safe_indexing, check_random_state, indexable
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import _check_method_params, _ensure_no_complex_data, _num_samples, check_is_fitted

from ..base import PartialLabelMixin, restore_on_failure
from ..labels import decode, encode_partial_labels, warn_user
from ._best_estimator import BestEstimatorSearch
from ._hidden_class_evaluation import (
    FoldTable,
    HiddenClassScorer,
    HiddenFold,
    final_estimator,
    for_names,
    hidden_folds,
    label_free_score,
    read_only,
)
from ._hidden_class_kfold import HiddenClassKFold

_DEFAULT_SCORING = "hidden_class_accuracy"


@dataclass(frozen=True)
class _Comparison:
    """How candidates are compared.

    Attributes
    ----------
    folds : list of HiddenFold
    scorer : callable
    scores_on_truth : bool
        False where nothing can be hidden and the estimators' own score decides.
    fit_params, score_params : dict
        Further arguments of the fits and of the scorer.
    """

    folds: list[HiddenFold]
    scorer: Any
    scores_on_truth: bool
    fit_params: dict
    score_params: dict


def _fit_fold(estimator: Any, X: Any, fold: HiddenFold, **params: Any) -> dict:
    """Fit and score one candidate on one fold.

    The table is an argument of its own, so that every backend of joblib sends it to its workers only once.
    """
    return _fit_and_score(estimator, FoldTable(X), fold.y, test=fold.test, **params)


def _label_free_comparison(X: Any, y: Any, hidden: np.ndarray, fit_params: dict) -> _Comparison:
    """One fit to all rows with the labels as they are, and the estimator's own score."""
    fold = HiddenFold(y, np.arange(_num_samples(X)), hidden)
    return _Comparison([fold], label_free_score, False, fit_params, {})


class HiddenClassSearchCV(BestEstimatorSearch):
    """Search for hyperparameters that hides known classes and scores how well they are found again.

    Nobody knows the classes that are to be discovered, so no candidate can be scored on them. Known classes can stand
    in for them: in every fold some of them lose their labels, each candidate is fitted to all rows with the labels
    that are left, and the score tells how well it discovered the hidden classes. The best candidate is fitted again
    with all labels. The rows without a label take part in every fit and in no score.

    Parameters
    ----------
    estimator : estimator
        Clusterer with ``fit(X, y)`` for partial labels and ``predict``, or a Pipeline that ends with one. Its
        ``n_clusters`` counts all classes, known and novel, and so need not change when classes are hidden.
    param_distributions : dict or list of dict
        Parameter names to lists of values, or, with `n_iter`, to distributions (objects with ``rvs``). Steps of a
        Pipeline and other estimators may be values. A list of dicts is searched dict by dict.
    n_iter : int, default=None
        Number of candidates drawn at random. ``None``: all combinations of the lists.
    scoring : str, callable, list, tuple or dict, default=None
        How hidden classes are scored; larger is better.

        - ``None`` or ``"hidden_class_accuracy"``: share of the hidden rows in the right class, where the hidden
          classes are matched one to one with *novel* clusters. A row that is taken for one of a visible class is
          wrong.
        - Another name of a scorer, ``"adjusted_rand_score"`` for example.
        - A callable ``scorer(estimator, X, y)``. `X` holds the rows of the hidden classes and `y` their true names.
        - A list or tuple of names, or a dict of names and scorers: several scores; `refit` says which decides.
    cv : int or HiddenClassKFold, default=5
        Folds, or their number. Any object with ``get_n_splits`` and ``split_masked`` will do.
    n_jobs : int, default=None
        Fits that run at the same time. ``None`` means 1 outside a :func:`joblib.parallel_config` context.
    refit : bool, str or callable, default=True
        Fit the best candidate to all rows with all labels. With several scores the name of the one that decides, or
        a function of ``cv_results_`` that returns the number of the best candidate.
    error_score : "raise" or float, default=nan
        Score of a candidate whose fit fails, or ``"raise"`` to let the error through.
    pre_dispatch : int or str, default="2*n_jobs"
        Fits that are handed out in advance.
    unlabeled_value : int, str, bool or None, default=-1
        Value of `y` that stands for "no label" besides None and NaN; the same as that of `estimator`.
    random_state : int, RandomState instance or None, default=None
        Draws the folds (if `cv` is a number) and the candidates. Estimators have their own.

    Attributes
    ----------
    cv_results_ : dict of ndarray
        Scores and times of every candidate on every fold, as in :class:`~sklearn.model_selection.GridSearchCV`. If
        several candidates have the best score, ``"tie_break_score"`` holds their own scores, masked for the others.
    best_estimator_ : estimator
        Fitted to all rows with all labels. Absent if ``refit=False``.
    best_params_ : dict
        Parameters of the best candidate.
    best_score_ : float
        Its mean score over the folds. Absent if `refit` is callable.
    best_index_ : int
        Its position in ``cv_results_``.
    hidden_classes_ : list of ndarray
        Names of the classes that each fold hid.
    n_splits_ : int
        Number of folds.
    scorer_ : callable or dict
        What the candidates were scored with.
    multimetric_ : bool
        Whether there are several scores.
    refit_time_ : float
        Seconds that the last fit took. Absent if ``refit=False``.
    labels_ : ndarray of shape (n_samples,)
        Class of every training row, from the best estimator, like the four that follow.
    classes_ : ndarray of shape (n_clusters_,)
        Names of the known classes, then of the discovered ones.
    novel_classes_ : ndarray of shape (n_novel,)
        Names of the discovered classes.
    n_clusters_ : int
        Number of classes, known and discovered.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, if `X` has them.

    Raises
    ------
    ValueError
        By ``fit``, if `param_distributions` holds a distribution and `n_iter` is None, if `unlabeled_value` differs
        from that of `estimator` or `cv`, or if there is nothing to score in a fold. If all fits fail, the first error
        is raised.

    Warns
    -----
    UserWarning
        If fewer than three classes are known, or `y` is None: too few to hide one and leave two. The candidates are
        then fitted once, with the labels as they are, and compared by their own ``score(X)``, which uses no labels.
    FitFailedWarning
        If some fits fail and `error_score` is a number.

    See Also
    --------
    HiddenClassKFold : The folds; gives control over the number of hidden classes.
    estimate_n_clusters : The number of classes by other criteria.
    sklearn.model_selection.GridSearchCV : For scores that need no hidden classes.

    Notes
    -----
    The procedure is that of Troisemaine et al. [1]_ (section 4, algorithm 1; the experiments are in section 6), whose
    search is not published as code. For every candidate :math:`\\theta` and every fold, with :math:`H` the hidden
    classes, :math:`D^l` the labeled and :math:`D^u` the unlabeled rows:

    1. :math:`D^{hid}` are the rows of :math:`D^l` with a class in :math:`H`; take their labels away.
    2. Fit :math:`\\theta` to :math:`D^l \\setminus D^{hid}` and :math:`D^u \\cup D^{hid}`.
    3. Score on :math:`D^{hid}` alone.

    The mean score over the folds decides, and among candidates with the same one the estimator's own ``score(X)`` after
    a fit with all labels, if it has one. The labels are masked before any step of a Pipeline sees them, and all rows
    are fitted, because hidden and unnamed classes may overlap and a candidate has to tell them apart.

    Departures:

    - The paper passes the number of *novel* clusters, unnamed and hidden together. Here ``n_clusters`` is the total,
      which hiding does not change, so one value serves all folds and the last fit.
    - The paper matches hidden classes with any cluster. Here only novel clusters count: the user reads the name of a
      known class as an answer, and for a row of another class it is a wrong one.
    - Classes are hidden about equally often, and groups are respected: see :class:`HiddenClassKFold`.
    - With fewer than three known classes the paper has no answer; here the estimator's own score decides. The paper
      does not speak of ties either.

    The score tells little about too small an ``n_clusters``: unlabeled rows that share a cluster with a hidden class
    cost nothing, since nobody can say that they do not belong there. (The paper does not search the number of
    clusters.) With separated classes the tie-break decides then.

    An estimator without ``classes_``, such as :class:`~sklearn.cluster.KMeans`, does not name its clusters after
    classes; all its clusters count as novel, and the score does not notice rows of visible classes among them.

    No fit can change `X`, and so the data of the next one. Arrays, sparse matrices in canonical format, and pandas
    tables of numbers of one dtype are not copied for that: the fits, the last one too, are given read-only views, so a
    step with ``copy=False`` makes its own copy or fails. Other sparse matrices and pandas tables are copied for each
    fit. Processes of the loky backend share an array as a memory map.

    ``sample_weight`` and other arguments of ``fit`` go to all fits uncut, since all rows are fitted, and to the scorer
    for the scored rows.

    References
    ----------
    .. [1] Troisemaine, C., Lemaire, V., Gosselin, S., Reiffers-Masson, A., Flocon-Cholet, J. and Vaton, S. (2024).
       "A practical approach to novel class discovery in tabular data." Data Mining and Knowledge Discovery 38.

    Examples
    --------
    Five classes, of which three are named. How many are there?

    >>> from sklearn_sslcluster.datasets import make_partially_labeled_blobs
    >>> from sklearn_sslcluster.discovery import SemiSupervisedKMeans
    >>> from sklearn_sslcluster.model_selection import HiddenClassSearchCV
    >>> X, y, y_true = make_partially_labeled_blobs(200, n_known=3, n_novel=2, random_state=0)
    >>> model = SemiSupervisedKMeans(n_init=2, random_state=0)
    >>> search = HiddenClassSearchCV(model, {"n_clusters": [3, 4, 5, 6, 7]}, random_state=0).fit(X, y)
    >>> search.best_params_
    {'n_clusters': 5}
    >>> search.novel_classes_
    array([3, 4])
    """

    _doc_link_module: ClassVar[str] = PartialLabelMixin._doc_link_module
    _doc_link_template: ClassVar[str] = PartialLabelMixin._doc_link_template

    _parameter_constraints: ClassVar[dict] = {
        "estimator": [HasMethods(["fit"])],
        "param_distributions": [dict, list, tuple],
        "n_iter": [Interval(Integral, 1, None, closed="left"), None],
        "scoring": [StrOptions({*get_scorer_names(), _DEFAULT_SCORING}), callable, list, tuple, dict, None],
        "cv": [Interval(Integral, 1, None, closed="left"), HasMethods(["get_n_splits", "split_masked"])],
        "n_jobs": [Integral, None],
        "refit": ["boolean", str, callable],
        "error_score": BaseSearchCV._parameter_constraints["error_score"],
        "pre_dispatch": [Integral, str],
        "unlabeled_value": [Integral, str, "boolean", None],
        "random_state": ["random_state"],
    }

    # Read by BaseSearchCV. Scores on training rows would be scores on masked labels.
    return_train_score = False

    def __init__(
        self,
        estimator: Any,
        param_distributions: Any,
        *,
        n_iter: int | None = None,
        scoring: Any = None,
        cv: Any = 5,
        n_jobs: int | None = None,
        refit: Any = True,
        error_score: Any = np.nan,
        pre_dispatch: Any = "2*n_jobs",
        unlabeled_value: Any = -1,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.param_distributions = param_distributions
        self.n_iter = n_iter
        self.scoring = scoring
        self.cv = cv
        self.n_jobs = n_jobs
        self.refit = refit
        self.error_score = error_score
        self.pre_dispatch = pre_dispatch
        self.unlabeled_value = unlabeled_value
        self.random_state = random_state

    @restore_on_failure
    @_fit_context(prefer_skip_nested_validation=False)  # the estimator is not validated yet
    def fit(self, X: Any, y: Any = None, **params: Any) -> HiddenClassSearchCV:
        """Compare all candidates on all folds, and fit the best one to all rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows, with and without a label.
        y : array-like of shape (n_samples,), default=None
            Partial labels: -1, None, NaN or ``pd.NA`` for a row without a label.
        **params : dict
            ``groups`` (see :class:`HiddenClassKFold`), and further arguments of the estimator's ``fit`` and of the
            scorer.

        Returns
        -------
        self : object
            Fitted search.
        """
        X, y = indexable(X, y)
        _ensure_no_complex_data(X)  # before y is read: the fault of X comes first, as in other estimators
        params = _check_method_params(X, params=params)
        fold_seed, candidate_seed = check_random_state(self.random_state).randint(2**31 - 1, size=2)
        candidates = self._list_candidates(int(candidate_seed))
        self._check_unlabeled_value(candidates)
        comparison = self._plan_comparison(X, y, self._get_routed_params_for_fit(params), int(fold_seed))
        weight = params.get("sample_weight")
        task = {"estimator": self, "X": X, "y": y, "metadata": None if weight is None else {"sample_weight": weight}}
        root = self._init_callback_context(max_subtasks=None).call_on_fit_task_begin(**task)  # ties add one

        results = self._evaluate(X, candidates, comparison, root, "search")
        metric = self._deciding_metric(results)
        if metric is not None and self._has_tie_to_settle(results, metric, comparison):
            results["tie_break_score"] = self._settle_tie(X, y, results, metric, comparison, root)
        fitted = self._select(results, metric, comparison)
        if self.refit:
            fitted |= self._refit_best(fitted["best_params_"], comparison.fit_params, root, task)

        kept = {name: value for name, value in vars(self).items() if name.startswith("_") or not name.endswith("_")}
        self.__dict__ = kept | fitted
        root.call_on_fit_task_end(**task)
        return self

    def score(self, X: Any, y: Any = None, **params: Any) -> float:
        """Score the best estimator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,), default=None
            Labels, partial or complete. Rows without a label are not scored.
        **params : dict
            Passed to the scorer, if metadata routing is enabled.

        Returns
        -------
        score : float
            With labels that of `scoring`; the default then expects known classes to be predicted by name and matches
            only the others with novel clusters. Without labels the estimator's own score.
        """
        _check_refit(self, "score")
        check_is_fitted(self)
        X, y = indexable(X, y)
        labels = None if y is None else encode_partial_labels(y, unlabeled_value=self.unlabeled_value)
        if labels is None or labels.unlabeled.all():
            return label_free_score(self.best_estimator_, X)
        rows = np.flatnonzero(~labels.unlabeled)
        params = _check_method_params(X, params=params, indices=rows)
        scored = X if len(rows) == len(labels.codes) else _safe_indexing(X, rows)
        return super().score(scored, decode(labels.codes[rows], labels.classes), **params)

    def get_metadata_routing(self) -> MetadataRouter:
        """Get the routing of metadata: to the fits, the scorer, and the splitter.

        Returns
        -------
        routing : MetadataRouter
            Routing of this object.
        """
        to_fit = MethodMapping().add(caller="fit", callee="fit")
        to_scorer = MethodMapping().add(caller="score", callee="score").add(caller="fit", callee="score")
        to_splitter = MethodMapping().add(caller="fit", callee="split")
        return (
            MetadataRouter(owner=self)
            .add(estimator=self.estimator, method_mapping=to_fit)
            .add(scorer=self._get_scorers()[0], method_mapping=to_scorer)
            .add(splitter=self._get_splitter(None), method_mapping=to_splitter)
        )

    def _get_scorers(self) -> tuple[Any, str]:
        """Scorer, and the name of the score that decides."""
        own = HiddenClassScorer()
        if self.scoring is None or self.scoring == _DEFAULT_SCORING:
            return own, "score"
        if isinstance(self.scoring, str) or callable(self.scoring):
            return check_scoring(self.estimator, self.scoring), "score"
        scoring = self.scoring
        if isinstance(scoring, dict):
            scoring = {name: own if scorer == _DEFAULT_SCORING else scorer for name, scorer in scoring.items()}
        elif _DEFAULT_SCORING in scoring:
            scoring = {name: own if name == _DEFAULT_SCORING else name for name in scoring}
        scorers = check_scoring(self.estimator, scoring, raise_exc=self.error_score == "raise")
        self._check_refit_for_multimetric(scoring)
        return scorers, self.refit

    def _get_splitter(self, seed: int | None) -> Any:
        if not isinstance(self.cv, Integral):
            return self.cv
        return HiddenClassKFold(int(self.cv), unlabeled_value=self.unlabeled_value, random_state=seed)

    def _check_unlabeled_value(self, candidates: list[dict]) -> None:
        """All that read `y` have to agree on what "no label" is."""
        mine = self.unlabeled_value
        tried = [value for candidate in candidates for value in candidate.values()]
        for other in (self.cv, *map(final_estimator, [self.estimator, *tried])):
            theirs = getattr(other, "unlabeled_value", mine)
            if theirs is not mine and (theirs != mine or isinstance(theirs, bool) != isinstance(mine, bool)):
                raise ValueError(
                    f"unlabeled_value={mine!r} differs from that of {type(other).__name__}, {theirs!r}; set both alike."
                )

    def _list_candidates(self, seed: int) -> list[dict]:
        if self.n_iter is not None:
            return list(ParameterSampler(self.param_distributions, self.n_iter, random_state=seed))
        grids = [self.param_distributions] if isinstance(self.param_distributions, dict) else self.param_distributions
        drawn = sorted({name for grid in grids for name, values in dict(grid).items() if hasattr(values, "rvs")})
        if drawn:
            raise ValueError(
                f"param_distributions holds a distribution for {drawn[0]!r}; set n_iter, the number of candidates to "
                "draw, or give a list of values."
            )
        candidates = list(ParameterGrid(self.param_distributions))
        if not candidates:
            raise ValueError("param_distributions holds no candidate; {} stands for the parameters of the estimator.")
        return candidates

    def _plan_comparison(self, X: Any, y: Any, routed: Any, seed: int) -> _Comparison:
        classes = np.empty(0) if y is None else encode_partial_labels(y, unlabeled_value=self.unlabeled_value).classes
        fit_params = routed.estimator.fit
        if len(classes) >= 3:
            splitter = self._get_splitter(seed)
            splits = splitter.split_masked(X, y, **routed.splitter.split)
            folds = hidden_folds(y, splits, self.unlabeled_value)
            scorer = for_names(self._get_scorers()[0], classes)
            return _Comparison(folds, scorer, True, fit_params, routed.scorer.score)
        if not hasattr(self.estimator, "score"):
            raise TypeError(
                f"y holds {len(classes)} known classes, too few to hide one (three are needed), and "
                f"{type(self.estimator).__name__} has no score without labels to compare candidates with."
            )
        warn_user(
            f"y holds {len(classes)} known classes, too few to hide one (three are needed). Candidates are compared by "
            "their own score on all rows, without labels; label rows of more classes to search by hidden classes.",
        )
        return _label_free_comparison(X, y, classes[:0], fit_params)

    def _evaluate(self, X: Any, candidates: list[dict], comparison: _Comparison, root: Any, task_name: str) -> dict:
        """``cv_results_`` of candidates, reported to callbacks as a task under `root`."""
        tasks = list(product(candidates, comparison.folds))
        context = root.subcontext(task_name=task_name, max_subtasks=len(tasks), sequential_subtasks=False)
        context.call_on_fit_task_begin(estimator=self)
        # All contexts before the first fit: they are pickled with the estimator.
        contexts = [
            context.subcontext(task_name="candidate-split-evaluation", task_id=number) for number in range(len(tasks))
        ]
        train = np.arange(_num_samples(X))

        def call(function: Callable, task: tuple, context: Any, error_score: Any) -> Any:
            parameters, fold = task
            return function(
                clone(self.estimator),
                X,
                fold,
                scorer=comparison.scorer,
                train=train,
                verbose=0,
                parameters=parameters,
                fit_params=comparison.fit_params,
                score_params=comparison.score_params,
                return_times=True,
                error_score=error_score,
                caller=self,
                callback_ctx=context,
            )

        parallel = Parallel(n_jobs=self.n_jobs, pre_dispatch=self.pre_dispatch)
        out = parallel(
            call(delayed(_fit_fold), task, context, self.error_score)
            for task, context in zip(tasks, contexts, strict=True)
        )
        if all(result["fit_error"] is not None for result in out):
            # Once more, for the exception itself: of the failures above only their text is left.
            call(_fit_fold, tasks[0], None, "raise")
        _warn_or_raise_about_fit_failures(out, self.error_score)
        if comparison.scores_on_truth and callable(self.scoring):
            _insert_error_scores(out, self.error_score)
        context.call_on_fit_task_end(estimator=self)
        return self._format_results(candidates, len(comparison.folds), out)

    def _deciding_metric(self, results: dict) -> str | None:
        """Name of the score that decides, None if there are several and none is to decide."""
        names = [name.removeprefix("mean_test_") for name in results if name.startswith("mean_test_")]
        if names == ["score"]:
            return "score"
        self._check_refit_for_multimetric(names)
        return self.refit or None

    def _has_tie_to_settle(self, results: dict, metric: str, comparison: _Comparison) -> bool:
        if callable(self.refit) or not comparison.scores_on_truth:
            return False
        n_best = int((results[f"rank_test_{metric}"] == 1).sum())
        return n_best > 1 and np.isfinite(results[f"mean_test_{metric}"]).any() and hasattr(self.estimator, "score")

    def _settle_tie(
        self, X: Any, y: Any, results: dict, metric: str, comparison: _Comparison, root: Any
    ) -> np.ma.MaskedArray:
        """Own scores of the candidates that tie for the first rank; masked for the others."""
        tied = np.flatnonzero(results[f"rank_test_{metric}"] == 1)
        own = _label_free_comparison(X, y, np.empty(0), comparison.fit_params)
        candidates = [results["params"][number] for number in tied]
        scores = self._evaluate(X, candidates, own, root, "tie-break")["mean_test_score"]
        settled = np.ma.masked_all(len(results["params"]))
        settled[tied] = scores
        return np.ma.masked_invalid(settled)

    def _select(self, results: dict, metric: str | None, comparison: _Comparison) -> dict:
        """Fitted attributes, without those of the last fit."""
        fitted = {
            "cv_results_": results,
            "hidden_classes_": [fold.hidden for fold in comparison.folds],
            "n_splits_": len(comparison.folds),
            "multimetric_": metric != "score",
            "scorer_": getattr(comparison.scorer, "_scorers", comparison.scorer),
        }
        if metric is None:
            return fitted
        best = self._select_best_index(self.refit, metric, results)
        if "tie_break_score" in results and results["tie_break_score"].count():
            best = results["tie_break_score"].argmax()
        fitted |= {"best_index_": int(best), "best_params_": results["params"][best]}
        if not callable(self.refit):
            fitted["best_score_"] = float(results[f"mean_test_{metric}"][best])
        return fitted

    def _refit_best(self, best_params: dict, fit_params: dict, root: Any, task: dict) -> dict:
        """The best candidate fitted to all rows with all labels."""
        best = clone(self.estimator).set_params(**clone(best_params, safe=False))
        labels = () if task["y"] is None else (task["y"],)
        context = root.subcontext(task_name="refit-with-best-params")
        with context.propagate_callback_context(best):
            context.call_on_fit_task_begin(**task)
            start = time.time()
            best.fit(read_only(task["X"]), *labels, **fit_params)
            fitted = {"best_estimator_": best, "refit_time_": time.time() - start}
        if hasattr(best, "feature_names_in_"):
            fitted["feature_names_in_"] = best.feature_names_in_
        context.call_on_fit_task_end(**task)
        return fitted
