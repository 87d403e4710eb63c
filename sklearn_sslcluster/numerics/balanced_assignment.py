"""Assignment of rows to clusters of given sizes at the least total cost, and the potentials that explain it.

The rows go one by one along shortest paths from clusters that hold too many rows to clusters that hold too few. The
graph has one node a cluster, not one a row: the length of the arc from a to b is what it costs to move the row of a
that moves most cheaply. An assignment is the cheapest of all with its sizes exactly if this graph has no negative
cycle, which is to say if there are potentials v with which every row lies in the cluster of smallest cost less
potential. Shortest paths keep that true, so that the end is exact wherever they began.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

# Share of the mean arc by which potentials keep their distance from the rows where no cycle of arcs gives a measure.
_MARGIN_SHARE = 1e-3

# Potentials of costs that have changed much are too large more often than they are useless.
_SHARES_OF_POTENTIALS = (1.0, 0.75, 0.5, 0.25)


class Assignment(NamedTuple):
    """Rows in clusters.

    Attributes
    ----------
    codes : ndarray of shape (n_rows,)
    potentials : ndarray of shape (n_clusters,)
        Every row is in a cluster of smallest cost less potential, up to rounding.
    """

    codes: np.ndarray
    potentials: np.ndarray


@dataclass(frozen=True)
class Arc:
    """Arcs of the graph of clusters; the last node stands for the outside, which evens out sizes between limits.

    Attributes
    ----------
    length : ndarray of shape (n_clusters + 1, n_clusters + 1)
        Least cost of moving a row from one cluster to another; inf where there is none.
    mover : ndarray of shape (n_clusters + 1, n_clusters + 1)
        The row that moves.
    """

    length: np.ndarray
    mover: np.ndarray


def assign_within(
    costs: np.ndarray, lower: np.ndarray, upper: np.ndarray, potentials: np.ndarray | None = None
) -> Assignment:
    """Cheapest assignment in which each cluster holds between `lower` and `upper` rows.

    Parameters
    ----------
    costs : ndarray of shape (n_rows, n_clusters)
    lower, upper : ndarray of shape (n_clusters,)
        Integers whose sums enclose the number of rows.
    potentials : ndarray of shape (n_clusters,), default=None
        Where to begin, those of similar costs for example, if that means that fewer rows have to move. The end is the
        same.
    """
    n_rows, n_clusters = costs.shape
    v = np.zeros(n_clusters + 1)
    codes = costs.argmin(axis=1)
    sizes = np.bincount(codes, minlength=n_clusters)
    if potentials is not None:
        for share in _SHARES_OF_POTENTIALS:
            other_codes = (costs - share * potentials).argmin(axis=1)
            other_sizes = np.bincount(other_codes, minlength=n_clusters)
            if np.maximum(other_sizes - upper, 0).sum() < np.maximum(sizes - upper, 0).sum():
                codes, sizes = other_codes, other_sizes
                v[:-1] = share * potentials
                v[-1] = _outside_potential(v[:-1], n_rows - int(lower.sum()))
    # Clusters dearer to the outside than to the rows are at a limit, as complementary slackness asks.
    settled = np.where(v[:-1] < v[-1], upper, np.where(v[:-1] > v[-1], lower, np.clip(sizes, lower, upper)))
    surplus = np.append(sizes - settled, settled.sum() - n_rows)
    arcs = _arcs(costs, codes, n_clusters)
    _open_outside(arcs, settled, lower, upper, range(n_clusters))
    while (surplus > 0).any():
        source = int(surplus.argmax())
        path, v = _shortest_path(arcs.length, v, source, surplus < 0)
        for start, end in pairwise(path):
            if n_clusters in (start, end):
                settled[min(start, end)] += 1 if end == n_clusters else -1
            else:
                _move(costs, codes, arcs, start, end)
        _open_outside(arcs, settled, lower, upper, [node for node in path if node < n_clusters])
        surplus[source] -= 1
        surplus[path[-1]] += 1
    return Assignment(codes, v[:-1].copy())


def _outside_potential(v: np.ndarray, n_upper: int) -> float:
    """Potential of the outside with which `n_upper` clusters, those that want rows most, are at their upper limit."""
    ordered = np.sort(v)
    if not 0 < n_upper < len(v):
        return float(ordered[0] if n_upper <= 0 else ordered[-1])
    return float((ordered[n_upper - 1] + ordered[n_upper]) / 2)


def _arcs(costs: np.ndarray, codes: np.ndarray, n_clusters: int) -> Arc:
    arcs = Arc(np.full((n_clusters + 1, n_clusters + 1), np.inf), np.full((n_clusters + 1, n_clusters + 1), -1))
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(n_clusters + 1))
    for cluster in range(n_clusters):
        _measure(costs, arcs, cluster, order[bounds[cluster] : bounds[cluster + 1]], np.arange(n_clusters))
    return arcs


def _measure(costs: np.ndarray, arcs: Arc, cluster: int, members: np.ndarray, ends: np.ndarray) -> None:
    """Arcs out of a cluster towards some others."""
    if not len(members):
        arcs.length[cluster, ends], arcs.mover[cluster, ends] = np.inf, -1
        return
    added = costs[members[:, None], ends] - costs[members, cluster][:, None]
    best = added.argmin(axis=0)
    arcs.length[cluster, ends] = added[best, np.arange(len(ends))]
    arcs.mover[cluster, ends] = members[best]
    arcs.length[cluster, cluster] = np.inf


def _open_outside(arcs: Arc, settled: np.ndarray, lower: np.ndarray, upper: np.ndarray, clusters: range | list) -> None:
    """Arcs to and from the outside: a cluster below its upper limit may keep a row more, one above its lower less."""
    for cluster in clusters:
        arcs.length[cluster, -1] = 0.0 if settled[cluster] < upper[cluster] else np.inf
        arcs.length[-1, cluster] = 0.0 if settled[cluster] > lower[cluster] else np.inf


def _shortest_path(length: np.ndarray, v: np.ndarray, source: int, wanting: np.ndarray) -> tuple[list[int], np.ndarray]:
    """(nodes of the shortest path from `source` to a node that wants rows, potentials after it), by Dijkstra's method.

    With the potentials added no arc is negative, and none is after it.
    """
    n_nodes = len(v)
    distance = np.full(n_nodes, np.inf)
    open_distance = distance.copy()
    before = np.full(n_nodes, -1)
    distance[source] = open_distance[source] = 0.0
    while True:
        node = int(open_distance.argmin())
        if wanting[node]:
            break
        reach = distance[node]
        open_distance[node] = np.inf
        through = np.maximum(length[node] + (v[node] - v), 0.0) + reach
        better = (through < distance).nonzero()[0]
        distance[better] = open_distance[better] = through[better]
        before[better] = node
    path = [node]
    while path[-1] != source:
        path.append(int(before[path[-1]]))
    return path[::-1], v + np.minimum(distance, distance[node])


def _move(costs: np.ndarray, codes: np.ndarray, arcs: Arc, start: int, end: int) -> None:
    """Move the cheapest row along an arc, and measure again the arcs that this changes."""
    row = arcs.mover[start, end]
    codes[row] = end
    lost = (arcs.mover[start] == row).nonzero()[0]
    _measure(costs, arcs, start, (codes == start).nonzero()[0], lost)
    added = costs[row] - costs[row, end]
    shorter = (added < arcs.length[end, :-1]).nonzero()[0]
    arcs.length[end, shorter] = added[shorter]
    arcs.mover[end, shorter] = row
    arcs.length[end, end] = np.inf


def clear_potentials(costs: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Potentials, none above 0, with which every row lies in its cluster by a margin where that is possible.

    The largest margin that all pairs of clusters allow is the smallest mean length of a cycle of arcs (Karp's theorem);
    half of it is kept, and the potentials are as near to 0 as it lets them be. So they are 0 where rows that lie in the
    nearest cluster, by this margin, are all there is.

    Parameters
    ----------
    costs : ndarray of shape (n_rows, n_clusters)
    codes : ndarray of shape (n_rows,)
        Of smallest cost among all with the same sizes.
    """
    n_clusters = costs.shape[1]
    length = _arcs(costs, codes, n_clusters).length[:-1, :-1]
    finite = np.isfinite(length)
    if not finite.any():
        return np.zeros(n_clusters)
    cycle = _smallest_cycle_mean(length)
    margin = max(cycle, 0.0) / 2 if np.isfinite(cycle) else _MARGIN_SHARE * float(np.abs(length[finite]).mean())
    v = np.zeros(n_clusters)
    for _ in range(n_clusters):
        lowered = np.minimum(v, (v[:, None] + length - margin).min(axis=0))
        if np.array_equal(lowered, v):
            break
        v = lowered
    return v


def _smallest_cycle_mean(length: np.ndarray) -> float:
    """Smallest mean length of the arcs of a cycle, by Karp's formula; inf where there is no cycle."""
    n_nodes = len(length)
    walks = np.zeros((n_nodes + 1, n_nodes))
    for n_arcs in range(1, n_nodes + 1):
        walks[n_arcs] = (walks[n_arcs - 1][:, None] + length).min(axis=0)
    ended = np.isfinite(walks[-1])
    if not ended.any():
        return np.inf
    n_left = np.arange(n_nodes, 0, -1)[:, None]
    with np.errstate(invalid="ignore"):
        means = (walks[-1] - walks[:-1]) / n_left
    return float(np.nanmax(np.where(np.isfinite(walks[:-1]), means, -np.inf)[:, ended], axis=0).min())
