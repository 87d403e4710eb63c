"""K-means with clusters of given sizes: assignment and centers in turn, from many starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import issparse

from .balanced_assignment import assign_within, clear_potentials
from .center_fit import seeding_of
from .centroids import (
    Anchors,
    LloydSettings,
    center_scores,
    nearest_centers,
    no_anchors,
    one_hot,
    seed_centers,
    shifted,
    square_norms,
)
from .transport import annealed_potentials

# Few clusters of many rows: there Sinkhorn's algorithm finds potentials sooner than shortest paths do.
_MOST_CLUSTERS_FOR_SINKHORN, _FEWEST_ROWS_FOR_SINKHORN = 16, 200
# Clusters that `balanced_codes` makes at once; more of them are made group by group.
_MOST_AT_ONCE = 16
_ROUNDING = 1e-9


@dataclass(frozen=True)
class BalancedRows:
    """What is clustered: distinct rows without a label, and the sums of those with one.

    Attributes
    ----------
    X : ndarray or CSR matrix of shape (n_distinct, n_features)
    weight : ndarray of shape (n_distinct,)
        How often each row stands in the table.
    anchors : Anchors
        Labeled rows, which never move.
    """

    X: Any
    weight: np.ndarray
    anchors: Anchors

    @property
    def unit(self) -> int:
        """What the numbers of equal rows have in common: a table repeated as a whole is fitted as the table is."""
        return max(int(np.gcd.reduce(self.weight.astype(np.int64))), 1)

    @property
    def units(self) -> np.ndarray:
        """How often each row counts, in units of `unit`."""
        return (self.weight / self.unit).astype(np.int64)


@dataclass(frozen=True)
class BalancedSettings:
    """How the alternation runs.

    Attributes
    ----------
    n_init, max_iter : int
        Starts, and assignments of one run.
    tol : float
        A run ends when the inertia falls by no more than this share of it.
    solver : {"auto", "paths", "sinkhorn"}
        Where the potentials of the first assignment of a run come from.
    """

    n_init: int = 10
    max_iter: int = 100
    tol: float = 0.0
    solver: str = "auto"


@dataclass(frozen=True)
class BalancedFit:
    """Clusters of rows.

    Attributes
    ----------
    centers : ndarray of shape (n_clusters, n_features)
    codes : ndarray of shape (n_distinct,)
        The cheapest assignment to `centers` of all with the same sizes.
    potentials : ndarray of shape (n_clusters,)
        See `clear_potentials`.
    inertia : float
    n_iter : int
    """

    centers: np.ndarray
    codes: np.ndarray
    potentials: np.ndarray
    inertia: float
    n_iter: int


def target_sizes(labeled: np.ndarray, n_rows: int, shares: np.ndarray) -> np.ndarray:
    """Sizes in proportion to `shares`, except of clusters that hold more labeled rows than that, which keep these."""
    sizes = labeled.astype(np.float64)
    held = np.zeros(len(sizes), dtype=bool)
    while not held.all():
        level = (n_rows - labeled[held].sum()) / shares[~held].sum()
        over = ~held & (labeled > level * shares)
        if not over.any():
            sizes[~held] = level * shares[~held]
            break
        held |= over
    return sizes


def size_limits(free: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The whole numbers around each size, of which one is taken, so that the total is right."""
    lower = np.floor(free + _ROUNDING).astype(np.int64)
    upper = np.ceil(free - _ROUNDING).astype(np.int64)
    return np.maximum(lower, 0), np.maximum(upper, 0)


def assign_distinct(
    costs: np.ndarray, units: np.ndarray, free: np.ndarray, potentials: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """(cluster of each distinct row, potentials): the cheapest assignment with the sizes `free`.

    A row counts as often as `units` says. Equal rows cannot be told apart and stay together: a row that the cheapest
    assignment would divide goes where most is missing, among the clusters that have a part of it. It is as cheap in
    each of them, so that the result is the cheapest with its own sizes.
    """
    lower, upper = size_limits(free)
    if units.max() == 1:
        return assign_within(costs, lower, upper, potentials)
    row_of = np.repeat(np.arange(len(units)), units)
    unit_codes, potentials = assign_within(costs[row_of], lower, upper, potentials)
    starts = np.cumsum(units) - units
    codes = unit_codes[starts]
    divided = np.flatnonzero(np.maximum.reduceat(unit_codes, starts) != np.minimum.reduceat(unit_codes, starts))
    if len(divided):
        whole = np.ones(len(units), dtype=bool)
        whole[divided] = False
        missing = free - np.bincount(codes[whole], units[whole], costs.shape[1])
        for row in divided[np.argsort(-units[divided], kind="stable")]:
            parts = np.unique(unit_codes[starts[row] : starts[row] + units[row]])
            codes[row] = parts[missing[parts].argmax()]
            missing[codes[row]] -= units[row]
    return codes, potentials


def solve_balanced(
    rows: BalancedRows,
    n_novel: int,
    shares: np.ndarray,
    settings: BalancedSettings,
    random_state: np.random.RandomState,
    on_step: Callable[[BalancedFit], bool] | None = None,
) -> BalancedFit:
    """Best of many starts: known classes and `n_novel` further clusters, or as many as there are distinct rows.

    Parameters
    ----------
    rows : BalancedRows
    n_novel : int
    shares : ndarray of shape (n_known + n_novel,)
        Relative sizes. Larger ones of novel clusters go to the larger clusters at the start.
    settings : BalancedSettings
    random_state : RandomState
    on_step : callable, optional
        Called with the best fit after each start; True ends the search.
    """
    fixed = rows.anchors.means
    best: BalancedFit | None = None
    for number, seed in enumerate(random_state.randint(np.iinfo(np.int32).max, size=settings.n_init)):
        seeding = seeding_of(LloydSettings(), number)
        seeds = seed_centers(rows.X, rows.weight, fixed, n_novel, seeding, np.random.RandomState(seed))
        fit = alternate(rows, np.vstack([fixed, seeds]), shares[: len(fixed) + len(seeds)], settings)
        if best is None or fit.inertia < best.inertia:
            best = fit
        if (on_step is not None and on_step(best)) or not len(seeds):
            break
    return best  # type: ignore[return-value]  # n_init is at least 1


def alternate(rows: BalancedRows, centers: np.ndarray, shares: np.ndarray, settings: BalancedSettings) -> BalancedFit:
    """Assignment and means in turn, until the inertia no longer falls."""
    n_known, n_clusters = len(rows.anchors.weight), len(centers)
    labeled = np.append(rows.anchors.weight, np.zeros(n_clusters - n_known))
    n_free = float(rows.weight.sum())
    if not n_free:
        return BalancedFit(centers, np.empty(0, np.int64), np.zeros(n_clusters), rows.anchors.inertia(centers), 1)
    shares = np.append(shares[:n_known], _by_size(rows, centers, n_known, shares[n_known:]))
    free = target_sizes(labeled, round(labeled.sum() + n_free), shares) - labeled
    squares = float(rows.weight @ square_norms(rows.X))
    costs = center_scores(rows.X, centers)
    potentials = _first_potentials(costs, rows, free, settings.solver)
    best, n_iter, units = (np.inf, centers, np.empty(0, np.int64), costs), 0, rows.units
    for n_iter in range(1, settings.max_iter + 1):
        codes, potentials = assign_distinct(costs, units, free / rows.unit, potentials)
        inertia = squares + float(rows.weight @ costs[np.arange(len(codes)), codes]) + rows.anchors.inertia(centers)
        inertia = max(inertia, 0.0)
        if n_iter > 1 and not inertia < best[0] * (1 - settings.tol):
            break
        best = inertia, centers, codes, costs
        centers = _means(rows, centers, codes)
        costs = center_scores(rows.X, centers)
    inertia, centers, codes, costs = best
    return BalancedFit(centers, codes, clear_potentials(costs, codes), inertia, n_iter)


def _first_potentials(costs: np.ndarray, rows: BalancedRows, free: np.ndarray, solver: str) -> np.ndarray | None:
    n_clusters, n_units = costs.shape[1], rows.units.sum()
    many = n_clusters <= _MOST_CLUSTERS_FOR_SINKHORN and n_units >= _FEWEST_ROWS_FOR_SINKHORN * n_clusters
    if solver == "paths" or (solver == "auto" and not many):
        return None
    return annealed_potentials(np.repeat(costs, rows.units, axis=0), free / rows.unit)


def _by_size(rows: BalancedRows, centers: np.ndarray, n_known: int, shares: np.ndarray) -> np.ndarray:
    """Shares of the novel clusters, larger ones for the centers that more rows are nearest to."""
    if len(shares) == 0 or (shares == shares[0]).all():
        return shares
    (codes,) = nearest_centers(rows.X, (), (centers, None))
    order = np.argsort(-np.bincount(codes, rows.weight, len(centers))[n_known:], kind="stable")
    given = np.empty(len(shares))
    given[order] = np.sort(shares)[::-1]
    return given


def _means(rows: BalancedRows, centers: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Means of all rows of each cluster; a cluster without rows keeps its center."""
    sums = one_hot(codes.astype(np.int32), rows.weight, len(centers)).T @ rows.X
    sums = sums.toarray() if issparse(sums) else np.asarray(sums)
    weight = np.bincount(codes, rows.weight, len(centers))
    n_known = len(rows.anchors.weight)
    sums[:n_known] += rows.anchors.sums
    weight[:n_known] += rows.anchors.weight
    return np.where(weight[:, None] > 0, sums / np.where(weight > 0, weight, 1)[:, None], centers)


def cell_codes(block: Any, row_data: tuple, parameters: tuple[np.ndarray, np.ndarray | None, np.ndarray]) -> tuple:
    """(code,) of the center that is nearest to each row when centers are lifted above the rows by given heights.

    With heights :math:`\\sqrt{-v_k}` these are the rows of smallest squared distance less potential: cells of a power
    diagram.
    """
    centers, shift, heights = parameters
    Z, lifted = lift(shifted(block, shift), centers, heights)
    return nearest_centers(Z, (), (lifted, None))


def lift(Z: Any, centers: np.ndarray, heights: np.ndarray) -> tuple[Any, np.ndarray]:
    """Rows with a column of zeros, and centers with a column of heights."""
    if issparse(Z):
        Z = Z.copy()
        Z.resize(Z.shape[0], Z.shape[1] + 1)
    else:
        Z = np.hstack([Z, np.zeros((len(Z), 1), Z.dtype)])
    return Z, np.column_stack([centers, heights])


def balanced_codes(
    X: np.ndarray, n_clusters: int, random_state: np.random.RandomState, *, max_iter: int = 3
) -> np.ndarray:
    """Clusters whose sizes differ by at most one row, equal rows or not.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
    n_clusters : int
        At most `n_rows`. Above 16, rows are divided into groups, and each group into clusters.
    random_state : RandomState
    max_iter : int, default=3
        Assignments, with means between them.

    Returns
    -------
    codes : ndarray of shape (n_rows,)
    """
    n_rows = len(X)
    if n_clusters <= _MOST_AT_ONCE:
        return _codes_of_sizes(X, *_even(n_rows, n_clusters), random_state, max_iter)
    n_groups = min(-(-n_clusters // _MOST_AT_ONCE), _MOST_AT_ONCE)
    # Groups get clusters, and rows in proportion: as many rows as their clusters of one of two neighboring sizes take.
    parts = np.array_split(np.arange(n_clusters), n_groups)
    ends = np.round(np.cumsum([len(part) for part in parts]) * n_rows / n_clusters).astype(np.int64)
    n_wanted = np.diff(ends, prepend=0)
    groups = _codes_of_sizes(X, n_wanted, n_wanted, random_state, max_iter)
    codes = np.empty(n_rows, dtype=np.int64)
    for group, part in enumerate(parts):
        members = np.flatnonzero(groups == group)
        codes[members] = part[0] + balanced_codes(X[members], len(part), random_state, max_iter=max_iter)
    return codes


def _even(n_rows: int, n_clusters: int) -> tuple[np.ndarray, np.ndarray]:
    return np.full(n_clusters, n_rows // n_clusters), np.full(n_clusters, -(-n_rows // n_clusters))


def _codes_of_sizes(
    X: np.ndarray, lower: np.ndarray, upper: np.ndarray, random_state: np.random.RandomState, max_iter: int
) -> np.ndarray:
    X = X.astype(np.float64) - X.mean(axis=0, dtype=np.float64)
    weight, n_clusters = np.ones(len(X)), len(lower)
    centers = seed_centers(X, weight, X[:0], n_clusters, LloydSettings(n_trials=1), random_state)
    # Where distinct rows run out, further clusters stand on rows that others stand on.
    centers = np.vstack([centers, X[random_state.randint(len(X), size=n_clusters - len(centers))]])
    rows = BalancedRows(X, weight, no_anchors(X.shape[1]))
    costs = center_scores(X, centers)
    potentials = _first_potentials(costs, rows, (lower + upper) / 2 * len(X) / ((lower + upper) / 2).sum(), "auto")
    codes, potentials = assign_within(costs, lower, upper, potentials)
    for _ in range(max_iter - 1):
        centers = _means(rows, centers, codes)
        codes, potentials = assign_within(center_scores(X, centers), lower, upper, potentials)
    return codes
