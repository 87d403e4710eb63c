"""Tables of numbers and text: the texts of a column become their numbers in sorted order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_array
from sklearn.utils.validation import _num_samples

from ..engine import is_dask
from ._rows import RowsMixin, columns_of, is_missing, reads_as_text, row_errors


@dataclass(frozen=True)
class TableKinds:
    """What the types of the columns of a table say.

    Attributes
    ----------
    texts : dict of int to ndarray of str
        Sorted texts of each column of text, by its position.
    categorical : list of int
        Positions of the columns of categories: those of text, and those that pandas calls so.
    """

    texts: dict[int, np.ndarray] = field(default_factory=dict)
    categorical: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, X: Any) -> TableKinds:
        """Kinds of a table; text that reads as numbers throughout is numbers, as scikit-learn reads it."""
        if issparse(X) or is_dask(X) or (isinstance(X, np.ndarray) and X.dtype.kind in "biufc"):
            return cls()
        categories = _categories(X)
        texts = {}
        for j, values in _object_columns(X):
            given = [value for value in values if not is_missing(value)]
            is_text = any(isinstance(value, str) for value in given) if j in categories else None
            if is_text or (is_text is None and any(map(reads_as_text, given))):
                texts[j] = np.array(sorted({str(value) for value in given}))
        return cls(texts, sorted({*texts, *categories}))


class MixedRowsMixin(RowsMixin):
    """Mixin of estimators that take text as categories."""

    def _validate_mixed_rows(
        self, X: Any, texts: dict[int, np.ndarray], *, reset: bool, missing: float, **check_params: Any
    ) -> np.ndarray:
        """Rows as numbers: a text is its number among `texts`, a missing one is `missing`."""
        if not texts:
            return self._validate_rows(X, reset=reset, dtype=[np.float64, np.float32], **check_params)
        self._validate_rows(X, reset=reset, skip_check_array=True)
        columns = columns_of(X)
        numbers = [j for j in range(len(columns)) if j not in texts]
        out = np.empty((_num_samples(X), len(columns)))
        if numbers:
            with row_errors(X, type(self).__name__, numbers):
                part = X.iloc[:, numbers] if hasattr(X, "iloc") else _array_or_frame(X)[:, numbers]
                out[:, numbers] = check_array(part, dtype=np.float64, input_name="X", **check_params)
        for j, known in texts.items():
            out[:, j] = self._codes_of_text(*columns[j], known, missing)
        return out

    def _codes_of_text(self, column: Any, values: np.ndarray, known: np.ndarray, missing: float) -> np.ndarray:
        code = {text: float(number) for number, text in enumerate(known.tolist())}
        texts = [None if is_missing(value) else str(value) for value in values]
        unknown = next((text for text in texts if text is not None and text not in code), None)
        if unknown is not None:
            self._check_unknown_text(column, unknown, known)
        return np.array([missing if text is None else code.get(text, missing) for text in texts])

    def _check_unknown_text(self, column: Any, text: str, known: np.ndarray) -> None:
        """Refuse a text that no training row holds; where it is not refused, it is as good as missing."""


def _array_or_frame(X: Any) -> Any:
    return X if hasattr(X, "to_series") or isinstance(X, np.ndarray) else np.asarray(X, dtype=object)


def _categories(X: Any) -> list[int]:
    """Positions of the columns that a pandas table calls categories."""
    is_frame = hasattr(X, "iloc") and X.ndim == 2
    return [j for j, dtype in enumerate(X.dtypes) if str(dtype) == "category"] if is_frame else []


def _object_columns(X: Any) -> list[tuple[int, np.ndarray]]:
    """(position, values) of the columns that may hold text."""
    try:
        columns = columns_of(X)
    except (TypeError, ValueError):
        return []  # No table: the check of the rows says so.
    return [(j, values) for j, (_, values) in enumerate(columns) if values.dtype.kind in "OUT"]
