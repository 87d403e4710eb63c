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


def agree(partitions: list[np.ndarray], weights: np.ndarray, n_known: int, n_classes: int) -> list[np.ndarray]:
    """Translate the cluster codes of several partitions of the same rows into common ones, for a vote.

    Codes below `n_known` mean the same everywhere. The others are matched one to one with those of a reference so that
    most rows agree: first with the partition of the largest weight, then twice with what all of them vote for.

    Parameters
    ----------
    partitions : list of ndarray of shape (n_rows,)
        Codes below `n_classes`.
    weights : ndarray of shape (n_partitions,)
        Votes of each.
    n_known, n_classes : int

    Returns
    -------
    translations : list of ndarray of shape (n_classes,)
        Common code of each code of a partition.
    """
    voted = partitions[int(np.argmax(weights))]
    for _ in range(3):
        votes = np.zeros((len(voted), n_classes))
        translations = []
        for codes, weight in zip(partitions, weights, strict=True):
            table = np.zeros((n_classes, n_classes))
            np.add.at(table, (codes, voted), 1)
            translation = np.arange(n_classes)
            rows, columns = match_clusters(table[n_known:, n_known:])
            translation[n_known + rows] = n_known + columns
            translations.append(translation)
            votes[np.arange(len(voted)), translation[codes]] += weight
        voted = votes.argmax(axis=1)
    return translations
