"""Steps of a fit that the estimators share: the rows measured, regularization, prior, and given starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np
from scipy.linalg import cho_solve, cholesky
from scipy.sparse import issparse
from sklearn.utils.validation import _check_sample_weight

from ..base import check_range, check_weights
from ..labels import PartialLabels, warn_user
from ..numerics import (
    CenterProblem,
    Gaussians,
    LloydSettings,
    MaximizationSettings,
    Mixture,
    MixtureFit,
    MixtureRows,
    Moments,
    NormalInverseWishart,
    component_codes,
    component_weights,
    evaluation_of,
    hard_mixture,
    labeled_moments,
    labeled_rows,
    log_densities,
    log_joint_densities,
    make_gaussians,
    maximize,
    measure_rows,
    nearest_centers,
    pose_problem,
    sample_rows,
    seed_centers,
    shifted,
)

# Regularization by "auto" while searching, in units of the variance of a feature at first and of that within the
# components then, and in the end, in units of the latter, more where a component has few rows.
_COARSE_OF_ALL, COARSE, FINE, FEW_ROWS, LARGEST = 0.2, 0.4, 0.01, 1.0, 0.5
# Distinct rows on which starts and moves are tried.
MOST_SEARCHED_ROWS = 16384
# A feature is constant if its standard deviation is less than so many roundings of its mean.
_CONSTANT = 16.0
_MEAN_STRENGTH = 0.01
_MORE_DOF = 20
_PRIOR_KEYS = ("mean", "mean_strength", "dof", "scale")


@dataclass(frozen=True)
class Posed:
    """Partially labeled rows, measured once.

    Attributes
    ----------
    labels : PartialLabels
    problem : CenterProblem
        All coordinates relative to ``problem.frame.shift``.
    labeled : Moments or None
        Of the labeled rows of each class, times `labeled_weight`.
    settings : MaximizationSettings
        With the regularization of a first search.
    exact : bool
        Compute in float64 whatever the type of the rows.
    n_distinct : int
        Distinct rows, or as many as were drawn of a large table.
    """

    labels: PartialLabels
    problem: CenterProblem
    labeled: Moments | None
    settings: MaximizationSettings
    exact: bool
    n_distinct: int

    def rows_of(self, problem: CenterProblem) -> MixtureRows:
        """The distinct rows of a (thinned) problem as a mixture sees them."""
        return sample_rows(problem, self.labeled, self.settings.kind)


def pose(estimator: Any, X: Any, y: Any, sample_weight: Any, random_state: np.random.RandomState) -> Posed:
    """Validate and measure the input of ``fit``."""
    X = estimator._check_rows(X, reset=True)
    if sample_weight is not None:
        sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    labels = estimator._encode_labels(y, X)
    codes = labels.codes if labels.n_known else None
    blocks = estimator._blocks(X, (codes, sample_weight))
    asked = getattr(estimator, "n_components", "auto")
    n_components = labels.n_known if isinstance(asked, str) else max(asked, labels.n_known)
    problem = pose_problem(blocks, labels.n_known, random_state, n_components, center=True)
    check_weights(problem, labels)
    check_range(problem, X.dtype)
    if labels.n_known and not labels.unlabeled.any() and getattr(estimator, "class_weights", "") == "unlabeled":
        warn_user(
            "Every row is labeled, so that the component weights are those of all rows (class_weights='all') instead "
            "of the unlabeled ones."
        )
    settings = estimator._settings(problem, labels)
    labeled = labeled_moments(blocks, problem.anchors, settings.kind, problem.frame.shift)
    if labeled is not None:
        labeled = labeled.scaled(float(getattr(estimator, "labeled_weight", 1.0)))
    exact = getattr(estimator, "dtype", "auto") == "float64"
    n_distinct, weight = problem.sample.X.shape[0], float(problem.sample.weight.sum())
    if n_distinct:
        settings = replace(settings, known_weight=weight / n_distinct)
    if labels.n_known:
        n_distinct += labeled_rows(blocks, np.random.RandomState(0)).X.shape[0]
    return Posed(labels, problem, labeled, settings, exact, n_distinct)


def whole_rows(posed: Posed) -> MixtureRows:
    """All rows, streamed in blocks."""
    problem = posed.problem
    return measure_rows(problem.source, problem.frame, posed.labeled, posed.settings.kind, exact=posed.exact)


def feature_variances(problem: CenterProblem) -> np.ndarray:
    """Variance of each feature among the distinct unlabeled rows, or among labeled ones where these have none.

    Constant features get the mean of the others, or 1: they tell nothing, whatever their variance is taken to be.
    """
    X, weight = problem.sample.X, problem.sample.weight
    if not weight.sum() > 0:
        rows = labeled_rows(problem.source, np.random.RandomState(0))
        X, weight = shifted(rows.X.astype(np.float64), problem.frame.shift), rows.weight
    mean = np.asarray(weight @ X).ravel() / weight.sum()
    squares = X.multiply(X) if issparse(X) else X**2
    variances = np.asarray(weight @ squares).ravel() / weight.sum() - mean**2
    magnitude = np.abs(mean) if problem.frame.shift is None else np.abs(problem.frame.shift)
    varies = variances > (_CONSTANT * np.finfo(np.float64).eps * magnitude) ** 2
    if not varies.any():
        # Equal rows, or one.
        largest = float(magnitude.max(initial=0.0)) ** 2
        return np.full(len(variances), largest if largest > 0 else 1.0)
    return np.where(varies, variances, variances[varies].mean())


def first_regularization(reg_covar: float | str, problem: CenterProblem) -> np.ndarray:
    """Regularization of a first search, (n_features,)."""
    if reg_covar == "auto":
        return _COARSE_OF_ALL * feature_variances(problem)
    return np.full(problem.source.n_features, float(reg_covar))


def variances_of_start(mixture: Mixture) -> np.ndarray:
    """Variance of each feature within the components of a start."""
    return mixture.weights @ np.einsum("kii->ki", mixture.gaussians.full_covariances())


def pooled_covariance(problem: CenterProblem, n_known: int) -> np.ndarray:
    """Covariance within the known classes; without labels (or with one row a class) that of the unlabeled rows."""
    moments = labeled_moments(problem.source, problem.anchors, "full", problem.frame.shift) if n_known else None
    if moments is not None and problem.anchors.scatter > 0:
        return moments.scatter.sum(axis=0) / moments.weight.sum()
    X, weight = problem.sample.X, problem.sample.weight
    if not X.shape[0]:
        return np.zeros((X.shape[1], X.shape[1]))
    dense = X if isinstance(X, np.ndarray) else X.toarray()
    return np.atleast_2d(np.cov(dense.T, aweights=weight, bias=True))


def _number(given: dict, key: str, default: float) -> float:
    value = given.get(key, default)
    if not isinstance(value, Real) or not np.isfinite(float(value)):
        raise ValueError(f"prior[{key!r}] must be a finite number, got {value!r}.")
    return float(value)


def _array(value: Any, name: str) -> np.ndarray:
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must hold numbers, got {value!r}.") from None
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite.")
    return array


def niw_prior(
    prior: Any,
    problem: CenterProblem,
    n_known: int,
    kind: str,
    *,
    more_dof: int = _MORE_DOF,
    expected: np.ndarray | None = None,
) -> NormalInverseWishart | None:
    """The prior that a user asks for, relative to ``problem.frame.shift``.

    `expected` is its mean covariance where the user gives no scale; None for that within the known classes.
    """
    if prior is None:
        return None
    given = {} if prior == "labeled" else dict(prior)
    unknown = [key for key in given if key not in _PRIOR_KEYS]
    if unknown:
        raise ValueError(f"prior has no entry {unknown[0]!r}; its entries are {', '.join(_PRIOR_KEYS)}.")
    if prior == "labeled" and not n_known and expected is None:
        warn_user("prior='labeled', but no row is labeled: the covariance of all rows takes the place.")
    n_features, shift = problem.source.n_features, problem.frame.shift
    dof = _number(given, "dof", n_features + more_dof)
    strength = _number(given, "mean_strength", _MEAN_STRENGTH)
    if not dof > n_features - 1:
        raise ValueError(f"prior['dof'] must be above n_features - 1 = {n_features - 1}, got {dof}.")
    if not strength > 0:
        raise ValueError(f"prior['mean_strength'] must be positive, got {strength}.")
    mean = _array(given["mean"], "prior['mean']") if "mean" in given else np.zeros(n_features)
    if mean.shape != (n_features,):
        raise ValueError(f"prior['mean'] must have shape ({n_features},), got {mean.shape}.")
    if "mean" in given and shift is not None:
        mean = mean - shift
    if "scale" in given:
        scale = _array(given["scale"], "prior['scale']")
        if scale.shape != (n_features, n_features) or not np.allclose(scale, scale.T):
            raise ValueError(f"prior['scale'] must be a symmetric matrix of shape ({n_features}, {n_features}).")
        if np.linalg.eigvalsh(scale)[0] <= 0:
            raise ValueError("prior['scale'] must be positive definite.")
    else:
        expected = pooled_covariance(problem, n_known) if expected is None else expected
        # Positive definite even if columns repeat each other.
        variances = np.where(np.diagonal(expected) > 0, np.diagonal(expected), feature_variances(problem))
        expected = expected + FINE * np.diag(variances)
        scale = max(dof - (n_features if kind in ("full", "tied") else 1) - 1, 1.0) * expected
    return NormalInverseWishart(mean, strength, dof, scale)


def labels_agreement(posed: Posed, axes: np.ndarray | None) -> Callable[[MixtureFit], float]:
    """Score of a fit: mean log posterior of their own class that it gives labeled rows."""
    source = posed.problem.source
    distinct = labeled_rows(source, np.random.RandomState(0))
    codes = posed.labels.codes[distinct.rows]
    X = shifted(distinct.X.astype(np.float64), posed.problem.frame.shift)
    labeled = source.like(X if axes is None else X @ axes, (None, None))

    def score(fit: MixtureFit) -> float:
        evaluation = evaluation_of(fit.mixture, None, np.inf, np.dtype(np.float64))
        resp = labeled.map(log_joint_densities, (evaluation, "resp"))[0]
        own = np.log(np.maximum(resp[np.arange(len(codes)), codes], np.finfo(np.float64).tiny))
        return float(np.average(own, weights=distinct.weight))

    return score


def partition_score(selection: Callable, problem: CenterProblem, rows: MixtureRows) -> Callable[[MixtureFit], float]:
    """Score of a fit by a user's function of distinct rows and their codes."""
    X = problem.source.X[problem.sample.rows]

    def score(fit: MixtureFit) -> float:
        value = float(selection(X, component_codes(rows, fit.mixture)))
        return -np.inf if np.isnan(value) else value

    return score


def initial_mixture(estimator: Any, posed: Posed, given: dict[str, Any]) -> Mixture:
    """Start from given weights, means or precisions; what is missing comes from the nearest means."""
    problem, labels, settings = posed.problem, posed.labels, posed.settings
    shift, n_features = problem.frame.shift, problem.source.n_features
    arrays = {name: None if value is None else _array(value, f"{name}_init") for name, value in given.items()}
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
