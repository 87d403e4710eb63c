"""Steps of k-means and of expectation-maximization over the array namespace of their rows, for devices.

Sums of float32 rows are products of at most 8,192 rows, added in float64. Products of matrices take the place of
scattered additions, whose order devices do not promise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace, device

# Rows of float32 whose products are added in float32.
_ROWS_AT_A_TIME = 8192


class DeviceKernel(NamedTuple):
    """What a row container needs to take a sum on a device.

    Attributes
    ----------
    run : callable
        ``run(block, row_data, parameters)``: the statistic, of arrays on the device; None where the parameters ask for
        what only numpy does.
    row_bytes : callable
        ``row_bytes(n_features, itemsize, parameters)``: memory for each row of a block.
    """

    run: Callable[[Any, tuple, Any], tuple | None]
    row_bytes: Callable[[int, int, Any], int]


def has_kernel(run: Callable, row_bytes: Callable) -> Callable[[Callable], Callable]:
    """Decorate a statistic with its kernel for devices, the attribute ``on_device``."""

    def decorate(statistic: Callable) -> Callable:
        statistic.on_device = DeviceKernel(run, row_bytes)  # type: ignore[attr-defined]
        return statistic

    return decorate


def _like(values: np.ndarray, rows: Any) -> Any:
    """Parameters of the type of the rows, where they are."""
    xp = array_namespace(rows)
    return xp.asarray(np.ascontiguousarray(values), dtype=rows.dtype, device=device(rows))


def _free_weight(row_data: tuple, rows: Any) -> Any:
    xp = array_namespace(rows)
    codes, sample_weight = row_data
    if sample_weight is None:
        weight = xp.ones(rows.shape[0], dtype=rows.dtype, device=device(rows))
    else:
        weight = xp.astype(sample_weight, rows.dtype)
    return weight if codes is None else xp.where(codes < 0, weight, xp.zeros_like(weight))


def _products(left: Any, right: Any) -> Any:
    """``left.T @ right`` in float64."""
    xp = array_namespace(left)
    size = _ROWS_AT_A_TIME if left.dtype == xp.float32 else max(left.shape[0], 1)
    total = None
    for start in range(0, max(left.shape[0], 1), size):
        part = xp.astype(left[start : start + size].T @ right[start : start + size], xp.float64)
        total = part if total is None else total + part
    return total


def lloyd_row_bytes(n_features: int, itemsize: int, parameters: tuple) -> int:
    return itemsize * (2 * n_features + 3 * len(parameters[0]) + 4)


def lloyd_on_device(block: Any, row_data: tuple, parameters: tuple) -> tuple:
    """`lloyd_statistics`: (sums, weights) of the free rows nearest to each center."""
    xp = array_namespace(block)
    centers, shift = parameters
    Z = block if shift is None else block - _like(shift, block)
    placed = _like(centers, Z)
    nearest = xp.argmin(Z @ (-2 * placed.T) + xp.sum(placed * placed, axis=1), axis=1)
    numbers = xp.arange(len(centers), device=device(Z))
    member = xp.astype(nearest[:, None] == numbers[None, :], Z.dtype) * _free_weight(row_data, Z)[:, None]
    return _products(member, Z), xp.sum(member, axis=0, dtype=xp.float64)


def expectation_row_bytes(n_features: int, itemsize: int, evaluation: Any) -> int:
    n_components = evaluation.mixture.n_components
    n_products = 0 if evaluation.expansion is None else evaluation.expansion.coefficients.shape[1]
    return evaluation.dtype.itemsize * (2 * n_features + 3 * n_products + 4 * n_components + 4)


def _features(Z: Any, expansion: Any) -> Any:
    """Features of rows, (n_rows, n_expanded): those of `expanded_features`."""
    xp = array_namespace(Z)
    if expansion.kind == "full":
        first, second = (xp.asarray(index, device=device(Z)) for index in np.triu_indices(Z.shape[1]))
        squares = xp.take(Z, first, axis=1) * xp.take(Z, second, axis=1)
    elif expansion.kind == "diag":
        squares = Z * Z
    else:
        white = Z if expansion.metric is None else Z @ _like(expansion.metric, Z)
        squares = xp.sum(white * white, axis=1, keepdims=True)
    return xp.concat([squares, Z], axis=1)


def expectation_on_device(block: Any, row_data: tuple, evaluation: Any) -> tuple | None:
    """`expectation_statistics` where densities are expanded in products, else None."""
    xp = array_namespace(block)
    expansion = evaluation.expansion
    if expansion is None:
        return None
    Z = xp.astype(block, xp.float32 if evaluation.dtype == np.float32 else xp.float64)
    Z = Z if evaluation.shift is None else Z - _like(evaluation.shift, Z)
    weight = _free_weight(row_data, Z)
    if row_data[0] is not None or row_data[1] is not None:
        # Rows without weight may hold values whose squares overflow.
        Z, weight = Z[weight > 0], weight[weight > 0]
    features = _features(Z, expansion)
    joint = features @ _like(expansion.coefficients.T, Z) + _like(expansion.constant, Z)
    largest = xp.max(joint, axis=1, keepdims=True) if Z.shape[0] else joint[:, :1]
    resp = xp.exp(joint - largest)
    total = xp.sum(resp, axis=1, keepdims=True)
    resp = resp / total * weight[:, None]
    log_density = (xp.log(total) + largest)[:, 0]
    likelihood = xp.sum(xp.astype(log_density, xp.float64) * xp.astype(weight, xp.float64))
    sums = _products(resp, features)
    n_features = Z.shape[1]
    return likelihood, xp.sum(resp, axis=0, dtype=xp.float64), sums[:, -n_features:], sums[:, :-n_features]
