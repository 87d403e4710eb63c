"""Split and merge moves by the marginal likelihood, and the mixture that makes them."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import gammaln
from scipy.stats import multivariate_t
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from sklearn_sslcluster.datasets import hide_classes, make_partially_labeled_blobs
from sklearn_sslcluster.metrics import category_discovery_accuracy, clustering_accuracy
from sklearn_sslcluster.mixture import SplitMergeGaussianMixture, _split_merge
from sklearn_sslcluster.numerics.gaussians import Moments, NormalInverseWishart, add_moments, subtract_moments
from sklearn_sslcluster.numerics.mixture_steps import padded
from sklearn_sslcluster.numerics.split_merge import (
    SplitMergeRun,
    log_joint,
    log_merge_ratio,
    log_split_ratio,
)

SEEDS = st.integers(0, 10**6)
CONCENTRATIONS = st.floats(1e-3, 1e3)
PRIOR = NormalInverseWishart(np.array([0.5, -1.0, 0.2]), 0.7, 4.5, np.array([[2, 0.5, 0], [0.5, 1, 0.1], [0, 0.1, 3]]))


def moments_of(groups):
    means = np.array([X.mean(axis=0) for X in groups])
    scatter = np.array([(X - mean).T @ (X - mean) for X, mean in zip(groups, means, strict=True)])
    return Moments(np.array([float(len(X)) for X in groups]), means, scatter)


def log_marginal_chain(X):
    """Log marginal likelihood of rows as a chain of Student-t densities, each of a row given those before."""
    mean, strength, dof, scale = PRIOR.mean, PRIOR.mean_strength, PRIOR.dof, PRIOR.scale
    total = 0.0
    for x in X:
        freedom = dof - len(mean) + 1
        total += multivariate_t(mean, scale * (strength + 1) / (strength * freedom), df=freedom).logpdf(x)
        scale = scale + strength / (strength + 1) * np.outer(x - mean, x - mean)
        mean, strength, dof = (strength * mean + x) / (strength + 1), strength + 1, dof + 1
    return total


def two_groups(seed):
    rng = np.random.RandomState(seed)
    return [rng.normal(size=(n, 3)) + rng.normal(size=3) for n in rng.randint(1, 9, size=2)]


@cache
def blobs(**parameters):
    """(rows, partial labels, classes): three known and two novel classes."""
    return make_partially_labeled_blobs(**{"n_samples": 200, "labeled_fraction": 0.5, "random_state": 0} | parameters)


@cache
def fitted(n_components_init="auto", **parameters):
    X, y, _ = blobs()
    return SplitMergeGaussianMixture(n_components_init, random_state=0, **{"n_init": 1} | parameters).fit(X, y)


@cache
def overlapping():
    """Four classes, two known, of which some pairs overlap so much that their number is in doubt."""
    return blobs(n_samples=150, n_known=2, class_sep=2.6)


class Recorded(SplitMergeRun):
    """A run that remembers its start."""

    def run(self, start):
        first = self.without_empty(self.task.run(start))
        self.first, self.start_joint = first, self.joint(first.mixture)
        self.best, self.best_joint = super().run(start)
        RUNS.append(self)
        return self.best, self.best_joint


RUNS = []


@pytest.fixture
def runs(monkeypatch):
    monkeypatch.setattr(_split_merge, "SplitMergeRun", Recorded)
    RUNS.clear()
    return RUNS


@given(seed=SEEDS, concentration=CONCENTRATIONS)
def test_split_ratio_is_the_formula_with_a_chain_of_student_densities(seed, concentration):
    first, second = two_groups(seed)
    both = np.vstack([first, second])
    expected = np.log(concentration) - gammaln(len(both)) - log_marginal_chain(both)
    expected += sum(gammaln(len(X)) + log_marginal_chain(X) for X in (first, second))
    found = log_split_ratio(moments_of([first, second]), moments_of([both]), PRIOR, concentration)
    assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@given(seed=SEEDS, concentration=CONCENTRATIONS)
def test_merge_ratio_is_that_of_the_split_undone(seed, concentration):
    groups = two_groups(seed)
    split = log_split_ratio(moments_of(groups), moments_of([np.vstack(groups)]), PRIOR, concentration)
    assert_allclose(log_merge_ratio(moments_of(groups), PRIOR, concentration), -split, rtol=1e-9, atol=1e-9)


@given(seed=SEEDS, concentration=CONCENTRATIONS)
def test_log_joint_changes_by_the_ratio_of_a_merge(seed, concentration):
    rest = np.random.RandomState(seed + 1).normal(size=(4, 3))
    first, second = two_groups(seed)
    before = log_joint(moments_of([first, rest, second]), PRIOR, concentration)
    after = log_joint(moments_of([np.vstack([first, second]), rest]), PRIOR, concentration)
    ratio = log_merge_ratio(moments_of([first, second]), PRIOR, concentration)
    assert_allclose(after - before, ratio, rtol=1e-9, atol=1e-9)


def test_taking_labeled_rows_out_undoes_adding_them():
    rng = np.random.RandomState(0)
    free, labeled = (moments_of([rng.normal(size=(n, 3)) + n for n in sizes]) for sizes in ((5, 8, 3), (4, 1)))
    whole = add_moments("full", free, padded("full", labeled, 3))
    found = subtract_moments("full", whole, padded("full", labeled, len(whole.weight)))
    for name in ("weight", "means", "scatter"):
        assert_allclose(getattr(found, name), getattr(free, name), atol=1e-10, err_msg=name)


@pytest.mark.parametrize("n_init", [3, 8])
def test_greedy_moves_raise_the_ratio_and_count_their_components(n_init):
    model = fitted(n_init)
    assert model.history_
    n_components = model.history_[0]["n_components"] + (1 if model.history_[0]["move"] == "merge" else -1)
    assert n_components == n_init
    for move in model.history_:
        assert move["log_ratio"] > 0
        assert max(move["components"]) < n_components
        n_components += 1 if move["move"] == "split" else -1
        assert move["n_components"] == n_components
        if move["move"] == "merge":
            assert 3 <= move["components"][1] > move["components"][0]
    assert n_components == model.n_components_
    assert [move["round"] for move in model.history_] == sorted(move["round"] for move in model.history_)


def test_known_classes_stay_in_their_places():
    X, y, _ = blobs()
    for model in (fitted(8), fitted(3), fitted("auto", acceptance="metropolis", max_rounds=4)):
        assert_array_equal(model.classes_[:3], [0, 1, 2])
        assert_array_equal(model.labels_[y >= 0], y[y >= 0])
        for k in range(3):
            assert np.abs(model.means_[k] - X[y == k].mean(axis=0)).max() < 1.0


def test_two_known_classes_in_one_place_are_not_merged():
    rng = np.random.RandomState(0)
    y = np.where(rng.uniform(size=120) < 0.5, np.arange(120) % 2, -1)
    model = SplitMergeGaussianMixture(random_state=0, n_init=1).fit(rng.normal(size=(120, 2)), y)
    assert_array_equal(model.classes_[:2], [0, 1])
    assert not any(max(move["components"]) < 2 for move in model.history_ if move["move"] == "merge")


def test_without_absorb_no_merge_touches_a_known_class():
    moves = fitted(8, absorb=False).history_
    assert all(min(move["components"]) >= 3 for move in moves if move["move"] == "merge")
    assert any(min(move["components"]) < 3 for move in fitted(8).history_ if move["move"] == "merge")


@pytest.mark.parametrize("acceptance", ["greedy", "metropolis"])
def test_a_run_never_ends_with_a_less_probable_partition_than_it_began_with(runs, acceptance):
    X, y, _ = overlapping()
    model = SplitMergeGaussianMixture(6, acceptance=acceptance, max_rounds=4, n_init=2, random_state=0).fit(X, y)
    assert len(runs) == 2
    assert_allclose(model.log_joint_, max(run.best_joint for run in runs), rtol=1e-9)
    for run in runs:
        assert run.best_joint >= run.start_joint
        assert_allclose(run.joint(run.best.mixture), run.best_joint, rtol=1e-10)


def test_moves_of_a_run_have_the_ratios_of_their_groups(runs):
    X, y, _ = blobs()
    SplitMergeGaussianMixture(9, n_init=1, random_state=0).fit(X, y)
    (run,) = runs
    run.history.clear()
    groups = run.groups(run.first.mixture)
    run.merges(run.first, 0)
    assert run.history
    for move in run.history:
        pair = groups.subset(list(move.components))
        expected = log_merge_ratio(pair, run.settings.prior, run.settings.concentration)
        assert_allclose(move.log_ratio, expected, rtol=1e-9)
    assert_allclose(run.start_joint, log_joint(groups, run.settings.prior, 1.0), rtol=1e-12)


@pytest.mark.parametrize("acceptance", ["greedy", "metropolis"])
def test_more_rounds_never_give_a_less_probable_partition(acceptance):
    X, y, _ = overlapping()
    joints = [
        SplitMergeGaussianMixture(7, acceptance=acceptance, max_rounds=n, n_init=1, random_state=0).fit(X, y).log_joint_
        for n in (1, 4)
    ]
    assert joints == sorted(joints)


@pytest.mark.parametrize("acceptance", ["greedy", "metropolis"])
@pytest.mark.parametrize("n_init", ["auto", 3, 9])
def test_planted_classes_are_found_from_fewer_and_more_components(n_init, acceptance):
    X, _, truth = blobs()
    model = fitted(n_init, acceptance=acceptance, max_rounds=4)
    assert model.n_components_ == 5
    assert clustering_accuracy(truth, model.predict(X)) == 1


def test_a_seed_repeats_the_walk():
    X, y, _ = overlapping()
    one, other = (
        SplitMergeGaussianMixture(5, acceptance="metropolis", max_rounds=2, n_init=1, random_state=4).fit(X, y)
        for _ in range(2)
    )
    assert one.history_ == other.history_
    assert_array_equal(one.means_, other.means_)


def test_concentration_raises_the_number_of_components():
    X, y, _ = overlapping()
    found = [
        SplitMergeGaussianMixture(4, concentration=concentration, n_init=1, random_state=0).fit(X, y).n_components_
        for concentration in (1e-30, 1e30)
    ]
    assert found[0] < found[1]


def test_k_max_bounds_the_components():
    X, y, _ = blobs()
    assert SplitMergeGaussianMixture(3, k_max=4, n_init=1, random_state=0).fit(X, y).n_components_ == 4


def test_a_prior_can_be_given():
    X, y, _ = blobs()
    prior = {"mean": X.mean(axis=0), "mean_strength": 0.1, "dof": 12, "scale": 9 * np.eye(2)}
    assert SplitMergeGaussianMixture(prior=prior, n_init=1, random_state=0).fit(X, y).n_components_ == 5


@pytest.mark.parametrize(
    ("prior", "named"),
    [({"kappa": 1}, "kappa"), ({"dof": 0}, "dof"), ({"scale": -np.eye(2)}, "scale"), ({"mean": [0]}, "mean")],
)
def test_a_bad_prior_is_refused_by_its_entry(prior, named):
    X, y, _ = blobs()
    with pytest.raises(ValueError, match=named):
        SplitMergeGaussianMixture(prior=prior).fit(X, y)


def test_repeating_all_rows_changes_nothing():
    # pull on the covariances shrinks with repetition; the partition and log_joint_ follow.
    X, y, _ = overlapping()
    one = SplitMergeGaussianMixture(6, n_init=1, random_state=0).fit(X, y)
    many = SplitMergeGaussianMixture(6, n_init=1, random_state=0).fit(np.tile(X, (3, 1)), np.tile(y, 3))
    assert [move["components"] for move in many.history_] == [move["components"] for move in one.history_]
    assert_array_equal(many.labels_[: len(X)], one.labels_)
    assert_allclose(many.log_joint_, one.log_joint_, rtol=1e-8)
    assert_allclose(many.means_, one.means_, rtol=1e-6, atol=1e-8)
    assert_allclose(many.covariances_, one.covariances_, rtol=1e-6, atol=1e-8)


def test_classes_are_found_without_labels():
    X, _, truth = blobs()
    model = SplitMergeGaussianMixture(n_init=1, random_state=0).fit(X)
    assert model.is_novel_.tolist() == [True] * 5
    assert clustering_accuracy(truth, model.labels_) == 1


def test_labels_need_not_be_contiguous():
    X, y, _ = blobs()
    values = np.array([70, 10, 20])
    model = SplitMergeGaussianMixture(n_init=1, random_state=0).fit(X, np.where(y >= 0, values[y], -1))
    assert_array_equal(model.classes_, [10, 20, 70, 71, 72])
    assert_array_equal(model.means_[[2, 0, 1]], fitted().means_[:3])


def test_equal_rows_leave_no_empty_components():
    X = np.repeat(np.random.RandomState(0).normal(size=(4, 2)), 10, axis=0)
    model = SplitMergeGaussianMixture(12, n_init=1, random_state=0).fit(X)
    assert model.n_components_ <= 4
    assert np.isfinite(model.covariances_).all()


def test_digits_are_discovered():
    X, truth = load_digits(return_X_y=True)
    known = np.arange(5)
    y = hide_classes(truth, novel_classes=np.arange(5, 10), labeled_fraction=0.5, random_state=0)
    model = SplitMergeGaussianMixture(n_init=1, random_state=0).fit(PCA(16, random_state=0).fit_transform(X), y)
    free = y == -1
    assert 8 <= model.n_components_ <= 16
    assert category_discovery_accuracy(truth[free], model.labels_[free], known).all >= 0.75
