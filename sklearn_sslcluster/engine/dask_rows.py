"""Dask arrays and DataFrames as rows: what is known of them without reading them, and how a worker gets a chunk."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

_MOST_CHUNK_TASKS = 10_000


def is_dask(X: Any) -> bool:
    """Whether `X` is an object of Dask; told by the module of its type, so that Dask is not imported for it."""
    return any(base.__module__.partition(".")[0] in ("dask", "dask_expr") for base in type(X).__mro__)


def in_memory(values: Any) -> Any:
    """A column (labels or weights) as it is, or fetched if it is one of Dask: one value a row."""
    return values.compute() if is_dask(values) else values


class Chunk:
    """A chunk that is made inside the task that uses it, so that it never lies between two tasks."""

    __slots__ = ("graph", "key")

    def __init__(self, graph: dict, key: Any) -> None:
        self.graph = graph
        self.key = key

    def __call__(self) -> Any:
        import dask

        return dask.get(self.graph, self.key)


class DaskRows:
    """Rows of a Dask array or DataFrame of which only the metadata are here; no chunk is ever gathered.

    Parameters
    ----------
    X : dask.array.Array or dask.dataframe.DataFrame
        Columns of numbers. Chunks of columns are joined where they lie.
    lengths : bool, default=True
        Find out the number of rows of chunks that do not know it, by one pass that brings back their lengths only.

    Attributes
    ----------
    array : dask.array.Array of shape (n_rows, n_features)
        float64 or float32, all columns in one chunk.
    columns : list or None
        Names of the columns of a DataFrame.
    finite : bool
        Whether all rows were seen to be finite.
    """

    ndim = 2

    def __init__(self, X: Any, *, lengths: bool = True) -> None:
        self.columns = list(X.columns) if _is_frame(X) else None
        self.array = _numbers(X)
        sizes = self.array.chunks[0]
        if lengths and any(size != size for size in sizes):
            sizes = _lengths(X, self.array)
            self.array = _with_sizes(self.array, sizes)
        self.finite = False
        self._chunks: list | None = None
        if lengths and not sum(sizes):
            raise ValueError("Found array with 0 sample(s) while a minimum of 1 is required: X has no rows.")

    @property
    def shape(self) -> tuple:
        return self.array.shape

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype

    @property
    def starts(self) -> np.ndarray:
        """Number of the first row of each chunk, and of all rows."""
        return np.concatenate([[0], np.cumsum(self.array.chunks[0], dtype=np.int64)])

    @property
    def chunks(self) -> list:
        """What a task takes for each chunk: a `Chunk` where it needs nothing that others need too, else a Delayed."""
        if self._chunks is None:
            self._chunks = _chunks(self.array)
        return self._chunks

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise TypeError("Rows of a Dask array are not gathered; call compute() where they fit into memory.")


def _is_frame(X: Any) -> bool:
    """Whether a Dask collection is a DataFrame; by its metadata, as a Delayed claims to have every attribute."""
    return hasattr(getattr(X, "_meta", None), "columns")


def _numbers(X: Any) -> Any:
    """Array of numbers, all columns in one chunk, from metadata alone."""
    import dask.array as da

    if _is_frame(X):
        return _numbers_of_frame(X)
    if not isinstance(X, da.Array):
        if hasattr(getattr(X, "_meta", None), "index"):
            raise ValueError("Expected 2D array, got a Dask Series instead: X must be a DataFrame.")
        raise TypeError(f"X must be a Dask array or DataFrame, got a Dask {type(X).__name__}.")
    if X.ndim != 2:
        raise ValueError(f"Expected 2D array, got {X.ndim}D Dask array instead.")
    if X.dtype.kind not in "biuf" or not isinstance(X._meta, np.ndarray):
        kind = X.dtype if isinstance(X._meta, np.ndarray) else f"chunks of {type(X._meta).__name__}"
        raise ValueError(f"X must be a Dask array of numbers in numpy arrays, got {kind}.")
    _check_width(X.shape[1])
    if X.numblocks[1] > 1:
        X = X.rechunk({1: -1})
    return X if X.dtype in (np.float32, np.float64) else X.astype(np.float64)


def _numbers_of_frame(X: Any) -> Any:
    dtypes = [_numpy_dtype(dtype) for dtype in X.dtypes.tolist()]
    _check_width(len(dtypes))
    for name, dtype, given in zip(X.columns, dtypes, X.dtypes, strict=True):
        if dtype.kind not in "biuf":
            raise ValueError(f"column {name!r} of X holds {given}, expected numbers.")
    common = np.result_type(*dtypes)
    common = common if common in (np.float32, np.float64) else np.dtype(np.float64)
    return X.map_partitions(_as_array, common, meta=np.empty((0, len(dtypes)), dtype=common))


def _numpy_dtype(dtype: Any) -> np.dtype:
    """Numpy's dtype for one of pandas; object where there is none."""
    found = dtype if isinstance(dtype, np.dtype) else getattr(dtype, "numpy_dtype", object)
    return np.dtype(found)


def _check_width(n_features: int) -> None:
    if not n_features:
        raise ValueError("Found array with 0 feature(s) while a minimum of 1 is required: X has no columns.")


def _as_array(frame: Any, dtype: np.dtype) -> np.ndarray:
    if not len(frame):
        return np.empty(frame.shape, dtype=dtype)
    return np.ascontiguousarray(frame.to_numpy(dtype=dtype, na_value=np.nan))


def _lengths(X: Any, array: Any) -> tuple[int, ...]:
    """Rows of each chunk; of a DataFrame from its first column, which is all that a columnar file has to read."""
    import dask

    if _is_frame(X):
        return tuple(int(n) for n in X[[X.columns[0]]].map_partitions(len).compute())
    length = dask.delayed(len, pure=False)
    return tuple(dask.compute(*[length(chunk) for chunk in array.to_delayed().ravel().tolist()]))


def _with_sizes(array: Any, sizes: tuple[int, ...]) -> Any:
    import dask.array as da

    return da.Array(array.dask, array.name, (sizes, array.chunks[1]), dtype=array.dtype, meta=array._meta)


def _chunks(array: Any) -> list:
    import dask
    from dask.core import get_dependencies

    delayed = array.to_delayed().ravel().tolist()
    if _holds_futures(array):
        return delayed
    graph = dict(dask.optimize(array)[0].dask)
    owner: dict[Any, int] = {}
    shared: set[int] = set()
    parts: list[dict[Any, Any]] = []
    for number in range(array.numblocks[0]):
        pending: list[Any] = [(array.name, number, 0)]
        part: dict[Any, Any] = {}
        while pending and len(part) < _MOST_CHUNK_TASKS:
            key = pending.pop()
            if key in part:
                continue
            first = owner.setdefault(key, number)
            if first != number:
                shared |= {first, number}
                break
            part[key] = graph[key]
            pending.extend(get_dependencies(graph, key))
        if pending:
            shared.add(number)
        parts.append(part)
    return [
        delayed[number] if number in shared else Chunk(part, (array.name, number, 0))
        for number, part in enumerate(parts)
    ]


def _holds_futures(array: Any) -> bool:
    """Whether chunks lie on a cluster already."""
    return "distributed" in sys.modules and bool(sys.modules["distributed"].client.futures_of(array))
