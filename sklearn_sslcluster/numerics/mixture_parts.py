"""A division of rows into many parts, and its validation: parts that a mixture does not tell apart are merged.

A division of two parts is judged by two Gaussians of one covariance against the single Gaussian of all their rows. That
costs no parameters but those of a mean, so that the judgment is as good in many dimensions as in few: two covariances
would cost more there than any distance between the parts can bring.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import issparse

from .center_fit import CenterProblem, solve_sample
from .centroids import LloydSettings, OnStep, nearest_centers
from .gaussians import Moments, add_moments
from .mixture_densities import Mixture, evaluation_of, log_joint_densities
from .mixture_fit import (
    MixtureFit,
    MixtureRows,
    component_codes,
    expectation_maximization,
    hard_mixture,
    labeled_moments,
    partition_moments,
    sample_rows,
)
from .mixture_steps import MaximizationSettings, padded

# K-means starts of one division, the best of which is taken.
_STARTS = LloydSettings(n_init=5)
# Regularization while parts are judged, in units of the mean variance of a feature within them, and what is added for
# every part, and feature of a full covariance, that a row has to pay for.
_SHARE, _FEW_ROWS = 0.1, 1.0
# Iterations in which a mixture may correct a partition, and how often it may before a division is given up.
_CORRECT_ITER, _CORRECTIONS = 10, 2
# Of so many parts one pair is merged before the others are judged again.
_MERGED_AT_A_TIME = 8
_JITTER = 1e-10
# Features up to which parts are compared by full covariances even if the components have simpler ones.
_MOST_COMPARED = 64
_SMALLEST = np.finfo(np.float64).tiny


@dataclass(frozen=True)
class PartTask:
    """What is divided, and how divisions are judged.

    Attributes
    ----------
    problem : CenterProblem
    rows : MixtureRows
        The distinct rows of the problem.
    shaped : MixtureRows
        The same, with moments of the shape by which parts are compared.
    settings : MaximizationSettings
        Regularization that is used, or of which the square root of the machine epsilon is the least used.
    adaptive : bool
        Whether the regularization follows the variance within the parts.
    agreement : float
        Smallest mean probability that a mixture gives the rows of a part against any other part.
    k_max : int or None
        Most parts that are left.
    tol : float
    """

    problem: CenterProblem
    rows: MixtureRows
    shaped: MixtureRows
    settings: MaximizationSettings
    adaptive: bool
    agreement: float
    k_max: int | None
    tol: float

    @property
    def n_known(self) -> int:
        return self.rows.n_known

    @property
    def shape(self) -> str:
        return shape_of(self.problem, self.settings.kind)

    @property
    def n_distinct(self) -> float:
        """Weight of all rows in units of the mean weight of a distinct free one: repeating rows is no evidence."""
        weight = float(self.problem.sample.weight.sum())
        return self.rows.weight * (self.problem.sample.X.shape[0] / weight if weight > 0 else 1.0)


def shape_of(problem: CenterProblem, kind: str) -> str:
    """Covariances by which parts are compared: full ones if possible, as the border of two parts may be oblique."""
    small = not issparse(problem.sample.X) and problem.source.n_features <= _MOST_COMPARED
    return "full" if kind == "tied" or small else kind


def shaped_rows(problem: CenterProblem, rows: MixtureRows, kind: str) -> MixtureRows:
    """Rows whose moments have covariances by which parts can be compared."""
    if shape_of(problem, kind) == kind:
        return rows
    return sample_rows(problem, labeled_moments(problem.source, problem.anchors, "full", problem.frame.shift), "full")


def divide(task: PartTask, n_novel: int, seed: int, on_step: OnStep | None = None) -> tuple[np.ndarray, int]:
    """(part of each distinct free row, number of parts) by k-means: the known classes first, then at most `n_novel`."""
    random_state = np.random.RandomState(seed)
    centers, _ = solve_sample(task.problem, n_novel, _STARTS, random_state, move_known=True, on_step=on_step)
    (codes,) = task.problem.sample_source.map(nearest_centers, (centers, None))
    return _numbered(codes, task.n_known)


def _numbered(codes: np.ndarray, n_known: int) -> tuple[np.ndarray, int]:
    """Codes without gaps; those of known classes stay as they are."""
    used = np.union1d(np.arange(n_known), codes)
    return np.searchsorted(used, codes).astype(np.int32), len(used)


def merge_unconfirmed(task: PartTask, codes: np.ndarray, n_parts: int) -> tuple[np.ndarray, int]:
    """Merge parts until a mixture confirms all divisions between them.

    In each round rows go where a mixture started from the parts puts them. Then the pairs whose merge loses least are
    merged: those that the criterion of `division_gains` wants merged, and when there are none left, those on which the
    mixture and the partition still disagree (`agreements`).

    Parameters
    ----------
    task : PartTask
    codes : ndarray of shape (n_distinct,)
    n_parts : int

    Returns
    -------
    codes : ndarray of shape (n_distinct,)
    n_parts : int
        At least 1 and the number of known classes.
    """
    corrections = _CORRECTIONS
    while n_parts > max(task.n_known, 1):
        codes, n_parts = _numbered(component_codes(task.rows, fit_parts(task, codes, n_parts).mixture), task.n_known)
        gains = division_gains(task, codes, n_parts)
        unconfirmed, n_merges = gains < 0, max(1, n_parts // _MERGED_AT_A_TIME)
        if not unconfirmed.any():
            mixture = fit_parts(task, codes, n_parts).mixture
            unconfirmed, n_merges = agreements(task, mixture, codes) < task.agreement, 1
            unconfirmed &= np.isfinite(gains)
            if unconfirmed.any() and corrections:
                corrections -= 1
                continue
        if not unconfirmed.any():
            if task.k_max is None or n_parts <= max(task.k_max, task.n_known):
                break
            unconfirmed = np.isfinite(gains)
        if not unconfirmed.any():
            break
        codes, n_parts = _numbered(_merged(gains, unconfirmed, n_merges)[codes], task.n_known)
        corrections = _CORRECTIONS
    return codes, n_parts


def _merged(gains: np.ndarray, unconfirmed: np.ndarray, n_merges: int) -> np.ndarray:
    """New number of each part after merging the pairs with the smallest gains, each part at most once."""
    number = np.arange(len(gains))
    a, b = np.nonzero(unconfirmed)
    free = np.ones(len(gains), dtype=bool)
    for pair in np.argsort(gains[a, b], kind="stable"):
        if n_merges and free[a[pair]] and free[b[pair]]:
            free[[a[pair], b[pair]]] = False
            number[b[pair]] = a[pair]
            n_merges -= 1
    return number


def fit_parts(task: PartTask, codes: np.ndarray, n_parts: int, max_iter: int = _CORRECT_ITER) -> MixtureFit:
    """Expectation-maximization started from parts."""
    settings = part_settings(task, _part_moments(task, codes, n_parts))
    start = hard_mixture(task.rows, codes, n_parts, settings)
    return expectation_maximization(task.rows, start, settings, max_iter, task.tol)


def _part_moments(task: PartTask, codes: np.ndarray, n_parts: int) -> Moments:
    """Moments of the parts, labeled rows included."""
    free = partition_moments(task.shaped, codes, n_parts, task.shape)
    if task.shaped.labeled is None:
        return free
    return add_moments(task.shape, free, padded(task.shape, task.shaped.labeled, n_parts))


def part_settings(task: PartTask, moments: Moments) -> MaximizationSettings:
    """Settings whose regularization follows the variance of each feature within the parts."""
    if not task.adaptive:
        return task.settings
    n_parts, n_features = moments.means.shape
    within = _variances(moments.scatter.sum(axis=0), n_features) / max(float(moments.weight.sum()), _SMALLEST)
    per_row = (n_features if task.shape == "full" else 1) * n_parts / max(task.n_distinct, 1.0)
    least = np.sqrt(np.finfo(np.float64).eps) * task.settings.regularization
    return replace(task.settings, regularization=np.maximum((_SHARE + _FEW_ROWS * per_row) * within, least))


def _variances(scatter: np.ndarray, n_features: int) -> np.ndarray:
    """Diagonal of one scatter of any shape."""
    diagonal = np.diagonal(scatter) if scatter.ndim == 2 else scatter
    return np.maximum(diagonal if scatter.ndim else np.full(n_features, scatter / n_features), 0)


def division_gains(task: PartTask, codes: np.ndarray, n_parts: int) -> np.ndarray:
    """What keeping two parts apart gains in log likelihood, less the Bayesian penalty of a further mean and weight.

    Rows belong to their part for certain, whose share is part of the likelihood: halves of one Gaussian lose. For two
    parts of weights `a` and `b` with squared Mahalanobis distance `D2` in their common covariance this is, but for the
    regularization, ``(a + b) / 2 * log(1 + a * b / (a + b)**2 * D2)`` minus the entropy of the shares. The Gaussian of
    the whole is as long along the line between the means as it has to be, also where those of the parts are spheres.

    Returns
    -------
    gains : ndarray of shape (n_parts, n_parts)
        Above the diagonal; inf elsewhere, and for two known classes.
    """
    moments = _part_moments(task, codes, n_parts)
    ridge = part_settings(task, moments).regularization
    # In these units the regularization is 1 for all features, or 0.
    scale, ridged = np.where(ridge > 0, np.sqrt(ridge), 1.0), bool(ridge.min() > 0)
    n_distinct = max(task.n_distinct, 2.0)
    evidence = task.n_distinct / task.rows.weight
    gains = np.full((n_parts, n_parts), np.inf)
    for a in range(n_parts - 1):
        others = np.arange(max(a + 1, task.n_known), n_parts)
        weight = np.maximum(moments.weight[a] + moments.weight[others], _SMALLEST)
        shares = np.stack([moments.weight[a] / weight, moments.weight[others] / weight])
        covariances = ((moments.scatter[a] + moments.scatter[others]).T / weight).T
        difference = (moments.means[others] - moments.means[a]) / scale
        solved, freedom = _solved(covariances, scale, difference, ridged)
        spread = shares.prod(axis=0)
        square = spread * np.einsum("ij,ij->i", difference, solved)
        # A ridge takes from both fits what the trace of the regularized precision says, and from the whole less.
        trace = ridged * spread * np.einsum("ij,ij->i", solved, solved) / (1 + square)
        entropy = -(shares * np.log(np.maximum(shares, _SMALLEST))).sum(axis=0)
        likelihood = weight * ((np.log1p(square) + trace) / 2 - entropy)
        gains[a, others] = evidence * likelihood - (freedom + 1) / 2 * np.log(n_distinct)
    return gains


def _solved(
    covariances: np.ndarray, scale: np.ndarray, difference: np.ndarray, ridged: bool
) -> tuple[np.ndarray, np.ndarray]:
    """(`difference` in units of the regularized covariances, parameters of a mean that the regularization leaves free).

    Along an eigenvector of variance `v` a regularization of 1 leaves ``v / (v + 1)`` of a parameter free.
    """
    n_features = len(scale)
    if covariances.ndim == 3:
        scaled = covariances / np.outer(scale, scale)
        scaled = scaled + _ridge(np.einsum("kii->k", scaled), n_features, ridged)[:, None, None] * np.eye(n_features)
        inverse = np.linalg.inv(scaled)
        solved, trace = np.einsum("kij,kj->ki", inverse, difference), np.einsum("kii->k", inverse)
    else:
        variances = covariances[:, None] / n_features if covariances.ndim == 1 else covariances
        scaled = np.maximum(variances, 0) / scale**2
        scaled = scaled + _ridge(scaled.sum(axis=1), n_features, ridged)[:, None]
        solved, trace = difference / scaled, (1 / scaled).sum(axis=1)
    return solved, n_features - trace if ridged else np.full(len(difference), float(n_features))


def _ridge(traces: np.ndarray, n_features: int, ridged: bool) -> np.ndarray:
    """What is added to variances: 1, or without regularization just what keeps covariances from being singular."""
    return np.ones(len(traces)) if ridged else np.maximum(_JITTER * traces / n_features, np.sqrt(_SMALLEST))


def agreements(task: PartTask, mixture: Mixture, codes: np.ndarray) -> np.ndarray:
    """How well a mixture and a partition agree on each pair: mean probability of the own part, on the worse side.

    Returns
    -------
    agreements : ndarray of shape (n_parts, n_parts)
        Symmetric; 1 for a part without free rows.
    """
    evaluation = evaluation_of(mixture, task.rows.shift, task.rows.largest_square, np.dtype(np.float64))
    joint = task.rows.source.map(log_joint_densities, (evaluation, "joint"))[0]
    weight = task.rows.source.row_data[1]
    own = np.ones((mixture.n_components, mixture.n_components))
    for k in np.unique(codes):
        members = codes == k
        lead = np.clip(joint[members, k][:, None] - joint[members], -700, 700)
        own[k] = weight[members] @ (1 / (1 + np.exp(-lead))) / weight[members].sum()
    np.fill_diagonal(own, 1.0)
    return np.minimum(own, own.T)
