"""From a solution of the relaxation to clusters."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans

from ..engine import RowBlocks
from ..numerics import Anchors, Frame, LloydSettings, lloyd, nearest_centers, no_anchors
from ._points import Points

_N_INIT = 5


def partition_inertia(points: Points, codes: np.ndarray) -> float:
    """Inertia of a partition."""
    difference = points.A - points.q[:, None] * centroids(points, codes)[codes]
    return float(np.einsum("ij,ij->", difference, difference))


def centroids(points: Points, codes: np.ndarray) -> np.ndarray:
    """Weighted means of the clusters; an empty one is at the origin."""
    k = points.n_clusters
    sizes = np.bincount(codes, points.weight, k)
    sums = np.stack([np.bincount(codes, points.q * column, k) for column in points.A.T], axis=1)
    return sums / np.where(sizes > 0, sizes, 1)[:, None]


def spectral_codes(points: Points, factor: np.ndarray, random_state: np.random.RandomState) -> np.ndarray:
    """K-means on the leading eigenvectors of `Y`, which are constant on clusters where the relaxation is tight."""
    values, vectors = np.linalg.eigh(factor.T @ factor)
    kept = values[::-1][: points.n_clusters]
    kept = np.maximum(kept, np.finfo(np.float64).eps * max(kept[0], 1.0))
    leading = factor @ (vectors[:, ::-1][:, : points.n_clusters] / np.sqrt(kept))
    return _group(points, leading / points.q[:, None], random_state)


def denoised_codes(points: Points, factor: np.ndarray, random_state: np.random.RandomState) -> np.ndarray:
    """K-means on the rows of `Z X`: every point replaced by the mean of those it is put together with."""
    return _group(points, (factor @ (factor.T @ points.A)) / points.q[:, None], random_state)


def _group(points: Points, rows: np.ndarray, random_state: np.random.RandomState) -> np.ndarray:
    model = KMeans(points.n_clusters, n_init=_N_INIT, random_state=random_state)
    codes = model.fit(rows - rows.mean(axis=0), sample_weight=points.weight).labels_
    return seat_known(points, fill_empty(points, codes))


def seat_known(points: Points, codes: np.ndarray) -> np.ndarray:
    """The same clusters, numbered such that known class `a` is in cluster `a`, and moved there where it was not."""
    known = points.n_known
    if not known:
        return codes
    centers = centroids(points, codes)
    _, cluster = linear_sum_assignment(cdist(points.rows[:known], centers, "sqeuclidean"))
    rest = np.setdiff1d(np.arange(points.n_clusters), cluster)
    number = np.empty(points.n_clusters, dtype=np.int32)
    number[np.concatenate([cluster, rest])] = np.arange(points.n_clusters)
    codes = number[codes]
    codes[:known] = np.arange(known)
    return fill_empty(points, codes)


def fill_empty(points: Points, codes: np.ndarray) -> np.ndarray:
    """Give an empty cluster the point that lies farthest from its centroid, which lowers the inertia."""
    codes = codes.astype(np.int32)
    counts = np.bincount(codes, minlength=points.n_clusters)
    for empty in np.flatnonzero(counts == 0):
        difference = points.A - points.q[:, None] * centroids(points, codes)[codes]
        distances = np.einsum("ij,ij->i", difference, difference)
        distances[: points.n_known] = -1
        distances[counts[codes] < 2] = -1
        farthest = int(np.argmax(distances))
        counts[codes[farthest]] -= 1
        codes[farthest], counts[empty] = empty, 1
    return codes


def polish(points: Points, codes: np.ndarray) -> np.ndarray:
    """Lloyd's iterations from a partition until nothing moves, known classes clamped."""
    known, weight = points.n_known, points.weight
    rows = np.ascontiguousarray(points.rows)
    given = None
    anchors = no_anchors(rows.shape[1])
    if known:
        given = np.full(points.n_points, -1, dtype=np.int32)
        given[:known] = np.arange(known)
        anchors = Anchors(rows[:known] * weight[:known, None], weight[:known], 0.0)
    source = RowBlocks(rows, (given, weight))
    frame = Frame(None, float(weight[known:].sum()), points.total / points.n_points)
    centers, _ = lloyd(source, centroids(points, codes), anchors, frame, LloydSettings(tol=0.0))
    moved = source.map(nearest_centers, (centers, None))[0]
    moved[:known] = np.arange(known)
    moved = fill_empty(points, moved)
    return moved if partition_inertia(points, moved) <= partition_inertia(points, codes) else codes
