"""One-to-one matchings of clusters with classes."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment


def match_clusters(contingency: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Match rows with columns one to one so that the sum of the matched cells is largest.

    Parameters
    ----------
    contingency : array-like of shape (n_classes, n_clusters)
        Number (or weight) of the rows that belong to a class and lie in a cluster.

    Returns
    -------
    rows, columns : ndarray of shape (min(n_classes, n_clusters),)
        Matched pairs, rows increasing. What is left over of the longer side is matched with nothing, as if the
        table had been padded with zeros to a square.

    References
    ----------
    Kuhn, H. W. (1955). "The Hungarian method for the assignment problem." Naval Research Logistics Quarterly 2.

    Examples
    --------
    >>> from sklearn_sslcluster.numerics import match_clusters
    >>> rows, columns = match_clusters([[1, 7, 2], [0, 8, 3]])
    >>> rows.tolist(), columns.tolist()
    ([0, 1], [1, 2])
    """
    return linear_sum_assignment(contingency, maximize=True)
