"""Distinct rows in lexicographic order: what seeding draws from, so that it sees neither row order nor repetition.

Rows are recognized by a seeded 64-bit hash of their values. Up to a stated number of rows all distinct rows are taken;
above it, a sample of them: the rows with the smallest hashes, which is the same sample whatever the order of the rows,
how often they repeat, and how they are cut into blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy.sparse import issparse

_MIX = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)
_MAX_HASH = 2.0**64


class RowSource(Protocol):
    """Rows that can be summed and mapped over in blocks (``engine.RowBlocks`` and its kin)."""

    X: Any
    row_data: tuple
    n_rows: int
    n_features: int

    def like(self, X: Any, row_data: tuple = ()) -> RowSource: ...
    def take(self, rows: np.ndarray) -> Any: ...

    def sum(self, statistics: Any, parameters: Any = None) -> tuple: ...
    def map(self, function: Any, parameters: Any = None) -> tuple: ...
    def pick(self, function: Any, parameters: Any = None) -> Iterator[tuple]: ...


@dataclass(frozen=True)
class WeightedRows:
    """Distinct rows with their summed weights.

    Attributes
    ----------
    X : ndarray or CSR matrix of shape (n_distinct, n_features)
    weight : ndarray of shape (n_distinct,)
        Sum of the weights of the equal rows.
    rows : ndarray of shape (n_distinct,)
        Number of one of the equal rows in the table.
    inverse : ndarray of shape (n_free,) or None
        For each free row of the table, in order, its number among the distinct rows; None for a sample.
    """

    X: Any
    weight: np.ndarray
    rows: np.ndarray
    inverse: np.ndarray | None

    @property
    def complete(self) -> bool:
        """True if every free row is there, False for a sample."""
        return self.inverse is not None


def free_weight(row_data: tuple, n_rows: int, dtype: Any = np.float64) -> np.ndarray:
    """Weight of each row of a block whose cluster is free: 0 for a labeled row, else its sample weight or 1.

    `row_data` is ``(codes or None, sample_weight or None)``.
    """
    codes, sample_weight = row_data
    weight = np.ones(n_rows, dtype=dtype) if sample_weight is None else sample_weight.astype(dtype)
    if codes is not None:
        weight[codes >= 0] = 0
    return weight


def hash_keys(n_features: int, random_state: np.random.RandomState) -> np.ndarray:
    """One odd 64-bit multiplier a column."""
    words = random_state.randint(0, 2**32, size=(2, n_features), dtype=np.uint64)
    return (words[0] << _HALF) | words[1] | np.uint64(1)


def hash_rows(X: Any, keys: np.ndarray) -> np.ndarray:
    """64-bit hash of each row; equal rows have equal hashes, dense or sparse, and zero has the sign of no zero."""
    if issparse(X):
        values, columns = X.data, X.indices
        row_of = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))
        out = np.zeros(X.shape[0], dtype=np.uint64)
        np.add.at(out, row_of, _mix_bits(values, keys[columns]))
    else:
        out = _mix_bits(X, keys).sum(axis=1, dtype=np.uint64)
    # Without it a row of zeros would have the smallest of all hashes, whatever the seed, and be in every sample.
    out += keys[0]
    out ^= out >> _HALF
    out *= _MIX
    out ^= out >> np.uint64(29)
    return out


def _mix_bits(values: np.ndarray, keys: np.ndarray) -> np.ndarray:
    # Adding 0 turns -0.0 into 0.0, whose bits are 0, so that zeros left out of a CSR matrix hash like stored ones.
    bits = np.ascontiguousarray(values + 0.0, dtype=np.float64).view(np.uint64)
    bits ^= bits >> _HALF
    bits *= keys
    bits ^= bits >> np.uint64(29)
    return bits


def distinct_rows(
    source: RowSource,
    row_data: tuple,
    *,
    max_rows: int,
    random_state: np.random.RandomState,
) -> WeightedRows:
    """Distinct rows of free rows (unlabeled, positive weight) with summed weights, in lexicographic order.

    Parameters
    ----------
    source : RowSource
        Its ``row_data`` are those given here.
    row_data : tuple (codes or None, sample_weight or None)
    max_rows : int
        A table with more rows than this is sampled: about `max_rows` distinct rows, those with the smallest hashes.
    random_state : RandomState
        Draws the keys of the hash; the result depends on it only if the table is sampled.
    """
    keys = hash_keys(source.n_features, random_state)
    if source.n_rows > max_rows:
        rows, weight = _sampled_rows(source, keys, max_rows)
        X = source.take(rows)
        order = lexicographic_order(X)
        return WeightedRows(X[order], weight[order], rows[order], None)
    weight = free_weight(row_data, source.n_rows)
    free = np.flatnonzero(weight > 0)
    X = source.take(free)
    first, inverse = _group_equal(X, keys)
    order = lexicographic_order(X[first])
    rank = np.empty(len(order), dtype=np.intp)
    rank[order] = np.arange(len(order))
    inverse = rank[inverse]
    summed = np.bincount(inverse, weights=weight[free], minlength=len(order))
    return WeightedRows(X[first[order]], summed, free[first[order]], inverse)


def _sampled_rows(source: RowSource, keys: np.ndarray, max_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """(row, summed weight) of the distinct rows with the `max_rows` smallest hashes.

    Repeated rows share a hash. Only if that leaves too few distinct ones below a first limit are all rows looked at.
    Of each block no more than `max_rows` are ever held. Two different rows with one 64-bit hash would count as equal.
    """
    share = 4 * max_rows / source.n_rows
    limits = [np.uint64(share * _MAX_HASH), None] if share < 1 else [None]
    for limit in limits:
        merged: tuple = (np.empty(0, np.uint64), np.empty(0, np.int64), np.empty(0))
        for start, (hashes, rows, weight) in source.pick(_smallest_hashes, (keys, limit, max_rows)):
            found = zip(merged, (hashes, rows + start, weight), strict=True)
            hashes, rows, weight = (np.concatenate(pair) for pair in found)
            merged = _merge_equal(hashes, rows, weight, max_rows)
        if len(merged[0]) >= max_rows:
            break
    return merged[1], merged[2]


def _smallest_hashes(block: Any, row_data: tuple, parameters: tuple) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(hash, row, summed weight) of the distinct free rows of a block with the smallest hashes."""
    keys, limit, max_rows = parameters
    weight = free_weight(row_data, block.shape[0])
    hashes = hash_rows(block, keys)
    kept = np.flatnonzero(weight > 0 if limit is None else (weight > 0) & (hashes < limit))
    return _merge_equal(hashes[kept], kept, weight[kept], max_rows)


def _merge_equal(hashes: np.ndarray, rows: np.ndarray, weight: np.ndarray, max_rows: int) -> tuple:
    unique, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    summed = np.bincount(inverse, weight, len(unique))
    return unique[:max_rows], rows[first[:max_rows]], summed[:max_rows]


def _group_equal(X: Any, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(number of the first row of each group of equal rows, group of each row)."""
    _, first, inverse = np.unique(hash_rows(X, keys), return_index=True, return_inverse=True)
    representative = X[first[inverse]]
    equal = (representative != X).nnz == 0 if issparse(X) else np.array_equal(representative, X)
    if not equal:
        dense = X.toarray() if issparse(X) else X
        _, first, inverse = np.unique(dense, axis=0, return_index=True, return_inverse=True)
    return first, inverse.ravel()


def lexicographic_order(X: Any) -> np.ndarray:
    """Order of distinct rows by their first column, ties by the second, and so on.

    Only rows still tied are sorted again by the next column, so that continuous data need one or two columns.
    """
    columns = X.tocsc() if issparse(X) else X
    n_rows, n_features = X.shape
    order = np.arange(n_rows)
    group = np.zeros(n_rows, dtype=np.intp)
    for j in range(n_features):
        starts = np.flatnonzero(np.r_[True, np.diff(group) > 0])
        sizes = np.diff(np.r_[starts, n_rows])
        tied = np.repeat(sizes > 1, sizes)
        if not tied.any():
            break
        column = columns[:, [j]].toarray().ravel() if issparse(X) else columns[:, j]
        rows = order[tied]
        again = np.lexsort((column[rows], group[tied]))
        order[tied] = rows[again]
        values = column[order[tied]]
        positions = np.flatnonzero(tied)
        new_group = np.r_[True, (np.diff(values) != 0) | (np.diff(group[tied]) != 0)]
        group[tied] = np.maximum.accumulate(np.where(new_group, positions, 0))
    return order
