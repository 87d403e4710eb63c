"""A score without labels that can be compared between numbers of classes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..engine import blocks_of
from ..numerics import distinct_rows, pairwise_distances, silhouette

_SCORE_ROWS = 5000


def mean_silhouette(X: Any, codes: np.ndarray) -> float:
    """Mean silhouette width of the classes `codes` of the rows of `X`, on at most 5,000 fixed distinct rows."""
    rows = distinct_rows(
        blocks_of(X, (None, None)), (None, None), max_rows=_SCORE_ROWS, random_state=np.random.RandomState(0)
    )
    return silhouette(pairwise_distances(rows.X), codes[rows.rows])
