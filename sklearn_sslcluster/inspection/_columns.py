"""The columns of a table as numbers, by which classes are described."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import Any

import numpy as np
from scipy.sparse import issparse

MAX_TEXTS = 10


@dataclass(frozen=True)
class Columns:
    """Numbers of the rows of a table; a column of text is a column of zeros and ones for each frequent text.

    Attributes
    ----------
    names : list of str
        Names of the columns, ``"city = Paris"`` of a text.
    values : ndarray of shape (n_rows, n_columns)
        Float64, NaN where an entry is missing.
    texts : list of (str, str) or None
        Column and text of each column of zeros and ones, None of one of numbers.
    left_out : list of str
        Columns that are neither numbers nor text.
    """

    names: list[str]
    values: np.ndarray
    texts: list[tuple[str, str] | None]
    left_out: list[str]

    @cached_property
    def mean(self) -> np.ndarray:
        return column_means(self.values)

    @cached_property
    def deviation(self) -> np.ndarray:
        return column_deviations(self.values, self.mean)

    @cached_property
    def standardized(self) -> np.ndarray:
        """Columns of mean zero and variance one, missing entries and columns of one value at zero."""
        return np.nan_to_num((self.values - self.mean) / np.where(self.varies, self.deviation, np.inf))

    @cached_property
    def varies(self) -> np.ndarray:
        """Which columns hold more than one value; rounding of the mean is no difference."""
        return self.deviation > 1e-12 * np.maximum(np.abs(np.nan_to_num(self.mean)), np.finfo(float).tiny)

    @cached_property
    def filled(self) -> np.ndarray:
        """Missing entries at the median of their column."""
        missing = np.isnan(self.values)
        if not missing.any():
            return self.values
        filled = self.values.copy()
        for column in np.flatnonzero(missing.any(axis=0)):
            given = filled[~missing[:, column], column]
            filled[missing[:, column], column] = np.median(given) if len(given) else 0.0
        return filled


def column_means(values: np.ndarray) -> np.ndarray:
    """Mean of the entries of each column that are there, NaN where none is."""
    given = ~np.isnan(values)
    count = given.sum(axis=0)
    total = np.where(given, values, 0.0).sum(axis=0)
    return np.divide(total, count, out=np.full(values.shape[1], np.nan), where=count > 0)


def column_deviations(values: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Standard deviation of each column; squares of large numbers stay in range."""
    away = values - mean
    largest = np.abs(np.nan_to_num(away)).max(axis=0)
    scale = np.where(largest > 0, largest, 1.0)
    return scale * np.sqrt(column_means((away / scale) ** 2))


def read_columns(X: Any, feature_names: Sequence[str] | None, model: Any) -> Columns:
    """Columns of a DataFrame or array.

    Raises
    ------
    TypeError
        If `X` is sparse.
    ValueError
        If `X` is not two-dimensional or empty, a number is infinite, or `feature_names` are of another number.
    """
    if issparse(X):
        raise TypeError("X must be a dense table, got a sparse one; describe a dense sample of its rows.")
    table = X if hasattr(X, "columns") else np.asarray(X)
    if len(table.shape) != 2 or 0 in table.shape:
        raise ValueError(f"X must be a table with at least one row and one column, got shape {tuple(table.shape)}.")
    names = _column_names(table, feature_names, model)
    if len(names) != table.shape[1]:
        raise ValueError(f"feature_names has {len(names)} names, but X has {table.shape[1]} columns.")
    columns = Columns([], np.empty((table.shape[0], 0)), [], [])
    parts = []
    for name, column in zip(names, _arrays(table), strict=True):
        if column.dtype.kind in "mM":
            columns.left_out.append(name)
        elif (numbers := _as_numbers(column)) is not None:
            if np.isinf(numbers).any():
                row = int(np.flatnonzero(np.isinf(numbers))[0])
                raise ValueError(f"column {name!r} of X holds an infinite number at row {row}.")
            columns.names.append(name)
            columns.texts.append(None)
            parts.append(numbers)
        else:
            for text, indicator in _indicators(column):
                columns.names.append(f"{name} = {text}")
                columns.texts.append((name, text))
                parts.append(indicator)
    if not parts:
        raise ValueError("X has no column of numbers or text to describe classes by.")
    return Columns(columns.names, np.column_stack(parts), columns.texts, columns.left_out)


def _column_names(table: Any, feature_names: Sequence[str] | None, model: Any) -> list[str]:
    if feature_names is not None:
        return [str(name) for name in feature_names]
    if hasattr(table, "columns"):
        return [str(name) for name in table.columns]
    seen = getattr(model, "feature_names_in_", ())
    if len(seen) == table.shape[1]:
        return [str(name) for name in seen]
    return [f"x{i}" for i in range(table.shape[1])]


def _arrays(table: Any) -> Iterator[np.ndarray]:
    """One-dimensional array of each column."""
    if isinstance(table, np.ndarray):
        yield from table.T
    elif hasattr(table, "iloc"):
        yield from (np.asarray(table.iloc[:, i]) for i in range(table.shape[1]))
    else:
        yield from (np.asarray(table.get_column(name)) for name in table.columns)


def _as_numbers(column: np.ndarray) -> np.ndarray | None:
    """Column as floats, or None if it holds text."""
    if column.dtype.kind in "biuf":
        return column.astype(np.float64)
    values = column.tolist()
    if not all(is_missing(value) or isinstance(value, Real) or hasattr(value, "as_tuple") for value in values):
        return None
    if all(map(is_missing, values)):
        return None
    return np.array([np.nan if is_missing(value) else float(value) for value in values])


def is_missing(value: Any) -> bool:
    """Whether a cell is empty: None, NaN, ``pd.NA`` or ``pd.NaT``."""
    return value is None or type(value).__name__ in ("NAType", "NaTType") or bool(value != value)


def _indicators(column: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """The most frequent texts of a column, and which rows hold them."""
    texts = np.array(["(missing)" if is_missing(value) else str(value) for value in column.tolist()], dtype=object)
    frequent = sorted(Counter(texts.tolist()).items(), key=lambda item: (-item[1], item[0]))[:MAX_TEXTS]
    yield from ((text, (texts == text).astype(np.float64)) for text, _ in frequent)
