"""iLA-SDP: partitions and covariances in turn, from several starts, the relaxation solved for given covariances."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from ._lifted import Lifted, LiftedProblem, lift, solve_lifted
from ._lifted_reference import solve_reference
from ._likelihood_starts import best_k_means, fill_empty, improved_starts
from ._profile_likelihood import (
    GroupProblem,
    Partition,
    classify,
    discriminant_axes,
    evaluate,
    fit_groups,
    is_whole,
    likeliest,
    one_hot,
    soften,
)

_FALLS = 1e-9
_RUNS_ON_FACTORS = 5
_REFERENCE_ITER = 10


@dataclass(frozen=True)
class SearchSettings:
    """How the search goes; see the parameters of the estimator."""

    n_init: int
    init: str
    max_outer: int
    dim_reduction: str | None
    solver: str
    max_iter: int
    tol: float


@dataclass(frozen=True)
class Run:
    """One start followed to its end.

    Attributes
    ----------
    partition : Partition
    path : list of float
        `F` of the start and after each outer iteration.
    mass : ndarray of shape (n_groups, n_points)
        Share of each point in each group in the last relaxation; columns sum to 1.
    relaxed : float
        Value of the last relaxation.
    n_iter : int
        Relaxations solved.
    converged : bool
        Whether the partition stopped changing.
    """

    partition: Partition
    path: list[float]
    mass: np.ndarray
    relaxed: float
    n_iter: int
    converged: bool


def search(
    problem: GroupProblem,
    settings: SearchSettings,
    random_state: np.random.RandomState,
    on_run: Callable[[Run], bool] = lambda _: False,
) -> Run:
    """The run that ends with the smallest `F`."""
    starts = improved_starts(problem, settings.init, settings.n_init, random_state)
    seeds = random_state.randint(np.iinfo(np.int32).max, size=len(starts))
    best: Run | None = None
    for start, seed in zip(starts, seeds, strict=True):
        run = follow(problem, start, settings, np.random.RandomState(seed))
        if best is None or run.partition.value < best.partition.value:
            best = run
        if on_run(best):
            break
    if best is None:
        raise RuntimeError("there was no start")
    return best


def follow(
    problem: GroupProblem, start: Partition, settings: SearchSettings, random_state: np.random.RandomState
) -> Run:
    """Alternate covariances and the relaxation while `F` falls."""
    partition, path = start, [start.value]
    converged, n_iter = False, 0
    while not converged and n_iter < settings.max_outer:
        n_iter += 1
        seen, axes_partition = problem, partition
        if settings.dim_reduction == "lda" and problem.n_groups - 1 < problem.n_features:
            seen = replace(
                problem.projected(discriminant_axes(problem, partition)),
                spread=1.0,
                strength=problem.strength * (problem.n_groups - 1) / problem.n_features,
            )
            axes_partition = evaluate(seen, partition.codes)
        lifted_problem = lift(seen, axes_partition.gaussians)
        lifted = _solve(lifted_problem, partition.codes, settings, random_state)
        mass = group_mass(problem, lifted_problem, lifted, partition.codes)
        rounded = min(
            (classify(problem, codes) for codes in _roundings(problem, lifted, mass, partition.codes, random_state)),
            key=lambda one: one.value,
        )
        converged = not rounded.value < partition.value - _FALLS * max(abs(partition.value), 1.0)
        if not converged:
            partition = rounded
        path.append(partition.value)
    if problem.kind == "tied":
        mass = group_mass(problem, lifted_problem, lifted, partition.codes)
    return Run(partition, path, mass, lifted.objective, n_iter, converged)


def _solve(
    problem: LiftedProblem, codes: np.ndarray, settings: SearchSettings, random_state: np.random.RandomState
) -> Lifted:
    if settings.solver == "cvxpy":
        return solve_reference(problem, _REFERENCE_ITER * settings.max_iter, settings.tol)
    return solve_lifted(problem, codes, random_state, settings.max_iter, settings.tol)


def group_mass(problem: GroupProblem, lifted_problem: LiftedProblem, lifted: Lifted, codes: np.ndarray) -> np.ndarray:
    """Share of each point in each group; of a single block, how much it belongs together with the points of a group."""
    mass = lifted.mass
    if lifted_problem.n_blocks == 1 < problem.n_groups:
        U, q = lifted.factor[0], lifted_problem.q
        mass = (one_hot(codes, problem.n_groups) * q @ U) @ U.T / q
    mass = problem.clamped(np.maximum(mass, 0.0), 1.0, 0.0)
    total = mass.sum(axis=0)
    return np.where(total > 0, mass / np.where(total > 0, total, 1), one_hot(codes, problem.n_groups))


def _roundings(
    problem: GroupProblem, lifted: Lifted, mass: np.ndarray, codes: np.ndarray, random_state: np.random.RandomState
) -> Iterator[np.ndarray]:
    """Partitions read off a solution."""
    candidates = [mass.argmax(axis=0), likeliest(problem, fit_groups(problem, mass)[0])]
    if problem.kind == "tied":
        candidates.append(_factor_codes(problem, lifted, random_state))
    candidates.append(soften(problem, candidates[0]) if is_whole(problem, candidates[0]) else codes)
    for candidate in candidates:
        yield candidate if is_whole(problem, candidate) else fill_empty(problem, candidate)


def _factor_codes(problem: GroupProblem, lifted: Lifted, random_state: np.random.RandomState) -> np.ndarray:
    """K-means on the leading eigenvectors of the single block."""
    vectors, _, _ = np.linalg.svd(lifted.factor[0], full_matrices=False)
    rows = vectors[:, : problem.n_groups] / np.sqrt(problem.weight)[:, None]
    return best_k_means(rows, problem.weight, problem.n_known, problem.n_groups, _RUNS_ON_FACTORS, random_state)[0]


def trivial_run(problem: GroupProblem) -> Run | None:
    """The only partition, where there is but one: a single group, or one for each point."""
    if 1 < problem.n_groups < problem.n_points:
        return None
    codes = np.arange(problem.n_points) if problem.n_groups > 1 else np.zeros(problem.n_points, dtype=int)
    partition = evaluate(problem, codes)
    return Run(partition, [partition.value], one_hot(codes, problem.n_groups), partition.value, 1, True)


def settle(problem: GroupProblem, partition: Partition) -> tuple[GroupProblem, Partition, np.ndarray]:
    """A partition in which every point lies in its likeliest group: groups that lose all their points are dropped.

    Returns
    -------
    problem : GroupProblem
    partition : Partition
    kept : ndarray of shape (n_groups,)
        Numbers of the groups that are left.
    """
    kept = np.arange(problem.n_groups)
    while True:
        codes = likeliest(problem, partition.gaussians)
        sizes = np.bincount(codes, minlength=problem.n_groups)
        if (sizes > 0).all():
            return problem, partition, kept
        left = np.flatnonzero(sizes > 0)
        problem, kept = replace(problem, n_groups=len(left)), kept[left]
        partition = classify(problem, np.searchsorted(left, codes))
