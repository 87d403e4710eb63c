"""Clusterings that come out again when half of the rows are left out: a silhouette that is not fooled by a flat top."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from .model_order import pairwise_distances, silhouette

_N_SPLITS, _N_INIT = 5, 3


def half_agreement(X: np.ndarray, n_clusters: int, random_state: np.random.RandomState) -> float:
    """How far two halves of the rows are clustered alike, by k-means of each, applied to all rows.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
    n_clusters : int
    random_state : RandomState
        Draws the halves and the starts.

    Returns
    -------
    agreement : float
        Mean adjusted Rand index of several pairs of halves: 1 for the same clusters, 0 for what chance gives, and at
        least 0. 0 if a half has not so many rows.
    """
    if n_clusters > len(X) // 2:
        return 0.0
    values = []
    for _ in range(_N_SPLITS):
        halves = np.array_split(random_state.permutation(len(X)), 2)
        first, second = (
            KMeans(n_clusters, n_init=_N_INIT, random_state=random_state).fit(X[half]).predict(X) for half in halves
        )
        values.append(adjusted_rand_score(first, second))
    return max(float(np.mean(values)), 0.0)


class StableSilhouette:
    """Mean silhouette width times `half_agreement`: a criterion for `select_k`.

    In an embedding of classes that have parts of their own, the silhouette hardly falls when the parts are told apart,
    and its maximum is a matter of chance. Such clusters change with the rows.
    """

    def __init__(self) -> None:
        self.distances: np.ndarray | None = None

    def __call__(self, X: Any, codes: np.ndarray) -> float:
        if self.distances is None:
            self.distances = pairwise_distances(X)
        width = silhouette(self.distances, codes)
        if width <= 0:
            return width
        return width * half_agreement(X, len(np.unique(codes)), np.random.RandomState(0))
