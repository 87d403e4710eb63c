"""The number of clusters: criteria, and the sweep over candidates."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import issparse
from sklearn.cluster import KMeans
from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score
from sklearn.metrics.cluster import contingency_matrix
from sklearn.metrics.pairwise import euclidean_distances

CRITERIA = ("silhouette", "calinski_harabasz", "davies_bouldin", "elbow", "labeled_accuracy")

Criterion = Callable[[Any, np.ndarray], float]


def silhouette(distances: np.ndarray, codes: np.ndarray) -> float:
    """Mean silhouette width from a matrix of distances; 0 for a single cluster, and for rows alone in theirs.

    The same value as ``sklearn.metrics.silhouette_score(metric="precomputed")``, as one matrix product, for sweeps
    that score many clusterings of the same rows.
    """
    names, codes = np.unique(codes, return_inverse=True)
    if len(names) < 2:
        return 0.0
    rows = np.arange(len(codes))
    member = np.zeros((len(codes), len(names)), dtype=distances.dtype)
    member[rows, codes] = 1
    sizes = member.sum(axis=0)
    totals = distances @ member
    own_size = sizes[codes]
    own = totals[rows, codes] / np.maximum(own_size - 1, 1)
    others = totals / sizes
    others[rows, codes] = np.inf
    nearest = others.min(axis=1)
    largest = np.maximum(own, nearest)
    width = np.where((own_size > 1) & (largest > 0), (nearest - own) / np.where(largest > 0, largest, 1), 0.0)
    return float(width.mean())


def pairwise_distances(X: Any) -> np.ndarray:
    """Euclidean distances of all pairs in units of their largest, float32 (their use is a mean over many)."""
    X = X if issparse(X) else X - X.mean(axis=0, dtype=np.float64)
    distances = euclidean_distances(X)
    largest = distances.max(initial=0.0)
    return (distances / largest if largest > 0 else distances).astype(np.float32)


def inertia(X: np.ndarray, codes: np.ndarray) -> float:
    """Sum of squared distances to the means of the clusters."""
    total = 0.0
    for code in np.unique(codes):
        rows = X[codes == code]
        total += float(((rows - rows.mean(axis=0)) ** 2).sum())
    return total


def labeled_accuracy(known_codes: np.ndarray, codes: np.ndarray) -> float:
    """Share of labeled rows on which the clusters agree with the labels, under the best matching of the two."""
    labeled = known_codes >= 0
    table = contingency_matrix(known_codes[labeled], codes[labeled])
    rows, columns = linear_sum_assignment(table, maximize=True)
    return float(table[rows, columns].sum() / labeled.sum())


def elbow(ks: np.ndarray, values: np.ndarray) -> np.ndarray:
    """How far a falling curve lies below the chord between its ends, both axes scaled to one ("kneedle")."""
    if len(ks) < 3 or values[0] == values[-1]:
        return np.zeros(len(ks))
    x = (ks - ks[0]) / (ks[-1] - ks[0])
    y = (values - values[-1]) / (values[0] - values[-1])
    return 1 - x - y


def select_k(
    cluster: Callable[[int], np.ndarray | None],
    X: Any,
    ks: Iterable[int],
    criterion: str | Criterion = "silhouette",
    known_codes: np.ndarray | None = None,
) -> tuple[int, dict[int, float]]:
    """Score clusterings with different numbers of clusters and pick the best, the smaller one on a tie.

    Parameters
    ----------
    cluster : callable
        ``cluster(k)`` returns the codes of the rows of `X` in `k` clusters, or None when there are not so many.
    X : array of shape (n_rows, n_features)
        The rows that are scored.
    ks : iterable of int
        Candidates, increasing; the sweep ends at the first for which `cluster` returns None.
    criterion : str or callable
        One of ``CRITERIA``, or ``criterion(X, codes)``, larger is better and NaN the worst.
    known_codes : ndarray of shape (n_rows,), default=None
        Codes of the labeled rows among `X`, for ``"labeled_accuracy"``.

    Returns
    -------
    k : int
    scores : dict of int to float
        Larger is better for every criterion (Davies-Bouldin is negated; the elbow is its distance from the chord).
    """
    tried: list[int] = []
    values: list[float] = []
    score = _scorer(criterion, X, known_codes)
    for k in ks:
        codes = cluster(k)
        if codes is None:
            break
        tried.append(k)
        values.append(score(codes))
    if not tried:
        raise ValueError("No candidate for the number of clusters could be scored: there are too few distinct rows.")
    curve = elbow(np.array(tried), np.array(values)) if criterion == "elbow" else np.array(values)
    scores = {k: float(value) for k, value in zip(tried, curve, strict=True)}
    if np.isnan(curve).all():
        raise ValueError(f"criterion returned NaN for every number of clusters tried, {tried[0]} to {tried[-1]}.")
    return tried[int(np.nanargmax(curve))], scores


def _scorer(criterion: str | Criterion, X: Any, known_codes: np.ndarray | None) -> Callable[[np.ndarray], float]:
    if callable(criterion):
        return lambda codes: float(criterion(X, codes))
    if criterion == "silhouette":
        distances = pairwise_distances(X)
        return lambda codes: silhouette(distances, codes)
    if criterion == "elbow":
        return lambda codes: inertia(X, codes)
    if criterion == "labeled_accuracy" and known_codes is not None:
        return lambda codes: labeled_accuracy(known_codes, codes)
    if criterion == "calinski_harabasz":
        return lambda codes: _defined(calinski_harabasz_score, X, codes, 0.0)
    if criterion == "davies_bouldin":
        return lambda codes: -_defined(davies_bouldin_score, X, codes, np.inf)
    raise ValueError(f"criterion must be one of {CRITERIA} or a callable, got {criterion!r}.")


def _defined(metric: Callable, X: Any, codes: np.ndarray, otherwise: float) -> float:
    """Value of an index that needs at least two clusters and fewer clusters than rows."""
    return float(metric(X, codes)) if 1 < len(np.unique(codes)) < len(codes) else otherwise


def is_one_cluster(X: np.ndarray, random_state: np.random.RandomState, n_references: int = 3) -> bool:
    """Whether k-means splits `X` no better than it splits data without clusters.

    The best mean silhouette over 2 to 6 clusters is compared with that of normal data of the same mean and covariance,
    and of uniform data in a box along the same principal axes; `X` has clusters if it exceeds all of them by a tenth.
    The index itself is undefined for one cluster.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
        At most a few hundred rows.
    random_state : RandomState
    n_references : int, default=3
        Data sets drawn of each kind.
    """
    n_rows = X.shape[0]
    if n_rows < 4:
        return True
    centered = X - X.mean(axis=0)
    axes = np.linalg.svd(centered, full_matrices=False)[2]
    scores = centered @ axes.T
    largest = 0.0
    for _ in range(n_references):
        normal = random_state.normal(size=scores.shape) * scores.std(axis=0)
        uniform = random_state.uniform(scores.min(axis=0), scores.max(axis=0), size=scores.shape)
        largest = max(largest, _best_silhouette(normal, random_state), _best_silhouette(uniform, random_state))
    return _best_silhouette(scores, random_state) <= 1.1 * largest


def _best_silhouette(X: np.ndarray, random_state: np.random.RandomState) -> float:
    distances = pairwise_distances(X)
    ks = range(2, min(6, X.shape[0] - 1) + 1)
    fits = (KMeans(k, n_init=3, random_state=random_state).fit(X) for k in ks)
    return max(silhouette(distances, fit.labels_) for fit in fits)
