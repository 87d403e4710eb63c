"""What a candidate of the hidden-class search is fitted to, what it is compared with, and how."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import issparse
from sklearn.metrics._scorer import _BaseScorer, _MultimetricScorer
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import _num_samples

from ..labels import UNLABELED, decode, encode_partial_labels, find_classes
from ..metrics import hidden_class_accuracy


@dataclass(frozen=True)
class HiddenFold:
    """One fold, as scikit-learn's fit-and-score function takes it.

    Attributes
    ----------
    y : FoldLabels, or the labels of the user
    test : ndarray
        Rows to score: their numbers less the number of rows where `y` is a FoldLabels (see `_AllOrTest`).
    hidden : ndarray
        Names of the hidden classes.
    """

    y: Any
    test: np.ndarray
    hidden: np.ndarray


def read_only(X: Any) -> Any:
    """`X` for one fit, which cannot change the original: a view where one can be closed to writing, else a copy.

    Arrays, and sparse matrices in canonical format, share their memory with `X`, as do pandas tables of numbers of one
    kind. Others of scipy and pandas are copied. What is neither is handed on as it is: scikit-learn converts it.
    """
    if isinstance(X, np.ndarray):
        return _read_only_array(X)
    if issparse(X):
        # Methods of scipy bring other matrices into canonical format in place.
        shareable = X.format in ("csr", "csc", "bsr", "coo", "dia") and getattr(X, "has_canonical_format", True)
        return _read_only_sparse(X) if shareable else X.copy()
    if type(X).__module__.partition(".")[0] == "pandas" and hasattr(X, "columns"):
        return _read_only_frame(X)
    return X


def _read_only_array(X: np.ndarray) -> np.ndarray:
    view = X.view()
    view.flags.writeable = False
    return view


def _read_only_sparse(X: Any) -> Any:
    shallow = copy(X)
    for name, value in vars(X).items():
        if isinstance(value, np.ndarray):
            setattr(shallow, name, _read_only_array(value))
        elif isinstance(value, tuple) and all(isinstance(part, np.ndarray) for part in value):
            setattr(shallow, name, tuple(_read_only_array(part) for part in value))
    return shallow


def _read_only_frame(X: Any) -> Any:
    dtypes = set(X.dtypes)
    if len(dtypes) != 1 or getattr(dtypes.pop(), "kind", "O") not in "biuf" or X.to_numpy().dtype == object:
        return X.copy()
    # Copy-on-write is no protection: scikit-learn opens the arrays of pandas tables to writing. It cannot open an array
    # that sits on a closed buffer.
    values = np.asarray(memoryview(X.to_numpy()).toreadonly())
    return type(X)(values, index=X.index, columns=X.columns, copy=False)


class _AllOrTest(list):
    """Stands for an array of which scikit-learn's fit-and-score function takes all rows, to fit, and the test rows.

    Training rows are asked for by their numbers, test rows by their numbers less the number of rows, which is the
    same row of any array, so that a fold that scores all rows is told from the fit.

    A list, because array API dispatch takes any other type that is no array for an error.
    """

    def __init__(self, shape: tuple) -> None:
        super().__init__()
        self.shape = shape

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, key: Any) -> Any:
        # A tuple holds rows and an ellipsis, or rows and columns of a matrix of similarities (all columns then).
        rows = np.ravel(key[0] if isinstance(key, tuple) else key)
        return self.test_rows(rows + len(self)) if len(rows) and rows[0] < 0 else self.all_rows()

    def all_rows(self) -> Any:
        raise NotImplementedError

    def test_rows(self, rows: np.ndarray) -> Any:
        raise NotImplementedError


class FoldTable(_AllOrTest):
    """Stands for X: all rows are the table itself, closed to writing, and not a copy wherever that is possible."""

    def __init__(self, X: Any) -> None:
        super().__init__(getattr(X, "shape", (_num_samples(X),)))
        self.table = X

    def all_rows(self) -> Any:
        return read_only(self.table)

    def test_rows(self, rows: np.ndarray) -> Any:
        return _safe_indexing(self.table, rows)


class FoldLabels(_AllOrTest):
    """Stands for y: all rows are the masked labels, the test rows have the true ones, which the scorer alone gets."""

    def __init__(self, masked: np.ndarray, true: np.ndarray) -> None:
        super().__init__(masked.shape)
        self.masked = masked
        self.true = true

    def all_rows(self) -> np.ndarray:
        return self.masked.copy()

    def test_rows(self, rows: np.ndarray) -> np.ndarray:
        return self.true


def hidden_folds(y: Any, masked_splits: Any, unlabeled_value: Any) -> list[HiddenFold]:
    """Folds from pairs of masked labels and test rows, with the truth of the test rows apart."""
    labels = encode_partial_labels(y, unlabeled_value=unlabeled_value)
    folds: list[HiddenFold] = []
    n_rows = len(labels.codes)
    for masked, test in masked_splits:
        # No class of y is the unlabeled value, so that it does no harm among the visible classes here.
        visible = encode_partial_labels(masked, unlabeled_value=None)
        hidden = labels.classes[find_classes(labels.classes, visible.classes) == UNLABELED]
        if visible.classes.tolist() == [-1, 1] and unlabeled_value == -1:
            # Not to be taken for the signs of two classes.
            masked = decode(np.where(visible.codes == 1, 0, UNLABELED), np.array([1], dtype=object))
        test = np.arange(n_rows)[test]
        test = test[labels.codes[test] != UNLABELED]
        if not len(test):
            raise ValueError(f"Fold {len(folds)} of cv has no labeled row to score.")
        true = decode(labels.codes[test], labels.classes)
        folds.append(HiddenFold(FoldLabels(masked, true), test - n_rows, hidden))
    return folds


def final_estimator(estimator: Any) -> Any:
    """The last step of a Pipeline, also of one inside another; any other estimator itself."""
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    return estimator


def before_final(estimator: Any, X: Any) -> Any:
    """`X` as the last step of a fitted Pipeline takes it; `X` itself for any other estimator."""
    while isinstance(estimator, Pipeline):
        if len(estimator.steps) > 1:
            X = estimator[:-1].transform(X)
        estimator = estimator.steps[-1][1]
    return X


def label_free_score(estimator: Any, X: Any, y: Any = None) -> float:
    """The estimator's own score on `X`, without labels."""
    return estimator.score(X)


class HiddenClassScorer(_BaseScorer):
    """Scorer ``(estimator, X, y) -> float`` of the accuracy on classes that the estimator was not told.

    The visible classes are the known ones of the estimator, or of the last step of a Pipeline: its ``classes_``
    without its ``novel_classes_``. An estimator without ``classes_``, such as :class:`~sklearn.cluster.KMeans`, does
    not name its clusters after classes; none of them counts as visible.
    """

    # Weights are asked for without being told to, as scikit-learn does where metadata routing is off.
    __metadata_request__score: ClassVar[dict] = {"sample_weight": True, "visible_classes": UNUSED, "unassigned": UNUSED}

    def __init__(self) -> None:
        super().__init__(hidden_class_accuracy, 1, {}, "predict")

    def _score(self, method_caller: Any, estimator: Any, X: Any, y_true: Any, **kwargs: Any) -> float:
        clusterer = final_estimator(estimator)
        classes = np.asarray(getattr(clusterer, "classes_", []))
        n_visible = len(classes) - len(getattr(clusterer, "novel_classes_", []))
        return hidden_class_accuracy(
            y_true,
            method_caller(estimator, "predict", X),
            visible_classes=classes[:n_visible],
            unassigned=getattr(clusterer, "unlabeled_value", -1),
            **kwargs,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class CodedScorer(_BaseScorer):
    """Another scorer, given integers in place of names, because metrics of scikit-learn cannot sort mixed names."""

    def _score(self, method_caller: Any, estimator: Any, X: Any, y_true: Any, **kwargs: Any) -> float:
        y_pred = method_caller(estimator, "predict", X)
        names = [*np.asarray(y_true).tolist(), *np.asarray(y_pred).tolist()]
        codes = encode_partial_labels(names, unlabeled_value=None).codes
        return self._sign * self._score_func(codes[: len(y_true)], codes[len(y_true) :], **self._kwargs, **kwargs)


def for_names(scorer: Any, classes: np.ndarray) -> Any:
    """`scorer`, able to compare the names of `classes`, which may be of several kinds (strings, integers, bools)."""
    if classes.dtype != object or all(isinstance(name, str) for name in classes.tolist()):
        return scorer
    if isinstance(scorer, _MultimetricScorer):
        scorers = {name: for_names(one, classes) for name, one in scorer._scorers.items()}
        return _MultimetricScorer(scorers=scorers, raise_exc=scorer._raise_exc)
    compares_names = isinstance(scorer, _BaseScorer) and scorer._response_method == "predict"
    if not compares_names or isinstance(scorer, HiddenClassScorer):
        return scorer
    coded = CodedScorer(scorer._score_func, scorer._sign, scorer._kwargs, "predict")
    coded.__dict__.update(vars(scorer))  # with the metadata it requests
    return coded
