"""The table that a network is trained on: standardized in memory, or, where that would be too much, read as it goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..engine import DaskBlocks, DaskRows, RowBlocks, ShuffledRows, blocks_of, on_disk
from ..labels import UNLABELED, PartialLabels
from .inference import standardize
from .rows import training_rows

# Bytes of a table in float64 above which its rows are not all held in memory.
LARGEST_IN_MEMORY = 2**30
# Rows of a table read as it goes that stand for all of them where a method looks at all.
SAMPLE_ROWS = 100_000
# Bytes of these rows in float64, of wide tables, and the fewest rows.
_SAMPLE_BYTES, _FEWEST_SAMPLED = 2**29, 1000
_MOST_CONSTANT = 16 * np.finfo(np.float64).eps
_COMPARABLE = 10.0


@dataclass(frozen=True)
class RowStream:
    """Standardized rows in random order, from a table that is read as it goes.

    Attributes
    ----------
    rows : ShuffledRows
    codes : ndarray of shape (n_rows,)
        Codes of known classes, -1 for unlabeled rows.
    sample : ndarray
        Numbers of the rows that stand for all.
    mean, scale : ndarray of shape (n_features,)
        By which rows are standardized.
    """

    rows: ShuffledRows
    codes: np.ndarray
    sample: np.ndarray
    mean: np.ndarray
    scale: np.ndarray

    def batches(
        self, epoch: int, size: int, seed: int, held_out: np.ndarray | None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(standardized rows, codes) of each batch of an epoch, without the rows of the sample that are held out."""
        without = np.zeros(0, dtype=np.intp) if held_out is None else self.sample[held_out]
        for numbers, rows in self.rows.batches(epoch, size, seed, without):
            yield standardize(rows, self.mean, self.scale).astype(np.float32), self.codes[numbers]


@dataclass(frozen=True)
class TrainingTable:
    """Rows to train on.

    Attributes
    ----------
    Z : ndarray of shape (n_trained, n_features)
        Standardized rows: all that are trained on, or a sample of a table that is read as it goes.
    rows : ndarray of shape (n_trained,)
        Their numbers in the table.
    labels : PartialLabels
        Of these.
    scale : dict of str to ndarray
        Fitted attributes ``mean_`` and ``scale_``.
    stream : RowStream or None
        All rows of a table that is read as it goes; None if they are in `Z`.
    whole : ndarray or RowBlocks or DaskBlocks
        All rows of the table: standardized ones in memory, or what reads them.
    """

    Z: np.ndarray
    rows: np.ndarray
    labels: PartialLabels
    scale: dict[str, np.ndarray]
    stream: RowStream | None
    whole: Any

    def map(self, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """What a function makes of the standardized rows of the whole table; where these are read, on disk."""
        if self.stream is None:
            return function(self.whole)
        return map_standardized(self.whole, function, self.scale)


def map_standardized(
    source: RowBlocks | DaskBlocks, function: Callable[[np.ndarray], np.ndarray], scale: dict[str, np.ndarray]
) -> np.ndarray:
    """What a function makes of standardized rows that are read, on disk; `scale` are ``mean_`` and ``scale_``."""
    return on_disk(source, _of_standardized, (function, scale))


def training_table(X: Any, labels: PartialLabels, seed: int) -> TrainingTable:
    """A table of at most ``LARGEST_IN_MEMORY`` bytes (in float64) in memory; a larger one, or one of Dask, to be read.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features) or DaskRows
    labels : PartialLabels
    seed : int
        Draws the sample of a table that is read as it goes.
    """
    if isinstance(X, DaskRows) or 8 * X.shape[0] * X.shape[1] > LARGEST_IN_MEMORY:
        return _read_as_it_goes(blocks_of(X), labels, seed)
    return table_in_memory(X, labels)


def table_in_memory(X: np.ndarray, labels: PartialLabels) -> TrainingTable:
    """All rows standardized, to be trained on in an order of their own (`training_rows`)."""
    rows = training_rows(X, labels.codes)
    scale = measure(X[rows])
    Z = standardize(X, scale["mean_"], scale["scale_"])
    return TrainingTable(Z[rows], rows, replace(labels, codes=labels.codes[rows]), scale, None, Z)


def measure(X: np.ndarray) -> dict[str, np.ndarray]:
    """Fitted attributes ``mean_`` and ``scale_``.

    Columns of comparable width (pixels, embeddings: none wider than ten times the median) share one scale, since one
    each would blow up those that hardly vary; otherwise each column has its own. Constant columns have 1.
    """
    X = np.asarray(X, dtype=np.float64)
    mean = X.mean(axis=0)
    return _scale(mean, (X - mean).std(axis=0))


def _scale(mean: np.ndarray, width: np.ndarray) -> dict[str, np.ndarray]:
    varies = width > _MOST_CONSTANT * np.abs(mean)
    if not varies.any():
        return {"mean_": mean, "scale_": np.ones_like(mean)}
    if width[varies].max() <= _COMPARABLE * np.median(width[varies]):
        width = np.full_like(width, np.sqrt(np.mean(width[varies] ** 2)))
    return {"mean_": mean, "scale_": np.where(varies, width, 1.0)}


def _read_as_it_goes(source: RowBlocks | DaskBlocks, labels: PartialLabels, seed: int) -> TrainingTable:
    # Sums about one of the rows: those of the values themselves lose digits where the data lie far from the origin.
    origin = np.asarray(source.take(np.zeros(1, dtype=np.intp))[0], dtype=np.float64)
    (total,) = source.sum(_sum_about, origin)
    mean = origin + total / source.n_rows
    total, squares = source.sum(_squares_about, mean)
    offset = total / source.n_rows
    scale = _scale(mean + offset, np.sqrt(np.maximum(squares / source.n_rows - offset**2, 0)))
    by_memory = max(_SAMPLE_BYTES // (8 * source.n_features), _FEWEST_SAMPLED)
    rows = _sample(labels, min(SAMPLE_ROWS, by_memory), np.random.RandomState(seed))
    Z = standardize(source.take(rows), scale["mean_"], scale["scale_"])
    stream = RowStream(ShuffledRows(source), labels.codes, rows, scale["mean_"], scale["scale_"])
    return TrainingTable(Z, rows, replace(labels, codes=labels.codes[rows]), scale, stream, source)


def _sample(labels: PartialLabels, n_rows: int, random_state: np.random.RandomState) -> np.ndarray:
    """Numbers of about `n_rows` rows that stand for all, in order.

    Labeled ones, in which every class has its share, are half of them at most unless there are too few others.
    """
    codes = labels.codes
    if len(codes) <= n_rows:
        # A single row comes twice, for batch normalization.
        return np.arange(len(codes)) if len(codes) > 1 else np.zeros(2, dtype=np.intp)
    n_labeled = int(np.count_nonzero(codes != UNLABELED))
    room = min(n_labeled, max(n_rows // 2, n_rows - (len(codes) - n_labeled)))
    shares = {UNLABELED: n_rows - room}
    for code, count in enumerate(np.bincount(codes[codes != UNLABELED], minlength=labels.n_known)):
        shares[code] = max(1, round(room * count / max(n_labeled, 1)))
    drawn = [random_state.permutation(np.flatnonzero(codes == code))[:share] for code, share in shares.items()]
    return np.sort(np.concatenate(drawn))


def _sum_about(block: np.ndarray, row_data: tuple, origin: np.ndarray) -> tuple:
    return ((block - origin).sum(axis=0),)


def _squares_about(block: np.ndarray, row_data: tuple, mean: np.ndarray) -> tuple:
    centered = block - mean
    return centered.sum(axis=0), (centered**2).sum(axis=0)


def _of_standardized(block: np.ndarray, row_data: tuple, parameters: tuple) -> tuple:
    function, scale = parameters
    return (function(standardize(block, scale["mean_"], scale["scale_"])),)
