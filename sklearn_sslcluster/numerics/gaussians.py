"""Gaussian components: densities, Cholesky factors of precisions, moments, and the normal-inverse-Wishart prior.

Shapes follow scikit-learn's ``GaussianMixture``: covariances are (n_components, n_features, n_features) for "full",
(n_features, n_features) for "tied", (n_components, n_features) for "diag" and (n_components,) for "spherical".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.sparse import issparse
from scipy.special import gammaln, multigammaln

COVARIANCE_TYPES = ("full", "tied", "diag", "spherical")
_LOG_2PI = float(np.log(2 * np.pi))
_JITTER_STEPS = 12
# Stands for no variance at all: its inverse can still be squared.
_SMALLEST_VARIANCE = np.finfo(np.float64).tiny ** 0.5


@dataclass(frozen=True)
class Gaussians:
    """Gaussian components.

    Attributes
    ----------
    kind : {"full", "tied", "diag", "spherical"}
    means : ndarray of shape (n_components, n_features)
    covariances : ndarray
    precisions_cholesky : ndarray
        Of the shape of `covariances`: upper triangular `P` with ``P @ P.T`` the precision, or its square root.
    """

    kind: str
    means: np.ndarray
    covariances: np.ndarray
    precisions_cholesky: np.ndarray

    @property
    def n_components(self) -> int:
        return len(self.means)

    @property
    def n_features(self) -> int:
        return self.means.shape[1]

    def full_precision_factors(self) -> np.ndarray:
        """Cholesky factors of the precisions, (n_components, n_features, n_features), whatever the kind."""
        return as_full(self.precisions_cholesky, self.kind, *self.means.shape)

    def full_covariances(self) -> np.ndarray:
        return as_full(self.covariances, self.kind, *self.means.shape)

    def subset(self, kept: np.ndarray) -> Gaussians:
        """Some of the components, in the order given."""
        if self.kind == "tied":
            return Gaussians(self.kind, self.means[kept], self.covariances, self.precisions_cholesky)
        return Gaussians(self.kind, self.means[kept], self.covariances[kept], self.precisions_cholesky[kept])


def as_full(values: np.ndarray, kind: str, n_components: int, n_features: int) -> np.ndarray:
    """Matrices, one a component, of covariances or Cholesky factors of any kind."""
    if kind == "full":
        return values
    if kind == "tied":
        return np.broadcast_to(values, (n_components, n_features, n_features))
    diagonal = values if kind == "diag" else np.repeat(values[:, None], n_features, axis=1)
    return diagonal[:, :, None] * np.eye(n_features)


def n_parameters(kind: str, n_components: int, n_features: int) -> int:
    """Free parameters of a mixture: means, covariances and weights."""
    of_covariances = {
        "full": n_components * n_features * (n_features + 1) // 2,
        "tied": n_features * (n_features + 1) // 2,
        "diag": n_components * n_features,
        "spherical": n_components,
    }[kind]
    return of_covariances + n_components * n_features + n_components - 1


def precision_factor(covariance: np.ndarray) -> tuple[np.ndarray, bool]:
    """Upper triangular `P` with ``P @ P.T`` the inverse of a covariance, and whether it had to be repaired.

    A covariance that is not positive definite gets a growing multiple of its mean variance on the diagonal, and in the
    end only its diagonal is used.
    """
    n_features = len(covariance)
    identity = np.eye(n_features)
    scale = max(float(np.trace(covariance)) / n_features, _SMALLEST_VARIANCE)
    jitter = np.finfo(np.float64).eps
    repaired = covariance
    for attempt in range(_JITTER_STEPS + 1):
        try:
            lower = cholesky(repaired, lower=True, check_finite=False)
        except np.linalg.LinAlgError:
            lower = None
        if lower is not None and np.diagonal(lower).min() ** 2 > 0:
            return solve_triangular(lower, identity, lower=True, check_finite=False).T, attempt > 0
        repaired = covariance + 10.0**attempt * n_features * jitter * scale * identity
    diagonal = np.maximum(np.diagonal(covariance), 1e-3 * scale)
    return np.diag(1 / np.sqrt(diagonal)), True


def make_gaussians(kind: str, means: np.ndarray, covariances: np.ndarray) -> tuple[Gaussians, int]:
    """Components with the Cholesky factors of their precisions, and how many covariances had to be repaired."""
    if kind in ("diag", "spherical"):
        broken = ~(covariances > _SMALLEST_VARIANCE)
        positive = np.where(broken, _SMALLEST_VARIANCE, covariances)
        return Gaussians(kind, means, covariances, 1 / np.sqrt(positive)), int(broken.sum())
    stack = covariances if kind == "full" else covariances[None]
    factors, repaired = zip(*map(precision_factor, stack), strict=True)
    factor = np.stack(factors) if kind == "full" else factors[0]
    return Gaussians(kind, means, covariances, factor), sum(repaired)


def log_determinants(gaussians: Gaussians) -> np.ndarray:
    """Logarithms of the determinants of the Cholesky factors of the precisions, one a component."""
    factor, n_features = gaussians.precisions_cholesky, gaussians.n_features
    if gaussians.kind == "spherical":
        return n_features * np.log(factor)
    if gaussians.kind == "diag":
        return np.log(factor).sum(axis=1)
    logs = np.log(np.diagonal(factor, axis1=-2, axis2=-1)).sum(axis=-1)
    return np.full(gaussians.n_components, logs) if gaussians.kind == "tied" else logs


def square_distances(Z: Any, gaussians: Gaussians) -> np.ndarray:
    """Squared Mahalanobis distances by differences, (n_components, n_rows): slower than `expand`, exact anywhere."""
    out = np.empty((gaussians.n_components, Z.shape[0]))
    factor = gaussians.precisions_cholesky
    for k, mean in enumerate(gaussians.means):
        if issparse(Z):
            out[k] = _sparse_square_distances(Z, mean, np.broadcast_to(factor[k], mean.shape))
            continue
        if gaussians.kind in ("full", "tied"):
            white = (Z - mean) @ (factor[k] if gaussians.kind == "full" else factor)
        else:
            white = (Z - mean) * factor[k]
        out[k] = np.einsum("ij,ij->i", white, white)
    return out


def _sparse_square_distances(Z: Any, mean: np.ndarray, factor: np.ndarray) -> np.ndarray:
    precision = factor**2
    squares = Z.multiply(Z) @ precision - 2 * (Z @ (mean * precision)) + (mean**2) @ precision
    return np.maximum(squares, 0)


def log_densities(Z: Any, gaussians: Gaussians) -> np.ndarray:
    """Log densities of the rows of `Z`, (n_components, n_rows)."""
    constant = log_determinants(gaussians) - gaussians.n_features * _LOG_2PI / 2
    return constant[:, None] - square_distances(Z, gaussians) / 2


@dataclass(frozen=True)
class Expansion:
    """Log densities as linear functions of products of features: ``coefficients @ features + constant``.

    The features of a row are its distinct products of two entries and the entries ("full"), the squared norm in the
    metric of the shared precision and the entries ("tied"), the squares and the entries ("diag"), and the squared norm
    and the entries ("spherical"). One matrix product then gives the densities of all components, with half of the
    operations of whitening, and the product of the responsibilities with the same features all second moments.

    Attributes
    ----------
    kind : str
    coefficients : ndarray of shape (n_components, n_expanded)
    constant : ndarray of shape (n_components,)
    metric : ndarray of shape (n_features, n_features) or None
        For "tied" the Cholesky factor of the precision.
    """

    kind: str
    coefficients: np.ndarray
    constant: np.ndarray
    metric: np.ndarray | None


def expand(gaussians: Gaussians, log_weights: np.ndarray) -> Expansion:
    """Coefficients of ``log_weights + log_densities`` in the features of `expanded_features`."""
    means, factor, kind = gaussians.means, gaussians.precisions_cholesky, gaussians.kind
    constant = log_weights + log_determinants(gaussians) - gaussians.n_features * _LOG_2PI / 2
    metric = None
    if kind == "full":
        precisions = factor @ factor.transpose(0, 2, 1)
        rows, columns = np.triu_indices(gaussians.n_features)
        square = precisions[:, rows, columns] * np.where(rows == columns, -0.5, -1.0)
        linear = np.einsum("kij,kj->ki", precisions, means)
    elif kind == "tied":
        square = np.full((len(means), 1), -0.5)
        linear = means @ (factor @ factor.T)
        metric = factor
    elif kind == "diag":
        square, linear = -0.5 * factor**2, means * factor**2
    else:
        square, linear = -0.5 * factor[:, None] ** 2, means * factor[:, None] ** 2
    constant = constant - np.einsum("ki,ki->k", linear, means) / 2
    return Expansion(kind, np.hstack([square, linear]), constant, metric)


def expanded_features(ZT: np.ndarray, kind: str, metric: np.ndarray | None, out: np.ndarray) -> np.ndarray:
    """Features of rows, (n_expanded, n_rows), from the transposed rows `ZT`; written to `out`."""
    n_features = len(ZT)
    if kind == "full":
        start = 0
        for i in range(n_features):
            np.multiply(ZT[i:], ZT[i], out=out[start : start + n_features - i])
            start += n_features - i
    elif kind == "diag":
        np.multiply(ZT, ZT, out=out[:n_features])
    else:
        white = ZT if kind == "spherical" else metric.T.astype(ZT.dtype) @ ZT  # type: ignore[union-attr]
        np.einsum("ij,ij->j", white, white, out=out[0])
    out[-n_features:] = ZT
    return out


def n_expanded(kind: str, n_features: int) -> int:
    """Number of features of `expanded_features`."""
    squares = {"full": n_features * (n_features + 1) // 2, "diag": n_features, "tied": 1, "spherical": 1}
    return squares[kind] + n_features


def largest_precision(gaussians: Gaussians) -> float:
    """Largest eigenvalue of all precisions, or a little more."""
    factor = gaussians.precisions_cholesky
    if gaussians.kind in ("diag", "spherical"):
        return float((factor**2).max())
    stack = factor if gaussians.kind == "full" else factor[None]
    return float(np.linalg.eigvalsh(stack @ stack.transpose(0, 2, 1))[:, -1].max())


@dataclass(frozen=True)
class Moments:
    """Weight, mean and scatter of groups of rows.

    Attributes
    ----------
    weight : ndarray of shape (n_groups,)
    means : ndarray of shape (n_groups, n_features)
        0 for a group without weight.
    scatter : ndarray
        Weighted sums of (products of) differences to the mean of the group: matrices for "full", one matrix over all
        groups for "tied", sums of squares by feature for "diag", and over all features for "spherical".
    """

    weight: np.ndarray
    means: np.ndarray
    scatter: np.ndarray

    def scaled(self, factor: float) -> Moments:
        return Moments(self.weight * factor, self.means, self.scatter * factor)

    def subset(self, kept: Any) -> Moments:
        """Some of the groups; not for "tied"."""
        return Moments(self.weight[kept], self.means[kept], self.scatter[kept])


def scatter_of(kind: str, differences: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted products of differences, one a group, in the shape of ``Moments.scatter``."""
    if kind == "full":
        return weight[:, None, None] * differences[:, :, None] * differences[:, None, :]
    if kind == "tied":
        return (weight[:, None] * differences).T @ differences
    squares = weight[:, None] * differences**2
    return squares if kind == "diag" else squares.sum(axis=1)


def add_moments(kind: str, first: Moments, second: Moments) -> Moments:
    """Moments of groups joined pairwise (Chan's update: no cancellation however far apart the means are)."""
    weight = first.weight + second.weight
    share = np.divide(second.weight, weight, out=np.zeros_like(weight), where=weight > 0)
    differences = second.means - first.means
    means = first.means + share[:, None] * differences
    between = scatter_of(kind, differences, first.weight * share)
    return Moments(weight, means, first.scatter + second.scatter + between)


def subtract_moments(kind: str, whole: Moments, part: Moments) -> Moments:
    """Moments of what is left of groups without a part of their rows: `add_moments` undone."""
    weight = np.maximum(whole.weight - part.weight, 0.0)
    safe = np.where(weight > 0, weight, 1.0)[:, None]
    left = (whole.weight[:, None] * whole.means - part.weight[:, None] * part.means) / safe
    means = np.where(weight[:, None] > 0, left, 0.0)
    share = np.divide(weight * part.weight, whole.weight, out=np.zeros_like(weight), where=whole.weight > 0)
    between = scatter_of(kind, means - part.means, share)
    return Moments(weight, means, whole.scatter - part.scatter - between)


def merge_groups(kind: str, moments: Moments, a: int, b: int) -> Moments:
    """Moments of groups `a` and `b` joined, as one group; not for "tied"."""
    return add_moments(kind, moments.subset([a]), moments.subset([b]))


@dataclass(frozen=True)
class NormalInverseWishart:
    """Prior of a component: ``Sigma ~ IW(scale, dof)`` and ``mu | Sigma ~ N(mean, Sigma / mean_strength)``.

    Attributes
    ----------
    mean : ndarray of shape (n_features,)
    mean_strength : float
        Number of rows that the prior mean is worth (kappa).
    dof : float
        Degrees of freedom (nu), above ``n_features - 1``.
    scale : ndarray of shape (n_features, n_features)
        Scale matrix (Psi).
    """

    mean: np.ndarray
    mean_strength: float
    dof: float
    scale: np.ndarray


def niw_posterior(prior: NormalInverseWishart, weight: float, mean: np.ndarray, scatter: np.ndarray) -> Any:
    """Posterior after rows of total `weight` with the given mean and scatter matrix, again a `NormalInverseWishart`.

    The scatter is about the mean of the rows themselves; taken about any other center it would be too large.
    """
    strength = prior.mean_strength + weight
    difference = mean - prior.mean
    pull = prior.mean_strength * weight / strength
    return NormalInverseWishart(
        (prior.mean_strength * prior.mean + weight * mean) / strength,
        strength,
        prior.dof + weight,
        prior.scale + scatter + pull * np.outer(difference, difference),
    )


def niw_log_marginal(prior: NormalInverseWishart, moments: Moments) -> np.ndarray:
    """Logarithm of the marginal likelihood of each group of rows: the density with mean and covariance integrated out.

    Murphy, "Conjugate Bayesian analysis of the Gaussian distribution", 2007, equation 266.
    """
    out = np.empty(len(moments.weight))
    n_features = len(prior.mean)
    before = _half_log_determinant(prior.scale)
    for k, (weight, mean, scatter) in enumerate(zip(moments.weight, moments.means, moments.scatter, strict=True)):
        posterior = niw_posterior(prior, weight, mean, scatter)
        out[k] = (
            -weight * n_features / 2 * np.log(np.pi)
            + multigammaln(posterior.dof / 2, n_features)
            - multigammaln(prior.dof / 2, n_features)
            + prior.dof * before
            - posterior.dof * _half_log_determinant(posterior.scale)
            + n_features / 2 * np.log(prior.mean_strength / posterior.mean_strength)
        )
    return out


def niw_log_density(prior: NormalInverseWishart, gaussians: Gaussians) -> float:
    """Log density of the prior at the parameters of all components together.

    For "tied" the shared covariance counts once. For "diag" and "spherical" the prior is a product over the features,
    of one-dimensional ones with the diagonal of the scale matrix.
    """
    n_features, dof = gaussians.n_features, prior.dof
    differences = gaussians.means - prior.mean
    if gaussians.kind in ("diag", "spherical"):
        factor, scale = gaussians.precisions_cholesky, np.diagonal(prior.scale)
        factor = np.broadcast_to(factor if gaussians.kind == "diag" else factor[:, None], differences.shape)
        normal = 0.5 * (np.log(prior.mean_strength) - _LOG_2PI) - prior.mean_strength / 2 * (differences * factor) ** 2
        wishart = dof / 2 * np.log(scale / 2) - gammaln(dof / 2) + (dof + 2) * np.log(factor) - scale * factor**2 / 2
        return float((normal + wishart + np.log(factor)).sum())
    factors = gaussians.full_precision_factors()
    log_determinant = log_determinants(gaussians)
    white = np.einsum("ki,kij->kj", differences, factors)
    normal = (
        n_features / 2 * (np.log(prior.mean_strength) - _LOG_2PI)
        + log_determinant
        - prior.mean_strength / 2 * np.einsum("kj,kj->k", white, white)
    )
    distinct = slice(None) if gaussians.kind == "full" else slice(1)
    traces = np.einsum("kij,il,klj->k", factors[distinct], prior.scale, factors[distinct], optimize=True)
    wishart = (
        dof * (_half_log_determinant(prior.scale) - n_features / 2 * np.log(2))
        - multigammaln(dof / 2, n_features)
        + (dof + n_features + 1) * log_determinant[distinct]
        - traces / 2
    )
    return float(normal.sum() + wishart.sum())


def _half_log_determinant(matrix: np.ndarray) -> float:
    return float(np.log(np.diagonal(cholesky(matrix, lower=True, check_finite=False))).sum())


def dirichlet_log_marginal(counts: np.ndarray, concentration: float) -> float:
    """Log probability of a partition with these counts under a Dirichlet process (Chinese restaurant process)."""
    counts = np.asarray(counts, dtype=np.float64)
    new_tables = len(counts) * np.log(concentration) + gammaln(counts).sum()
    return float(new_tables + gammaln(concentration) - gammaln(concentration + counts.sum()))
