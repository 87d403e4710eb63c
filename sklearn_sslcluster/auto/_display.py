"""The leaderboard as a picture, in scikit-learn's Display convention."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted


class LeaderboardDisplay:
    """Picture of what the candidates of a `NovelClassDiscovery` made of hidden classes.

    Parameters
    ----------
    names : list of str
        Candidates with their parameters, best first.
    scores : ndarray of shape (n_candidates, n_trials)
        Scores on hidden classes; NaN where a candidate was in no such trial.
    weights : ndarray of shape (n_candidates,)
        Their votes.
    score_name : str, default="accuracy"
        What the scores are.

    Attributes
    ----------
    ax_ : matplotlib Axes
        After ``plot``.
    figure_ : matplotlib Figure
        After ``plot``.

    See Also
    --------
    NovelClassDiscovery : Its ``leaderboard_`` holds the same in a table.

    Examples
    --------
    >>> from sklearn_sslcluster.auto import LeaderboardDisplay, NovelClassDiscovery
    >>> from sklearn_sslcluster.datasets import make_partially_labeled_blobs
    >>> X, y, _ = make_partially_labeled_blobs(150, n_known=3, n_novel=2, random_state=0)
    >>> model = NovelClassDiscovery(5, n_splits=2, random_state=0).fit(X, y)
    >>> display = LeaderboardDisplay.from_estimator(model)
    >>> display.ax_.get_xlabel()
    'F1 score on hidden known classes'
    """

    def __init__(self, names: list[str], scores: np.ndarray, weights: np.ndarray, score_name: str = "accuracy") -> None:
        self.names = names
        self.scores = scores
        self.weights = weights
        self.score_name = score_name

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> LeaderboardDisplay:
        """Draw the leaderboard of a fitted estimator.

        Parameters
        ----------
        estimator : NovelClassDiscovery
            Fitted.
        ax : matplotlib Axes, default=None
            Where to draw; None for a new figure.

        Returns
        -------
        display : LeaderboardDisplay
            With ``ax_`` and ``figure_``.
        """
        check_is_fitted(estimator, "leaderboard_data_")
        board = estimator.leaderboard_data_
        pairs = zip(board["candidate"], board["parameters"], strict=True)
        names = [f"{name} ({params})" if params else name for name, params in pairs]
        scores = np.array(estimator.trial_scores_, dtype=np.float64).reshape(len(names), -1)
        score_name = "F1 score" if getattr(estimator, "trials_among_", "labeled") == "all" else "accuracy"
        display = cls(names, scores, np.asarray(board["weight"]), score_name)
        return display.plot(ax=ax)

    def plot(self, *, ax: Any = None) -> LeaderboardDisplay:
        """Draw a dot a trial, and a bar at the mean; kept candidates are in color.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None for a new figure.

        Returns
        -------
        display : LeaderboardDisplay
            Itself.
        """
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots(figsize=(8.5, 0.35 * len(self.names) + 1), layout="constrained")
        for place, (scores, weight) in enumerate(zip(self.scores, self.weights, strict=True)):
            told = scores[np.isfinite(scores)]
            color = "C0" if weight > 0 else "0.6"
            if len(told):
                ax.barh(place, told.mean(), height=0.6, color=color, alpha=0.35)
                ax.plot(told, np.full(len(told), place), "o", color=color, markersize=4)
        ax.set_yticks(range(len(self.names)), self.names)
        ax.invert_yaxis()
        ax.set(xlim=(0, 1.02), xlabel=f"{self.score_name} on hidden known classes")
        self.ax_, self.figure_ = ax, ax.figure
        return self
