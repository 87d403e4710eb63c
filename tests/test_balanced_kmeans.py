"""K-means with clusters of equal or given sizes."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

from sklearn_sslcluster.quantization import BalancedKMeans

X_SKEWED = np.random.RandomState(0).gamma(1, size=(203, 3))


def fitted(X=X_SKEWED, y=None, **parameters):
    parameters = {"n_clusters": 6, "n_init": 2, "random_state": 0} | parameters
    return BalancedKMeans(**parameters).fit(X, y)


@pytest.mark.parametrize("solver", ["auto", "paths", "sinkhorn"])
@pytest.mark.parametrize("n_clusters", [1, 2, 6, 29])
def test_sizes_differ_by_at_most_one(solver, n_clusters):
    model = fitted(n_clusters=n_clusters, solver=solver)
    assert model.sizes_.sum() == len(X_SKEWED)
    assert len(model.sizes_) == n_clusters
    assert model.sizes_.max() - model.sizes_.min() <= 1
    assert_array_equal(np.unique(model.labels_, return_counts=True)[1], model.sizes_)
    assert_array_equal(model.predict(X_SKEWED), model.labels_)


def test_plain_clusters_of_the_same_rows_are_far_from_equal():
    sizes = np.bincount(KMeans(6, n_init=2, random_state=0).fit(X_SKEWED).labels_)
    assert sizes.max() > 1.5 * sizes.min()


def test_labels_are_the_cheapest_with_these_sizes_and_centers_are_means():
    model = fitted()
    squares = model.transform(X_SKEWED) ** 2
    seats = np.repeat(np.arange(6), model.sizes_)
    cheapest = squares[:, seats][linear_sum_assignment(squares[:, seats])].sum()
    assert_allclose(model.inertia_, cheapest, rtol=1e-9)
    means = [X_SKEWED[model.labels_ == name].mean(axis=0) for name in model.classes_]
    assert_allclose(model.cluster_centers_, means, atol=1e-12)


def test_solvers_end_in_the_same_clusters():
    paths, sinkhorn = fitted(solver="paths"), fitted(solver="sinkhorn")
    assert_array_equal(paths.labels_, sinkhorn.labels_)
    assert_allclose(paths.cluster_centers_, sinkhorn.cluster_centers_)


def test_digits_cost_little_more_than_without_sizes():
    X = load_digits().data[:600]
    model = BalancedKMeans(10, n_init=3, random_state=0).fit(X)
    assert_array_equal(model.sizes_, np.full(10, 60))
    plain = KMeans(10, n_init=3, random_state=0).fit(X).inertia_
    assert plain * 0.99 < model.inertia_ < plain * 1.05


@pytest.mark.parametrize("sizes", [[0.5, 0.3, 0.2], [100, 60, 43], [1, 2, 3]])
def test_sizes_are_as_given(sizes):
    model = fitted(n_clusters=3, sizes=sizes)
    wanted = len(X_SKEWED) * np.sort(sizes)[::-1] / np.sum(sizes)
    assert (np.abs(model.sizes_ - wanted) < 1).all()


def test_number_of_clusters_is_that_of_the_sizes():
    assert fitted(n_clusters="auto", sizes=[1, 1, 2]).n_clusters_ == 3


def test_sizes_of_known_classes_count_labeled_rows():
    y = np.where(np.arange(203) % 7 == 0, np.where(X_SKEWED[:, 0] > 1, "far", "near"), None)
    model = fitted(y=y, n_clusters=4, sizes=[0.4, 0.2, 0.2, 0.2])
    assert_array_equal(model.classes_[:2], ["far", "near"])
    assert (np.abs(model.sizes_ - 203 * np.array([0.4, 0.2, 0.2, 0.2])) < 1).all()
    labeled = np.array([label is not None for label in y])
    assert_array_equal(model.labels_[labeled], y[labeled])


def test_class_with_more_labels_than_its_share_keeps_them_and_warns():
    y = np.where(np.arange(203) < 103, "many", None)
    with pytest.warns(UserWarning, match="'many' has 103 labeled rows, more than its share of 41"):
        model = fitted(y=y, n_clusters=5)
    assert_array_equal(model.sizes_, [103, 25, 25, 25, 25])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"sizes": [1, 2]}, "sizes has 2 entries"),
        ({"sizes": [1, 1, 1, 1, 1, 0]}, "sizes must be one positive number a cluster"),
        ({"sizes": [[1, 1, 1, 1, 1, 1]]}, "sizes must be one positive number a cluster"),
        ({"sizes": [1, 1, 1, 1, 1, np.nan]}, "sizes must be one positive number a cluster"),
    ],
)
def test_wrong_sizes_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        fitted(**parameters)


def test_sizes_less_than_the_labeled_rows_are_refused():
    with pytest.raises(ValueError, match="Class 0 has 150 labeled rows, more than the 102"):
        fitted(y=np.where(np.arange(203) < 150, 0, -1), n_clusters=2, sizes=[1, 1])


def test_sizes_for_more_clusters_than_distinct_rows_are_refused():
    with pytest.raises(ValueError, match="distinct rows for 2 only"):
        fitted(X=np.repeat([[0.0], [1.0]], 5, axis=0), n_clusters=3, sizes=[1, 1, 1])


def test_equal_rows_stay_together_with_a_warning():
    X = np.vstack([np.zeros((30, 2)), np.random.RandomState(0).normal(5, 1, size=(30, 2))])
    with pytest.warns(UserWarning, match="rows that are equal stay together"):
        model = fitted(X=X, n_clusters=3)
    assert len(set(model.labels_[:30].tolist())) == 1
    assert_array_equal(model.predict(X), model.labels_)


def test_table_repeated_is_the_table():
    single, double = fitted(), fitted(X=np.repeat(X_SKEWED, 2, axis=0))
    assert_array_equal(double.labels_[::2], single.labels_)
    assert_array_equal(double.sizes_, 2 * single.sizes_)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_scale_of_the_values_does_not_matter(scale):
    assert_array_equal(fitted(X=X_SKEWED * scale).labels_, fitted().labels_)


def test_order_of_the_rows_does_not_matter():
    order = np.random.RandomState(1).permutation(len(X_SKEWED))
    assert_array_equal(fitted(X=X_SKEWED[order]).labels_, fitted().labels_[order])


def test_lattice_of_ties_is_balanced():
    X = np.stack(np.meshgrid(np.arange(5.0), np.arange(5.0)), axis=-1).reshape(-1, 2)
    for n_clusters in (2, 3, 4):
        model = fitted(X=X, n_clusters=n_clusters)
        assert model.sizes_.max() - model.sizes_.min() <= 1
        assert_array_equal(model.predict(X), model.labels_)


def test_constant_columns_are_harmless():
    X = np.column_stack([np.full(203, 7.0), X_SKEWED, np.zeros(203)])
    model = fitted(X=X)
    assert model.sizes_.max() - model.sizes_.min() <= 1
    assert_allclose(model.cluster_centers_[:, [0, 4]], [[7.0, 0.0]] * 6, rtol=1e-14)


def test_fewer_rows_than_clusters_are_clusters_of_one():
    with pytest.warns(UserWarning, match="Only 3 clusters were found"):
        model = fitted(X=X_SKEWED[:3], n_clusters=8)
    assert_array_equal(model.sizes_, [1, 1, 1])


def test_one_row_is_one_cluster():
    assert_array_equal(fitted(X=X_SKEWED[:1], n_clusters=1).sizes_, [1])


def test_sparse_rows_are_fitted_as_dense_ones():
    X = np.where(X_SKEWED > 1.2, X_SKEWED, 0)
    X = X[np.unique(X, axis=0, return_index=True)[1]]
    dense, sparse = fitted(X=X, n_clusters=4), fitted(X=csr_matrix(X), n_clusters=4)
    assert_array_equal(sparse.labels_, dense.labels_)
    assert_array_equal(sparse.predict(csr_matrix(X)), dense.predict(X))


def test_table_larger_than_the_sample_is_balanced():
    X = np.random.RandomState(0).gamma(1, size=(40_000, 2)).astype(np.float32)
    model = BalancedKMeans(3, n_init=1, max_iter=3, random_state=0).fit(X)
    assert_array_equal(model.predict(X), model.labels_)
    assert model.sizes_.max() - model.sizes_.min() <= 1


def test_nearest_centers_are_those_of_transform():
    model = fitted()
    nearest = model.classes_[model.transform(X_SKEWED).argmin(axis=1)]
    assert_array_equal(model.predict(X_SKEWED, nearest=True), nearest)
    assert (nearest != model.labels_).any()
    assert model.potentials_.max() == 0


def test_new_rows_of_the_same_source_come_in_about_the_same_shares():
    new = np.random.RandomState(1).gamma(1, size=(4000, 3))
    model = fitted(X=np.random.RandomState(0).gamma(1, size=(1000, 3)), n_clusters=5)
    balanced = np.bincount(model.predict(new), minlength=5) / len(new)
    nearest = np.bincount(model.predict(new, nearest=True), minlength=5) / len(new)
    assert np.abs(balanced - 0.2).max() < 0.04 < np.abs(nearest - 0.2).max()


def test_novelty_score_agrees_with_predict():
    y = np.where(X_SKEWED[:, 0] > 2, 0, -1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = fitted(y=y)
    assert_array_equal(model.novelty_score(X_SKEWED) > 0.5, np.isin(model.predict(X_SKEWED), model.novel_classes_))


def test_shares_fit_every_fold_of_a_search():
    search = GridSearchCV(clone(BalancedKMeans(3, n_init=1)), {"sizes": [[2, 1, 1], [1, 1, 1]]}, cv=2)
    assert np.isfinite(search.fit(X_SKEWED).cv_results_["mean_test_score"]).all()
