"""The relaxation as general conic solvers see it: the reference for the solvers of this package."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ._admm import Relaxed, capped_simplex
from ._bounds import spectral_bound
from ._points import Points

_KEPT = 1e-10


def solve_cvxpy(points: Points, solver: str = "SCS", tol: float = 1e-5, max_iter: int | None = None) -> Relaxed:
    """Solve the relaxation by cvxpy.

    Parameters
    ----------
    points : Points
    solver : {"SCS", "CLARABEL"}, default="SCS"
        SCS takes about a second for 100 points and half a minute for 300. Clarabel is far more accurate, and for tiny
        problems: its time and memory grow so fast with the number of points (seconds for 50, minutes for 100) that 60
        is a sensible limit.
    tol : float, default=1e-5
        Residuals and gap at which the solver stops, in units in which the largest entry of the objective is 1.
    max_iter : int or None, default=None
        Iterations at most; None for the limit of the solver itself.

    Returns
    -------
    relaxed : Relaxed
        The bound is that of the multipliers, not the objective, which an infeasible matrix may well raise. If the
        solver fails, it is the bound without multipliers.
    """
    import cvxpy

    n, known = points.n_points, points.n_known
    gram = points.A @ points.A.T
    scale = float(np.abs(gram).max()) or 1.0
    Y = cvxpy.Variable((n, n), PSD=True)
    # The diagonal is non-negative anyway, and below it are the same numbers.
    above = cvxpy.upper_tri(Y)
    rows, columns = np.triu_indices(n, 1)
    apart = columns < known
    non_negative = above[np.flatnonzero(~apart)] >= 0
    constraints = [Y @ points.q == points.q, cvxpy.trace(Y) == points.n_clusters, non_negative]
    if apart.any():
        absent = above[np.flatnonzero(apart)] == 0
        constraints.append(absent)
    problem = cvxpy.Problem(cvxpy.Minimize(-cvxpy.sum(cvxpy.multiply(gram / scale, Y))), constraints)
    _solve(problem, solver, tol, max_iter)
    N = np.zeros((n, n))
    if Y.value is not None and non_negative.dual_value is not None:
        # The multiplier of an entry above the diagonal stands for two entries of `N`.
        N[rows[~apart], columns[~apart]] = np.ravel(non_negative.dual_value) * (scale / 2)
        if apart.any():
            N[rows[apart], columns[apart]] = np.ravel(absent.dual_value) * (-scale / 2)
        N += N.T
    n_iter = problem.solver_stats.num_iters if problem.solver_stats is not None else 0
    factor = _factor(points, Y.value)
    return Relaxed(factor, spectral_bound(points, N), N, int(n_iter or 0), problem.status == cvxpy.OPTIMAL)


def _solve(problem: Any, solver: str, tol: float, max_iter: int | None) -> None:
    """Run the solver, silently; a failure leaves variables without a value."""
    import cvxpy

    if solver == "SCS":
        options: dict[str, Any] = {"eps_abs": tol, "eps_rel": tol}
        limit = "max_iters"
    elif solver == "CLARABEL":
        options = {"tol_gap_abs": tol, "tol_gap_rel": tol, "tol_feas": tol}
        limit = "max_iter"
    else:
        raise ValueError(f"solver must be 'SCS' or 'CLARABEL', got {solver!r}.")
    if max_iter is not None:
        options[limit] = max_iter
    with warnings.catch_warnings():
        # An inaccurate solution is told by `converged`.
        warnings.simplefilter("ignore")
        try:
            problem.solve(solver=solver, **options)
        except cvxpy.SolverError:
            return


def _factor(points: Points, Y: np.ndarray | None) -> np.ndarray:
    """`V` of the nearest matrix that meets the equalities and has its spectrum in [0, 1]."""
    u = points.u
    if Y is None:
        return u[:, None]
    Y = (Y + Y.T) / 2
    along = Y @ u
    along -= u * ((u @ along) / 2)
    Y = Y - np.outer(u, along) - np.outer(along, u)
    # Below all others, so that the direction of `u` is not taken twice.
    values, vectors = np.linalg.eigh(Y - 2 * np.outer(u, u))
    values, vectors = capped_simplex(values[1:], points.n_clusters - 1)[::-1], vectors[:, :0:-1]
    kept = values > _KEPT
    return np.column_stack([u, vectors[:, kept] * np.sqrt(values[kept])])
