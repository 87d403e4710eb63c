"""Search for a mixture with a given number of components: many short runs on distinct rows, the best few improved.

Covariances of few rows in many dimensions make likelihoods rough. Runs therefore begin with more regularization than
is wanted in the end ("coarse"), where good partitions are found far more often; from there it is lowered ("fine").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from .center_fit import CenterProblem, seeding_of
from .centroids import LloydSettings, lloyd, nearest_centers, seed_centers
from .mixture_fit import MixtureFit, MixtureRows, OnStep, expectation_maximization, hard_mixture
from .mixture_moves import can_move, exchange
from .mixture_steps import MaximizationSettings, Mixture

# Iterations of a first run, and how many of the first runs are finished.
_SHORT_ITER = 15
_N_FINISHED = 3
# Of so many runs one is done with fine regularization from the beginning.
_FINE_EVERY = 4
_LLOYD = LloydSettings(n_init=1, max_iter=50, tol=1e-4, seed_power=1, objective_power=1)
INITS = ("ss-kmeans", "k-means++", "random")

Score = Callable[[MixtureFit], float]


@dataclass(frozen=True)
class MixtureTask:
    """What is searched, and how.

    Attributes
    ----------
    problem : CenterProblem
    rows : MixtureRows
        The distinct rows of the problem.
    coarse, fine : MaximizationSettings
        They differ in the regularization only, if at all.
    n_init : int
    max_iter : int
    tol : float
    init : {"ss-kmeans", "k-means++", "random"}
    score : callable
        Larger for better fits.
    moves : bool
        Improve the best runs by exchanges, which raise the likelihood.
    """

    problem: CenterProblem
    rows: MixtureRows
    coarse: MaximizationSettings
    fine: MaximizationSettings
    n_init: int = 20
    max_iter: int = 200
    tol: float = 1e-4
    init: str = "ss-kmeans"
    score: Score = lambda fit: fit.objective
    moves: bool = True

    @property
    def has_two_levels(self) -> bool:
        return bool((self.coarse.regularization != self.fine.regularization).any())

    def run(self, start: Mixture, settings: MaximizationSettings, max_iter: int | None = None) -> MixtureFit:
        limit = self.max_iter if max_iter is None else min(max_iter, self.max_iter)
        return expectation_maximization(self.rows, start, settings, limit, self.tol)


def start_mixture(
    task: MixtureTask, n_novel: int, settings: MaximizationSettings, start_number: int, seed: int
) -> Mixture:
    """Components of a partition of the distinct rows; fewer than wanted when these run out."""
    problem, sample = task.problem, task.problem.sample
    random_state = np.random.RandomState(seed)
    fixed = problem.anchors.means
    if task.init == "random":
        n_seeds = min(n_novel, sample.X.shape[0])
        share = sample.weight / sample.weight.sum()
        chosen = random_state.choice(sample.X.shape[0], n_seeds, replace=False, p=share)
        seeds = sample.X[np.sort(chosen)]
        seeds = seeds if isinstance(seeds, np.ndarray) else seeds.toarray()
    else:
        seeding = seeding_of(_LLOYD, start_number)
        seeds = seed_centers(sample.X, sample.weight, fixed, n_novel, seeding, random_state)
    centers = np.vstack([fixed, seeds])
    if task.init == "ss-kmeans" and sample.X.shape[0]:
        anchors = problem.anchors.scaled(problem.sample_share)
        centers, _ = lloyd(problem.sample_source, centers, anchors, replace(problem.frame, shift=None), _LLOYD)
    codes = problem.sample_source.map(nearest_centers, (centers, None))[0]
    return hard_mixture(task.rows, codes, len(centers), settings)


def best_of_starts(
    task: MixtureTask, n_novel: int, random_state: np.random.RandomState, on_step: OnStep | None = None
) -> list[MixtureFit]:
    """The best few of the first runs, finished with coarse regularization, the best first."""
    seeds = random_state.randint(np.iinfo(np.int32).max, size=task.n_init if n_novel else 1)
    first = []
    for number, seed in enumerate(seeds):
        fit = task.run(start_mixture(task, n_novel, task.coarse, number, int(seed)), task.coarse, _SHORT_ITER)
        first.append(fit)
        if on_step is not None and on_step(fit.mixture, fit.objective):
            break
    finished = [task.run(fit.mixture, task.coarse) for fit in _best(first, task.score, _N_FINISHED)]
    return _best(finished, task.score, _N_FINISHED)


def _best(fits: list[MixtureFit], score: Score, n_best: int) -> list[MixtureFit]:
    return sorted(fits, key=score, reverse=True)[:n_best]


def search(
    task: MixtureTask,
    n_novel: int,
    random_state: np.random.RandomState,
    candidates: list[MixtureFit] | None = None,
    on_step: OnStep | None = None,
) -> MixtureFit:
    """Best mixture of the known classes and `n_novel` further components.

    Parameters
    ----------
    task : MixtureTask
    n_novel : int
    random_state : RandomState
    candidates : list of MixtureFit, default=None
        Further fits with coarse regularization to choose from.
    on_step : callable, optional
        Called with the mixture and its objective after each first run.
    """
    fits = best_of_starts(task, n_novel, random_state, on_step)
    if task.moves and n_novel and can_move(task.coarse.kind):
        fits = [exchange(task.rows, fit, task.coarse, random_state, max_iter=task.max_iter) for fit in fits]
    fits += candidates or []
    best = max(fits, key=task.score)
    if not task.has_two_levels:
        return best
    lowered = [task.run(best.mixture, task.fine)]
    if n_novel:
        seeds = random_state.randint(np.iinfo(np.int32).max, size=max(1, task.n_init // _FINE_EVERY))
        starts = [start_mixture(task, n_novel, task.fine, number, int(seed)) for number, seed in enumerate(seeds)]
        first = [task.run(start, task.fine, _SHORT_ITER) for start in starts]
        lowered.append(task.run(max(first, key=task.score).mixture, task.fine))
    return max(lowered, key=task.score)
