"""From scores of candidates to those that are kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Weight of the agreement with the other candidates beside the accuracy on hidden classes.
_AGREEMENT = 0.3
# Candidates so much behind the best are not kept, however few there are.
_TOO_FAR = 0.1
_MOST_KEPT = 3
# Each that is kept has so much less of a vote than the one before: where all three differ, the best decides.
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
        Agreement with the same candidate on a part of the rows; zeros where it was not looked at.
    """

    scores: np.ndarray
    agreement: np.ndarray
    stability: np.ndarray

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

    def strengths(self, selection: str) -> np.ndarray:
        """What candidates are ranked by; -inf where the fit failed."""
        strength = self.means()
        if selection == "robust":
            strength = strength + _AGREEMENT * np.nan_to_num(self.agreement) + self.stability
        return np.where(np.isfinite(self.agreement), strength, -np.inf)


def survivors(evidence: Evidence, alive: np.ndarray, n_left: int, selection: str) -> np.ndarray:
    """Numbers of the candidates that go on to further trials, best first."""
    strengths = evidence.strengths(selection)[alive]
    return alive[np.argsort(-strengths, kind="stable")[:n_left]]


def choose(evidence: Evidence, alive: np.ndarray, selection: str, *, consensus: bool) -> tuple[np.ndarray, np.ndarray]:
    """(numbers of the candidates that are kept, best first; their weights, which sum to 1).

    Of equal ones that stays which stands first in the list.
    """
    strengths = evidence.strengths(selection)
    order = alive[np.argsort(-strengths[alive], kind="stable")]
    order = order[np.isfinite(strengths[order])]
    kept = order[:1]
    if consensus:
        kept = order[strengths[order] >= strengths[order[0]] - _TOO_FAR][:_MOST_KEPT]
    weights = 1 - _LESS * np.arange(len(kept))
    return kept, weights / weights.sum()
