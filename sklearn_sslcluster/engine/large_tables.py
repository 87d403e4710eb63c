"""Tables that do not fit into memory, for fits that need more than sums: rows in random order, and results on disk."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import numpy as np

from .blocks import RowBlocks
from .dask_blocks import DaskBlocks

# Rows that are shuffled together, and those that are read for one round.
_POOL_BYTES = 2**27
_ROUND_ROWS = 2**18
_NONE = np.zeros(0, dtype=np.intp)


class ShuffledRows:
    """Rows in random order, though they are read in whole parts: blocks of a file, or chunks of a Dask collection.

    Parts are drawn without replacement until all have been seen, and then anew. A few of them are read together, into a
    pool, and the rows of the pool are shuffled; the next pool is read meanwhile. All rows are seen in a number of
    rounds of about `round_rows` rows, whoever asks for them: what a round holds follows from its number and the seed.

    Parameters
    ----------
    source : RowBlocks or DaskBlocks
    pool_bytes : int, default=2**27
        Two parts are read together at least, since rows of one part may be alike.
    round_rows : int, default=2**18
        Rows of a round, twice those of the largest part at least; a round of a smaller table holds every row once.
    """

    def __init__(
        self, source: RowBlocks | DaskBlocks, *, pool_bytes: int = _POOL_BYTES, round_rows: int = _ROUND_ROWS
    ) -> None:
        self.source = source
        sizes = np.asarray(source.part_sizes)
        self.parts = np.flatnonzero(sizes)
        self.sizes = sizes[self.parts]
        self.pool_rows = max(pool_bytes // max(source.n_features * source.dtype.itemsize, 1), 1)
        self.n_rounds = max(1, source.n_rows // max(round_rows, 2 * int(self.sizes.max())))

    def batches(
        self, number: int, size: int, seed: int, without: np.ndarray = _NONE
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(numbers of the rows, rows) of each batch of a round.

        Parameters
        ----------
        number : int
            Of the round.
        size : int
            Rows of a batch. What is left at the end makes a smaller one, or is dropped if it is a single row; that of a
            table of one row comes twice.
        seed : int
        without : ndarray, default=()
            Numbers of rows to leave out.
        """
        random_state = _generator(seed, 1, number)
        left: tuple[np.ndarray, np.ndarray] | None = None
        for numbers, rows in self._pools(number, seed):
            order = random_state.permutation(len(numbers))
            if len(without):
                order = order[~np.isin(numbers[order], without)]
            if left is not None:
                # The rows that the last pool has left come first.
                filled = order[: size - len(left[0])]
                order = order[len(filled) :]
                left = np.concatenate([left[0], numbers[filled]]), np.concatenate([left[1], rows[filled]])
                if len(left[0]) < size:
                    continue
                yield left
            n_whole = len(order) // size * size
            for start in range(0, n_whole, size):
                batch = order[start : start + size]
                yield numbers[batch], rows[batch]
            rest = order[n_whole:]
            left = (numbers[rest], rows[rest]) if len(rest) else None
        if left is not None and self.source.n_rows == 1:
            left = left[0].repeat(2), left[1].repeat(2, axis=0)
        if left is not None and len(left[0]) > 1:
            yield left

    def _pools(self, number: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        pools = self._parts(number, seed)
        with ThreadPoolExecutor(1) as reader:
            coming = self._submit(reader, pools[0])
            for following in [*pools[1:], None]:
                pool = coming.result()
                if following is not None:
                    coming = self._submit(reader, following)
                yield pool

    def _submit(self, reader: ThreadPoolExecutor, parts: list[int]) -> Future:
        # The current client of Dask is a variable of the context.
        return reader.submit(copy_context().run, self._read, parts)

    def _parts(self, number: int, seed: int) -> list[list[int]]:
        """Parts of a round, those of a pool together."""
        turn, place = divmod(number, self.n_rounds)
        order = _generator(seed, 0, turn).permutation(len(self.parts))
        sizes = self.sizes[order]
        starts = np.cumsum(sizes) - sizes
        # No part is longer than half a round, so that there are parts that begin in each.
        mine = order[starts * self.n_rounds // self.source.n_rows == place]
        pools: list[list[int]] = [[]]
        n_rows = 0
        for part in mine:
            if len(pools[-1]) > 1 and n_rows + self.sizes[part] > self.pool_rows:
                pools.append([])
                n_rows = 0
            pools[-1].append(int(self.parts[part]))
            n_rows += int(self.sizes[part])
        return pools

    def _read(self, parts: list[int]) -> tuple[np.ndarray, np.ndarray]:
        read = [self.source.part(part) for part in parts]
        numbers = [np.arange(first, first + len(rows)) for first, rows in read]
        return np.concatenate(numbers), np.concatenate([rows for _, rows in read])


def on_disk(source: RowBlocks | DaskBlocks, function: Callable, parameters: Any = None) -> np.ndarray:
    """Results of ``function(block, row_data, parameters)``, an array with a row for each, in a temporary file.

    Returns
    -------
    results : memmap
        Its file is gone when it is.
    """
    out: np.ndarray | None = None
    for start, (values,) in source.pick(function, parameters):
        if out is None:
            with tempfile.TemporaryFile() as file:
                shape = (source.n_rows, *values.shape[1:])
                out = np.memmap(file, dtype=values.dtype, mode="w+", shape=shape)
        out[start : start + len(values)] = values
    if out is None:
        raise ValueError("There are no rows.")
    return out


def _generator(*seeds: int) -> np.random.RandomState:
    return np.random.RandomState(np.random.SeedSequence(seeds).generate_state(1))
