"""How many novel classes: the sweep behind ``n_clusters="auto"`` of estimators with centers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.sparse import issparse, vstack
from sklearn.metrics.pairwise import euclidean_distances

from .center_fit import CenterProblem, labeled_rows, pose_problem, solve, solve_sample
from .centroids import LloydSettings, OnStep, nearest_centers, shifted
from .model_order import Criterion, is_one_cluster, select_k

# Distinct rows that are clustered for every candidate.
_MOST_SWEPT_ROWS = 4096
# Rows that the criterion sees: a silhouette costs their square for every candidate.
_MOST_SCORED_ROWS = 2000
_MOST_TESTED_ROWS = 500
_SWEEP_STARTS = 10
_SWEEP_TOL = 1e-3
# Unlabeled rows count as "like a known class" within this quantile of the distances of labeled rows to their class
# mean; where fewer than the given share are (less two standard errors), there is a new class.
_TYPICAL_QUANTILE = 0.95
_TYPICAL_SHARE = 0.75
_ALL_TYPICAL_SHARE = 0.85


@dataclass(frozen=True)
class ScoredRows:
    """Distinct rows, labeled and free in the proportion of the table, that the criterion sees."""

    X: Any
    known_codes: np.ndarray


def scored_rows(problem: CenterProblem, random_state: np.random.RandomState) -> ScoredRows:
    """Draw the rows to score, relative to ``frame.shift``."""
    source = problem.source
    codes = source.row_data[0]
    free = problem.sample.X
    if codes is None or not len(problem.anchors.weight):
        labeled, labeled_codes, labeled_share = free[:0], np.empty(0, dtype=np.int32), 0.0
    else:
        distinct = labeled_rows(problem.source, random_state)
        labeled = shifted(distinct.X.astype(np.float64), problem.frame.shift)
        labeled_codes = codes[distinct.rows]
        labeled_weight = problem.anchors.weight.sum()
        labeled_share = float(labeled_weight / (labeled_weight + problem.frame.weight))
    n_scored = min(_MOST_SCORED_ROWS, free.shape[0] + labeled.shape[0])
    free = free[_subset(free.shape[0], n_scored * (1 - labeled_share), random_state)]
    kept = _subset(labeled.shape[0], n_scored * labeled_share, random_state)
    X = vstack([free, labeled[kept]], format="csr") if issparse(free) else np.vstack([free, labeled[kept]])
    return ScoredRows(X, np.concatenate([np.full(free.shape[0], -1, dtype=np.int32), labeled_codes[kept]]))


def thinned(problem: CenterProblem, n_rows: int, random_state: np.random.RandomState) -> CenterProblem:
    """The problem with at most `n_rows` of its distinct free rows."""
    sample = problem.sample
    if sample.X.shape[0] <= n_rows:
        return problem
    rows = _subset(sample.X.shape[0], n_rows, random_state)
    sample = replace(sample, X=sample.X[rows], weight=sample.weight[rows], rows=sample.rows[rows], inverse=None)
    return replace(problem, sample=sample, sample_source=problem.source.like(sample.X, (None, sample.weight)))


def _subset(n_rows: int, n_wanted: float, random_state: np.random.RandomState) -> np.ndarray:
    return np.sort(random_state.permutation(n_rows)[: int(np.ceil(n_wanted))])


def typical_share(rows: ScoredRows, class_means: np.ndarray) -> float:
    """Share of the free rows that lie as near to a class mean as nearly all labeled rows lie to that of their class."""
    labeled = rows.known_codes >= 0
    distances = euclidean_distances(rows.X, class_means)
    own = distances[np.flatnonzero(labeled), rows.known_codes[labeled]]
    return float((distances[~labeled].min(axis=1) <= np.quantile(own, _TYPICAL_QUANTILE) * (1 + 1e-9)).mean())


def choose_n_clusters(
    problem: CenterProblem,
    ks: list[int],
    settings: LloydSettings,
    random_state: np.random.RandomState,
    *,
    move_known: bool,
    criterion: str | Criterion = "silhouette",
    on_step: OnStep | None = None,
) -> tuple[int, dict[int, float]]:
    """Choose the total number of clusters, known classes included.

    Every candidate clusters the free rows, labeled rows stay with their class, and the criterion judges all rows
    together, so that no novel class and a single one can be compared with several. Before that, `typical_share` settles
    whether there can be no novel class at all: never where the free rows do not look like labeled ones. Where one
    cluster in all is a candidate (at most one class is known), it is chosen when `is_one_cluster` says so.

    Parameters
    ----------
    problem : CenterProblem
    ks : list of int
        Total numbers of clusters, increasing.
    settings : LloydSettings
    random_state : RandomState
    move_known : bool
        As in `solve`. False: free rows join novel clusters only, unless there is none.
    criterion : str or callable
        As in `select_k`.
    on_step : callable, optional
        Called with the centers after each candidate; True ends the sweep.

    Returns
    -------
    n_clusters : int
    scores : dict of int to float
    """
    n_known = len(problem.anchors.weight)
    problem = thinned(problem, _MOST_SWEPT_ROWS, random_state)
    rows = scored_rows(problem, random_state)
    if not problem.sample.X.shape[0]:
        return n_known, {}
    familiar = False
    if n_known and ks[-1] > n_known:
        n_free = (rows.known_codes < 0).sum()
        spread = np.sqrt(_TYPICAL_QUANTILE * (1 - _TYPICAL_QUANTILE) / n_free)
        smallest_share = (_TYPICAL_SHARE if move_known else _ALL_TYPICAL_SHARE) - 2 * spread
        familiar = typical_share(rows, problem.anchors.means) >= smallest_share
        if not (familiar and move_known) and ks[0] == n_known:
            ks = ks[1:]
    settings = replace(settings, n_init=min(settings.n_init, _SWEEP_STARTS), tol=max(settings.tol, _SWEEP_TOL))
    seed = random_state.randint(np.iinfo(np.int32).max)
    dense = rows.X.toarray() if issparse(rows.X) and criterion != "silhouette" else rows.X

    stopped: list[int] = []

    def centers_for(k: int) -> tuple[np.ndarray, int] | None:
        """(centers that free rows may join, code of the first), or None if there are not so many."""
        rng = np.random.RandomState(seed)
        found, _ = solve_sample(problem, k - n_known, settings, rng, move_known=move_known)
        novel_only = not move_known and k > n_known
        first = n_known if novel_only else 0
        centers = found if move_known or novel_only else problem.anchors.means
        return (centers, first) if len(centers) == k - first else None

    def cluster(k: int) -> np.ndarray | None:
        found = None if stopped else centers_for(k)
        if found is None:
            return None
        centers, first = found
        # As `solve` reports them: without the known centers where these do not move.
        if on_step is not None and on_step(centers if move_known or first else centers[n_known:]):
            stopped.append(k)
        (codes,) = nearest_centers(rows.X, (), (centers, None))
        return np.where(rows.known_codes >= 0, rows.known_codes, codes + first)

    if ks[0] == 1:
        tested = rows.X[_subset(rows.X.shape[0], _MOST_TESTED_ROWS, random_state)]
        tested = tested.toarray() if issparse(tested) else tested
        if len(ks) == 1 or is_one_cluster(tested, np.random.RandomState(seed)):
            return 1, {}
        ks = ks[1:]
    distinct_enough = [k for k in ks if k < rows.X.shape[0]] or ks[:1]
    if centers_for(distinct_enough[0]) is None:
        # Too few distinct rows for any choice.
        return distinct_enough[0], {}
    best, scores = select_k(cluster, dense, distinct_enough, criterion, rows.known_codes)
    if not move_known and n_known and familiar:
        # Free rows cannot join known classes here, so that "none is new" is another kind of answer than the others.
        stopped.clear()
        best = select_k(cluster, rows.X, [n_known, best], "silhouette")[0]
    return best, scores


def choose_by_labels(
    problem: CenterProblem, ks: list[int], settings: LloydSettings, random_state: np.random.RandomState
) -> tuple[int, dict[int, float]]:
    """Choose the number for which clusters found without labels agree best with the labels.

    Parameters and returns as for `choose_n_clusters`.
    """
    rows = scored_rows(problem, random_state)
    blind = pose_problem(problem.source.like(rows.X, (None, None)), 0, random_state)
    settings = replace(settings, n_init=min(settings.n_init, _SWEEP_STARTS), tol=max(settings.tol, _SWEEP_TOL))
    seed = random_state.randint(np.iinfo(np.int32).max)

    def cluster(k: int) -> np.ndarray | None:
        centers = solve(blind, k, settings, np.random.RandomState(seed), move_known=True).all
        return nearest_centers(rows.X, (), (centers, None))[0] if len(centers) == k else None

    return select_k(cluster, rows.X, ks, "labeled_accuracy", rows.known_codes)
