"""When clusters, or an embedding, have collapsed while a network was trained."""

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


# Share of the mean square of an embedding that is variance, below which its rows are all alike.
_SMALLEST_SPREAD = 1e-4


def effective_rank(Z: np.ndarray) -> float:
    """Exponential of the entropy of the variances along the principal axes; 1 where hardly anything varies."""
    centered = Z - Z.mean(axis=0)
    variances = np.linalg.svd(centered, compute_uv=False) ** 2 / max(len(Z), 1)
    total = variances.sum()
    if not total > _SMALLEST_SPREAD * (Z**2).sum(axis=1).mean():
        return 1.0
    shares = variances[variances > 0] / total
    return float(np.exp(-(shares * np.log(shares)).sum()))


def spread(Z: np.ndarray) -> float:
    """Share of the mean square of an embedding that is variance."""
    total = (Z**2).sum(axis=1).mean()
    return float(Z.var(axis=0).sum() / total) if total > 0 else 0.0


def has_lost_spread(before: float, after: float) -> bool:
    """Whether rows that were told apart have come to lie all but in one place; groups of rows that do so have not."""
    return after < _SMALLEST_SPREAD <= before
