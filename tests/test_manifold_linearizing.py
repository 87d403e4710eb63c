"""`ManifoldLinearizingClustering`: rates, memberships, planted manifolds, collapse, new rows, the number of classes."""

import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.cluster import KMeans, SpectralClustering
from torch import nn

from sklearn_sslcluster import neural, numerics
from sklearn_sslcluster.deep import ManifoldLinearizingClustering
from sklearn_sslcluster.deep._subspace_classes import ClassReader
from sklearn_sslcluster.metrics import clustering_accuracy
from sklearn_sslcluster.neural import coding_rate

SETTINGS = neural.RateSettings(squared_error=0.1, temperature=0.175, n_steps=400, sparsity=0.05, neighbor_weight=0.0)
N_COLUMNS = 12


def linear_union(seed, n_rows=100):
    """Subspaces of 2, 2 and 3 dimensions through the origin."""
    rng = np.random.RandomState(seed)
    parts = []
    for dimension in (2, 2, 3):
        basis = np.linalg.qr(rng.normal(size=(N_COLUMNS, dimension)))[0]
        parts.append(rng.normal(size=(n_rows, dimension)) @ basis.T + 0.02 * rng.normal(size=(n_rows, N_COLUMNS)))
    return np.vstack(parts), np.repeat([0, 1, 2], n_rows)


def curved_union(seed, n_rows=100):
    """The same, carried to curved surfaces by a random smooth map."""
    X, y = linear_union(seed, n_rows)
    straight, bent = np.random.RandomState(seed + 50).normal(size=(2, N_COLUMNS, N_COLUMNS)) / np.sqrt(N_COLUMNS)
    return X @ straight + np.sin(1.5 * X @ bent), y


def directions(n_rows=20, n_columns=4, seed=0):
    Z = torch.tensor(np.random.RandomState(seed).normal(size=(n_rows, n_columns)))
    return nn.functional.normalize(Z, dim=1)


def naive_class_rate(Z, membership, squared_error):
    """The definition, one class after the other."""
    n_rows, n_columns = Z.shape
    total = 0.0
    for column in membership.T:
        scatter = Z.T @ np.diag(column) @ Z * n_columns / (column.sum() * squared_error)
        total += column.sum() / (2 * n_rows) * np.linalg.slogdet(np.eye(n_columns) + scatter)[1]
    return total


@pytest.fixture(scope="module")
def curved():
    X, y = curved_union(3)
    return X, y, ManifoldLinearizingClustering(3, random_state=0).fit(X)


@pytest.mark.parametrize("n_classes", [20, 3])
def test_rates_are_those_of_the_definition(n_classes, monkeypatch):
    Z = directions()
    membership = torch.tensor(np.random.RandomState(1).dirichlet(np.ones(n_classes), size=20))
    assert_allclose(coding_rate.total_rate(Z, 0.1), naive_class_rate(Z.numpy(), np.ones((20, 1)), 0.1))
    expected = naive_class_rate(Z.numpy(), membership.numpy(), 0.1)
    assert_allclose(coding_rate.class_rate(Z, membership, 0.1), expected)
    monkeypatch.setattr(coding_rate, "_MOST_FLOATS", 4 * 4**2)
    assert_allclose(coding_rate.class_rate(Z, membership, 0.1), expected)


def test_rates_in_numpy_are_those_of_the_definition():
    Z, codes = directions().numpy(), np.arange(20) % 3
    scatter = numerics.class_scatter(Z, codes, 3, np.ones(20))
    rates = numerics.coding_rates(scatter, 0.1)
    assert_allclose(scatter.weight @ rates / 20, naive_class_rate(Z, np.eye(3)[codes], 0.1))
    length = sum((size + 4) * rate - size * np.log(size / 20) for size, rate in zip((7, 7, 6), rates, strict=True))
    assert_allclose(numerics.coding_length(scatter, 0.1), length)


def test_a_row_adds_to_a_class_what_the_coding_length_grows_by():
    Z, codes = directions().numpy(), np.arange(20) % 3
    scatter = numerics.class_scatter(Z, codes, 3, np.ones(20))
    added = numerics.incremental_lengths(Z[:2], scatter, 0.1)

    def length(rows):
        whole = numerics.class_scatter(rows, np.zeros(len(rows), dtype=int), 1, np.ones(len(rows)))
        return numerics.coding_length(whole, 0.1)

    for row in range(2):
        for code in range(3):
            own = Z[codes == code]
            grown = length(np.vstack([own, Z[row]])) - length(own)
            assert_allclose(added[row, code], grown - np.log(len(own) / 20))


def test_subspaces_hold_the_energy_asked_for():
    Z = directions(200, 6).numpy() * np.array([1, 1, 1, 0.01, 0.01, 0.01])
    scatter = numerics.class_scatter(Z, np.zeros(200, dtype=int), 1, np.ones(200))
    (basis,) = numerics.subspace_bases(scatter, 0.99)
    assert basis.shape == (6, 3)
    assert_allclose(basis.T @ basis, np.eye(3), atol=1e-12)
    assert ((Z @ basis) ** 2).sum() >= 0.99 * (Z**2).sum()


def test_membership_is_doubly_stochastic_and_symmetric():
    membership = coding_rate.doubly_stochastic(directions(60), None, SETTINGS)
    assert_allclose(membership.sum(dim=0), 1, atol=1e-4)
    assert_allclose(membership.sum(dim=1), 1, atol=1e-4)
    assert_allclose(membership, membership.T, atol=1e-4)


def test_membership_follows_known_classes():
    known = torch.tensor([0, 0, 1, 1] + [-1] * 16)
    membership = coding_rate.doubly_stochastic(directions(), known, SETTINGS)
    assert (membership[:2, 2:4] == 0).all()
    assert (membership[:2, :2] > coding_rate.doubly_stochastic(directions(), None, SETTINGS)[0, 1]).all()
    assert_allclose(membership.sum(dim=1), 1, atol=1e-4)


@pytest.mark.parametrize("known", [None, torch.tensor([0, 1, 0, -1, -1, -1])])
def test_gradients_flow_through_projection_and_rates(known):
    settings = SETTINGS._replace(n_steps=6)

    def reduction(Z):
        rows = nn.functional.normalize(Z, dim=1)
        membership = coding_rate.doubly_stochastic(rows, known, settings)
        return coding_rate.total_rate(rows, 0.1) - coding_rate.class_rate(rows, membership, 0.1)

    assert torch.autograd.gradcheck(reduction, directions(6, 3).requires_grad_())


@pytest.mark.parametrize("encoder", [None, "identity"])
@pytest.mark.parametrize("seed", [0, 1])
def test_linear_subspaces_that_kmeans_cuts_are_found(encoder, seed):
    X, y = linear_union(seed)
    assert clustering_accuracy(y, KMeans(3, n_init=10, random_state=0).fit_predict(X)) < 0.5
    model = ManifoldLinearizingClustering(3, encoder=encoder, random_state=0).fit(X)
    assert clustering_accuracy(y, model.labels_) > 0.98
    assert model.rate_reduction_ > 4
    if encoder == "identity":
        # Dimensions 2, 2 and 3, and the offset that a layer may add.
        assert all(basis.shape[1] <= 4 for basis in model.subspace_bases_)


def test_curved_manifolds_that_kmeans_and_spectral_clustering_cut_are_found(curved):
    X, y, model = curved
    for other in (
        KMeans(3, n_init=10, random_state=0),
        SpectralClustering(3, affinity="nearest_neighbors", random_state=0),
    ):
        assert clustering_accuracy(y, other.fit_predict(X)) < 0.75
    assert clustering_accuracy(y, model.labels_) > 0.95


def test_labels_are_what_predict_and_predict_proba_say(curved):
    X, _, model = curved
    assert_array_equal(model.predict(X), model.labels_)
    assert_array_equal(model.classes_[model.predict_proba(X).argmax(axis=1)], model.labels_)
    assert_allclose(model.predict_proba(X).sum(axis=1), 1)


def test_classes_lie_in_their_subspaces(curved):
    X, _, model = curved
    Z = model.transform(X)
    assert_allclose(np.linalg.norm(Z, axis=1), 1)
    for name, basis in zip(model.classes_, model.subspace_bases_, strict=True):
        held = ((Z @ basis) ** 2).sum(axis=1)
        assert held[model.labels_ == name].mean() >= 0.94
        assert held[model.labels_ != name].mean() < 0.5


def test_new_rows_of_curved_manifolds_are_predicted():
    X, y = curved_union(3, n_rows=150)
    held_out = np.arange(len(X)) % 3 == 0
    model = ManifoldLinearizingClustering(3, random_state=0).fit(X[~held_out])
    assert clustering_accuracy(y[held_out], model.predict(X[held_out])) > 0.9


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_auto_counts_linear_subspaces(seed):
    X, y = linear_union(seed)
    model = ManifoldLinearizingClustering("auto", encoder="identity", k_max=8, random_state=0).fit(X)
    assert model.n_clusters_ == 3 == max(model.n_clusters_scores_, key=model.n_clusters_scores_.get)
    assert clustering_accuracy(y, model.labels_) > 0.98


def trained_embedding(phase, objective, X):
    rows = ((X - X.mean(axis=0)) / X.std()).astype(np.float32)
    encoder = neural.NetworkSettings((64,), activation="gelu")
    network = neural.build_rate_network(encoder, rows.shape, 8, 0, twice=False)
    settings = neural.TrainingSettings(optimizer=neural.OptimizerSettings(lr=5e-3), batch_size=150)
    neural.Trainer(rows, np.full(len(rows), -1), network, settings).train([neural.Phase(phase, objective(rows), 60)])
    with torch.no_grad():
        return nn.functional.normalize(network["encoder"](torch.as_tensor(rows)), dim=1)


class OnlyClasses(neural.RateReduction):
    """The rate of the classes alone, which nothing holds apart."""

    def loss(self, batch, network):
        Z = self._embed(batch.rows, network)
        return coding_rate.class_rate(Z, coding_rate.doubly_stochastic(Z, None, self.settings), 0.1)


def test_rows_without_the_total_rate_collapse_into_a_line_and_with_it_do_not():
    X, _ = linear_union(0, n_rows=50)
    settings = SETTINGS._replace(n_steps=10)
    none = np.zeros((len(X), 0), dtype=int)
    share = []
    for objective in (OnlyClasses, neural.RateReduction):
        Z = trained_embedding("joint", lambda rows, made=objective: made(rows, none, settings), X)
        values = torch.linalg.svdvals(Z) ** 2
        share.append(float(values[0] / values.sum()))
    assert share[0] > 0.95
    assert share[1] < 0.4


def read_by(monkeypatch, read):
    """Replace how classes are read; `read` gets what was read by the method as it is."""
    plain = ClassReader.read
    monkeypatch.setattr(ClassReader, "read", lambda self, Z, ks: read(self, Z, plain(self, Z, ks)))


def test_vanishing_classes_are_told_and_the_start_is_kept(monkeypatch):
    found_before = []

    def vanish(reader, Z, found):
        found_before.append(found)
        if len(found_before) == 1:
            return found
        codes = np.zeros(len(Z), dtype=int)
        codes[:2] = 1, 2
        scatter = numerics.class_scatter(Z, codes, 3, np.ones(len(Z)))
        return replace(found, codes=codes, scatter=scatter, saved=99.0)

    read_by(monkeypatch, vanish)
    X, y = linear_union(0, n_rows=30)
    with pytest.warns(UserWarning, match="vanished"):
        model = quick(encoder="identity").fit(X)
    assert not model.improved_
    assert model.modularity_ == found_before[0].modularity
    assert clustering_accuracy(y, model.labels_) > 0.6


def test_a_wrong_start_ends_right(monkeypatch):
    X, y = curved_union(3, n_rows=80)
    accuracies = []

    def note(reader, Z, found):
        accuracies.append(clustering_accuracy(y[reader.drawn.rows], found.codes))
        return found

    read_by(monkeypatch, note)
    model = ManifoldLinearizingClustering(3, random_state=0).fit(X)
    assert accuracies[0] < 0.9
    assert clustering_accuracy(y, model.labels_) > 0.95
    assert model.improved_


@pytest.mark.parametrize("n_columns", [5, 40])
def test_rate_reduction_is_that_of_the_definition_in_any_unit(n_columns):
    """Also where products of rows are the smaller matrix."""
    rng = np.random.RandomState(0)
    X, codes, times = rng.normal(size=(30, n_columns)), np.arange(30) % 3, rng.randint(1, 4, size=30)
    again = np.repeat(np.arange(30), times)
    unit = X / np.sqrt((X[again] ** 2).sum(axis=1).mean())

    def rate(Z):
        return np.linalg.slogdet(np.eye(n_columns) + Z.T @ Z * n_columns / (len(Z) * 0.1))[1] / 2

    own = [unit[again][codes[again] == code] for code in range(3)]
    expected = rate(unit[again]) - sum(len(Z) / len(again) * rate(Z) for Z in own)
    for scale in (1.0, 1e9):
        assert_allclose(numerics.rate_reduction(scale * X, codes, 3, times.astype(float), 0.1), expected)
    assert numerics.rate_reduction(np.zeros((4, 2)), np.array([0, 0, 1, 1]), 2, np.ones(4), 0.1) == 0
    assert_allclose(numerics.rate_reduction(X, np.zeros(30, dtype=int), 1, np.ones(30), 0.1), 0, atol=1e-12)


def test_a_right_start_is_kept_whatever_the_modularity_of_the_end(monkeypatch):
    """Where surfaces cross, a cut beside the crossing can separate fewer neighbors than the classes do."""
    X, y = curved_union(1)
    seen = []

    def cut(reader, Z, found):
        if seen:
            codes = KMeans(3, n_init=10, random_state=0).fit(X[reader.drawn.rows]).labels_.astype(int)
            found = reader._judged(codes, numerics.class_scatter(Z, codes, 3, np.ones(len(Z))))
            found = replace(found, modularity=1.0)
        seen.append(found)
        return found

    read_by(monkeypatch, cut)
    model = ManifoldLinearizingClustering(3, encoder="identity", random_state=0).fit(X)
    start, end = seen
    assert end.saved < start.saved
    assert not model.improved_
    assert model.modularity_ == start.modularity
    assert clustering_accuracy(y, model.labels_) > 0.95


@pytest.mark.parametrize("seed", range(3))
def test_crossing_surfaces_are_found_where_centers_and_neighbors_fail(seed):
    X, y = curved_union(seed)
    ours = ManifoldLinearizingClustering(3, encoder="identity", random_state=0).fit_predict(X)
    assert clustering_accuracy(y, ours) > 0.95
    assert clustering_accuracy(y, KMeans(3, n_init=10, random_state=0).fit_predict(X)) < 0.7
    spectral = SpectralClustering(3, affinity="nearest_neighbors", random_state=0).fit_predict(X)
    assert clustering_accuracy(y, spectral) < 0.9


def test_second_head_starts_as_a_copy_of_the_first():
    for encoder in (neural.NetworkSettings((7,)), "identity"):
        network = neural.build_rate_network(encoder, (30, 5), 4, 0, twice=True)
        rows = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
        objective = neural.RateReduction(np.zeros((30, 5)), np.zeros((30, 0)), SETTINGS, network)
        objective.start(network["encoder"](rows))
        Z, codes = objective._embed_twice(rows, network)
        assert_array_equal(Z.detach(), codes.detach())
        assert not [name for name in objective.state_dict() if "cluster" in name]


def test_no_matrix_is_larger_than_the_batch(monkeypatch):
    shapes = []
    plain = coding_rate.class_rate

    def noted(Z, membership, squared_error):
        shapes.append(tuple(membership.shape))
        return plain(Z, membership, squared_error)

    monkeypatch.setattr(coding_rate, "class_rate", noted)
    for n_rows in (40, 80):
        X, _ = linear_union(0, n_rows)
        ManifoldLinearizingClustering(3, batch_size=32, max_pretrain_epochs=1, max_epochs=1, n_init=1).fit(X)
    assert max(max(shape) for shape in shapes) <= 33


def test_labels_of_some_rows_decide_what_is_a_class():
    X, y = linear_union(1)
    joined = np.where(y == 1, 0, y)
    partial = np.where(np.arange(len(y)) % 4 == 0, joined, -1)
    model = ManifoldLinearizingClustering(2, max_epochs=30, random_state=0).fit(X, partial)
    assert_array_equal(model.labels_[partial != -1], partial[partial != -1])
    assert_array_equal(model.classes_, [0, 2])
    assert np.mean(model.labels_ == joined) > 0.9


def quick(**settings):
    return ManifoldLinearizingClustering(3, max_pretrain_epochs=4, max_epochs=5, n_init=2, random_state=0, **settings)


class Listen:
    """Keeps the estimators that it is given, and asks to stop, or interrupts, after some epochs."""

    def __init__(self, after=np.inf, interrupt=False):
        self.after, self.interrupt, self.given = after, interrupt, []

    def setup(self, estimator, context):
        pass

    teardown = on_fit_task_begin = setup

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        if context.task_name == "epoch":
            self.given.append(fitted_estimator)
        if self.interrupt and len(self.given) >= self.after:
            raise KeyboardInterrupt
        return len(self.given) >= self.after


@pytest.mark.parametrize("cluster_head", ["copied", "shared"])
def test_killed_fit_resumes_to_the_same_end(cluster_head, tmp_path):
    X, _ = linear_union(0, n_rows=30)
    whole = quick(cluster_head=cluster_head).fit(X)
    model = quick(cluster_head=cluster_head, checkpoint=tmp_path / "fit.pt")
    with pytest.raises(KeyboardInterrupt):
        model.set_callbacks(Listen(6, interrupt=True)).fit(X)
    resumed = model.set_callbacks().fit(X)
    assert_array_equal(resumed.transform(X), whole.transform(X))
    assert_array_equal(resumed.labels_, whole.labels_)
    assert not list(tmp_path.iterdir())


def test_callback_sees_the_estimator_that_a_stop_would_leave():
    X, _ = linear_union(0, n_rows=30)
    listen = Listen()
    quick().set_callbacks(listen).fit(X)
    assert len(listen.given) == 9
    stopped = quick().set_callbacks(Listen(6)).fit(X)
    assert_array_equal(listen.given[5].predict(X), stopped.labels_)
    assert listen.given[5].modularity_ == stopped.modularity_


@pytest.mark.parametrize("cluster_head", ["copied", "shared"])
def test_a_module_of_the_user_is_trained_and_predicts(cluster_head):
    class Narrow(nn.Module):
        def __init__(self, n_features, n_outputs):
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(n_features, 16), nn.Tanh(), nn.Linear(16, n_outputs))

        def forward(self, X):
            return self.layers(X)

    X, _ = linear_union(0, n_rows=30)
    model = quick(encoder=Narrow, cluster_head=cluster_head).fit(X)
    assert_array_equal(model.predict(X), model.labels_)


def test_settings_of_network_and_optimizer_can_be_set():
    model = quick()
    assert model.get_params()["encoder__activation"] == "gelu"
    model.set_params(encoder__hidden=(8,), optimizer__lr=0.01)
    model.fit(linear_union(0, n_rows=20)[0])
    assert model.encoder_layers_[0]["weight"].shape == (8, N_COLUMNS)


@pytest.mark.parametrize("n_rows", [1, 2, 3, 5, 9])
@pytest.mark.parametrize("n_columns", [1, 3])
def test_small_tables_are_fitted(n_rows, n_columns):
    X = np.random.RandomState(0).normal(size=(n_rows, n_columns))
    model = quick().set_params(n_clusters=min(3, n_rows)).fit(X)
    assert_array_equal(model.predict(X), model.labels_)
    assert np.isfinite(model.transform(X)).all()


def test_predict_needs_no_torch(curved):
    X, _, model = curved
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
