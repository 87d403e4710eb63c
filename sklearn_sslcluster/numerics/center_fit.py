"""Fitting centers to partially labeled rows: many starts on distinct rows, the best one finished on all rows.

Up to about 30,000 rows the distinct rows are all there is, and their weights make every start exact. Above, the starts
run on a sample of distinct rows, and only the best goes over the whole table, in blocks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import issparse

from .centroids import (
    Anchors,
    Frame,
    LloydSettings,
    OnStep,
    lloyd,
    measure_anchors,
    measure_frame,
    no_anchors,
    objective,
    seed_centers,
    shifted,
    shifted_centers,
)
from .distinct import RowSource, WeightedRows, distinct_rows
from .starts import run_starts

_MOST_SAMPLE_ROWS = 2**15
_FEWEST_SAMPLE_ROWS = 2**11
_GREEDY_EVERY = 5
_MOST_SAMPLE_BYTES = 2**28


@dataclass(frozen=True)
class CenterProblem:
    """Partially labeled rows, measured once, ready for any number of centers.

    Attributes
    ----------
    source : RowSource
        All rows.
    frame : Frame
        Origin and scale of the free rows.
    anchors : Anchors
        Labeled rows, relative to ``frame.shift``.
    sample : WeightedRows
        Distinct free rows, float64 and relative to ``frame.shift``.
    sample_source : RowSource
        The same rows with their weights.
    """

    source: RowSource
    frame: Frame
    anchors: Anchors
    sample: WeightedRows
    sample_source: RowSource

    def on_sample(self) -> CenterProblem:
        """The problem without the table: what a start needs."""
        return replace(self, source=self.sample_source)

    @property
    def sample_share(self) -> float:
        """Weight of the sample over the weight of all free rows."""
        return float(self.sample.weight.sum()) / self.frame.weight if self.frame.weight else 1.0


@dataclass(frozen=True)
class Centers:
    """Fitted centers.

    Attributes
    ----------
    known, novel : ndarray of shape (n_known, n_features) and (n_novel, n_features)
        In the coordinates of the rows.
    n_iter : int
    """

    known: np.ndarray
    novel: np.ndarray
    n_iter: int

    @property
    def all(self) -> np.ndarray:
        return np.vstack([self.known, self.novel])


def sample_size(n_features: int, n_centers: int = 0) -> int:
    """Rows above which a table is sampled for the starts."""
    by_memory = _MOST_SAMPLE_BYTES // (8 * max(n_features, 1))
    return max(min(by_memory, _MOST_SAMPLE_ROWS), _FEWEST_SAMPLE_ROWS, 32 * n_centers)


def pose_problem(
    source: RowSource,
    n_known: int,
    random_state: np.random.RandomState,
    n_centers: int = 0,
    *,
    center: bool = False,
) -> CenterProblem:
    """Measure the rows and draw the sample for the starts.

    Parameters
    ----------
    source : RowSource
        With ``row_data = (codes or None, sample_weight or None)``.
    n_known : int
        Known classes.
    random_state : RandomState
        Used only if the table is larger than the sample.
    n_centers : int, default=0
        Centers wanted, if known: the sample has at least 32 rows for each.
    center : bool, default=False
        See all dense rows from their mean, not only where it lies far from the origin.
    """
    frame = measure_frame(source, center=center)
    if center and not frame.weight:
        # Without free rows the labeled ones tell where the middle is.
        whole = measure_frame(source.like(source.X, (None, source.row_data[1])), center=True)
        frame = replace(whole, weight=0.0)
    anchors = measure_anchors(source, n_known, frame.shift)
    max_rows = sample_size(source.n_features, n_centers)
    sample = distinct_rows(source, source.row_data, max_rows=max_rows, random_state=random_state)
    X = shifted(sample.X.astype(np.float64), frame.shift)
    sample = replace(sample, X=X if issparse(X) else np.ascontiguousarray(X))
    return CenterProblem(source, frame, anchors, sample, source.like(sample.X, (None, sample.weight)))


def labeled_rows(source: RowSource, random_state: np.random.RandomState) -> WeightedRows:
    """Distinct labeled rows with their weights, sampled as the free rows are."""
    codes, sample_weight = source.row_data
    # Seen through these codes the labeled rows are the free ones.
    flipped = (np.where(codes < 0, np.int32(0), np.int32(-1)), sample_weight)
    max_rows = sample_size(source.n_features)
    return distinct_rows(source.like(source.X, flipped), flipped, max_rows=max_rows, random_state=random_state)


def solve(
    problem: CenterProblem,
    n_novel: int,
    settings: LloydSettings,
    random_state: np.random.RandomState,
    *,
    move_known: bool,
    on_step: OnStep | None = None,
) -> Centers:
    """Fit centers: the known classes and `n_novel` further ones.

    Parameters
    ----------
    problem : CenterProblem
    n_novel : int
        Novel centers; fewer come back when the distinct rows run out.
    settings : LloydSettings
    random_state : RandomState
    move_known : bool
        True: free rows may join known classes, whose centers move (semi-supervised k-means). False: known centers
        stay the means of their labeled rows and only guide the seeding (NCD k-means).
    on_step : callable, optional
        Called with the centers after each start and each iteration over the whole table; True stops.
    """
    centers, n_iter = solve_sample(problem, n_novel, settings, random_state, move_known=move_known, on_step=on_step)
    anchors = problem.anchors if move_known else no_anchors(problem.source.n_features)
    if not problem.sample.complete and len(centers):
        centers, more = lloyd(problem.source, centers, anchors, problem.frame, settings, on_step)
        n_iter += more
    shift = problem.frame.shift
    n_moving = len(anchors.weight)
    known = centers[:n_moving] if move_known else problem.anchors.means
    return Centers(shifted_centers(known, shift), shifted_centers(centers[n_moving:], shift), max(n_iter, 1))


def solve_sample(
    problem: CenterProblem,
    n_novel: int,
    settings: LloydSettings,
    random_state: np.random.RandomState,
    *,
    move_known: bool,
    on_step: OnStep | None = None,
) -> tuple[np.ndarray, int]:
    """Best of ``settings.n_init`` starts on the distinct rows.

    Returns
    -------
    centers : ndarray, relative to ``frame.shift``
        With `move_known` the known centers first, else the novel ones only.
    n_iter : int
        Iterations of the best start.
    """
    fixed = problem.anchors.means
    anchors = problem.anchors.scaled(problem.sample_share) if move_known else no_anchors(problem.source.n_features)
    frame = Frame(None, problem.sample.weight.sum(), problem.frame.variance)
    if not problem.sample.X.shape[0]:
        return (fixed if move_known else fixed[:0]), 1
    best_value, best_centers, best_n_iter = np.inf, fixed if move_known else fixed[:0], 1
    if not n_novel and not (move_known and len(fixed)):
        return fixed[:0], 1
    shared = _Start(problem.on_sample(), fixed, anchors, frame, n_novel, settings, move_known)
    # Without novel centers all starts are the same.
    seeds = random_state.randint(np.iinfo(np.int32).max, size=settings.n_init)[: None if n_novel else 1]
    for centers, n_iter, value in run_starts(_run_start, shared, seeds):
        if value < best_value:
            best_value, best_centers, best_n_iter = value, centers, n_iter
        if on_step is not None and on_step(best_centers):
            break
    return best_centers, best_n_iter


@dataclass(frozen=True)
class _Start:
    """What all starts have in common."""

    problem: CenterProblem
    fixed: np.ndarray
    anchors: Anchors
    frame: Frame
    n_novel: int
    settings: LloydSettings
    move_known: bool


def _run_start(shared: _Start, number: int, seed: int) -> tuple[np.ndarray, int, float]:
    """(centers, iterations, objective) of a start."""
    sample, source, settings = shared.problem.sample, shared.problem.sample_source, shared.settings
    seeding, random_state = seeding_of(settings, number), np.random.RandomState(seed)
    seeds = seed_centers(sample.X, sample.weight, shared.fixed, shared.n_novel, seeding, random_state)
    start = np.vstack([shared.fixed, seeds]) if shared.move_known else seeds
    if not len(start):
        return start, 1, np.inf
    centers, n_iter = lloyd(source, start, shared.anchors, shared.frame, settings)
    return centers, n_iter, objective(source, centers, shared.anchors, shared.frame, settings.objective_power)


def seeding_of(settings: LloydSettings, start_number: int) -> LloydSettings:
    """How a start is seeded: see ``LloydSettings.n_trials``."""
    if settings.n_trials is not None:
        return settings
    return replace(settings, n_trials=1) if start_number % _GREEDY_EVERY else replace(settings, seed_power=2)
