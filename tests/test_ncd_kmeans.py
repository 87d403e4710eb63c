"""NCD k-means: known classes guide the seeding, novel centers alone move, unlabeled rows are novel."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits

from sklearn_sslcluster.datasets import hide_classes, make_partially_labeled_blobs
from sklearn_sslcluster.discovery import NCDKMeans
from sklearn_sslcluster.metrics import category_discovery_accuracy


@pytest.fixture(scope="module")
def overlapping():
    """Three known and two novel classes, every unlabeled row novel."""
    return make_partially_labeled_blobs(300, n_features=3, class_sep=5, random_state=0)[:2]


@pytest.mark.parametrize("offset", [0, 1e6])
def test_known_centers_are_the_class_means_and_do_not_move(overlapping, offset):
    X, y = overlapping
    model = NCDKMeans(5, random_state=0).fit(X + offset, y)
    means = [(X + offset)[y == c].mean(axis=0) for c in range(3)]
    assert_allclose(model.cluster_centers_[:3], means, rtol=1e-14, atol=1e-14)


def test_known_means_are_weighted(overlapping):
    X, y = overlapping
    weight = np.random.RandomState(0).uniform(0.5, 2, size=len(X))
    model = NCDKMeans(5, random_state=0).fit(X, y, sample_weight=weight)
    means = [np.average(X[y == c], axis=0, weights=weight[y == c]) for c in range(3)]
    assert_allclose(model.cluster_centers_[:3], means, rtol=1e-12)


def test_novel_centers_are_the_means_of_the_unlabeled_rows_nearest_to_them(overlapping):
    X, y = overlapping
    model = NCDKMeans(5, tol=0.0, random_state=0).fit(X, y)
    free = X[y == -1]
    nearest = cdist(free, model.cluster_centers_[3:]).argmin(axis=1)
    assert_allclose(model.cluster_centers_[3:], [free[nearest == k].mean(axis=0) for k in range(2)])


def test_inertia_is_that_of_the_unlabeled_rows_to_the_novel_centers(overlapping):
    X, y = overlapping
    model = NCDKMeans(5, random_state=0).fit(X, y)
    squares = cdist(X[y == -1], model.cluster_centers_[3:]) ** 2
    assert model.inertia_ == pytest.approx(squares.min(axis=1).sum())


def test_inertia_without_novel_classes_is_zero(overlapping):
    X, y = overlapping
    assert NCDKMeans(3).fit(X[y >= 0], y[y >= 0]).inertia_ == 0


def test_novel_classes_are_found_as_kmeans_on_the_unlabeled_rows_finds_them(overlapping):
    X, y = overlapping
    model = NCDKMeans(5, seeding="squared-distance", selection="inertia", random_state=0).fit(X, y)
    expected = KMeans(2, n_init=10, random_state=0).fit(X[y == -1])
    assert model.inertia_ == pytest.approx(expected.inertia_, rel=1e-3)


def test_without_labels_the_inertia_is_that_of_kmeans():
    X, _ = load_digits(return_X_y=True)
    expected = KMeans(10, n_init=10, random_state=0).fit(X).inertia_
    model = NCDKMeans(10, seeding="squared-distance", selection="inertia", random_state=0).fit(X)
    assert model.inertia_ <= 1.01 * expected


def test_a_novel_center_without_rows_of_its_own_still_answers_predict_novel():
    X = np.array([[0.0], [0.1], [10], [10.1], [0.2], [10.2]])
    y = np.array([0, 0, 1, 1, -1, -1])
    with pytest.warns(UserWarning, match="lie nearest to a known class"):
        model = NCDKMeans(3, random_state=0).fit(X, y)
    assert model.novel_classes_.tolist() == [2]
    assert model.cluster_centers_[2] == pytest.approx(5.2)
    assert model.predict(X).tolist() == [0, 0, 1, 1, 0, 1]
    assert model.predict_novel(X).tolist() == [2] * 6


def test_many_rows_that_look_known_are_a_warning_that_names_the_better_estimator():
    X, y, _ = make_partially_labeled_blobs(300, labeled_fraction=0.5, random_state=0)
    with pytest.warns(UserWarning, match=r"43% of the unlabeled rows .*SemiSupervisedKMeans makes no such assumption"):
        model = NCDKMeans(5, random_state=0).fit(X, y)
    looks_known = np.isin(model.predict(X[y == -1]), [0, 1, 2])
    assert model.known_share_ == pytest.approx(looks_known.mean())


def test_novel_rows_alone_are_no_reason_to_warn():
    X, y, _ = make_partially_labeled_blobs(300, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = NCDKMeans(5, random_state=0).fit(X, y)
    assert model.known_share_ == 0


@pytest.mark.filterwarnings("ignore:.*lie nearest to a known class")
def test_labels_of_unlabeled_rows_may_be_known_classes():
    X, y, truth = make_partially_labeled_blobs(300, labeled_fraction=0.9, random_state=0)
    model = NCDKMeans(5, random_state=0).fit(X, y)
    assert_array_equal(model.labels_[y == -1], model.predict(X[y == -1]))
    assert (model.labels_[(y == -1) & (truth < 3)] < 3).any()


# Splits of the digits, five hidden in each. Measured accuracy less five points: 0.685, 0.924, 0.908, 0.819, 0.855.
FLOORS = {0: 0.635, 1: 0.874, 2: 0.858, 3: 0.769, 4: 0.805}


@pytest.mark.parametrize("seed", FLOORS)
def test_hidden_digits_are_found(seed):
    X, truth = load_digits(return_X_y=True)
    y = hide_classes(truth, n_novel=5, random_state=seed)
    hidden = y == -1
    model = NCDKMeans(10, random_state=0).fit(X, y)
    assert category_discovery_accuracy(truth[hidden], model.labels_[hidden], y).new > FLOORS[seed]
    assert category_discovery_accuracy(truth[hidden], model.predict_novel(X[hidden]), y).new > FLOORS[seed]
