"""PrototypeClustering: objectives with prototypes, the joining of prototypes, the estimator."""

import pickle
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, make_blobs, make_moons
from sklearn.exceptions import ConvergenceWarning

from sklearn_sslcluster import neural
from sklearn_sslcluster.deep import PrototypeClustering
from sklearn_sslcluster.deep._embedding_clusters import possible_numbers
from sklearn_sslcluster.deep._prototype_classes import JudgedRows, class_means, join_prototypes
from sklearn_sslcluster.metrics import clustering_accuracy
from sklearn_sslcluster.neural.prototypes import find_prototypes, separated_loss
from sklearn_sslcluster.numerics import nearest_neighbors

ASSIGNMENTS = pytest.mark.parametrize("assignment", ["kmeans", "sinkhorn", "multi"])
QUICK = {"max_pretrain_epochs": 5, "max_epochs": 3, "random_state": 0}
ROWS = np.random.RandomState(0).randn(60, 5).astype(np.float32)


def unit(values):
    return torch.nn.functional.normalize(torch.as_tensor(values), dim=1)


def objective(kind, **settings):
    given = neural.PrototypeSettings(**{"n_prototypes": (6,), "temperature": 0.1, "seed": 0} | settings)
    return getattr(neural, kind)(neural.Corruption(0.3), ROWS, given)


# Objectives


def test_prototypes_are_means_of_their_rows_on_the_sphere():
    rows = unit(ROWS)
    prototypes, codes = find_prototypes(rows, 4, seed=0)
    for code in range(4):
        assert_allclose(prototypes[code], unit(rows[codes == code].mean(dim=0)[None])[0], atol=1e-5)


def test_separated_loss_is_that_of_its_definition():
    scores, nearest = torch.randn(7, 5, dtype=torch.float64), torch.tensor([[0, 3]] * 7)
    positives, negatives = scores[:, [0, 3]], scores[:, [1, 2, 4]]
    expected = torch.log(1 + negatives.exp().sum(dim=1)) + torch.log(1 + (-positives).exp().sum(dim=1))
    assert_allclose(separated_loss(scores, nearest), expected)


def test_swapped_prediction_gives_prototypes_the_masses_of_the_prior():
    """The larger ones to those with more rows."""
    prior = np.array([0.05, 0.2, 0.1, 0.15, 0.2, 0.3])
    swapped = objective("SwappedPrediction", log_prior=np.log(prior))
    embedding = torch.as_tensor(ROWS)
    swapped.start(embedding)
    sizes = np.bincount(find_prototypes(unit(embedding), 6, seed=0)[1], minlength=6)
    swapped.refresh(embedding)
    codes = torch.softmax(unit(embedding) @ unit(swapped.prototypes_0).T / 0.05 + swapped.potentials, dim=1)
    masses = codes.mean(dim=0).detach().numpy()
    assert_allclose(masses[np.argsort(-sizes, kind="stable")], np.sort(prior)[::-1], atol=1e-3)


def collapsed_share(balance):
    """Share of the rows at the fullest prototype, where all rows are nearest to one of them."""
    swapped = objective("SwappedPrediction", balance=balance)
    embedding = torch.as_tensor(ROWS + 6)
    swapped.start(embedding)
    with torch.no_grad():
        swapped.prototypes_0.copy_(unit(-ROWS[:6]))
        swapped.prototypes_0[0] = unit(ROWS + 6).mean(dim=0)
    codes = swapped.refresh(embedding)
    return float(torch.bincount(codes, minlength=6).max()) / len(codes)


def test_balance_keeps_rows_from_falling_to_one_prototype():
    assert collapsed_share(0.0) == 1
    assert collapsed_share(1.0) < 0.5


class ToOwnPrototype(neural.ClusteredViews):
    """DeepCluster-v2 without the comparison with other prototypes."""

    def _of(self, first, second, own):
        nearest = self.prototypes_0[own(self.codes_0, None)].repeat(2, 1)
        return -(torch.cat([first, second]) * nearest).sum(dim=1).mean() / self.settings.temperature


class PositivesAlone(neural.SeveralPrototypes):
    """MLCD without the sum over negatives."""

    def _of(self, first, second, own):
        scores = torch.cat([first, second]) @ unit(self.prototypes_0).T / self.settings.temperature
        return -scores.gather(1, own(self.nearest, None).repeat(2, 1)).mean()


class WithoutBalance(neural.SwappedPrediction):
    """SwAV without masses of prototypes."""

    def __init__(self, views, X, settings):
        super().__init__(views, X, replace(settings, balance=0.0))


def spread_after_training(kind):
    """Spread of the embedding of normal rows: what share of its mean square is variance."""
    rows = np.random.RandomState(0).randn(128, 6).astype(np.float32)
    batch = neural.Batch(torch.as_tensor(rows), torch.arange(128), torch.full((128,), -1))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = torch.nn.Sequential(torch.nn.Linear(6, 32), torch.nn.Tanh(), torch.nn.Linear(32, 4))
        given = neural.PrototypeSettings((6,), 0.1, 0)
        joint = kind(neural.Corruption(0.3), rows, given)
        joint.start(encoder(batch.rows).detach())
        optimizer = torch.optim.Adam([*encoder.parameters(), *joint.parameters()], 1e-2)
        for step in range(100):
            if step % 5 == 0:
                joint.refresh(encoder(batch.rows).detach())
            optimizer.zero_grad()
            joint.loss(batch, torch.nn.ModuleDict({"encoder": encoder})).backward()
            optimizer.step()
        return neural.spread(unit(encoder(batch.rows).detach()).numpy())


@pytest.mark.parametrize(
    ("kind", "naive"),
    [
        (neural.ClusteredViews, ToOwnPrototype),
        (neural.SeveralPrototypes, PositivesAlone),
        (neural.SwappedPrediction, WithoutBalance),
    ],
)
def test_rows_stay_apart_where_the_naive_objective_collapses(kind, naive):
    assert spread_after_training(kind) > 0.15
    assert spread_after_training(naive) < 0.05


def test_several_prototypes_are_the_nearest_ones():
    several = objective("SeveralPrototypes", n_positives=3)
    embedding = torch.as_tensor(ROWS)
    several.start(embedding)
    several.refresh(embedding)
    scores = unit(embedding) @ several.prototypes_0.T
    for row in range(len(ROWS)):
        assert set(several.nearest[row].tolist()) == set(scores[row].argsort(descending=True)[:3].tolist())


class RemembersEnd(PrototypeClustering):
    """Notes prototypes and embedding at the end of the joint phase."""

    def _reached(self, task, trained, phase, prototypes):
        reached = super()._reached(task, trained, phase, prototypes)
        if phase is None:
            self.at_end = self._apply(reached.layers, task.table.whole) @ prototypes.T
        return reached


def test_rows_of_two_atoms_keep_both_if_two_prototypes_are_positives():
    rng = np.random.RandomState(0)
    atoms, pairs = rng.randn(8, 16), rng.rand(800, 8).argsort(axis=1)[:, :2]
    X = atoms[pairs].sum(axis=1) + 0.3 * rng.randn(800, 16)
    truth = np.zeros((800, 8))
    truth[np.arange(800)[:, None], pairs] = 1
    recall = np.zeros((2, 4))
    for i, seed in np.ndindex(recall.shape):
        settings = {"n_positives": i + 1, "n_prototypes": 8, "max_epochs": 60, "tol": None}
        model = RemembersEnd(8, assignment="multi", **settings, random_state=seed).fit(X)
        found = np.zeros((800, 8))
        found[np.arange(800)[:, None], model.at_end.argsort(axis=1)[:, -2:]] = 1
        shared = found.T @ truth
        recall[i, seed] = shared[linear_sum_assignment(-shared)].sum() / truth.sum()
    # Single seeds gain much, or nothing.
    assert recall[1].mean() > recall[0].mean() + 0.05


# Joining


def test_prototypes_of_one_moon_are_joined():
    X, y = make_moons(300, noise=0.05, random_state=0)
    Z = np.column_stack([X - X.mean(axis=0), np.full(300, 2.0)])
    Z /= np.linalg.norm(Z, axis=1, keepdims=True)
    prototypes = KMeans(16, n_init=3, random_state=0).fit(Z).cluster_centers_
    prototypes /= np.linalg.norm(prototypes, axis=1, keepdims=True)
    rows = JudgedRows(Z, np.full(300, -1), nearest_neighbors(Z))
    classes = join_prototypes(rows, prototypes, 0, 2)
    assert clustering_accuracy(y, classes.similarities(Z).argmax(axis=1)) > 0.97


def test_two_known_classes_are_never_joined():
    Z = unit(ROWS).numpy()
    codes = np.where(np.arange(60) < 6, np.arange(60) % 2, -1)
    prototypes = np.vstack([class_means(Z, codes, 2), Z[10:18]])
    classes = join_prototypes(JudgedRows(Z, codes, nearest_neighbors(Z)), prototypes, 2, 2)
    assert classes.n_classes == 2
    assert classes.classes[0] != classes.classes[1]


def test_one_class_is_no_choice_where_the_rows_fall_into_groups():
    X, _ = make_blobs(600, n_features=8, centers=12, random_state=0)
    assert possible_numbers([1, 2, 3], X / X.std(), 0) == [2, 3]
    assert possible_numbers([1, 2, 3], np.random.RandomState(0).randn(600, 8), 0) == [1, 2, 3]
    # With two known classes there never was such a choice.
    assert possible_numbers([2, 3], np.random.RandomState(0).randn(600, 8), 0) == [2, 3]


# The estimator


class RemembersStart(PrototypeClustering):
    """Notes what the start of the joint phase would predict."""

    def _reached(self, task, trained, phase, prototypes):
        reached = super()._reached(task, trained, phase, prototypes)
        if phase == "joint":
            self.at_start = reached.classes.similarities(self._apply(reached.layers, task.table.whole)).argmax(axis=1)
        return reached


def blobs():
    return make_blobs(400, n_features=20, centers=6, cluster_std=2.0, random_state=0)


def test_a_wrong_start_is_mended():
    """An encoder of three outputs that has learned nothing lays groups on top of each other."""
    X, y = blobs()
    model = RemembersStart(
        6, embedding_size=3, max_pretrain_epochs=0, max_epochs=60, tol=None, batch_size=64, random_state=1
    ).fit(X)
    assert clustering_accuracy(y, model.at_start) < 0.7
    assert model.improved_
    assert clustering_accuracy(y, model.labels_) > 0.95


@ASSIGNMENTS
def test_groups_that_the_start_finds_are_kept(assignment):
    X, y = blobs()
    model = PrototypeClustering(6, assignment=assignment, max_epochs=5, random_state=0).fit(X)
    assert clustering_accuracy(y, model.labels_) > 0.95


@ASSIGNMENTS
def test_labels_are_what_predict_says_and_labeled_rows_keep_theirs(assignment):
    X, y = blobs()
    given = np.where((y < 3) & (np.arange(400) % 2 == 0), y, -1)
    model = PrototypeClustering(6, assignment=assignment, **QUICK).fit(X, given)
    assert_array_equal(model.labels_[given >= 0], given[given >= 0])
    assert_array_equal(model.labels_[given < 0], model.predict(X[given < 0]))
    assert_array_equal(model.classes_[model.predict_proba(X).argmax(axis=1)], model.predict(X))
    assert_array_equal(model.novelty_score(X) > 0.5, np.isin(model.predict(X), model.novel_classes_))
    assert_allclose(np.linalg.norm(model.transform(X), axis=1), 1)


def test_number_of_classes_is_found():
    X, _ = blobs()
    assert PrototypeClustering("auto", random_state=0, max_epochs=5).fit(X).n_clusters_ == 6


def test_rows_far_from_all_prototypes_are_left_out():
    X, _ = blobs()
    model = PrototypeClustering(6, **QUICK).fit(X)
    assert np.mean(model.predict(X, reject=0.9) == -1) == pytest.approx(0.1, abs=0.03)


def test_prior_has_to_fit_the_prototypes():
    X, _ = blobs()
    with pytest.raises(ValueError, match="prior must hold 8 positive numbers"):
        PrototypeClustering(6, assignment="sinkhorn", n_prototypes=8, prior=[0.5, 0.5], **QUICK).fit(X)
    prior = np.arange(1, 9)
    model = PrototypeClustering(6, assignment="sinkhorn", n_prototypes=8, prior=prior, **QUICK).fit(X)
    assert model.n_clusters_ == 6


def test_masses_that_are_missed_are_told():
    X, _ = blobs()
    model = PrototypeClustering(6, assignment="sinkhorn", epsilon=1e-4, balance=1.0, **QUICK)
    with pytest.warns(ConvergenceWarning, match="miss the masses of their prototypes"):
        model.fit(X)


def test_collapse_is_told_and_the_start_kept(monkeypatch):
    class Attraction(neural.ClusteredViews):
        def loss(self, batch, network):
            return ((network["encoder"](batch.rows) - 1) ** 2).mean()

    X, y = blobs()
    monkeypatch.setattr(neural, "ClusteredViews", Attraction)
    model = PrototypeClustering(6, max_epochs=150, tol=None, random_state=0).set_params(optimizer__lr=1e-2)
    with pytest.warns(UserWarning, match="collapsed"):
        model.fit(X)
    assert not model.improved_
    assert clustering_accuracy(y, model.labels_) > 0.9


def test_model_survives_pickle():
    X, _ = blobs()
    model = PrototypeClustering(6, **QUICK).fit(X)
    assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))


def test_identity_encoder_learns_prototypes_alone():
    X, y = blobs()
    model = PrototypeClustering(6, encoder="identity", **QUICK).fit(X)
    assert model.transform(X).shape == X.shape
    assert clustering_accuracy(y, model.labels_) > 0.95


def test_digits_are_clustered_better_than_by_k_means():
    X, y = load_digits(return_X_y=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = PrototypeClustering(10, max_pretrain_epochs=30, max_epochs=10, random_state=0).fit(X)
    assert clustering_accuracy(y, model.labels_) > 0.8
