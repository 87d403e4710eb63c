"""Clustering accuracies and the scorer for partial labels, against hand-worked tables and brute force."""

import pickle
import warnings
from functools import partial
from itertools import permutations

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import BaseEstimator
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.metrics import accuracy_score, adjusted_rand_score, f1_score, make_scorer
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_sslcluster.metrics import (
    category_discovery_accuracy,
    clustering_accuracy,
    make_partial_label_scorer,
)
from sklearn_sslcluster.numerics.matching import match_clusters


def labels_of(table):
    """True and predicted labels of a table of classes times clusters."""
    table = np.asarray(table)
    cells = np.repeat(np.arange(table.size), table.ravel())
    return cells // table.shape[1], cells % table.shape[1]


def all_matchings(table):
    """Hits of each class under every one-to-one matching, one row a matching."""
    n_classes, n_clusters = table.shape
    side = max(n_classes, n_clusters)
    square = np.zeros((side, side), dtype=int)
    square[:n_classes, :n_clusters] = table
    return np.array([square[range(side), order] for order in permutations(range(side))])[:, :n_classes]


tables = st.integers(1, 5).flatmap(
    lambda n_clusters: st.lists(
        st.lists(st.integers(0, 4), min_size=n_clusters, max_size=n_clusters), min_size=1, max_size=5
    ).filter(lambda rows: sum(map(sum, rows)) > 0)
)


# match_clusters


@given(tables)
def test_matching_is_one_to_one_and_has_the_largest_sum(rows):
    table = np.array(rows)
    classes, clusters = match_clusters(table)
    assert len(set(classes)) == len(set(clusters)) == len(classes) == min(table.shape)
    assert table[classes, clusters].sum() == all_matchings(table).sum(axis=1).max()


# clustering_accuracy


@pytest.mark.parametrize(
    ("table", "hits"),
    [
        ([[3, 0], [0, 2]], 5),
        ([[0, 3], [2, 0]], 5),
        ([[4, 3], [3, 0]], 6),  # the largest cell is not part of the best matching
        ([[7, 5, 0], [6, 2, 3], [4, 0, 1]], 12),
        ([[2, 2, 2]], 2),  # more clusters than classes
        ([[2], [3], [4]], 4),  # fewer
        ([[5, 1, 0, 2], [4, 0, 3, 0]], 8),
        ([[5, 4], [1, 0], [0, 3]], 8),
    ],
)
def test_accuracy_of_hand_worked_tables(table, hits):
    y_true, y_pred = labels_of(table)
    assert clustering_accuracy(y_true, y_pred) == pytest.approx(hits / np.sum(table))


@given(tables)
def test_accuracy_equals_brute_force_over_permutations(rows):
    table = np.array(rows)
    expected = all_matchings(table).sum(axis=1).max() / table.sum()
    assert clustering_accuracy(*labels_of(table)) == pytest.approx(expected)


@given(tables, st.randoms(use_true_random=False))
def test_accuracy_depends_neither_on_names_nor_on_row_order(rows, random):
    y_true, y_pred = labels_of(rows)
    names = [3, "novel_0", True, "a", 0]
    random.shuffle(names)
    order = random.sample(range(len(y_true)), len(y_true))
    renamed = [names[y_pred[row]] for row in order]
    assert clustering_accuracy(y_true[order], renamed) == clustering_accuracy(y_true, y_pred)


@given(tables)
def test_accuracy_is_symmetric(rows):
    y_true, y_pred = labels_of(rows)
    assert clustering_accuracy(y_true, y_pred) == clustering_accuracy(y_pred, y_true)


@pytest.mark.parametrize(
    "y_pred",
    [
        ["b", "b", "novel_0", "novel_0"],
        [5, 5, "novel_0", "novel_0"],
        [1, 1, True, True],
        [1, 1, "1", "1"],
        [2, 2, -1, -1],
        ["a", "a", None, None],
        [2.0, 2.0, np.nan, np.nan],
        np.array([True, True, False, False]),
        pd.Series([1, 1, None, None], dtype="Int64"),
        pd.Categorical(["x", "x", "y", "y"]),
        pl.Series(["x", "x", None, None]),
    ],
    ids=str,
)
def test_names_of_every_kind_stay_apart(y_pred):
    assert clustering_accuracy(["a", "a", "b", "b"], y_pred) == 1.0
    assert clustering_accuracy(["a", "b", "a", "b"], y_pred) == 0.5


def test_minus_one_and_one_are_two_clusters_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert clustering_accuracy([0, 0, 1], [-1, -1, 1]) == 1.0


def test_accuracy_is_a_python_float():
    assert type(clustering_accuracy([0, 1], [0, 1])) is float


SCORES = [clustering_accuracy, partial(category_discovery_accuracy, known_classes=[0])]


@pytest.mark.parametrize("score", SCORES)
def test_lengths_must_match(score):
    with pytest.raises(ValueError, match=r"inconsistent numbers of samples: \[2, 3\]"):
        score([0, 1], [0, 1, 1])


@pytest.mark.parametrize("score", SCORES)
def test_empty_labels_are_refused(score):
    with pytest.raises(ValueError, match="y_true and y_pred are empty"):
        score([], [])


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test_a_missing_true_class_is_refused_by_row(score, missing):
    with pytest.raises(ValueError, match="y_true has a missing value at row 1"):
        score(["a", missing], ["a", "b"])


# category_discovery_accuracy


@pytest.mark.parametrize(
    ("table", "known", "expected"),
    [
        ([[3, 1, 0], [0, 4, 0], [1, 0, 1]], [0, 1], (8 / 10, 7 / 8, 1 / 2)),
        ([[4, 0], [6, 1]], [0], (6 / 11, 0 / 4, 6 / 7)),  # matched apart (protocol "v1"), old would be 4 / 4
        ([[4, 0], [5, 1]], [0], (5 / 10, 4 / 4, 1 / 6)),  # two matchings with 5 hits
        ([[4, 0], [5, 1]], [1], (5 / 10, 5 / 6, 0 / 4)),
        ([[2, 3, 0, 0], [0, 0, 4, 1]], [1], (7 / 10, 4 / 5, 3 / 5)),  # more clusters than classes
        ([[4], [3], [0]], [0], (4 / 7, 4 / 4, 0 / 3)),  # fewer
    ],
)
def test_discovery_accuracy_of_hand_worked_tables(table, known, expected):
    score = category_discovery_accuracy(*labels_of(table), known)
    assert (score.all, score.old, score.new) == pytest.approx(expected)


@given(tables, st.sets(st.integers(0, 4)))
def test_discovery_accuracy_equals_brute_force_over_permutations(rows, known):
    table = np.array(rows)
    old = np.isin(np.arange(len(table)), list(known))
    hits = all_matchings(table)
    best = hits[hits.sum(axis=1) == hits.sum(axis=1).max()]
    best_old, best_new = max((row[old].sum(), row[~old].sum()) for row in best)
    score = category_discovery_accuracy(*labels_of(table), sorted(known))
    assert score.all == pytest.approx(clustering_accuracy(*labels_of(table)))
    for share, hit, size in [(score.old, best_old, table[old].sum()), (score.new, best_new, table[~old].sum())]:
        assert np.isnan(share) if size == 0 else share == pytest.approx(hit / size)


@given(tables, st.permutations(range(5)), st.permutations(range(5)))
def test_discovery_accuracy_does_not_depend_on_names(rows, class_names, cluster_names):
    y_true, y_pred = labels_of(rows)
    score = category_discovery_accuracy(y_true, y_pred, [0, 1])
    other = category_discovery_accuracy(np.take(class_names, y_true), np.take(cluster_names, y_pred), class_names[:2])
    assert list(other.values()) == pytest.approx(list(score.values()), nan_ok=True)


@pytest.mark.parametrize(("known", "empty", "full"), [([], "old", "new"), (["a", "b"], "new", "old")])
def test_a_kind_without_rows_scores_nan_without_a_warning(known, empty, full):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score = category_discovery_accuracy(["a", "b"], [0, 1], known)
    assert np.isnan(score[empty])
    assert score[full] == score.all == 1.0


@pytest.mark.parametrize(
    "known_classes",
    [["a", True], ("a", True, "absent"), np.array(["a", True, None], dtype=object), ["a", None, True, True, -1, "a"]],
)
def test_known_classes_may_be_names_or_partial_labels(known_classes):
    y_true, y_pred = ["a", "a", True, 1, 1, 1], [0, 0, 1, 2, 2, 1]
    score = category_discovery_accuracy(y_true, y_pred, known_classes)
    assert (score.all, score.old, score.new) == pytest.approx((5 / 6, 3 / 3, 2 / 3))


def test_discovery_accuracy_has_three_python_floats():
    score = category_discovery_accuracy([0, 1], [0, 1], [0])
    assert {name: type(value) for name, value in score.items()} == {"all": float, "old": float, "new": float}


# make_partial_label_scorer


class Fixed(BaseEstimator):
    """Predicts what it was given, row by row of X."""

    def __init__(self, predictions=None):
        self.predictions = predictions

    def fit(self, X, y=None):
        return self

    def predict(self, X):
        predictions = np.empty(len(self.predictions), dtype=object)
        predictions[:] = self.predictions
        rows = np.asarray(X)[:, 0].astype(int)
        kinds = {type(value) for value in self.predictions}
        return (predictions if len(kinds) > 1 or kinds == {str} else np.array(self.predictions))[rows]


def score_of(metric, y, predictions, **params):
    X = np.arange(len(predictions))[:, np.newaxis]
    return make_partial_label_scorer(metric, **params)(Fixed(predictions), X, y)


@pytest.mark.parametrize(
    "y",
    [
        [0, 0, 1, -1, -1],
        [0, 0, 1, None, np.nan],
        np.array([0, 0, 1, np.nan, -1]),
        pd.Series([0, 0, 1, None, -1], dtype="Int64"),
        pl.Series([0, 0, 1, None, -1]),
    ],
    ids=lambda y: type(y).__module__.split(".")[0],
)
def test_scorer_ignores_unlabeled_rows(y):
    assert score_of(accuracy_score, y, [0, 1, 1, 0, 5]) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("y", "predictions"),
    [
        (["a", "b", "b", None], ["a", "b", "novel_0", "a"]),
        ([True, False, False, None], [True, False, "novel_0", True]),
        ([True, False, False, None], [True, False, True, False]),
        (["a", 1, 1, None], ["a", 1, "novel_0", 1]),
        (["a", "b", "b", None], ["a", "b", None, "b"]),
    ],
    ids=str,
)
@pytest.mark.parametrize("metric", [accuracy_score, clustering_accuracy])
def test_scorer_compares_names_of_every_kind(metric, y, predictions):
    assert score_of(metric, y, predictions) == pytest.approx(2 / 3)


def test_scorer_gives_the_metric_the_names_of_the_classes():
    y, predictions = ["no", "yes", "yes", None], ["no", "no", "yes", "yes"]
    assert score_of(partial(f1_score, pos_label="yes"), y, predictions) == pytest.approx(2 / 3)


def test_scorer_takes_string_classes_and_cluster_numbers():
    assert score_of(adjusted_rand_score, ["a", "a", "b", "b", None], [4, 4, 7, 7, 4]) == 1.0


@pytest.mark.parametrize(
    ("unlabeled_value", "expected"), [(-1, 2 / 3), (None, 2 / 4), (0, 1 / 3)], ids=["default", "none", "zero"]
)
def test_scorer_takes_an_unlabeled_value(unlabeled_value, expected):
    score = score_of(accuracy_score, [0, 1, 1, -1], [0, 1, 0, 1], unlabeled_value=unlabeled_value)
    assert score == pytest.approx(expected)


def test_scorer_is_silent_about_a_fold_of_minus_one_and_one():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert score_of(accuracy_score, [-1, 1, 1], [0, 1, 1]) == 1.0


def test_scorer_takes_lists_of_rows():
    scorer = make_partial_label_scorer(accuracy_score)
    assert scorer(Fixed([0, 1]), [[0], [1]], [0, -1]) == 1.0


def test_scorer_without_labeled_rows_warns_and_gives_nan():
    with pytest.warns(UserWarning, match="None of the rows to be scored has a label"):
        assert np.isnan(score_of(accuracy_score, [-1, None], [0, 1]))


def test_scorer_without_y_is_refused():
    with pytest.raises(ValueError, match=r"make_partial_label_scorer\(accuracy_score\) needs partial labels"):
        score_of(accuracy_score, None, [0, 1])


@pytest.mark.parametrize("metric", ["accuracy", None])
def test_metric_must_be_callable(metric):
    with pytest.raises(TypeError, match="metric must be a callable"):
        make_partial_label_scorer(metric)


def test_scorer_shows_how_it_was_made():
    assert repr(make_partial_label_scorer(accuracy_score)) == "make_partial_label_scorer(accuracy_score)"
    scorer = make_partial_label_scorer(accuracy_score, unlabeled_value="?")
    assert repr(scorer) == "make_partial_label_scorer(accuracy_score, unlabeled_value='?')"


def test_scorer_survives_pickling():
    scorer = pickle.loads(pickle.dumps(make_partial_label_scorer(accuracy_score, unlabeled_value=7)))
    assert scorer(Fixed([0, 1]), [[0], [1]], [0, 7]) == 1.0


@pytest.fixture(scope="module")
def blobs_with_few_labels():
    """Five planted blobs of which one row in four has a label."""
    X, y_true = make_blobs(200, centers=5, cluster_std=0.7, random_state=4)
    labeled = np.random.RandomState(0).rand(200) < 0.25
    return X, np.where(labeled, y_true, -1)


def search(scoring, **params):
    kmeans = KMeans(n_init=3, random_state=0)
    return GridSearchCV(kmeans, {"n_clusters": [2, 3, 4, 5, 6, 7]}, scoring=scoring, cv=3, **params)


def test_grid_search_picks_the_number_of_classes(blobs_with_few_labels):
    found = search(make_partial_label_scorer(clustering_accuracy), n_jobs=2).fit(*blobs_with_few_labels)
    assert found.best_params_ == {"n_clusters": 5}


def test_grid_search_with_a_plain_scorer_takes_minus_one_for_a_class(blobs_with_few_labels):
    # Three rows in four are "of class -1", so that one large cluster hits most of them.
    found = search(make_scorer(clustering_accuracy)).fit(*blobs_with_few_labels)
    assert found.best_params_ == {"n_clusters": 2}


def test_grid_search_scores_by_several_metrics_with_strings_and_none(blobs_with_few_labels):
    X, y = blobs_with_few_labels
    names = np.array(["a", "b", "c", "d", "e", None], dtype=object)[y]
    scoring = {
        "rand": make_partial_label_scorer(adjusted_rand_score),
        "accuracy": make_partial_label_scorer(clustering_accuracy),
    }
    found = search(scoring, refit="accuracy").fit(X, names)
    assert found.best_params_ == {"n_clusters": 5}
    assert np.isfinite(found.cv_results_["mean_test_rand"]).all()


def test_scorer_works_with_a_pipeline_and_metadata_routing(blobs_with_few_labels):
    model = make_pipeline(StandardScaler(), KMeans(5, n_init=3, random_state=0))
    with sklearn.config_context(enable_metadata_routing=True):
        scores = cross_val_score(
            model, *blobs_with_few_labels, cv=3, scoring=make_partial_label_scorer(clustering_accuracy)
        )
    assert (scores > 0.9).all()


def test_cross_validation_goes_on_after_a_fold_without_labels():
    X, y = np.arange(6.0)[:, np.newaxis], [0, 0, 1, 1, -1, -1]
    with pytest.warns(UserWarning, match="None of the rows to be scored has a label"):
        scores = cross_val_score(KMeans(1), X, y, cv=3, scoring=make_partial_label_scorer(clustering_accuracy))
    assert np.isnan(scores).tolist() == [False, False, True]
