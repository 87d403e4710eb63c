"""When clusters have collapsed while a network was trained."""

from __future__ import annotations

import numpy as np

# Share of the rows of the smallest cluster at first that the smallest one keeps, at least.
SMALLEST_SHARE = 0.1


def has_collapsed(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether the smallest of the clusters that had rows before has all but lost them.

    The rule by which ``Phase.smallest_share`` ends a phase, for its start and its end.

    Parameters
    ----------
    before, after : ndarray of shape (n_clusters,)
        Sizes of the clusters.
    """
    seen = before > 0
    return bool(after[seen].min() < SMALLEST_SHARE * before[seen].min())
