"""The lifted relaxation by a general conic solver: the reference for small problems."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._lifted import Lifted, LiftedProblem


def solve_reference(problem: LiftedProblem, max_iter: int, tol: float) -> Lifted:
    """Solve the relaxation with cvxpy and SCS.

    Parameters
    ----------
    problem : LiftedProblem
    max_iter : int
        Iterations of SCS.
    tol : float
        Its absolute and relative tolerance.
    """
    import cvxpy

    n, q = problem.n_points, problem.q
    blocks = [cvxpy.Variable((n, n), PSD=True) for _ in range(problem.n_blocks)]
    rows, columns = np.triu_indices(n, 1)
    flat = rows * n + columns
    constraints: list[Any] = [sum(Y @ q for Y in blocks) == q]
    constraints += [cvxpy.trace(Y) == problem.trace for Y in blocks]
    constraints += [cvxpy.vec(Y, order="C")[flat] >= 0 for Y in blocks]
    matrices = [_matrix(problem, block) for block in range(problem.n_blocks)]
    scale = max(float(np.abs(matrix).max()) for matrix in matrices)
    value = sum(cvxpy.sum(cvxpy.multiply(matrix / scale, Y)) for matrix, Y in zip(matrices, blocks, strict=True))
    constraints += list(_known(problem, blocks))
    task = cvxpy.Problem(cvxpy.Minimize(value), constraints)
    task.solve(solver=cvxpy.SCS, max_iters=max_iter, eps_abs=tol, eps_rel=tol)
    Y = np.stack([np.zeros((n, n)) if block.value is None else block.value for block in blocks])
    Y = np.maximum((Y + Y.transpose(0, 2, 1)) / 2, 0.0)
    objective = sum(float(np.einsum("ij,ij->", matrix, found)) for matrix, found in zip(matrices, Y, strict=True))
    n_iter = task.solver_stats.num_iters or 1
    factor = np.stack([_factor(found) for found in Y])
    return Lifted(factor, (Y @ q) / q, objective + problem.constant, int(n_iter), task.status == cvxpy.OPTIMAL)


def _matrix(problem: LiftedProblem, block: int) -> np.ndarray:
    """``A_a`` times the square roots of the weights from both sides."""
    costs, white, q = problem.costs[block], problem.white[block], problem.q
    return (costs[:, None] + costs) / 2 * np.outer(q, q) - white @ white.T


def _known(problem: LiftedProblem, blocks: list) -> Any:
    """Known points belong to their own block, or share no group with each other."""
    for point in range(problem.n_known):
        for number, Y in enumerate(blocks):
            if problem.n_blocks == 1:
                others = [other for other in range(problem.n_known) if other != point]
                if others:
                    yield Y[point, others] == 0
            elif number != point:
                yield Y[point, :] == 0


def _factor(Y: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(Y)
    return vectors * np.sqrt(np.maximum(values, 0.0))
