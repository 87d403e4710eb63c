"""The profile likelihood of a partition into Gaussian groups, and classification expectation-maximization on it.

Twice the negative log likelihood of the rows, each under the Gaussian of its group, with the means profiled out and a
prior on the covariances, is up to a constant

.. math::
    F = \\sum_a \\Big[ n_a \\log|\\Sigma_a| + \\sum_{i \\in G_a} \\lVert x_i - \\bar x_a \\rVert^2_{\\Sigma_a^{-1}}
        + \\nu \\big( \\log|\\Sigma_a| - d \\log s + s \\operatorname{tr} \\Sigma_a^{-1} - d \\big) \\Big]

Its minimum over :math:`\\Sigma_a` is the ridge :math:`\\Sigma_a = (S_a + \\nu s I) / (n_a + \\nu)` with the scatter
:math:`S_a`: the maximum likelihood covariance and :math:`s I` in the shares :math:`1 - g` and
:math:`g = \\nu / (n_a + \\nu)`. So the ridge is part of what is minimized, and no step can raise `F`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..numerics import Gaussians, log_densities, make_gaussians

_LOG_2PI = float(np.log(2 * np.pi))
_ROUNDING = 1e-10
_SOFT_CHANGE = 1e-3
# Stages of soft iterations: temperature of the densities, and ridge in units of that of the problem.
_ANNEALING = ((2.0, 10.0), (1.4, 3.0), (1.0, 1.0))
_HOT_ITER = 15


@dataclass(frozen=True)
class GroupProblem:
    """Weighted points to be grouped.

    Attributes
    ----------
    X : ndarray of shape (n_points, n_features)
        The means of the labeled rows of the known classes, then the distinct free rows.
    weight : ndarray of shape (n_points,)
    within : ndarray of shape (n_known, n_features, n_features)
        Scatter of the labeled rows of each known class about their mean.
    n_groups : int
    kind : {"full", "tied", "diag", "spherical"}
    strength : float
        :math:`\\nu`, the rows that the prior of a covariance is worth.
    spread : float
        :math:`s`, the variance that the prior expects.
    """

    X: np.ndarray
    weight: np.ndarray
    within: np.ndarray
    n_groups: int
    kind: str
    strength: float
    spread: float

    @property
    def n_known(self) -> int:
        return len(self.within)

    @property
    def n_points(self) -> int:
        return len(self.weight)

    @property
    def n_features(self) -> int:
        return self.X.shape[1]

    def clamped(self, values: np.ndarray, own: float, other: float) -> np.ndarray:
        """A table (n_groups, n_points) with what known points have in their own and in the other groups; in place."""
        values[:, : self.n_known] = other
        np.fill_diagonal(values[: self.n_known, : self.n_known], own)
        return values

    def projected(self, axes: np.ndarray) -> GroupProblem:
        """The same points on a few axes, given as columns."""
        within = np.einsum("ji,njk,kl->nil", axes, self.within, axes)
        return replace(self, X=self.X @ axes, within=within)


@dataclass(frozen=True)
class Partition:
    """Groups of the points.

    Attributes
    ----------
    codes : ndarray of shape (n_points,)
    gaussians : Gaussians
        Those that minimize `F` for the partition.
    sizes : ndarray of shape (n_groups,)
        Weights of the groups.
    value : float
        `F`.
    """

    codes: np.ndarray
    gaussians: Gaussians
    sizes: np.ndarray
    value: float


def one_hot(codes: np.ndarray, n_groups: int) -> np.ndarray:
    """Membership of shape (n_groups, n_points)."""
    return (np.arange(n_groups)[:, None] == codes).astype(np.float64)


def fit_groups(problem: GroupProblem, member: np.ndarray) -> tuple[Gaussians, np.ndarray]:
    """(Gaussians that minimize `F`, sizes) for groups in which each point has the share `member`."""
    member = member * problem.weight
    sizes = member.sum(axis=1)
    means = (member @ problem.X) / np.where(sizes > 0, sizes, 1.0)[:, None]
    scatter = _scatters(problem, member, means)
    nu, pull = problem.strength, problem.strength * problem.spread
    if problem.kind == "tied":
        covariances = (scatter.sum(axis=0) + pull * np.eye(problem.n_features)) / (sizes.sum() + nu)
    elif problem.kind == "full":
        covariances = (scatter + pull * np.eye(problem.n_features)) / (sizes + nu)[:, None, None]
    elif problem.kind == "diag":
        covariances = (scatter + pull) / (sizes + nu)[:, None]
    else:
        covariances = (scatter / problem.n_features + pull) / (sizes + nu)
    return _factored(problem.kind, means, covariances), sizes


def _factored(kind: str, means: np.ndarray, covariances: np.ndarray) -> Gaussians:
    if kind == "full":
        try:
            # All at once: many small matrices.
            factors = np.tril(np.linalg.inv(np.linalg.cholesky(covariances))).transpose(0, 2, 1)
            return Gaussians(kind, means, covariances, factors)
        except np.linalg.LinAlgError:
            pass
    return make_gaussians(kind, means, covariances)[0]


def _scatters(problem: GroupProblem, member: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Scatter of each group in the shape of its covariance; matrices for "tied"."""
    kind, n_features = problem.kind, problem.n_features
    shape = {"diag": (n_features,), "spherical": ()}.get(kind, (n_features, n_features))
    out = np.zeros((len(member), *shape))
    for a, share in enumerate(member):
        rows = np.flatnonzero(share)
        difference = problem.X[rows] - means[a]
        weighted = difference * share[rows, None]
        if kind in ("full", "tied"):
            out[a] = weighted.T @ difference
        elif kind == "diag":
            out[a] = np.einsum("ij,ij->j", weighted, difference)
        else:
            out[a] = np.einsum("ij,ij->", weighted, difference)
    diagonal = np.einsum("aii->ai", problem.within)
    known = {"diag": diagonal, "spherical": diagonal.sum(axis=1)}.get(kind, problem.within)
    out[: problem.n_known] += known
    return out


def point_costs(X: np.ndarray, gaussians: Gaussians) -> np.ndarray:
    """:math:`\\log|\\Sigma_a| + \\lVert x_i - \\mu_a \\rVert^2_{\\Sigma_a^{-1}}`, (n_groups, n_points)."""
    return -2 * log_densities(X, gaussians) - gaussians.n_features * _LOG_2PI


def log_volumes(gaussians: Gaussians) -> np.ndarray:
    """Logarithms of the determinants of the covariances, (n_groups,)."""
    return np.diagonal(point_costs(gaussians.means, gaussians)).copy()


def penalty(problem: GroupProblem, gaussians: Gaussians) -> float:
    """The terms of `F` that hold whatever the partition: the prior, and the scatter within the labeled rows."""
    nu, s, d = problem.strength, problem.spread, problem.n_features
    factors = gaussians.full_precision_factors()
    precisions = factors @ factors.transpose(0, 2, 1)
    prior = log_volumes(gaussians) - d * np.log(s) + s * np.einsum("aii->a", precisions) - d
    within = np.einsum("aij,aij->", precisions[: problem.n_known], problem.within)
    return float(nu * (prior[0] if problem.kind == "tied" else prior.sum()) + within)


def evaluate(problem: GroupProblem, codes: np.ndarray) -> Partition:
    """A partition with its Gaussians and its `F`."""
    gaussians, sizes = fit_groups(problem, one_hot(codes, problem.n_groups))
    nu, d = problem.strength, problem.n_features
    counts = sizes + nu
    n_priors = problem.n_groups
    if problem.kind == "tied":
        counts, n_priors = sizes + nu / problem.n_groups, 1
    value = counts @ log_volumes(gaussians) + d * sizes.sum() - n_priors * nu * d * np.log(problem.spread)
    return Partition(codes, gaussians, sizes, float(value))


def likeliest(problem: GroupProblem, gaussians: Gaussians) -> np.ndarray:
    """Code of the group in which each point costs least; known points stay where they are."""
    return problem.clamped(point_costs(problem.X, gaussians), -np.inf, np.inf).argmin(axis=0)


def is_whole(problem: GroupProblem, codes: np.ndarray) -> bool:
    """Whether every group has a point."""
    return bool((np.bincount(codes, minlength=problem.n_groups) > 0).all())


def classify(problem: GroupProblem, codes: np.ndarray, max_iter: int = 300) -> Partition:
    """Classification expectation-maximization: every point to its likeliest group, as long as `F` falls.

    Celeux and Govaert, "A classification EM algorithm for clustering and two stochastic versions", 1992, with equal
    shares. A step that would empty a group is not made.
    """
    best = evaluate(problem, codes)
    for _ in range(max_iter):
        codes = likeliest(problem, best.gaussians)
        if not is_whole(problem, codes) or np.array_equal(codes, best.codes):
            break
        moved = evaluate(problem, codes)
        if not moved.value < best.value - _ROUNDING * abs(best.value):
            break
        best = moved
    return best


def soften(problem: GroupProblem, codes: np.ndarray, *, annealed: bool = False, max_iter: int = 50) -> np.ndarray:
    """Codes after iterations in which points belong to several groups, in proportion to the densities.

    Soft shares see farther than hard ones: they leave poor partitions that :func:`classify` is caught in. `annealed`
    begins with flatter densities and more nearly spherical covariances, which see farther still.
    """
    shares = one_hot(codes, problem.n_groups)
    for temperature, ridge in _ANNEALING if annealed else _ANNEALING[-1:]:
        ridged = replace(problem, strength=ridge * problem.strength)
        for _ in range(max_iter if temperature == 1 else _HOT_ITER):
            before = shares
            gaussians, _ = fit_groups(ridged, shares)
            shares = soft_shares(problem, gaussians, temperature)
            if np.abs(shares - before).max() < _SOFT_CHANGE:
                break
    return shares.argmax(axis=0)


def soft_shares(problem: GroupProblem, gaussians: Gaussians, temperature: float = 1.0) -> np.ndarray:
    """Posterior of each group with equal shares, (n_groups, n_points); known points belong to theirs."""
    costs = point_costs(problem.X, gaussians)
    shares = np.exp((costs.min(axis=0) - costs) / (2 * temperature))
    shares /= shares.sum(axis=0)
    return problem.clamped(shares, 1.0, 0.0)


def discriminant_axes(problem: GroupProblem, partition: Partition) -> np.ndarray:
    """Fisher's axes of a partition, at most ``n_groups - 1``, as columns; the covariance within groups becomes 1."""
    pooled = replace(problem, kind="tied")
    gaussians, sizes = fit_groups(pooled, one_hot(partition.codes, problem.n_groups))
    middle = sizes @ gaussians.means / sizes.sum()
    white = gaussians.precisions_cholesky
    between = ((gaussians.means - middle) * np.sqrt(sizes)[:, None]) @ white
    n_axes = min(problem.n_groups - 1, problem.n_features)
    axes = np.linalg.svd(between, full_matrices=False)[2][:n_axes].T
    # The signs of singular vectors are arbitrary; the largest entry decides.
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])] < 0, -1.0, 1.0)
    return white @ axes
