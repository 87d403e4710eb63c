"""Trials: candidates fitted to tables whose classes are known and have been hidden."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from math import comb
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score
from sklearn.utils.parallel import Parallel, delayed

from ..labels import UNLABELED, hidden_class_folds
from ..metrics import hidden_class_accuracy
from ._candidates import Candidate, last_step, prepared

_FEWEST_HIDDEN = 2
# What a fit of somebody's own candidate may raise.
FIT_ERRORS = (ValueError, TypeError, RuntimeError, ArithmeticError, AttributeError, LookupError, MemoryError)


@dataclass(frozen=True)
class Trial:
    """Rows with some of their labels taken away.

    Attributes
    ----------
    rows : ndarray of shape (n_trial,)
        Numbers of the rows.
    codes : ndarray of shape (n_trial,)
        Visible classes as ``0 .. n_visible - 1``, ``UNLABELED`` elsewhere.
    truth : ndarray of shape (n_trial,)
        The same with the hidden classes from `n_visible` on; ``UNLABELED`` where nothing is known.
    hidden : ndarray of shape (n_hidden,)
        Known classes that are hidden.
    n_visible : int
    n_other : int, default=0
        Classes of the rows of which nothing is known.
    """

    rows: np.ndarray
    codes: np.ndarray
    truth: np.ndarray
    hidden: np.ndarray
    n_visible: int
    n_other: int = 0

    @property
    def n_classes(self) -> int:
        return self.n_visible + len(self.hidden) + self.n_other


@dataclass(frozen=True)
class Outcome:
    """What a candidate made of a trial.

    Attributes
    ----------
    codes : ndarray of shape (n_trial,) or None
        Visible classes as in the trial, then clusters; None if the fit failed.
    seconds : float
    error : Exception or None
    """

    codes: np.ndarray | None
    seconds: float
    error: Exception | None = None

    def score(self, trial: Trial) -> float:
        """Share of the masked rows in the right class; 0 if the fit failed, which has found nothing.

        Where there are other classes beside the hidden ones, it is the F1 score of the latter.
        """
        if self.codes is None:
            return 0.0
        if trial.n_other:
            return _f1_of_hidden(trial, self.codes)
        masked = (trial.codes == UNLABELED) & (trial.truth != UNLABELED)
        # Clusters must not bear the names of hidden classes by accident.
        found = np.where(self.codes >= trial.n_visible, self.codes + trial.n_classes, self.codes)
        return hidden_class_accuracy(
            trial.truth[masked], found[masked], visible_classes=list(range(trial.n_visible)), unassigned=None
        )


def _f1_of_hidden(trial: Trial, found: np.ndarray) -> float:
    """F1 score of each hidden class and the cluster that is matched with it; their mean, weighted by rows.

    Rows of which nothing is known are taken to belong to no hidden class.
    """
    free = trial.codes == UNLABELED
    truth, clusters = trial.truth[free], np.where(found[free] < trial.n_visible, 0, found[free] - trial.n_visible + 1)
    sizes = np.bincount(clusters)
    shared = np.zeros((len(trial.hidden), len(sizes)))
    known = truth >= trial.n_visible
    np.add.at(shared, (truth[known] - trial.n_visible, clusters[known]), 1.0)
    rows = shared.sum(axis=1)
    # Cluster 0 holds what was given to visible classes.
    f1 = 2 * shared[:, 1:] / (rows[:, None] + sizes[1:])
    weighted = f1 * rows[:, None] / rows.sum()
    return float(weighted[linear_sum_assignment(weighted, maximize=True)].sum())


def numbers_hidden(n_known: int, n_hidden: int | None) -> list[int]:
    """How many known classes trials hide in turn: by default half of them, but at least two, and all but one.

    Half of the classes leave more to learn a metric from, all but one more to tell apart. Two known classes are both
    hidden: with one there is nothing to tell it from.

    Raises
    ------
    ValueError
        If `n_hidden` leaves no class visible.
    """
    if n_known <= 1 or (n_hidden is None and n_known == _FEWEST_HIDDEN):
        return [n_known]
    if n_hidden is None:
        return sorted({max((n_known + 1) // 2, _FEWEST_HIDDEN), n_known - 1})
    if n_hidden >= n_known:
        raise ValueError(f"n_hidden={n_hidden} leaves none of the {n_known} known classes visible.")
    return [n_hidden]


def make_trials(
    codes: np.ndarray, n_hidden: Sequence[int], n_trials: int, masked_share: float, random_state: np.random.RandomState
) -> list[Trial]:
    """Trials on the labeled rows alone, each of which hides other classes.

    Only there is it known how many classes there are among the rows, and which. None if fewer than two classes are
    known.

    Parameters
    ----------
    codes : ndarray of shape (n_rows,)
        Known classes, ``UNLABELED`` elsewhere.
    n_hidden : sequence of int
        Classes to hide, in turn.
    n_trials : int
        At most; there may be fewer combinations.
    masked_share : float
        Share of the rows of visible classes that lose their label, too, as in a table in which unlabeled rows belong to
        known classes.
    random_state : RandomState
    """
    rows = np.flatnonzero(codes != UNLABELED)
    known = np.unique(codes[rows])
    if len(known) < _FEWEST_HIDDEN:
        return []
    trials = []
    folds = [hidden_class_folds(codes, n, min(n_trials, comb(len(known), n)), random_state) for n in n_hidden]
    in_turn = (hidden for hidden in chain(*zip_longest(*folds)) if hidden is not None)
    for hidden in islice(in_turn, n_trials):
        visible = np.setdiff1d(known, hidden)
        place = np.full(int(known.max()) + 1, UNLABELED)
        place[visible] = np.arange(len(visible))
        place[hidden] = len(visible) + np.arange(len(hidden))
        truth = place[codes[rows]]
        masked = truth >= len(visible)
        for code in range(len(visible)):
            own = np.flatnonzero(truth == code)
            n_masked = min(round(masked_share * len(own)), len(own) - 1)
            masked[random_state.permutation(own)[:n_masked]] = True
        trials.append(Trial(rows, np.where(masked, UNLABELED, truth), truth, hidden, len(visible)))
    return trials


def among_all(trial: Trial, codes: np.ndarray, n_other: int) -> Trial:
    """The same classes hidden among all rows, where the unlabeled ones are of `n_other` classes of their own.

    Parameters
    ----------
    trial : Trial
        On the labeled rows.
    codes : ndarray of shape (n_rows,)
        Known classes, ``UNLABELED`` elsewhere.
    n_other : int
    """
    visible, truth = np.full((2, len(codes)), UNLABELED)
    visible[trial.rows], truth[trial.rows] = trial.codes, trial.truth
    return Trial(np.arange(len(codes)), visible, truth, trial.hidden, trial.n_visible, n_other)


def run(candidate: Candidate, X: np.ndarray, codes: np.ndarray, n_clusters: Any, seed: int) -> Outcome:
    """Fit a candidate; an error of the fit is part of the outcome."""
    start = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pipeline = prepared(candidate.pipeline, n_clusters, seed).fit(X, codes)
        found = np.asarray(last_step(pipeline).labels_, dtype=np.int64)
    except FIT_ERRORS as error:
        return Outcome(None, time.perf_counter() - start, error)
    return Outcome(found, time.perf_counter() - start)


def run_all(tasks: list[tuple], n_jobs: int | None) -> list[Outcome]:
    """Outcomes of ``run`` for (candidate, X, codes, n_clusters, seed), side by side."""
    return list(Parallel(n_jobs=n_jobs)(delayed(run)(*task) for task in tasks))


def agreement(outcomes: list[Outcome], free: np.ndarray) -> np.ndarray:
    """Mean adjusted Rand index of each partition of the unlabeled rows with all others; NaN for failed fits."""
    fitted = [i for i, outcome in enumerate(outcomes) if outcome.codes is not None]
    out = np.full(len(outcomes), np.nan)
    table = np.ones((len(fitted), len(fitted)))
    parts = [outcomes[i].codes[free] for i in fitted]  # type: ignore[index]
    for a in range(len(fitted)):
        for b in range(a):
            table[a, b] = table[b, a] = adjusted_rand_score(parts[a], parts[b])
    if len(fitted) > 1:
        out[fitted] = (table.sum(axis=1) - 1) / (len(fitted) - 1)
    else:
        out[fitted] = 0.0
    return out
