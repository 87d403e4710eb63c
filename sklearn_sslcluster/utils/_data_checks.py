"""Checks of the table: the order and repetition of rows, blocks, scales, and data on the edge of what can be fitted."""

from __future__ import annotations

import warnings
from typing import Any
from unittest import SkipTest

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import has_fit_parameter

from ._check_tools import (
    Check,
    Rows,
    assert_same_labels,
    assert_same_partition,
    assert_usable,
    count_parameter,
    data_methods,
    mixed,
    planted,
    prepared,
    refusal,
    require,
    walk_fitted,
    without_warnings,
)

_FIVE = {"n_clusters": 5}
_FOUR = {"n_clusters": 4}


def _tables(estimator: BaseEstimator) -> list[tuple[str, Rows, dict]]:
    """(description, rows, parameters): separated blobs and, unless the method works in mini-batches, overlapping ones.

    A mini-batch method sees the rows in an order, and promises the same groups only where they are clear.
    """
    tables = [("separated blobs", planted(), {}), ("separated blobs, five groups", mixed(), _FIVE)]
    if "batch_size" not in estimator.get_params():
        tables += [
            ("overlapping blobs", mixed(std=4.0), _FOUR),
            ("overlapping blobs, no labels", mixed(std=4.0), _FOUR),
        ]
    return tables


def _labels(estimator: BaseEstimator, X: Any, y: Any, parameters: dict) -> np.ndarray:
    return np.asarray(prepared(estimator, parameters).fit(X, y).labels_)


@without_warnings
def check_row_order_changes_nothing(name: str, estimator: BaseEstimator) -> None:
    """The rows in another order get the same labels, names included."""
    for what, rows, parameters in _tables(estimator):
        y = None if "no labels" in what else rows.y
        expected = _labels(estimator, rows.X, y, parameters)
        for seed in range(2):
            order = np.random.RandomState(seed).permutation(len(rows.X))
            got = _labels(estimator, rows.X[order], None if y is None else y[order], parameters)
            assert_same_labels(got, expected[order], f"{name}: on {what}, labels_ of permuted rows")


@without_warnings
def check_repeated_rows_change_nothing(name: str, estimator: BaseEstimator) -> None:
    """A table in which every row stands twice gives each row the label it has in the table itself."""
    for what, rows, parameters in _tables(estimator):
        y = None if "no labels" in what else rows.y
        expected = _labels(estimator, rows.X, y, parameters)
        twice = np.tile(np.arange(len(rows.X)), 2)
        got = _labels(estimator, rows.X[twice], None if y is None else y[twice], parameters)
        assert_same_labels(got, expected[twice], f"{name}: on {what}, labels_ of a table with every row twice")


@without_warnings
def check_block_size_changes_nothing(name: str, estimator: BaseEstimator) -> None:
    """Whatever the block size, the labels are the same and the fitted numbers agree to 1e-10."""
    for rows, parameters in ((planted(), _FIVE), (mixed(std=4.0), _FOUR)):
        reference = prepared(estimator, parameters, block_size=len(rows.X)).fit(rows.X, rows.y)
        for block_size in (1, 7, 32):
            fitted = prepared(estimator, parameters, block_size=block_size).fit(rows.X, rows.y)
            message = f"{name}: block_size={block_size} against one block:"
            assert_same_labels(fitted.labels_, reference.labels_, f"{message} labels_")
            for (path, one), (_, other) in zip(walk_fitted(fitted), walk_fitted(reference), strict=True):
                if isinstance(one, np.ndarray | float) and np.asarray(one).dtype.kind == "f" and "block" not in path:
                    close = np.allclose(one, other, rtol=1e-10, atol=1e-10 * np.abs(other).max(initial=0))
                    require(close, f"{message} the fitted attribute {path[1:]} differs.")


@without_warnings
def check_sample_weight_repeats_rows(name: str, estimator: BaseEstimator) -> None:
    """Whole sample weights are repeated rows, and weight 0 is a row left out."""
    if not has_fit_parameter(estimator, "sample_weight"):
        raise SkipTest(f"{type(estimator).__name__} has no fit(sample_weight=).")
    for rows, parameters in ((planted(), _FIVE), (mixed(std=4.0), _FOUR)):
        weight = np.random.RandomState(0).randint(0, 4, size=len(rows.X))
        weighted = prepared(estimator, parameters).fit(rows.X, rows.y, sample_weight=weight)
        repeat = np.repeat(np.arange(len(rows.X)), weight)
        repeated = prepared(estimator, parameters).fit(rows.X[repeat], rows.y[repeat])
        assert_same_labels(
            np.asarray(weighted.labels_)[repeat], repeated.labels_, f"{name}: labels_ with weights against repeats"
        )
        for method, call in data_methods(weighted):
            got, expected = np.asarray(call(rows.X)), np.asarray(getattr(repeated, method)(rows.X))
            if expected.dtype.kind == "f":
                close = np.allclose(got, expected, rtol=1e-6, atol=1e-9 * np.abs(expected).max())
                require(close, f"{name}: {method} gives other numbers with weights than with repeats.")
            else:
                assert_same_labels(got, expected, f"{name}: {method} with weights against repeats")


@without_warnings
def check_scale_and_offset_change_nothing(name: str, estimator: BaseEstimator) -> None:
    """Values of the size of 1e12 or 1e-12, and values far from the origin, are grouped as the original ones are."""
    rows = planted()
    for parameters in (_FIVE, {}):
        expected = _labels(estimator, rows.X, rows.y, parameters)
        moved = {
            "multiplied by 1e12": rows.X * 1e12,
            "multiplied by 1e-12": rows.X * 1e-12,
            "moved by 1e6": rows.X + 1e6,
        }
        for what, X in moved.items():
            fitted = prepared(estimator, parameters).fit(X, rows.y)
            assert_same_labels(fitted.labels_, expected, f"{name}: labels_ of rows {what}")
            assert_usable(fitted, Rows(X, rows.truth, rows.y), f"{name}: on rows {what}")


@without_warnings
def check_constant_and_duplicate_columns(name: str, estimator: BaseEstimator) -> None:
    """A constant column and a second copy of every column change no label."""
    rows = planted()
    expected = _labels(estimator, rows.X, rows.y, _FIVE)
    tables = {
        "a constant column": np.column_stack([rows.X, np.full(len(rows.X), 3.5)]),
        "a column of zeros": np.column_stack([np.zeros(len(rows.X)), rows.X]),
        "every column twice": np.column_stack([rows.X, rows.X]),
    }
    for what, X in tables.items():
        fitted = prepared(estimator, _FIVE).fit(X, rows.y)
        assert_same_labels(fitted.labels_, expected, f"{name}: labels_ with {what}")
        assert_usable(fitted, Rows(X, rows.truth, rows.y), f"{name}: with {what}")


def _assert_fits(name: str, estimator: Any, rows: Rows, what: str, most: int) -> Any:
    """Fit to data that allow for at most so many clusters.

    An estimator with a parameter for their number has to do with fewer; another one, a search for example, may refuse
    the data with a ValueError that speaks of the number of rows.
    """
    if count_parameter(estimator) is not None:
        estimator.fit(rows.X, rows.y)
    else:
        refused = refusal(estimator.fit, rows.X, rows.y)
        if refused.error is not None:
            says = any(word in refused.text.lower() for word in ("sample", "row", "n_splits", "fold"))
            require(says, f"{name}: fit on {what} raised {refused.text!r}, which does not speak of the rows.")
            raise SkipTest(f"{type(estimator).__name__} refuses {what}: {refused.text}")
    require(
        1 <= estimator.n_clusters_ <= most,
        f"{name}: n_clusters_ is {estimator.n_clusters_} on {what}, which allow for 1 to {most}.",
    )
    assert_usable(estimator, rows, f"{name}: on {what}")
    return estimator


def _rows(X: list, y: list) -> Rows:
    return Rows(np.array(X, dtype=np.float64), np.zeros(len(y), dtype=int), np.array(y))


@without_warnings
def check_one_row(name: str, estimator: BaseEstimator) -> None:
    """One row, labeled or not, is fitted; an estimator without a number of clusters may refuse it, naming the rows."""
    for what, y in (("one unlabeled row", [-1]), ("one labeled row", [4])):
        _assert_fits(name, prepared(estimator), _rows([[1.0, 2.0]], y), what, most=1)


def check_fewer_rows_than_clusters(name: str, estimator: BaseEstimator) -> None:
    """More clusters than rows are reduced to the rows there are, with a warning."""
    X = [[0.0, 0.0], [5.0, 1.0], [9.0, 9.0]]
    for what, y in (("three unlabeled rows", [-1, -1, -1]), ("three rows, one labeled", [0, -1, -1])):
        _assert_warns_of_fewer(name, prepared(estimator, n_clusters=8), _rows(X, y), what, most=3)


def check_few_distinct_rows(name: str, estimator: BaseEstimator) -> None:
    """More clusters than distinct rows are reduced to the distinct rows there are, with a warning; equal rows agree."""
    X = np.repeat([[0.0, 0.0], [5.0, 1.0], [9.0, 9.0]], 6, axis=0)
    for what, y in (("unlabeled", [-1] * 18), ("partly labeled", [0] * 6 + [-1] * 12)):
        rows = _rows(X.tolist(), y)
        fitted = _assert_warns_of_fewer(
            name, prepared(estimator, n_clusters=5), rows, f"three distinct rows, {what}", most=3
        )
        assert_same_partition(
            fitted.labels_, np.repeat([0, 1, 2], 6), f"{name}: labels_ of three distinct rows, {what}"
        )


def _assert_warns_of_fewer(name: str, estimator: Any, rows: Rows, what: str, most: int) -> Any:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted = _assert_fits(name, estimator, rows, what, most)
    texts = [str(warning.message) for warning in caught]
    count = count_parameter(estimator)
    wanted = estimator.get_params()[count]
    require(
        any("distinct" in text or "cluster" in text for text in texts),
        f"{name}: {count}={wanted} on {what} gave {fitted.n_clusters_} without a warning; warnings: {texts}.",
    )
    return fitted


@without_warnings
def check_identical_rows(name: str, estimator: BaseEstimator) -> None:
    """A table of one row repeated is one group; labels on it are kept, be they of one class or of two."""
    X = [[2.0, 7.0]] * 12
    cases = {
        "without labels": [-1] * 12,
        "some labeled alike": [0] * 3 + [-1] * 9,
        "labeled with two classes": [0] * 3 + [1] * 3 + [-1] * 6,
    }
    for what, y in cases.items():
        rows = _rows(X, y)
        n_known = len(set(y) - {-1})
        fitted = _assert_fits(
            name, prepared(estimator, {"n_clusters": 3}), rows, f"identical rows {what}", max(1, n_known)
        )
        groups = set(np.asarray(fitted.labels_)[rows.unlabeled].tolist())
        require(len(groups) == 1, f"{name}: identical unlabeled rows {what} were put into the groups {groups}.")


DATA_CHECKS: tuple[Check, ...] = (
    check_row_order_changes_nothing,
    check_repeated_rows_change_nothing,
    check_block_size_changes_nothing,
    check_sample_weight_repeats_rows,
    check_scale_and_offset_change_nothing,
    check_constant_and_duplicate_columns,
    check_one_row,
    check_fewer_rows_than_clusters,
    check_few_distinct_rows,
    check_identical_rows,
)
