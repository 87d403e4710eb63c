"""`NeighborEmbeddingClustering`: quality, agreement of labels and map, small and degenerate tables, no torch."""

import pickle
import subprocess
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, make_circles, make_moons
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from sklearn_sslcluster import neural
from sklearn_sslcluster.deep import NeighborEmbeddingClustering, NetworkSettings
from sklearn_sslcluster.deep._embedding_clusters import draw_rows, edge_counts, join_components
from sklearn_sslcluster.engine import RowBlocks
from sklearn_sslcluster.labels import encode_partial_labels


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    order = np.random.RandomState(0).permutation(len(X))[:1000]
    train, held_out = order[:700], order[700:]
    model = NeighborEmbeddingClustering(10, random_state=0).fit(X[train])
    return model, X, y, train, held_out


@pytest.fixture(scope="module")
def moons():
    X, y = make_moons(300, noise=0.06, random_state=0)
    return X, y, NeighborEmbeddingClustering(2, random_state=0).fit(X)


def test_digits_are_grouped_better_than_by_kmeans(digits):
    model, X, y, train, _ = digits
    nmi = normalized_mutual_info_score(y[train], model.labels_)
    assert nmi > 0.84
    assert (
        nmi > normalized_mutual_info_score(y[train], KMeans(10, n_init=5, random_state=0).fit_predict(X[train])) + 0.05
    )


def test_held_out_digits_are_grouped_as_well_as_the_training_rows(digits):
    model, X, y, train, held_out = digits
    of = {label: np.bincount(y[train][model.labels_ == label]).argmax() for label in model.classes_.tolist()}
    right = [
        np.mean([of[label] == truth for label, truth in zip(labels, rows, strict=True)])
        for labels, rows in ((model.labels_, y[train]), (model.predict(X[held_out]), y[held_out]))
    ]
    assert right[1] > right[0] - 0.06


def test_map_agrees_with_the_mixture_it_has_learned_from(digits):
    assert digits[0].agreement_ > 0.98


def test_auto_finds_about_ten_digits(digits):
    _, X, _, train, _ = digits
    model = NeighborEmbeddingClustering("auto", max_epochs=5, k_max=14, random_state=0).fit(X[train])
    assert 8 <= model.n_clusters_ <= 13
    best = max(model.n_clusters_scores_.values())
    as_good = [
        k for k, score in model.n_clusters_scores_.items() if score >= best - min(0.5 / len(train) ** 0.5, 0.015)
    ]
    assert model.n_clusters_ == min(as_good)


def test_moons_that_kmeans_cuts_are_found(moons):
    X, y, model = moons
    assert adjusted_rand_score(y, KMeans(2, n_init=5, random_state=0).fit_predict(X)) < 0.7
    assert adjusted_rand_score(y, model.labels_) > 0.95


def test_rings_are_found():
    X, y = make_circles(300, noise=0.03, factor=0.4, random_state=0)
    model = NeighborEmbeddingClustering(2, random_state=0).fit(X)
    assert adjusted_rand_score(y, model.labels_) > 0.95


def test_labels_are_what_predict_and_predict_proba_say(moons):
    X, _, model = moons
    np.testing.assert_array_equal(model.predict(X), model.labels_)
    np.testing.assert_array_equal(model.classes_[model.predict_proba(X).argmax(axis=1)], model.labels_)
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1)


def test_new_rows_of_moons_are_predicted(moons):
    X, y = make_moons(400, noise=0.06, random_state=1)
    assert adjusted_rand_score(y, moons[2].predict(X)) > 0.95


def test_transform_is_near_the_neighbor_embedding(moons):
    X, _, model = moons
    error = ((model.transform(X) - model.embedding_) ** 2).mean()
    assert error < 0.1 * model.embedding_.var()


def test_labels_decide_where_groups_are_to_be_joined():
    rng = np.random.RandomState(0)
    X = np.repeat([[0.0, 0], [9, 0], [0, 9]], 60, axis=0) + rng.normal(size=(180, 2))
    y = np.full(180, -1)
    y[:5], y[60:65] = 4, 7
    model = NeighborEmbeddingClustering(3, max_epochs=30, random_state=0).fit(X, y)
    np.testing.assert_array_equal(model.classes_, [4, 7, 8])
    np.testing.assert_array_equal(model.labels_, np.repeat([4, 7, 8], 60))


def test_one_group_is_one_class():
    X = np.random.RandomState(0).normal(size=(200, 5))
    assert NeighborEmbeddingClustering(max_epochs=5, random_state=0).fit(X).n_clusters_ == 1


@pytest.mark.parametrize("n_rows", [1, 2, 3, 5, 9, 20])
@pytest.mark.parametrize("n_columns", [1, 3])
def test_small_tables_are_fitted(n_rows, n_columns):
    X = np.random.RandomState(0).normal(size=(n_rows, n_columns))
    model = NeighborEmbeddingClustering(min(3, n_rows), max_epochs=5, random_state=0).fit(X)
    assert model.labels_.shape == (n_rows,)
    assert np.isfinite(model.embedding_).all()
    np.testing.assert_array_equal(model.predict(X), model.labels_)


def test_rows_of_large_tables_that_are_not_embedded_are_mapped():
    rng = np.random.RandomState(0)
    truth = rng.randint(3, size=900)
    X = np.array([[0.0, 0], [9, 0], [0, 9]])[truth] + rng.normal(size=(900, 2))
    model = NeighborEmbeddingClustering(3, max_embedded=150, max_epochs=30, random_state=0).fit(X)
    assert adjusted_rand_score(truth, model.labels_) > 0.98
    assert len(model.reference_rows_) == 150


@pytest.mark.parametrize("max_rows", [12, 1000])
def test_every_known_class_has_rows_in_the_sample(max_rows):
    rng = np.random.RandomState(0)
    X, y = rng.normal(size=(200, 3)), np.full(200, -1)
    y[:60], y[60] = 0, 1
    drawn = draw_rows(RowBlocks(X), encode_partial_labels(y), max_rows, rng)
    assert {0, 1, -1} == set(drawn.codes.tolist())
    np.testing.assert_array_equal(y[drawn.rows], drawn.codes)
    np.testing.assert_array_equal(X[drawn.members], X[drawn.rows[drawn.places]])
    assert len(drawn.rows) <= max(max_rows + 1, 0) or len(drawn.rows) == 200


def quick(**settings):
    return NeighborEmbeddingClustering(3, max_epochs=15, n_init=2, random_state=0, **settings)


def three_groups():
    rng = np.random.RandomState(0)
    truth = rng.randint(3, size=120)
    return np.array([[0.0, 0], [9, 0], [0, 9]])[truth] + rng.normal(size=(120, 2)), truth


def test_table_repeated_is_the_table_and_rows_in_another_order_are_too():
    X, truth = three_groups()
    y = np.where(np.arange(120) % 10 == 0, truth, -1)
    reference = quick().fit(X, y)
    order = np.random.RandomState(0).permutation(120)
    for rows in (order, np.repeat(order, 3)):
        other = quick().fit(X[rows], y[rows])
        np.testing.assert_array_equal(other.transform(X), reference.transform(X))
        np.testing.assert_array_equal(other.labels_, reference.labels_[rows])


def test_rows_that_stand_more_often_weigh_more_in_mixture_and_map():
    rng = np.random.RandomState(0)
    X, y = np.tile(rng.normal(size=(10, 2)), (2, 1)), np.full(20, -1)
    X[12:] += 5
    drawn = draw_rows(RowBlocks(np.repeat(X, 2, axis=0)), encode_partial_labels(np.repeat(y, 2)), 100, rng)
    np.testing.assert_array_equal(np.sort(drawn.weight), [2] * 16 + [4] * 2)
    assert drawn.relative_weight.mean() == pytest.approx(1)
    assert draw_rows(RowBlocks(X[:10]), encode_partial_labels(y[:10]), 100, rng).relative_weight is None
    # The loss with weights is the loss of the table written out.
    embedding, posteriors = rng.normal(size=(6, 2)), rng.dirichlet(np.ones(3), size=6)
    rows, copies = rng.normal(size=(6, 4)), np.array([1, 3, 1, 1, 2, 4])
    network = neural.build_map(NetworkSettings([5]), 6, 4, 5, 0).eval()
    losses = []
    for times, weight in ((np.ones(6, dtype=int), copies / copies.mean()), (copies, None)):
        table = [np.repeat(part, times, axis=0) for part in (rows, np.zeros((6, 0)), embedding, posteriors)]
        objective = neural.EmbeddingDistillation(neural.MapTargets(*table, weight), noise=0.0).eval()
        seen = torch.as_tensor(table[0], dtype=torch.float32)
        batch = neural.Batch(seen, torch.arange(len(seen)), torch.full((len(seen),), -1))
        losses.append(objective.loss(batch, network).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


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


def test_callback_sees_the_estimator_that_a_stop_would_leave():
    X, _ = three_groups()
    listen = Listen()
    whole = quick().set_callbacks(listen).fit(X)
    np.testing.assert_array_equal(whole.transform(X), quick().fit(X).transform(X))
    assert len(listen.given) == 15
    stopped = quick().set_callbacks(Listen(7)).fit(X)
    np.testing.assert_array_equal(listen.given[6].transform(X), stopped.transform(X))
    np.testing.assert_array_equal(listen.given[6].predict(X), stopped.labels_)
    assert listen.given[6].agreement_ == stopped.agreement_


def test_halves_of_a_large_group_are_joined_before_two_small_groups():
    codes = np.repeat([0, 1, 2, 3], [50, 50, 4, 4])
    neighbors = np.concatenate([[[i - 1, i + 1] for i in range(1, 99)], [[0, 1]] * 2])
    neighbors = np.vstack([[[1, 2]], neighbors[:98], [[97, 98]]])
    small = [[start + (i + 1) % 4, start + (i + 2) % 4] for start in (100, 104) for i in range(4)]
    joined = join_components(edge_counts(codes, 4, np.vstack([neighbors, small])), 0, 3)
    assert joined[0] == joined[1]
    assert len(set(joined.tolist())) == 3


def test_umap_without_its_package_is_refused_by_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ImportError, match="umap-learn"):
        NeighborEmbeddingClustering(2, embedding="umap").fit(np.random.RandomState(0).normal(size=(40, 3)))


def test_umap_gets_neighbors_and_start(monkeypatch):
    calls = {}

    class UMAP:
        def __init__(self, **settings):
            calls.update(settings)

        def fit_transform(self, Z):
            return Z[:, :2]

    fake = ModuleType("umap")
    fake.UMAP = UMAP
    monkeypatch.setitem(sys.modules, "umap", fake)
    X, _ = make_moons(300, noise=0.02, random_state=0)
    NeighborEmbeddingClustering(2, embedding="umap", perplexity=20, max_epochs=2, random_state=0).fit(X)
    assert calls["n_neighbors"] == 20
    assert calls["init"].shape == (300, 2)


def test_identity_is_no_map():
    with pytest.raises(ValueError, match="encoder"):
        NeighborEmbeddingClustering(2, encoder="identity").fit(np.random.RandomState(0).normal(size=(40, 3)))


def test_settings_of_network_and_optimizer_can_be_set():
    model = NeighborEmbeddingClustering(2, max_epochs=2, random_state=0)
    assert model.get_params()["encoder__hidden"] == (256, 256)
    model.set_params(encoder__hidden=(8,), optimizer__lr=0.01)
    model.fit(np.random.RandomState(0).normal(size=(40, 3)))
    assert model.encoder_layers_[0]["weight"].shape == (8, 3)


def test_a_module_of_the_user_is_trained_and_predicts():
    from torch import nn

    class Narrow(nn.Module):
        def __init__(self, n_features, n_outputs):
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(n_features, 16), nn.Tanh(), nn.Linear(16, n_outputs))

        def forward(self, X):
            return self.layers(X)

    X = np.repeat([[0.0, 0], [9, 0]], 40, axis=0) + np.random.RandomState(0).normal(size=(80, 2))
    model = NeighborEmbeddingClustering(2, encoder=Narrow, max_epochs=30, random_state=0).fit(X)
    np.testing.assert_array_equal(model.predict(X), model.labels_)
    assert len(set(model.labels_[:40].tolist())) == 1


def test_predict_needs_no_torch(moons):
    X, _, model = moons
    script = (
        "import pickle, sys\n"
        "model, X = pickle.loads(sys.stdin.buffer.read())\n"
        "model.predict(X, reject=0.99), model.predict_proba(X), model.transform(X), model.score(X)\n"
        "print(sorted({'torch', 'skorch'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], input=pickle.dumps((model, X)), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().strip() == "[]"
