"""The container for rows, whatever holds them."""

from __future__ import annotations

from typing import Any

from .blocks import RowBlocks
from .dask_blocks import DaskBlocks
from .dask_rows import DaskRows


def blocks_of(X: Any, row_data: tuple = (), *, block_size: int | str = "auto") -> RowBlocks | DaskBlocks:
    """Rows in memory, of a memory map, or of a Dask array, in blocks."""
    container: Any = DaskBlocks if isinstance(X, DaskRows) else RowBlocks
    return container(X, row_data, block_size=block_size)
