"""The table of candidates: stored as arrays, shown as a DataFrame."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ._candidates import Candidate, described
from ._search import Findings


class LeaderboardMixin:
    """Mixin of estimators that compare candidates: what they saw, as a table."""

    @property
    def leaderboard_(self) -> Any:
        """The candidates, best first, as a DataFrame (needs pandas).

        Its columns: ``candidate`` and ``parameters``; ``strength``, by which they are ranked; ``hidden_accuracy``, the
        mean accuracy on hidden classes (F1 score where ``trials_among_`` is "all"), with its standard error ``se`` and
        the number of ``trials``; ``agreement`` with the other candidates; ``stability``, agreement with the same
        candidate on 70 % of the rows, NaN where it was not looked at; ``fit_time``, the seconds of all its fits but the
        last to all rows; ``chosen``, whether it was kept, and ``weight``, its share of the votes; ``trial0_score`` and
        so on, the score in each trial.
        """
        check_is_fitted(self, "leaderboard_data_")
        from pandas import DataFrame

        board = DataFrame(self.leaderboard_data_)  # type: ignore[attr-defined]
        board.insert(board.columns.get_loc("weight"), "chosen", board["weight"] > 0)
        # Models that an earlier version has saved may lack some.
        told = [name for name in ("strength", "hidden_accuracy", "se", "agreement", "stability") if name in board]
        for number, scores in enumerate(zip(*self.trial_scores_, strict=True)):  # type: ignore[attr-defined]
            told.append(f"trial{number}_score")
            board[told[-1]] = scores
        return board.astype(dict.fromkeys(told, float))

    @property
    def best_estimator_(self) -> Any:
        """The first of ``estimators_``: a pipeline that can be used by itself, with codes for class names."""
        check_is_fitted(self, "estimators_")
        return self.estimators_[0]  # type: ignore[attr-defined]

    def _board(
        self, candidates: list[Candidate], findings: Findings, kept: np.ndarray, weights: np.ndarray
    ) -> dict[str, Any]:
        """The fitted attributes ``leaderboard_data_`` and ``trial_scores_``."""
        evidence = findings.evidence
        strengths = evidence.strengths(self.selection)  # type: ignore[attr-defined]
        # What was kept first, since those that were in all trials are compared among themselves.
        rank = np.full(len(candidates), len(candidates))
        rank[findings.alive] = len(candidates) - 1
        rank[kept] = np.arange(len(kept))
        order = np.lexsort((np.arange(len(candidates)), -strengths, rank))
        weight = np.zeros(len(candidates))
        weight[kept] = weights
        n_trials = np.isfinite(evidence.scores).sum(axis=1)
        return {
            "leaderboard_data_": {
                "candidate": [candidates[i].name for i in order],
                "parameters": [described(candidates[i].params) for i in order],
                "strength": _told(strengths[order]),
                "hidden_accuracy": _told(np.where(n_trials > 0, evidence.means(), np.nan)[order]),
                "se": _told(evidence.errors()[order]),
                "trials": n_trials[order],
                "agreement": _told(evidence.agreement[order]),
                "stability": _told(evidence.stability[order]),
                "fit_time": findings.seconds[order],
                "weight": weight[order],
            },
            "trial_scores_": [_told(row) for row in evidence.scores[order, : evidence.n_trials]],
        }


def _told(values: np.ndarray) -> list[float | None]:
    """Numbers as a list, None where nothing is known."""
    return [float(value) if np.isfinite(value) else None for value in values]
