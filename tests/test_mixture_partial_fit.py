"""Gaussian mixture fitted batch by batch."""

import copy
import pickle
from functools import cache

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal, assert_equal
from scipy.sparse import csr_array

from sklearn_sslcluster.datasets import make_partially_labeled_blobs
from sklearn_sslcluster.metrics import clustering_accuracy
from sklearn_sslcluster.mixture import SemiSupervisedGaussianMixture, _incremental
from sklearn_sslcluster.mixture._running_state import RunningState

KINDS = pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
ARRAYS = ("weights_", "class_prior_", "means_", "covariances_", "precisions_cholesky_")
BATCH = 300


@cache
def blobs():
    """(rows, partial labels, classes): known classes 0, 1 and 2, novel ones 3 and 4."""
    return make_partially_labeled_blobs(1500, labeled_fraction=0.3, random_state=0)


@cache
def first_fit(kind="full", n_components=5, seen=5, **parameters):
    """Fit on the rows of the first `seen` classes among the first batch."""
    X, y, truth = blobs()
    rows = np.flatnonzero(truth[:BATCH] < seen)
    model = SemiSupervisedGaussianMixture(n_components, covariance_type=kind, n_init=2, random_state=0, **parameters)
    return model.fit(X[rows], y[rows])


def started(*arguments, **parameters):
    return copy.deepcopy(first_fit(*arguments, **parameters))


def later_batches(size=BATCH):
    X, y, truth = blobs()
    return [(X[i : i + size], y[i : i + size], truth[i : i + size]) for i in range(BATCH, len(X), size)]


def matched(model, other):
    """Components of `model` nearest to those of `other`."""
    return ((model.means_ - other.means_[:, None]) ** 2).sum(axis=2).argmin(axis=1)


def assert_same(one, other, rtol=1e-8, atol=1e-10):
    assert_array_equal(one.classes_, other.classes_)
    for name in ARRAYS:
        assert_allclose(getattr(one, name), getattr(other, name), rtol=rtol, atol=atol, err_msg=name)


@KINDS
def test_batches_come_to_the_fit_on_all_rows(kind):
    X, y, _ = blobs()
    model = started(kind)
    for rows, labels, _ in later_batches(150):
        model.partial_fit(rows, labels)
    whole = SemiSupervisedGaussianMixture(5, covariance_type=kind, n_init=2, random_state=0).fit(X, y)
    order = matched(model, whole)
    assert_array_equal(order[:3], np.arange(3))
    assert_allclose(model.means_[order], whole.means_, atol=0.15)
    covariances = model.covariances_ if kind == "tied" else model.covariances_[order]
    assert_allclose(covariances, whole.covariances_, atol=0.2)
    assert_allclose(model.weights_[order], whole.weights_, atol=0.05)


def test_the_order_of_batches_matters_little():
    one, other = started(), started()
    for rows, labels, _ in later_batches():
        one.partial_fit(rows, labels)
    for rows, labels, _ in reversed(later_batches()):
        other.partial_fit(rows, labels)
    assert_allclose(one.means_, other.means_, atol=0.15)
    assert_allclose(one.covariances_, other.covariances_, atol=0.25)
    assert_array_equal(one.predict(blobs()[0]), other.predict(blobs()[0]))


def test_the_rows_of_a_fit_seen_again_leave_its_weights():
    # unlabeled rows, so that weights_ moves towards the known classes.
    X, y, _ = blobs()
    model = started()
    weights = model.weights_.copy()
    assert_allclose(model.partial_fit(X[:BATCH], y[:BATCH]).weights_, weights, atol=0.01)


@KINDS
def test_weights_count_like_repeated_rows(kind):
    (X, y, _), rng = later_batches()[0], np.random.RandomState(0)
    counts = rng.randint(0, 3, size=len(X))
    weighted = started(kind).partial_fit(X, y, counts.astype(float))
    repeated = started(kind).partial_fit(np.repeat(X, counts, axis=0), np.repeat(y, counts))
    assert_same(weighted, repeated)


@KINDS
@pytest.mark.parametrize(("block_size", "dtype", "atol"), [(17, np.float64, 1e-12), ("auto", np.float32, 1e-3)])
def test_block_size_and_type_of_the_rows_hardly_matter(kind, block_size, dtype, atol):
    one, other = started(kind), started(kind).set_params(block_size=block_size)
    for rows, labels, _ in later_batches():
        one.partial_fit(rows, labels)
        other.partial_fit(rows.astype(dtype), labels)
    assert_same(one, other, rtol=max(atol, 1e-10), atol=atol)


@pytest.mark.parametrize("kind", ["diag", "spherical"])
@pytest.mark.parametrize("n_components", [5, "auto"])
def test_sparse_batches_are_like_dense_ones(kind, n_components):
    one, other = started(kind, n_components, seen=4), started(kind, n_components, seen=4)
    for rows, labels, _ in later_batches():
        one.partial_fit(rows, labels)
        other.partial_fit(csr_array(rows), labels)
        assert_array_equal(one.labels_, other.labels_)
    assert_same(one, other, rtol=1e-6, atol=1e-8)


@KINDS
def test_far_from_the_origin_nothing_changes(kind):
    X, y, _ = blobs()
    near = started(kind)
    far = SemiSupervisedGaussianMixture(5, covariance_type=kind, n_init=2, random_state=0)
    far.fit(X[:BATCH] + 1e6, y[:BATCH])
    for rows, labels, _ in later_batches():
        near.partial_fit(rows, labels)
        far.partial_fit(rows + 1e6, labels)
        assert_array_equal(near.labels_, far.labels_)
    assert_allclose(far.means_ - 1e6, near.means_, atol=1e-6)
    assert_allclose(far.covariances_, near.covariances_, rtol=1e-5, atol=1e-6)


def test_a_prior_holds_on():
    X, y, _ = blobs()
    prior = {"mean": np.array([1.0, 2.0]), "mean_strength": 0.5, "dof": 1e7, "scale": 4e7 * np.eye(2)}
    model = SemiSupervisedGaussianMixture(5, prior=prior, n_init=2, random_state=0).partial_fit(X[:BATCH], y[:BATCH])
    for rows, labels, _ in later_batches():
        model.partial_fit(rows, labels)
        assert_allclose(model.covariances_, np.tile(4 * np.eye(2), (5, 1, 1)), atol=0.05)
    assert_allclose(model.prior_["mean"], [1, 2], atol=1e-12)


@KINDS
def test_labeled_rows_keep_their_labels_and_classes_their_names(kind):
    rng, model, first = np.random.RandomState(0), started(kind), first_fit(kind)
    for rows, labels, truth in later_batches():
        noisy = np.where((labels >= 0) & (rng.uniform(size=len(rows)) < 0.1), (truth + 1) % 3, labels)
        model.partial_fit(rows, noisy)
        assert_array_equal(model.labels_[noisy >= 0], noisy[noisy >= 0])
        assert_array_equal(model.classes_, first.classes_)
        assert np.abs(model.means_ - first.means_).max() < 2


@KINDS
def test_rows_in_a_new_place_become_one_class(kind):
    model = started(kind, "auto", seen=4)
    assert model.n_components_ == 4
    for rows, labels, _ in later_batches():
        model.partial_fit(rows, labels)
    assert_array_equal(model.classes_, [0, 1, 2, 3, 4])
    assert_array_equal(model.is_novel_, [False, False, False, True, True])
    assert clustering_accuracy(blobs()[2], model.predict(blobs()[0])) >= 0.98
    assert np.isfinite(model.distance_quantiles_).all()


def test_a_given_number_of_components_stays():
    model = started("full", 4, seen=4)
    assert all(model.partial_fit(rows, labels).n_components_ == 4 for rows, labels, _ in later_batches())


def test_a_birth_leaves_the_other_classes_as_they_were():
    # keeps them: its covariance grows from 2 to several hundred, and the weights sum to more than the rows seen.
    model, (rows, labels, _) = started("full", "auto"), later_batches()[0]
    far = np.random.RandomState(0).normal(size=(60, 2)) + 40
    model.partial_fit(np.vstack([rows, far]), np.append(labels, np.full(60, -1)))
    assert model.n_components_ == 6
    assert np.trace(model.covariances_, axis1=1, axis2=2).max() < 4
    assert_allclose(model.statistics_["weight"].sum(), model.n_samples_seen_)


def test_scattered_outliers_are_no_class():
    # a wide component always pays for rows that lie very far from all others.
    model, rng = started("full", "auto"), np.random.RandomState(0)
    for rows, labels, _ in later_batches():
        rows = np.vstack([rows, rng.uniform(-300, 300, size=(30, 2))])
        assert model.partial_fit(rows, np.append(labels, np.full(30, -1))).n_components_ == 5


def test_a_class_is_born_after_a_first_batch_with_all_labels():
    # the novel classes are swallowed by known ones.
    X, _, truth = blobs()
    rows = np.flatnonzero(truth[:BATCH] < 3)
    model = SemiSupervisedGaussianMixture(n_init=2, class_weights="all", random_state=0)
    model.fit(X[rows], truth[rows])
    for batch, labels, _ in later_batches():
        model.partial_fit(batch, labels)
    assert model.n_components_ == 5


def test_weighted_unlikely_rows_count_like_repeated_ones():
    # bring about.
    far = np.random.RandomState(0).normal(size=(15, 2)) + 80
    repeated = started("full", "auto").partial_fit(np.vstack([far, far]))
    weighted = started("full", "auto").partial_fit(far, None, np.full(15, 2.0))
    assert repeated.n_components_ == weighted.n_components_ == 6


@pytest.mark.parametrize("code", [3, 4])
def test_a_new_label_names_the_novel_component_of_its_rows(code):
    model, (rows, labels, truth) = started(), later_batches()[0]
    home = model.predict(rows[truth == code])[0]
    model.partial_fit(rows, np.where(truth == code, 99, labels))
    assert_array_equal(model.classes_, [0, 1, 2, 99, 7 - home])
    assert_array_equal(model.novel_classes_, [7 - home])
    assert (model.predict(rows[truth == code]) == 99).all()


def test_a_new_label_that_is_the_name_of_another_component_names_that_of_its_rows():
    # that component wherever its rows lie; the two classes get mixed up.
    model, (rows, labels, truth) = started(), later_batches()[0]
    of_four = model.predict(rows[truth == 4])[0]
    taken = 7 - of_four
    model.partial_fit(rows, np.where(truth == 4, taken, labels))
    assert (model.predict(rows[truth == 4]) == taken).all()
    assert (model.predict(rows[truth == 3]) != taken).all()


def test_a_new_label_far_from_all_components_makes_one():
    model, (rows, labels, _) = started(), later_batches()[0]
    far = np.random.RandomState(0).normal(size=(40, 2)) + 60
    model.partial_fit(np.vstack([rows, far]), np.append(labels, np.full(40, 10)))
    assert_array_equal(model.classes_[:4], [0, 1, 2, 10])
    assert len(model.novel_classes_) == 2
    assert_allclose(model.means_[3], far.mean(axis=0), atol=1e-8)
    assert (model.predict(far) == 10).all()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda X, y: (np.hstack([X, X]), y), "features"),
        (lambda X, y: (np.where(np.arange(len(X))[:, None] == 7, np.nan, X), y), "NaN"),
        (lambda X, y: (X, y[:-1]), "inconsistent|length|rows|samples"),
    ],
)
def test_bad_batches_leave_the_model_as_it_was(damage, message):
    model = started("full", "auto", seen=4)
    model.partial_fit(*later_batches()[1][:2])
    before = copy.deepcopy(vars(model))
    with pytest.raises(ValueError, match=message):
        model.partial_fit(*damage(*later_batches()[0][:2]))
    assert_equal(vars(model), before)


@pytest.mark.parametrize(
    "where", [(RunningState, "give_birth"), (RunningState, "attributes"), (_incremental, "decode")]
)
def test_an_interrupt_leaves_the_last_complete_batch(where, monkeypatch):
    model, (rows, labels, truth) = started("full", "auto", seen=4), later_batches()[0]
    model.partial_fit(*later_batches()[1][:2])
    before, original = copy.deepcopy(vars(model)), getattr(*where)

    def interrupted(*arguments):
        original(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(*where, interrupted)
        with pytest.raises(KeyboardInterrupt):
            model.partial_fit(rows, np.where(truth == 3, 99, labels))
    assert_equal(vars(model), before)
    assert 99 in model.partial_fit(rows, np.where(truth == 3, 99, labels)).classes_


def test_the_first_batch_is_fitted_and_a_fit_forgets_the_batches_before():
    X, y, _ = blobs()
    model = SemiSupervisedGaussianMixture(5, n_init=2, random_state=0).partial_fit(X[:BATCH], y[:BATCH])
    assert_same(model, first_fit(), rtol=0, atol=0)
    model.partial_fit(*later_batches()[0][:2]).fit(X[:BATCH], y[:BATCH])
    assert_same(model, first_fit(), rtol=0, atol=0)
    batch = later_batches()[1][:2]
    assert_same(model.partial_fit(*batch), started().partial_fit(*batch), rtol=0, atol=0)


@KINDS
def test_pickling_between_batches_changes_nothing(kind):
    one, other = started(kind, "auto", seen=4), started(kind, "auto", seen=4)
    for rows, labels, _ in later_batches():
        one.partial_fit(rows, labels)
        other = pickle.loads(pickle.dumps(other)).partial_fit(rows, labels)
    assert_same(one, other, rtol=0, atol=0)
