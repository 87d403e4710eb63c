"""Partial labels: how ``y`` becomes codes of known classes and unlabeled rows, and how codes become names again.

Inside the package a label is a *code*: ``0 .. n_known - 1`` for the known classes in sorted order, the following
integers for classes that were discovered, and ``UNLABELED`` for a row without a label. Only this module knows what a
user's ``y`` may look like.
"""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass
from itertools import combinations
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from scipy.sparse import issparse
from sklearn.exceptions import DataConversionWarning
from sklearn.utils.validation import check_consistent_length

UNLABELED = -1
_PIECE = 2**20
_INT64 = np.iinfo(np.int64)
_KIND_ORDER = {"bool": 0, "int": 1, "str": 2}
_MISSING = ("missing", None)
# In small letters. "NA" is not among them: it is the name of a country and of a continent.
_TEXTS_OF_MISSING = {"", "-1", "-1.0", "?", "<na>", "n/a", "nan", "none", "null", "unknown", "unlabeled"}
# Frames of these folders are passed over when a warning looks for the line of the user.
_INSIDE = (str(Path(__file__).parent), str(Path(sklearn.__file__).parent))


@dataclass(frozen=True)
class PartialLabels:
    """Encoded labels of the rows of one table.

    Attributes
    ----------
    codes : ndarray of shape (n_rows,), dtype int32
        Index into ``classes``, or ``UNLABELED``.
    classes : ndarray of shape (n_known,), dtype int64 or object
        The known classes in sorted order.
    """

    codes: np.ndarray
    classes: np.ndarray

    @property
    def n_known(self) -> int:
        return len(self.classes)

    @property
    def unlabeled(self) -> np.ndarray:
        """Boolean mask of the rows without a label."""
        return self.codes == UNLABELED


def encode_partial_labels(y: Any, X: Any = None, *, unlabeled_value: Any = -1, warn: bool = True) -> PartialLabels:
    """Turn a user's ``y`` into codes.

    Parameters
    ----------
    y : array-like of shape (n_rows,), or None
        Ints, whole floats, strings, bools, a categorical, or a mixture. ``None``, NaN, ``pd.NA`` and
        `unlabeled_value` stand for "no label". ``None`` in place of the array: no row is labeled.
    X : array-like of shape (n_rows, n_features), default=None
        The table; only its number of rows is used. ``None``: as many rows as `y`.
    unlabeled_value : int, str, bool or None, default=-1
        A further value that stands for "no label"; ``None`` for no further value.
    warn : bool, default=True
        Warn of labels that look like a mistake. ``False`` where `y` need not have unlabeled rows.

    Returns
    -------
    PartialLabels

    Raises
    ------
    ValueError
        If the lengths differ, `y` is not one column, or a float is infinite or not a whole number.
    TypeError
        If a value is neither int, whole float, string, bool nor missing.

    Warns
    -----
    UserWarning
        If -1 and 1 are the only values, or every row has a label and a class is the text of a missing value, ``"nan"``
        or ``"unknown"`` for example. Not if `unlabeled_value` is None.
    """
    if y is None:
        if X is None:
            raise ValueError("y should be a 1d array of labels, got None.")
        # One value seen as many: a table without labels costs no memory for them.
        codes = np.broadcast_to(np.int32(UNLABELED), (X.shape[0],))
        return PartialLabels(codes, np.empty(0, dtype=np.int64))
    values = _as_column(y)
    if X is not None:
        check_consistent_length(X, values)
    if values.dtype.kind in "iuf":
        labels = _encode_numbers(values, unlabeled_value)
    else:
        labels = _encode_objects(values.astype(object, copy=False), unlabeled_value)
    if warn and unlabeled_value is not None:
        _warn_if_signs(values, labels, unlabeled_value)
        _warn_if_text_of_missing(labels)
    return labels


def _as_column(y: Any) -> np.ndarray:
    """One-dimensional array that keeps integers exact and missing values recognizable."""
    if issparse(y):
        raise TypeError(f"y must be a dense column of labels, got a {type(y).__name__}.")
    if isinstance(y, str):
        raise ValueError(f"y should be a 1d array of labels, got the text {y!r}: pass the column, as in table[{y!r}].")
    dtype = getattr(y, "dtype", None)
    if isinstance(y, np.ma.MaskedArray):
        values = np.array(y.data, dtype=object)
        values[np.ma.getmaskarray(y)] = None
    elif (categorical := _pandas_categorical(y)) is not None:
        values = categorical
    elif isinstance(dtype, np.dtype):
        values = np.asarray(y)
    elif dtype is not None or hasattr(y, "to_pylist"):
        to_list = next(getattr(y, name) for name in ("to_list", "tolist", "to_pylist") if hasattr(y, name))
        values = _object_array(to_list())
    else:
        values = np.asarray(y, dtype=object)
    if values.ndim == 2 and values.shape[1] == 1:
        warn_user(
            "A column-vector y was passed when a 1d array was expected. Please change the shape of y to (n_samples,).",
            DataConversionWarning,
        )
        values = values.ravel()
    if values.ndim != 1:
        raise ValueError(f"y should be a 1d array of labels, got an array of shape {values.shape} instead.")
    if values.dtype.kind not in "biufUOT":
        raise TypeError(f"y must hold ints, strings, bools or categories, got an array of dtype {values.dtype}.")
    return values


def _pandas_categorical(y: Any) -> np.ndarray | None:
    """Values of a pandas categorical as objects (its own conversion turns integers with gaps into floats)."""
    array = getattr(y, "array", y)
    if not hasattr(array, "codes"):
        return None
    categories = _object_array([*array.categories.tolist(), None])
    return categories[np.asarray(array.codes)]


def _object_array(values: list) -> np.ndarray:
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out


def _encode_numbers(values: np.ndarray, unlabeled_value: Any) -> PartialLabels:
    missing = np.zeros(len(values), dtype=bool)
    if values.dtype.kind == "f":
        missing = np.isnan(values)
        bad = ~missing & ~(np.isfinite(values) & (values == np.trunc(values)) & (np.abs(values) < np.float64(2.0**63)))
        if bad.any():
            _refuse_float(float(values[bad][0]), int(np.flatnonzero(bad)[0]))
        values = np.where(missing, 0, values)
    elif values.dtype.kind == "u" and len(values) and values.max() > _INT64.max:
        raise ValueError(f"y holds the integer {values.max()}, which does not fit a 64-bit signed integer.")
    values = values.astype(np.int64, copy=False)
    kind, value = _class_key(unlabeled_value, "unlabeled_value is")
    if kind == "int":
        missing |= values == value
    codes = np.full(len(values), UNLABELED, dtype=np.int32)
    classes, codes[~missing] = np.unique(values[~missing], return_inverse=True)
    return PartialLabels(codes, classes)


def _encode_objects(values: np.ndarray, unlabeled_value: Any) -> PartialLabels:
    unlabeled_key = _class_key(unlabeled_value, "unlabeled_value is")
    seen: dict[Any, int] = {}
    keys: dict[tuple[str, Any], int] = {_MISSING: UNLABELED, unlabeled_key: UNLABELED}
    found: list[tuple[str, Any]] = []
    codes = np.empty(len(values), dtype=np.int32)
    for row, value in enumerate(values):
        raw = (value.__class__, value)
        try:
            code = seen.get(raw)
        except TypeError:
            _refuse_type(value, row)
        if code is None:
            key = _class_key(value, row)
            code = keys.get(key)
            if code is None:
                code = keys[key] = len(found)
                found.append(key)
            seen[raw] = code
        codes[row] = code
    order = sorted(range(len(found)), key=lambda i: (_KIND_ORDER[found[i][0]], found[i][1]))
    rank = np.empty(len(found) + 1, dtype=np.int32)
    rank[order] = np.arange(len(found))
    rank[UNLABELED] = UNLABELED
    names = [found[i][1] for i in order]
    if all(kind == "int" for kind, _ in found):
        if any(not _INT64.min <= name <= _INT64.max for name in names):
            raise ValueError("y holds an integer that does not fit a 64-bit signed integer.")
        return PartialLabels(rank[codes], np.array(names, dtype=np.int64))
    return PartialLabels(rank[codes], _object_array(names))


def _class_key(value: Any, where: int | str) -> tuple[str, Any]:
    """(kind, value) by which two labels are the same class; bools and ints stay apart, 1.0 and 1 do not.

    `where` begins the message of an error: the row of `y`, or words.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return _MISSING
    if isinstance(value, bool):
        return "bool", value
    if isinstance(value, int):
        return "int", int(value)
    if isinstance(value, str):
        return "str", str(value)
    if isinstance(value, float):
        if value != value:
            return _MISSING
        if not value.is_integer():
            _refuse_float(value, where)
        return "int", int(value)
    return _refuse_type(value, where)


def _refuse_float(value: float, where: int | str) -> Any:
    raise ValueError(
        f"{_beginning(where)} the float {value!r}; a class is an int, a string, a bool or a category, "
        "and a float is read as an int only when it is a whole number; continuous numbers are no classes."
    )


def _refuse_type(value: Any, where: int | str) -> Any:
    raise TypeError(
        f"{_beginning(where)} a {type(value).__name__}; a class is an int, a string, a bool or a category. "
        "Convert other labels to strings."
    )


def _beginning(where: int | str) -> str:
    return where if isinstance(where, str) else f"y holds, at row {where},"


def _warn_if_signs(values: np.ndarray, labels: PartialLabels, unlabeled_value: Any) -> None:
    only_one = labels.n_known == 1 and labels.classes[0] == 1 and not isinstance(labels.classes[0], bool)
    if not only_one or unlabeled_value != -1:
        return
    unlabeled = values[labels.unlabeled]
    if unlabeled.dtype.kind in "iuf":
        minus_one = bool((unlabeled == -1).any())
    else:
        minus_one = any(_class_key(value, "y holds") == ("int", -1) for value in unlabeled)
    if minus_one:
        warn_user(
            "y holds exactly the two values -1 and 1, and -1 is read as 'no label'. If -1 is a class, set "
            "unlabeled_value=None (None and NaN always stand for 'no label').",
        )


def _warn_if_text_of_missing(labels: PartialLabels) -> None:
    if labels.classes.dtype.kind == "i" or labels.unlabeled.any():
        return
    texts = [name for name in labels.classes if isinstance(name, str) and name.strip().lower() in _TEXTS_OF_MISSING]
    if texts:
        warn_user(
            f"Every row of y has a label, and {texts[0]!r} is a class: text is never read as 'no label'. If it stands "
            f"for that, set unlabeled_value={texts[0]!r}; if it is a class, set unlabeled_value=None.",
        )


def find_classes(names: Any, classes: np.ndarray) -> np.ndarray:
    """Code of each of `names` among `classes`, ``UNLABELED`` where it is not one of them."""
    codes = {_class_key(name, "classes hold"): code for code, name in enumerate(classes.tolist())}
    listed = encode_partial_labels(names, unlabeled_value=None)
    found = [codes.get(_class_key(name, "names hold"), UNLABELED) for name in listed.classes.tolist()]
    return np.array([*found, UNLABELED], dtype=np.int32)[listed.codes]


def novel_names(classes: np.ndarray, n_novel: int, *, unlabeled_value: Any = -1) -> np.ndarray:
    """Names for discovered classes: the next integers for integer classes, else ``"novel_0"``, ``"novel_1"`` ...

    Names in use and `unlabeled_value` are skipped.
    """
    taken = set(classes.tolist()) | {unlabeled_value}
    if classes.dtype.kind == "i":
        start = max(int(classes.max()) + 1, 0) if len(classes) else 0
        if start + 2 * n_novel > _INT64.max:
            start = 0
        candidates = (start + i for i in range(len(taken) + n_novel + 1))
        names = [name for name in candidates if name not in taken][:n_novel]
        return np.array(names, dtype=np.int64)
    candidate_names = (f"novel_{i}" for i in range(len(taken) + n_novel + 1))
    return _object_array([name for name in candidate_names if name not in taken][:n_novel])


def join_names(known: np.ndarray, novel: np.ndarray) -> np.ndarray:
    """Known classes followed by discovered ones, as one array of names."""
    if known.dtype.kind == "i" and novel.dtype.kind == "i":
        return np.concatenate([known, novel])
    return _object_array([*known.tolist(), *novel.tolist()])


def decode(codes: np.ndarray, classes: np.ndarray, *, unlabeled_value: Any = -1) -> np.ndarray:
    """Names of codes; a row that was left unassigned (code ``UNLABELED``) becomes `unlabeled_value` or -1.

    Among object names, and among integers of which -1 is one, it becomes None.
    """
    names = classes
    if len(codes) and codes.min() == UNLABELED:
        missing: Any = None
        if classes.dtype.kind == "i":
            candidates = (_class_key(unlabeled_value, "unlabeled_value is"), ("int", -1))
            missing = next((value for kind, value in candidates if kind == "int" and value not in classes), None)
        dtype = object if missing is None else classes.dtype
        # The code UNLABELED, -1, is the place of the last name.
        names = np.append(classes.astype(dtype), np.array([missing], dtype=dtype))
    out = np.empty(len(codes), dtype=names.dtype)
    # Indexing casts the codes to 64 bits: a piece at a time, or long columns of labels would be held twice.
    for start in range(0, len(codes), _PIECE):
        out[start : start + _PIECE] = names[codes[start : start + _PIECE]]
    return out


def renamed(classes: np.ndarray, mapping: dict, *, unlabeled_value: Any = -1) -> np.ndarray:
    """`classes` with the names of `mapping` replaced.

    The result has no duplicates, and no name that stands for "no label" unless it was there before.
    """
    if not isinstance(mapping, dict):
        raise TypeError(f"rename_classes takes a dict of old names to new names, got a {type(mapping).__name__}.")
    names = classes.tolist()
    keys = [_class_key(name, "classes hold") for name in names]
    new_names = {_class_key(old, "rename_classes got"): (old, new) for old, new in mapping.items()}
    unknown = [old for key, (old, _) in new_names.items() if key not in keys]
    if unknown:
        raise ValueError(f"rename_classes got {unknown[0]!r}, which is not a class; the classes are {names}.")
    new_keys = [
        _class_key(new_names[key][1], "rename_classes got, as a new name,") if key in new_names else key for key in keys
    ]
    if _MISSING in new_keys:
        raise ValueError("rename_classes got a missing value as a new name.")
    unlabeled_key = _class_key(unlabeled_value, "unlabeled_value is")
    if unlabeled_key in new_keys and unlabeled_key not in keys:
        raise ValueError(
            f"rename_classes got {unlabeled_value!r} as a new name, which stands for 'no label' (unlabeled_value)."
        )
    for position, key in enumerate(new_keys):
        if key in new_keys[:position]:
            raise ValueError(f"rename_classes would give two classes the name {key[1]!r}.")
    values = [value for _, value in new_keys]
    return np.array(values, dtype=np.int64) if all(kind == "int" for kind, _ in new_keys) else _object_array(values)


def hide(codes: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Copy of `codes` in which the rows of the given class codes are unlabeled."""
    return np.where(np.isin(codes, classes), UNLABELED, codes).astype(codes.dtype)


def hidden_class_folds(
    codes: np.ndarray, n_hidden: int, n_folds: int, random_state: np.random.RandomState
) -> list[np.ndarray]:
    """Draw distinct sets of known classes to hide, each class hidden about equally often.

    Parameters
    ----------
    codes : ndarray of shape (n_rows,)
        Codes of the known classes, ``UNLABELED`` elsewhere.
    n_hidden : int
        Classes hidden in a fold.
    n_folds : int
        Folds wanted; all combinations are returned when there are fewer.
    random_state : RandomState

    Returns
    -------
    list of ndarray of shape (n_hidden,)
        Sorted class codes hidden in each fold.
    """
    known = np.unique(codes[codes != UNLABELED])
    if comb(len(known), n_hidden) <= n_folds:
        return [np.array(fold, dtype=known.dtype) for fold in combinations(known.tolist(), n_hidden)]
    folds: list[tuple[int, ...]] = []
    times_hidden = np.zeros(len(known))
    slack = 1.0
    while len(folds) < n_folds:
        # The least hidden classes first. A slack of 1 breaks ties only; it grows while nothing but folds in use come.
        order = np.argsort(times_hidden + slack * random_state.uniform(size=len(known)))
        fold = tuple(sorted(order[:n_hidden].tolist()))
        if fold in folds:
            slack *= 1.05
        else:
            folds.append(fold)
            times_hidden[list(fold)] += 1
            slack = 1.0
    return [known[list(fold)] for fold in folds]


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """``warnings.warn`` from the first frame that is neither ours nor scikit-learn's."""
    level = 1
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_INSIDE):
        level += 1
        frame = frame.f_back  # type: ignore[assignment]
    warnings.warn(message, category, stacklevel=level + 1)
