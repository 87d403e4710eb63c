"""Data, comparisons and small helpers of the estimator checks."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from importlib import import_module
from inspect import signature
from typing import Any, NoReturn
from unittest import SkipTest

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.datasets import make_blobs

Check = Callable[[str, BaseEstimator], None]

_PLANTED_CENTERS = np.array([[0.0, 0, 0], [14, 0, 3], [0, 15, -2], [13, 16, 0], [6, 7, 17]])
_PLANTED_SIZES = [24, 21, 18, 15, 12]
_LIBRARIES_OUTSIDE_STATE = ("pandas", "polars", "skorch", "torch")
_TREES = ("BallTree", "KDTree", "cKDTree")


@dataclass(frozen=True)
class Rows:
    """Rows drawn around planted centers.

    Attributes
    ----------
    X : ndarray of shape (n_rows, n_features)
    truth : ndarray of shape (n_rows,)
        Planted class of each row, 0 the largest.
    y : ndarray of shape (n_rows,)
        Partial labels: the planted class, or -1.
    """

    X: np.ndarray
    truth: np.ndarray
    y: np.ndarray

    @property
    def unlabeled(self) -> np.ndarray:
        return self.y == -1


def planted(std: float = 0.7, *, n_known: int = 3, seed: int = 0, times: int = 1) -> Rows:
    """Five blobs of different sizes; all rows of the first `n_known` are labeled, the others hold unnamed classes."""
    sizes = [times * size for size in _PLANTED_SIZES]
    X, truth = make_blobs(sizes, centers=_PLANTED_CENTERS, cluster_std=std, random_state=seed)
    return Rows(X, truth, np.where(truth < n_known, truth, -1))


def mixed(std: float = 0.7, *, seed: int = 1) -> Rows:
    """Like `planted`, with every third row of the known classes unlabeled as well."""
    rows = planted(std, seed=seed)
    return Rows(rows.X, rows.truth, np.where(np.arange(len(rows.y)) % 3 == 0, -1, rows.y))


def known_and(n_novel: int, *, unlabeled_known: bool, seed: int = 2) -> Rows:
    """Three known blobs and `n_novel` unnamed ones; every third row of the known classes unlabeled on request."""
    rows = planted(n_known=3, seed=seed)
    kept = rows.truth < 3 + n_novel
    hidden = (np.arange(len(rows.y)) % 3 == 0) if unlabeled_known else np.zeros(len(rows.y), dtype=bool)
    return Rows(rows.X[kept], rows.truth[kept], np.where(hidden, -1, rows.y)[kept])


def count_parameter(estimator: BaseEstimator) -> str | None:
    """Name of the parameter for the number of classes: `n_clusters`, `n_components` of a mixture, or None."""
    present = estimator.get_params(deep=False)
    return next((name for name in ("n_clusters", "n_components") if name in present), None)


def _renamed(parameters: dict, estimator: BaseEstimator) -> dict:
    count = count_parameter(estimator) or "n_clusters"
    return {count if name == "n_clusters" else name: value for name, value in parameters.items()}


def prepared(estimator: BaseEstimator, if_present: dict | None = None, /, **required: Any) -> Any:
    """Seeded clone of `estimator` with other parameters.

    Parameters
    ----------
    estimator : estimator
    if_present : dict, optional
        Parameters to set where the estimator has them.
    **required : dict
        Parameters without which the check means nothing: it is skipped where the estimator lacks one.

    `n_clusters` stands for the parameter that counts the classes, see `count_parameter`.
    """
    estimator = clone(estimator)
    present = estimator.get_params(deep=True)
    required, if_present = _renamed(required, estimator), _renamed(if_present or {}, estimator)
    for parameter in required:
        if parameter not in present:
            raise SkipTest(f"{type(estimator).__name__} has no parameter {parameter}.")
    seeds = {key: 0 for key in present if key == "random_state" or key.endswith("__random_state")}
    wanted = {"unlabeled_value": -1, **if_present}
    wanted = {key: value for key, value in wanted.items() if key in present and key not in required}
    return estimator.set_params(**seeds, **wanted, **required)


def require_method(estimator: Any, method: str, parameter: str | None = None) -> Callable:
    """Bound method of `estimator`; the check is skipped where there is none, or it lacks `parameter`."""
    found = getattr(estimator, method, None)
    if found is None or (parameter is not None and parameter not in signature(found).parameters):
        what = method if parameter is None else f"{method}({parameter}=)"
        raise SkipTest(f"{type(estimator).__name__} has no {what}.")
    return found


def require_package(name: str) -> Any:
    """Import an optional package; the check is skipped where it is not installed."""
    try:
        return import_module(name)
    except ImportError:
        raise SkipTest(f"{name} is not installed.") from None


def without_warnings(check: Check) -> Check:
    """Decorate a check that is not about warnings."""

    @wraps(check)
    def quiet(name: str, estimator: BaseEstimator) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check(name, estimator)

    return quiet


def fail(message: str) -> NoReturn:
    raise AssertionError(message)


def require(condition: Any, message: str) -> None:
    if not condition:
        fail(message)


def assert_same_labels(actual: Any, expected: Any, message: str) -> None:
    """Require equal names row by row; True and 1 are different names."""
    actual, expected = (list(v) if isinstance(v, list) else np.asarray(v).tolist() for v in (actual, expected))
    require(len(actual) == len(expected), f"{message}: got {len(actual)} labels for {len(expected)} rows.")
    differ = [
        i
        for i, (got, wanted) in enumerate(zip(actual, expected, strict=True))
        if got != wanted or isinstance(got, bool) != isinstance(wanted, bool)
    ]
    if differ:
        i = differ[0]
        fail(
            f"{message}: {len(differ)} of {len(expected)} labels differ, the first at position {i}: "
            f"got {actual[i]!r}, expected {expected[i]!r}."
        )


def assert_same_partition(actual: Any, expected: Any, message: str) -> None:
    """Require that two labelings group the rows alike, whatever the names."""
    pairs = set(zip(np.asarray(actual).tolist(), np.asarray(expected).tolist(), strict=True))
    n_actual, n_expected = len({a for a, _ in pairs}), len({b for _, b in pairs})
    require(
        len(pairs) == n_actual == n_expected,
        f"{message}: {n_actual} groups were found, {n_expected} expected, "
        f"and {len(pairs)} pairs of a found and an expected group share rows.",
    )


@dataclass(frozen=True)
class Refusal:
    """Result of a call that was expected to raise."""

    error: ValueError | TypeError | None

    @property
    def text(self) -> str:
        return "" if self.error is None else str(self.error)


def refusal(function: Callable, *args: Any, **kwargs: Any) -> Refusal:
    """The ValueError or TypeError that a call raises, if it does."""
    try:
        function(*args, **kwargs)
    except (ValueError, TypeError) as error:
        return Refusal(error)
    return Refusal(None)


def fitted_attributes(estimator: BaseEstimator) -> dict[str, Any]:
    """What fitting has added to an estimator."""
    parameters = estimator.get_params(deep=False)
    return {name: value for name, value in vars(estimator).items() if name not in parameters}


def walk_fitted(estimator: BaseEstimator, path: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of the fitted state with the path to each: containers and nested estimators are entered.

    What scikit-learn's own estimators keep is scikit-learn's affair: of theirs only what no fitted state may hold is
    given, and the estimators in them, fitted in place as the steps of a Pipeline are, are entered.
    """
    from_sklearn = type(estimator).__module__.partition(".")[0] == "sklearn"
    parameters = estimator.get_params(deep=False)
    for name, value in vars(estimator).items():
        for where, leaf in _walk(value, f"{path}.{name}"):
            if isinstance(leaf, BaseEstimator):
                yield from walk_fitted(leaf, where)
            elif name not in parameters and (not from_sklearn or _never_plain(leaf)):
                yield where, leaf


def _never_plain(leaf: Any) -> bool:
    return type(leaf).__module__.partition(".")[0] in _LIBRARIES_OUTSIDE_STATE or type(leaf).__name__ in _TREES


def _walk(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield f"{path} (a key)", key
            yield from _walk(item, f"{path}[{key!r}]")
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from _walk(item, f"{path}[{i}]")
    elif isinstance(value, np.ndarray) and value.dtype == object:
        for item in value.ravel().tolist():
            yield from _walk(item, f"{path}[...]")
    else:
        yield path, value


def assert_no_nan(estimator: BaseEstimator, message: str) -> None:
    """Require that no number of the fitted state is NaN."""
    for path, leaf in walk_fitted(estimator):
        if isinstance(leaf, float | np.floating | np.ndarray) and np.asarray(leaf).dtype.kind in "fc":
            n_nan = int(np.isnan(np.ma.filled(leaf, 0.0)).sum())
            require(not n_nan, f"{message}: {n_nan} values of the fitted attribute {path[1:]} are NaN.")


def assert_usable(estimator: Any, rows: Rows, message: str) -> None:
    """Require of a fitted estimator what holds on any data: one label a row, labels kept, `predict` agrees, no NaN."""
    labels = np.asarray(estimator.labels_)
    require(labels.shape == rows.y.shape, f"{message}: labels_ has shape {labels.shape} for {len(rows.y)} rows.")
    labeled = ~rows.unlabeled
    assert_same_labels(labels[labeled], rows.y[labeled], f"{message}: labels_ of the labeled rows")
    predicted = np.asarray(estimator.predict(rows.X))
    assert_same_labels(
        predicted[~labeled], labels[~labeled], f"{message}: predict on the unlabeled training rows against labels_"
    )
    foreign = set(predicted.tolist()) - set(np.asarray(estimator.classes_).tolist())
    require(not foreign, f"{message}: predict answers {sorted(foreign)[:3]}, which are not in classes_.")
    assert_no_nan(estimator, message)


def data_methods(estimator: Any) -> Iterator[tuple[str, Callable]]:
    """(name, bound method) of the methods of a fitted estimator that take rows and return something for them."""
    for name in ("predict", "predict_novel", "predict_proba", "transform", "novelty_score", "score"):
        if hasattr(estimator, name):
            yield name, getattr(estimator, name)
