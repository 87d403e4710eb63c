"""Deep estimators fitted batch by batch: what goes on from the batch before, and what is refused."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_digits, make_blobs
from sklearn.exceptions import ConvergenceWarning
from skops.io import dumps, loads

from sklearn_sslcluster.deep import ContrastiveEncoder, DeepEmbeddedClustering, DeepKMeans, NetworkSettings
from sklearn_sslcluster.metrics import clustering_accuracy
from sklearn_sslcluster.utils import trusted_types

QUICK = {"max_pretrain_epochs": 3, "max_epochs": 3, "random_state": 0}
MODELS = [
    DeepEmbeddedClustering(3, n_init=2, **QUICK),
    DeepEmbeddedClustering(3, objective="dec", n_init=2, **QUICK),
    DeepKMeans(3, n_init=2, encoder=NetworkSettings([8], batch_norm=True), **QUICK),
    ContrastiveEncoder(6, max_epochs=2, random_state=0),
    ContrastiveEncoder(6, views="correlated-mask", objective="vicreg", max_epochs=2, random_state=0),
]
each = pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)


@pytest.fixture(scope="module")
def blobs():
    X, truth = make_blobs(300, n_features=5, centers=3, cluster_std=0.8, random_state=0)
    return X, truth, np.where(np.arange(300) % 10 == 0, truth, -1)


def batches(X, size=50):
    return [X[start : start + size] for start in range(0, len(X), size)]


def test_centers_without_a_network_are_running_means():
    rng = np.random.RandomState(0)
    X = np.concatenate([rng.normal(-3, 0.1, (60, 2)), rng.normal(3, 0.1, (40, 2))])
    X = X[rng.permutation(100)]
    model = DeepKMeans(2, encoder="identity", n_init=2, max_epochs=1, batch_size=500, random_state=0).fit(X)
    Z = [(batch - model.mean_) / model.scale_ for batch in (X[:30] + 0.5, X[30:50] - 0.2)]
    centers, counts = model.cluster_centers_.copy(), np.full(2, 100.0)
    for batch, rows in zip((X[:30] + 0.5, X[30:50] - 0.2), Z, strict=True):
        nearest = ((rows[:, None] - centers) ** 2).sum(axis=2).argmin(axis=1)
        for code in range(2):
            own = rows[nearest == code]
            centers[code] = (counts[code] * centers[code] + own.sum(axis=0)) / (counts[code] + len(own))
            counts[code] += len(own)
        model.partial_fit(batch)
        assert_allclose(model.cluster_centers_, centers, rtol=1e-5)
    assert model.training_state_["n_batches"] == 3


@each
def test_first_batch_is_a_fit(model, blobs):
    X = blobs[0]
    fitted, batch = clone(model).fit(X), clone(model).partial_fit(X)
    assert_array_equal(fitted.transform(X), batch.transform(X))


@each
def test_further_batches_go_on_and_can_be_repeated(model, blobs):
    X, _, y = blobs
    first, second = clone(model), clone(model)
    for rows, labels in zip(batches(X), batches(y), strict=True):
        first.partial_fit(rows, labels)
        second.partial_fit(rows, labels)
    assert_array_equal(first.transform(X), second.transform(X))
    assert np.abs(first.transform(X) - clone(model).fit(X[:50], y[:50]).transform(X)).max() > 1e-3
    phase = "contrast" if isinstance(model, ContrastiveEncoder) else "joint"
    epochs = [entry["epoch"] for entry in first.history_[phase]]
    assert epochs == list(range(len(epochs)))
    assert first.training_state_["n_batches"] == 6


@each
def test_saved_model_goes_on_as_the_one_in_memory(model, blobs):
    X, _, y = blobs
    model = clone(model).partial_fit(X[:100], y[:100]).partial_fit(X[100:150])
    saved = loads(dumps(model), trusted=trusted_types())
    assert_array_equal(saved.partial_fit(X[150:]).transform(X), model.partial_fit(X[150:]).transform(X))


@pytest.mark.parametrize("model", MODELS[:3], ids=lambda model: type(model).__name__)
def test_labels_are_those_of_the_batch_and_given_ones_stay(model, blobs):
    X, truth, y = blobs
    model = clone(model).fit(X, y)
    model.partial_fit(X[:80], y[:80])
    given = y[:80] != -1
    assert_array_equal(model.labels_[given], y[:80][given])
    assert_array_equal(model.labels_[~given], model.predict(X[:80])[~given])
    assert clustering_accuracy(truth, model.predict(X)) > 0.95
    assert np.isfinite(model.distance_quantiles_).all()
    assert (np.diff(model.distance_quantiles_, axis=1) >= 0).all()


def digits_by_batches(model):
    """(accuracy, loss) after the first batch, and after forty more."""
    X, truth = load_digits(return_X_y=True)
    rng, found = np.random.RandomState(0), []
    model.partial_fit(X[:600])
    for n_more in (40, 0):
        found.append((clustering_accuracy(truth, model.predict(X)), model.history_["joint"][-1]["train_loss"]))
        for _ in range(n_more):
            model.partial_fit(X[rng.choice(np.arange(600, 1797), 200, replace=False)])
    return found


def test_clusters_of_digits_get_better_with_more_batches():
    settings = {"n_init": 3, "max_pretrain_epochs": 10, "max_epochs": 2, "batch_size": 50, "random_state": 0}
    (before, _), (after, _) = digits_by_batches(DeepEmbeddedClustering(10, **settings))
    assert after > max(before + 0.01, 0.68)


def test_reconstruction_of_digits_gets_better_with_more_batches():
    settings = {"n_init": 3, "max_pretrain_epochs": 5, "max_epochs": 2, "batch_size": 50, "random_state": 0}
    (_, before), (accuracy, after) = digits_by_batches(DeepKMeans(10, **settings))
    assert after < 0.9 * before
    assert accuracy > 0.55


def test_classes_found_can_be_labeled_later(blobs):
    X, truth, _ = blobs
    y = np.where((np.arange(300) % 10 == 0) & (truth == 0), "first", "")
    model = DeepEmbeddedClustering(3, n_init=2, unlabeled_value="", **QUICK).fit(X, y)
    names = model.predict(X[:20])
    assert_array_equal(model.partial_fit(X[:20], names).labels_, names)


def test_label_that_is_no_class_is_refused_and_nothing_is_lost(blobs):
    X, _, y = blobs
    model = DeepEmbeddedClustering(3, n_init=2, **QUICK).fit(X, y)
    before = model.transform(X)
    with pytest.raises(ValueError, match="y holds the label 9, which is none of the 3 classes"):
        model.partial_fit(X[:10], np.full(10, 9))
    assert_array_equal(model.transform(X), before)


@each
def test_other_columns_are_refused(model, blobs):
    model = clone(model).partial_fit(blobs[0][:60])
    with pytest.raises(ValueError, match="features"):
        model.partial_fit(blobs[0][:60, :4])


@each
@pytest.mark.filterwarnings("ignore:.*collapsed")
def test_a_batch_of_one_row_is_seen(model, blobs):
    model = clone(model).partial_fit(blobs[0])
    model.partial_fit(blobs[0][:1])
    assert np.isfinite(model.transform(blobs[0])).all()
    assert len(getattr(model, "labels_", [0])) == 1


@pytest.mark.parametrize("model", MODELS[:3], ids=lambda model: type(model).__name__)
def test_interrupt_leaves_the_model_as_it_was(model, blobs, monkeypatch):
    X = blobs[0]
    model = clone(model).fit(X)
    before = model.transform(X)

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(model), "_running_quantiles", interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.partial_fit(X[:50] + 3)
    assert_array_equal(model.transform(X), before)


def test_changed_parameters_are_checked(blobs):
    X = blobs[0]
    model = DeepKMeans(3, n_init=2, **QUICK).fit(X)
    with pytest.raises(ValueError, match="clustering_weight"):
        clone(model).fit(X).set_params(clustering_weight=-1.0).partial_fit(X)
    with pytest.raises(ValueError, match="another shape than that of the first batch"):
        model.set_params(embedding_size=4).partial_fit(X)


def test_another_optimizer_begins_anew(blobs):
    X = blobs[0]
    model = DeepKMeans(3, n_init=2, **QUICK).fit(X).set_params(optimizer__name="sgd").partial_fit(X[:100])
    model.set_params(optimizer__name="adam").partial_fit(X[100:200])
    model.set_params(optimizer__name="sgd").partial_fit(X[200:])
    assert np.isfinite(model.transform(X)).all()


def test_sizes_of_the_classes_are_remembered(blobs):
    X, _, y = blobs
    model = DeepEmbeddedClustering(3, n_init=2, **QUICK).fit(X, y)
    assert model.training_state_["objective"]["frequencies"].tolist() == [100, 100, 100]
    model.partial_fit(X[:3])
    assert_allclose(model.training_state_["objective"]["frequencies"].sum(), 303, rtol=1e-5)


def test_model_of_an_earlier_version_says_that_it_cannot_go_on(blobs):
    model = DeepKMeans(3, n_init=2, **QUICK).fit(blobs[0])
    del model.training_state_
    with pytest.raises(ValueError, match="saved by a version"):
        model.partial_fit(blobs[0])


def test_fewer_rows_than_clusters_in_the_first_batch_warn(blobs):
    with pytest.warns(ConvergenceWarning, match="Only 2 clusters were found"):
        DeepKMeans(5, n_init=2, **QUICK).partial_fit(blobs[0][:2])
