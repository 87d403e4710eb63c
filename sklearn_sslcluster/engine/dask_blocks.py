"""Rows of a Dask array or DataFrame, with the methods of `RowBlocks`: statistics go to the chunks.

Each pass is one graph with a task a chunk, which makes the chunk (from its file, say), walks through it in blocks, and
keeps nothing but the sums. Codes and weights of the rows are placed beside the chunks once; what travels in a pass are
the parameters, and statistics. Any scheduler of Dask will do: its threads, its processes, or a cluster, where the tasks
of a worker that dies are done again by the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .blocks import RowBlocks, RowFunction, check_block_size
from .dask_rows import Chunk, DaskRows
from .threads import blas_on_one_thread

# Statistics that are added in one task, in order: what is added to what depends on the number of chunks only.
_ADDED_AT_A_TIME = 16
# Results of a pass over the rows that are fetched at a time.
_FETCHED_AT_A_TIME = 64
# Codes and weights that are sent in one graph.
_PLACED_BYTES = 8 * 2**20

# Settings of Dask for a cluster of this machine: its workers keep the memory of one block for the next. By default they
# give it back at once, and fetch it again.
KEPT_MEMORY = {
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 2**27,
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 2**25,
}


class Pass:
    """What is done with each chunk: sent to every worker once a pass.

    Parameters
    ----------
    method : {"sum", "map", "pick"}
        Of `RowBlocks`.
    function : callable
    parameters : object
    block_size : int
    columns : list or None or False
        Names of the columns for errors; False where rows are known to be finite.
    """

    __slots__ = ("block_size", "columns", "function", "method", "parameters")

    def __init__(self, method: str, function: RowFunction, parameters: Any, block_size: int, columns: Any) -> None:
        self.method = method
        self.function = function
        self.parameters = parameters
        self.block_size = block_size
        self.columns = columns


def check_finite(block: np.ndarray, first_row: float, columns: list | None) -> None:
    """Refuse NaN and infinite values, and say where the first is.

    Raises
    ------
    ValueError
        If there are any.
    """
    # A sum is finite unless a value is not, or they are huge.
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(block.sum(dtype=np.float64)) or np.isfinite(block).all():
            return
    row, column = np.argwhere(~np.isfinite(block))[0].tolist()
    what = "NaN" if np.isnan(block[row, column]) else "infinity"
    name = column if columns is None else repr(columns[column])
    where = "" if first_row != first_row else f", row {int(first_row) + row}"
    raise ValueError(f"Input X contains {what}: column {name}{where}.")


def _made(chunk: Any) -> np.ndarray:
    return chunk() if isinstance(chunk, Chunk) else chunk


def _run(chunk: Any, row_data: list, first_row: int, work: Pass) -> Any:
    """Result of a pass on one chunk; None if it has no rows."""
    rows = _made(chunk)
    if not len(rows):
        return None
    blocks = RowBlocks(rows, tuple(row_data), block_size=work.block_size, n_threads=1)
    function = work.function
    if work.columns is not False:

        def checked(block: Any, data: tuple, parameters: Any) -> tuple:
            try:
                check_finite(block, np.nan, work.columns)
            except ValueError:
                check_finite(rows, first_row, work.columns)
            return work.function(block, data, parameters)

        function = checked
    if work.method == "pick":
        return [(first_row + start, part) for start, part in blocks.pick(function, work.parameters)]
    return getattr(blocks, work.method)(function, work.parameters)


def _add(parts: list) -> tuple | None:
    """Sum of the statistics of chunks, in order."""
    parts = [part for part in parts if part is not None]
    if not parts:
        return None
    total = list(parts[0])
    for part in parts[1:]:
        total = [before + more for before, more in zip(total, part, strict=True)]
    return tuple(total)


def _rows_of(chunk: Any, rows: np.ndarray) -> np.ndarray:
    return np.array(_made(chunk)[rows])


def _nothing(block: np.ndarray, row_data: tuple, parameters: Any) -> tuple:
    return (0,)


def _as_is(values: np.ndarray) -> np.ndarray:
    return values


class DaskBlocks:
    """Rows of a Dask array or DataFrame with data that belong to each row: the methods of `RowBlocks`.

    Parameters
    ----------
    X : DaskRows
    row_data : tuple of (ndarray of shape (n_rows,) or None), default=()
        Cut like the chunks, and placed beside them.
    block_size : int or "auto", default="auto"
        Rows of a chunk that a worker looks at at a time.
    """

    def __init__(self, X: DaskRows, row_data: tuple = (), *, block_size: int | str = "auto") -> None:
        self.X = X
        self.row_data = row_data
        self.n_rows, self.n_features = X.shape
        self.block_size = check_block_size(block_size, self.n_rows, X.dtype.itemsize * self.n_features)
        self._placed: list[list | None] | None = None

    @property
    def dtype(self) -> np.dtype:
        return self.X.dtype

    def like(self, X: Any, row_data: tuple = ()) -> DaskBlocks | RowBlocks:
        """The same rows with other data, or rows in memory."""
        if X is not self.X:
            return RowBlocks(X, row_data)
        other = DaskBlocks(X, row_data, block_size=self.block_size)
        if self._placed is not None:
            # What is beside the chunks already stays there.
            here = zip(self.row_data, self._placed, strict=True)
            known = {id(values): placed for values, placed in here if values is not None}
            other._placed = [known.get(id(values)) or other._place(values) for values in row_data]
        return other

    def take(self, rows: np.ndarray) -> np.ndarray:
        """The given rows, which should be few: each chunk sends its own."""
        import dask

        rows = np.asarray(rows)
        starts, chunks = self.X.starts, self.X.chunks
        number = np.searchsorted(starts, rows, side="right") - 1
        wanted = np.unique(number)
        out = np.empty((len(rows), self.n_features), dtype=self.dtype)
        fetch = dask.delayed(_rows_of, pure=False)
        parts = [fetch(chunks[i], rows[number == i] - starts[i]) for i in wanted]
        for i, part in zip(wanted, _in_order(parts), strict=True):
            out[number == i] = part
        return out

    @property
    def part_sizes(self) -> list[int]:
        """Rows of the parts that can be read: chunks."""
        return list(self.X.array.chunks[0])

    def part(self, number: int) -> tuple[int, np.ndarray]:
        """(number of the first row, rows) of a part, which is fetched."""
        import dask

        (rows,) = dask.compute(dask.delayed(_made, pure=False)(self.X.chunks[number]))
        return int(self.X.starts[number]), rows

    def check_finite(self) -> None:
        """Refuse values that are not finite, in a pass over the rows unless one has been made.

        Raises
        ------
        ValueError
            If there are any.
        """
        if not self.X.finite:
            self.sum(_nothing)

    def sum(self, statistics: RowFunction, parameters: Any = None) -> tuple:
        """Sum of ``statistics(block, row_data, parameters)`` over the blocks."""
        import dask

        add = dask.delayed(_add, pure=False)
        parts = self._pass("sum", statistics, parameters)
        while len(parts) > 1:
            parts = [add(parts[i : i + _ADDED_AT_A_TIME]) for i in range(0, len(parts), _ADDED_AT_A_TIME)]
        with blas_on_one_thread():
            (total,) = dask.compute(*parts)
        self.X.finite = True
        return total or ()

    def map(self, function: RowFunction, parameters: Any = None) -> tuple:
        """Results of ``function(block, row_data, parameters)``, which should be small, put together along the rows."""
        out: tuple | None = None
        starts = self.X.starts
        for i, part in enumerate(_in_order(self._pass("map", function, parameters))):
            if part is None:
                continue
            if out is None:
                out = tuple(np.empty((self.n_rows, *values.shape[1:]), dtype=values.dtype) for values in part)
            for whole, values in zip(out, part, strict=True):
                whole[starts[i] : starts[i + 1]] = values
        self.X.finite = True
        return out or ()

    def pick(self, function: RowFunction, parameters: Any = None) -> Iterator[tuple[int, tuple]]:
        """(number of the first row, ``function(block, row_data, parameters)``) of every block, in order."""
        for part in _in_order(self._pass("pick", function, parameters)):
            yield from part or ()
        self.X.finite = True

    def _pass(self, method: str, function: Callable, parameters: Any) -> list:
        """A task for each chunk."""
        import dask

        if self._placed is None:
            self._placed = [self._place(values) for values in self.row_data]
        columns = False if self.X.finite else self.X.columns
        work = dask.delayed(Pass(method, function, parameters, self.block_size, columns), pure=False, traverse=False)
        run = dask.delayed(_run, pure=False)
        first_rows = self.X.starts.tolist()
        return [
            run(chunk, [None if placed is None else placed[i] for placed in self._placed], first_rows[i], work)
            for i, chunk in enumerate(self.X.chunks)
        ]

    def _place(self, values: np.ndarray | None) -> list | None:
        """Send values of the rows to where the chunks are worked on; they can be sent again should a worker die."""
        if values is None:
            return None
        import dask

        starts = self.X.starts
        send = dask.delayed(_as_is, pure=False)
        per_graph = max(1, _PLACED_BYTES * len(self.X.chunks) // max(values.nbytes, 1))
        placed: list = []
        for first in range(0, len(starts) - 1, per_graph):
            last = min(first + per_graph, len(starts) - 1)
            placed += dask.persist(*[send(values[starts[i] : starts[i + 1]]) for i in range(first, last)])
        return placed


def _in_order(tasks: list) -> Iterator[Any]:
    """Results of tasks in order; on a cluster they wait at the workers until they are fetched."""
    import dask

    with blas_on_one_thread():
        running = list(dask.persist(*tasks))
    running.reverse()
    while running:
        few = [running.pop() for _ in range(min(_FETCHED_AT_A_TIME, len(running)))]
        yield from dask.compute(*few)
