"""Expectation-maximization for Gaussian mixtures on partially labeled rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .center_fit import CenterProblem
from .centroids import Anchors, Frame
from .distinct import RowSource
from .gaussians import Moments, niw_log_density
from .mixture_densities import Mixture, evaluation_of, largest_square, log_joint_densities
from .mixture_steps import (
    MaximizationSettings,
    expectation_statistics,
    labeled_statistics,
    log_likelihood_of_moments,
    log_weight_prior,
    maximize,
    second_moment_statistics,
    to_moments,
)

OnStep = Callable[[Mixture, float], bool]


@dataclass(frozen=True)
class MixtureRows:
    """Rows as expectation-maximization sees them: free ones in blocks, labeled ones as moments.

    Attributes
    ----------
    source : RowSource
    shift : ndarray of shape (n_features,) or None
    labeled : Moments or None
        Of the labeled rows of each known class, times ``labeled_weight``.
    free_weight : float
    largest_square : float
        Largest squared norm of a free row relative to the shift.
    second_moment : ndarray or None
        Of all free rows about the shift, for "tied".
    exact : bool
        Compute in float64 whatever the type of the rows.
    """

    source: RowSource
    shift: np.ndarray | None
    labeled: Moments | None
    free_weight: float
    largest_square: float
    second_moment: np.ndarray | None
    exact: bool = False

    @property
    def weight(self) -> float:
        return self.free_weight + (0.0 if self.labeled is None else float(self.labeled.weight.sum()))

    @property
    def n_known(self) -> int:
        return 0 if self.labeled is None else len(self.labeled.weight)


def labeled_moments(source: RowSource, anchors: Anchors, kind: str, shift: np.ndarray | None) -> Moments | None:
    """Moments of the labeled rows of each class, in one pass about the class means."""
    if not len(anchors.weight):
        return None
    weights, sums, scatter = source.sum(labeled_statistics, (kind, anchors.means, shift))
    # What rounding left of the sums about the means is of no account.
    return Moments(weights, anchors.means + sums / weights[:, None], scatter)


def measure_rows(
    source: RowSource, frame: Frame, labeled: Moments | None, kind: str, *, exact: bool = False
) -> MixtureRows:
    second = source.sum(second_moment_statistics, frame.shift)[0] if kind == "tied" else None
    return MixtureRows(source, frame.shift, labeled, frame.weight, largest_square(source, frame.shift), second, exact)


def sample_rows(problem: CenterProblem, labeled: Moments | None, kind: str) -> MixtureRows:
    """The distinct rows of a problem; of a sample, labeled rows count in proportion."""
    weight = float(problem.sample.weight.sum())
    if labeled is not None:
        labeled = labeled.scaled(problem.sample_share)
    return measure_rows(problem.sample_source, Frame(None, weight, problem.frame.variance), labeled, kind)


@dataclass(frozen=True)
class MixtureFit:
    """Result of expectation-maximization.

    Attributes
    ----------
    mixture : Mixture
    lower_bounds : list of float
        Penalized log likelihood per unit of weight before each update of the parameters, and of the result.
    converged : bool
    moments : Moments
        Of the free rows, by the responsibilities under `mixture`.
    """

    mixture: Mixture
    lower_bounds: list[float]
    converged: bool
    moments: Moments

    @property
    def objective(self) -> float:
        return self.lower_bounds[-1]

    @property
    def n_iter(self) -> int:
        return len(self.lower_bounds) - 1


def expectation(rows: MixtureRows, mixture: Mixture, settings: MaximizationSettings) -> tuple[float, Moments]:
    """(penalized log likelihood per unit of weight, moments of the free rows)."""
    evaluation = evaluation_of(mixture, rows.shift, rows.largest_square, rows.source.X.dtype, exact=rows.exact)
    statistics = rows.source.sum(expectation_statistics, evaluation)
    likelihood, moments = to_moments(statistics, evaluation, rows.second_moment)
    if rows.labeled is not None:
        likelihood += float(log_likelihood_of_moments(rows.labeled, mixture.gaussians).sum())
        # As the weights are estimated: without free rows on the labeled ones.
        if settings.class_weights == "all" or not rows.free_weight:
            likelihood += float(rows.labeled.weight @ evaluation.log_weights[: rows.n_known])
        else:
            likelihood += log_weight_prior(evaluation.log_weights, settings, rows.n_known)
    if settings.prior is not None:
        likelihood += niw_log_density(settings.prior, mixture.gaussians)
    return likelihood / rows.weight, moments


def expectation_maximization(
    rows: MixtureRows,
    start: Mixture,
    settings: MaximizationSettings,
    max_iter: int,
    tol: float,
    on_step: OnStep | None = None,
) -> MixtureFit:
    """Alternate the two steps until the penalized likelihood per unit of weight changes by less than `tol`.

    Regularization is no part of a likelihood, and may let it fall: ``settings.monotone`` says whether the run then ends
    with the parameters before.
    """
    mixture = start
    value, moments = expectation(rows, mixture, settings)
    lower_bounds = [value]
    converged = False
    for _ in range(max_iter):
        moved = maximize(moments, rows.labeled, settings)
        value, next_moments = expectation(rows, moved, settings)
        if settings.monotone and value < lower_bounds[-1]:
            converged = True
            break
        mixture, moments = moved, next_moments
        lower_bounds.append(value)
        if on_step is not None and on_step(mixture, value):
            break
        if abs(lower_bounds[-1] - lower_bounds[-2]) < tol:
            converged = True
            break
    return MixtureFit(mixture, lower_bounds, converged, moments)


def hard_mixture(rows: MixtureRows, codes: np.ndarray, n_components: int, settings: MaximizationSettings) -> Mixture:
    """Components from a partition of the rows of `rows`, which must lie in memory."""
    return maximize(partition_moments(rows, codes, n_components, settings.kind), rows.labeled, settings)


def partition_moments(rows: MixtureRows, codes: np.ndarray, n_components: int, kind: str) -> Moments:
    """Moments of the groups of a partition of the free rows."""
    source = rows.source
    coded = source.like(source.X, (codes, source.row_data[1]))
    return group_moments(coded, n_components, kind, rows.shift)


def group_moments(source: Any, n_groups: int, kind: str, shift: np.ndarray | None) -> Moments:
    zero = np.zeros((n_groups, source.n_features))
    weights, sums, _ = source.sum(labeled_statistics, ("spherical", zero, shift))
    means = sums / np.where(weights > 0, weights, 1)[:, None]
    _, _, scatter = source.sum(labeled_statistics, (kind, means, shift))
    return Moments(weights, means, scatter)


def component_codes(rows: MixtureRows, mixture: Mixture) -> np.ndarray:
    """Most likely component of each row."""
    evaluation = evaluation_of(mixture, rows.shift, rows.largest_square, rows.source.X.dtype, exact=rows.exact)
    return rows.source.map(log_joint_densities, (evaluation, "code"))[0]
