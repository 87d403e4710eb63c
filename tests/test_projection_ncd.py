"""Projection NCD: its loss, its classes, and what the known classes reveal."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from sklearn.cluster import DBSCAN, AgglomerativeClustering, KMeans
from sklearn.mixture import GaussianMixture
from torch import nn

from sklearn_sslcluster import neural
from sklearn_sslcluster.datasets import make_partially_labeled_blobs
from sklearn_sslcluster.discovery import PROJECTION_NCD_SEARCH_SPACE, NCDKMeans, ProjectionNCD, SemiSupervisedKMeans
from sklearn_sslcluster.metrics import clustering_accuracy
from sklearn_sslcluster.model_selection import HiddenClassKFold, HiddenClassSearchCV
from sklearn_sslcluster.neural import NetworkSettings, OptimizerSettings


def blobs():
    return make_partially_labeled_blobs(120, n_features=6, n_known=3, n_novel=2, random_state=0)


def quick(n_clusters=5, **params):
    few = {"max_epochs": 60, "n_init": 2, "optimizer": OptimizerSettings("adamw", lr=1e-2), "random_state": 0}
    return ProjectionNCD(n_clusters, **few | params)


def rows_on_a_ring():
    """Six known and two novel classes on a ring in two columns; four wider columns have clusters of their own.

    K-means in the space of the rows finds the latter; only labels tell that they are of no interest.
    """
    rng = np.random.RandomState(0)
    place = np.repeat(np.arange(8), 60)
    angle = 2 * np.pi * place / 8
    ring = np.column_stack([np.cos(angle), np.sin(angle)]) + 0.08 * rng.normal(size=(len(place), 2))
    wide = 1.5 * rng.randint(2, size=(len(place), 4)) + 0.08 * rng.normal(size=(len(place), 4))
    novel = place % 4 == 2
    return np.hstack([ring, wide]), np.where(novel, -1, place), place


@pytest.fixture(scope="module")
def network():
    shape = (50, 6)
    settings = NetworkSettings([4])
    return neural.build_projection(settings, settings, shape, 3, 2, seed=0)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("summed", [True, False])
def test_loss_is_the_weighted_sum_of_the_formulas(network, summed, normalize):
    rng = np.random.RandomState(0)
    rows, codes = rng.normal(size=(10, 6)).astype(np.float32), np.array([0, 1, -1, -1, 1, 0, 0, -1, 1, -1])
    objective = neural.ClassifiedReconstruction(0.3, summed=summed, normalize=normalize)
    batch = neural.Batch(torch.tensor(rows), torch.arange(10), torch.tensor(codes))
    layers = {part: neural.export_layers(network[part]) for part in network}
    Z = neural.apply_layers(layers["encoder"], rows)
    if normalize:
        Z = Z / np.linalg.norm(Z, axis=1, keepdims=True)
    logits = neural.apply_layers(layers["head"], Z)[codes >= 0]
    labeled = codes[codes >= 0]
    cross_entropy = np.mean(logsumexp(logits, axis=1) - logits[np.arange(len(labeled)), labeled])
    squares = ((neural.apply_layers(layers["decoder"], Z) - rows) ** 2).sum(axis=1).mean()
    expected = 0.3 * cross_entropy + 0.7 * (squares if summed else squares / 6)
    np.testing.assert_allclose(objective.loss(batch, network).item(), expected, rtol=1e-5)


def test_batch_without_labels_has_the_loss_of_reconstruction_alone(network):
    rows = torch.tensor(np.random.RandomState(0).normal(size=(4, 6)), dtype=torch.float32)
    objective = neural.ClassifiedReconstruction(0.3, summed=False, normalize=False)
    loss = objective.loss(neural.Batch(rows, torch.arange(4), torch.full((4,), -1)), network)
    expected = 0.7 * nn.functional.mse_loss(network["decoder"](network["encoder"](rows)), rows)
    np.testing.assert_allclose(loss.item(), expected.item(), rtol=1e-6)


def test_weights_of_both_conventions_convert_into_each_other(network):
    rng = np.random.RandomState(0)
    rows = torch.tensor(rng.normal(size=(10, 6)), dtype=torch.float32)
    batch = neural.Batch(rows, torch.arange(10), torch.tensor(rng.randint(-1, 2, size=10)))
    d, w = 6, 0.6
    total = w + d * (1 - w)
    summed = neural.ClassifiedReconstruction(w, summed=True, normalize=True)
    averaged = neural.ClassifiedReconstruction(w / total, summed=False, normalize=True)
    expected = total * averaged.loss(batch, network).item()
    np.testing.assert_allclose(summed.loss(batch, network).item(), expected, rtol=1e-5)


def test_default_network_is_that_of_the_paper():
    X = np.random.RandomState(0).normal(size=(40, 20))
    model = ProjectionNCD(3, max_epochs=1, random_state=0).fit(X)
    layers = [layer["kind"] for layer in model.encoder_layers_]
    assert layers == ["linear", "relu", "affine", "linear", "relu", "affine", "linear"]
    shapes = [layer["weight"].shape for layer in model.encoder_layers_ if layer["kind"] == "linear"]
    assert shapes == [(15, 20), (10, 15), (14, 10)]


def test_known_classes_reveal_what_kmeans_does_not_see():
    X, y, truth = rows_on_a_ring()
    novel = y == -1
    blind = SemiSupervisedKMeans(8, random_state=0).fit(X, y)
    model = ProjectionNCD(8, w=0.95, reconstruction="mean", max_epochs=150, batch_size=512, random_state=0)
    model.set_params(optimizer__lr=5e-3).fit(X, y)
    assert clustering_accuracy(truth[novel], blind.labels_[novel]) < 0.7
    assert clustering_accuracy(truth[novel], model.labels_[novel]) > 0.95


def test_known_rows_are_named_as_known_and_novel_ones_as_novel():
    X, y, truth = blobs()
    model = quick("auto").fit(X, y)
    predicted = model.predict(X + 0.01)
    known = truth < 3
    assert np.mean(predicted[known] == truth[known]) > 0.97
    assert np.mean(np.isin(predicted[~known], model.novel_classes_)) > 0.95
    assert len(model.novel_classes_) == 2


def test_unlabeled_rows_of_known_classes_join_them_when_mixed():
    X, y, truth = blobs()
    y = np.where(np.arange(len(y)) % 2, y, -1)
    model = quick().fit(X, y)
    np.testing.assert_array_equal(model.labels_[truth < 3], truth[truth < 3])


def test_novel_means_that_known_centers_stay_the_means_of_labeled_rows():
    X, y, _ = blobs()
    model = quick(unlabeled="novel").fit(X, y)
    Z = model.transform(X)
    means = [Z[y == c].mean(axis=0) for c in range(3)]
    np.testing.assert_allclose(model.cluster_centers_[:3], means, atol=1e-9)


def test_novel_warns_where_unlabeled_rows_look_known():
    X, y, _ = blobs()
    y = np.where(np.arange(len(y)) % 2, y, -1)
    with pytest.warns(UserWarning, match="nearest to a known class"):
        quick(unlabeled="novel").fit(X, y)


def test_rows_of_the_embedding_have_unit_length_on_request():
    X, y, _ = blobs()
    lengths = np.linalg.norm(quick().fit(X, y).transform(X), axis=1)
    np.testing.assert_allclose(lengths, 1)
    assert np.linalg.norm(quick(normalize=False).fit(X, y).transform(X), axis=1).std() > 0.01


@pytest.mark.parametrize(("size", "expected"), [(3, 3), (0.5, 10), (0.01, 5), (1.0, 20)])
def test_embedding_size_is_a_number_or_a_share(size, expected):
    X = np.random.RandomState(0).normal(size=(30, 20))
    assert quick(3, embedding_size=size, max_epochs=1).fit(X).transform(X).shape == (30, expected)


@pytest.mark.parametrize(
    "clusterer",
    [
        KMeans(n_init=2),
        GaussianMixture(),
        AgglomerativeClustering(),
        DBSCAN(eps=0.3),
        NCDKMeans(n_init=2),
        SemiSupervisedKMeans(n_init=2),
    ],
    ids=lambda clusterer: type(clusterer).__name__,
)
@pytest.mark.parametrize("unlabeled", ["mixed", "novel"])
def test_any_clusterer_finds_planted_classes_in_the_embedding(clusterer, unlabeled):
    X, y, truth = blobs()
    model = quick(clusterer=clusterer, unlabeled=unlabeled).fit(X, y)
    assert clustering_accuracy(truth, model.labels_) > 0.97
    free = y == -1
    np.testing.assert_array_equal(model.predict(X)[free], model.labels_[free])


def test_clusterer_is_left_unfitted():
    X, y, _ = blobs()
    clusterer = KMeans(n_init=2)
    quick(clusterer=clusterer).fit(X, y)
    assert not hasattr(clusterer, "labels_")
    assert clusterer.n_clusters == 8


def test_clusterer_without_a_number_of_clusters_settles_it():
    X, y, _ = blobs()
    assert quick("auto", clusterer=DBSCAN(eps=0.3)).fit(X, y).n_clusters_ == 5


def test_no_labels_leave_an_autoencoder():
    X, _, truth = blobs()
    model = quick(w=0.9).fit(X)
    # Without labels the weight of the classification plays no part.
    np.testing.assert_array_equal(model.labels_, quick(w=0.1).fit(X).labels_)
    assert clustering_accuracy(truth, model.labels_) > 0.95


def test_all_labels_leave_no_novel_class():
    X, _, truth = blobs()
    model = quick("auto").fit(X, truth)
    assert len(model.novel_classes_) == 0
    with pytest.raises(ValueError, match="found no novel class"):
        model.predict_novel(X)


def test_order_and_repetition_of_rows_change_no_weight():
    X, y, _ = blobs()
    reference = quick(max_epochs=5).fit(X, y)
    order = np.random.RandomState(1).permutation(len(X))
    for rows in (order, np.tile(order, 3)):
        other = quick(max_epochs=5).fit(X[rows], y[rows])
        np.testing.assert_array_equal(other.transform(X), reference.transform(X))
        np.testing.assert_array_equal(other.labels_, reference.labels_[rows])


def test_row_that_stands_more_often_weighs_more():
    X, y, _ = blobs()
    copies = np.where(np.arange(len(X)) % 2, 3, 1)
    repeated = np.repeat(np.arange(len(X)), copies)
    model = quick(max_epochs=5).fit(X[repeated], y[repeated])
    np.testing.assert_allclose(model.mean_, np.average(X, axis=0, weights=copies))
    Z = model.transform(X)
    for code in range(3):
        members = np.flatnonzero((y == code) | ((y == -1) & (model.predict(X) == code)))
        expected = np.average(Z[members], axis=0, weights=copies[members])
        np.testing.assert_allclose(model.cluster_centers_[code], expected, atol=1e-6)


class Listen:
    """Keeps the estimators that it is given, and asks to stop after some epochs."""

    def __init__(self, after=np.inf):
        self.after, self.given = after, []

    def setup(self, estimator, context):
        pass

    teardown = on_fit_task_begin = setup

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        if context.task_name == "epoch":
            self.given.append(fitted_estimator)
        return len(self.given) >= self.after


@pytest.mark.parametrize("clusterer", [None, GaussianMixture()])
def test_callback_sees_the_estimator_that_a_stop_would_leave(clusterer):
    X, y, _ = blobs()
    settings = {"max_epochs": 6, "clusterer": clusterer, "k_max": 6}
    listen = Listen()
    watched, alone = quick("auto", **settings).set_callbacks(listen).fit(X, y), quick("auto", **settings).fit(X, y)
    np.testing.assert_array_equal(watched.cluster_centers_, alone.cluster_centers_)
    assert len(listen.given) == 6
    stopped = quick("auto", **settings).set_callbacks(Listen(4)).fit(X, y)
    seen = listen.given[3]
    np.testing.assert_array_equal(seen.transform(X), stopped.transform(X))
    np.testing.assert_array_equal(seen.cluster_centers_, stopped.cluster_centers_)
    np.testing.assert_array_equal(seen.labels_, stopped.labels_)
    assert seen.n_clusters_scores_ == stopped.n_clusters_scores_


@pytest.mark.parametrize(
    ("batch_size", "n_rows", "expected"), [("auto", 100, 32), ("auto", 1600, 200), ("auto", 5000, 512), (64, 5000, 64)]
)
def test_steps_of_small_tables_have_fewer_rows(batch_size, n_rows, expected):
    X = np.random.RandomState(0).normal(size=(n_rows, 3))
    seen = []

    class Recorded(OwnEncoder):
        def forward(self, X):
            if self.training:
                seen.append(len(X))
            return super().forward(X)

    quick(2, encoder=Recorded, max_epochs=1, batch_size=batch_size).fit(X)
    # The rest of the rows is a smaller batch, or joins the one before.
    assert seen[0] == expected
    assert len(seen) in (n_rows // expected, -(-n_rows // expected))


@pytest.mark.parametrize("normalize", [True, False])
def test_first_of_several_networks_is_the_one_that_is_trained_alone(normalize):
    X, y, _ = blobs()
    settings = {"encoder": NetworkSettings([6, 5], batch_norm=True), "max_epochs": 8, "normalize": normalize}
    # The length at which gradients are cut is that of all networks together.
    settings["optimizer"] = OptimizerSettings("adamw", lr=1e-2, max_grad_norm=None)
    alone, three = quick(**settings).fit(X, y), quick(n_networks=3, **settings).fit(X, y)
    Z = three.transform(X)
    assert three.embedding_size_ == Z.shape[1] == 3 * alone.embedding_size_
    parts = np.hsplit(Z * (np.sqrt(3) if normalize else 1), 3)
    np.testing.assert_allclose(parts[0], alone.transform(X), atol=1e-5)
    assert not np.allclose(parts[1], parts[0], atol=0.1)
    if normalize:
        np.testing.assert_allclose(np.linalg.norm(Z, axis=1), 1)
    np.testing.assert_array_equal(three.predict(X)[y == -1], three.labels_[y == -1])


def test_networks_side_by_side_compute_in_numpy_what_they_do_in_torch():
    settings = NetworkSettings([7, 4], activation="tanh", batch_norm=True, dropout=0.2)
    network = neural.build_projection(settings, settings, (50, 6), 3, 2, seed=0, n_networks=3)
    rows = torch.tensor(np.random.RandomState(0).normal(size=(20, 6)), dtype=torch.float32)
    encoder = network["encoder"]
    for _ in range(3):
        encoder(2 * rows + 1)
    encoder.eval()
    with torch.no_grad():
        expected = torch.cat([member(rows) for member in encoder.members], dim=1).numpy()
    np.testing.assert_allclose(neural.apply_layers(neural.export_layers(encoder), rows.numpy()), expected, atol=1e-6)


def classes_of_parts():
    """Ten classes of one to three groups each, half of them novel; half of the rows of the others are unlabeled."""
    rng = np.random.RandomState(0)
    truth = rng.randint(10, size=800)
    centers = rng.normal(size=(10, 1, 8)) * 2.2 + rng.normal(size=(10, 3, 8))
    part = rng.randint(3, size=800) % (1 + np.arange(10) % 3)[truth]
    latent = centers[truth, part] + rng.normal(size=(800, 8))
    X = np.tanh(latent @ rng.normal(size=(8, 16)) / 6) + 0.1 * rng.normal(size=(800, 16))
    return X, np.where((truth >= 5) | (rng.rand(800) < 0.5), -1, truth), truth


def test_several_networks_are_better_than_one_of_them_in_the_mean():
    X, y, truth = classes_of_parts()
    free = y == -1

    def accuracy(seed, **settings):
        model = ProjectionNCD(10, max_epochs=40, n_init=10, random_state=seed, **settings).fit(X, y)
        return clustering_accuracy(truth[free], model.labels_[free])

    assert accuracy(0, n_networks=4) > np.mean([accuracy(seed) for seed in range(4)]) + 0.01


def test_own_module_stands_alone():
    X, y, _ = blobs()
    with pytest.raises(ValueError, match=r"n_networks=2 needs NetworkSettings as encoder, got .*OwnEncoder"):
        quick(encoder=OwnEncoder, n_networks=2).fit(X, y)


def test_training_rows_divide_the_copies_by_what_they_have_in_common():
    X = np.array([[1.0], [0.0], [1.0], [0.0], [1.0], [0.0], [1.0], [0.0]])
    codes = np.array([0, -1, 0, -1, -1, -1, -1, -1])
    rows = neural.training_rows(X, codes)
    np.testing.assert_array_equal(np.column_stack([X[rows, 0], codes[rows]]), [[0, -1], [0, -1], [1, -1], [1, 0]])


def test_single_row_is_trained_on_twice():
    np.testing.assert_array_equal(neural.training_rows(np.ones((1, 2)), np.array([-1])), [0, 0])


def test_users_own_encoder_predicts_what_it_was_trained_for():
    X, y, _ = blobs()
    model = quick(encoder=OwnEncoder).fit(X, y)
    free = y == -1
    np.testing.assert_array_equal(model.predict(X)[free], model.labels_[free])


class OwnEncoder(nn.Module):
    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(n_features))
        self.linear = nn.Linear(n_features, n_outputs)

    def forward(self, X):
        return self.linear(X * self.scale)


def test_killed_fit_resumes_to_the_same_labels(tmp_path, monkeypatch):
    X, y, _ = blobs()
    path = tmp_path / "checkpoint"
    expected = quick(max_epochs=6).fit(X, y)

    class Killed(Exception):
        pass

    calls = []

    def kill(now):
        calls.append(1)
        if len(calls) == 3:
            raise Killed
        return False

    train = ProjectionNCD._train
    parameters = expected.get_params(deep=False) | {"checkpoint": path}
    with monkeypatch.context() as patched:
        patched.setattr(ProjectionNCD, "_train", lambda *args, **kwargs: train(*args, **kwargs | {"on_epoch": kill}))
        with pytest.raises(Killed):
            ProjectionNCD(**parameters).fit(X, y)
    assert path.exists()
    resumed = ProjectionNCD(**parameters).fit(X, y)
    np.testing.assert_array_equal(resumed.transform(X), expected.transform(X))
    np.testing.assert_array_equal(resumed.labels_, expected.labels_)


def test_search_over_the_published_space():
    X, y, _ = blobs()
    search = HiddenClassSearchCV(
        quick("auto", max_epochs=3, k_max=6),
        PROJECTION_NCD_SEARCH_SPACE,
        n_iter=2,
        cv=HiddenClassKFold(2, random_state=0),
        error_score="raise",
        random_state=0,
    ).fit(X, y)
    assert set(search.best_params_) == set(PROJECTION_NCD_SEARCH_SPACE)
    assert search.best_estimator_.encoder.dropout == search.best_params_["encoder__dropout"]
    assert search.best_estimator_.encoder.batch_norm
    assert search.best_estimator_.optimizer.name == "adamw"


def test_prediction_needs_no_torch():
    X, y, _ = blobs()
    model = quick(max_epochs=2).fit(X, y)
    code = (
        "import pickle, sys; model, X = pickle.load(sys.stdin.buffer); model.predict(X); model.transform(X);"
        "model.novelty_score(X); assert not {'torch', 'skorch'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps((model, X)), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize(
    "parameters", [{"w": 1.5}, {"reconstruction": "max"}, {"unlabeled": "known"}, {"encoder": "identity"}]
)
def test_wrong_parameters_are_refused(parameters):
    X, y, _ = blobs()
    with pytest.raises(ValueError, match=next(iter(parameters))):
        quick(**parameters).fit(X, y)
