"""Rows in blocks, and the one way statistics are summed over them.

An estimator that fits by sufficient statistics writes one pure function

    ``statistics(block, row_data, parameters) -> tuple of arrays that add up``

and `RowBlocks` maps it over blocks of rows and adds the results in the order of the blocks, so that the sum depends
neither on the number of threads nor (up to rounding) on the block size. Other row containers (`DaskBlocks`) offer the
same methods, ``sum``, ``map``, ``pick``, ``take`` and ``like``; the functions of ``numerics/`` need no more. Networks
see rows in random order, and read them by ``part``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from numbers import Integral
from typing import Any

import numpy as np

from .threads import blas_on_one_thread, n_usable_threads

_AUTO_BLOCK_BYTES = 8 * 2**20
_SMALLEST_AUTO_BLOCK = 1024

RowFunction = Callable[[Any, tuple, Any], tuple]


def check_block_size(block_size: int | str, n_rows: int, row_bytes: int) -> int:
    """Rows in a block: `block_size`, or for ``"auto"`` as many as fill about 8 MiB.

    Raises
    ------
    ValueError
        If `block_size` is neither ``"auto"`` nor a positive integer.
    """
    if block_size == "auto":
        return int(np.clip(_AUTO_BLOCK_BYTES // max(row_bytes, 1), _SMALLEST_AUTO_BLOCK, max(n_rows, 1)))
    if not isinstance(block_size, Integral) or block_size < 1:
        raise ValueError(f"block_size must be 'auto' or a positive integer, got {block_size!r}.")
    return int(block_size)


class RowBlocks:
    """Rows of an array, a memory map or a CSR matrix, with data that belong to each row.

    Parameters
    ----------
    X : ndarray, memmap or CSR matrix of shape (n_rows, n_features)
        Never copied as a whole.
    row_data : tuple of (ndarray of shape (n_rows,) or None), default=()
        Cut into blocks like `X`; None stays None.
    block_size : int or "auto", default="auto"
        Rows in a block.
    n_threads : int or None, default=None
        Threads that work on blocks; None for all that the process may use.
    """

    def __init__(
        self, X: Any, row_data: tuple = (), *, block_size: int | str = "auto", n_threads: int | None = None
    ) -> None:
        self.X = X
        self.row_data = row_data
        self.n_rows, self.n_features = X.shape
        row_bytes = X.dtype.itemsize * self.n_features
        self.block_size = check_block_size(block_size, self.n_rows, row_bytes)
        self.n_threads = n_threads

    @property
    def dtype(self) -> np.dtype:
        return self.X.dtype

    def like(self, X: Any, row_data: tuple = ()) -> RowBlocks:
        """Other rows, or the same with other data, flowing in the same way."""
        block_size = self.block_size if X is self.X else "auto"
        return RowBlocks(X, row_data, block_size=block_size, n_threads=self.n_threads)

    def take(self, rows: np.ndarray) -> Any:
        """The given rows, in their order."""
        return self.X[rows]

    @property
    def part_sizes(self) -> list[int]:
        """Rows of the parts that can be read: blocks."""
        return [rows.stop - rows.start for rows in self._slices()]

    def part(self, number: int) -> tuple[int, Any]:
        """(number of the first row, rows) of a part."""
        start = number * self.block_size
        return start, self.X[start : start + self.block_size]

    def _slices(self) -> list[slice]:
        return [
            slice(start, min(start + self.block_size, self.n_rows))
            for start in range(0, max(self.n_rows, 1), self.block_size)
        ]

    def _results(self, function: RowFunction, parameters: Any) -> Iterator[tuple[slice, tuple]]:
        """(slice, result) of every block, in order; several threads when there are several blocks."""

        def call(rows: slice) -> tuple[slice, tuple]:
            data = tuple(None if values is None else values[rows] for values in self.row_data)
            return rows, function(self.X[rows], data, parameters)

        slices = self._slices()
        n_threads = 1 if len(slices) == 1 else min(len(slices), self.n_threads or n_usable_threads())
        if n_threads == 1:
            yield from map(call, slices)
            return
        pool = ThreadPoolExecutor(n_threads)
        try:
            with blas_on_one_thread():
                yield from pool.map(call, slices)
        finally:
            pool.shutdown(cancel_futures=True)

    def sum(self, statistics: RowFunction, parameters: Any = None) -> tuple:
        """Sum of ``statistics(block, row_data, parameters)`` over the blocks."""
        total: list | None = None
        for _, part in self._results(statistics, parameters):
            if total is None:
                total = list(part)
            else:
                total = [before + more for before, more in zip(total, part, strict=True)]
        return tuple(total or ())

    def map(self, function: RowFunction, parameters: Any = None) -> tuple:
        """Results of ``function(block, row_data, parameters)``, one row each, put together along the rows."""
        out: tuple | None = None
        for rows, part in self._results(function, parameters):
            if out is None:
                out = tuple(np.empty((self.n_rows, *values.shape[1:]), dtype=values.dtype) for values in part)
            for whole, values in zip(out, part, strict=True):
                whole[rows] = values
        return out or ()

    def pick(self, function: RowFunction, parameters: Any = None) -> Iterator[tuple[int, tuple]]:
        """(number of the first row, ``function(block, row_data, parameters)``) of every block, in order.

        For results of any length, which the caller puts together as they come.
        """
        for rows, part in self._results(function, parameters):
            yield rows.start, part
