"""Repeats of a fit from other starts, and which of them agrees best with the others."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from sklearn.metrics import adjusted_rand_score

from ..numerics import MaximizationSettings, MixtureFit, best_fits

# Repeats that agree equally well with the others, up to rounding.
_TIE = 1e-9


@dataclass(frozen=True)
class Repeat:
    """One run: the mixture that came out, its settings, and the component of each distinct free row."""

    fit: MixtureFit
    settings: MaximizationSettings
    codes: np.ndarray
    n_parts: int


def most_typical(repeats: list[Repeat]) -> tuple[Repeat, float]:
    """(repeat that agrees best with the others, of equal ones the most likely; mean agreement of two repeats)."""
    n_repeats = len(repeats)
    scores = np.ones((n_repeats, n_repeats))
    for a, b in combinations(range(n_repeats), 2):
        scores[a, b] = scores[b, a] = adjusted_rand_score(repeats[a].codes, repeats[b].codes)
    totals = scores.sum(axis=1)
    equal = [repeat for repeat, total in zip(repeats, totals, strict=True) if total >= totals.max() - _TIE]
    best = best_fits([repeat.fit for repeat in equal], lambda fit: fit.objective)[0]
    n_pairs = n_repeats * (n_repeats - 1)
    repeatability = float((totals.sum() - n_repeats) / n_pairs) if n_pairs else 1.0
    return next(repeat for repeat in equal if repeat.fit is best), repeatability
