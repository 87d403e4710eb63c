"""Planted blobs, tables as points, and k-means by enumeration for the tests of semidefinite clustering."""

from functools import lru_cache

import numpy as np

from sklearn_sslcluster.engine import RowBlocks
from sklearn_sslcluster.numerics import pose_problem
from sklearn_sslcluster.sdp._points import make_points, merge_rows


def blobs(n_samples, separation, n_clusters=4, n_features=10, seed=1):
    """(rows, codes): Gaussian blobs of variance 1 around centers that are all `separation` apart."""
    codes = np.arange(n_samples) % n_clusters
    centers = np.eye(n_clusters, n_features) * separation / np.sqrt(2)
    return centers[codes] + np.random.default_rng(seed).standard_normal((n_samples, n_features)), codes


def merged_table(X, n_clusters, codes=None, sample_weight=None):
    source = RowBlocks(X, (codes, sample_weight), n_threads=1)
    n_known = 0 if codes is None else int(codes.max()) + 1
    return merge_rows(pose_problem(source, n_known, np.random.RandomState(0), center=True), n_clusters)


def codes_of_points(merged, codes):
    """Clusters of points from those of rows."""
    out = np.full(merged.points.n_points, -1)
    counted = merged.point_of >= 0
    out[merged.point_of[counted]] = codes[counted]
    return out


@lru_cache
def partitions(n_points, n_clusters):
    """All partitions with no empty cluster, one code a point, of shape (n_partitions, n_points)."""
    codes = np.zeros((1, 1), dtype=int)
    for _ in range(1, n_points):
        used = codes.max(axis=1) + 1
        codes = np.vstack(
            [np.column_stack([codes[used >= a], np.full((used >= a).sum(), a)]) for a in range(n_clusters)]
        )
    return codes[codes.max(axis=1) == n_clusters - 1]


def inertias(points):
    """Inertia of each of the partitions, in extended precision where the machine has it."""
    rows = points.A.astype(np.longdouble) / points.q.astype(np.longdouble)[:, None]
    return inertias_of_rows(rows, points.weight, partitions(points.n_points, points.n_clusters))


def inertias_of_rows(rows, weight, codes):
    """Inertia of each of the partitions `codes` of weighted rows, in extended precision."""
    n, k = len(rows), int(codes.max()) + 1
    rows = rows.astype(np.longdouble)
    inside = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
    weight = inside * weight.astype(np.longdouble)
    means = weight @ rows / np.maximum(weight.sum(axis=1), 1e-300)[:, None]
    of_subset = (weight * ((rows - means[:, None]) ** 2).sum(axis=2)).sum(axis=1)
    return sum(of_subset[(codes == a) @ 2 ** np.arange(n)] for a in range(k))


def allowed(points):
    """Mask of the partitions that keep the known classes apart."""
    codes = partitions(points.n_points, points.n_clusters)
    known = np.sort(codes[:, : points.n_known], axis=1)
    return (np.diff(known, axis=1) > 0).all(axis=1)


def small_points(seed):
    """Random points few enough to enumerate their partitions: in turn plain, weighted, repeated, known, in blobs."""
    rng = np.random.default_rng(seed)
    kind = seed % 5
    k = int(rng.integers(2, 5))
    n = int(rng.integers(k + 1, 10))
    rows = rng.standard_normal((n, rng.integers(1, 4)))
    weight, n_known = np.ones(n), 0
    if kind in (1, 3):
        weight = rng.uniform(0.2, 5, n)
    if kind == 2:
        rows = rng.integers(0, 3, size=rows.shape).astype(float)
        rows[0] += 1
    if kind == 3:
        n_known = int(rng.integers(2, k + 1))
    if kind == 4:
        rows += rng.standard_normal((k, rows.shape[1]))[np.arange(n) % k] * 5
    return make_points(rows, weight, k, n_known)[0]


def best_inertia(X, n_clusters, y=None, sample_weight=None):
    """Smallest inertia of all partitions of the rows that keep each class of `y` (-1: none) together and apart."""
    n = len(X)
    weight = np.ones(n) if sample_weight is None else sample_weight
    codes = partitions(n, n_clusters)
    values = inertias_of_rows(X - X.mean(axis=0), weight, codes)
    if y is not None:
        labeled = np.flatnonzero(np.asarray(y) != -1)
        same = codes[:, labeled, None] == codes[:, None, labeled]
        wanted = np.asarray(y)[labeled, None] == np.asarray(y)[labeled]
        values = values[(same == wanted).all(axis=(1, 2))]
    return float(values.min())


def inertia_of(X, labels, sample_weight=None):
    """Weighted sum of squared distances to the means of the classes."""
    weight = np.ones(len(X)) if sample_weight is None else sample_weight
    total = 0.0
    for name in np.unique(labels):
        own = labels == name
        if weight[own].sum() > 0:
            total += weight[own] @ ((X[own] - np.average(X[own], axis=0, weights=weight[own])) ** 2).sum(axis=1)
    return total
