"""Novel class discovery without choosing a method: a portfolio, chosen by hiding known classes."""

from __future__ import annotations

from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from ..base import check_range, fit_method
from ..engine import RowBlocks, fit_progress
from ..labels import PartialLabels, warn_user
from ..numerics import pose_problem
from ._candidates import Candidate, default_candidates, expand
from ._choice import choose
from ._count import CountSettings, count_novel
from ._earlier import Earlier
from ._leaderboard import LeaderboardMixin
from ._members import fit_member
from ._search import (
    FEW_KNOWN,
    Clock,
    Findings,
    Sample,
    SearchSettings,
    estimate_known_share,
    explore,
    harder,
    row_sample,
    settle_case,
)
from ._trials import FIT_ERRORS, Trial, make_trials, numbers_hidden
from ._voting import VotingMixin

_FEWEST_FOR_CHOICE = 12
_MOST_COUNTING_TRIALS = 5
# Of a budget, what is left after the counting; with less than so many seconds k-means alone counts.
_LEFT_AFTER_COUNTING, _QUICK = 0.75, 60.0
# Time of a fit grows about like this power of the rows.
_GROWTH = 1.3


class NovelClassDiscovery(LeaderboardMixin, VotingMixin, BaseEstimator):
    """Find new classes with the method that best finds known ones when they are hidden.

    Which method suits a table, and how many new classes there are, nobody can see from the new classes themselves.
    But known classes can be hidden: this estimator hides some of them, lets a portfolio of pipelines look for them,
    keeps those that do it best, and lets them vote. The number of classes is counted by criteria whose errors were seen
    in the same way.

    Parameters
    ----------
    n_clusters : int or "auto", default="auto"
        Number of classes, known and novel together. An int below the number of known classes is raised to it, with a
        warning. ``"auto"`` counts, see Notes; the answer may be no new class, or one.
    unlabeled : {"auto", "mixed", "novel"}, default="auto"
        Whether unlabeled rows may belong to known classes. ``"auto"`` takes them for all novel if less than 3 % of them
        look known (``known_share_``).
    candidates : "default" or list, default="default"
        Entries (name, pipeline, grid) or (name, pipeline): clusterers of this package or of scikit-learn, or pipelines
        that end with one, and a grid of their parameters. Clusterers of scikit-learn are given the rows without a label
        only, by :class:`~sklearn_sslcluster.discovery.NovelRowsClustering`. See :func:`default_candidates`.
    max_candidates : int, default=None
        Take the first so many candidates of the list only, its grids spread out; simple ones stand first. None takes
        all.
    selection : {"robust", "hidden-classes"}, default="robust"
        Candidates are ranked by the accuracy on hidden classes and, to a lesser degree, by their agreement with the
        others on the unlabeled rows; or by the accuracy alone, as long as there are trials.
    consensus : bool, default=True
        Keep up to seven candidates that come close to the best, and let them vote, the better ones with more weight.
        Otherwise one is kept: the simplest, the first in the list, of those that cannot be told from the best.
    n_splits : int, default=8
        Trials at most, each of which hides other known classes. All candidates get four, the better three fifths (at
        least five) the others.
    n_hidden : int, default=None
        Known classes hidden in a trial; None for half of them, rounded up, but at least two, and all but one in turn.
    time_budget : float, default=None
        Seconds after which no further fit begins: a quarter for the counting, half for the first fits. At least one
        candidate is fitted, and the best one once more to all rows; if what is left is too little for those that were
        chosen, going by their first fits, it is the quickest one. Answers then depend on the machine.
    max_rows : int, default=2000
        Distinct rows on which candidates are compared. What is kept is fitted to all rows.
    k_max : int, default=None
        Largest number of classes that ``n_clusters="auto"`` answers; None for ``max(30, 3 * n_known)``.
    n_jobs : int, default=None
        Fits that run at the same time. ``None`` means 1 outside a :func:`joblib.parallel_config` context.
    refit : bool, default=True
        Fit what was chosen to all rows. Otherwise there is a ``leaderboard_`` and nothing to predict with.
    unlabeled_value : int, str, bool or None, default=-1
        Value of `y` that stands for "no label", besides None, NaN and ``pd.NA``.
    random_state : int, RandomState instance or None, default=None
        Draws the sample and the classes to hide, and is the seed of all candidates that have none.

    Attributes
    ----------
    classes_ : ndarray of shape (n_clusters_,)
        Names of the classes: known ones in sorted order, then novel ones by decreasing size.
    novel_classes_ : ndarray of shape (n_novel,)
        Names of the novel classes.
    labels_ : ndarray of shape (n_samples,)
        Class of each training row: its label, or what ``predict`` says.
    confidence_ : ndarray of shape (n_samples,)
        Share of the votes for it; 1 for labeled rows.
    n_clusters_ : int
        Number of classes, known ones included.
    n_clusters_interval_ : tuple of int
        Between these numbers lie the answers of the counters with four fifths of the votes; twice the number that was
        asked for where it was given.
    n_clusters_votes_ : dict of str to tuple
        With ``n_clusters="auto"``, of each counter: its answer (known classes included), its mean relative error where
        classes were hidden (None if none could be), its share of the votes.
    known_share_ : float
        Estimated share of the unlabeled rows that belong to known classes.
    unlabeled_ : {"mixed", "novel"}
        The case that was taken.
    estimators_ : list of Pipeline
        What was kept, best first, fitted with codes for class names.
    weights_ : ndarray of shape (n_kept,)
        Their votes.
    translations_ : list of ndarray
        For each of them, the position in ``classes_`` of each class it names; -1 for classes without a row.
    trial_scores_ : list of list
        Score of each candidate, in the order of the leaderboard, in each trial that was run; None where it was not
        tried.
    trials_among_ : {"labeled", "all"}
        Rows that take part in the trials, if there are any, see Notes: with ``"all"`` the scores are F1 scores.
    leaderboard_data_ : dict
        What ``leaderboard_`` is made of.
    suggested_rows_ : ndarray
        What ``suggest_rows`` chooses from, at most 1,000.
    hidden_classes_ : list of ndarray
        Names of the classes that each trial hid, of those that were run.
    leaderboard_ : pandas.DataFrame
        The candidates, best first.
    distance_quantiles_ : ndarray of shape (n_clusters_, 101)
        Percentiles of the distance of the training rows of each class to the nearest other reference row, for
        ``predict(X, reject=...)``.
    reference_rows_, reference_codes_ : ndarray of shape (n_references, n_features), ndarray of shape (n_references,)
        At most 2,000 distinct training rows, and their classes as positions in ``classes_``.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, when all are strings.

    Warns
    -----
    UserWarning
        If fewer than three classes are known, or fewer than a dozen rows are labeled: the choice then rests on little.

    See Also
    --------
    sklearn_sslcluster.model_selection.HiddenClassSearchCV : Searches the parameters of one pipeline.
    sklearn_sslcluster.discovery.KnownClassMetric : The metric that half of the candidates begin with.

    Notes
    -----
    *Trials.* By default only the labeled rows take part, since only there is it known which classes there are. Some
    classes are hidden; where unlabeled rows belong to known classes, too, a like share of the rows of the visible ones
    loses its labels. A candidate is scored by :func:`~sklearn_sslcluster.metrics.hidden_class_accuracy` on the rows
    without a label. (Algorithm 1 of [1]_ has all rows take part, so that the number of classes in a trial is unknown.)
    With three known classes (or fewer, if some stay visible) most candidates find those. If all unlabeled rows are new,
    and known classes have a third of the rows of the others or more, classes are then hidden among all rows, with as
    many classes as were asked for or counted, and the score is the F1 score of each hidden class and the cluster
    matched with it, averaged over the hidden rows; unlabeled rows are of other classes.

    *Choice.* Candidates are ranked by

    .. math::
        s = \\text{mean accuracy on hidden classes}
            + \\frac{0.3}{\\sqrt{n_\\text{trials}}} \\times \\text{mean adjusted Rand index with the others}

    where the second term looks at the partitions of the unlabeled rows: what several methods agree on is seldom wrong.
    Where classes are hidden among all rows, 0.1 takes the place of 0.3; without trials the factor is 1. In both cases,
    or if fewer than three classes are known, a tenth of the stability is added if there is time to look at it: the
    adjusted Rand index of a partition with that of the same candidate on 70 % of the rows. The votes of candidates are
    in proportion to :math:`e^{s / 0.03}`; up to seven are kept, as long as they have at least a fifth of the votes of
    the best.

    *Number of classes.* Rows are embedded by t-SNE, in their columns and in a metric learned from the visible classes,
    and counted in the embedding by the Bayesian information criterion of a mixture and by the silhouette of k-means:
    four counters. Each counts hidden classes, too. Half of the bias that it shows there is taken from its answer, and
    it votes with :math:`(0.1 + e)^{-2}`, where :math:`e` is the mean relative error that is left. The result is the
    weighted median.

    *Consensus.* Novel classes of the candidates that are kept are matched one to one with what all of them vote for.

    References
    ----------
    .. [1] C. Troisemaine, A. Reiffers-Masson, S. Gosselin, V. Lemaire, S. Vaton, "A practical approach to novel class
       discovery in tabular data", Data Mining and Knowledge Discovery, 2024.

    Examples
    --------
    >>> from sklearn_sslcluster.auto import NovelClassDiscovery
    >>> from sklearn_sslcluster.datasets import make_partially_labeled_blobs
    >>> X, y, y_true = make_partially_labeled_blobs(150, n_known=3, n_novel=2, random_state=0)
    >>> model = NovelClassDiscovery(n_splits=2, random_state=0).fit(X, y)
    >>> model.novel_classes_, model.unlabeled_
    (array([3, 4]), 'novel')
    """

    _parameter_constraints: dict = {
        "n_clusters": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "unlabeled": [StrOptions({"auto", "mixed", "novel"})],
        "candidates": [StrOptions({"default"}), list, tuple],
        "max_candidates": [Interval(Integral, 1, None, closed="left"), None],
        "selection": [StrOptions({"robust", "hidden-classes"})],
        "consensus": ["boolean"],
        "n_splits": [Interval(Integral, 1, None, closed="left")],
        "n_hidden": [Interval(Integral, 1, None, closed="left"), None],
        "time_budget": [Interval(Real, 0, None, closed="neither"), None],
        "max_rows": [Interval(Integral, 10, None, closed="left")],
        "k_max": [Interval(Integral, 1, None, closed="left"), None],
        "n_jobs": [Integral, None],
        "refit": ["boolean"],
        "unlabeled_value": [Integral, str, "boolean", None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_clusters: Any = "auto",
        *,
        unlabeled: str = "auto",
        candidates: Any = "default",
        max_candidates: int | None = None,
        selection: str = "robust",
        consensus: bool = True,
        n_splits: int = 8,
        n_hidden: int | None = None,
        time_budget: float | None = None,
        max_rows: int = 2000,
        k_max: int | None = None,
        n_jobs: int | None = None,
        refit: bool = True,
        unlabeled_value: Any = -1,
        random_state: Any = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.unlabeled = unlabeled
        self.candidates = candidates
        self.max_candidates = max_candidates
        self.selection = selection
        self.consensus = consensus
        self.n_splits = n_splits
        self.n_hidden = n_hidden
        self.time_budget = time_budget
        self.max_rows = max_rows
        self.k_max = k_max
        self.n_jobs = n_jobs
        self.refit = refit
        self.unlabeled_value = unlabeled_value
        self.random_state = random_state

    @fit_method
    def fit(self, X: Any, y: Any = None, init_from: Any = None) -> NovelClassDiscovery:
        """Choose by hiding known classes, then find the new ones.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows.
        y : array-like of shape (n_samples,), default=None
            Partial labels: ints, strings, bools or categories, and -1, None, NaN or ``pd.NA`` for rows without one.
        init_from : fitted estimator, default=None
            An earlier model of the same columns, whose names novel classes keep: a class is named like that of the
            earlier model with which it shares most of its unlabeled rows. Those that continue none get names that the
            earlier model does not have. Among known classes that are strings, whole numbers become strings.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If `X` has NaN or infinite values, `y` has another length or holds floats that are not whole numbers,
            `n_hidden` leaves no known class visible, `candidates` is malformed, all candidates fail, or `init_from` is
            no model of these columns.
        TypeError
            If `y` holds values that are no labels, dates for example.
        """
        clock = Clock(self.time_budget)
        earlier = None if init_from is None else Earlier.of(init_from, X)
        X = self._check_rows(X, reset=True)
        labels = self._encode_labels(y, X)
        random_state = check_random_state(self.random_state)
        check_range(pose_problem(RowBlocks(X, (None, None)), 0, np.random.RandomState(0)), X.dtype)
        seed = int(random_state.randint(np.iinfo(np.int32).max // 2))
        settings = SearchSettings(seed, self.n_jobs, self.selection, clock)
        sample = self._draw_sample(X, labels, random_state)
        trials = self._make_trials(sample, random_state)
        with fit_progress(self, X, y, max_steps=None, step_name="round") as step:
            candidates = self._expand(sample)[: self.max_candidates]
            n_wanted, counted = self._count(sample, trials, labels, settings)
            trials = harder(trials, sample, n_wanted)
            findings = explore(candidates, sample, trials, n_wanted, settings, lambda: step())
        if not len(findings.alive):
            error = next((outcome.error for outcome in findings.outcomes if outcome.error is not None), None)
            raise ValueError(f"No candidate could be fitted; the first error: {error}") from error
        kept, weights = choose(findings.evidence, findings.alive, self.selection, consensus=self.consensus)
        n_trials = findings.evidence.n_trials
        self._warn_if_little_is_known(labels, sample, len(trials), n_trials)
        fitted = {
            **counted,
            "known_share_": sample.known_share,
            "unlabeled_": sample.unlabeled,
            "trials_among_": "all" if findings.evidence.among_all else "labeled",
            "hidden_classes_": [labels.classes[trial.hidden] for trial in trials[:n_trials]],
        }
        if self.refit:
            members = self._fit_members(candidates, kept, X, labels, n_wanted, findings, settings)
            weight_of = dict(zip(kept.tolist(), weights, strict=True))
            kept, weights = np.array(list(members)), np.array([weight_of.get(number, 1.0) for number in members])
            weights = weights / weights.sum()
            fitted |= self._attributes(list(members.values()), weights, X, labels, n_wanted, earlier)
            self._warn_if_fewer(n_wanted, fitted["n_clusters_"])
        self._set_fitted(**fitted, **self._board(candidates, findings, kept, weights))
        return self

    def _draw_sample(self, X: np.ndarray, labels: PartialLabels, random_state: np.random.RandomState) -> Sample:
        rows = row_sample(X, labels.codes, self.max_rows, random_state)
        n_free = int(labels.unlabeled.sum())
        codes = labels.codes[rows].astype(np.int64)
        share = estimate_known_share(np.asarray(X[rows], dtype=np.float64), codes)
        case = settle_case(self.unlabeled, share, labels.n_known)
        return Sample(X[rows], codes, case, share, n_free, len(X) - n_free)

    def _make_trials(self, sample: Sample, random_state: np.random.RandomState) -> list[Trial]:
        n_hidden = numbers_hidden(sample.n_known, self.n_hidden)
        if not sample.free.any() or (~sample.free).sum() < _FEWEST_FOR_CHOICE:
            return []
        return make_trials(sample.codes, n_hidden, self.n_splits, sample.masked_share, random_state)

    def _count(
        self, sample: Sample, trials: list[Trial], labels: PartialLabels, settings: SearchSettings
    ) -> tuple[int, dict[str, Any]]:
        """(number of classes, fitted attributes)."""
        if self.n_clusters != "auto":
            n_wanted = labels.n_known + self._n_novel_wanted(labels)
            return n_wanted, {"n_clusters_interval_": (n_wanted, n_wanted), "n_clusters_votes_": {}}
        ks = self._candidates(labels.n_known)
        # Those that leave the most classes to learn a metric from.
        fewest = min((len(trial.hidden) for trial in trials), default=0)
        clock, some = settings.clock, [trial for trial in trials if len(trial.hidden) == fewest][:_MOST_COUNTING_TRIALS]
        quick = clock.budget is not None and clock.budget < _QUICK
        how = CountSettings(sample.unlabeled, ks[-1] - labels.n_known, settings.seed, quick)
        has_time = None if clock.budget is None else partial(clock.allows, _LEFT_AFTER_COUNTING * clock.budget)
        counted = count_novel(sample.X, sample.codes, some, how, self.n_jobs, has_time)
        n_known = labels.n_known
        lowest = 0 if n_known else 1
        low, chosen, high = (max(n, lowest) + n_known for n in (counted.low, counted.n_novel, counted.high))
        told = zip(counted.names, counted.answers, counted.errors, counted.votes, strict=True)
        return chosen, {
            "n_clusters_interval_": (low, high),
            "n_clusters_votes_": {
                name: (int(answer) + n_known, float(error) if np.isfinite(error) else None, float(share))
                for name, answer, error, share in told
            },
        }

    def _expand(self, sample: Sample) -> list:
        if not isinstance(self.candidates, str):
            return expand(self.candidates)
        listed = default_candidates(
            sample.unlabeled, n_unlabeled=sample.n_free, n_features=sample.X.shape[1], n_known=sample.n_known
        )
        # Nothing to choose with: the simplest will do.
        return expand(listed[:1] if sample.free.sum() < _FEWEST_FOR_CHOICE else listed)

    def _fit_members(
        self,
        candidates: list[Candidate],
        kept: np.ndarray,
        X: np.ndarray,
        labels: PartialLabels,
        n_wanted: int,
        findings: Findings,
        settings: SearchSettings,
    ) -> dict[int, Any]:
        """What was kept, fitted to all rows as far as time allows; if none of it can be, another that can.

        That is the quickest where time is short, else the next best.
        """
        codes = labels.codes.astype(np.int64)
        members: dict[int, Any] = {}
        errors: dict[int, Exception] = {}

        def attempt(number: int) -> None:
            try:
                members[number] = fit_member(candidates[number].pipeline, X, codes, n_wanted, settings.seed)
            except FIT_ERRORS as error:
                errors[number] = error

        growth = (len(X) / max(findings.n_rows, 1)) ** _GROWTH
        takes = np.array([outcome.seconds for outcome in findings.outcomes]) * growth
        for number in kept.tolist():
            if settings.clock.allows(takes[number]):
                attempt(number)
        last = -findings.evidence.strengths(self.selection) if settings.clock.budget is None else takes
        for number in findings.alive[np.argsort(last[findings.alive], kind="stable")].tolist():
            if not members and number not in errors:
                attempt(number)
        if not members:
            error = next(iter(errors.values()))
            raise ValueError(f"No candidate can be fitted to all rows: {error}") from error
        return members

    def _warn_if_little_is_known(self, labels: PartialLabels, sample: Sample, n_made: int, n_run: int) -> None:
        if not sample.free.any() or not labels.n_known:
            return
        rests = "how far candidates agree with each other"
        if labels.n_known < FEW_KNOWN or not n_made:
            rests = f"{rests} and with themselves"
            if n_run:
                only = "" if self.selection == "hidden-classes" else f", and on {rests}"
                rests = f"{n_run} {'trial' if n_run == 1 else 'trials'} with hidden classes{only}"
            warn_user(
                f"{sample.n_labeled} labeled rows, known classes: {labels.n_known}. That is too little to hide classes "
                f"and look for them: the choice rests on {rests}. Label more rows, of at least three classes."
            )
        elif not n_run:
            warn_user(
                f"time_budget={self.time_budget} left no time to hide known classes: the choice rests on {rests}."
            )
