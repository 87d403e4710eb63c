"""Search for a mixture with a given number of components: many short runs on distinct rows, the best few improved.

Covariances of few rows in many dimensions make likelihoods rough. The search therefore takes more regularization than
is wanted in the end, with which good partitions are found far more often; from there it is lowered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import issparse

from .center_fit import CenterProblem, seeding_of
from .centroids import LloydSettings, lloyd, nearest_centers, seed_centers
from .gaussians import add_moments
from .mixture_densities import Mixture
from .mixture_fit import MixtureFit, MixtureRows, OnStep, expectation_maximization, hard_mixture
from .mixture_moves import exchange
from .mixture_steps import MaximizationSettings, padded
from .starts import run_starts

# Iterations of a first run, and how many of the first runs are finished.
_SHORT_ITER = 15
_N_FINISHED = 3
# Of so many runs one is done with fine regularization from the beginning.
_FINE_EVERY = 4
# Scores that differ by less, relatively, are equal.
_TIE = 1e-9
_LLOYD = LloydSettings(n_init=1, max_iter=50, tol=1e-4, seed_power=1, objective_power=1)
INITS = ("ss-kmeans", "k-means++", "random")

# Sparse distinct rows that take no more than this are made dense, so that moves can be tried.
_DENSE_BYTES = 2**28

Score = Callable[[MixtureFit], float]


def own_objective(fit: MixtureFit) -> float:
    """What expectation-maximization raises."""
    return fit.objective


@dataclass(frozen=True)
class MixtureTask:
    """What is searched, and how.

    Attributes
    ----------
    problem : CenterProblem
    rows : MixtureRows
        The distinct rows of the problem.
    settings : MaximizationSettings
        With the regularization of the search.
    n_init : int
    max_iter : int
    tol : float
    init : {"ss-kmeans", "k-means++", "random"}
    score : callable
        Larger for better fits.
    moves : bool
        Improve the best runs by exchanges, which raise the likelihood.
    axes : ndarray of shape (n_features, n_features) or None
        Columns are the axes along which all of the above is seen; None for those of the features.
    """

    problem: CenterProblem
    rows: MixtureRows
    settings: MaximizationSettings
    n_init: int = 20
    max_iter: int = 200
    tol: float = 1e-4
    init: str = "ss-kmeans"
    score: Score = own_objective
    moves: bool = True
    axes: np.ndarray | None = None

    @property
    def can_move(self) -> bool:
        """Whether components can be split and merged one by one: of dense rows, and unless they share a covariance."""
        return self.settings.kind != "tied" and not issparse(self.problem.sample.X)

    @property
    def evidence(self) -> float:
        """Distinct rows per unit of weight: repeating all rows is no evidence for more components."""
        weight = float(self.problem.sample.weight.sum())
        return self.problem.sample.X.shape[0] / weight if weight > 0 else 1.0

    def run(self, start: Mixture, max_iter: int | None = None) -> MixtureFit:
        limit = self.max_iter if max_iter is None else min(max_iter, self.max_iter)
        return expectation_maximization(self.rows, start, self.settings, limit, self.tol)


def with_dense_sample(problem: CenterProblem) -> CenterProblem:
    """The problem with its distinct rows dense, if they are not too many."""
    sample = problem.sample
    if not issparse(sample.X) or 8 * np.prod(sample.X.shape) > _DENSE_BYTES:
        return problem
    X = sample.X.toarray()
    sample_source = problem.sample_source.like(X, (None, sample.weight))
    return replace(problem, sample=replace(sample, X=X), sample_source=sample_source)


def start_mixture(task: MixtureTask, n_novel: int, start_number: int, seed: int) -> Mixture:
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
    return hard_mixture(task.rows, codes, len(centers), task.settings)


def best_of_starts(
    task: MixtureTask,
    n_novel: int,
    random_state: np.random.RandomState,
    on_step: OnStep | None = None,
    *,
    n_best: int = _N_FINISHED,
) -> list[MixtureFit]:
    """The best few of the first runs, finished, the best first."""
    seeds = random_state.randint(np.iinfo(np.int32).max, size=task.n_init if n_novel else 1)
    first = []
    # The score may hold more than a start needs.
    shared = (replace(task, problem=task.problem.on_sample(), score=own_objective), n_novel)
    for fit in run_starts(_first_run, shared, seeds):
        first.append(fit)
        if on_step is not None and on_step(fit.mixture, fit.objective):
            break
    finished = [task.run(fit.mixture) for fit in best_fits(first, task.score, n_best)]
    return best_fits(finished, task.score, n_best)


def _first_run(shared: tuple[MixtureTask, int], number: int, seed: int) -> MixtureFit:
    task, n_novel = shared
    return task.run(start_mixture(task, n_novel, number, seed), _SHORT_ITER)


def best_fits(fits: list[MixtureFit], score: Score, n_best: int = 1) -> list[MixtureFit]:
    """The best fits; of those that differ by rounding only, as when two runs end alike, the earlier ones."""
    values = np.array([score(fit) for fit in fits])
    left = list(range(len(fits)))
    order: list[int] = []
    for _ in range(min(n_best, len(fits))):
        largest = values[left].max()
        slack = _TIE * max(abs(largest), 1.0) if np.isfinite(largest) else 0.0
        order.append(next(i for i in left if values[i] >= largest - slack))
        left.remove(order[-1])
    return [fits[i] for i in order]


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
        Further fits to choose from.
    on_step : callable, optional
        Called with the mixture and its objective after each first run.
    """
    fits = best_of_starts(task, n_novel, random_state, on_step)
    if task.moves and n_novel and task.can_move:
        # With many components each trial is dear, and each matters less.
        n_components = task.rows.n_known + n_novel
        effort = {"max_moves": max(4, min(20, 200 // n_components)), "n_trials": max(3, min(12, 120 // n_components))}
        fits = [exchange(task.rows, fit, task.settings, random_state, max_iter=task.max_iter, **effort) for fit in fits]
    return best_fits(fits + (candidates or []), task.score)[0]


def lower_regularization(
    task: MixtureTask, fit: MixtureFit, settings: MaximizationSettings, random_state: np.random.RandomState
) -> MixtureFit:
    """Continue a fit with less regularization; a few runs that had no more from the beginning may do better."""
    task = replace(task, settings=settings)
    fits = [task.run(fit.mixture)]
    n_novel = fit.mixture.n_components - task.rows.n_known
    if n_novel:
        few = replace(task, n_init=max(1, task.n_init // _FINE_EVERY))
        fits += best_of_starts(few, n_novel, random_state, n_best=1)
    return best_fits(fits, task.score)[0]


def within_variances(rows: MixtureRows, fit: MixtureFit, kind: str) -> np.ndarray:
    """Variance of each feature within the components, labeled rows included, regularization not."""
    moments = fit.moments
    if rows.labeled is not None:
        moments = add_moments(kind, moments, padded(kind, rows.labeled, len(moments.weight)))
    n_features = rows.source.n_features
    if kind == "full":
        total = np.einsum("kii->i", moments.scatter)
    elif kind == "tied":
        total = np.diagonal(moments.scatter)
    elif kind == "diag":
        total = moments.scatter.sum(axis=0)
    else:
        total = np.full(n_features, moments.scatter.sum() / n_features)
    return np.maximum(total, 0.0) / max(float(moments.weight.sum()), 1e-300)
