"""Bounds for tables too large for one relaxation: rows dealt into parts, and random sketches.

Centroids that are best for all rows are no better than the best centroids of each part, so that for every division into
parts the smallest inertias add up to no more than that of the whole, and so do lower bounds on them. Little is lost if
each part is a small picture of the whole (anticlustering): rows of each cluster are dealt out, and then swapped until
the means of the cluster in all parts agree.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from sklearn.cluster import KMeans

from ..engine import array_backend
from ._admm import AdmmSettings, admm_from_labels
from ._bounds import label_bound
from ._points import Points, make_points
from ._rounding import centroids, fill_empty, polish

_SWAP_ROUNDS = 8
_SWAPS_PER_PAIR = 3
_SKETCH_STARTS = 10


def deal(points: Points, codes: np.ndarray, n_parts: int, random_state: np.random.RandomState) -> np.ndarray:
    """Part of each point: parts of equal size in which every cluster has about the same mean and weight."""
    part = np.empty(points.n_points, dtype=np.intp)
    centers = centroids(points, codes)
    moments = points.q[:, None] * (points.A - points.q[:, None] * centers[codes])
    # Parts take turns, so that clusters that leave a remainder do not leave it to the same ones.
    turn = random_state.permutation(n_parts)
    for a in range(points.n_clusters):
        rows = np.flatnonzero(codes == a)
        distances = np.einsum("ij,ij->i", moments[rows], moments[rows]) / points.weight[rows]
        rows = rows[np.argsort(distances, kind="stable")]
        place = np.empty(len(rows), dtype=np.intp)
        for start in range(0, len(rows), n_parts):
            place[start : start + n_parts] = random_state.permutation(turn[: len(rows) - start])
        turn = np.roll(turn, -(len(rows) % n_parts))
        part[rows] = _swapped(moments[rows], place, n_parts, random_state)
    return part


def _swapped(moments: np.ndarray, place: np.ndarray, n_parts: int, random_state: np.random.RandomState) -> np.ndarray:
    """Swap members of pairs of parts while that brings the sums of both closer to each other."""
    if n_parts < 2:
        return place
    moments = moments - moments.mean(axis=0)
    squares = np.einsum("ij,ij->i", moments, moments)
    members = [np.flatnonzero(place == t) for t in range(n_parts)]
    sums = np.stack([moments[rows].sum(axis=0) for rows in members])
    for _ in range(_SWAP_ROUNDS):
        order = random_state.permutation(n_parts)
        for t, v in zip(order[::2], order[1::2], strict=False):
            for _ in range(_SWAPS_PER_PAIR):
                first, second = members[t], members[v]
                if not len(first) or not len(second):
                    break
                # Swapping i and j changes half the squared sums by |m_i - m_j|^2 - (m_i - m_j) (S_t - S_v).
                apart = sums[t] - sums[v]
                change = (squares[first] - moments[first] @ apart)[:, None] + (
                    squares[second] + moments[second] @ apart
                )
                change -= 2 * (moments[first] @ moments[second].T)
                i, j = np.unravel_index(int(np.argmin(change)), change.shape)
                if change[i, j] >= 0:
                    break
                moved = moments[first[i]] - moments[second[j]]
                sums[t] -= moved
                sums[v] += moved
                first[i], second[j] = second[j], first[i]
    out = np.empty(len(moments), dtype=np.intp)
    for t, rows in enumerate(members):
        out[rows] = t
    return out


@dataclass(frozen=True)
class Parts:
    """How a table is divided and how hard its parts are worked on.

    Attributes
    ----------
    size : int
        Points of a part.
    admm : AdmmSettings
    n_jobs : int or None
        For joblib.
    device : str or None
    """

    size: int
    admm: AdmmSettings
    n_jobs: int | None = None
    device: str | None = None


def division_bound(
    points: Points, codes: np.ndarray, parts: Parts, random_state: np.random.RandomState
) -> tuple[float, bool]:
    """Sum of the bounds of parts.

    With a deadline every part gets its share of the time; a part that has none left counts with the bound that labels
    imply.

    Returns
    -------
    bound : float
    complete : bool
        No part was cut short.
    """
    known = points.n_known
    n_parts = max(2, round((points.n_points - known) / max(parts.size - known, 1)))
    part = deal(points, codes, n_parts, random_state)
    part[:known] = -1
    jobs = []
    budgets = _deadlines(parts, n_parts)
    for t in range(n_parts):
        rows = np.concatenate([np.arange(known), np.flatnonzero(part == t)])
        weight = points.weight[rows]
        # Known classes are in every part, with their share of the weight.
        weight[:known] /= n_parts
        jobs.append((*points.subset(rows, weight), codes[rows]))
    results = Parallel(n_jobs=parts.n_jobs)(
        delayed(_part_bound)(part_points, part_codes, replace(parts, admm=admm))
        for (part_points, _, part_codes), admm in zip(jobs, budgets, strict=True)
    )
    bound = sum(unit * value for (_, unit, _), (value, _) in zip(jobs, results, strict=True))
    return float(bound), all(whole for _, whole in results)


def _deadlines(parts: Parts, n_parts: int) -> list[AdmmSettings]:
    """Settings of every part: what time there is, is shared out evenly."""
    last = parts.admm.deadline
    if last is None:
        return [parts.admm] * n_parts
    now, at_once = time.time(), effective_n_jobs(parts.n_jobs)
    ends = now + (last - now) * np.minimum((np.arange(n_parts) + at_once) / n_parts, 1)
    return [replace(parts.admm, deadline=float(end)) for end in ends]


def _part_bound(points: Points, codes: np.ndarray, parts: Parts) -> tuple[float, bool]:
    if points.is_trivial:
        return 0.0, True
    codes = polish(points, fill_empty(points, codes))
    late = parts.admm.deadline is not None and time.time() > parts.admm.deadline
    if late:
        return label_bound(points, codes).value, False
    relaxed = admm_from_labels(points, codes, parts.admm, array_backend(parts.device))
    return relaxed.bound, parts.admm.deadline is None or time.time() <= parts.admm.deadline


def sketch_bound(
    points: Points,
    inertia: float,
    n_sketches: int,
    confidence: float,
    parts: Parts,
    random_state: np.random.RandomState,
) -> float:
    """A bound that holds with probability `confidence`, from random samples of the points.

    The smallest inertia of a sample of s draws (with replacement, by weight) is at most s times that of all points per
    unit of weight, in the mean. Hoeffding's and Markov's inequalities, each at half the risk, turn the bounds of
    several samples into one of the mean.
    """
    share, total = points.weight / points.weight.sum(), points.weight.sum()
    seeds = random_state.randint(np.iinfo(np.int32).max, size=n_sketches)
    found = Parallel(n_jobs=parts.n_jobs)(delayed(_sketch_value)(points, share, parts, seed) for seed in seeds)
    values = np.array(found) * total
    risk = (1 - confidence) / 2
    hoeffding = np.minimum(values, inertia).mean() - inertia * np.sqrt(np.log(1 / risk) / (2 * n_sketches))
    markov = risk ** (1 / n_sketches) * values.min()
    return float(max(hoeffding, markov, 0.0))


def _sketch_value(points: Points, share: np.ndarray, parts: Parts, seed: int) -> float:
    """Bound on the smallest inertia of a random sample, per draw."""
    rng = np.random.RandomState(seed)
    rows, counts = np.unique(rng.choice(len(share), size=parts.size, p=share), return_counts=True)
    sample, unit, _ = make_points(points.rows[rows], counts.astype(np.float64), points.n_clusters, 0)
    if sample.is_trivial:
        return 0.0
    model = KMeans(points.n_clusters, n_init=_SKETCH_STARTS, random_state=rng)
    codes = model.fit(sample.rows, sample_weight=sample.weight).labels_
    return unit * _part_bound(sample, codes, parts)[0] / parts.size
