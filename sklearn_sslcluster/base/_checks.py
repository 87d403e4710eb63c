"""Checks of partially labeled rows once they are measured, and what a clusterer's number of clusters is called."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..labels import PartialLabels
from ..numerics import CenterProblem


def check_weights(problem: CenterProblem, labels: PartialLabels) -> None:
    """Refuse weights that leave a known class, or all rows, without any."""
    weightless = np.flatnonzero(problem.anchors.weight <= 0)
    if len(weightless):
        raise ValueError(
            f"sample_weight is 0 for every row of class {labels.classes[weightless[0]]!r}; "
            "leave these rows out, or their labels."
        )
    if not labels.n_known and not problem.frame.weight:
        raise ValueError("sample_weight is 0 for every row.")


def check_range(problem: CenterProblem, dtype: np.dtype) -> None:
    """Refuse values whose squared distances leave the range of their type."""
    variance, anchors = problem.frame.variance, problem.anchors
    largest = np.finfo(dtype).max / (4.0 * problem.source.n_features)
    with np.errstate(over="ignore"):
        far = float(np.abs(anchors.means).max(initial=0.0)) ** 2 if len(anchors.weight) else 0.0
    if not max(variance, far) < largest:
        raise ValueError(f"X holds values so large that squared distances overflow {dtype}; scale its columns.")
    if variance < np.finfo(dtype).tiny and problem.sample.X.shape[0] > 1:
        raise ValueError(f"X holds values so close that squared distances vanish in {dtype}; scale its columns.")


def count_parameter(clusterer: Any) -> str | None:
    """Name of the parameter for the number of clusters."""
    present = clusterer.get_params(deep=False)
    return next((name for name in ("n_clusters", "n_components") if name in present), None)
