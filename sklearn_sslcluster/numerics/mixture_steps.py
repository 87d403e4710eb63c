"""The two steps of expectation-maximization for Gaussian mixtures on partially labeled rows, as additive statistics.

Rows come as a `RowSource` whose ``row_data`` are ``(codes or None, sample_weight or None)``. The component of a labeled
row is given: such rows enter by their `Moments`, computed once, and are passed over here. All coordinates are relative
to a shift near the middle of the rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import issparse

from .centroids import shifted
from .device_steps import expectation_on_device, expectation_row_bytes, has_kernel
from .distinct import free_weight
from .gaussians import (
    Gaussians,
    Moments,
    NormalInverseWishart,
    add_moments,
    log_determinants,
    make_gaussians,
    n_expanded,
    scatter_of,
)
from .mixture_densities import Evaluation, Mixture, chunks, joint_of, normalize

# Rows whose products are added up at a time.
_MOMENT_ROWS = 1024
_SMALLEST = np.finfo(np.float64).tiny


@has_kernel(expectation_on_device, expectation_row_bytes)
def expectation_statistics(block: Any, row_data: tuple, evaluation: Evaluation) -> tuple:
    """(log likelihood, weights, sums, second moments) of the free rows.

    Sums and second moments are about 0, or, where densities are computed by differences, about the component means.
    For "tied" the second moments about 0 are left out: they never change.
    """
    gaussians = evaluation.mixture.gaussians
    kind, (n_components, n_features) = gaussians.kind, gaussians.means.shape
    weight = free_weight(row_data, block.shape[0])
    if not weight.all():
        # Rows without weight may hold values whose squares overflow.
        free = weight > 0
        block, row_data = block[free], (None, None if row_data[1] is None else row_data[1][free])
    likelihood = 0.0
    weights = np.zeros(n_components)
    by_differences = evaluation.expansion is None
    total = np.zeros((n_components, n_expanded(kind, n_features)))
    scatter = _zero_scatter(kind, n_components, n_features) if by_differences else None
    for rows, Z in chunks(block, evaluation):
        resp, features = joint_of(Z, evaluation)
        log_density = normalize(resp)
        if row_data[1] is not None:
            sample_weight = row_data[1][rows]
            resp *= sample_weight
            likelihood += float(log_density.astype(np.float64) @ sample_weight)
        else:
            likelihood += float(log_density.sum(dtype=np.float64))
        weights += resp.sum(axis=1, dtype=np.float64)
        if by_differences:
            total[:, -n_features:] += _add_differences(Z, resp, gaussians, scatter)
        elif issparse(Z):
            total += np.hstack([_product(resp, part) for part in features])
        else:
            # The longer factor first: this order of the product is the faster one.
            total += (features @ resp.T).T
    return likelihood, weights, total[:, -n_features:], scatter if by_differences else total[:, :-n_features]


def _product(resp: np.ndarray, part: Any) -> np.ndarray:
    product = (part.T @ resp.T).T
    return product.toarray() if issparse(product) else np.asarray(product)


def _zero_scatter(kind: str, n_components: int, n_features: int) -> np.ndarray:
    shapes = {
        "full": (n_components, n_features, n_features),
        "tied": (n_features, n_features),
        "diag": (n_components, n_features),
        "spherical": (n_components,),
    }
    return np.zeros(shapes[kind])


def _add_differences(Z: Any, resp: np.ndarray, gaussians: Gaussians, scatter: Any) -> np.ndarray:
    """Sums of the differences to the component means; their weighted products are added to `scatter`."""
    sums = np.empty(gaussians.means.shape)
    dense = Z.toarray() if issparse(Z) else Z
    for k, mean in enumerate(gaussians.means):
        differences = dense - mean
        weighted = differences * resp[k][:, None]
        sums[k] = weighted.sum(axis=0)
        if gaussians.kind in ("full", "tied"):
            products = weighted.T @ differences
        else:
            products = np.einsum("ij,ij->j", weighted, differences)
        if gaussians.kind == "tied":
            scatter += products
        else:
            scatter[k] += products.sum() if gaussians.kind == "spherical" else products
    return sums


def to_moments(statistics: tuple, evaluation: Evaluation, second_moment: np.ndarray | None) -> tuple[float, Moments]:
    """(log likelihood, moments) from `expectation_statistics`.

    `second_moment` is that of all free rows about 0, for "tied".
    """
    likelihood, weights, sums, second = statistics
    gaussians = evaluation.mixture.gaussians
    kind = gaussians.kind
    offsets = sums / np.where(weights > 0, weights, 1.0)[:, None]
    if evaluation.expansion is None:
        means = gaussians.means + offsets
        second = second - scatter_of(kind, offsets, weights)
    else:
        means = offsets
        if kind == "tied":
            second = second_moment
        second = _unpack(kind, second, gaussians.n_features) - scatter_of(kind, offsets, weights)
    return float(likelihood), Moments(weights, means, second)


def _unpack(kind: str, second: Any, n_features: int) -> np.ndarray:
    """Second moments in the shape of ``Moments.scatter`` from products of features."""
    if kind == "full":
        rows, columns = np.triu_indices(n_features)
        out = np.empty((len(second), n_features, n_features))
        out[:, rows, columns] = second
        out[:, columns, rows] = second
        return out
    return second[:, 0] if kind == "spherical" else second


def second_moment_statistics(block: Any, row_data: tuple, shift: np.ndarray | None) -> tuple[np.ndarray]:
    """(second moment of the free rows about the shift,)."""
    weight = free_weight(row_data, block.shape[0])
    total = np.zeros((block.shape[1], block.shape[1]))
    for start in range(0, block.shape[0], _MOMENT_ROWS):
        rows = slice(start, start + _MOMENT_ROWS)
        Z = shifted(block[rows].astype(np.float64), shift)
        total += (Z * weight[rows][:, None]).T @ Z
    return (total,)


def labeled_statistics(block: Any, row_data: tuple, parameters: tuple) -> tuple[np.ndarray, ...]:
    """(weights, sums, scatter) of the labeled rows of each class about the given class means."""
    kind, means, shift = parameters
    codes, sample_weight = row_data
    n_known, n_features = means.shape
    weights, sums = np.zeros(n_known), np.zeros((n_known, n_features))
    scatter = _zero_scatter(kind, n_known, n_features)
    for code in np.unique(codes[codes >= 0]):
        rows = np.flatnonzero(codes == code)
        Z = block[rows].toarray() if issparse(block) else block[rows]
        differences = shifted(Z.astype(np.float64), shift) - means[code]
        weight = np.ones(len(rows)) if sample_weight is None else sample_weight[rows]
        weighted = differences * weight[:, None]
        weights[code] = weight.sum()
        sums[code] = weighted.sum(axis=0)
        if kind == "tied":
            scatter += weighted.T @ differences
        elif kind == "full":
            scatter[code] = weighted.T @ differences
        else:
            squares = np.einsum("ij,ij->j", weighted, differences)
            scatter[code] = squares if kind == "diag" else squares.sum()
    return weights, sums, scatter


def log_likelihood_of_moments(moments: Moments, gaussians: Gaussians) -> np.ndarray:
    """Log likelihood of groups of rows under the component of the same number, from their moments alone."""
    n_groups = len(moments.weight)
    gaussians = gaussians.subset(np.arange(n_groups))
    kind, n_features = gaussians.kind, gaussians.n_features
    factors = gaussians.full_precision_factors()
    white = np.einsum("ki,kij->kj", moments.means - gaussians.means, factors)
    distances = moments.weight * np.einsum("kj,kj->k", white, white)
    if kind == "full":
        traces = np.einsum("kil,kij,kjl->k", factors, moments.scatter, factors, optimize=True)
    elif kind == "tied":
        # One scatter for all groups: its trace is put to the first, which leaves the sum right.
        traces = np.zeros(n_groups)
        traces[:1] = np.einsum("il,ij,jl->", factors[0], moments.scatter, factors[0])
    elif kind == "diag":
        traces = (moments.scatter * gaussians.precisions_cholesky**2).sum(axis=1)
    else:
        traces = moments.scatter * gaussians.precisions_cholesky**2
    normalizer = moments.weight * (log_determinants(gaussians) - n_features / 2 * np.log(2 * np.pi))
    return normalizer - (distances + traces) / 2


@dataclass(frozen=True)
class MaximizationSettings:
    """How parameters follow from moments.

    Attributes
    ----------
    kind : str
        Covariance type.
    class_weights : {"unlabeled", "all", "uniform"}
        Rows that the component weights are estimated on.
    regularization : ndarray of shape (n_features,)
        Added to the variances.
    prior : NormalInverseWishart or None
        Relative to the shift.
    monotone : bool
        End a run before the likelihood falls, which regularization may let it do.
    known_weight : float
        Weight of the row by which the weights of known classes are raised, see `component_weights`.
    """

    kind: str
    class_weights: str
    regularization: np.ndarray
    prior: NormalInverseWishart | None = None
    known_weight: float = 1.0
    monotone: bool = False


def maximize(free: Moments, labeled: Moments | None, settings: MaximizationSettings) -> Mixture:
    """Parameters that maximize the expected (penalized) likelihood, from the moments of free and of labeled rows."""
    kind, prior = settings.kind, settings.prior
    n_components, n_features = free.means.shape
    moments = free if labeled is None else add_moments(kind, free, padded(kind, labeled, n_components))
    weight, means, scatter = moments.weight, moments.means, moments.scatter
    dof = 0.0
    if prior is not None:
        share = weight / (weight + prior.mean_strength)
        means = prior.mean + share[:, None] * (means - prior.mean)
        pulled = scatter_of(kind, moments.means - prior.mean, prior.mean_strength * share)
        scatter = scatter + pulled + _prior_scale(kind, prior.scale)
        dof = prior.dof + {"full": n_features + 2, "tied": n_features + 1 + n_components}.get(kind, 3)
    # A component without rows keeps the covariance of the regularization (or prior) alone.
    counts = np.maximum(weight, 10 * np.finfo(np.float64).eps) + dof
    if kind == "tied":
        counts = np.array(max(weight.sum(), _SMALLEST) + dof)
    if kind in ("full", "tied"):
        covariances = scatter / counts[..., None, None]
        covariances[..., np.arange(n_features), np.arange(n_features)] += settings.regularization
    elif kind == "diag":
        covariances = np.maximum(scatter, 0) / counts[:, None] + settings.regularization
    else:
        covariances = np.maximum(scatter, 0) / (counts * n_features) + settings.regularization.mean()
    gaussians, _ = make_gaussians(kind, means, covariances)
    n_known = 0 if labeled is None else len(labeled.weight)
    return Mixture(gaussians, component_weights(free.weight, weight, settings, n_known))


def padded(kind: str, labeled: Moments, n_components: int) -> Moments:
    """Moments of the labeled rows with an empty group for each novel component."""
    n_more = n_components - len(labeled.weight)
    if not n_more:
        return labeled
    scatter = labeled.scatter
    if kind != "tied":
        scatter = np.concatenate([scatter, np.zeros((n_more, *scatter.shape[1:]))])
    means = np.concatenate([labeled.means, np.zeros((n_more, labeled.means.shape[1]))])
    return Moments(np.concatenate([labeled.weight, np.zeros(n_more)]), means, scatter)


def _prior_scale(kind: str, scale: np.ndarray) -> np.ndarray | float:
    if kind in ("full", "tied"):
        return scale
    return np.diagonal(scale) if kind == "diag" else float(np.trace(scale))


def component_weights(
    free: np.ndarray, everything: np.ndarray, settings: MaximizationSettings, n_known: int
) -> np.ndarray:
    """Weights of the components from the weight of their free rows, and of all their rows.

    Estimated on free rows, those of known classes count one row more: that a class has labels shows that it exists,
    however few of the free rows belong to it.
    """
    if settings.class_weights == "uniform":
        return np.full(len(free), 1 / len(free))
    counts = np.full(len(free), 10 * np.finfo(np.float64).eps)
    if settings.class_weights == "all" or free.sum() <= 0:
        counts += everything
    else:
        counts += free
        counts[:n_known] += settings.known_weight
    return counts / counts.sum()


def log_weight_prior(log_weights: np.ndarray, settings: MaximizationSettings, n_known: int) -> float:
    """Log density, up to a constant, of the prior behind the additional rows of `component_weights`."""
    unlabeled = settings.class_weights == "unlabeled"
    return settings.known_weight * float(log_weights[:n_known].sum()) if unlabeled else 0.0
