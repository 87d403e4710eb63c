"""The relaxation for many points: :math:`Y = V V^T` with a thin non-negative `V`, in time linear in their number.

With :math:`V \\ge 0` and :math:`\\lVert V \\rVert_F^2 = k` everything but :math:`V V^T q = q` holds by construction.
An augmented Lagrangian takes care of that: projected gradient steps on `V`, multiplier steps whenever they hardly move
it. In the units of ``_points.py`` neither the step nor the penalty depends on the data.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..engine import RowBlocks
from ._admm import Relaxed
from ._points import Points

# Rows of a block: what one step touches should stay in the cache.
_BLOCK_ROWS = 2**13
# Below this many points starting threads costs more than they save.
_FEWEST_FOR_THREADS = 2**17
_MOST_INNER_STEPS = 50
_NOISE = 0.1


@dataclass(frozen=True)
class LowRankSettings:
    """How the augmented Lagrangian is lowered.

    Attributes
    ----------
    rank : int
        Columns of `V`.
    max_iter : int
    tol : float
        Stop when neither the step relative to `V` nor the violation relative to `q` is larger.
    tol_primal : float
        The multipliers follow when the step relative to `V` is smaller.
    penalty : float
        In units of the inverse number of points.
    deadline : float or None
        Value of ``time.time`` at which to stop.
    """

    rank: int
    max_iter: int = 3000
    tol: float = 1e-4
    tol_primal: float = 1e-3
    penalty: float = 3.0
    deadline: float | None = None


def solve_low_rank(
    points: Points,
    codes: np.ndarray,
    multiplier: float,
    settings: LowRankSettings,
    random_state: np.random.RandomState,
    on_step: Callable[[], bool] | None = None,
) -> Relaxed:
    """Lower the augmented Lagrangian from labels and the multipliers they imply.

    Where the relaxation is tight and the labels optimal, these are the solution already.

    Parameters
    ----------
    points : Points
    codes : ndarray of shape (n_points,)
        Clusters to start from, none of them empty.
    multiplier : float
        Of the trace, from `label_bound`.
    settings : LowRankSettings
    random_state : RandomState
        Draws the noise that lets the other columns grow.
    on_step : callable, optional
        Called after each iteration; True stops.
    """
    k, m = points.n_clusters, points.n_points
    allowed = _columns_of_known(points, settings.rank)
    V, y = _start(points, codes, multiplier, settings.rank, random_state)
    V[: points.n_known] *= allowed
    V *= np.sqrt(k) / np.linalg.norm(V)
    penalty = settings.penalty / m
    step = min(0.25, 1 / (2 + 4 * settings.penalty))
    n_threads = 1 if m < _FEWEST_FOR_THREADS else None
    blocks = RowBlocks(points.A, (V, y, points.q), block_size=_BLOCK_ROWS, n_threads=n_threads)
    along, moment = points.q @ V, points.A.T @ V
    factor, since, moved, violated, n_iter = 1.0, 0, np.inf, np.inf, 0
    size = np.sqrt(points.q @ points.q)
    for n_iter in range(1, settings.max_iter + 1):
        pull, square = blocks.sum(_violation_statistics, (factor, along, penalty))
        violated = float(np.sqrt(square)) / size
        pull *= factor
        norm2, overlap, along, moment = blocks.sum(_step, (factor, along, pull, moment, penalty, step))
        norm2, overlap = norm2 - _forbid(points, V, allowed, along, moment), float(overlap)
        factor = float(np.sqrt(k / norm2))
        along, moment = along * factor, moment * factor
        moved = float(np.sqrt(max(2 - 2 * factor * overlap / k, 0.0)))
        since += 1
        late = settings.deadline is not None and time.time() > settings.deadline
        if max(moved, violated) < settings.tol or late or (on_step is not None and on_step()):
            break
        if moved < settings.tol_primal or since >= _MOST_INNER_STEPS:
            blocks.sum(_raise_multipliers, (factor, along, penalty))
            since = 0
    V *= factor
    return Relaxed(V, 0.0, None, n_iter, max(moved, violated) < settings.tol)


def _start(
    points: Points, codes: np.ndarray, multiplier: float, rank: int, random_state: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """(V, y) of labels: an exact solution where the relaxation is tight and the labels are optimal."""
    q, k = points.q, points.n_clusters
    sizes = np.bincount(codes, points.weight, k)
    centers = np.stack([np.bincount(codes, q * column, k) for column in points.A.T], axis=1) / sizes[:, None]
    V = np.abs(random_state.standard_normal((points.n_points, rank)))
    V *= _NOISE * points.u[:, None]
    V[np.arange(len(q)), codes] += q / np.sqrt(sizes[codes])
    own = centers[codes]
    y = 2 * np.einsum("ij,ij->i", points.A, own)
    y -= q * ((own**2).sum(axis=1) + multiplier / sizes[codes])
    return V, y


def _columns_of_known(points: Points, rank: int) -> np.ndarray:
    """Known class `a` may use column `a` alone, so that no two of them overlap."""
    return np.eye(points.n_known, rank, dtype=bool)


def _forbid(points: Points, V: np.ndarray, allowed: np.ndarray, along: np.ndarray, moment: np.ndarray) -> float:
    """Empty the other columns of known classes in `V`, and in what was summed over it; returns the square removed."""
    known = points.n_known
    if not known:
        return 0.0
    removed = np.where(allowed, 0, V[:known])
    V[:known] -= removed
    along -= points.q[:known] @ removed
    moment -= points.A[:known].T @ removed
    return float((removed**2).sum())


def _violation_statistics(A: np.ndarray, row_data: tuple, parameters: tuple) -> tuple:
    """(y~^T V without the factor of V, squared norm of the violation h = V V^T q - q)."""
    V, y, q = row_data
    factor, along, penalty = parameters
    h = V @ (along * factor) - q
    return (y + penalty * h) @ V, h @ h


def _step(A: np.ndarray, row_data: tuple, parameters: tuple) -> tuple:
    """One projected gradient step on the rows of a block, in place.

    Returns (squared norm, inner product with `V` before, V^T q, A^T V) of the rows after it.
    """
    V, y, q = row_data
    factor, along, pull, moment, penalty, step = parameters
    V *= factor
    shifted = y + penalty * (V @ along - q)
    gradient = A @ (-2 * moment)
    gradient += np.outer(shifted, along)
    gradient += np.outer(q, pull)
    gradient *= -step
    gradient += V
    np.maximum(gradient, 0, out=gradient)
    overlap = np.einsum("ij,ij->", gradient, V)
    V[:] = gradient
    return np.einsum("ij,ij->", V, V), overlap, q @ V, A.T @ V


def _raise_multipliers(A: np.ndarray, row_data: tuple, parameters: tuple) -> tuple:
    """Multiplier step on the rows of a block, in place."""
    V, y, q = row_data
    factor, along, penalty = parameters
    y += penalty * (V @ (along * factor) - q)
    return (0,)
