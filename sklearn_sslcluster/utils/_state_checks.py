"""Checks of the estimator as an object: its state, copies of it, containers around it, randomness, interrupts."""

from __future__ import annotations

import pickle
import random
import sys
from inspect import isfunction
from typing import Any

import joblib
import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from ._check_tools import (
    Check,
    Rows,
    assert_same_labels,
    count_parameter,
    data_methods,
    fitted_attributes,
    planted,
    prepared,
    refusal,
    require,
    require_method,
    require_package,
    walk_fitted,
    without_warnings,
)
from ._interrupts import Interrupter
from ._trusted_types import trusted_types

_FIVE = {"n_clusters": 5}


@without_warnings
def check_clone_and_params(name: str, estimator: BaseEstimator) -> None:
    """`clone` gives an unfitted twin, `set_params` sets, `fit` changes no parameter."""
    rows = planted()
    fitted = prepared(estimator, _FIVE)
    before = {key: joblib.hash(value) for key, value in fitted.get_params(deep=True).items()}
    fitted.fit(rows.X, rows.y)
    after = {key: joblib.hash(value) for key, value in fitted.get_params(deep=True).items()}
    changed = sorted(key for key in before | after if before.get(key) != after.get(key))
    require(not changed, f"{name}: fit changed the parameters {changed}.")
    twin = clone(fitted)
    extra = sorted(fitted_attributes(twin))
    require(not extra, f"{name}: a clone of the fitted estimator carries {extra}.")
    missing = sorted(key for key in fitted_attributes(fitted) if not key.endswith("_") and not key.startswith("_"))
    require(not missing, f"{name}: fit set {missing}, names that end with no underscore.")
    returned = twin.set_params(**fitted.get_params(deep=False))
    require(returned is twin, f"{name}: set_params returned {type(returned).__name__}, not the estimator.")
    assert_same_labels(twin.fit(rows.X, rows.y).labels_, fitted.labels_, f"{name}: labels_ of a fitted clone")
    refused = refusal(twin.set_params, no_such_parameter=1)
    require("no_such_parameter" in refused.text, f"{name}: set_params took a parameter that does not exist.")


@without_warnings
def check_fitted_state_is_plain(name: str, estimator: BaseEstimator) -> None:
    """The fitted state is numpy arrays, numbers, strings, None, lists, tuples and dicts of them, and estimators."""
    rows = planted()
    fitted = prepared(estimator, _FIVE).fit(rows.X, rows.y)
    scalars = (np.ndarray, np.generic, bool, int, float, complex, str, bytes)
    named = set(trusted_types())
    for path, leaf in walk_fitted(fitted):
        named_by = leaf if isfunction(leaf) else type(leaf)
        kind = f"{named_by.__module__}.{named_by.__qualname__}"
        plain = leaf is None or isinstance(leaf, scalars) or kind in named
        require(plain, f"{name}: the fitted attribute {path[1:]} holds a {kind}.")


def _answers(fitted: Any, X: Any) -> dict[str, np.ndarray]:
    return {method: np.asarray(call(X)) for method, call in data_methods(fitted)} | {"labels_": fitted.labels_}


def _assert_same_answers(actual: dict, expected: dict, message: str) -> None:
    require(actual.keys() == expected.keys(), f"{message}: methods {actual.keys() ^ expected.keys()} came or went.")
    for method, wanted in expected.items():
        if np.asarray(wanted).dtype.kind == "f":
            same = np.array_equal(actual[method], wanted, equal_nan=True)
            require(same, f"{message}: {method} gives other numbers.")
        else:
            assert_same_labels(actual[method], wanted, f"{message}: {method}")


@without_warnings
def check_pickle_round_trip(name: str, estimator: BaseEstimator) -> None:
    """A pickled and restored estimator, fitted on string labels, gives the same answers on new rows."""
    rows, new = planted(), planted(std=2.0, seed=5)
    y = np.array([None, "ash", "beech", "cedar"], dtype=object)[rows.y + 1]
    fitted = prepared(estimator, _FIVE).fit(rows.X, y)
    restored = pickle.loads(pickle.dumps(fitted))
    _assert_same_answers(_answers(restored, new.X), _answers(fitted, new.X), f"{name}: after pickling")


@without_warnings
def check_skops_round_trip(name: str, estimator: BaseEstimator) -> None:
    """skops restores the estimator trusting `trusted_types` and its own class only, and it gives the same answers."""
    skops = require_package("skops.io")
    rows, new = planted(), planted(std=2.0, seed=5)
    own = f"{type(estimator).__module__}.{type(estimator).__qualname__}"
    for y in (rows.y, np.array([None, "ash", "beech", "cedar"], dtype=object)[rows.y + 1]):
        fitted = prepared(estimator, _FIVE).fit(rows.X, y)
        dumped = skops.dumps(fitted)
        unknown = sorted(set(skops.get_untrusted_types(data=dumped)) - {own, *trusted_types()})
        require(not unknown, f"{name}: a file of the fitted estimator holds {unknown}, which trusted_types() lacks.")
        restored = skops.loads(dumped, trusted=sorted({own, *trusted_types()}))
        _assert_same_answers(_answers(restored, new.X), _answers(fitted, new.X), f"{name}: after skops")


@without_warnings
def check_same_seed_same_answer(name: str, estimator: BaseEstimator) -> None:
    """Two fits with one seed agree in every fitted number, on clear blobs and on overlapping ones."""
    for rows in (planted(), planted(std=4.0)):
        first, second = (prepared(estimator, _FIVE).fit(rows.X, rows.y) for _ in range(2))
        assert_same_labels(first.labels_, second.labels_, f"{name}: labels_ of two fits with one seed")
        leaves = zip(walk_fitted(first), walk_fitted(second), strict=True)
        for (path, one), (_, other) in leaves:
            timed = "_time" in path
            if isinstance(one, np.ndarray) and one.dtype.kind in "biuf" and not timed:
                same = np.array_equal(np.ma.filled(one, 0), np.ma.filled(other, 0), equal_nan=one.dtype.kind == "f")
                require(same, f"{name}: two fits with one seed differ in the fitted attribute {path[1:]}.")


def _generator_states() -> dict[str, Any]:
    states = {"numpy": joblib.hash(np.random.get_state()), "random": random.getstate()}  # noqa: NPY002
    torch = sys.modules.get("torch")
    return states if torch is None else states | {"torch": torch.get_rng_state().numpy().tobytes()}


@without_warnings
def check_global_generators_untouched(name: str, estimator: BaseEstimator) -> None:
    """With a seed, neither `fit` nor any other method draws from the generators of numpy, random and torch."""
    rows = planted()
    before = _generator_states()
    fitted = prepared(estimator, _FIVE).fit(rows.X, rows.y)
    after_fit = _generator_states()
    moved = [which for which, state in before.items() if after_fit[which] != state]
    require(not moved, f"{name}: fit moved the global generators of {moved}.")
    for method, call in data_methods(fitted):
        call(rows.X)
        after_call = _generator_states()
        moved = [which for which, state in after_fit.items() if after_call[which] != state]
        require(not moved, f"{name}: {method} moved the global generators of {moved}.")


@without_warnings
def check_set_output_pandas(name: str, estimator: BaseEstimator) -> None:
    """``set_output(transform="pandas")`` gives a DataFrame with the names and the values of `transform`."""
    pandas = require_package("pandas")
    out, plain, names = _set_output(estimator, "pandas")
    require(isinstance(out, pandas.DataFrame), f"{name}: transform gave a {type(out).__name__} for 'pandas'.")
    _assert_same_table(name, list(out.columns), out.to_numpy(), plain, names)


@without_warnings
def check_set_output_polars(name: str, estimator: BaseEstimator) -> None:
    """``set_output(transform="polars")`` gives a DataFrame with the names and the values of `transform`."""
    polars = require_package("polars")
    out, plain, names = _set_output(estimator, "polars")
    require(isinstance(out, polars.DataFrame), f"{name}: transform gave a {type(out).__name__} for 'polars'.")
    _assert_same_table(name, list(out.columns), out.to_numpy(), plain, names)


def _set_output(estimator: BaseEstimator, container: str) -> tuple[Any, np.ndarray, list[str]]:
    rows = planted()
    fitted = prepared(estimator, _FIVE).fit(rows.X, rows.y)
    transform = require_method(fitted, "transform")
    plain = np.asarray(transform(rows.X))
    require_method(fitted, "set_output")(transform=container)
    return fitted.transform(rows.X), plain, list(fitted.get_feature_names_out())


def _assert_same_table(name: str, columns: list, values: np.ndarray, plain: np.ndarray, names: list[str]) -> None:
    require(columns == names, f"{name}: the columns are {columns}, get_feature_names_out gives {names}.")
    require(np.array_equal(values, plain), f"{name}: transform gives other numbers with set_output.")


@without_warnings
def check_misplaced_columns_refused(name: str, estimator: BaseEstimator) -> None:
    """Columns of a DataFrame in another order, missing or renamed are refused, naming the first that differs."""
    pandas = require_package("pandas")
    rows = planted()
    frame = pandas.DataFrame(rows.X, columns=["width", "height", "depth"])
    fitted = prepared(estimator, _FIVE).fit(frame, rows.y)
    feature_names = getattr(fitted, "feature_names_in_", np.empty(0)).tolist()
    require(feature_names == list(frame.columns), f"{name}: feature_names_in_ is {feature_names}.")
    wrong = {
        "re-ordered": (frame[["width", "depth", "height"]], "position 1 holds 'depth', expected 'height'"),
        "missing": (frame[["width", "height"]], "position 2 holds nothing, expected 'depth'"),
        "renamed": (frame.rename(columns={"width": "Width"}), "position 0 holds 'Width', expected 'width'"),
    }
    for method, call in data_methods(fitted):
        call(frame)
        for what, (table, where) in wrong.items():
            refused = refusal(call, table)
            require(isinstance(refused.error, ValueError), f"{name}: {method} took {what} columns.")
            for text in ("feature names", "First column that differs", where):
                require(
                    text in refused.text,
                    f"{name}: {method} refused {what} columns without saying {text!r}: {refused.text!r}.",
                )


@without_warnings
def check_pipeline_in_grid_search(name: str, estimator: BaseEstimator) -> None:
    """The estimator works as the last step of a Pipeline inside GridSearchCV with two workers."""
    rows = planted()
    steps = [("scale", StandardScaler()), ("cluster", prepared(estimator, _FIVE))]
    count = count_parameter(estimator)
    grid = {f"cluster__{count}": [3, 5]} if count else {"scale__with_mean": [True, False]}
    search = GridSearchCV(Pipeline(steps), grid, cv=2, n_jobs=2, error_score="raise").fit(rows.X, rows.y)
    require(np.isfinite(search.cv_results_["mean_test_score"]).all(), f"{name}: score is not finite on a test fold.")
    pipeline = Pipeline(steps)
    labels = np.asarray(pipeline.fit_predict(rows.X, rows.y))
    labeled = ~rows.unlabeled
    assert_same_labels(labels[labeled], rows.y[labeled], f"{name}: Pipeline.fit_predict on the labeled rows")
    predicted = search.predict(rows.X)
    require(len(predicted) == len(rows.X), f"{name}: {len(predicted)} predictions for {len(rows.X)} rows.")


@without_warnings
def check_score_finds_number_of_clusters(name: str, estimator: BaseEstimator) -> None:
    """Plain GridSearchCV over 2..12 clusters picks 5 on five planted blobs, without labels and with some."""
    count = count_parameter(prepared(estimator, n_clusters=2))
    # The densities of mixtures need some rows a blob, or held-out rows tell little of the number of components.
    rows = planted(times=3)
    for y in (None, planted(n_known=2, times=3).y):
        search = GridSearchCV(prepared(estimator), {count: list(range(2, 13))}, cv=3, error_score="raise")
        search.fit(rows.X, y)
        picked = search.best_params_[count]
        scores = dict(zip(range(2, 13), search.cv_results_["mean_test_score"].round(3).tolist(), strict=True))
        what = "without labels" if y is None else "with two known classes"
        require(picked == 5, f"{name}: score {what} picked {picked} of 2..12 on five planted blobs; scores: {scores}.")


@without_warnings
def check_interrupted_fit_changes_nothing(name: str, estimator: BaseEstimator) -> None:
    """A KeyboardInterrupt anywhere in `fit`, the first one or a later one, leaves the estimator as it was."""
    rows = planted()
    other = Rows(planted(seed=7).X[:, :2], rows.truth, planted(seed=7, n_known=2).y)

    def unfitted() -> Any:
        return prepared(estimator, _FIVE)

    def fitted() -> Any:
        return prepared(estimator, _FIVE).fit(other.X, other.y)

    for what, start in (("first fit", unfitted), ("refit", fitted)):
        # Once without counting, so that caches filled by the first run do not shift the count.
        start().fit(rows.X, rows.y)
        for moment, line in Interrupter(start()).moments(rows.X, rows.y).items():
            _assert_unchanged_by_interrupt(f"{name}: an interrupt {moment} of a {what}", start(), rows, line)


def _assert_unchanged_by_interrupt(message: str, candidate: Any, rows: Rows, line: int) -> None:
    before, contents = dict(vars(candidate)), _fingerprints(candidate)
    interrupter = Interrupter(candidate)
    interrupted = interrupter.interrupt(rows.X, rows.y, line)
    if interrupter.reached is None:
        return
    require(interrupted, f"{message} ({interrupter.reached}) was swallowed: fit went on.")
    after = vars(candidate)
    changed = sorted(key for key in before | after if key not in before or after.get(key, candidate) is not before[key])
    require(not changed, f"{message} ({interrupter.reached}) changed the attributes {changed}.")
    touched = [key for key, value in _fingerprints(candidate).items() if contents[key] != value]
    require(not touched, f"{message} ({interrupter.reached}) changed the contents of {touched} in place.")


def _fingerprints(estimator: BaseEstimator) -> dict[str, str]:
    return {key: joblib.hash(value) for key, value in vars(estimator).items()}


STATE_CHECKS: tuple[Check, ...] = (
    check_clone_and_params,
    check_fitted_state_is_plain,
    check_pickle_round_trip,
    check_skops_round_trip,
    check_same_seed_same_answer,
    check_global_generators_untouched,
    check_set_output_pandas,
    check_set_output_polars,
    check_misplaced_columns_refused,
    check_pipeline_in_grid_search,
    check_score_finds_number_of_clusters,
    check_interrupted_fit_changes_nothing,
)
