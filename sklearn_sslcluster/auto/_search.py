"""The search of `NovelClassDiscovery`: what is tried on which rows, within the time there is."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from joblib import effective_n_jobs

from ..engine import RowBlocks
from ..labels import UNLABELED
from ..numerics import distinct_rows, share_of_known, whitening, within_scatter
from ._candidates import Candidate
from ._choice import Evidence, survivors
from ._trials import Outcome, Trial, agreement, among_all, run_all

# Below this share of unlabeled rows that look known, they are taken to be all novel.
_LARGEST_NOVEL_SHARE = 0.03
_SHRINKAGE = 0.2
# Trials that all candidates get, and how many of the candidates get the rest.
_FIRST_TRIALS, _KEPT_SHARE, _FEWEST_KEPT = 4, 0.6, 5
# Share of the rows on which the stability of a partition is looked at.
_RESAMPLED = 0.7
# With fewer known classes trials say little.
FEW_KNOWN = 3
# With so many or fewer, the labeled rows are too easy: classes are hidden among all rows. There they must not be much
# smaller than the others, or what splits off a few rows would find them best.
_FEW_AMONG_ALL, _LEAST_SIZE = 3, 1 / 3
# Rows of a known class that a sample holds, if there are so many.
_FEWEST_OF_CLASS = 5


@dataclass
class Clock:
    """Seconds that are left; without a budget there is no end to them."""

    budget: float | None
    start: float = field(default_factory=lambda: time.perf_counter())

    @property
    def elapsed(self) -> float:
        return time.perf_counter() - self.start

    def allows(self, seconds: float) -> bool:
        return self.budget is None or self.elapsed + seconds <= self.budget


@dataclass(frozen=True)
class SearchSettings:
    """How a search is run.

    Attributes
    ----------
    seed : int
    n_jobs : int or None
    selection : {"robust", "hidden-classes"}
    clock : Clock
    """

    seed: int
    n_jobs: int | None
    selection: str
    clock: Clock

    @property
    def side_by_side(self) -> int:
        """Fits that run at the same time."""
        return effective_n_jobs(self.n_jobs)


@dataclass(frozen=True)
class Sample:
    """Rows on which candidates are compared.

    Attributes
    ----------
    X : ndarray of shape (n_rows, n_features)
    codes : ndarray of shape (n_rows,)
        Known classes, ``UNLABELED`` elsewhere.
    unlabeled : {"mixed", "novel"}
    known_share : float
        Estimated share of the unlabeled rows that belong to known classes.
    n_free, n_labeled : int
        Rows of the table without and with a label.
    """

    X: np.ndarray
    codes: np.ndarray
    unlabeled: str
    known_share: float
    n_free: int
    n_labeled: int

    @property
    def free(self) -> np.ndarray:
        return self.codes == UNLABELED

    @property
    def n_known(self) -> int:
        return int(self.codes.max(initial=UNLABELED)) + 1

    @property
    def masked_share(self) -> float:
        """Share of the rows of known classes that have no label."""
        if self.unlabeled == "novel":
            return 0.0
        hidden = self.known_share * self.n_free
        return float(min(hidden / max(hidden + self.n_labeled, 1), 0.9))


@dataclass(frozen=True)
class Findings:
    """What the search has seen.

    Attributes
    ----------
    evidence : Evidence
    alive : ndarray
        Numbers of the candidates that were in all trials.
    outcomes : list of Outcome
        On the whole sample.
    seconds : ndarray of shape (n_candidates,)
        Of all fits of a candidate.
    n_rows : int
        Rows of the sample.
    """

    evidence: Evidence
    alive: np.ndarray
    outcomes: list[Outcome]
    seconds: np.ndarray
    n_rows: int


def estimate_known_share(X: np.ndarray, codes: np.ndarray) -> float:
    """Share of the unlabeled rows that look like labeled ones, in the metric of the known classes."""
    labeled = codes != UNLABELED
    if not labeled.any() or labeled.all():
        return 0.0
    scatter = within_scatter(X[labeled], codes[labeled])
    return share_of_known((X - X.mean(axis=0)) @ whitening(scatter, _SHRINKAGE), labeled)


def settle_case(unlabeled: str, known_share: float, n_known: int) -> str:
    """Whether unlabeled rows are "mixed" or "novel"."""
    if unlabeled != "auto":
        return unlabeled
    return "novel" if n_known and known_share < _LARGEST_NOVEL_SHARE else "mixed"


def harder(trials: list[Trial], sample: Sample, n_clusters: int) -> list[Trial]:
    """Trials among all rows, if few classes are known, have rows enough, and all unlabeled rows are of other ones.

    Trials that hide all known classes are left as they are: too many classes would be looked for without a label.
    """
    n_other, n_free = n_clusters - sample.n_known, int(sample.free.sum())
    if sample.unlabeled != "novel" or sample.n_known > _FEW_AMONG_ALL or n_other < 1:
        return trials
    if (len(sample.codes) - n_free) / max(sample.n_known, 1) < _LEAST_SIZE * n_free / n_other:
        return trials
    return [among_all(trial, sample.codes, n_other) if trial.n_visible else trial for trial in trials]


def explore(
    candidates: list[Candidate],
    sample: Sample,
    trials: list[Trial],
    n_clusters: int,
    settings: SearchSettings,
    on_round: Callable[[], bool],
) -> Findings:
    """Fit candidates to the sample and to the trials, the cheap rounds first, as long as time allows.

    All candidates get the first trials, the better part of them the others. Where few classes are known, so that
    trials say little, the stability of each partition is looked at in the end.

    Parameters
    ----------
    candidates : list of Candidate
    sample : Sample
    trials : list of Trial
    n_clusters : int
        Classes of the sample.
    settings : SearchSettings
    on_round : callable
        Called after each round; True ends the search.
    """
    clock, n, free = settings.clock, len(candidates), sample.free
    scores = np.full((n, len(trials)), np.nan)
    outcomes = _whole_sample(candidates, sample, n_clusters, settings)
    seconds = np.array([outcome.seconds for outcome in outcomes])
    alive = np.array([i for i, outcome in enumerate(outcomes) if outcome.codes is not None], dtype=np.intp)
    among_all_rows = any(trial.n_other for trial in trials)
    evidence = Evidence(scores, agreement(outcomes, free), np.full(n, np.nan), among_all_rows)
    stopped, first_round = on_round() or not len(alive), float(seconds[alive].sum()) / settings.side_by_side
    for number, trial in enumerate(trials):
        round_takes = float(seconds[alive].sum()) / (1 + number) / settings.side_by_side
        if stopped or not clock.allows(round_takes):
            break
        X, seed = sample.X[trial.rows], settings.seed + number + 1
        tasks = [(candidates[i], X, trial.codes, trial.n_classes, seed) for i in alive]
        for i, outcome in zip(alive, run_all(tasks, settings.n_jobs), strict=True):
            scores[i, number] = outcome.score(trial)
            seconds[i] += outcome.seconds
        if number + 1 == _FIRST_TRIALS and number + 1 < len(trials):
            n_left = max(round(_KEPT_SHARE * len(alive)), min(_FEWEST_KEPT, len(alive)))
            alive = survivors(evidence, alive, n_left, settings.selection)
        stopped = on_round()
    few = evidence.among_all or sample.n_known < FEW_KNOWN
    matters = not evidence.n_trials or (few and settings.selection == "robust")
    if matters and free.any() and not stopped and clock.allows(first_round):
        stability, resampling = _stabilities(candidates, sample, outcomes, n_clusters, settings)
        evidence = replace(evidence, stability=stability)
        seconds = seconds + resampling
        on_round()
    return Findings(evidence, alive, outcomes, seconds, len(sample.X))


def _whole_sample(
    candidates: list[Candidate], sample: Sample, n_clusters: int, settings: SearchSettings
) -> list[Outcome]:
    """Partitions of the sample; with a budget a few at a time, and those that are left out count as failed."""
    clock, n_jobs = settings.clock, settings.n_jobs
    tasks = [(candidate, sample.X, sample.codes, n_clusters, settings.seed) for candidate in candidates]
    if clock.budget is None:
        return run_all(tasks, n_jobs)
    outcomes: list[Outcome] = []
    while len(outcomes) < len(tasks):
        # The first are fitted in any case; half of the time is for the trials.
        if outcomes and not clock.allows(clock.budget / 2):
            outcomes.append(Outcome(None, 0.0, TimeoutError("time_budget left no time for this candidate")))
        else:
            n_next = settings.side_by_side if outcomes else 1
            outcomes += run_all(tasks[len(outcomes) :][:n_next], n_jobs)
    return outcomes


def _stabilities(
    candidates: list[Candidate], sample: Sample, outcomes: list[Outcome], n_clusters: int, settings: SearchSettings
) -> tuple[np.ndarray, np.ndarray]:
    """(agreement of each partition with that of the same candidate on a part of the rows, seconds).

    NaN where there is no partition, 0 where the fit to the part failed.
    """
    chosen = np.random.RandomState(settings.seed).uniform(size=len(sample.X)) < _RESAMPLED
    # The first row of every class and the first unlabeled one stay, so that all classes stay known.
    chosen[np.unique(sample.codes, return_index=True)[1]] = True
    rows = np.flatnonzero(chosen)
    whole = {i: outcome.codes for i, outcome in enumerate(outcomes) if outcome.codes is not None}
    tasks = [(candidates[i], sample.X[rows], sample.codes[rows], n_clusters, settings.seed) for i in whole]
    free = sample.codes[rows] == UNLABELED
    out, seconds = np.full(len(candidates), np.nan), np.zeros(len(candidates))
    for (i, codes), part in zip(whole.items(), run_all(tasks, settings.n_jobs), strict=True):
        seconds[i] = part.seconds
        pair = [Outcome(codes[rows], 0.0), part]
        out[i] = 0.0 if part.codes is None else agreement(pair, free)[0]
    return out, seconds


def row_sample(X: np.ndarray, codes: np.ndarray, max_rows: int, random_state: np.random.RandomState) -> np.ndarray:
    """Numbers of distinct rows, about `max_rows` at most: half of them unlabeled, the others dealt to the classes.

    What there is less of than its half is taken whole. Rows come in an order that does not depend on that of the table.
    """
    free = np.flatnonzero(codes == UNLABELED)
    classes = [np.flatnonzero(codes == code) for code in range(int(codes.max(initial=UNLABELED)) + 1)]
    n_labeled = len(codes) - len(free)
    most_labeled = max(max_rows // 2, max_rows - len(free))
    share = min(most_labeled / max(n_labeled, 1), 1.0)
    limits = [
        max_rows - min(n_labeled, most_labeled),
        *(max(round(share * len(own)), _FEWEST_OF_CLASS) for own in classes),
    ]
    chosen = []
    for group, limit in zip([free, *classes], limits, strict=True):
        if len(group):
            blocks = RowBlocks(X if len(group) == len(X) else X[group], (None, None))
            found = distinct_rows(blocks, (None, None), max_rows=max(limit, 1), random_state=random_state)
            chosen.append(group[found.rows])
    return np.concatenate(chosen)
