"""Columns of categories as columns of 0 and 1."""

from __future__ import annotations

from dataclasses import dataclass
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
        The categories of each.
    """

    n_columns: int
    categorical: np.ndarray
    categories: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, X: np.ndarray, categorical: np.ndarray) -> Encoding:
        return cls(X.shape[1], categorical, tuple(np.unique(X[:, j]) for j in categorical))

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
