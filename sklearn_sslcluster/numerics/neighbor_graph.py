"""How well clusters keep neighbors together: a criterion that a collapsed solution cannot win."""

from __future__ import annotations

import numpy as np
from sklearn.neighbors import NearestNeighbors

_NEIGHBORS = 10


def nearest_neighbors(X: np.ndarray, n_neighbors: int = _NEIGHBORS) -> np.ndarray:
    """Numbers of the nearest other rows of each row; fewer columns where there are fewer rows."""
    n_neighbors = min(n_neighbors, len(X) - 1)
    if n_neighbors < 1:
        return np.zeros((len(X), 0), dtype=np.intp)
    return NearestNeighbors(n_neighbors=n_neighbors).fit(X).kneighbors(return_distance=False)


def modularity(neighbors: np.ndarray, codes: np.ndarray) -> float:
    """Share of the edges of a neighbor graph inside clusters, less what it would be by chance.

    0 for one cluster, below 1.

    Parameters
    ----------
    neighbors : ndarray of shape (n_rows, n_neighbors)
    codes : ndarray of shape (n_rows,)
    """
    if not neighbors.size:
        return 0.0
    inside = float((codes[neighbors] == codes[:, np.newaxis]).mean())
    n_codes = int(codes.max()) + 1
    out = np.bincount(codes, minlength=n_codes) / len(codes)
    into = np.bincount(codes[neighbors].ravel(), minlength=n_codes) / neighbors.size
    return inside - float(out @ into)


def nearest_references(references: np.ndarray, X: np.ndarray, n_neighbors: int) -> tuple[np.ndarray, np.ndarray]:
    """(distances, numbers) of the nearest reference rows of each row, seen from the middle of the references."""
    middle = references.mean(axis=0, dtype=np.float64).astype(X.dtype)
    finder = NearestNeighbors(n_neighbors=min(n_neighbors, len(references))).fit(references - middle)
    return finder.kneighbors(X - middle)
