"""Checks of what happens to partial labels: they are used, kept, and spoken back in the user's names."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from ._check_tools import (
    Check,
    assert_same_labels,
    assert_same_partition,
    count_parameter,
    fail,
    known_and,
    mixed,
    planted,
    prepared,
    refusal,
    require,
    require_method,
    require_package,
    without_warnings,
)

_FIVE = {"n_clusters": 5}


@without_warnings
def check_labels_reach_fit_predict(name: str, estimator: BaseEstimator) -> None:
    """``fit_predict(X, y)`` uses `y`: it answers in the names of the labels, and as ``fit(X, y).labels_`` does."""
    rows = planted()
    y = np.array([None, "ash", "beech", "cedar"], dtype=object)[rows.y + 1]
    labels = prepared(estimator, _FIVE).fit_predict(rows.X, y)
    labeled = ~rows.unlabeled
    assert_same_labels(labels[labeled], y[labeled], f"{name}: fit_predict(X, y) on the labeled rows")
    fitted = prepared(estimator, _FIVE).fit(rows.X, y)
    assert_same_labels(labels, fitted.labels_, f"{name}: fit_predict(X, y) against fit(X, y).labels_")


@without_warnings
def check_labeled_rows_keep_their_label(name: str, estimator: BaseEstimator) -> None:
    """``labels_`` of a labeled row is its label, also where the row lies among rows of another class."""
    rows = planted()
    y = rows.y.copy()
    astray = np.flatnonzero(rows.truth == 0)[:3]
    y[astray] = 1
    labels = np.asarray(prepared(estimator, _FIVE).fit(rows.X, y).labels_)
    assert_same_labels(labels[y != -1], y[y != -1], f"{name}: labels_ of the labeled rows")


@without_warnings
def check_classes_known_first(name: str, estimator: BaseEstimator) -> None:
    """``classes_`` holds the known classes, sorted, then ``novel_classes_`` by decreasing size on the training rows."""
    rows = planted()
    y = np.where(rows.unlabeled, -1, 10 * rows.y + 5)
    fitted = prepared(estimator, _FIVE).fit(rows.X, y)
    novel = np.asarray(fitted.novel_classes_)
    assert_same_labels(fitted.classes_, [5, 15, 25, *novel.tolist()], f"{name}: classes_")
    assert_same_labels(novel, 26 + np.arange(len(novel)), f"{name}: novel_classes_")
    sizes = [int((np.asarray(fitted.labels_)[rows.unlabeled] == label).sum()) for label in novel.tolist()]
    require(sizes == sorted(sizes, reverse=True), f"{name}: novel classes have the sizes {sizes}, not decreasing.")
    require(
        fitted.n_clusters_ == len(fitted.classes_),
        f"{name}: n_clusters_ is {fitted.n_clusters_}, classes_ has {len(fitted.classes_)} entries.",
    )


def _assert_speaks(name: str, estimator: BaseEstimator, y: Any, codes: np.ndarray, known: list, kind: str) -> None:
    """Require the answer of a fit to `y` to be that of a fit to `codes`, in the names of `y`."""
    X = planted().X
    reference = prepared(estimator, _FIVE).fit(X, codes)
    fitted = prepared(estimator, _FIVE).fit(X, y)
    n_novel = len(reference.novel_classes_)
    if all(isinstance(label, int) and not isinstance(label, bool) for label in known):
        novel: list = [max(known) + 1 + i for i in range(n_novel)]
    else:
        novel = [f"novel_{i}" for i in range(n_novel)]
    name_of = dict(zip(np.asarray(reference.classes_).tolist(), [*known, *novel], strict=False))
    message = f"{name}: with {kind} as labels,"
    for what, got, wanted in (
        ("classes_", fitted.classes_, reference.classes_),
        ("labels_", fitted.labels_, reference.labels_),
        ("predict(X)", fitted.predict(X), reference.predict(X)),
    ):
        expected = [name_of.get(label, label) for label in np.asarray(wanted).tolist()]
        assert_same_labels(got, expected, f"{message} {what}")


def _objects(codes: np.ndarray, known: list, missing: Any) -> np.ndarray:
    out = np.empty(len(codes), dtype=object)
    out[:] = [missing if code == -1 else known[code] for code in codes]
    return out


@without_warnings
def check_label_kinds_round_trip(name: str, estimator: BaseEstimator) -> None:
    """Integers, whole floats, strings and bools, with -1, None or NaN for "no label", come back as they are."""
    codes = planted().y
    two = planted(n_known=2).y
    texts, numbers = ["ash", "beech", "cedar"], [3, 7, 11]
    number_codes = np.append(numbers, -1)[codes]
    kinds: list[tuple[str, Any, np.ndarray, list]] = [
        ("integers and -1", number_codes, codes, numbers),
        ("a list of integers and None", _objects(codes, numbers, None).tolist(), codes, numbers),
        ("floats and NaN", np.where(codes == -1, np.nan, number_codes), codes, numbers),
        ("strings and None", _objects(codes, texts, None), codes, texts),
        ("strings and NaN", _objects(codes, texts, float("nan")), codes, texts),
        ("strings and -1", _objects(codes, texts, -1), codes, texts),
        ("bools and None", _objects(two, [False, True], None), two, [False, True]),
        ("integers and strings mixed", _objects(codes, [2, "ash", "beech"], None), codes, [2, "ash", "beech"]),
    ]
    for kind, y, reference, known in kinds:
        _assert_speaks(name, estimator, y, reference, known, kind)


def _pandas_kinds(codes: np.ndarray) -> Iterator[tuple[str, Any, list]]:
    pandas = require_package("pandas")
    texts, numbers = ["ash", "beech", "cedar"], [3, 7, 11]
    index = np.arange(len(codes))[::-1]
    yield "a pandas Int64 column with pd.NA", pandas.array(_objects(codes, numbers, pandas.NA), dtype="Int64"), numbers
    yield (
        "a pandas Series of strings with pd.NA and an index of its own",
        pandas.Series(_objects(codes, texts, pandas.NA), index=index, dtype="string"),
        texts,
    )
    yield "a pandas object Series with pd.NA", pandas.Series(_objects(codes, texts, pandas.NA), dtype=object), texts
    yield "a pandas categorical", pandas.Categorical(_objects(codes, texts, None), categories=texts[::-1]), texts
    yield (
        "a pandas float column with gaps",
        pandas.Series(_objects(codes, numbers, float("nan")), dtype=float),
        numbers,
    )


@without_warnings
def check_pandas_labels_round_trip(name: str, estimator: BaseEstimator) -> None:
    """pandas columns (nullable integers, strings, objects, categories) with ``pd.NA`` or NaN come back as they are."""
    codes = planted().y
    for kind, y, known in _pandas_kinds(codes):
        _assert_speaks(name, estimator, y, codes, known, kind)


@without_warnings
def check_polars_labels_round_trip(name: str, estimator: BaseEstimator) -> None:
    """polars columns of integers and strings with nulls come back as they are."""
    polars = require_package("polars")
    codes = planted().y
    for kind, known in (("integers", [3, 7, 11]), ("strings", ["ash", "beech", "cedar"])):
        y = polars.Series(_objects(codes, known, None).tolist())
        _assert_speaks(name, estimator, y, codes, known, f"a polars Series of {kind} with nulls")


@without_warnings
def check_unreadable_labels_refused(name: str, estimator: BaseEstimator) -> None:
    """Fractions, infinities, a wrong length and two columns raise a ValueError, and leave the estimator unfitted."""
    rows = planted()
    wrong = {
        "a fraction": np.where(rows.y == 0, 0.5, rows.y),
        "an infinity": np.where(rows.y == 0, np.inf, rows.y),
        "one label too few": rows.y[1:],
        "two columns": np.column_stack([rows.y, rows.y]),
    }
    for what, y in wrong.items():
        candidate = prepared(estimator, _FIVE)
        before = set(vars(candidate))
        refused = refusal(candidate.fit, rows.X, y)
        require(isinstance(refused.error, ValueError), f"{name}: fit took labels with {what}; a ValueError is due.")
        left = set(vars(candidate)) - before
        require(not left, f"{name}: the fit that refused labels with {what} left {sorted(left)} behind.")


@without_warnings
def check_predict_agrees_with_labels(name: str, estimator: BaseEstimator) -> None:
    """``predict`` on the training rows equals ``labels_`` for every unlabeled row, also where blobs overlap."""
    for what, rows in (("separated", mixed()), ("overlapping", mixed(std=4.0)), ("unlabeled", mixed(std=4.0))):
        y = None if what == "unlabeled" else rows.y
        fitted = prepared(estimator, _FIVE).fit(rows.X, y)
        free = np.ones(len(rows.X), dtype=bool) if y is None else rows.unlabeled
        assert_same_labels(
            np.asarray(fitted.predict(rows.X))[free],
            np.asarray(fitted.labels_)[free],
            f"{name}: on {what} blobs, predict(X) against labels_ of the unlabeled rows",
        )


@without_warnings
def check_rename_classes(name: str, estimator: BaseEstimator) -> None:
    """``rename_classes`` changes names everywhere; an unknown or a doubled name is refused and changes nothing."""
    rows = planted()
    y = _objects(rows.y, ["ash", "beech", "cedar"], None)
    fitted = prepared(estimator, _FIVE).fit(rows.X, y)
    rename = require_method(fitted, "rename_classes")
    labels, predicted = np.asarray(fitted.labels_), np.asarray(fitted.predict(rows.X))
    if not len(fitted.novel_classes_):
        fail(f"{name}: no class was discovered in rows that hold two unnamed ones.")
    for mapping in ({"no such class": "leak"}, {"novel_0": "ash"}):
        refused = refusal(rename, mapping)
        require(isinstance(refused.error, ValueError), f"{name}: rename_classes({mapping}) raised no ValueError.")
        assert_same_labels(fitted.labels_, labels, f"{name}: labels_ after the refused rename_classes({mapping})")
    returned = rename({"novel_0": "leak", "ash": "Fraxinus"})
    require(returned is fitted, f"{name}: rename_classes returned {type(returned).__name__}, not the estimator.")
    new = {"novel_0": "leak", "ash": "Fraxinus"}
    for what, after, before in (
        ("labels_", fitted.labels_, labels),
        ("predict(X)", fitted.predict(rows.X), predicted),
    ):
        expected = [new.get(label, label) for label in before.tolist()]
        assert_same_labels(after, expected, f"{name}: {what} after rename_classes")
    require("leak" in np.asarray(fitted.novel_classes_).tolist(), f"{name}: novel_classes_ was not renamed.")


@without_warnings
def check_all_labeled(name: str, estimator: BaseEstimator) -> None:
    """With a label on every row ``labels_`` is `y`, and no class is discovered."""
    rows = known_and(0, unlabeled_known=False)
    for settings in ({}, {"n_clusters": 3}, {"n_clusters": "auto"}):
        fitted = prepared(estimator, settings).fit(rows.X, rows.y)
        assert_same_labels(fitted.labels_, rows.y, f"{name}: labels_ of all-labeled rows")
        require(
            len(fitted.novel_classes_) == 0,
            f"{name}: {len(fitted.novel_classes_)} classes were discovered although every row is labeled.",
        )
        accuracy = float((np.asarray(fitted.predict(rows.X)) == rows.truth).mean())
        require(accuracy == 1, f"{name}: predict finds {accuracy:.0%} of the labels of separated, labeled blobs.")


@without_warnings
def check_none_labeled(name: str, estimator: BaseEstimator) -> None:
    """``y=None`` and a `y` of nothing but -1, None or NaN are the same; the labels are integers from 0."""
    rows = planted()
    n_rows = len(rows.X)
    reference = prepared(estimator, _FIVE).fit(rows.X)
    labels = np.asarray(reference.labels_)
    expected = list(range(len(reference.novel_classes_)))
    assert_same_labels(reference.classes_, expected, f"{name}: classes_ of a fit without labels")
    kinds = {
        "-1": np.full(n_rows, -1),
        "None": _objects(np.full(n_rows, -1), [], None),
        "NaN": np.full(n_rows, np.nan),
    }
    for kind, y in kinds.items():
        fitted = prepared(estimator, _FIVE).fit(rows.X, y)
        assert_same_labels(fitted.labels_, labels, f"{name}: labels_ for a y of nothing but {kind} against y=None")


@without_warnings
def check_class_with_one_row(name: str, estimator: BaseEstimator) -> None:
    """A known class with a single labeled row is a class like the others."""
    rows = planted()
    y = rows.y.copy()
    y[np.flatnonzero(rows.truth == 2)[1:]] = -1
    fitted = prepared(estimator, _FIVE).fit(rows.X, y)
    assert_same_labels(np.asarray(fitted.classes_)[:3], [0, 1, 2], f"{name}: the known part of classes_")
    assert_same_labels(np.asarray(fitted.labels_)[y != -1], y[y != -1], f"{name}: labels_ of the labeled rows")


@without_warnings
def check_auto_finds_no_new_class(name: str, estimator: BaseEstimator) -> None:
    """``n_clusters="auto"`` answers no new class when all unlabeled rows belong to known ones."""
    rows = known_and(0, unlabeled_known=True)
    fitted = prepared(estimator, n_clusters="auto").fit(rows.X, rows.y)
    n_novel = len(fitted.novel_classes_)
    require(n_novel == 0, f"{name}: 'auto' found {n_novel} new classes where all rows belong to three known ones.")
    right = np.mean(fitted.labels_ == rows.truth)
    require(right >= 0.95, f"{name}: labels_ names only {right:.0%} of the rows rightly.")


@without_warnings
def check_auto_finds_one_new_class(name: str, estimator: BaseEstimator) -> None:
    """``n_clusters="auto"`` answers one new class when the unlabeled rows are one blob of their own."""
    rows = known_and(1, unlabeled_known=False)
    fitted = prepared(estimator, n_clusters="auto").fit(rows.X, rows.y)
    n_novel = len(fitted.novel_classes_)
    require(n_novel == 1, f"{name}: 'auto' found {n_novel} new classes where the unlabeled rows are one blob.")
    assert_same_partition(fitted.labels_, rows.truth, f"{name}: labels_")


def check_n_clusters_raised_to_known(name: str, estimator: BaseEstimator) -> None:
    """A number of clusters below that of known classes is raised to it, with a warning that names the parameter."""
    rows = known_and(0, unlabeled_known=True)
    candidate = prepared(estimator, n_clusters=2)
    count = count_parameter(candidate)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        candidate.fit(rows.X, rows.y)
    require(
        candidate.n_clusters_ == 3,
        f"{name}: {count}=2 with three known classes gave n_clusters_={candidate.n_clusters_}, not 3.",
    )
    texts = [str(warning.message) for warning in caught]
    require(any(str(count) in text for text in texts), f"{name}: no warning named {count}; warnings: {texts}.")
    now = candidate.get_params()[count]
    require(now == 2, f"{name}: fit changed the parameter {count} to {now}.")


@without_warnings
def check_reject_leaves_far_rows_unassigned(name: str, estimator: BaseEstimator) -> None:
    """``predict(X, reject=quantile)`` gives far rows no class: -1 beside integers, None beside other names."""
    rows = planted()
    for y, unassigned in ((rows.y, -1), (_objects(rows.y, ["ash", "beech", "cedar"], None), None)):
        fitted = prepared(estimator, _FIVE).fit(rows.X, y)
        predict = require_method(fitted, "predict", "reject")
        plain = np.asarray(fitted.predict(rows.X)).tolist()
        kept = np.asarray(predict(rows.X, reject=0.95)).tolist()
        changed = {got for got, before in zip(kept, plain, strict=True) if got != before}
        require(changed <= {unassigned}, f"{name}: reject=0.95 changed classes to {changed - {unassigned}}.")
        far = np.asarray(predict(rows.X + 1e4, reject=0.95)).tolist()
        require(
            all(label == unassigned for label in far),
            f"{name}: rows far from all training rows got {set(far)} with reject=0.95, expected {unassigned!r}.",
        )
        require(
            unassigned not in fitted.predict(rows.X + 1e4).tolist(),
            f"{name}: predict without reject left far rows unassigned.",
        )


@without_warnings
def check_novelty_score(name: str, estimator: BaseEstimator) -> None:
    """``novelty_score`` is one finite number a row, larger on the average for rows of unnamed classes."""
    rows = planted()
    for y in (rows.y, None, rows.truth):
        fitted = prepared(estimator, _FIVE).fit(rows.X, y)
        scores = np.asarray(require_method(fitted, "novelty_score")(rows.X))
        require(scores.shape == rows.y.shape, f"{name}: novelty_score has shape {scores.shape} for {len(rows.X)} rows.")
        require(np.isfinite(scores).all(), f"{name}: novelty_score is not finite everywhere.")
        if y is rows.y:
            known, unnamed = scores[~rows.unlabeled].mean(), scores[rows.unlabeled].mean()
            require(
                unnamed > known,
                f"{name}: novelty_score is {unnamed:.3g} on rows of unnamed classes, {known:.3g} on known ones.",
            )


LABEL_CHECKS: tuple[Check, ...] = (
    check_labels_reach_fit_predict,
    check_labeled_rows_keep_their_label,
    check_classes_known_first,
    check_label_kinds_round_trip,
    check_pandas_labels_round_trip,
    check_polars_labels_round_trip,
    check_unreadable_labels_refused,
    check_predict_agrees_with_labels,
    check_rename_classes,
    check_all_labeled,
    check_none_labeled,
    check_class_with_one_row,
    check_auto_finds_no_new_class,
    check_auto_finds_one_new_class,
    check_n_clusters_raised_to_known,
    check_reject_leaves_far_rows_unassigned,
    check_novelty_score,
)
