"""Fits of the two k-means estimators for class discovery: what they share."""

import tracemalloc
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array, csr_matrix
from sklearn.exceptions import ConvergenceWarning

from sklearn_sslcluster.datasets import make_partially_labeled_blobs
from sklearn_sslcluster.discovery import NCDKMeans, SemiSupervisedKMeans
from sklearn_sslcluster.metrics import clustering_accuracy
from sklearn_sslcluster.numerics import center_fit

BOTH = pytest.mark.parametrize("estimator", [NCDKMeans, SemiSupervisedKMeans])


@pytest.fixture(scope="module")
def blobs():
    """Three known and two novel classes, every unlabeled row novel."""
    return make_partially_labeled_blobs(300, n_features=3, random_state=0)


@pytest.fixture(scope="module")
def overlapping():
    return make_partially_labeled_blobs(300, n_features=3, class_sep=3, random_state=0)


def fitted(estimator, X, y, n_clusters=5, **params):
    """Fitted estimator; that some rows of overlapping classes look known is not what these tests are about."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*lie nearest to a known class")
        return estimator(n_clusters, random_state=0, **params).fit(X, y)


# Finding planted classes


@BOTH
@pytest.mark.parametrize("seeding", ["distance", "squared-distance"])
@pytest.mark.parametrize("selection", ["distance", "inertia"])
def test_planted_classes_are_recovered(blobs, estimator, seeding, selection):
    X, y, truth = blobs
    model = fitted(estimator, X, y, seeding=seeding, selection=selection)
    assert clustering_accuracy(truth, model.labels_) == 1
    assert_array_equal(model.labels_[y != -1], y[y != -1])
    assert_array_equal(model.classes_, np.arange(5))
    assert_array_equal(model.novel_classes_, [3, 4])


@BOTH
@pytest.mark.parametrize("n_novel", [0, 1, 2])
@pytest.mark.parametrize("n_known", [2, 4])
def test_auto_answers_zero_one_and_two_new_classes(estimator, n_known, n_novel):
    X, y, truth = make_partially_labeled_blobs(
        400, n_known=n_known, n_novel=n_novel, labeled_fraction=1 if n_novel else 0.5, random_state=1
    )
    model = fitted(estimator, X, y, "auto", k_max=10)
    assert len(model.novel_classes_) == n_novel
    assert clustering_accuracy(truth, model.labels_) == 1


@BOTH
def test_auto_keeps_the_scores_of_the_numbers_it_tried(blobs, estimator):
    X, y, _ = blobs
    scores = fitted(estimator, X, y, "auto", k_max=8).n_clusters_scores_
    assert set(scores) <= set(range(3, 9))
    assert max(scores, key=scores.get) == 5
    assert not hasattr(fitted(estimator, X, y), "n_clusters_scores_")


@BOTH
def test_discovered_classes_are_numbered_by_decreasing_size(estimator):
    X, truth = (
        np.repeat([[0.0, 0], [0, 9], [9, 0], [9, 9]], [10, 20, 40, 30], axis=0),
        np.repeat(range(4), [10, 20, 40, 30]),
    )
    X = X + np.random.RandomState(0).normal(size=X.shape)
    labels = fitted(estimator, X, np.where(truth == 0, 0, -1), 4).labels_
    assert_array_equal(labels, np.array([0, 3, 1, 2])[truth])


@BOTH
@pytest.mark.parametrize(
    ("known", "novel"),
    [
        (["ash", "beech", "cedar"], ["novel_0", "novel_1"]),
        ([False, True, "cedar"], ["novel_0", "novel_1"]),
        ([7, 2, 5], [8, 9]),
    ],
    ids=["strings", "bools", "integers"],
)
def test_classes_carry_the_users_names(blobs, estimator, known, novel):
    X, y, _ = blobs
    names = np.array([*known, None], dtype=object)
    model = fitted(estimator, X, names[y])
    assert_array_equal(model.labels_[y >= 0], names[y[y >= 0]])
    assert model.novel_classes_.tolist() == novel
    assert set(model.predict(X).tolist()) == {*known, *novel}


# The same fit from other containers


@BOTH
def test_memory_map_gives_the_fit_of_the_array(tmp_path, overlapping, estimator):
    X, y, _ = overlapping
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    expected = fitted(estimator, X, y)
    model = fitted(estimator, mapped, y, block_size=17)
    assert_array_equal(model.labels_, expected.labels_)
    assert_allclose(model.cluster_centers_, expected.cluster_centers_, rtol=1e-10)
    assert_array_equal(model.predict(mapped), expected.predict(X))


@BOTH
@pytest.mark.parametrize("container", [csr_array, csr_matrix])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_sparse_rows_give_the_fit_of_dense_ones(overlapping, estimator, container, dtype):
    X, y, _ = overlapping
    X = np.where(np.abs(X) < 1, 0, X).astype(dtype)
    dense, sparse = fitted(estimator, X, y), fitted(estimator, container(X), y)
    assert_array_equal(sparse.labels_, dense.labels_)
    tolerance = 1e-10 if dtype == np.float64 else 1e-4
    assert_allclose(sparse.cluster_centers_, dense.cluster_centers_, rtol=tolerance, atol=tolerance)
    assert_array_equal(sparse.predict(container(X)), dense.predict(X))
    assert_allclose(sparse.transform(container(X)), dense.transform(X), atol=1e-3)
    assert sparse.score(container(X)) == pytest.approx(dense.score(X), abs=1e-4)


@BOTH
def test_float32_rows_give_the_labels_of_float64_ones(blobs, estimator):
    X, y, _ = blobs
    single, double = fitted(estimator, X.astype(np.float32), y), fitted(estimator, X, y)
    assert_array_equal(single.labels_, double.labels_)
    assert_allclose(single.cluster_centers_, double.cluster_centers_, rtol=1e-4)


@BOTH
@pytest.mark.parametrize("block_size", [1, 7, 299])
def test_blocks_with_fewer_rows_than_clusters_change_nothing(overlapping, estimator, block_size):
    X, y, _ = overlapping
    expected = fitted(estimator, X, y, 12, n_init=2)
    model = fitted(estimator, X, y, 12, n_init=2, block_size=block_size)
    assert_array_equal(model.labels_, expected.labels_)
    assert_allclose(model.cluster_centers_, expected.cluster_centers_, rtol=1e-10)


@pytest.fixture
def small_samples(monkeypatch):
    """Tables above 160 rows are sampled for the starts, as those above 30,000 are outside tests."""
    monkeypatch.setattr(center_fit, "_MOST_SAMPLE_ROWS", 64)
    monkeypatch.setattr(center_fit, "_FEWEST_SAMPLE_ROWS", 64)


@BOTH
@pytest.mark.usefixtures("small_samples")
@pytest.mark.parametrize("container", [np.asarray, csr_array])
@pytest.mark.parametrize("n_clusters", [5, "auto"])
def test_starts_on_a_sample_find_separate_classes(estimator, container, n_clusters):
    X, y, truth = make_partially_labeled_blobs(900, random_state=0)
    model = fitted(estimator, container(X), y, n_clusters, block_size=50, k_max=8)
    assert clustering_accuracy(truth, model.labels_) == 1
    assert_allclose(model.cluster_centers_[3:], [X[model.labels_ == c].mean(axis=0) for c in (3, 4)])


@BOTH
@pytest.mark.usefixtures("small_samples")
def test_starts_on_a_sample_see_neither_row_order_nor_repetition(estimator):
    X, y, _ = make_partially_labeled_blobs(900, class_sep=4, random_state=0)
    order = np.random.RandomState(0).permutation(900)
    expected = fitted(estimator, X, y)
    for rows in (order, np.repeat(order, 2)):
        assert_array_equal(fitted(estimator, X[rows], y[rows]).labels_, expected.labels_[rows])


@BOTH
@pytest.mark.usefixtures("small_samples")
def test_fit_of_a_memory_map_copies_no_rows(tmp_path, estimator):
    y = make_partially_labeled_blobs(200_000, random_state=0)[1]
    X = np.random.RandomState(0).uniform(size=(len(y), 32)).astype(np.float32) + y[:, None].astype(np.float32)
    np.save(tmp_path / "X.npy", X)
    fitted(estimator, X[:100], y[:100], block_size=10)
    del X
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    tracemalloc.start()
    try:
        fitted(estimator, mapped, y, n_init=1, max_iter=3, block_size=4096)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.6 * mapped.nbytes


@BOTH
@pytest.mark.usefixtures("small_samples")
def test_callbacks_hear_of_starts_on_the_sample_and_of_iterations_over_the_table(estimator):
    class Count:
        n_iterations = 0

        def setup(self, estimator, context): ...
        def teardown(self, estimator, context): ...
        def on_fit_task_begin(self, estimator, context): ...
        def on_fit_task_end(self, estimator, context):
            self.n_iterations += context.task_name == "iteration"

    X, y, _ = make_partially_labeled_blobs(900, class_sep=3, random_state=0)
    count = Count()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator(5, n_init=3, random_state=0).set_callbacks(count).fit(X, y)
    assert count.n_iterations > 3


@BOTH
def test_more_starts_never_raise_the_inertia_they_are_chosen_by(overlapping, estimator):
    X, y, _ = overlapping
    settings = {"selection": "inertia", "tol": 0.0}
    inertia = [fitted(estimator, X, y, 9, n_init=n_init, **settings).inertia_ for n_init in (1, 3, 10)]
    assert inertia == sorted(inertia, reverse=True)


# Warnings and errors


@BOTH
def test_too_few_clusters_are_raised_to_the_known_classes_with_a_warning(blobs, estimator):
    X, y, _ = blobs
    with pytest.warns(UserWarning, match="n_clusters=2 is less than the 3 known classes and was raised to 3"):
        model = fitted(estimator, X, y, 2)
    assert model.n_clusters_ == 3


@BOTH
def test_clusters_beyond_the_known_classes_need_unlabeled_rows(blobs, estimator):
    X, y, _ = blobs
    with pytest.warns(UserWarning, match="n_clusters=5, but every row is labeled"):
        model = fitted(estimator, X[y >= 0], y[y >= 0])
    assert model.n_clusters_ == 3


@BOTH
def test_too_few_distinct_rows_give_fewer_clusters_with_a_warning(estimator):
    X, y = np.repeat([[0.0], [5], [9], [10]], 6, axis=0), np.repeat([0, -1, -1, -1], 6)
    with pytest.warns(ConvergenceWarning, match="Only 4 clusters were found where 8 were asked for"):
        model = fitted(estimator, X, y, 8)
    assert model.n_clusters_ == len(model.classes_) == 4
    assert set(model.cluster_centers_.ravel()) == {0, 5, 9, 10}


@BOTH
def test_rows_that_repeat_a_known_class_start_no_new_one(estimator):
    # Three times a third is not one in floating point: the mean of equal rows is not the row.
    X = np.vstack([np.full((49, 2), 0.1), [[3.0, 3.0]], np.full((20, 2), 0.1)])
    with pytest.warns(ConvergenceWarning, match="Only 2 clusters were found"):
        model = fitted(estimator, X, np.r_[np.zeros(49, int), np.full(21, -1)], 3)
    assert model.n_clusters_ == 2


@BOTH
def test_class_without_weight_is_refused_by_name(blobs, estimator):
    X, y, _ = blobs
    names = np.array(["ash", "beech", "cedar", None], dtype=object)[y]
    with pytest.raises(ValueError, match="sample_weight is 0 for every row of class 'beech'"):
        estimator(5).fit(X, names, sample_weight=(names != "beech").astype(float))


@BOTH
def test_rows_without_any_weight_are_refused(blobs, estimator):
    with pytest.raises(ValueError, match=r"(?i)sample.weight"):
        estimator(5).fit(blobs[0], sample_weight=np.zeros(len(blobs[0])))


@BOTH
def test_interrupted_fit_keeps_the_earlier_one(blobs, estimator):
    class Interrupt:
        def setup(self, estimator, context): ...
        def teardown(self, estimator, context): ...
        def on_fit_task_begin(self, estimator, context): ...
        def on_fit_task_end(self, estimator, context):
            raise KeyboardInterrupt

    X, y, _ = blobs
    model = fitted(estimator, X, y)
    before = vars(model.set_callbacks(Interrupt())).copy()
    with pytest.raises(KeyboardInterrupt):
        model.fit(X[:100, :2], y[:100])
    assert vars(model).keys() == before.keys()
    assert all(vars(model)[name] is value for name, value in before.items())
    assert_array_equal(model.predict(X)[y == -1], model.labels_[y == -1])
