"""Quantiles of distances by class, for leaving far rows unassigned."""

from __future__ import annotations

import numpy as np

PERCENTILES = np.linspace(0, 1, 101)


def quantiles_by_class(distances: np.ndarray, codes: np.ndarray, weight: np.ndarray, n_classes: int) -> np.ndarray:
    """Weighted percentiles of the distances of each class; infinite for a class without rows."""
    out = np.full((n_classes, len(PERCENTILES)), np.inf)
    for code in np.unique(codes):
        # The inverse of the empirical distribution does not change when all rows are repeated.
        own = codes == code
        out[code] = np.quantile(distances[own], PERCENTILES, weights=weight[own], method="inverted_cdf")
    return out


def beyond_quantile(distances: np.ndarray, codes: np.ndarray, quantiles: np.ndarray, level: float) -> np.ndarray:
    """Whether each row lies farther than this quantile of its class."""
    limits = np.array([np.interp(level, PERCENTILES, row) for row in quantiles])
    return distances > limits[codes] * (1 + 1e-9)
