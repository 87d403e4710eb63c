"""Columns of categories as columns of 0 and 1."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Encoding:
    """Where the categories of a table lie, and what they are.

    Attributes
    ----------
    n_columns : int
        Columns of the table.
    categorical : ndarray of int
        Those that hold categories, increasing.
    categories : tuple of ndarray
        The categories of each, as numbers.
    texts : dict of int to ndarray of str
        What the categories 0, 1, ... of a column of text are called, by its position.
    """

    n_columns: int
    categorical: np.ndarray
    categories: tuple[np.ndarray, ...]
    texts: dict[int, np.ndarray] = field(default_factory=dict)

    @classmethod
    def of(cls, X: np.ndarray, categorical: np.ndarray, texts: dict[int, np.ndarray]) -> Encoding:
        found = (_numbers(texts[j]) if j in texts else np.unique(X[:, j]) for j in categorical.tolist())
        return cls(X.shape[1], categorical, tuple(found), texts)

    @classmethod
    def named(cls, n_columns: int, categorical: np.ndarray, categories: list[np.ndarray]) -> Encoding:
        """Encoding with the `named_categories` of another."""
        texts = {j: values for j, values in zip(categorical.tolist(), categories, strict=True) if _is_text(values)}
        return cls(n_columns, categorical, tuple(_numbers(v) if _is_text(v) else v for v in categories), texts)

    @property
    def named_categories(self) -> list[np.ndarray]:
        """Categories by the texts of the table."""
        pairs = zip(self.categorical.tolist(), self.categories, strict=True)
        return [self.texts.get(j, values) for j, values in pairs]

    @property
    def columns(self) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
        """(encoded columns of numbers, (first, one past the last) encoded column of each categorical one)."""
        numbers, blocks, place = [], [], 0
        sizes = {int(j): len(values) for j, values in zip(self.categorical, self.categories, strict=True)}
        for j in range(self.n_columns):
            if j in sizes:
                blocks.append((place, place + sizes[j]))
            else:
                numbers.append(place)
            place += sizes.get(j, 1)
        return tuple(numbers), tuple(blocks)

    def encode(self, X: np.ndarray) -> np.ndarray:
        """The table with one column of 0 and 1 for every category, in the place of its column."""
        if not len(self.categorical):
            return np.asarray(X, dtype=np.float64)
        values = {int(j): values for j, values in zip(self.categorical, self.categories, strict=True)}
        parts = [
            (X[:, [j]] == values[j]).astype(np.float64) if j in values else X[:, [j]].astype(np.float64)
            for j in range(self.n_columns)
        ]
        return np.hstack(parts)


def _is_text(categories: np.ndarray) -> bool:
    return categories.dtype.kind == "U"


def _numbers(texts: np.ndarray) -> np.ndarray:
    return np.arange(len(texts), dtype=np.float64)


def find_categorical(features: Any, n_columns: int, names: np.ndarray | None) -> np.ndarray:
    """Numbers of the categorical columns, increasing.

    Raises
    ------
    ValueError
        If a column does not exist, or a mask has another length.
    """
    features = np.asarray([] if features is None else features)
    if not features.size:
        return np.zeros(0, dtype=np.int64)
    if features.dtype.kind == "b":
        if len(features) != n_columns:
            raise ValueError(f"categorical_features is a mask of {len(features)} columns, X has {n_columns}.")
        return np.flatnonzero(features)
    if features.dtype.kind in "iu":
        wrong = features[(features < 0) | (features >= n_columns)]
        if len(wrong):
            raise ValueError(f"categorical_features holds {wrong[0]}, X has the columns 0 to {n_columns - 1}.")
        return np.unique(features).astype(np.int64)
    known = [] if names is None else names.tolist()
    for name in features.tolist():
        if name not in known:
            raise ValueError(f"categorical_features names {name!r}, which is no column of X.")
    return np.unique([known.index(name) for name in features.tolist()])
