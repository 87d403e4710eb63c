"""View generators and batch samplers that parameters ``views`` and ``sampler`` stand for."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import neural
from ..labels import warn_user
from ..numerics import balanced_codes

VIEWS = ("corruption", "correlated-mask", "subset")


def make_views(
    views: Any,
    corruption_rate: float,
    both: bool,
    scale: dict[str, np.ndarray],
    information: np.ndarray | None = None,
) -> Any:
    """View generator for a parameter ``views``.

    Parameters
    ----------
    views : {"corruption", "correlated-mask", "subset"} or callable
    corruption_rate : float
    both : bool
        Whether "corruption" leaves no view as it is.
    scale : dict
        ``mean_`` and ``scale_``, by which rows are standardized.
    information : ndarray of shape (n_features, n_features), default=None
        Mutual information of the columns for "correlated-mask"; None to measure it.
    """
    n_features = len(scale["mean_"])
    if not callable(views) and n_features < (3 if views == "subset" else 2):
        warn_user(f"views={views!r} of a table with {n_features} columns tell nothing of its rows; views of your own?")
    if callable(views):
        return neural.OwnViews(views, scale["mean_"], scale["scale_"])
    if views == "correlated-mask":
        return neural.CorrelatedMask(information)
    return neural.Subsets() if views == "subset" else neural.Corruption(corruption_rate, both)


def make_sampler(sampler: str, batch_size: int, pretrained: bool, seed: int) -> Any:
    """Batch sampler for a parameter ``sampler``; an embedding that was not trained is no place to look for clusters."""
    if sampler == "random":
        return neural.RandomBatches()

    def find_clusters(values: np.ndarray, n_clusters: int) -> np.ndarray:
        return balanced_codes(values, n_clusters, np.random.RandomState(seed))

    return neural.OnePerCluster(find_clusters, batch_size, "embedding" if pretrained else "rows")
