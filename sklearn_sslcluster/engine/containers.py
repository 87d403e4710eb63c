"""The container for rows, whatever holds them."""

from __future__ import annotations

from typing import Any

from scipy.sparse import issparse

from .blocks import RowBlocks
from .dask_blocks import DaskBlocks
from .dask_rows import DaskRows
from .device import NumpyBackend, array_backend
from .device_blocks import DeviceBlocks


def blocks_of(
    X: Any, row_data: tuple = (), *, block_size: int | str = "auto", device: str | None = None
) -> RowBlocks | DaskBlocks:
    """Rows in memory, of a memory map, or of a Dask array, in blocks.

    Raises
    ------
    ValueError
        If torch sees no such `device`, or the rows are those of a Dask collection, which numpy works on.
    """
    backend = array_backend(device)
    if isinstance(X, DaskRows):
        if not isinstance(backend, NumpyBackend):
            raise ValueError(
                f"device={device!r}, but X is a Dask collection, whose chunks numpy works on; leave device at None."
            )
        return DaskBlocks(X, row_data, block_size=block_size)
    if isinstance(backend, NumpyBackend) or issparse(X):
        return RowBlocks(X, row_data, block_size=block_size)
    return DeviceBlocks(X, row_data, backend=backend, block_size=block_size)
