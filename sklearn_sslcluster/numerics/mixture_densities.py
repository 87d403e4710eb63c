"""A Gaussian mixture, and what it says of rows: log joint densities, responsibilities, components and distances.

Log densities are expanded in products of features where that is exact enough. All coordinates are relative to a shift
near the middle of the rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import issparse

from .centroids import shifted
from .distinct import RowSource, free_weight
from .gaussians import (
    Expansion,
    Gaussians,
    expand,
    expanded_features,
    largest_precision,
    log_densities,
    n_expanded,
    square_distances,
)

# Features of a chunk of rows stay in the cache of a core.
_CHUNK_BYTES = 2**22
_CHUNK_ROWS = (64, 1024)
# Largest error of a log density, about `eps` times its quadratic terms, up to which it is expanded in products.
_EXPANSION_ERROR = {np.dtype(np.float64): 1e-7, np.dtype(np.float32): 1e-2}
_SMALLEST = np.finfo(np.float64).tiny


@dataclass(frozen=True)
class Mixture:
    """Components and their weights, relative to a shift."""

    gaussians: Gaussians
    weights: np.ndarray

    @property
    def n_components(self) -> int:
        return len(self.weights)

    def subset(self, kept: np.ndarray) -> Mixture:
        return Mixture(self.gaussians.subset(kept), self.weights[kept] / self.weights[kept].sum())


@dataclass(frozen=True)
class Evaluation:
    """How log densities of rows are computed: expanded in products where that is exact enough, else by differences.

    Attributes
    ----------
    mixture : Mixture
    log_weights : ndarray of shape (n_components,)
    expansion : Expansion or None
        None: by differences.
    dtype : dtype
        Rows are converted to it, a chunk at a time.
    shift : ndarray of shape (n_features,) or None
    """

    mixture: Mixture
    log_weights: np.ndarray
    expansion: Expansion | None
    dtype: np.dtype
    shift: np.ndarray | None


def evaluation_of(
    mixture: Mixture, shift: np.ndarray | None, largest_square: float, dtype: np.dtype, *, exact: bool = False
) -> Evaluation:
    """Choose the way of computing: `largest_square` is that of the norm of a row; `exact` refuses float32."""
    log_weights = np.log(np.maximum(mixture.weights, _SMALLEST))
    farthest = max(largest_square, float((mixture.gaussians.means**2).sum(axis=1).max(initial=0.0)))
    size = farthest * largest_precision(mixture.gaussians)
    candidates: list[np.dtype] = [np.dtype(np.float32), np.dtype(np.float64)]
    for candidate in candidates[int(exact or dtype != np.float32) :]:
        if size * np.finfo(candidate).eps <= _EXPANSION_ERROR[candidate]:
            return Evaluation(mixture, log_weights, expand(mixture.gaussians, log_weights), candidate, shift)
    return Evaluation(mixture, log_weights, None, np.dtype(np.float64), shift)


def _largest_square(block: Any, row_data: tuple, shift: np.ndarray | None) -> tuple[float]:
    free = free_weight(row_data, block.shape[0]) > 0 if row_data else np.ones(block.shape[0], dtype=bool)
    if not free.any():
        return (0.0,)
    if issparse(block):
        squares = np.asarray(block.multiply(block).sum(axis=1)).ravel()
    else:
        Z = shifted(block, shift)
        squares = np.einsum("ij,ij->i", Z, Z)
    return (float(squares[free].max()),)


def largest_square(source: RowSource, shift: np.ndarray | None) -> float:
    """Largest squared norm of a free row relative to `shift`."""
    return max((float(value) for _, (value,) in source.pick(_largest_square, shift)), default=0.0)


def chunks(block: Any, evaluation: Evaluation) -> Iterator[tuple[slice, Any]]:
    """Rows of a block relative to the shift, as many at a time as the cache takes."""
    kind = evaluation.mixture.gaussians.kind
    n_rows, n_features = block.shape
    if issparse(block):
        size = 8192
    else:
        row_bytes = evaluation.dtype.itemsize * n_expanded(kind, n_features)
        size = int(np.clip(_CHUNK_BYTES // row_bytes, *_CHUNK_ROWS))
    for start in range(0, n_rows, size):
        rows = slice(start, min(start + size, n_rows))
        Z = block[rows]
        if Z.dtype != evaluation.dtype:
            Z = Z.astype(evaluation.dtype)
        if evaluation.shift is None or issparse(Z):
            yield rows, shifted(Z, evaluation.shift)
        else:
            # Column by column, as the features are.
            yield rows, np.subtract(Z.T, evaluation.shift.astype(Z.dtype)[:, None]).T


def _sparse_features(Z: Any, kind: str) -> tuple[Any, Any]:
    """Squares (or squared norms) and entries of sparse rows, to be multiplied from the left by coefficients."""
    squares = Z.multiply(Z)
    return (squares.tocsr() if kind == "diag" else np.asarray(squares.sum(axis=1)).reshape(-1, 1)), Z


def joint_of(Z: Any, evaluation: Evaluation) -> tuple[np.ndarray, Any]:
    """(log of weight times density, (n_components, n_rows); features of the rows or None)."""
    expansion = evaluation.expansion
    if expansion is None:
        return log_densities(Z, evaluation.mixture.gaussians) + evaluation.log_weights[:, None], None
    coefficients = expansion.coefficients.astype(evaluation.dtype)
    constant = expansion.constant.astype(evaluation.dtype)[:, None]
    if issparse(Z):
        squares, entries = _sparse_features(Z, expansion.kind)
        n_squares = squares.shape[1]
        joint = (squares @ coefficients[:, :n_squares].T + entries @ coefficients[:, n_squares:].T).T
        return joint + constant, (squares, entries)
    features = np.empty((coefficients.shape[1], Z.shape[0]), dtype=evaluation.dtype)
    expanded_features(np.ascontiguousarray(Z.T), expansion.kind, expansion.metric, features)
    joint = coefficients @ features
    joint += constant
    return joint, features


def normalize(joint: np.ndarray) -> np.ndarray:
    """Turn log joint densities into responsibilities, in place; returns the log densities of the rows."""
    largest = joint.max(axis=0)
    joint -= largest
    np.exp(joint, out=joint)
    total = joint.sum(axis=0)
    joint /= total
    return np.log(total) + largest


def log_joint_densities(block: Any, row_data: tuple, parameters: tuple[Evaluation, str]) -> tuple[np.ndarray]:
    """What "joint" (log weight plus log density), "resp", "density" (its log) or "code" says of each row."""
    evaluation, wanted = parameters
    n_rows, n_components = block.shape[0], evaluation.mixture.n_components
    shape = (n_rows,) if wanted in ("density", "code") else (n_rows, n_components)
    out = np.empty(shape, dtype=np.int32 if wanted == "code" else np.float64)
    for rows, Z in chunks(block, evaluation):
        joint, _ = joint_of(Z, evaluation)
        if wanted == "code":
            out[rows] = joint.argmax(axis=0)
        elif wanted == "joint":
            out[rows] = joint.T
        else:
            density = normalize(joint)
            out[rows] = density if wanted == "density" else joint.T
    return (out,)


def own_distances(block: Any, row_data: tuple, evaluation: Evaluation) -> tuple[np.ndarray]:
    """(Mahalanobis distance of each row to the component given by its code in ``row_data``,)."""
    gaussians = evaluation.mixture.gaussians
    (codes,) = row_data
    out = np.empty(block.shape[0])
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        Z = shifted(block[rows].astype(np.float64), evaluation.shift)
        out[rows] = np.sqrt(square_distances(Z, gaussians.subset(np.array([code])))[0])
    return (out,)
