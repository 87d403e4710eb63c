"""Steps of a fit that the estimators share: the rows measured, regularization, and prior."""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np
from scipy.sparse import issparse

from ..base import check_range, check_weights
from ..labels import PartialLabels, warn_user
from ..numerics import (
    CenterProblem,
    MaximizationSettings,
    MixtureRows,
    Moments,
    NormalInverseWishart,
    labeled_moments,
    labeled_rows,
    measure_rows,
    pose_problem,
    sample_rows,
    shifted,
)

# Regularization by "auto" while searching, in units of the variance of a feature at first and of that within the
# components then, and in the end, in units of the latter, more where a component has few rows.
_COARSE_OF_ALL, COARSE, _FINE, _FEW_ROWS, _LARGEST = 0.2, 0.4, 0.01, 1.0, 0.5
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
    sample_weight = estimator._check_weights(sample_weight, X)
    labels = estimator._encode_labels(y, X)
    codes = labels.codes if labels.n_known else None
    blocks = estimator._blocks(X, (codes, sample_weight), estimator.device)
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


def final_settings(posed: Posed, reg_covar: float | str, within: np.ndarray, n_components: int) -> MaximizationSettings:
    """Settings with the regularization that the result has: `within` are the variances within its components."""
    if reg_covar != "auto":
        return posed.settings
    share = min(_FINE + _FEW_ROWS * n_components / max(posed.n_distinct, 1), _LARGEST)
    smallest = np.sqrt(np.finfo(np.float64).eps) * posed.settings.regularization
    return replace(posed.settings, regularization=np.maximum(share * within, smallest))


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


def finite_array(value: Any, name: str) -> np.ndarray:
    """What a user gave as an array of finite numbers."""
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
    mean = finite_array(given["mean"], "prior['mean']") if "mean" in given else np.zeros(n_features)
    if mean.shape != (n_features,):
        raise ValueError(f"prior['mean'] must have shape ({n_features},), got {mean.shape}.")
    if "mean" in given and shift is not None:
        mean = mean - shift
    if "scale" in given:
        scale = finite_array(given["scale"], "prior['scale']")
        if scale.shape != (n_features, n_features) or not np.allclose(scale, scale.T):
            raise ValueError(f"prior['scale'] must be a symmetric matrix of shape ({n_features}, {n_features}).")
        if np.linalg.eigvalsh(scale)[0] <= 0:
            raise ValueError("prior['scale'] must be positive definite.")
    else:
        expected = pooled_covariance(problem, n_known) if expected is None else expected
        # Positive definite even if columns repeat each other.
        variances = np.where(np.diagonal(expected) > 0, np.diagonal(expected), feature_variances(problem))
        expected = expected + _FINE * np.diag(variances)
        scale = max(dof - (n_features if kind in ("full", "tied") else 1) - 1, 1.0) * expected
    return NormalInverseWishart(mean, strength, dof, scale)
