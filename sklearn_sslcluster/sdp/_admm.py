"""Alternating directions for the relaxation, with one projection that meets all equalities and the semidefinite cone.

The problem of ``_points.py`` is split into :math:`Z = W` with `Z` in the spectral set
:math:`\\{u u^T + Y : Y u = 0, 0 \\preceq Y \\preceq I, \\operatorname{tr} Y = k - 1\\}` and :math:`W \\ge 0`. Both
projections are closed forms, so that this is the convergent two-block method.

With `T` the sum of over-relaxed `Z` and scaled multiplier `U`, the parts of `T` are `W` (positive) and `U` (negative),
so that one matrix is the whole state, and :math:`W - U = |T|`. The few eigenpairs that the projection keeps change
little from one iteration to the next: block Davidson steps follow them by products of `|T|` with thin matrices. Their
errors cannot harm: every bound comes from an exact eigenproblem.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..engine import NumpyBackend, TorchBackend
from ._bounds import label_bound, label_multipliers, spectral_bound
from ._points import Points
from ._rounding import partition_inertia

_RELAXATION = 1.6
# Eigenpairs followed beside those in use: at least so many, and this share of them.
_GUARD, _GUARD_SHARE = 8, 0.35
_EXACT_AT_FIRST = 2
_DAVIDSON_STEPS = 1
_SMALLEST_THIN = 120
_SMALLEST_FLOAT32 = 800
_KEPT = 1e-10
_MOST_POINTS = 20_000


@dataclass(frozen=True)
class AdmmSettings:
    """When to stop.

    Attributes
    ----------
    max_iter : int
    tol : float
        Largest primal residual, relative to `Z`, and dual residual, relative to :math:`A A^T`.
    check_every : int
        Iterations between two bounds.
    stop_gap : float
        A bound within this share of `inertia` is good enough.
    stop_gain : float
        Stop when the bound rises by less than this share of `inertia` between two checks.
    deadline : float or None
        Value of ``time.time`` at which to stop.
    """

    max_iter: int = 1000
    tol: float = 1e-4
    check_every: int = 25
    stop_gap: float = 0.0
    stop_gain: float = 0.0
    deadline: float | None = None


@dataclass(frozen=True)
class Relaxed:
    """What a solver of the relaxation returns.

    Attributes
    ----------
    factor : ndarray of shape (n_points, rank)
        `V` with :math:`Y \\approx V V^T`.
    bound : float
        A rigorous lower bound on the inertia of every clustering, 0 if the solver gives none.
    N : ndarray of shape (n_points, n_points) or None
        The multipliers of :math:`Y \\ge 0` behind the bound.
    n_iter : int
    converged : bool
    """

    factor: np.ndarray
    bound: float
    N: np.ndarray | None
    n_iter: int
    converged: bool


def solve_admm(
    points: Points,
    start: tuple[np.ndarray, np.ndarray],
    inertia: float,
    settings: AdmmSettings,
    backend: NumpyBackend | TorchBackend,
    on_step: Callable[[], bool] | None = None,
) -> Relaxed:
    """Solve the relaxation by ADMM.

    Parameters
    ----------
    points : Points
    start : tuple of ndarray of shape (n_points, n_points)
        Primal start `W` and multipliers `N`, both non-negative.
    inertia : float
        Of the best clustering known: what bounds are measured by.
    settings : AdmmSettings
    backend : NumpyBackend or TorchBackend
        Where the dense matrices live.
    on_step : callable, optional
        Called after each iteration; True stops.
    """
    state = _State(points, start, backend)
    bound, N, converged, n_iter = 0.0, start[1], False, 0
    for n_iter in range(1, settings.max_iter + 1):
        measured = n_iter % settings.check_every == 0 or n_iter == settings.max_iter
        primal, dual = state.iterate(measured=measured)
        late = settings.deadline is not None and time.time() > settings.deadline
        stopped = on_step is not None and on_step()
        if not (measured or late or stopped):
            continue
        multipliers = state.multipliers()
        value = spectral_bound(points, multipliers)
        gain = value - bound
        if gain > 0:
            bound, N = value, multipliers
        converged = measured and primal <= settings.tol and dual <= settings.tol
        enough = bound >= (1 - settings.stop_gap) * inertia
        slow = n_iter > settings.check_every and gain <= settings.stop_gain * inertia and settings.stop_gain > 0
        if converged or enough or slow or late or stopped:
            break
        state.balance(primal, dual)
    return Relaxed(state.factor(), bound, N, n_iter, converged)


def admm_from_labels(
    points: Points,
    codes: np.ndarray,
    settings: AdmmSettings,
    backend: NumpyBackend | TorchBackend | None = None,
    on_step: Callable[[], bool] | None = None,
    inertia: float | None = None,
) -> Relaxed:
    """ADMM from a partition and the multipliers that it implies.

    `inertia` is what bounds are measured by, None for that of the partition.
    """
    if points.n_points > _MOST_POINTS:
        raise ValueError(
            f"'admm' keeps dense matrices of {points.n_points:,} x {points.n_points:,} distinct rows; up to "
            f"{_MOST_POINTS:,} are possible, beyond take the solver 'low-rank' or the certificate 'division'."
        )
    implied = label_bound(points, codes)
    W = np.zeros((points.n_points, points.n_points))
    sizes = np.bincount(codes, points.weight, points.n_clusters)
    for a in range(points.n_clusters):
        rows = np.flatnonzero(codes == a)
        W[np.ix_(rows, rows)] = np.outer(points.q[rows], points.q[rows]) / sizes[a]
    N = label_multipliers(points, codes, implied.multiplier)
    inertia = partition_inertia(points, codes) if inertia is None else inertia
    relaxed = solve_admm(points, (W, N), inertia, settings, backend or NumpyBackend(), on_step)
    return relaxed if relaxed.bound >= implied.value else replace(relaxed, bound=implied.value, N=N)


class _State:
    """The iterate: `T`, the penalty `rho`, and the eigenvectors followed."""

    def __init__(self, points: Points, start: tuple[np.ndarray, np.ndarray], backend: Any) -> None:
        self.backend, self.xp = backend, backend.xp
        self.n_points, self.total = points.n_points, float(points.n_clusters - 1)
        self.n_known = points.n_known
        dtype = "float64" if points.n_points < _SMALLEST_FLOAT32 else "float32"
        self.A = backend.asarray(points.A, dtype)
        self.u = backend.asarray(points.u, dtype)
        self.scale = float(np.linalg.norm(points.A.T @ points.A))
        self.rho = self.scale
        W, N = start
        self.T = backend.asarray(W - N / self.rho, dtype)
        self.K = backend.asarray(np.zeros_like(W), dtype)
        self.separated = backend.asarray(points.separated(), "bool") if self.n_known > 1 else None
        self.values: Any = None
        self.vectors: Any = None
        self.n_kept = points.n_points
        self.n_iter = 0

    def iterate(self, *, measured: bool) -> tuple[float, float]:
        """One iteration; the residuals where they are asked for, else NaN."""
        self.n_iter += 1
        self._absolute()
        self._eigenpairs()
        kept = self._project()
        before = self._positive() if measured else None
        # T <- relax Z + T (1 - relax / 2) - |T| relax / 2
        self.T *= 1 - _RELAXATION / 2
        self.K *= _RELAXATION / 2
        self.T -= self.K
        thin, scaled = self.vectors[:, kept:], self.vectors[:, kept:] * (self.values[kept:] * _RELAXATION)
        self.xp.matmul(scaled, thin.T, out=self.K)
        self.T += self.K
        self.xp.outer(self.u * _RELAXATION, self.u, out=self.K)
        self.T += self.K
        if not measured:
            return np.nan, np.nan
        after = self._positive()
        Z = self.xp.matmul(thin * self.values[kept:], thin.T)
        Z += self.xp.outer(self.u, self.u)
        primal = float(self._norm(Z - after)) / np.sqrt(self.total + 1)
        return primal, self.rho * float(self._norm(after - before)) / self.scale

    def _absolute(self) -> None:
        """``K = W - U``: the absolute values, less the sign where `W` must be 0."""
        self.xp.abs(self.T, out=self.K)
        if self.separated is not None:
            known = self.n_known
            block = self.T[:known, :known]
            self.K[:known, :known] = self.xp.where(self.separated, -block, self.K[:known, :known])

    def _positive(self) -> Any:
        """`W`."""
        W = self.xp.clip(self.T, 0, None)
        if self.separated is not None:
            known = self.n_known
            W[:known, :known] = self.xp.where(self.separated, 0 * W[:known, :known], W[:known, :known])
        return W

    def _norm(self, matrix: Any) -> Any:
        return self.xp.linalg.norm(matrix)

    def _apply(self, V: Any) -> Any:
        """Product of the projected matrix with thin columns that are orthogonal to `u`."""
        out = self.K @ V
        out -= self.xp.outer(self.u, self.u @ out)
        out += self.A @ ((self.A.T @ V) / self.rho)
        return out

    def _dense(self) -> Any:
        """The projected matrix, with `u` below all other directions, so that it is never among those kept."""
        below = 1 + self._norm(self.K)
        along = self.K @ self.u
        along -= self.u * ((self.u @ along - below) / 2)
        M = self.K - self.xp.outer(self.u, along)
        M -= self.xp.outer(along, self.u)
        M += self.A @ (self.A.T / self.rho)
        return M

    def _eigenpairs(self) -> None:
        n_pairs = min(self.n_points - 1, self.n_kept + max(_GUARD, int(_GUARD_SHARE * self.n_kept)))
        thin = self.n_points >= _SMALLEST_THIN and 4 * n_pairs <= self.n_points
        if not thin or self.vectors is None or self.n_iter <= _EXACT_AT_FIRST:
            self.values, self.vectors = self.backend.top_eigh(self._dense(), n_pairs)
            return
        V = self.vectors[:, max(self.vectors.shape[1] - n_pairs, 0) :]
        for _ in range(_DAVIDSON_STEPS):
            MV = self._apply(V)
            residual = MV - V * (V * MV).sum(0)
            basis, _ = self.xp.linalg.qr(self.xp.hstack([V, residual]))
            basis = basis - self.xp.outer(self.u, self.u @ basis)
            small = basis.T @ self._apply(basis)
            values, rotation = self.xp.linalg.eigh((small + small.T) / 2)
            V = basis @ rotation[:, rotation.shape[1] - n_pairs :]
            self.values = values[len(values) - n_pairs :]
        self.vectors = V

    def _project(self) -> int:
        """Eigenvalues onto [0, 1] with sum k - 1; returns the number of the first pair that is kept."""
        values = capped_simplex(self.backend.numpy(self.values), self.total)
        first = int(np.argmax(values > _KEPT))
        self.n_kept = len(values) - first
        self.values = self.backend.asarray(values, str(self.T.dtype).rpartition(".")[2])
        return first

    def balance(self, primal: float, dual: float) -> None:
        """Raise the penalty where the primal residual is much larger than the dual one, and the other way round."""
        factor = 1.6 if primal > 5 * dual else 1 / 1.6 if dual > 5 * primal else 1.0
        if factor != 1.0:
            self.rho *= factor
            # Multipliers are kept in units of the penalty.
            W = self._positive()
            self.T -= W
            self.T /= factor
            self.T += W

    def multipliers(self) -> np.ndarray:
        """`N`, the multipliers of :math:`W \\ge 0` (of either sign where `W` must be 0)."""
        N = self.backend.numpy(self.T - self._positive())
        N *= -self.rho
        return (N + N.T) / 2

    def factor(self) -> np.ndarray:
        values = self.backend.numpy(self.values)
        V = self.backend.numpy(self.vectors)[:, values > _KEPT] * np.sqrt(values[values > _KEPT])
        return np.column_stack([self.backend.numpy(self.u), V[:, ::-1]])


def capped_simplex(values: np.ndarray, total: float) -> np.ndarray:
    """Nearest point with entries in [0, 1] that sum to `total`."""
    # The sum is piecewise linear in the shift, with breaks where an entry reaches 0 or 1.
    breaks = np.sort(np.concatenate([values, values - 1]))[::-1]
    sums = np.clip(values - breaks[:, None], 0, 1).sum(axis=1)
    i = int(np.searchsorted(sums, total))
    if i == 0 or i == len(sums):
        return np.clip(values - breaks[min(i, len(sums) - 1)], 0, 1)
    rise = sums[i] - sums[i - 1]
    shift = breaks[i - 1] + (breaks[i] - breaks[i - 1]) * (total - sums[i - 1]) / rise
    return np.clip(values - shift, 0, 1)
