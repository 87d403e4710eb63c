"""How rows come in: ``validate_data``, with errors that name the column and the step that mends it."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from ..engine import DaskRows, is_dask
from ._lazy import lazy_rows, refuse_dask
from ._persistence import VersionedStateMixin

_MOST_NAMED, _LONGEST_SHOWN = 3, 40

Table = list[tuple[Any, np.ndarray]]


class RowsMixin(VersionedStateMixin):
    """Mixin of everything that is fitted to rows.

    A subclass says by ``_accepts_dask`` whether it fits by sums over the chunks of a Dask collection.
    """

    _accepts_dask: ClassVar[bool] = False

    def _validate_rows(self, X: Any, *, reset: bool, lengths: bool = True, **check_params: Any) -> Any:
        """``validate_data`` whose errors name the column, and the step of a Pipeline that would mend it.

        Of a Dask collection nothing is read but, with `lengths`, the numbers of rows that its chunks do not know.
        """
        try:
            if isinstance(X, DaskRows) or is_dask(X):
                return lazy_rows(self, X, reset=reset, lengths=lengths)
            with row_errors(X, type(self).__name__):
                return validate_data(self, X, reset=reset, **check_params)
        except ValueError as error:
            misplaced = None if reset else self._first_misplaced_column(X)
            if misplaced is None or "feature names" not in str(error):
                raise
            raise ValueError(f"{error}{misplaced}") from None

    def _first_misplaced_column(self, X: Any) -> str | None:
        expected = getattr(self, "feature_names_in_", None)
        given = getattr(X, "columns", None)
        if expected is None or given is None:
            return None
        wanted, got = list(expected), list(given)
        for position in range(max(len(wanted), len(got))):
            here = got[position] if position < len(got) else None
            there = wanted[position] if position < len(wanted) else None
            if here != there:
                return (
                    f"First column that differs: position {position} holds "
                    f"{'nothing' if here is None else repr(here)}, expected "
                    f"{'nothing' if there is None else repr(there)}.\n"
                )
        return None


def check_table(X: Any, name: str) -> Any:
    """Rows in memory as a function called `name` takes them: float64 or float32, an array or a CSR matrix."""
    refuse_dask(name, X)
    with row_errors(X, name):
        return check_array(X, accept_sparse="csr", dtype=[np.float64, np.float32])


@contextmanager
def row_errors(X: Any, name: str, among: Iterable[int] | None = None) -> Iterator[None]:
    """Say which columns of `X` are no numbers or lack some, and what `name` wants before it in a Pipeline.

    `among` are the positions of the columns that should be numbers; None for all.
    """
    try:
        yield
    except (TypeError, ValueError) as error:
        text = str(error)
        explained = None
        if "feature names" not in text:
            columns = _columns(X, among)
            explained = _missing(columns, name) if "contains NaN" in text else _not_numbers(columns, name)
        if explained is None:
            raise
        # Errors of the table itself are of one of these, whatever numpy made of them.
        raise (TypeError if isinstance(error, TypeError) else ValueError)(explained) from None


def is_missing(value: Any) -> bool:
    """Whether a cell is None, NaN, ``pd.NA`` or ``pd.NaT``."""
    return (
        value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value)
    )


def columns_of(X: Any) -> Table:
    """(name or position, values) of each column of a table: a pandas or polars one, an array or nested lists."""
    if hasattr(X, "iloc") and hasattr(X, "columns"):
        return [(name, X.iloc[:, j].to_numpy()) for j, name in enumerate(X.columns)]
    if hasattr(X, "to_series"):
        return [(name, X.to_series(j).to_numpy()) for j, name in enumerate(X.columns)]
    table = X if isinstance(X, np.ndarray) else np.asarray(X, dtype=object)
    return list(enumerate(table.T)) if table.ndim == 2 else []


def _columns(X: Any, among: Iterable[int] | None) -> Table:
    try:
        columns = [] if issparse(X) else columns_of(X)
    except (TypeError, ValueError):
        return []  # Nested lists of several lengths, for example: the error speaks of that.
    return columns if among is None or not columns else [columns[j] for j in among]


def _missing(columns: Table, name: str) -> str | None:
    rows = {column: _first(values, is_missing) for column, values in columns}
    with_gaps = {column: row for column, row in rows.items() if row is not None}
    if not with_gaps:
        return None
    first = next(iter(with_gaps.values()))
    return (
        f"Input X contains NaN: a value is missing in row {first} of {_listed(with_gaps)}, and {name} takes no missing "
        "values there. Put sklearn.impute.SimpleImputer() before it in a Pipeline, or use "
        "sklearn_sslcluster.deep.VariationalDeepEmbedding, which takes rows with gaps."
    )


def _not_numbers(columns: Table, name: str) -> str | None:
    for holds, what, step in (
        (reads_as_text, "text", "sklearn.preprocessing.OneHotEncoder() in a sklearn.compose.ColumnTransformer"),
        (_is_time, "dates or times", "skrub.DatetimeEncoder() in a sklearn.compose.ColumnTransformer"),
    ):
        rows = {column: (_first(values, holds), values) for column, values in columns}
        found = {column: values[row] for column, (row, values) in rows.items() if row is not None}
        if found:
            example = str(next(iter(found.values())))[:_LONGEST_SHOWN]
            return (
                f"Input X holds {what} ({example!r}) in {_listed(found)}, where {name} expects numbers. Before it in a "
                f"Pipeline, {step}, or skrub.TableVectorizer(), makes numbers of such columns; or leave them out."
            )
    return None


def _first(values: np.ndarray, holds: Callable[[Any], bool]) -> int | None:
    """First row whose cell is so."""
    if values.dtype.kind == "f" and holds is is_missing:
        rows = np.flatnonzero(np.isnan(values))
        return int(rows[0]) if len(rows) else None
    if values.dtype.kind in "biufc":
        return None
    return next((row for row, value in enumerate(values) if holds(value)), None)


def reads_as_text(value: Any) -> bool:
    """Whether a cell is text that does not read as a number."""
    if not isinstance(value, str):
        return False
    try:
        float(value)
    except ValueError:
        return True
    return False


def _is_time(value: Any) -> bool:
    times = (datetime.date, datetime.time, datetime.timedelta, np.datetime64, np.timedelta64)
    return isinstance(value, times) and not is_missing(value)


def _listed(columns: Any) -> str:
    names = [repr(str(name)) if isinstance(name, str) else str(name) for name in columns]
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"column{'s' * (len(names) > 1)} {', '.join(names[:_MOST_NAMED])}{more}"
