"""Rows seen along their principal axes, where regularization is to follow the shape of the data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.linalg import eigh

from ..numerics import CenterProblem, Mixture, Moments, NormalInverseWishart, make_gaussians
from ._fit_tools import Posed


def principal_axes(problem: CenterProblem) -> np.ndarray | None:
    """Principal axes of the distinct rows, as columns; None for sparse rows."""
    X, weight = problem.sample.X, problem.sample.weight
    if not isinstance(X, np.ndarray) or len(X) < 2:
        return None
    Z = X - np.average(X, axis=0, weights=weight)
    return eigh((Z * weight[:, None]).T @ Z)[1][:, ::-1]


def along(posed: Posed, problem: CenterProblem, axes: np.ndarray) -> tuple[Posed, CenterProblem]:
    """What is known of the rows, and a problem of distinct rows, along other axes."""
    sample = replace(problem.sample, X=np.ascontiguousarray(problem.sample.X @ axes))
    anchors = replace(problem.anchors, sums=problem.anchors.sums @ axes)
    sample_source = problem.sample_source.like(sample.X, (None, sample.weight))
    turned = replace(problem, sample=sample, anchors=anchors, sample_source=sample_source)
    labeled = posed.labeled
    if labeled is not None:
        labeled = Moments(labeled.weight, labeled.means @ axes, axes.T @ labeled.scatter @ axes)
    prior = posed.settings.prior
    if prior is not None:
        scale = axes.T @ prior.scale @ axes
        prior = NormalInverseWishart(prior.mean @ axes, prior.mean_strength, prior.dof, (scale + scale.T) / 2)
    return replace(posed, problem=turned, labeled=labeled, settings=replace(posed.settings, prior=prior)), turned


def turned_back(mixture: Mixture, axes: np.ndarray) -> Mixture:
    """A mixture with full or tied covariances along the axes of the features again."""
    gaussians = mixture.gaussians
    covariances = axes @ gaussians.covariances @ axes.T
    covariances = (covariances + np.swapaxes(covariances, -1, -2)) / 2
    return Mixture(make_gaussians(gaussians.kind, gaussians.means @ axes.T, covariances)[0], mixture.weights)
