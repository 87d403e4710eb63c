"""Deep embedded clustering and deep k-means: what is kept, and what users may do with them."""

import pickle
import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.distance import cdist
from sklearn.base import clone
from sklearn.callback import ScoringMonitor
from sklearn.datasets import load_digits, make_blobs
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import NearestNeighbors
from torch import nn

from sklearn_sslcluster import neural
from sklearn_sslcluster.deep import DeepEmbeddedClustering, DeepKMeans, NetworkSettings, OptimizerSettings
from sklearn_sslcluster.deep._base import NeighborGraph
from sklearn_sslcluster.metrics import clustering_accuracy
from tests.neural_tools import target_by_formula

QUICK = {"max_pretrain_epochs": 3, "max_epochs": 3, "n_init": 2, "random_state": 0}
BOTH = pytest.mark.parametrize("estimator", [DeepEmbeddedClustering, DeepKMeans])


@pytest.fixture(scope="module")
def blobs():
    return make_blobs(120, n_features=5, centers=3, cluster_std=0.8, random_state=0)


@pytest.fixture(scope="module", params=[DeepEmbeddedClustering, DeepKMeans])
def fitted(request, blobs):
    return request.param(3, **QUICK).fit(blobs[0])


# What a fit leaves behind


def test_predict_on_training_rows_is_labels(fitted, blobs):
    assert_array_equal(fitted.predict(blobs[0]), fitted.labels_)
    assert clustering_accuracy(blobs[1], fitted.labels_) == 1


def test_proba_sums_to_one_and_is_largest_for_the_predicted_class(fitted, blobs):
    proba = fitted.predict_proba(blobs[0])
    assert proba.shape == (120, 3)
    assert_allclose(proba.sum(axis=1), 1)
    assert_array_equal(fitted.classes_[proba.argmax(axis=1)], fitted.predict(blobs[0]))
    q = target_by_formula(fitted.transform(blobs[0]), fitted.cluster_centers_, np.full(120, -1))[1]
    assert_allclose(proba, q)


def test_transform_is_the_embedding_in_which_the_nearest_center_is_predicted(fitted, blobs):
    Z = fitted.transform(blobs[0])
    assert Z.shape == (120, 10)
    standardized = (blobs[0] - fitted.mean_) / fitted.scale_
    assert_allclose(Z, neural.apply_layers(fitted.encoder_layers_, standardized))
    assert_array_equal(fitted.classes_[cdist(Z, fitted.cluster_centers_).argmin(axis=1)], fitted.labels_)
    assert list(fitted.get_feature_names_out()) == [f"{type(fitted).__name__.lower()}{i}" for i in range(10)]


def test_history_has_the_losses_of_both_phases(fitted):
    assert [len(fitted.history_[phase]) for phase in ("pretrain", "joint")] == [3, 3]
    assert all({"train_loss", "valid_loss"} <= entry.keys() for entry in fitted.history_["pretrain"])


def test_modularity_is_that_of_the_labels_on_the_graph_of_the_rows(fitted, blobs):
    X = (blobs[0] - fitted.mean_) / fitted.scale_
    neighbors = NearestNeighbors(n_neighbors=10).fit(X).kneighbors(return_distance=False)
    edges = np.zeros((120, 120))
    np.put_along_axis(edges, neighbors, 1, axis=1)
    same = fitted.labels_[:, None] == fitted.labels_
    by_chance = np.outer(edges.sum(axis=1), edges.sum(axis=0)) / edges.sum()
    assert fitted.modularity_ == pytest.approx(((edges - by_chance) * same).sum() / edges.sum())


def test_modularity_of_a_single_cluster_is_zero(blobs):
    assert NeighborGraph(blobs[0]).modularity(np.zeros(120, dtype=int)) == pytest.approx(0)
    assert NeighborGraph(blobs[0][:1]).modularity(np.zeros(1, dtype=int)) == 0
    assert NeighborGraph(blobs[0]).modularity(blobs[1]) == pytest.approx(2 / 3, abs=0.01)


@BOTH
def test_same_seed_same_fit_and_rows_in_any_order(blobs, estimator):
    X, _ = blobs
    order = np.random.RandomState(0).permutation(len(X))
    models = [estimator(3, **QUICK).fit(rows) for rows in (X, X, X[order], np.repeat(X, 2, axis=0))]
    assert_array_equal(models[0].transform(X), models[1].transform(X))
    for model in models[2:]:
        assert_allclose(model.transform(X), models[0].transform(X), atol=1e-4)


@BOTH
def test_table_repeated_is_the_table_and_rows_in_another_order_are_too(blobs, estimator):
    X, truth = blobs
    y = np.where(np.arange(120) % 10 == 0, truth, -1)
    settings = QUICK | {"max_pretrain_epochs": 15, "max_epochs": 15, "tol": 0.0}
    reference = estimator(3, **settings).fit(X, y)
    order = np.random.RandomState(0).permutation(120)
    for rows in (order, np.repeat(order, 3)):
        other = estimator(3, **settings).fit(X[rows], y[rows])
        assert_array_equal(other.transform(X), reference.transform(X))
        assert_array_equal(other.cluster_centers_, reference.cluster_centers_)
        assert_array_equal(other.labels_, reference.labels_[rows])


@BOTH
def test_row_that_stands_more_often_weighs_more(estimator):
    rng = np.random.RandomState(0)
    X = np.r_[rng.normal(size=(20, 2)), rng.normal([12, 0], size=(20, 2))]
    copies = 1 + rng.randint(4, size=40)
    model = estimator(2, encoder="identity", **QUICK | {"max_epochs": 1}).fit(np.repeat(X, copies, axis=0))
    assert not model.improved_
    centers = model.cluster_centers_ * model.scale_ + model.mean_
    parts = [np.average(X[part], axis=0, weights=copies[part]) for part in (slice(20), slice(20, 40))]
    assert_allclose(np.sort(centers[:, 0]), np.sort([part[0] for part in parts]), rtol=1e-6)


# Partial labels


@BOTH
def test_known_classes_come_first_and_labeled_rows_keep_their_label(blobs, estimator):
    X, truth = blobs
    y = np.full(120, None, dtype=object)
    y[np.flatnonzero(truth == 0)[:8]] = "calm"
    y[np.flatnonzero(truth == 2)[:8]] = "storm"
    stranger = np.flatnonzero(truth == 1)[0]
    y[stranger] = "calm"
    model = estimator(3, **QUICK).fit(X, y)
    assert model.classes_.tolist() == ["calm", "storm", "novel_0"]
    assert model.labels_[stranger] == "calm"
    assert model.predict(X[[stranger]]).tolist() == ["novel_0"]
    given = np.array([label is not None for label in y])
    assert_array_equal(model.labels_[given], y[given])
    names = np.array(["calm", "novel_0", "storm"])[truth]
    assert_array_equal(model.labels_[~given], names[~given])


@BOTH
def test_more_known_classes_than_clusters_raise_their_number(blobs, estimator):
    X, truth = blobs
    y = np.where(np.arange(120) % 3 == 0, truth, -1)
    with pytest.warns(UserWarning, match="n_clusters=2 is less than the 3 known classes"):
        model = estimator(2, **QUICK).fit(X, y)
    assert model.classes_.tolist() == [0, 1, 2]


# Start and end


class RemembersStart:
    def _better(self, trained, objective, start, Z):
        Z_start = self._apply(self._weights(trained, "joint"), Z)
        type(self).start_ = (Z, start.codes(Z_start, objective.start_centers))
        return super()._better(trained, objective, start, Z)


class WatchedDeepKMeans(RemembersStart, DeepKMeans):
    pass


class WatchedDeepEmbedding(RemembersStart, DeepEmbeddedClustering):
    pass


def noisy_blobs(scale=3):
    """Four groups that four of 24 columns tell apart."""
    rng = np.random.RandomState(0)
    truth = np.arange(300) % 4
    centers = scale * rng.randn(4, 4)
    return np.c_[centers[truth] + rng.randn(300, 4), rng.randn(300, 20)], truth


def accuracy_of_start(model, X, truth):
    Z, codes = model.start_
    place = cdist(Z, (X - model.mean_) / model.scale_).argmin(axis=1)
    return clustering_accuracy(truth[place], codes)


def test_deep_kmeans_mends_a_wrong_start():
    X, truth = noisy_blobs()
    model = WatchedDeepKMeans(4, max_pretrain_epochs=0, max_epochs=60, tol=0.0, n_init=3, random_state=0).fit(X)
    assert accuracy_of_start(model, X, truth) < 0.7
    assert clustering_accuracy(truth, model.labels_) > 0.95
    assert model.improved_


def test_deep_embedded_clustering_mends_a_wrong_start_by_the_labels_of_few_rows():
    X, truth = noisy_blobs()
    y = np.where(np.random.RandomState(0).rand(300) < 0.2, truth, -1)
    model = WatchedDeepEmbedding(4, max_pretrain_epochs=0, max_epochs=60, tol=0.0, n_init=3, random_state=0).fit(X, y)
    assert accuracy_of_start(model, X, truth) < 0.8
    unlabeled = y == -1
    assert (model.labels_ == truth)[unlabeled].mean() > 0.93
    assert model.improved_


def test_deep_embedded_clustering_mends_a_wrong_start_without_labels():
    X, truth = noisy_blobs(scale=5)
    model = WatchedDeepEmbedding(4, clustering_weight=0.01, max_pretrain_epochs=0, max_epochs=100, tol=None, n_init=1)
    model.set_params(batch_size=64, optimizer__lr=3e-3, random_state=0).fit(X)
    assert accuracy_of_start(model, X, truth) < 0.8
    assert clustering_accuracy(truth, model.labels_) > 0.9
    assert model.improved_


class CollapsingMeans(neural.DeepMeans):
    def loss(self, batch, network):
        return 100 * (network["encoder"](batch.rows) ** 2).mean()


class CollapsingDeepKMeans(DeepKMeans):
    def _objective(self, find_centers, codes):
        return CollapsingMeans(find_centers, codes, 1.0)


class CollapsingEmbedding(neural.DeepEmbedding):
    def loss(self, batch, network):
        return 100 * (network["encoder"](batch.rows) ** 2).mean() + (0 * self.centers).sum()


class CollapsingDeepEmbedding(DeepEmbeddedClustering):
    def _objective(self, find_centers, codes):
        return CollapsingEmbedding(find_centers, codes, 1.0, 1.0)


@pytest.mark.parametrize("estimator", [CollapsingDeepKMeans, CollapsingDeepEmbedding])
def test_joint_phase_stops_where_clusters_vanish_and_the_start_is_kept_with_a_warning(blobs, estimator):
    X, truth = blobs
    settings = {"max_pretrain_epochs": 10, "batch_size": 8, "n_init": 2, "tol": 0.0, "random_state": 0}
    with pytest.warns(UserWarning, match=f"A cluster of {estimator.__name__} all but vanished .* a smaller optimizer"):
        model = estimator(3, max_epochs=60, **settings).fit(X)
    assert not model.improved_
    shares = [entry["smallest_share"] for entry in model.history_["joint"] if "smallest_share" in entry]
    assert shares[-1] < 0.1 / 3 <= min(shares[:-1], default=1)
    assert len(model.history_["joint"]) < 60
    assert clustering_accuracy(truth, model.labels_) == 1
    assert_array_equal(model.predict(X), model.labels_)


@BOTH
def test_learning_rate_that_makes_clusters_vanish_leaves_the_start(blobs, estimator):
    X, truth = blobs
    settings = {"max_pretrain_epochs": 10, "max_epochs": 60, "n_init": 2, "tol": 0.0, "random_state": 0}
    model = estimator(3, encoder=NetworkSettings([16]), **settings).set_params(optimizer__lr=10.0)
    with pytest.warns(UserWarning, match="all but vanished"):
        model.fit(X)
    assert not model.improved_
    assert clustering_accuracy(truth, model.labels_) > 0.9


def test_cluster_that_is_small_from_the_start_is_no_collapse():
    X = np.vstack([make_blobs(200, n_features=5, centers=2, random_state=0)[0], 30 + 0.1 * np.eye(5)[:2]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = DeepKMeans(3, tol=0.0, **QUICK | {"max_epochs": 20}).fit(X)
    assert np.unique(model.labels_, return_counts=True)[1].min() == 2
    assert len(model.history_["joint"]) > 1


# Networks and settings


@BOTH
def test_identity_leaves_the_standardized_rows_as_they_are(blobs, estimator):
    model = estimator(3, encoder="identity", **QUICK).fit(blobs[0])
    assert_allclose(model.transform(blobs[0]), (blobs[0] - model.mean_) / model.scale_)
    assert clustering_accuracy(blobs[1], model.labels_) == 1
    assert len(model.get_feature_names_out()) == 5
    assert "pretrain" not in model.history_


class OwnEncoder(nn.Module):
    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.first, self.second = nn.Linear(n_features, 12), nn.Linear(12, n_outputs)
        self.norm = nn.BatchNorm1d(12)

    def forward(self, X):
        return self.second(self.norm(torch.sin(self.first(X))))


@BOTH
def test_own_module_class_is_trained_pickled_and_predicts(blobs, estimator):
    model = estimator(3, encoder=OwnEncoder, embedding_size=4, **QUICK).fit(blobs[0])
    before = torch.get_rng_state()
    assert model.transform(blobs[0]).shape == (120, 4)
    assert torch.equal(torch.get_rng_state(), before)
    assert_array_equal(model.predict(blobs[0]), model.labels_)
    assert_array_equal(pickle.loads(pickle.dumps(model)).predict(blobs[0]), model.labels_)
    assert clone(model).encoder is OwnEncoder


def test_pickled_models_predict_where_torch_cannot_be_imported(blobs, tmp_path):
    X, _ = blobs
    network = NetworkSettings([8], batch_norm=True, dropout=0.1)
    models = [estimator(3, encoder=network, **QUICK).fit(X) for estimator in (DeepEmbeddedClustering, DeepKMeans)]
    (tmp_path / "models.pkl").write_bytes(pickle.dumps((models, X)))
    program = f"""
        import pickle, sys
        class Missing:
            @staticmethod
            def find_spec(name, path=None, target=None):
                if name.partition(".")[0] in ("torch", "skorch"):
                    raise ModuleNotFoundError("hidden: " + name, name=name)
        sys.meta_path.insert(0, Missing)
        models, X = pickle.load(open({str(tmp_path / "models.pkl")!r}, "rb"))
        for model in models:
            print((model.predict(X) == model.labels_).all(), model.transform(X).shape)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["True (120, 10)"] * 2


@BOTH
def test_grid_search_reaches_optimizer_and_encoder_that_are_none(blobs, estimator):
    model = estimator(3, **QUICK)
    assert model.get_params()["optimizer__lr"] == 1e-3
    assert model.get_params()["encoder__hidden"] == "auto"
    grid = {"optimizer__lr": np.array([1e-3, 1e-2]), "encoder__hidden": [[8], [6, 4]]}
    search = GridSearchCV(model, grid, cv=2).fit(blobs[0])
    assert len(search.cv_results_["params"]) == 4
    best = search.best_estimator_
    assert best.encoder.hidden == search.best_params_["encoder__hidden"]
    assert len(best.encoder_layers_) == 2 * len(best.encoder.hidden) + 1
    assert model.encoder is model.optimizer is None
    copy = clone(best)
    assert copy.encoder is not best.encoder
    assert copy.get_params()["optimizer__lr"] == search.best_params_["optimizer__lr"]


@BOTH
def test_setting_and_its_owner_can_be_set_at_once(estimator):
    model = estimator().set_params(optimizer=OptimizerSettings("sgd"), optimizer__lr=0.5, encoder__dropout=0.25)
    assert (model.optimizer.name, model.optimizer.lr, model.encoder.dropout) == ("sgd", 0.5, 0.25)


@BOTH
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer__lr": -1}, "optimizer__lr must be"),
        ({"encoder__hidden": 8}, "encoder__hidden must be"),
        ({"encoder__activation": "swish"}, "encoder__activation must be"),
        ({"encoder": "mlp"}, "encoder must be None, 'identity'"),
        ({"encoder": "identity", "encoder__hidden": [3]}, "encoder__hidden cannot be set while encoder='identity'"),
        ({"device": "tpu"}, "device must be None, 'cpu', 'cuda' or 'auto', got 'tpu'"),
        ({"checkpoint": "no such folder/fit.pt"}, "checkpoint='no such folder/fit.pt' must be a file in a folder"),
        ({"checkpoint": "fit.pt", "random_state": None}, "checkpoint needs a random_state"),
        ({"clustering_weight": 0}, "clustering_weight"),
        ({"batch_size": 1}, "batch_size"),
    ],
)
def test_setting_out_of_its_range_is_named(blobs, estimator, settings, message):
    with pytest.raises((ValueError, TypeError), match=message):
        estimator(3, **QUICK).set_params(**settings).fit(blobs[0])


@BOTH
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_gpu_that_is_not_there_is_said_to_be_missing_and_auto_does_without(blobs, estimator):
    with pytest.raises(ValueError, match=r"device='cuda', but torch sees no CUDA device"):
        estimator(3, device="cuda", **QUICK).fit(blobs[0])
    given = [estimator(3, device=device, **QUICK).fit(blobs[0]) for device in (None, "auto", "cpu")]
    for model in given[1:]:
        assert_array_equal(model.transform(blobs[0]), given[0].transform(blobs[0]))


class Stop:
    def __init__(self, after):
        self.after, self.epochs = after, 0

    def setup(self, estimator, context):
        pass

    teardown = on_fit_task_begin = setup

    def on_fit_task_end(self, estimator, context):
        self.epochs += context.task_name == "epoch"
        return self.epochs >= self.after


@BOTH
@pytest.mark.parametrize("after", [1, 3, 4])
def test_callback_can_stop_the_fit_in_either_phase(blobs, estimator, after):
    stop = Stop(after)
    model = estimator(3, **QUICK).set_callbacks(stop).fit(blobs[0])
    assert stop.epochs == after == sum(len(epochs) for epochs in model.history_.values())
    assert_array_equal(model.predict(blobs[0]), model.labels_)


class Collect(Stop):
    """Keeps the estimators that it is given, which are fitted as if each epoch had been the last."""

    def __init__(self, after=np.inf):
        super().__init__(after)
        self.given = []

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        if context.task_name == "epoch":
            self.given.append(fitted_estimator)
        return super().on_fit_task_end(estimator, context)


@BOTH
@pytest.mark.parametrize("n_clusters", [3, "auto"])
def test_callback_sees_the_estimator_that_a_stop_would_leave(blobs, estimator, n_clusters):
    X, _ = blobs
    model = estimator(n_clusters, k_max=5, **QUICK)
    collect = Collect()
    whole = clone(model).set_callbacks(collect).fit(X)
    assert collect.given[:3] == [None] * 3, "there are no clusters before the joint phase"
    for after in (4, 5, 6):
        seen, stopped = collect.given[after - 1], clone(model).set_callbacks(Stop(after)).fit(X)
        assert seen is not whole
        assert {name for name in vars(seen) if name.endswith("_")} == {
            name for name in vars(whole) if name.endswith("_")
        }
        assert_array_equal(seen.cluster_centers_, stopped.cluster_centers_)
        assert_array_equal(seen.labels_, seen.predict(X))
        assert seen.history_ == stopped.history_
        assert (seen.improved_, seen.modularity_) == (stopped.improved_, stopped.modularity_)
        assert np.isfinite(seen.score(X))


@BOTH
def test_looking_on_changes_nothing_and_is_not_paid_for_without_need(blobs, estimator, monkeypatch):
    X, _ = blobs
    settings = {**QUICK, "n_init": 1}
    watched = estimator(3, **settings).set_callbacks(Collect()).fit(X)
    calls = []
    better = estimator._better
    monkeypatch.setattr(estimator, "_better", lambda *args: calls.append(1) or better(*args))
    alone = estimator(3, **settings).set_callbacks(Stop(np.inf)).fit(X)
    assert len(calls) == 1
    assert_array_equal(watched.transform(X), alone.transform(X))
    assert_array_equal(watched.cluster_centers_, alone.cluster_centers_)


def test_scoring_monitor_of_scikit_learn_logs_the_joint_epochs(blobs):
    X, truth = blobs
    monitor = ScoringMonitor(scoring={"own": lambda estimator, X, y: estimator.score(X)})
    model = DeepKMeans(3, **QUICK).set_callbacks(monitor).fit(X, np.where(np.arange(120) < 5, truth, -1))
    scores = [entry["own"] for entry in monitor.get_logs().data if entry["task_name"] == "epoch"]
    assert len(scores) == 3
    assert scores[-1] == pytest.approx(model.score(X))


@BOTH
def test_without_a_tolerance_all_epochs_are_run(blobs, estimator):
    settings = QUICK | {"max_pretrain_epochs": 15, "max_epochs": 40, "batch_size": 16}
    early, whole = (estimator(3, tol=tol, **settings).fit(blobs[0]) for tol in (1e-3, None))
    assert len(early.history_["joint"]) < 40 == len(whole.history_["joint"])


class Interrupt(Stop):
    def on_fit_task_end(self, estimator, context):
        raise KeyboardInterrupt


@BOTH
def test_interrupted_fit_leaves_the_one_before(blobs, estimator):
    model = estimator(3, **QUICK).fit(blobs[0])
    before = vars(model.set_callbacks(Interrupt(1))).copy()
    with pytest.raises(KeyboardInterrupt):
        model.fit(blobs[0][:50])
    assert vars(model) == before


def test_checkpoint_of_other_rows_or_parameters_is_refused(blobs, tmp_path):
    class Break(Stop):
        def on_fit_task_end(self, estimator, context):
            raise ZeroDivisionError

    X, _ = blobs
    model = DeepKMeans(3, checkpoint=tmp_path / "fit.pt", **QUICK)
    with pytest.raises(ZeroDivisionError):
        clone(model).set_callbacks(Break(1)).fit(X)
    y = np.where(np.arange(120) < 5, blobs[1], -1)
    others = [
        (X + np.eye(120, 5), None, {}),
        (X, y, {}),
        (X, None, {"optimizer__lr": 0.1}),
        (X, None, {"random_state": 1}),
    ]
    for rows, labels, params in others:
        with pytest.raises(ValueError, match=r"checkpoint=.* belongs to a fit with other data or parameters"):
            clone(model).set_params(**params).fit(rows, labels)
    resumed, expected = clone(model).fit(X), DeepKMeans(3, **QUICK).fit(X)
    assert_array_equal(resumed.transform(X), expected.transform(X))
    assert list(tmp_path.iterdir()) == []


# Tables of all kinds


@BOTH
def test_automatic_number_of_clusters_is_that_of_the_blobs(estimator):
    X, truth = make_blobs(150, n_features=4, centers=4, cluster_std=0.5, random_state=3)
    model = estimator("auto", k_max=8, **QUICK).fit(X)
    assert model.n_clusters_ == 4
    assert clustering_accuracy(truth, model.labels_) == 1
    assert max(model.n_clusters_scores_, key=model.n_clusters_scores_.get) == 4


@BOTH
@pytest.mark.parametrize(
    "change", [lambda X: X.astype(np.float32), lambda X: X + 1e12, lambda X: 1e-12 * X, lambda X: 1e12 * X]
)
def test_precision_offset_and_unit_do_not_matter(blobs, estimator, change):
    X, truth = blobs
    model = estimator(3, **QUICK).fit(change(X))
    assert clustering_accuracy(truth, model.labels_) == 1
    assert_array_equal(model.predict(change(X)), model.labels_)


@BOTH
def test_column_of_another_unit_and_constant_columns_do_no_harm(blobs, estimator):
    X, truth = blobs
    table = np.c_[X * [1e6, 1, 1, 1e-6, 1], np.zeros(120), np.full(120, 7e9)]
    model = estimator(3, **QUICK).fit(table)
    assert clustering_accuracy(truth, model.labels_) == 1
    assert np.isfinite(model.transform(table)).all()


@BOTH
@pytest.mark.parametrize("n_rows", [1, 2, 3, 5])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_tiny_tables_can_be_fitted(blobs, estimator, n_rows, batch_norm):
    X = blobs[0][:n_rows]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Only 1 clusters were found")
        model = estimator(2, encoder=NetworkSettings([4], batch_norm=batch_norm), **QUICK).fit(X)
    assert model.n_clusters_ == min(n_rows, 2)
    assert_array_equal(model.predict(X), model.labels_)


@BOTH
@pytest.mark.parametrize("seed", range(4))
def test_few_distinct_rows_are_a_cluster_each(estimator, seed):
    X = np.repeat([[0.0, 0.0], [5.0, 1.0], [9.0, 9.0]], 6, axis=0)
    y = np.r_[np.zeros(6, dtype=int), np.full(12, -1)]
    with pytest.warns(UserWarning, match="Only 3 clusters were found where 5 were asked for"):
        model = estimator(5, **QUICK | {"random_state": seed, "max_epochs": 40}).fit(X, y)
    assert clustering_accuracy(np.repeat([0, 1, 2], 6), model.labels_) == 1


@BOTH
def test_rows_that_are_all_equal_are_one_cluster(estimator):
    with pytest.warns(UserWarning, match="Only 1 clusters were found where 2 were asked for"):
        model = estimator(2, encoder=NetworkSettings([4], batch_norm=True), **QUICK).fit(np.ones((6, 3)))
    assert_array_equal(model.labels_, 0)


def test_learning_rate_that_is_too_large_is_named(blobs):
    model = DeepEmbeddedClustering(3, **QUICK).set_params(optimizer__lr=1e30)
    with pytest.raises(ValueError, match=r"a smaller optimizer__lr\?"):
        model.fit(blobs[0])


def test_digits_are_told_apart():
    X, truth = load_digits(return_X_y=True)
    model = DeepEmbeddedClustering(10, max_pretrain_epochs=40, max_epochs=40, n_init=5, random_state=0).fit(X)
    assert clustering_accuracy(truth, model.labels_) > 0.75
    assert model.improved_
