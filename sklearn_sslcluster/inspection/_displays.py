"""Pictures of fitted models in scikit-learn's Display convention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ..labels import find_classes
from ._classes import find_model_classes, last_step
from ._columns import read_columns
from ._projection import project, shown_rows

_MAX_ROWS = 5000
_MAX_IN_LEGEND = 20


def new_axes(ax: Any, width: float, height: float) -> Any:
    """`ax`, or the axes of a new figure."""
    if ax is not None:
        return ax
    try:
        import matplotlib.pyplot as plt
    except ModuleNotFoundError as error:
        raise ImportError('plots need matplotlib: pip install "sklearn-sslcluster[plot]"') from error
    return plt.subplots(figsize=(width, height), layout="constrained")[1]


class NovelClassDisplay:
    """Picture of rows in a plane, colored by class; known and novel classes have different markers.

    Parameters
    ----------
    embedding : ndarray of shape (n_rows, 2)
        Places of the rows.
    labels : ndarray of shape (n_rows,)
        Class of each row.
    classes : ndarray of shape (n_classes,)
        Names of the classes.
    is_novel : ndarray of shape (n_classes,)
        Which were found.
    axis_names : pair of str, default=("", "")
        What the two directions are.

    Attributes
    ----------
    ax_ : matplotlib Axes
        After ``plot``.
    figure_ : matplotlib Figure
        After ``plot``.

    See Also
    --------
    ClusterReport : What the classes are, in words and numbers.

    Examples
    --------
    >>> from sklearn_sslcluster.datasets import make_partially_labeled_blobs
    >>> from sklearn_sslcluster.discovery import SemiSupervisedKMeans
    >>> from sklearn_sslcluster.inspection import NovelClassDisplay
    >>> X, y, _ = make_partially_labeled_blobs(150, n_known=2, n_novel=1, random_state=0)
    >>> display = NovelClassDisplay.from_estimator(SemiSupervisedKMeans(3, random_state=0).fit(X, y), X, y)
    >>> display.ax_.get_xlabel()
    'first principal component'
    """

    def __init__(
        self,
        embedding: np.ndarray,
        labels: np.ndarray,
        classes: np.ndarray,
        is_novel: np.ndarray,
        axis_names: tuple[str, str] = ("", ""),
    ) -> None:
        self.embedding = embedding
        self.labels = labels
        self.classes = classes
        self.is_novel = is_novel
        self.axis_names = axis_names

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any = None,
        *,
        embedding: Any = None,
        feature_names: Sequence[str] | None = None,
        ax: Any = None,
    ) -> NovelClassDisplay:
        """Draw rows with the classes that a fitted model gives them.

        Parameters
        ----------
        estimator : object
            Fitted clusterer, or pipeline or search that ends in one.
        X : array-like of shape (n_samples, n_features)
            Rows, a DataFrame or dense array.
        y : array-like of shape (n_samples,), default=None
            Partial labels; a row labeled with a known class is drawn as one of it.
        embedding : array-like of shape (n_samples, 2), default=None
            Where to draw the rows, by t-SNE for example; None for the first two principal components of the
            standardized columns.
        feature_names : sequence of str, default=None
            Names of the columns for messages of errors.
        ax : matplotlib Axes, default=None
            Where to draw; None for a new figure.

        Returns
        -------
        display : NovelClassDisplay
            With ``ax_`` and ``figure_``.

        Raises
        ------
        ValueError
            If `embedding` has not one row of two numbers for each row of `X`.
        """
        columns = read_columns(X, feature_names, estimator)
        found = find_model_classes(estimator, X, y, columns)
        labels = found.names[found.codes]
        if embedding is None:
            axis_names = ("first principal component", "second principal component")
            return cls(project(columns), labels, found.names, found.is_novel, axis_names).plot(ax=ax)
        places = np.asarray(embedding, dtype=np.float64)
        if places.shape != (len(labels), 2):
            raise ValueError(f"embedding must have the shape ({len(labels)}, 2), got {places.shape}.")
        return cls(places, labels, found.names, found.is_novel).plot(ax=ax)

    def plot(self, *, ax: Any = None) -> NovelClassDisplay:
        """Draw at most 5,000 rows.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None for a new figure.

        Returns
        -------
        display : NovelClassDisplay
            Itself.
        """
        ax = new_axes(ax, 7.5, 5)
        codes = find_classes(self.labels, self.classes)
        rows = shown_rows(codes, _MAX_ROWS)
        n_classes = len(self.classes)
        for code, name in enumerate(self.classes.tolist()):
            here = self.embedding[rows[codes[rows] == code]]
            marker, kind = ("D", "novel") if self.is_novel[code] else ("o", "known")
            color = f"C{code % 10}"
            ax.plot(*here.T, marker, color=color, markersize=4, alpha=0.6, mew=0, label=_as_label(f"{name} ({kind})"))
        ax.set(xlabel=self.axis_names[0], ylabel=self.axis_names[1])
        if n_classes <= _MAX_IN_LEGEND:
            ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _as_label(text: str) -> str:
    """Text that matplotlib neither reads as mathematics nor hides, as it does labels that begin with an underscore."""
    text = text.replace("$", r"\$")
    return f"\u200b{text}" if text.startswith("_") else text


class NumberOfClustersDisplay:
    """Picture of what the criterion says of each number of clusters that ``n_clusters="auto"`` has tried.

    Parameters
    ----------
    scores : dict of int to float
        Criterion by number of clusters.
    n_clusters : int
        The number that was chosen.
    n_known : int, default=0
        Number of known classes.

    Attributes
    ----------
    ax_ : matplotlib Axes
        After ``plot``.
    figure_ : matplotlib Figure
        After ``plot``.

    See Also
    --------
    sklearn_sslcluster.model_selection.estimate_n_clusters : Scores of a table without a fit.

    Examples
    --------
    >>> from sklearn_sslcluster.datasets import make_partially_labeled_blobs
    >>> from sklearn_sslcluster.discovery import SemiSupervisedKMeans
    >>> from sklearn_sslcluster.inspection import NumberOfClustersDisplay
    >>> X, y, _ = make_partially_labeled_blobs(150, n_known=2, n_novel=1, random_state=0)
    >>> model = SemiSupervisedKMeans("auto", k_max=6, random_state=0).fit(X, y)
    >>> NumberOfClustersDisplay.from_estimator(model).n_clusters
    3
    """

    def __init__(self, scores: dict[int, float], n_clusters: int, n_known: int = 0) -> None:
        self.scores = scores
        self.n_clusters = n_clusters
        self.n_known = n_known

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> NumberOfClustersDisplay:
        """Draw the scores of a fitted estimator.

        Parameters
        ----------
        estimator : object
            Fitted with ``n_clusters="auto"``, or pipeline or search that ends in such a one.
        ax : matplotlib Axes, default=None
            Where to draw; None for a new figure.

        Returns
        -------
        display : NumberOfClustersDisplay
            With ``ax_`` and ``figure_``.

        Raises
        ------
        ValueError
            If the estimator has tried no numbers.
        """
        estimator = last_step(estimator)
        check_is_fitted(estimator)
        scores = getattr(estimator, "n_clusters_scores_", None)
        if not scores:
            raise ValueError(
                f"{type(estimator).__name__} has tried no numbers of clusters: fit it with n_clusters='auto', and rows "
                "that leave a choice."
            )
        n_known = len(estimator.classes_) - len(estimator.novel_classes_)
        return cls(dict(scores), int(estimator.n_clusters_), n_known).plot(ax=ax)

    def plot(self, *, ax: Any = None) -> NumberOfClustersDisplay:
        """Draw the criterion against the number of clusters, and a line at the number chosen.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None for a new figure.

        Returns
        -------
        display : NumberOfClustersDisplay
            Itself.
        """
        ax = new_axes(ax, 6.5, 3.6)
        numbers = sorted(self.scores)
        ax.plot(numbers, [self.scores[k] for k in numbers], "o-", color="C0")
        ax.axvline(self.n_clusters, color="C1", linestyle="--", label=f"chosen: {self.n_clusters}")
        if self.n_known:
            ax.axvline(self.n_known, color="0.5", linestyle=":", label=f"known: {self.n_known}")
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.set(xlabel="number of clusters", ylabel="criterion (higher is better)")
        ax.legend(frameon=False)
        self.ax_, self.figure_ = ax, ax.figure
        return self
