"""Rows whose sums are taken on a device of torch, where a statistic has a kernel for it."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from .blocks import RowBlocks, RowFunction
from .device import TorchBackend

# A block is halved for want of memory down to this many rows.
_FEWEST_ROWS = 256
# Share of the free memory that a block with all that a kernel makes of it may take, and that the rows may stay in.
_BLOCK_SHARE, _RESIDENT_SHARE = 0.25, 0.5


class DeviceKernel(Protocol):
    """A statistic over the array namespace of its block, which a statistic holds as its attribute ``on_device``."""

    def run(self, block: Any, row_data: tuple, parameters: Any) -> tuple | None:
        """Arrays on the device that add up, or None where the parameters ask for what only numpy does."""

    def row_bytes(self, n_features: int, itemsize: int, parameters: Any) -> int:
        """Memory for each row of a block."""


class DeviceBlocks(RowBlocks):
    """Rows in memory; sums of statistics that have a kernel are taken on a device, all else by numpy.

    Rows stay on the device from the first sum on if they take at most half of its free memory. A block that does not
    fit is halved, and the sum goes on where it was.

    Parameters
    ----------
    X : ndarray or memmap of shape (n_rows, n_features)
    row_data : tuple of (ndarray of shape (n_rows,) or None), default=()
    backend : TorchBackend
    block_size : int or "auto", default="auto"
        Rows in a block; on the device "auto" goes by free memory.
    n_threads : int or None, default=None
        Threads of numpy.
    """

    def __init__(
        self,
        X: Any,
        row_data: tuple = (),
        *,
        backend: TorchBackend,
        block_size: int | str = "auto",
        n_threads: int | None = None,
    ) -> None:
        super().__init__(X, row_data, block_size=block_size, n_threads=n_threads)
        self.backend = backend
        self.given_block_size = block_size
        # Most rows that have fit, once some have not; the rows where they stay on the device.
        self._most_rows: int | None = None
        self._resident: tuple | None = None

    def like(self, X: Any, row_data: tuple = ()) -> RowBlocks:
        """Other rows, by numpy, or the same with other data."""
        if X is not self.X:
            return super().like(X, row_data)
        return DeviceBlocks(
            X, row_data, backend=self.backend, block_size=self.given_block_size, n_threads=self.n_threads
        )

    def sum(self, statistics: RowFunction, parameters: Any = None) -> tuple:
        """Sum of ``statistics(block, row_data, parameters)`` over the blocks."""
        kernel: DeviceKernel | None = getattr(statistics, "on_device", None)
        total = None if kernel is None else self._sum_on_device(kernel, parameters)
        return super().sum(statistics, parameters) if total is None else total

    def _sum_on_device(self, kernel: DeviceKernel, parameters: Any) -> tuple | None:
        size, start = self._rows_at_a_time(kernel, parameters), 0
        total: list | None = None
        while start < self.n_rows:
            rows = slice(start, min(start + size, self.n_rows))
            try:
                part = kernel.run(*self._on_device(rows), parameters)
            except self.backend.out_of_memory:
                if size <= _FEWEST_ROWS:
                    raise
                self._resident = None
                size = self._most_rows = max(_FEWEST_ROWS, size // 2)
                self.backend.release()
                continue
            if part is None:
                return None
            total = list(part) if total is None else [before + more for before, more in zip(total, part, strict=True)]
            start = rows.stop
        return tuple(self.backend.numpy(values) for values in total or ())

    def _rows_at_a_time(self, kernel: DeviceKernel, parameters: Any) -> int:
        most = self._most_rows or max(self.n_rows, 1)
        if self.given_block_size != "auto":
            return min(self.block_size, most)
        needed = kernel.row_bytes(self.n_features, self.X.dtype.itemsize, parameters)
        return int(np.clip(_BLOCK_SHARE * self.backend.free_bytes() // needed, min(_FEWEST_ROWS, most), most))

    def _on_device(self, rows: slice) -> tuple[Any, tuple]:
        if self._resident is None and self._most_rows is None and self._stays():
            self._resident = self._moved(slice(None))
        if self._resident is None:
            block, *data = self._moved(rows)
        else:
            block, *data = (None if values is None else values[rows] for values in self._resident)
        return block, tuple(data)

    def _stays(self) -> bool:
        return self.X.nbytes <= _RESIDENT_SHARE * self.backend.free_bytes()

    def _moved(self, rows: slice) -> tuple:
        arrays = (self.X, *self.row_data)
        return tuple(None if values is None else self.backend.from_rows(values[rows]) for values in arrays)
