"""Starts that are given: by parameters of the user, or by the last fit."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import cho_solve, cholesky

from ..labels import PartialLabels
from ..numerics import (
    CenterProblem,
    Gaussians,
    LloydSettings,
    Mixture,
    Moments,
    component_weights,
    hard_mixture,
    log_densities,
    make_gaussians,
    maximize,
    nearest_centers,
    seed_centers,
)
from ._fit_tools import Posed, finite_array


def initial_mixture(estimator: Any, posed: Posed, given: dict[str, Any]) -> Mixture:
    """Start from given weights, means or precisions; what is missing comes from the nearest means."""
    problem, labels, settings = posed.problem, posed.labels, posed.settings
    shift, n_features = problem.frame.shift, problem.source.n_features
    arrays = {name: None if value is None else finite_array(value, f"{name}_init") for name, value in given.items()}
    n_components = _n_given(estimator, labels, arrays)
    shapes = {
        "weights": (n_components,),
        "means": (n_components, n_features),
        "precisions": {
            "full": (n_components, n_features, n_features),
            "tied": (n_features, n_features),
            "diag": (n_components, n_features),
            "spherical": (n_components,),
        }[settings.kind],
    }
    for name, value in arrays.items():
        if value is not None and value.shape != shapes[name]:
            raise ValueError(f"{name}_init must be of shape {shapes[name]}, got shape {value.shape}.")
    weights, means, precisions = arrays["weights"], arrays["means"], arrays["precisions"]
    if weights is not None and (weights.min() < 0 or not np.isclose(weights.sum(), 1)):
        raise ValueError(f"weights_init must be non-negative with sum 1, got {weights.tolist()}.")
    rows = posed.rows_of(problem)
    if means is not None:
        means = means if shift is None else means - shift
    if means is None or weights is None or precisions is None:
        centers = means if means is not None else _seeded(problem, n_components, estimator.random_state)
        codes = problem.sample_source.map(nearest_centers, (centers, None))[0]
        fitted = hard_mixture(rows, codes, n_components, settings)
        means = fitted.gaussians.means if means is None else means
        weights = fitted.weights if weights is None else weights
        covariances = fitted.gaussians.covariances
    if precisions is not None:
        covariances = _inverse(precisions, settings.kind)
    gaussians, _ = make_gaussians(settings.kind, means, covariances)
    return Mixture(gaussians, weights)


def _n_given(estimator: Any, labels: PartialLabels, arrays: dict[str, Any]) -> int:
    if estimator.n_components != "auto":
        return labels.n_known + estimator._n_novel_wanted(labels)
    for name in ("means", "weights", "precisions"):
        if arrays[name] is not None and not (name == "precisions" and estimator.covariance_type == "tied"):
            if len(arrays[name]) < labels.n_known:
                raise ValueError(
                    f"{name}_init has {len(arrays[name])} entries, fewer than the {labels.n_known} known classes."
                )
            return len(arrays[name])
    raise ValueError("precisions_init of covariance_type='tied' needs an integer n_components.")


def _seeded(problem: CenterProblem, n_components: int, random_state: Any) -> np.ndarray:
    fixed = problem.anchors.means
    rng = np.random.RandomState(0) if not isinstance(random_state, int) else np.random.RandomState(random_state)
    settings = LloydSettings(n_init=1)
    seeds = seed_centers(problem.sample.X, problem.sample.weight, fixed, n_components - len(fixed), settings, rng)
    return np.vstack([fixed, seeds])


def _inverse(precisions: np.ndarray, kind: str) -> np.ndarray:
    if kind in ("diag", "spherical"):
        if precisions.min() <= 0:
            raise ValueError("precisions_init must be positive.")
        return 1 / precisions
    stack = precisions if kind == "full" else precisions[None]
    if not np.allclose(stack, stack.transpose(0, 2, 1), rtol=1e-6, atol=1e-12 * np.abs(stack).max()):
        raise ValueError("precisions_init must be symmetric and positive definite.")
    try:
        inverse = np.stack([cho_solve((cholesky(one, lower=True), True), np.eye(len(one))) for one in stack])
    except np.linalg.LinAlgError:
        raise ValueError("precisions_init must be symmetric and positive definite.") from None
    return inverse if kind == "full" else inverse[0]


def _homes(places: list[int | None], mixture: Mixture, posed: Posed) -> list[int | None]:
    """Places of classes that have no component by name: the one most likely at their mean, if it is free."""
    for code, place in enumerate(places):
        if place is None:
            mean = posed.labeled.means[code][None]  # type: ignore[union-attr]
            joint = log_densities(mean, mixture.gaussians)[:, 0] + np.log(np.maximum(mixture.weights, 1e-300))
            home = int(np.argmax(joint))
            places = [*places[:code], None if home in places else home, *places[code + 1 :]]
    return places


def previous_mixture(estimator: Any, posed: Posed) -> Mixture | None:
    """Start from the last fit: components of known classes by name, the others as novel ones.

    A class that the last fit did not know starts from its labeled rows. None where the number of components or their
    covariance type does not fit any more.
    """
    labels, settings, shift = posed.labels, posed.settings, posed.problem.frame.shift
    old = Gaussians(
        settings.kind,
        estimator.means_ if shift is None else estimator.means_ - shift,
        estimator.covariances_,
        estimator.precisions_cholesky_,
    )
    expected = {"full": 3, "tied": 2, "diag": 2, "spherical": 1}[settings.kind]
    if old.covariances.ndim != expected:
        return None
    names = estimator.classes_.tolist()
    places = [names.index(name) if name in names else None for name in labels.classes.tolist()]
    places = _homes(places, Mixture(old, estimator.weights_), posed)
    rest = [k for k in range(len(names)) if k not in places]
    if estimator.n_components != "auto":
        n_novel = max(estimator.n_components - labels.n_known, 0)
        if n_novel > len(rest):
            return None
        rest = rest[:n_novel]
    if settings.kind == "tied" or None not in places:
        if None in places:
            return None
        return Mixture(old, estimator.weights_).subset(np.array([*places, *rest], dtype=np.intp))
    empty = Moments(np.zeros(labels.n_known), np.zeros((labels.n_known, old.n_features)), posed.labeled.scatter * 0)  # type: ignore[union-attr]
    fresh = maximize(empty, posed.labeled, settings)
    order: list[tuple[Mixture, int]] = []
    previous = Mixture(old, estimator.weights_)
    for code, place in enumerate(places):
        order.append((fresh, code) if place is None else (previous, place))
    order += [(previous, k) for k in rest]
    pieces = [mixture.gaussians.subset(np.array([k])) for mixture, k in order]
    gaussians = Gaussians(
        settings.kind,
        np.concatenate([piece.means for piece in pieces]),
        np.concatenate([piece.covariances for piece in pieces]),
        np.concatenate([piece.precisions_cholesky for piece in pieces]),
    )
    weights = np.array([mixture.weights[k] if mixture is previous else 1 / len(order) for mixture, k in order])
    return Mixture(gaussians, component_weights(weights, weights, settings, 0))


def variances_of_start(mixture: Mixture) -> np.ndarray:
    """Variance of each feature within the components of a start."""
    return mixture.weights @ np.einsum("kii->ki", mixture.gaussians.full_covariances())
