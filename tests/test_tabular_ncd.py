"""TabularNCD: its losses, masks and views, its two optimizers, and its classes."""

import pickle
import subprocess
import sys
from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from sklearn.cluster import KMeans
from torch import nn

from sklearn_sslcluster import neural
from sklearn_sslcluster.datasets import make_partially_labeled_blobs
from sklearn_sslcluster.discovery import TABULAR_NCD_SEARCH_SPACE, TabularNCD
from sklearn_sslcluster.metrics import clustering_accuracy
from sklearn_sslcluster.model_selection import HiddenClassKFold, HiddenClassSearchCV
from sklearn_sslcluster.neural.discovery_objectives import Memory, corrupt, interpolate, pair_loss, similar_pairs

MIXED = neural.Columns((0, 4), ((1, 4),))


def blobs():
    return make_partially_labeled_blobs(120, n_features=6, n_known=3, n_novel=2, random_state=0)


def quick(n_clusters=5, **params):
    few = {"max_pretrain_epochs": 3, "max_epochs": 10, "n_init": 2, "random_state": 0}
    return TabularNCD(n_clusters, **few | params)


def mixed_rows(n_rows, seed=0):
    """Encoded rows of a number, a category of three, and a number."""
    rng = np.random.RandomState(seed)
    category = rng.randint(3, size=n_rows)
    rows = np.column_stack([rng.normal(size=n_rows), np.eye(3)[category], rng.normal(size=n_rows)])
    return torch.tensor(rows, dtype=torch.float32)


def rows_with_categories():
    """Classes that only two columns of categories tell apart; the numbers 10, 20 and 30 stand for them."""
    rng = np.random.RandomState(0)
    truth = np.repeat(np.arange(4), 60)
    pairs = np.array([[10, 10], [10, 20], [20, 30], [30, 20]])
    X = np.column_stack([0.3 * rng.normal(size=(len(truth), 2)), pairs[truth]])
    return X, np.where(truth < 2, truth, -1), truth


def consistency(columns, n_neighbors=3, n_memory=5):
    return neural.ConsistencySettings(columns, n_neighbors, n_memory)


def test_corrupted_entries_come_from_the_same_column_of_other_rows():
    rows = mixed_rows(30)
    mask = torch.zeros(30, 3)
    mask[:, 0] = 1
    mask[::2, 1] = 1
    order = torch.tensor(np.random.RandomState(1).rand(30, 3)).argsort(dim=0)
    corrupted, changed = corrupt(rows, mask, order, MIXED.membership())
    torch.testing.assert_close(corrupted[:, 0], rows[order[:, 0], 0])
    torch.testing.assert_close(corrupted[::2, 1:4], rows[order[::2, 1], 1:4])
    torch.testing.assert_close(corrupted[1::2, 1:], rows[1::2, 1:])
    same_category = (rows[order[:, 1], 1:4] == rows[:, 1:4]).all(dim=1)
    expected = torch.zeros(30, 3)
    expected[:, 0] = (order[:, 0] != torch.arange(30)).float()
    expected[::2, 1] = (~same_category[::2]).float()
    torch.testing.assert_close(changed, expected)


def test_share_of_corrupted_entries_is_that_of_the_mask():
    seen = []

    class Recorder(nn.Identity):
        def forward(self, rows):
            seen.append(rows)
            return rows

    rows = torch.tensor(np.random.RandomState(0).normal(size=(2000, 4)), dtype=torch.float32)
    network = nn.ModuleDict(
        {"encoder": Recorder(), "mask_estimator": nn.Linear(4, 4), "row_estimator": nn.Linear(4, 4)}
    )
    objective = neural.MaskedReconstruction(neural.Columns((0, 1, 2, 3), ()), 0.3, 2.0)
    torch.manual_seed(0)
    objective.loss(neural.Batch(rows, torch.arange(2000), torch.zeros(2000)), network)
    np.testing.assert_allclose((seen[0] != rows).float().mean(dim=0), 0.3, atol=0.04)
    for j in range(4):
        assert np.isin(seen[0][:, j].numpy(), rows[:, j].numpy()).all()


def test_masked_loss_is_that_of_the_formulas():
    rows = mixed_rows(20)
    network = nn.ModuleDict(
        {"encoder": nn.Linear(5, 4), "mask_estimator": nn.Linear(4, 3), "row_estimator": nn.Linear(4, 5)}
    )
    objective = neural.MaskedReconstruction(MIXED, 0.3, 2.0)
    torch.manual_seed(3)
    loss = objective.loss(neural.Batch(rows, torch.arange(20), torch.zeros(20)), network).item()
    torch.manual_seed(3)
    mask, order = (torch.rand(20, 3) < 0.3).float(), torch.rand(20, 3).argsort(dim=0)
    corrupted, changed = corrupt(rows, mask, order, MIXED.membership())
    layers = {part: neural.export_layers(network[part]) for part in network}
    Z = neural.apply_layers(layers["encoder"], corrupted.numpy())
    p = 1 / (1 + np.exp(-neural.apply_layers(layers["mask_estimator"], Z)))
    m = changed.numpy()
    entropy = -np.mean(m * np.log(p) + (1 - m) * np.log(1 - p))
    error = np.mean((neural.apply_layers(layers["row_estimator"], Z) - rows.numpy()) ** 2)
    np.testing.assert_allclose(loss, entropy + 2 * error, rtol=1e-5)


def test_pairs_are_the_most_similar_rows_of_either():
    Z = np.random.RandomState(0).normal(size=(12, 3))
    unit = Z / np.linalg.norm(Z, axis=1, keepdims=True)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    expected = np.zeros((12, 12))
    for i in range(12):
        for j in np.argsort(-similarity[i])[:2]:
            expected[i, j] = expected[j, i] = 1
    np.testing.assert_array_equal(similar_pairs(torch.tensor(Z), 2).numpy(), expected)


def test_pair_loss_is_the_mean_over_unordered_pairs():
    rng = np.random.RandomState(0)
    p = softmax(rng.normal(size=(7, 3)), axis=1)
    pairs = np.triu(rng.randint(2, size=(7, 7)), 1)
    pairs = (pairs + pairs.T).astype(float)
    terms = []
    for i, j in combinations(range(7), 2):
        together = p[i] @ p[j]
        terms.append(-(pairs[i, j] * np.log(together) + (1 - pairs[i, j]) * np.log(1 - together)))
    np.testing.assert_allclose(pair_loss(torch.tensor(p), torch.tensor(pairs)).item(), np.mean(terms))


def test_views_lie_between_a_row_and_one_of_its_nearest():
    rows = torch.tensor(np.random.RandomState(0).normal(size=(9, 3)))
    views = interpolate(rows, rows, ~torch.eye(9, dtype=torch.bool), 2, neural.Columns((0, 1, 2), ()))
    unit = nn.functional.normalize(rows, dim=1)
    similarity = (unit @ unit.T).fill_diagonal_(-torch.inf)
    for i in range(9):
        near = similarity[i].topk(2).indices
        moves = rows[near] - rows[i]
        way = ((views[i] - rows[i]) * moves).sum(dim=1) / (moves**2).sum(dim=1)
        errors = (rows[i] + way[:, None] * moves - views[i]).abs().max(dim=1).values
        best = errors.argmin()
        assert errors[best] < 1e-9
        assert 0 <= way[best] <= 1


def test_categories_of_views_are_the_commonest_of_the_nearest():
    rows = mixed_rows(15)
    views = interpolate(rows, rows, ~torch.eye(15, dtype=torch.bool), 5, MIXED)
    unit = nn.functional.normalize(rows, dim=1)
    similarity = (unit @ unit.T).fill_diagonal_(-torch.inf)
    for i in range(15):
        counts = rows[similarity[i].topk(5).indices, 1:4].sum(dim=0)
        chosen = views[i, 1:4]
        assert sorted(chosen.tolist()) == [0, 0, 1]
        assert counts[chosen.argmax()] == counts.max()


def test_row_without_a_possible_neighbor_stays_as_it_is():
    rows = mixed_rows(4)
    views = interpolate(rows, rows, torch.zeros(4, 4, dtype=torch.bool), 2, MIXED)
    torch.testing.assert_close(views, rows)


def test_memory_keeps_the_latest_rows():
    memory = Memory(3, 1)
    for i in range(5):
        memory.remember(neural.Batch(torch.full((1, 1), float(i)), torch.tensor([i]), torch.tensor([0])))
    assert memory.rows[:, 0].tolist() == [2, 3, 4]
    assert memory.index.tolist() == [2, 3, 4]


def test_views_of_labeled_rows_stay_in_their_class():
    columns = neural.Columns((0, 1), ())
    heads = neural.DiscoveryHeads((0.5, 0.5), 0.1, consistency(columns), 2, 2)
    codes = torch.tensor([0, 0, 1, 1, -1, -1])
    # Each kind of rows has a first column of its own.
    rows = torch.tensor([[1.0, 0], [1, 1], [2, 0], [2, 1], [3, 0], [3, 1]])
    for _ in range(3):
        views = heads.views(neural.Batch(rows, torch.arange(6), codes))
        torch.testing.assert_close(views[:, 0], rows[:, 0])


def heads_and_network(n_known=2, n_novel=3):
    network = neural.build_tabular(neural.NetworkSettings([4]), (20, 5, 3), 4, n_known, n_novel, seed=0)
    return neural.DiscoveryHeads((0.7, 0.6), 0.2, consistency(MIXED), n_known, n_novel), network


def test_losses_of_both_heads_are_those_of_the_formulas():
    heads, network = heads_and_network()
    rows, views = mixed_rows(20), mixed_rows(20, seed=1)
    codes = np.random.RandomState(0).randint(-1, 2, size=20)
    batch = neural.Batch(rows, torch.arange(20), torch.tensor(codes))
    layers = {part: neural.export_layers(network[part]) for part in network}

    def outputs(head, X):
        return neural.apply_layers(layers[head], neural.apply_layers(layers["encoder"], X.numpy()))

    one, other = outputs("class_head", rows), outputs("class_head", views)
    target = np.where(codes >= 0, codes, 2)
    cross_entropy = -log_softmax(one, axis=1)[np.arange(20), target].mean()
    expected = 0.7 * cross_entropy + 0.3 * np.mean((softmax(one, axis=1) - softmax(other, axis=1)) ** 2)
    np.testing.assert_allclose(heads.classification(batch, views, network).item(), expected, rtol=1e-5)
    free = codes < 0
    one, other = (softmax(outputs("cluster_head", X)[free], axis=1) for X in (rows, views))
    Z = torch.tensor(neural.apply_layers(layers["encoder"], rows.numpy())[free])
    pairs = pair_loss(torch.tensor(one), similar_pairs(Z, round(0.2 * free.sum()))).item()
    expected = 0.6 * pairs + 0.4 * np.mean((one - other) ** 2)
    np.testing.assert_allclose(heads.clustering(batch, views, network).item(), expected, rtol=1e-5)


def test_second_loss_is_that_of_the_network_after_the_first_step():
    heads, network = heads_and_network()
    batch = neural.Batch(mixed_rows(20), torch.arange(20), torch.tensor(np.random.RandomState(0).randint(-1, 2, 20)))
    torch.manual_seed(0)
    steps = heads.steps(batch, network)
    next(steps).backward()
    with torch.no_grad():
        for weights in network["encoder"].parameters():
            weights -= 0.1 * weights.grad
    torch.manual_seed(0)
    views = heads_and_network()[0].views(batch)
    np.testing.assert_allclose(next(steps).item(), heads.clustering(batch, views, network).item(), rtol=1e-5)


class TwoLosses(neural.Objective):
    """One loss for each of two weights; every step writes down what the weights were."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def steps(self, batch, network):
        weight = network["encoder"].weight
        for factor in (1.0, 2.0):
            self.seen.append(float(weight.detach()))
            yield factor * weight.sum()

    def loss(self, batch, network):
        return network["encoder"].weight.sum()


def test_two_optimizers_step_in_turn_each_at_its_rate():
    network = nn.ModuleDict({"encoder": nn.Linear(1, 1, bias=False)})
    nn.init.constant_(network["encoder"].weight, 1.0)
    objective = TwoLosses()
    settings = neural.TrainingSettings(neural.OptimizerSettings("sgd", momentum=0.0, max_grad_norm=None), batch_size=2)
    trainer = neural.Trainer(np.zeros((4, 1)), np.zeros(4), network, settings)
    trained = trainer.train([neural.Phase("turns", objective, 1, lr=(0.1, 0.01))])
    np.testing.assert_allclose(objective.seen, [1.0, 0.9, 0.88, 0.78], rtol=1e-6)
    np.testing.assert_allclose(trained.network["encoder"].weight.item(), 0.76, rtol=1e-6)


def test_batch_size_of_a_phase_goes_before_that_of_the_settings():
    network = nn.ModuleDict({"encoder": nn.Linear(1, 1, bias=False)})
    objective = TwoLosses()
    trainer = neural.Trainer(np.zeros((6, 1)), np.zeros(6), network, neural.TrainingSettings(batch_size=6))
    trainer.train([neural.Phase("turns", objective, 1, lr=(0.1, 0.1), batch_size=2)])
    assert len(objective.seen) == 6


@pytest.mark.parametrize("init", ["k-means", "random"])
def test_planted_classes_are_found(init):
    X, y, truth = blobs()
    model = quick(init=init, max_epochs=40).fit(X, y)
    assert clustering_accuracy(truth, model.labels_) > 0.95
    free = y == -1
    np.testing.assert_array_equal(model.predict(X)[free], model.labels_[free])
    np.testing.assert_array_equal(model.predict_novel(X)[free], model.labels_[free])


def test_known_rows_are_named_as_known():
    X, y, truth = blobs()
    model = quick("auto").fit(X, y)
    assert len(model.novel_classes_) == 2
    assert np.mean(model.predict(X + 0.01)[truth < 3] == truth[truth < 3]) > 0.97


def test_learned_clusters_worse_than_the_start_are_not_kept():
    X, y, _ = blobs()
    # Each row is to be with one other only, which tears the clusters apart.
    model = quick(top_k=1e-6, max_epochs=100, max_pretrain_epochs=5).fit(X, y)
    free = y == -1
    start = KMeans(2, n_init=10, random_state=0).fit_predict(X[free])
    assert not model.improved_
    assert clustering_accuracy(start, model.predict_novel(X[free])) > 0.9


@pytest.mark.parametrize("labeled", [True, False])
def test_training_that_empties_a_cluster_leaves_those_of_the_start_with_a_warning(monkeypatch, labeled):
    X, y, truth = blobs()
    y = y if labeled else np.full(len(y), -1)

    def into_one(self, batch, views, network):
        free = batch.codes < 0
        return -network["cluster_head"](network["encoder"](batch.rows[free])).log_softmax(dim=1)[:, 0].mean()

    monkeypatch.setattr(neural.DiscoveryHeads, "clustering", into_one)
    with pytest.warns(UserWarning, match="all but vanished while training, .* its start are kept; a smaller opt"):
        model = quick(max_epochs=40, max_pretrain_epochs=5).fit(X, y)
    assert not model.improved_
    assert clustering_accuracy(truth, model.labels_) > 0.95
    np.testing.assert_array_equal(model.predict(X)[y == -1], model.labels_[y == -1])


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
    X, y, _ = blobs()
    listen = Listen()
    watched, alone = quick().set_callbacks(listen).fit(X, y), quick().fit(X, y)
    np.testing.assert_array_equal(watched.predict_proba(X), alone.predict_proba(X))
    assert listen.given[:3] == [None] * 3, "there are no clusters before the joint phase"
    assert len(listen.given) == 13
    stopped = quick().set_callbacks(Listen(7)).fit(X, y)
    seen = listen.given[6]
    np.testing.assert_array_equal(seen.predict_proba(X), stopped.predict_proba(X))
    np.testing.assert_array_equal(seen.labels_, stopped.labels_)
    assert seen.improved_ == stopped.improved_


def test_probabilities_sum_to_one_and_those_of_novel_classes_to_the_novelty():
    X, y, _ = blobs()
    model = quick().fit(X, y)
    proba = model.predict_proba(X)
    assert proba.shape == (len(X), 5)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    np.testing.assert_allclose(proba[:, 3:].sum(axis=1), model.novelty_score(X))


def test_categories_tell_classes_apart_that_numbers_do_not():
    X, y, truth = rows_with_categories()
    model = quick(4, categorical_features=[2, 3], max_epochs=30).fit(X, y)
    assert clustering_accuracy(truth, model.labels_) > 0.95
    assert [values.tolist() for values in model.categories_] == [[10, 20, 30], [10, 20, 30]]


def test_names_of_categories_do_not_matter():
    X, y, _ = rows_with_categories()
    other = X.copy()
    other[:, 2:] = X[:, 2:] ** 2 - 5
    first, second = (quick(4, categorical_features=[2, 3]).fit(table, y) for table in (X, other))
    np.testing.assert_array_equal(first.labels_, second.labels_)


@pytest.mark.parametrize("features", [[3, 2], [False, False, True, True], ["c", "d"]])
def test_categorical_columns_by_number_mask_and_name(features):
    pandas = pytest.importorskip("pandas")
    X, y, _ = rows_with_categories()
    model = quick(4, categorical_features=features, max_epochs=1).fit(pandas.DataFrame(X, columns=list("abcd")), y)
    assert model.categorical_columns_.tolist() == [2, 3]
    # Two numbers and three categories for each of the others.
    assert model.mean_.shape == (8,)


@pytest.mark.parametrize("features", [[4], [-1], [True, False], ["no such column"]])
def test_categorical_columns_that_do_not_exist_are_refused(features):
    X, y, _ = rows_with_categories()
    with pytest.raises(ValueError, match="categorical_features"):
        quick(categorical_features=features).fit(X, y)


def test_category_not_seen_in_training_is_none_of_them():
    X, y, _ = rows_with_categories()
    model = quick(4, categorical_features=[2, 3], max_epochs=1).fit(X, y)
    new = X[:1].copy()
    new[0, 2] = 99
    assert np.isfinite(model.transform(new)).all()


def test_no_labels_and_all_labels():
    X, _, truth = blobs()
    model = quick().fit(X)
    assert clustering_accuracy(truth, model.labels_) > 0.9
    np.testing.assert_array_equal(model.novelty_score(X), 1)
    named = quick("auto", max_epochs=30).fit(X, truth)
    assert len(named.novel_classes_) == 0
    assert np.mean(named.predict(X) == truth) > 0.95
    with pytest.raises(ValueError, match="found no novel class"):
        named.predict_novel(X)


def test_order_and_repetition_of_rows_change_no_weight():
    X, y, _ = blobs()
    reference = quick(max_epochs=2).fit(X, y)
    order = np.random.RandomState(1).permutation(len(X))
    for rows in (order, np.tile(order, 2)):
        other = quick(max_epochs=2).fit(X[rows], y[rows])
        np.testing.assert_array_equal(other.transform(X), reference.transform(X))
        np.testing.assert_array_equal(other.labels_, reference.labels_[rows])


@pytest.mark.parametrize("kill_at", [2, 5])
def test_killed_fit_resumes_to_the_same_labels(tmp_path, monkeypatch, kill_at):
    X, y, _ = blobs()
    path = tmp_path / "checkpoint"
    expected = quick(max_epochs=5).fit(X, y)

    class Killed(Exception):
        pass

    calls = []

    def kill(now):
        calls.append(1)
        if len(calls) == kill_at:
            raise Killed
        return False

    train = TabularNCD._train
    parameters = expected.get_params(deep=False) | {"checkpoint": path}
    with monkeypatch.context() as patched:
        patched.setattr(TabularNCD, "_train", lambda *args, **kwargs: train(*args, **kwargs | {"on_epoch": kill}))
        with pytest.raises(Killed):
            TabularNCD(**parameters).fit(X, y)
    assert path.exists()
    resumed = TabularNCD(**parameters).fit(X, y)
    np.testing.assert_array_equal(resumed.transform(X), expected.transform(X))
    np.testing.assert_array_equal(resumed.labels_, expected.labels_)


def test_search_over_the_published_space():
    X, y, _ = blobs()
    search = HiddenClassSearchCV(
        quick("auto", max_epochs=2, k_max=6),
        TABULAR_NCD_SEARCH_SPACE,
        n_iter=2,
        cv=HiddenClassKFold(2, random_state=0),
        error_score="raise",
        random_state=0,
    ).fit(X, y)
    assert set(search.best_params_) == set(TABULAR_NCD_SEARCH_SPACE)
    assert search.best_estimator_.encoder.activation == search.best_params_["encoder__activation"]
    assert search.best_estimator_.optimizer.lr == search.best_params_["optimizer__lr"]


def test_prediction_needs_no_torch():
    X, y, _ = blobs()
    model = quick(max_epochs=2).fit(X, y)
    code = (
        "import pickle, sys; model, X = pickle.load(sys.stdin.buffer); model.predict(X); model.predict_proba(X);"
        "model.predict_novel(X); assert not {'torch', 'skorch'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps((model, X)), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
