"""How many of the unlabeled rows look like labeled ones."""

from __future__ import annotations

import numpy as np
from sklearn.neighbors import NearestNeighbors

_NEIGHBORS = 15
# Thresholds that fewer labeled rows than this share reach say little.
_SMALLEST_TAIL = 0.3


def labeled_neighbor_share(X: np.ndarray, is_labeled: np.ndarray, n_neighbors: int = _NEIGHBORS) -> np.ndarray:
    """Share of the nearest other rows that have a label, of each row."""
    n_neighbors = min(n_neighbors, len(X) - 1)
    if n_neighbors < 1:
        return is_labeled.astype(np.float64)
    neighbors = NearestNeighbors(n_neighbors=n_neighbors).fit(X).kneighbors(return_distance=False)
    return is_labeled[neighbors].mean(axis=1)


def share_of_known(X: np.ndarray, is_labeled: np.ndarray) -> float:
    """Estimate of the share of the unlabeled rows that belong to classes of the labeled ones.

    Rows are ranked by the share of labeled rows among their neighbors. If a share `a` of the unlabeled rows is drawn
    from the known classes as the labeled rows are, at least `a` times as large a share of them lies above any threshold
    as of the labeled rows. The smallest such ratio is the estimate: an upper bound that is tight where some known rows
    lie apart from all novel ones (Blanchard, Lee and Scott, Journal of Machine Learning Research 11, 2010).

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
    is_labeled : ndarray of bool of shape (n_rows,)
    """
    if not is_labeled.any() or is_labeled.all():
        return 0.0
    share = labeled_neighbor_share(X, is_labeled)
    labeled, free = np.sort(share[is_labeled]), np.sort(share[~is_labeled])
    thresholds = np.unique(labeled)
    above = 1 - np.searchsorted(labeled, thresholds) / len(labeled)
    free_above = 1 - np.searchsorted(free, thresholds) / len(free)
    told = above >= _SMALLEST_TAIL
    return float(min((free_above[told] / above[told]).min(initial=1.0), 1.0))
