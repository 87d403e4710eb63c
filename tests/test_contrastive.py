"""Views, batch samplers, the sorting network and contrastive objectives."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.cluster import KMeans
from sklearn.metrics import mutual_info_score
from torch import nn

from sklearn_sslcluster import neural
from sklearn_sslcluster.neural.contrastive import contrast, ordering_loss, positives
from sklearn_sslcluster.numerics import balanced_codes
from tests.neural_tools import Log, Scripted, make_network, make_trainer

ROWS = np.random.RandomState(0).randn(48, 5).astype(np.float32)


def prepared(views, X=ROWS):
    views.prepare(torch.as_tensor(X))
    return views


# Views


def test_corruption_draws_a_share_of_the_columns_from_values_of_these_columns():
    X = np.arange(200.0, dtype=np.float32).reshape(40, 5)
    torch.manual_seed(0)
    first, second = prepared(neural.Corruption(0.4, both=False), X)(torch.as_tensor(X))
    assert_array_equal(first, X)
    changed = second.numpy() != X
    # Two of five columns are drawn; now and then a row draws its own value.
    assert changed.sum(axis=1).max() == 2
    assert changed.sum() > 1.8 * len(X)
    assert all(np.isin(second.numpy()[:, column], X[:, column]).all() for column in range(5))


def test_corruption_of_both_views_draws_them_independently():
    torch.manual_seed(0)
    first, second = prepared(neural.Corruption(0.6))(torch.as_tensor(ROWS))
    assert (first != torch.as_tensor(ROWS)).any()
    assert (first != second).any()


def test_correlated_mask_hides_a_column_with_its_copy():
    rng = np.random.RandomState(0)
    columns = rng.randn(300, 3)
    X = np.hstack([columns, columns + 0.01 * rng.randn(300, 3)]).astype(np.float32)
    views = prepared(neural.CorrelatedMask(), X)
    torch.manual_seed(0)
    for _ in range(10):
        first, second = views(torch.as_tensor(X[:4]))
        hidden = (first == 0).all(dim=0)
        assert_array_equal(hidden, ~(second == 0).all(dim=0))
        assert hidden.sum() == 3
        # Random masks would leave the copy of a column visible.
        assert (hidden[:3] & hidden[3:]).any()


def test_mutual_information_is_that_of_scikit_learn():
    rng = np.random.RandomState(0)
    X = np.column_stack([rng.randint(3, size=200), rng.randint(2, size=200), rng.randint(4, size=200)]).astype(float)
    X[:, 2] = (X[:, 2] + X[:, 0]) // 2
    expected = [[mutual_info_score(a, b) for a in X.T] for b in X.T]
    assert_allclose(neural.mutual_information(X), expected, atol=1e-6)


def test_subsets_cover_all_columns_and_overlap():
    views = prepared(neural.Subsets(4, 0.5), np.random.RandomState(0).randn(10, 16).astype(np.float32))
    kept = views.kept.numpy()
    assert kept.any(axis=0).all()
    assert_array_equal(kept.sum(axis=1), 6)
    torch.manual_seed(0)
    first, second = views(torch.ones(2, 16))
    assert_array_equal(first[0], first[1])
    assert (first != second).any()


def test_own_views_work_in_the_units_of_the_table():
    seen = []

    def shifted(rows, random_state):
        seen.append(rows)
        return rows, rows + 10

    mean, scale = np.full(5, 3.0), np.full(5, 2.0)
    first, second = neural.OwnViews(shifted, mean, scale)(torch.as_tensor(ROWS))
    assert_allclose(seen[0], 2 * ROWS + 3, rtol=1e-5)
    assert_allclose(second - first, 5, rtol=1e-5)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda rows, random_state: rows, "two arrays, got ndarray"),
        (lambda rows, random_state: (rows, rows[:, :2]), r"finite arrays of shape \(48, 5\), got shape \(48, 2\)"),
        (lambda rows, random_state: (rows, rows * np.nan), "finite arrays"),
    ],
)
def test_own_views_of_another_shape_are_refused(function, message):
    with pytest.raises(ValueError, match=message):
        neural.OwnViews(function, np.zeros(5), np.ones(5))(torch.as_tensor(ROWS))


def test_what_is_no_view_generator_is_refused():
    class WithoutPrepare(nn.Module):
        def forward(self, rows):
            return rows, rows

    with pytest.raises(TypeError, match="WithoutPrepare is no view generator: it has no method 'prepare'"):
        neural.check_views(WithoutPrepare())
    with pytest.raises(TypeError, match="it is no torch"):
        neural.check_views(lambda rows: (rows, rows))


# Samplers


def test_random_batches_hold_every_row_once():
    batches = neural.RandomBatches().batches(33, 8, np.random.RandomState(0))
    assert [len(rows) for rows in batches] == [8, 8, 8, 9]
    assert_array_equal(np.sort(np.concatenate(batches)), np.arange(33))


@pytest.mark.parametrize(("n_rows", "n_batches"), [(64, 4), (70, 5), (65, 4)])
def test_one_row_of_each_balanced_cluster_in_a_batch(n_rows, n_batches):
    sampler = neural.OnePerCluster(
        lambda values, k: np.random.RandomState(0).permutation(np.arange(len(values)) % k), 16, "rows"
    )
    sampler.start(torch.zeros(n_rows, 2), torch.zeros(n_rows, 3))
    batches = sampler.batches(n_rows, 16, np.random.RandomState(1))
    assert len(batches) == n_batches
    assert sorted(map(len, batches))[-4:] == [16] * 4
    assert neural.collision_rate(batches, sampler.codes) == 0
    # A row that would be alone in its batch is left out.
    assert len(np.unique(np.concatenate(batches))) == (n_rows if n_rows != 65 else 64)
    assert sampler.collision_rate(16, seed=0) == 0


def test_batches_of_balanced_clusters_are_of_one_size():
    X = np.random.RandomState(0).standard_exponential((130, 3)) ** 3
    sampler = neural.OnePerCluster(lambda Z, k: balanced_codes(Z, k, np.random.RandomState(0)), 16, "rows")
    sampler.start(torch.as_tensor(X), torch.as_tensor(X))
    sizes = sorted(len(rows) for rows in sampler.batches(130, 16, np.random.RandomState(1)))
    assert sizes == [2] + [16] * 8
    # Clusters as k-means finds them end in batches of a few rows.
    unequal = neural.OnePerCluster(lambda Z, k: KMeans(k, n_init=1, random_state=0).fit(Z).labels_, 16, "rows")
    unequal.start(torch.as_tensor(X), torch.as_tensor(X))
    assert sum(len(rows) < 8 for rows in unequal.batches(130, 16, np.random.RandomState(1))) >= 3


def test_random_batches_of_the_same_rows_collide():
    codes = np.arange(64) % 16
    batches = neural.RandomBatches().batches(64, 16, np.random.RandomState(0))
    assert neural.collision_rate(batches, codes) == 1


def test_sampler_decides_about_the_batches_of_its_phase_alone():
    class Pairs(neural.RandomBatches):
        def start(self, rows, embedding):
            self.shapes = tuple(rows.shape), tuple(embedding.shape)

        def batches(self, n_rows, batch_size, random_state):
            return [np.array([0, 1]), np.array([2, 3])]

    sampler, first, second = Pairs(), Log(), Log()
    trainer = make_trainer(ROWS)
    trainer.train([neural.Phase("pairs", first, 1, sampler=sampler), neural.Phase("all", second, 1)])
    assert first.trained == [[0, 1], [2, 3]]
    assert sampler.shapes == ((48, 5), (48, 3))
    assert sorted(row for rows in second.trained for row in rows) == list(range(48))


def test_what_is_no_sampler_is_refused():
    class OnlyStart:
        def start(self, rows, embedding):
            pass

    with pytest.raises(TypeError, match="OnlyStart is no batch sampler: it has no method 'batches'"):
        make_trainer(ROWS).train([neural.Phase("a", Scripted(), 1, sampler=OnlyStart())])


def test_held_out_rows_are_seen_the_same_way_in_every_epoch():
    class Noisy(neural.Reconstruction):
        def loss(self, batch, network):
            return super().loss(batch, network) * 0 + torch.rand(())

    trained = make_trainer(ROWS, validation_share=0.25).train([neural.Phase("a", Noisy(), 3)])
    losses = [entry["valid_loss"] for entry in trained.history["a"]]
    assert losses[0] == losses[1] == losses[2]
    assert len({entry["train_loss"] for entry in trained.history["a"]}) == 3


# The sorting network


def test_soft_permutations_are_doubly_stochastic():
    values = torch.randn(20, 9, dtype=torch.float64)
    permutation = neural.soft_permutation(values)
    assert (permutation >= 0).all()
    assert_allclose(permutation.sum(dim=1), 1, rtol=1e-9)
    assert_allclose(permutation.sum(dim=2), 1, rtol=1e-9)


def test_steep_network_sorts():
    values = torch.randn(20, 9, dtype=torch.float64)
    permutation = neural.soft_permutation(values, steepness=1e12)
    assert_allclose((permutation @ values[:, :, None])[:, :, 0], values.sort(dim=1).values, atol=1e-6)
    assert_array_equal(permutation.argmax(dim=2), values.argsort(dim=1))


def test_what_values_carry_is_sorted_with_them():
    values = torch.randn(20, 7, dtype=torch.float64)
    carried = torch.randn(20, 7, 3, dtype=torch.float64)
    permutation = neural.soft_permutation(values, 3.0)
    in_order, with_them = neural.soft_sort(values, carried, 3.0)
    assert_allclose(in_order, (permutation @ values[:, :, None])[:, :, 0], atol=1e-12)
    assert_allclose(with_them, permutation @ carried, atol=1e-12)


def test_gradient_of_the_sorting_network():
    values = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: neural.soft_permutation(v, 2.0), (values,))


def test_ordering_loss_is_small_only_if_every_positive_comes_after_all_negatives():
    in_order = torch.tensor([[-0.9, -0.5, 0.1, 0.7, 0.9]], dtype=torch.float64)
    mixed = torch.tensor([[-0.9, 0.8, 0.1, 0.7, -0.5]], dtype=torch.float64)
    good, bad = (ordering_loss(values, 3, 1e9).item() for values in (in_order, mixed))
    assert good < 1e-5
    assert bad > 1


# Objectives


def brute_force_contrast(Z, codes, temperature):
    """Supervised contrastive loss, sum by sum."""
    n_rows = len(codes)
    both = np.concatenate([codes, codes])
    losses = []
    for i in range(2 * n_rows):
        others = [j for j in range(2 * n_rows) if j != i]
        total = sum(np.exp(Z[i] @ Z[j] / temperature) for j in others)
        partners = [j for j in others if j % n_rows == i % n_rows or (both[i] >= 0 and both[i] == both[j])]
        losses.append(-np.mean([np.log(np.exp(Z[i] @ Z[j] / temperature) / total) for j in partners]))
    return np.mean(losses)


@pytest.mark.parametrize("codes", [[-1] * 6, [0, 0, -1, 1, 1, 0]])
def test_contrast_is_that_of_its_definition(codes):
    Z = nn.functional.normalize(torch.randn(12, 4, dtype=torch.float64), dim=1)
    found = contrast(Z @ Z.T / 0.3, positives(torch.tensor(codes)))
    assert_allclose(found, brute_force_contrast(Z.numpy(), np.array(codes), 0.3))


OBJECTIVES = {
    "ntxent": lambda views: neural.NTXent(views, ROWS, 0.2),
    "groco": lambda views: neural.GroupOrdering(views, ROWS, 0.2, 5),
    "vicreg": lambda views: neural.VICReg(views, ROWS),
}


def batch_of(codes=None):
    codes = np.full(len(ROWS), -1) if codes is None else codes
    return neural.Batch(torch.as_tensor(ROWS), torch.arange(len(ROWS)), torch.as_tensor(codes))


def projected_network(seed=0):
    return neural.build_projected(None, 48, 5, (6, 4), seed)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_objective_falls_when_views_of_rows_agree(name):
    network = projected_network()
    views = neural.OwnViews(lambda rows, random_state: (rows, rows), np.zeros(5), np.ones(5))
    apart = neural.OwnViews(lambda rows, random_state: (rows, rows[::-1].copy()), np.zeros(5), np.ones(5))
    with torch.no_grad():
        assert OBJECTIVES[name](views).loss(batch_of(), network) < OBJECTIVES[name](apart).loss(batch_of(), network)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_labels_draw_rows_of_a_class_together(name):
    rng = np.random.RandomState(0)
    codes = np.where(rng.rand(48) < 0.8, ROWS[:, 0] > 0, -1)
    spread = []
    for given in (np.full(48, -1), codes):
        trainer = make_trainer(ROWS, projected_network(), codes=given)
        trained = trainer.train([neural.Phase("a", OBJECTIVES[name](neural.Corruption(0.2)), 40, lr=5e-3)])
        Z = neural.apply_layers(trained.layers("encoder"), ROWS)
        means = np.stack([Z[codes == code].mean(axis=0) for code in range(2)])
        within = np.mean([Z[codes == code].var(axis=0).sum() for code in range(2)])
        spread.append(((means[0] - means[1]) ** 2).sum() / within)
    assert spread[1] > 1.5 * spread[0]


def test_one_label_hardly_changes_vicreg():
    views = neural.OwnViews(lambda rows, random_state: (rows, rows[::-1].copy()), np.zeros(5), np.ones(5))
    network, codes = projected_network(), np.full(48, -1)
    with torch.no_grad():
        without = OBJECTIVES["vicreg"](views).loss(batch_of(codes), network)
        codes[0] = 0
        assert_allclose(OBJECTIVES["vicreg"](views).loss(batch_of(codes), network), without, rtol=1e-6)


def test_negatives_of_group_ordering_are_never_of_the_own_class():
    network, codes = projected_network(), np.zeros(48, dtype=int)
    loss = OBJECTIVES["groco"](neural.Corruption(0.2)).loss(batch_of(codes), network)
    # One class only: there is nothing to be apart from.
    assert loss.item() == 0


def test_network_without_projector_is_refused():
    objective = OBJECTIVES["ntxent"](neural.Corruption(0.2))
    with pytest.raises(ValueError, match="NTXent requires a 'projector'"):
        make_trainer(ROWS, make_network()).train([neural.Phase("a", objective, 1)])


# Collapse


class AttractionOfViews(neural.NTXent):
    """NT-Xent, and with one positive GroCo, without negatives: the cosine of two views alone."""

    def loss(self, batch, network):
        first, second = (nn.functional.normalize(Z, dim=1) for Z in self.projections(batch.rows, network))
        return -(first * second).sum(dim=1).mean() / self.temperature


class AgreementOfViews(neural.VICReg):
    """VICReg without the terms that keep columns apart."""

    def __init__(self, views, X):
        super().__init__(views, X, variance=0.0, covariance=0.0)


def spread_after_training(kind, *settings):
    """Spread of the projections of normal rows: what share of their mean square is variance."""
    rows = np.random.RandomState(0).randn(128, 6).astype(np.float32)
    batch = neural.Batch(torch.as_tensor(rows), torch.arange(128), torch.full((128,), -1))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = nn.Sequential(nn.Linear(6, 32), nn.Tanh())
        network = nn.ModuleDict({"encoder": encoder, "projector": nn.Linear(32, 4)})
        objective = kind(neural.Corruption(0.3), rows, *settings)
        optimizer = torch.optim.Adam(network.parameters(), 1e-2)
        for _ in range(150):
            optimizer.zero_grad()
            objective.loss(batch, network).backward()
            optimizer.step()
        with torch.no_grad():
            projections = network["projector"](network["encoder"](batch.rows))
    return neural.spread(nn.functional.normalize(projections, dim=1).numpy())


@pytest.mark.parametrize(
    ("kind", "settings", "naive", "naive_settings"),
    [
        (neural.NTXent, (0.2,), AttractionOfViews, (0.2,)),
        (neural.GroupOrdering, (0.2, 10), AttractionOfViews, (0.2,)),
        # The nearest row alone is nearly a positive: to sort it behind the other view moves both to one place.
        (neural.GroupOrdering, (0.2, 10), neural.GroupOrdering, (0.2, 1)),
        (neural.VICReg, (), AgreementOfViews, ()),
    ],
)
def test_rows_stay_apart_where_the_naive_objective_collapses(kind, settings, naive, naive_settings):
    assert spread_after_training(kind, *settings) > 0.15
    assert spread_after_training(naive, *naive_settings) < 0.02
