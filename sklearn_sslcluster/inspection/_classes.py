"""What the report asks of a fitted model: its classes, the class of each row, how sure it is, how stable it is."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_is_fitted

from ..labels import PartialLabels, encode_partial_labels, find_classes
from ._columns import Columns

_SUBSAMPLE = 0.8


@dataclass(frozen=True)
class FoundClasses:
    """Classes of a model, and of rows.

    Attributes
    ----------
    names : ndarray of shape (n_classes,)
        Of all classes of the model, the known ones first.
    is_novel : ndarray of shape (n_classes,)
        Which were found.
    predicted : ndarray of shape (n_rows,)
        Code of the class that the model says.
    codes : ndarray of shape (n_rows,)
        The same, but of a row labeled with a known class its label.
    given : ndarray of shape (n_rows,)
        Code of the label if it is a known class of the model, -1 elsewhere.
    labels : PartialLabels
        Labels of the rows.
    """

    names: np.ndarray
    is_novel: np.ndarray
    predicted: np.ndarray
    codes: np.ndarray
    given: np.ndarray
    labels: PartialLabels


def last_step(model: Any) -> Any:
    """The estimator that holds the classes, inside pipelines and searches."""
    while not hasattr(model, "novel_classes_"):
        if isinstance(model, Pipeline):
            model = model[-1]
        elif hasattr(model, "best_estimator_"):
            model = model.best_estimator_
        else:
            break
    return model


def find_model_classes(model: Any, X: Any, y: Any, columns: Columns) -> FoundClasses:
    """Classes of a fitted model and of the rows `X` with partial labels `y`.

    Raises
    ------
    TypeError
        If `model` has no ``predict``.
    ValueError
        If `model` takes no missing values and `X` has some; the message names the column.
    """
    if not hasattr(model, "predict"):
        raise TypeError(
            f"model must have a predict, and {type(last_step(model)).__name__} has none; "
            "NovelRowsClustering gives one to any clusterer."
        )
    estimator = last_step(model)
    check_is_fitted(estimator)
    said = _ask(model.predict, X, columns)
    labels = encode_partial_labels(
        y, columns.values, unlabeled_value=getattr(estimator, "unlabeled_value", -1), warn=False
    )
    names, is_novel = _names(estimator, said)
    predicted = find_classes(said, names)
    known = find_classes(labels.classes, names[~is_novel]) if labels.n_known else np.empty(0, dtype=np.int32)
    # The code of no label, -1, takes the last entry.
    given = np.append(known, -1)[labels.codes]
    return FoundClasses(names, is_novel, predicted, np.where(given >= 0, given, predicted), given, labels)


def _names(estimator: Any, said: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if hasattr(estimator, "novel_classes_"):
        names = np.asarray(estimator.classes_)
        return names, np.arange(len(names)) >= len(names) - len(estimator.novel_classes_)
    if is_classifier(estimator):
        names = np.asarray(estimator.classes_)
        return names, np.zeros(len(names), dtype=bool)
    names = np.unique(said)
    return names, np.ones(len(names), dtype=bool)


def _ask(method: Any, X: Any, columns: Columns) -> np.ndarray:
    """What a method of the model says, with the name of the column if missing values are what it cannot take."""
    try:
        return np.asarray(method(X))
    except ValueError as error:
        missing = np.isnan(columns.values).any(axis=0)
        if not missing.any():
            raise
        column = int(missing.argmax())
        row = int(np.isnan(columns.values[:, column]).argmax())
        raise ValueError(
            f"column {columns.names[column]!r} of X has missing values, at row {row} for example, and the model "
            f"refuses the table: {error}"
        ) from error


def confidence_of(model: Any, X: Any, columns: Columns, codes: np.ndarray) -> tuple[np.ndarray, str]:
    """Confidence of each row in [0, 1], and what it is: ``"predict_proba"`` or ``"margin"``."""
    if hasattr(model, "predict_proba"):
        return _ask(model.predict_proba, X, columns).max(axis=1), "predict_proba"
    Z = columns.standardized
    present = np.unique(codes)
    if len(present) < 2:
        return np.ones(len(codes)), "margin"
    distances = np.stack([np.linalg.norm(Z - Z[codes == code].mean(axis=0), axis=1) for code in present], axis=1)
    own = np.searchsorted(present, codes)
    rows = np.arange(len(codes))
    near = distances[rows, own]
    distances[rows, own] = np.inf
    far = distances.min(axis=1)
    ratio = np.divide(near, far, out=np.ones(len(near)), where=far > 0)
    return np.clip(1 - ratio, 0, 1), "margin"


def stability_of(
    model: Any, X: Any, y: Any, found: FoundClasses, n_refits: int, random_state: np.random.RandomState
) -> np.ndarray:
    """Mean Jaccard similarity of each class to the nearest class of the model fitted to four fifths of the rows."""
    n_rows, n_classes = len(found.codes), len(found.names)
    values = np.zeros((n_refits, n_classes))
    for refit in range(n_refits):
        rows = np.sort(random_state.permutation(n_rows)[: max(1, round(_SUBSAMPLE * n_rows))])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # The first fit has given the same warnings.
            again = clone(model).fit(_safe_indexing(X, rows), None if y is None else _safe_indexing(y, rows))
            said = np.asarray(again.predict(X))
        _, others = np.unique(said.astype(str) if said.dtype == object else said, return_inverse=True)
        values[refit] = jaccard(found.predicted, others, n_classes)
    return values.mean(axis=0)


def jaccard(codes: np.ndarray, others: np.ndarray, n_classes: int) -> np.ndarray:
    """Largest Jaccard similarity of each class with one of another partition of the rows; NaN of a class of none."""
    table = np.zeros((n_classes, others.max() + 1))
    np.add.at(table, (codes, others), 1)
    union = table.sum(axis=1, keepdims=True) + table.sum(axis=0) - table
    best = np.divide(table, union, out=np.zeros_like(table), where=union > 0).max(axis=1)
    return np.where(table.sum(axis=1) > 0, best, np.nan)
