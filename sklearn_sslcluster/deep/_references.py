"""What estimators share whose classes are told by probabilities, and whose far rows by reference rows."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist

MOST_REFERENCES = 2000


def evenly_spread(n_rows: int, most: int = MOST_REFERENCES) -> np.ndarray:
    """At most so many row numbers, evenly spread."""
    return np.unique(np.linspace(0, n_rows - 1, min(n_rows, most)).astype(np.intp))


def nearest_distances(Z: np.ndarray, references: np.ndarray, own: np.ndarray | None = None) -> np.ndarray:
    """Distance of each row to the nearest reference row; `own` are the rows that are references, of the others."""
    out = np.empty(len(Z))
    for start in range(0, len(Z), MOST_REFERENCES):
        distances = cdist(Z[start : start + MOST_REFERENCES], references)
        if own is not None:
            here = np.flatnonzero((own >= start) & (own < start + len(distances)))
            distances[own[here] - start, here] = np.inf
        out[start : start + len(distances)] = distances.min(axis=1)
    return out


def novelty(log_proba: np.ndarray, n_known: int) -> np.ndarray:
    """The largest probability of a novel class over the sum of the largest of a novel and of a known one.

    Above one half exactly where the largest of all is that of a novel class, if known classes come first.
    """
    if n_known in (0, log_proba.shape[1]):
        return np.full(len(log_proba), 0.0 if n_known else 1.0)
    lead = log_proba[:, n_known:].max(axis=1) - log_proba[:, :n_known].max(axis=1)
    score = 1 / (1 + np.exp(np.clip(-lead, -700, 700)))
    return np.where(lead > 0, np.maximum(score, np.nextafter(0.5, 1)), score)
