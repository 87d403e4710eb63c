"""How well components can be told apart in some of the features: marginals of Gaussians are Gaussians."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import issparse

from .centroids import shifted
from .distinct import RowSource
from .gaussians import Gaussians, log_densities, make_gaussians
from .mixture_densities import Evaluation, log_joint_densities

_CHUNK_ROWS = 4096


def marginal(gaussians: Gaussians, features: np.ndarray) -> Gaussians:
    """Components seen in some of the features only."""
    covariances = gaussians.covariances
    if gaussians.kind in ("full", "tied"):
        covariances = covariances[..., features[:, None], features]
    elif gaussians.kind == "diag":
        covariances = covariances[:, features]
    return make_gaussians(gaussians.kind, gaussians.means[:, features], covariances)[0]


def separabilities(sources: list[RowSource], evaluation: Evaluation, subsets: list[np.ndarray]) -> np.ndarray:
    """Share of the rows that some features give the class that all features give them, corrected for chance.

    The expectation is the Bayes accuracy of the marginal mixture: one minus the overlap of its components.

    Parameters
    ----------
    sources : list of RowSource
        Rows of one or several tables. Their ``row_data`` are ``(codes or None, weight or None)``: a row with a code
        belongs to that component for certain.
    evaluation : Evaluation
        Of the mixture in all features.
    subsets : list of ndarray of int

    Returns
    -------
    scores : ndarray of shape (n_subsets,)
        1 without overlap, 0 where nothing is better than naming the largest class.
    """
    marginals = [marginal(evaluation.mixture.gaussians, features) for features in subsets]
    parts = [source.sum(_agreement_statistics, (evaluation, subsets, marginals)) for source in sources]
    agreed, weights = (np.sum(part, axis=0) for part in zip(*parts, strict=True))
    total = weights.sum()
    largest = weights.max() / total if total > 0 else 1.0
    if 1 - largest <= np.finfo(np.float64).eps:
        return np.zeros(len(subsets))
    return np.clip((agreed / total - largest) / (1 - largest), 0.0, 1.0)


def _agreement_statistics(block: Any, row_data: tuple, parameters: tuple) -> tuple[np.ndarray, np.ndarray]:
    """(weight of the rows that keep their component, by subset; weight of the components)."""
    evaluation, subsets, marginals = parameters
    codes, sample_weight = row_data
    resp = log_joint_densities(block, (), (evaluation, "resp"))[0]
    if codes is not None:
        labeled = np.flatnonzero(codes >= 0)
        resp[labeled] = 0
        resp[labeled, codes[labeled]] = 1
    if sample_weight is not None:
        resp *= sample_weight[:, None]
    agreed = np.zeros(len(subsets))
    columns = block.tocsc() if issparse(block) else block
    for start in range(0, block.shape[0], _CHUNK_ROWS):
        rows = slice(start, start + _CHUNK_ROWS)
        own = resp[rows]
        for i, (features, gaussians) in enumerate(zip(subsets, marginals, strict=True)):
            Z = columns[rows][:, features]
            Z = (Z.toarray() if issparse(Z) else Z).astype(np.float64)
            Z = shifted(Z, None if evaluation.shift is None else evaluation.shift[features])
            joint = log_densities(Z, gaussians) + evaluation.log_weights[:, None]
            agreed[i] += own[np.arange(len(own)), joint.argmax(axis=0)].sum()
    return agreed, resp.sum(axis=0)
