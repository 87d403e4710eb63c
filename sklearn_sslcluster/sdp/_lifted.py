"""The lifted relaxation for known covariances, solved over nonnegative factors.

With the covariances :math:`\\Sigma_a` given, the best partition minimizes
:math:`\\sum_a \\langle A_a, Z_a \\rangle` with
:math:`A_a(i, j) = \\log|\\Sigma_a| + \\tfrac12 \\lVert x_i - x_j \\rVert^2_{\\Sigma_a^{-1}}` over membership matrices.
The relaxation asks of :math:`Z_a` only to be nonnegative, positive semidefinite, of trace 1, and that
:math:`\\sum_a Z_a 1 = 1`. Factors :math:`Z_a = U_a U_a^T` with :math:`U_a \\ge 0` and :math:`\\lVert U_a \\rVert_F = 1`
meet all but the last, which an augmented Lagrangian enforces; an iteration costs time linear in the number of points.

Points have weights: with :math:`q` their square roots and
:math:`Y_a = \\operatorname{diag}(q) Z_a \\operatorname{diag}(q)` the row sums read :math:`\\sum_a Y_a q = q`.
With one covariance for all groups the sum of the :math:`Z_a` is all that matters: one block of trace `K`, which is the
relaxation of Peng and Wei in the metric of that covariance.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from ..numerics import Gaussians
from ._profile_likelihood import GroupProblem, log_volumes, penalty

# Columns of the factor of a block, and of a single block for each group.
_RANK, _COLUMNS = 8, 3
_PENALTY = 3.0
_PENALTY_GROWTH, _SLOW, _LARGEST_GROWTH = 2.0, 0.5, 1e3
_INNER = 40
_MEMORY = 8
_FIRST_CHANGE = 0.1
_DECREASE = 1e-4
_SMALLEST_STEP, _LARGEST_STEP = 1e-8, 1e8
# The start: shares at a temperature at which points still belong to several groups, and noise on the factors.
_NOISE = 0.9
# Colder ones are tried where that does not lead to a solution.
_TEMPERATURES = (4.0, 0.25, 0.01)
_EVEN_SHARE = 0.8
# Residuals of the row sums, and a rise of the objective above that of the start, of a solution that is none.
_TOO_MUCH = 0.02


@dataclass(frozen=True)
class LiftedProblem:
    """The relaxation for given covariances.

    Attributes
    ----------
    costs : ndarray of shape (n_blocks, n_points)
        Cost of each point beside the mean of the group of a block.
    white : ndarray of shape (n_blocks, n_points, n_features)
        Points about that mean in the metric of the covariance, times `q`.
    q : ndarray of shape (n_points,)
        Square roots of the weights.
    trace : int
        Of each block: 1, or the number of groups where one block stands for all.
    n_known : int
        The first points are known classes, each in the block of its number; in a single block they share no group.
    constant : float
        What ``F`` holds beside the sum of the products.
    """

    costs: np.ndarray
    white: np.ndarray
    q: np.ndarray
    trace: int
    n_known: int
    constant: float

    @property
    def n_blocks(self) -> int:
        return len(self.costs)

    @property
    def n_points(self) -> int:
        return len(self.q)


@dataclass(frozen=True)
class Lifted:
    """A solution of the relaxation.

    Attributes
    ----------
    factor : ndarray of shape (n_blocks, n_points, rank)
        :math:`U` with :math:`Y_a \\approx U_a U_a^T`.
    mass : ndarray of shape (n_blocks, n_points)
        :math:`(Z_a 1)_i`, the share of each point in each block; columns sum to about 1.
    objective : float
        Value of the relaxation, in the units of ``F``.
    n_iter : int
    converged : bool
    """

    factor: np.ndarray
    mass: np.ndarray
    objective: float
    n_iter: int
    converged: bool


def lift(problem: GroupProblem, gaussians: Gaussians) -> LiftedProblem:
    """The relaxation for the covariances of `gaussians`."""
    q = np.sqrt(problem.weight)
    tied = problem.kind == "tied"
    factors, means = gaussians.full_precision_factors(), gaussians.means
    if tied:
        means = (problem.weight @ problem.X / problem.weight.sum())[None]
        factors = factors[:1]
    white = np.stack([(problem.X - mean) @ factor for mean, factor in zip(means, factors, strict=True)])
    costs = np.einsum("aij,aij->ai", white, white) + log_volumes(gaussians)[: len(white), None]
    trace = problem.n_groups if tied else 1
    return LiftedProblem(costs, white * q[:, None], q, trace, problem.n_known, penalty(problem, gaussians))


def indicator_factor(problem: LiftedProblem, codes: np.ndarray) -> np.ndarray:
    """The factors of a partition."""
    n_groups = problem.trace if problem.n_blocks == 1 else problem.n_blocks
    member = (np.arange(n_groups)[:, None] == codes) * problem.q
    U = member / np.sqrt((member**2).sum(axis=1, keepdims=True))
    return U.T[None] if problem.n_blocks == 1 else U[:, :, None]


def start_factor(
    problem: LiftedProblem,
    codes: np.ndarray,
    random_state: np.random.RandomState,
    temperature: float = _TEMPERATURES[0],
) -> np.ndarray:
    """Factors near a partition: soft shares of the points, times noise, since equal columns would be a saddle point."""
    q = problem.q
    if problem.n_blocks == 1:
        rank = _COLUMNS * problem.trace
        even = _EVEN_SHARE * temperature / _TEMPERATURES[0]
        own = np.arange(rank)[:, None] % problem.trace == codes
        U = ((even / problem.trace + (1 - even) * own).T * q[:, None])[None]
    else:
        costs = problem.costs - problem.costs.min(axis=0)
        typical = max(float(np.median(costs[costs > 0])) if (costs > 0).any() else 0.0, 1.0)
        share = np.exp(-costs / (temperature * typical))
        share /= share.sum(axis=0)
        U = np.repeat((share * q)[:, :, None], _RANK, axis=2)
    U = U * random_state.uniform(1 - _NOISE, 1 + _NOISE, size=U.shape)
    return _onto_feasible(problem, U)


def _onto_feasible(problem: LiftedProblem, V: np.ndarray) -> np.ndarray:
    """Nearest nonnegative factors of the right norm that leave known points where they belong."""
    V = np.maximum(V, 0.0)
    n_known, n_blocks = problem.n_known, problem.n_blocks
    if n_known and n_blocks > 1:
        outside = np.arange(n_blocks)[:, None] != np.arange(n_known)
        V[:, :n_known][outside] = 0.0
    elif n_known:
        # Columns by turns: two known classes share none, so that their entry of Z is 0.
        outside = np.arange(n_known)[:, None] != np.arange(V.shape[2]) % problem.trace
        V[0, :n_known][outside] = 0.0
    norm = np.sqrt(np.einsum("aij,aij->a", V, V))
    for block in np.flatnonzero(norm <= 0):
        V[block] = problem.q[:, None]
        return _onto_feasible(problem, V)
    return V * (np.sqrt(problem.trace) / norm)[:, None, None]


class _Lagrangian:
    """Augmented Lagrangian in units of its own, and its gradient."""

    def __init__(self, problem: LiftedProblem, codes: np.ndarray) -> None:
        self.problem = problem
        self.q = problem.q
        total = float(self.q @ self.q)
        self.costs = _reduced_costs(problem, codes) * self.q / total
        self.white = problem.white / np.sqrt(total)
        self.y = np.zeros(problem.n_points)
        self.beta = _PENALTY * problem.n_blocks * problem.trace / total

    def residual(self, U: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(row sums less what they should be, sums of the columns of the factors)."""
        s = self.q @ U
        return np.einsum("aij,aj->i", U, s) - self.q, s

    def value(self, U: np.ndarray) -> float:
        return self._value(U, *self.residual(U), self.white.transpose(0, 2, 1) @ U)

    def _value(self, U: np.ndarray, h: np.ndarray, s: np.ndarray, moments: np.ndarray) -> float:
        linear = np.einsum("ai,aij,aj->", self.costs, U, s, optimize=True) - np.einsum("aij,aij->", moments, moments)
        return float(linear + self.y @ h + self.beta / 2 * (h @ h))

    def value_and_gradient(self, U: np.ndarray) -> tuple[float, np.ndarray]:
        h, s = self.residual(U)
        moments = self.white.transpose(0, 2, 1) @ U
        rows = self.costs + (self.y + self.beta * h)
        gradient = rows[:, :, None] * s[:, None, :]
        gradient += self.q[:, None] * (rows[:, None, :] @ U)
        gradient -= 2 * (self.white @ moments)
        return self._value(U, h, s, moments), gradient


def _reduced_costs(problem: LiftedProblem, codes: np.ndarray) -> np.ndarray:
    """Costs plus multipliers of the row sums that make the gradient vanish at a partition in likeliest groups."""
    if problem.n_blocks > 1:
        return problem.costs - problem.costs.min(axis=0)
    q, white = problem.q, problem.white[0]
    member = (np.arange(problem.trace)[:, None] == codes) * q
    centers = (member @ white / (member @ q)[:, None])[codes]
    return (2 * np.einsum("ij,ij->i", white, centers) / q - np.einsum("ij,ij->i", centers, centers))[None]


def solve_lifted(
    problem: LiftedProblem, codes: np.ndarray, random_state: np.random.RandomState, max_iter: int, tol: float
) -> Lifted:
    """Minimize over nonnegative factors by spectral projected gradients and an augmented Lagrangian.

    Parameters
    ----------
    problem : LiftedProblem
    codes : ndarray of shape (n_points,)
        A partition to start near.
    random_state : RandomState
        Draws the noise of the start.
    max_iter : int
        Gradient steps.
    tol : float
        Largest change of the factors in a step, and root mean square of the residuals of the row sums.
    """
    limit = lifted_value(problem, indicator_factor(problem, codes))
    limit += _TOO_MUCH * abs(limit)
    for temperature in _TEMPERATURES:
        U, n_iter, infeasible, converged = _multipliers(problem, codes, random_state, temperature, max_iter, tol)
        found = lifted_value(problem, U)
        # The start may have been too wide: the solution should be feasible, and no worse than the partition.
        if infeasible <= _TOO_MUCH and found <= limit:
            break
    mass = np.einsum("aij,aj->ai", U, problem.q @ U) / problem.q
    return Lifted(U, mass, found, max(n_iter, 1), converged)


def _multipliers(
    problem: LiftedProblem,
    codes: np.ndarray,
    random_state: np.random.RandomState,
    temperature: float,
    max_iter: int,
    tol: float,
) -> tuple[np.ndarray, int, float, bool]:
    """(factors, gradient steps, root mean square residual of the row sums, whether it converged)."""
    lagrangian = _Lagrangian(problem, codes)
    U = start_factor(problem, codes, random_state, temperature)
    largest, largest_beta = np.sqrt(problem.q @ problem.q), _LARGEST_GROWTH * lagrangian.beta
    infeasible, step, n_iter, converged = np.inf, 0.0, 0, False
    while n_iter < max_iter and not converged:
        before = infeasible
        U, used, change, step = _descend(lagrangian, U, step, min(_INNER, max_iter - n_iter), tol)
        n_iter += used
        h, _ = lagrangian.residual(U)
        infeasible = float(np.linalg.norm(h)) / largest
        converged = infeasible <= tol and change <= tol
        lagrangian.y += lagrangian.beta * h
        if infeasible > max(_SLOW * before, tol):
            lagrangian.beta = min(lagrangian.beta * _PENALTY_GROWTH, largest_beta)
    return U, n_iter, infeasible, converged


def lifted_value(problem: LiftedProblem, U: np.ndarray) -> float:
    """Value of the relaxation at factors, with the row sums scaled to what they should be."""
    s = problem.q @ U
    carried = np.einsum("aij,aj->ai", U, s)
    moments = problem.white.transpose(0, 2, 1) @ U
    # A cost that all blocks share counts as if the row sums were exact.
    shared = problem.costs.min(axis=0)
    linear = np.einsum("ai,ai->", problem.costs - shared, carried * problem.q) + shared @ problem.q**2
    return float(linear - np.einsum("aij,aij->", moments, moments) + problem.constant)


def _descend(
    lagrangian: _Lagrangian, U: np.ndarray, step: float, max_iter: int, tol: float
) -> tuple[np.ndarray, int, float, float]:
    """Projected gradient steps of Barzilai and Borwein's length: (factors, steps made, last change, step length)."""
    problem = lagrangian.problem
    value, gradient = lagrangian.value_and_gradient(U)
    recent = deque([value], maxlen=_MEMORY)
    unit = np.sqrt(problem.n_blocks * problem.trace)
    change, n_iter = np.inf, 0
    if not step:
        step = _FIRST_CHANGE * unit / max(float(np.linalg.norm(gradient)), np.finfo(float).tiny)
    for n_iter in range(1, max_iter + 1):
        reference = max(recent)
        while True:
            moved = _onto_feasible(problem, U - step * gradient)
            difference = moved - U
            square = float(np.einsum("aij,aij->", difference, difference))
            if step <= _SMALLEST_STEP or lagrangian.value(moved) <= reference - _DECREASE * square / step:
                break
            step *= 0.3
        change = np.sqrt(square) / unit
        value, next_gradient = lagrangian.value_and_gradient(moved)
        recent.append(value)
        bend = float(np.einsum("aij,aij->", difference, next_gradient - gradient))
        U, gradient = moved, next_gradient
        step = float(np.clip(square / bend, _SMALLEST_STEP, _LARGEST_STEP)) if bend > 0 else min(2 * step, 1e3)
        if change <= tol:
            break
    return U, n_iter, float(change), step
