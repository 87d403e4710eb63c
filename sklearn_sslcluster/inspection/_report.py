"""What each class of a fitted clusterer is, as attributes and as a page."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from os import PathLike
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from ._classes import FoundClasses, confidence_of, find_model_classes, last_step, stability_of
from ._columns import Columns, column_means, read_columns
from ._page import fragment, page
from ._projection import project
from ._rules import Rule, RuleRows, find_rule, rule_text, sample_rows
from ._warnings import find_warnings

_MAX_RULE_ROWS = 20_000


class ClusterReport:
    """What the classes of a fitted clusterer are: their rows, what sets them apart, and how far to trust them.

    Works for every fitted clusterer of the package, for pipelines and searches that end in one, and for clusterers
    of scikit-learn with a ``predict``. The class of a row is its label if that is a known class of the model, and
    what ``predict`` says otherwise.

    Parameters
    ----------
    model : object
        Fitted clusterer, or pipeline or search that ends in one.
    X : array-like of shape (n_samples, n_features)
        Rows, as the model takes them: a DataFrame or a dense array. Columns of text are described by their ten most
        frequent texts.
    y : array-like of shape (n_samples,), default=None
        Partial labels, as the model was fitted with.
    feature_names : sequence of str, default=None
        Names of the columns; None for those of the DataFrame or of the model.
    n_prototypes : int, default=3
        Rows shown of each class.
    n_bootstraps : int, default=0
        Refits of a clone of the model, each to four fifths of the rows, that ``stability_`` is measured by; 0 for none,
        as refits may take long.
    random_state : int, RandomState instance or None, default=None
        Deals rows into folds, draws rows of large tables and of refits.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Names of the classes of the model.
    is_novel_ : ndarray of shape (n_classes,)
        Whether the model has found the class, or knew it.
    labels_ : ndarray of shape (n_samples,)
        Class of each row.
    sizes_ : ndarray of shape (n_classes,)
        Number of rows.
    shares_ : ndarray of shape (n_classes,)
        The same as a share of all rows.
    prototypes_ : list of ndarray
        Numbers, from 0, of the rows of each class that are nearest to its mean in standardized columns.
    feature_names_ : list of str
        The columns that classes are described by; a text of a column is one, ``"city = Paris"``.
    differences_ : ndarray of shape (n_classes, n_columns)
        Mean of the rows of a class minus mean of all other rows, in standard deviations of the column. NaN where there
        are no such rows.
    rules_ : list of dict or None
        Short rule of each class, None where there are no other rows. ``"text"`` says it, ``"conditions"`` are a list of
        lists of dicts ``{"column", "above", "at_most"}``, of which all of an inner list and one of the outer list have
        to hold. ``"precision"`` and ``"recall"`` are those on held-out folds, of rules learned from the other folds;
        ``"precision_all_rows"`` and ``"recall_all_rows"`` those of the rule itself.
    confidence_ : ndarray of shape (n_samples,)
        How sure the model is of what it says: the largest ``predict_proba``; without it, one minus the ratio of the
        distances to the mean of the class that it says and of the nearest other one, in standardized columns, and no
        less than 0.
    confidence_kind_ : {"predict_proba", "margin"}
        Which of the two.
    confusion_ : ndarray of shape (n_labels, n_classes)
        Number of labeled rows by label and by what ``predict`` says.
    confusion_labels_ : ndarray of shape (n_labels,)
        The labels in `y`, in sorted order.
    disagreeing_rows_ : ndarray
        Numbers of the rows whose label is a known class of the model and not what ``predict`` says, the most confident
        first.
    stability_ : ndarray of shape (n_classes,) or None
        Mean Jaccard similarity with the nearest class of the refits; below 0.6 there is little to hold on to.
    embedding_ : ndarray of shape (n_samples, 2)
        The first two principal components of the standardized columns.
    warnings_ : list of str
        What to be careful about.

    Raises
    ------
    TypeError
        If `model` has no ``predict``, or `X` is sparse.
    ValueError
        If `X` holds an infinite number, or missing values that the model does not take; the message names the column.

    See Also
    --------
    NovelClassDisplay : The classes as a picture.

    Notes
    -----
    A rule is a decision tree of depth three that tells a class from all other rows, whose thresholds have the fewest
    digits that part the rows alike. Above 20,000 rows it is learned from a sample of each class. Missing numbers count
    as the median of their column in rules, and as its mean in prototypes, margins and the picture. Stability follows
    [1]_, by subsamples.

    References
    ----------
    .. [1] C. Hennig, "Cluster-wise assessment of cluster stability", Computational Statistics and Data Analysis 52,
       2007.

    Examples
    --------
    >>> from sklearn_sslcluster.datasets import make_partially_labeled_blobs
    >>> from sklearn_sslcluster.discovery import SemiSupervisedKMeans
    >>> from sklearn_sslcluster.inspection import ClusterReport
    >>> X, y, _ = make_partially_labeled_blobs(150, n_known=2, n_novel=1, random_state=0)
    >>> model = SemiSupervisedKMeans(3, random_state=0).fit(X, y)
    >>> report = ClusterReport(model, X, y, feature_names=["width", "height"], random_state=0)
    >>> report.classes_[report.is_novel_]
    array([2])
    >>> report.rules_[2]["recall"] > 0.9
    True
    """

    def __init__(
        self,
        model: Any,
        X: Any,
        y: Any = None,
        *,
        feature_names: Sequence[str] | None = None,
        n_prototypes: int = 3,
        n_bootstraps: int = 0,
        random_state: Any = None,
    ) -> None:
        _check_count("n_prototypes", n_prototypes)
        _check_count("n_bootstraps", n_bootstraps)
        random_state = check_random_state(random_state)
        columns = read_columns(X, feature_names, model)
        found = find_model_classes(model, X, y, columns)
        if n_bootstraps and not found.is_novel.all() and not found.labels.n_known:
            raise ValueError("n_bootstraps refits the model, which knows classes: give the labels y of its fit.")
        self._describe_classes(columns, found, n_prototypes)
        self.confidence_, self.confidence_kind_ = confidence_of(model, X, columns, found.predicted)
        self._compare(found)
        rows = sample_rows(columns, found.codes, _MAX_RULE_ROWS, random_state)
        self.rules_ = _describe_rules(rows, columns, len(found.names), int(random_state.randint(2**31 - 1)))
        self.embedding_ = project(columns)
        self.stability_ = None
        if n_bootstraps:
            self.stability_ = stability_of(model, X, y, found, int(n_bootstraps), random_state)
        self.model_name_ = type(last_step(model)).__name__
        self.warnings_ = find_warnings(self, columns)

    def _describe_classes(self, columns: Columns, found: FoundClasses, n_prototypes: int) -> None:
        n_rows, n_classes = len(found.codes), len(found.names)
        self.classes_, self.is_novel_ = found.names, found.is_novel
        self.labels_ = found.names[found.codes]
        self.sizes_ = np.bincount(found.codes, minlength=n_classes)
        self.shares_ = self.sizes_ / n_rows
        self.feature_names_ = list(columns.names)
        self._texts = columns.texts
        self._codes = found.codes
        n_columns = len(columns.names)
        self._here, self._elsewhere = np.full((2, n_classes, n_columns), np.nan)
        self.prototypes_ = []
        for code in range(n_classes):
            inside = found.codes == code
            self._here[code] = column_means(columns.values[inside])
            self._elsewhere[code] = column_means(columns.values[~inside])
            self.prototypes_.append(_nearest_to_mean(columns.standardized, inside, n_prototypes))
        self._prototype_values = [columns.values[rows] for rows in self.prototypes_]
        gap = self._here - self._elsewhere
        # A column of one value differs nowhere, but where there are no rows nothing is known.
        self.differences_ = np.where(columns.varies, gap / np.where(columns.varies, columns.deviation, 1), gap * 0)

    def _compare(self, found: FoundClasses) -> None:
        labeled = np.flatnonzero(~found.labels.unlabeled)
        self.confusion_labels_ = found.labels.classes
        self.confusion_ = np.zeros((found.labels.n_known, len(found.names)), dtype=np.int64)
        np.add.at(self.confusion_, (found.labels.codes[labeled], found.predicted[labeled]), 1)
        rows = np.flatnonzero((found.given >= 0) & (found.given != found.predicted))
        self.disagreeing_rows_ = rows[np.argsort(-self.confidence_[rows], kind="stable")]
        self._said = found.names[found.predicted[self.disagreeing_rows_]]

    @property
    def table(self) -> Any:
        """One line for each class, as a pandas DataFrame.

        Returns
        -------
        table : pandas.DataFrame
            Indexed by class, with the columns ``novel``, ``rows``, ``share``, ``confidence`` (mean), ``stability`` if
            measured, ``rule``, ``precision`` and ``recall``.
        """
        try:
            import pandas as pd
        except ModuleNotFoundError as error:
            raise ImportError("ClusterReport.table needs pandas: pip install pandas") from error

        data = {
            "novel": self.is_novel_,
            "rows": self.sizes_,
            "share": self.shares_,
            "confidence": self._mean_confidence(),
            "rule": [None if rule is None else rule["text"] for rule in self.rules_],
            "precision": [np.nan if rule is None else rule["precision"] for rule in self.rules_],
            "recall": [np.nan if rule is None else rule["recall"] for rule in self.rules_],
        }
        if self.stability_ is not None:
            data["stability"] = self.stability_
        return pd.DataFrame(data, index=pd.Index(self.classes_, name="class"))

    def _mean_confidence(self) -> np.ndarray:
        total = np.bincount(self._codes, weights=self.confidence_, minlength=len(self.classes_))
        return np.divide(total, self.sizes_, out=np.full(len(total), np.nan), where=self.sizes_ > 0)

    def to_html(self, path: str | PathLike) -> None:
        """Write the report as one page that needs no other file, for light and dark screens.

        Parameters
        ----------
        path : str or path-like
            File to write; one that exists is replaced.
        """
        text = page(self)
        # What is no character, half of a pair for example, is written as a number.
        with open(path, "w", encoding="utf-8", errors="xmlcharrefreplace", newline="\n") as file:
            file.write(text)

    def _repr_html_(self) -> str:
        return fragment(self)

    def __repr__(self) -> str:
        n_novel = int(self.is_novel_.sum())
        return (
            f"<ClusterReport of {self.model_name_}: {len(self.labels_):,} rows, "
            f"{len(self.classes_) - n_novel} known and {n_novel} novel classes>"
        )


def _check_count(name: str, value: Any) -> None:
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{name} must be an integer from 0 on, got {value!r}.")


def _nearest_to_mean(Z: np.ndarray, inside: np.ndarray, n_prototypes: int) -> np.ndarray:
    rows = np.flatnonzero(inside)
    if not len(rows):
        return rows
    distances = np.linalg.norm(Z[rows] - Z[rows].mean(axis=0), axis=1)
    return rows[np.argsort(distances, kind="stable")[:n_prototypes]]


def _describe_rules(rows: RuleRows, columns: Columns, n_classes: int, seed: int) -> list[dict | None]:
    found = [find_rule(rows, code, seed) for code in range(n_classes)]
    return [None if rule is None else _as_dict(rule, columns) for rule in found]


def _as_dict(rule: Rule, columns: Columns) -> dict[str, Any]:
    conditions = [
        [{"column": columns.names[i], "above": low, "at_most": high} for i, (low, high) in box.items()]
        for box in rule.boxes
    ]
    return {
        "text": rule_text(rule.boxes, columns),
        "conditions": conditions,
        "precision": rule.precision,
        "recall": rule.recall,
        "precision_all_rows": rule.precision_all,
        "recall_all_rows": rule.recall_all,
    }
