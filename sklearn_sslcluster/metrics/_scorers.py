"""Scorers for model selection with partial labels."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ..labels import UNLABELED, encode_partial_labels, find_classes, hide


def make_partial_label_scorer(metric: Callable, *, unlabeled_value: Any = -1) -> Callable:
    """Make a scorer that ignores the rows without a label.

    The scorers of scikit-learn take -1 for one more class, and most of them refuse None and NaN. This one predicts
    all rows and compares those that have a label.

    Parameters
    ----------
    metric : callable
        ``metric(y_true, y_pred) -> float``, larger is better, for example
        :func:`~sklearn.metrics.adjusted_rand_score` or :func:`clustering_accuracy`. Pass a function that can be
        pickled if the search runs with several jobs.
    unlabeled_value : int, str, bool or None, default=-1
        Value that stands for "no label" besides None and NaN; None for no further value.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y) -> float``, for the parameter ``scoring`` of
        :class:`~sklearn.model_selection.GridSearchCV` and its kin.

    Raises
    ------
    TypeError
        If `metric` cannot be called.

    Warns
    -----
    UserWarning
        By the scorer, if none of the rows it is given has a label; the score is NaN then.

    See Also
    --------
    clustering_accuracy : A metric that ignores names.
    sklearn.metrics.make_scorer : The same for complete labels.

    Notes
    -----
    The metric gets class names. If names of several kinds meet, for example the classes ``False`` and ``True`` and
    the prediction ``"novel_0"``, all are replaced by integers, equal names by equal integers, because the metrics of
    scikit-learn cannot compare kinds.

    Examples
    --------
    >>> from sklearn.cluster import KMeans
    >>> from sklearn.metrics import adjusted_rand_score
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn_sslcluster.datasets import make_partially_labeled_blobs
    >>> from sklearn_sslcluster.metrics import make_partial_label_scorer
    >>> X, y, _ = make_partially_labeled_blobs(120, n_known=3, n_novel=0, labeled_fraction=0.5, random_state=0)
    >>> scorer = make_partial_label_scorer(adjusted_rand_score)
    >>> search = GridSearchCV(KMeans(n_init=3, random_state=0), {"n_clusters": [2, 3, 4]}, scoring=scorer, cv=2)
    >>> search.fit(X, y).best_params_
    {'n_clusters': 3}
    """
    if not callable(metric):
        raise TypeError(f"metric must be a callable metric(y_true, y_pred), got a {type(metric).__name__}.")
    return _PartialLabelScorer(metric, unlabeled_value)


class _PartialLabelScorer:
    """What ``make_partial_label_scorer`` returns; a class at module level, so that it can be pickled."""

    def __init__(self, metric: Callable, unlabeled_value: Any) -> None:
        self.metric = metric
        self.unlabeled_value = unlabeled_value

    def __call__(self, estimator: Any, X: Any, y: Any = None) -> float:
        if y is None:
            raise ValueError(f"{self!r} needs partial labels, got y=None.")
        # Encoded with -1 as a class, because a fold may hold nothing but -1 and 1 without deserving a warning.
        true = encode_partial_labels(y, unlabeled_value=None)
        codes = hide(true.codes, find_classes([self.unlabeled_value], true.classes))
        labeled = codes != UNLABELED
        if not labeled.any():
            warnings.warn(
                "None of the rows to be scored has a label, so the score is NaN. Use fewer folds, or a splitter that "
                "spreads the labeled rows over the folds.",
                UserWarning,
                stacklevel=2,
            )
            return float("nan")
        y_pred = np.asarray(estimator.predict(X))[labeled]
        return float(self.metric(*_comparable(true.classes[codes[labeled]], y_pred)))

    def __repr__(self) -> str:
        name = getattr(self.metric, "__name__", repr(self.metric))
        extra = "" if self.unlabeled_value == -1 else f", unlabeled_value={self.unlabeled_value!r}"
        return f"make_partial_label_scorer({name}{extra})"


def _comparable(y_true: np.ndarray, y_pred: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both arrays in one data type that metrics can sort: ints, bools or strings, else integer codes."""
    both = encode_partial_labels([*y_true.tolist(), *y_pred.tolist()], unlabeled_value=None)
    kinds = {type(name) for name in both.classes.tolist()}
    if both.unlabeled.any() or len(kinds) > 1:
        names = np.where(both.codes == UNLABELED, both.n_known, both.codes)
    else:
        names = both.classes.astype(bool if kinds == {bool} else both.classes.dtype)[both.codes]
    return names[: len(y_true)], names[len(y_true) :]
