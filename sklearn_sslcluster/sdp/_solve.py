"""One way into all solvers of the relaxation, and out of them to a partition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..engine import array_backend
from ._admm import AdmmSettings, Relaxed, admm_from_labels
from ._bounds import label_bound
from ._low_rank import LowRankSettings, solve_low_rank
from ._points import Points
from ._rounding import denoised_codes, fill_empty, partition_inertia, polish, spectral_codes

# Up to so many points "auto" keeps a dense matrix.
MOST_DENSE = 2000
# Up to so many points "cvxpy" takes the accurate solver.
_MOST_CLARABEL = 40
_MAX_ITER = {"admm": 500, "low-rank": 3000, "cvxpy": 10000}


@dataclass(frozen=True)
class SolverOptions:
    """Parameters of an estimator that concern the solver.

    Attributes
    ----------
    solver : {"auto", "admm", "low-rank", "cvxpy"}
    rank : int or None
    max_iter : int or None
    tol : float
    device : str or None
    """

    solver: str = "auto"
    rank: int | None = None
    max_iter: int | None = None
    tol: float = 1e-4
    device: str | None = None

    def chosen(self, n_points: int) -> str:
        if self.solver != "auto":
            return self.solver
        return "admm" if n_points <= MOST_DENSE else "low-rank"


def solve_relaxation(
    points: Points,
    codes: np.ndarray,
    options: SolverOptions,
    random_state: np.random.RandomState,
    on_step: Callable[[], bool] | None = None,
) -> tuple[Relaxed, str]:
    """Solve the relaxation from a partition.

    If the closed form proves that the partition is optimal, it is the solution of the relaxation too, and no solver
    runs; nor where there is only one partition.

    Returns
    -------
    relaxed : Relaxed
    solver : str
        Which solver ran; "closed-form" for none.
    """
    if points.is_trivial:
        return Relaxed(indicator(points, codes), 0.0, None, 0, True), "closed-form"
    implied = label_bound(points, codes)
    if implied.proven:
        return Relaxed(indicator(points, codes), implied.value, None, 0, True), "closed-form"
    solver = options.chosen(points.n_points)
    max_iter = options.max_iter or _MAX_ITER[solver]
    if solver == "low-rank":
        rank = options.rank or 2 * points.n_clusters
        if rank < points.n_clusters:
            raise ValueError(f"rank={rank} columns cannot hold {points.n_clusters} clusters; take at least as many.")
        settings = LowRankSettings(rank, max_iter, options.tol)
        relaxed = solve_low_rank(points, codes, max(implied.smallest, 0.0), settings, random_state, on_step)
    elif solver == "admm":
        backend = array_backend(options.device)
        relaxed = admm_from_labels(points, codes, AdmmSettings(max_iter, options.tol), backend, on_step)
    else:
        from ._reference import solve_cvxpy

        reference = "CLARABEL" if points.n_points <= _MOST_CLARABEL else "SCS"
        relaxed = solve_cvxpy(points, reference, options.tol / 10, max_iter)
    return relaxed, solver


def indicator(points: Points, codes: np.ndarray) -> np.ndarray:
    """`V` of a partition."""
    V = np.zeros((points.n_points, points.n_clusters))
    V[np.arange(points.n_points), codes] = points.q
    return V / np.linalg.norm(V, axis=0)


def round_relaxed(
    points: Points,
    relaxed: Relaxed,
    start: np.ndarray,
    rounding: str,
    random_state: np.random.RandomState,
    *,
    polished: bool,
) -> np.ndarray:
    """Partition with the smallest inertia among those read off the solution; for "best" also the start."""
    if points.is_trivial:
        return start
    # The same draws for each, so that "best" is no worse than any of them.
    seed = random_state.randint(np.iinfo(np.int32).max)
    ways = {"spectral": spectral_codes, "denoised": denoised_codes}
    candidates = [
        read(points, relaxed.factor, np.random.RandomState(seed))
        for name, read in ways.items()
        if rounding in ("best", name)
    ]
    if polished:
        candidates = [polish(points, codes) for codes in candidates]
    if rounding == "best":
        candidates.append(fill_empty(points, start))
    return min(candidates, key=lambda codes: partition_inertia(points, codes))


def tightness(points: Points, relaxed: Relaxed) -> float:
    """:math:`1 - \\lambda_k + \\lambda_{k+1}` of `Y`: 0 where the solution is a clustering."""
    values = np.linalg.eigvalsh(relaxed.factor.T @ relaxed.factor)[::-1]
    values = np.concatenate([values, np.zeros(points.n_clusters + 1)])
    return float(1 - values[points.n_clusters - 1] + values[points.n_clusters])
