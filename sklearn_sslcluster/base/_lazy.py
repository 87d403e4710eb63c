"""Dask inputs: who takes them, how they are validated without being read, and lazy answers about their rows."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import numpy as np
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import check_is_fitted, validate_data

from ..engine import DaskRows, check_finite, is_dask
from ..labels import UNLABELED, decode

# A method, whose types its decorators keep.
Method = TypeVar("Method", bound=Callable[..., Any])
# Fitted attributes that no answer about new rows needs: one value for each training row, and names checked beforehand.
_LEFT_BEHIND = ("labels_", "feature_names_in_", "_skl_callbacks")


def refuse_dask(estimator: Any, X: Any, what: str = "rows") -> None:
    """Refuse a Dask collection where all rows are needed at once; `estimator` is one, or the name of a function.

    Raises
    ------
    TypeError
        If `X` is one.
    """
    if is_dask(X):
        name = estimator if isinstance(estimator, str) else type(estimator).__name__
        raise TypeError(
            f"{name} takes {what} in memory, got a Dask {type(X).__name__}; call X.compute() where "
            "it fits into memory, or take an estimator that fits by sums over chunks, SemiSupervisedKMeans for example."
        )


def lazy_rows(estimator: Any, X: Any, *, reset: bool, lengths: bool = True) -> DaskRows:
    """Rows of a Dask collection, names and number of columns checked by its metadata."""
    if not estimator._accepts_dask:
        refuse_dask(estimator, X)
    rows = X if isinstance(X, DaskRows) else DaskRows(X, lengths=lengths)
    if rows is not X:
        described = np.empty((1, rows.shape[1])) if rows.columns is None else X._meta
        validate_data(estimator, described, reset=reset, skip_check_array=True)
    return rows


def lazily(method: Method) -> Method:
    """Decorate a method that says something of each row: of a Dask collection it returns a lazy Dask array."""

    @wraps(method)
    def answered(self: Any, X: Any, *args: Any, **kwargs: Any) -> Any:
        if not is_dask(X):
            return method(self, X, *args, **kwargs)
        check_is_fitted(self)
        if method.__name__ == "transform" and _get_output_config("transform", self)["dense"] != "default":
            raise TypeError(
                "set_output makes a table in memory, which would gather what is said of a Dask collection; call "
                "set_output(transform='default') before."
            )
        return _lazy_answer(self, method, self._validate_rows(X, reset=False, lengths=False), args, kwargs)

    return cast(Method, answered)


def _lazy_answer(estimator: Any, method: Callable, rows: DaskRows, args: tuple, kwargs: dict) -> Any:
    import dask

    model = copy.copy(estimator)
    model.__dict__ = {name: value for name, value in vars(model).items() if name not in _LEFT_BEHIND}
    call = _Call(model, method, args, kwargs, rows.columns)
    # A row of zeros shows what comes back, and that the arguments are as they should be.
    example = np.asarray(call(np.zeros((1, rows.shape[1]), dtype=rows.dtype)))
    if kwargs.get("reject") is not None:
        # A row that is left unassigned may need another type than the names.
        missing = decode(np.array([UNLABELED]), estimator.classes_, unlabeled_value=estimator.unlabeled_value)
        call.dtype = missing.dtype
    dtype = example.dtype if call.dtype is None else call.dtype
    shape: dict[str, Any] = {"drop_axis": 1} if example.ndim == 1 else {}
    if example.ndim == 2:
        shape["chunks"] = (rows.array.chunks[0], (example.shape[1],))
    meta = np.empty((0,) * example.ndim, dtype=dtype)
    shared = dask.delayed(call, pure=False, traverse=False)
    return rows.array.map_blocks(_answer, shared, dtype=dtype, meta=meta, **shape)


class _Call:
    """What is asked of the rows of a chunk."""

    def __init__(self, model: Any, method: Callable, args: tuple, kwargs: dict, columns: list | None) -> None:
        self.model = model
        self.method = method.__name__
        self.args = args
        self.kwargs = kwargs
        self.columns = columns
        self.dtype: np.dtype | None = None

    def __call__(self, block: np.ndarray) -> np.ndarray:
        return getattr(self.model, self.method)(block, *self.args, **self.kwargs)


def _answer(block: np.ndarray, call: _Call) -> np.ndarray:
    if not len(block):
        example = call(np.zeros((1, block.shape[1]), dtype=block.dtype))[:0]
        return np.asarray(example, dtype=call.dtype)
    check_finite(block, np.nan, call.columns)
    return np.asarray(call(block), dtype=call.dtype)
