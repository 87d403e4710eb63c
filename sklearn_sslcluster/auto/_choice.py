"""From scores of candidates to those that are kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Weight of the agreement with the other candidates beside the accuracy on hidden classes in one trial; it falls with
# the root of the number of trials, as the error of their mean does.
_AGREEMENT = 0.3
# In trials among all rows the unlabeled ones have their say already. Without trials there is little else.
_AGREEMENT_AMONG_ALL, _AGREEMENT_ALONE = 0.1, 1.0
# Weight of the stability, where it was looked at: it breaks near ties.
_STABILITY = 0.1
# Votes fall by the factor e with so much less strength; whose would be less than this share of the best's has none.
_SOFTNESS, _LEAST_VOTE = 0.03, 0.2
_MOST_KEPT = 7
# Without votes a simpler candidate is taken that is weaker by at most a standard error, and by at most so much.
_NEAR = 0.01
# Each that is kept has so much less of a vote than an equal one before it: where all differ, the first decides.
_LESS = 0.01


@dataclass(frozen=True)
class Evidence:
    """What is known of the candidates.

    Attributes
    ----------
    scores : ndarray of shape (n_candidates, n_trials)
        Accuracy on hidden classes; NaN where a trial was not run. The search fills it, trial by trial.
    agreement : ndarray of shape (n_candidates,)
        With the partitions of the others; NaN where the fit failed.
    stability : ndarray of shape (n_candidates,)
        Agreement with the same candidate on a part of the rows; NaN where it was not looked at.
    among_all : bool, default=False
        The classes were hidden among all rows, not among the labeled ones alone.
    """

    scores: np.ndarray
    agreement: np.ndarray
    stability: np.ndarray
    among_all: bool = False

    def means(self) -> np.ndarray:
        """Mean accuracy on hidden classes; zeros where there are none."""
        counts = np.isfinite(self.scores).sum(axis=1)
        sums = np.where(np.isfinite(self.scores), self.scores, 0.0).sum(axis=1)
        return np.divide(sums, counts, out=np.zeros(len(counts)), where=counts > 0)

    def errors(self) -> np.ndarray:
        """Standard error of the mean accuracy; NaN with fewer than two trials."""
        counts = np.isfinite(self.scores).sum(axis=1)
        out = np.full(len(counts), np.nan)
        for i in np.flatnonzero(counts > 1):
            values = self.scores[i][np.isfinite(self.scores[i])]
            out[i] = values.std(ddof=1) / np.sqrt(len(values))
        return out

    @property
    def n_trials(self) -> int:
        """Trials that were run; they are the first columns of `scores`."""
        return int(np.isfinite(self.scores).any(axis=0).sum())

    def strengths(self, selection: str) -> np.ndarray:
        """What candidates are ranked by; -inf where the fit failed. Without trials there is no accuracy."""
        strength = self.means()
        if selection == "robust" or not self.n_trials:
            weight = _AGREEMENT_ALONE
            if self.n_trials:
                weight = (_AGREEMENT_AMONG_ALL if self.among_all else _AGREEMENT) / np.sqrt(self.n_trials)
            strength = strength + weight * np.nan_to_num(self.agreement) + _STABILITY * np.nan_to_num(self.stability)
        return np.where(np.isfinite(self.agreement), strength, -np.inf)


def survivors(evidence: Evidence, alive: np.ndarray, n_left: int, selection: str) -> np.ndarray:
    """Numbers of the candidates that go on to further trials, best first."""
    strengths = evidence.strengths(selection)[alive]
    return alive[np.argsort(-strengths, kind="stable")[:n_left]]


def choose(evidence: Evidence, alive: np.ndarray, selection: str, *, consensus: bool) -> tuple[np.ndarray, np.ndarray]:
    """(numbers of the candidates that are kept, best first; their weights, which sum to 1).

    Of equal ones that stays which stands first in the list. Without a consensus also the first of those that cannot be
    told from the best.
    """
    strengths = evidence.strengths(selection)
    order = alive[np.argsort(-strengths[alive], kind="stable")]
    order = order[np.isfinite(strengths[order])]
    if not consensus:
        return _simplest_near(evidence, strengths, order), np.ones(1)
    votes = np.exp((strengths[order] - strengths[order[:1]]) / _SOFTNESS)
    n_kept = min(int((votes >= _LEAST_VOTE).sum()), _MOST_KEPT)
    weights = votes[:n_kept] * (1 - _LESS * np.arange(n_kept))
    return order[:n_kept], weights / weights.sum()


def _simplest_near(evidence: Evidence, strengths: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The first in the list of those whose strength is within a standard error of the paired difference to the best."""
    best, near = order[0], [order[0]]
    for other in order[1:]:
        differences = evidence.scores[best] - evidence.scores[other]
        differences = differences[np.isfinite(differences)]
        if len(differences) > 1:
            error = differences.std(ddof=1) / np.sqrt(len(differences))
            if strengths[best] - strengths[other] <= min(error, _NEAR):
                near.append(other)
    return np.array([min(near)])
