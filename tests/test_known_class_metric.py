"""A metric learned from known classes: whitening, discriminants, and a shrinkage chosen by hidden classes."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.covariance import shrunk_covariance
from sklearn.datasets import load_digits
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import pairwise_distances
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_sslcluster.discovery import KnownClassMetric, NCDKMeans
from sklearn_sslcluster.metrics import clustering_accuracy

METHODS = ["whiten", "lda", "nca"]


@parametrize_with_checks([KnownClassMetric("lda", shrinkage=0.1), KnownClassMetric("nca")])
def test_checks_of_scikit_learn(estimator, check):
    """Each check that check_estimator would run."""
    check(estimator)


@pytest.fixture
def table():
    rng = np.random.RandomState(0)
    codes = np.repeat([0, 1, 2, -1], 40)
    spread = rng.normal(size=(4, 4))
    X = 3 * rng.normal(size=(4, 4))[codes] + rng.normal(size=(160, 4)) @ spread
    return X, codes


def test_whitened_rows_have_unit_covariance_within_known_classes(table):
    X, y = table
    Z = KnownClassMetric(shrinkage=0).fit(X, y).transform(X)
    centered = np.vstack([Z[y == code] - Z[y == code].mean(axis=0) for code in range(3)])
    np.testing.assert_allclose(centered.T @ centered / (120 - 3), np.eye(4), atol=1e-10)


@pytest.mark.parametrize("shrinkage", [0.0, 0.3, 1.0])
def test_distances_are_mahalanobis_distances_of_the_shrunk_covariance(table, shrinkage):
    X, y = table
    centered = np.vstack([X[y == code] - X[y == code].mean(axis=0) for code in range(3)])
    covariance = shrunk_covariance(centered.T @ centered / (120 - 3), shrinkage)
    expected = pairwise_distances(X, metric="mahalanobis", VI=np.linalg.inv(covariance))
    model = KnownClassMetric(shrinkage=shrinkage).fit(X, y)
    np.testing.assert_allclose(pairwise_distances(model.transform(X)), expected, rtol=1e-6, atol=1e-6)
    assert model.shrinkage_ == shrinkage


def test_lda_spans_the_discriminants_of_scikit_learn(table):
    X, y = table
    known = y >= 0
    ours = KnownClassMetric("lda", shrinkage=0).fit(X, y).transform(X[known])
    theirs = LinearDiscriminantAnalysis(solver="eigen").fit(X[known], y[known]).transform(X[known])
    assert ours.shape == theirs.shape == (120, 2)
    for column in range(2):
        assert abs(np.corrcoef(ours[:, column], theirs[:, column])[0, 1]) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_unlabeled_rows_teach_nothing(table, method):
    X, y = table
    all_rows = KnownClassMetric(method, random_state=0).fit(X, y)
    labeled = KnownClassMetric(method, random_state=0).fit(X[y >= 0], y[y >= 0])
    np.testing.assert_array_equal(all_rows.components_, labeled.components_)


@pytest.mark.parametrize("method", ["whiten", "lda"])
def test_order_of_the_rows_changes_nothing(table, method):
    X, y = table
    order = np.random.RandomState(1).permutation(len(X))
    model = KnownClassMetric(method, random_state=0).fit(X, y)
    shuffled = KnownClassMetric(method, random_state=0).fit(X[order], y[order])
    np.testing.assert_array_equal(model.components_, shuffled.components_)


@pytest.mark.parametrize("method", METHODS)
def test_labels_of_any_kind_mean_the_same(table, method):
    X, y = table
    names = np.where(y < 0, None, np.array(["ash", "beech", "cedar", "?"])[y])
    expected = KnownClassMetric(method, random_state=0).fit(X, y).components_
    np.testing.assert_array_equal(KnownClassMetric(method, random_state=0).fit(X, names).components_, expected)


def test_a_shrinkage_is_chosen_that_keeps_hidden_classes_together():
    """A wide direction that all classes share: without whitening, neighbors are of any class."""
    rng = np.random.RandomState(0)
    y = np.repeat(np.arange(6), 40)
    X = np.column_stack([4 * y + rng.normal(size=240), 60 * rng.normal(size=240)])
    model = KnownClassMetric(random_state=0).fit(X, np.where(y < 4, y, -1))
    assert model.shrinkage_ < 0.2
    scores = model.shrinkage_scores_
    assert scores[model.shrinkage_] > scores[1.0] + 0.3


def test_the_usual_shrinkage_stays_where_nothing_can_be_hidden(table):
    X, y = table
    model = KnownClassMetric().fit(X, np.where(y == 0, 0, -1))
    assert model.shrinkage_ == 0.2
    assert model.shrinkage_scores_ == {}


def test_n_components_keeps_what_tells_known_classes_apart():
    rng = np.random.RandomState(0)
    y = np.repeat([0, 1, 2], 50)
    X = rng.normal(size=(150, 5))
    X[:, 3] += 6 * y
    Z = KnownClassMetric(n_components=1, shrinkage=0.2).fit(X, y).transform(X)
    assert abs(np.corrcoef(Z[:, 0], X[:, 3])[0, 1]) > 0.99


@pytest.mark.parametrize("y", [None, np.full(160, -1), np.r_[0, 1, 2, np.full(157, -1)]])
def test_without_two_rows_of_a_class_rows_are_only_centered(table, y):
    X, _ = table
    with pytest.warns(UserWarning, match="learns nothing"):
        model = KnownClassMetric().fit(X, y)
    np.testing.assert_allclose(model.transform(X), X - model.mean_)


@pytest.mark.parametrize("method", ["lda", "nca"])
def test_one_known_class_is_whitened(table, method):
    X, y = table
    y = np.where(y == 0, 0, -1)
    with pytest.warns(UserWarning, match="two known classes"):
        model = KnownClassMetric(method, shrinkage=0.2).fit(X, y)
    np.testing.assert_array_equal(model.components_, KnownClassMetric(shrinkage=0.2).fit(X, y).components_)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_units_of_the_whole_table_do_not_matter(table, scale):
    X, y = table
    X = np.column_stack([X, np.full(len(X), 7.0)])
    expected = KnownClassMetric(shrinkage=0.2).fit(X, y).transform(X)
    found = KnownClassMetric(shrinkage=0.2).fit(scale * X, y).transform(scale * X)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_too_many_components_are_refused(table):
    with pytest.raises(ValueError, match="n_components=5 is more than the 4 features"):
        KnownClassMetric(n_components=5).fit(*table)


def test_columns_have_names(table):
    X, y = table
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = KnownClassMetric("lda", shrinkage=0.2).set_output(transform="pandas").fit(frame, y)
    assert list(model.transform(frame).columns) == ["knownclassmetric0", "knownclassmetric1"]


def test_new_digits_are_found_more_often_in_the_metric_of_known_ones():
    digits = load_digits()
    X, gained = StandardScaler().fit_transform(digits.data), []
    for seed in range(3):
        novel = np.random.RandomState(seed).permutation(10)[:5]
        unlabeled = np.isin(digits.target, novel)
        y = np.where(unlabeled, -1, digits.target)
        accuracies = []
        for steps in ([], [KnownClassMetric(random_state=0)]):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = make_pipeline(*steps, NCDKMeans(10, random_state=0)).fit(X, y)
            accuracies.append(clustering_accuracy(digits.target[unlabeled], model[-1].labels_[unlabeled]))
        gained.append(accuracies[1] - accuracies[0])
    assert np.mean(gained) > 0
