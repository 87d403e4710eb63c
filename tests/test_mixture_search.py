"""Search for mixtures: starts, moves, and the number of components, against brute force and planted classes."""

from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

from sklearn_sslcluster.datasets import hide_classes, make_partially_labeled_blobs
from sklearn_sslcluster.engine import RowBlocks
from sklearn_sslcluster.metrics import category_discovery_accuracy, clustering_accuracy
from sklearn_sslcluster.mixture import SemiSupervisedGaussianMixture
from sklearn_sslcluster.numerics import mixture_fit, mixture_moves, mixture_order, mixture_search
from sklearn_sslcluster.numerics.center_fit import pose_problem
from sklearn_sslcluster.numerics.gaussians import Moments
from sklearn_sslcluster.numerics.mixture_search import MixtureTask
from sklearn_sslcluster.numerics.mixture_steps import MaximizationSettings

KINDS = pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
MOVABLE = pytest.mark.parametrize("kind", ["full", "diag", "spherical"])
STRETCH = {"full": [[0.6, -0.6], [-0.4, 0.8]], "tied": [[0.6, -0.6], [-0.4, 0.8]], "diag": [[3, 0], [0, 0.4]]}


@cache
def blobs(**parameters):
    return make_partially_labeled_blobs(**{"n_samples": 300, "labeled_fraction": 0.5, "random_state": 0} | parameters)


def task_of(X, y=None, kind="full", reg=0.1, **parameters):
    """Search on rows of which those with `y` >= 0 are labeled."""
    codes = np.full(len(X), -1, dtype=np.int32) if y is None else np.asarray(y, dtype=np.int32)
    source = RowBlocks(X, (codes, None), n_threads=1)
    problem = pose_problem(source, codes.max() + 1, np.random.RandomState(0), center=True)
    labeled = mixture_fit.labeled_moments(source, problem.anchors, kind, problem.frame.shift)
    settings = MaximizationSettings(kind, "unlabeled", np.full(X.shape[1], reg))
    return MixtureTask(problem, mixture_fit.sample_rows(problem, labeled, kind), settings, **parameters)


def free_classes(task, X, truth):
    """Classes of the rows of a task, which come in another order."""
    Z = task.rows.source.X + task.problem.frame.shift
    return truth[np.array([np.abs(X - row).sum(axis=1).argmin() for row in Z])]


def gaussian_of(Z, kind, reg):
    """Maximum likelihood Gaussian of rows, with regularization."""
    cov = np.atleast_2d(np.cov(Z.T, bias=True))
    if kind != "full":
        cov = np.diag(np.diagonal(cov) if kind == "diag" else np.full(len(cov), np.trace(cov) / len(cov)))
    return multivariate_normal(Z.mean(axis=0), cov + reg * np.eye(len(cov)))


def best_likelihood(Z, kind, reg):
    return gaussian_of(Z, kind, reg).logpdf(Z).sum() + len(Z) * np.log(len(Z))


def log_likelihood(Z, mixture):
    covariances = mixture.gaussians.full_covariances()
    parts = zip(mixture.gaussians.means, covariances, mixture.weights, strict=True)
    return logsumexp([multivariate_normal(*part[:2]).logpdf(Z) + np.log(part[2]) for part in parts], axis=0).sum()


@MOVABLE
def test_exchange_repairs_two_components_on_one_blob_and_one_on_two(kind):
    X, _, truth = blobs(n_known=0, n_novel=3)
    task = task_of(X, kind=kind)
    Z, classes = task.rows.source.X, free_classes(task, X, truth)
    codes = np.where(classes == 0, Z[:, 0] > np.median(Z[classes == 0, 0]), 2).astype(np.int32)
    stuck = task.run(mixture_fit.hard_mixture(task.rows, codes, 3, task.settings))
    moved = mixture_moves.exchange(task.rows, stuck, task.settings, np.random.RandomState(0))
    assert clustering_accuracy(classes, mixture_fit.component_codes(task.rows, stuck.mixture)) < 0.8
    assert clustering_accuracy(classes, mixture_fit.component_codes(task.rows, moved.mixture)) == 1
    assert moved.objective > stuck.objective


@MOVABLE
@pytest.mark.parametrize("seed", range(3))
def test_exchange_never_lowers_the_objective_nor_leaves_known_classes(kind, seed):
    X, y, _ = blobs(n_samples=150, class_sep=3, random_state=seed)
    task = task_of(X, y, kind)
    fit = task.run(mixture_search.start_mixture(task, 3, 0, seed), 3)
    moved = mixture_moves.exchange(task.rows, fit, task.settings, np.random.RandomState(seed), max_moves=3)
    assert moved.objective >= fit.objective
    assert moved.mixture.n_components == fit.mixture.n_components
    assert moved.mixture.weights.sum() == pytest.approx(1)
    value, _ = mixture_fit.expectation(task.rows, moved.mixture, task.settings)
    assert value == pytest.approx(moved.objective)
    nearest = np.abs(moved.mixture.gaussians.means[:3, None] - task.rows.labeled.means).sum(axis=2).argmin(axis=1)
    assert_array_equal(nearest, [0, 1, 2])


@MOVABLE
@pytest.mark.parametrize("reg", [0.0, 0.3])
@given(seed=st.integers(0, 1000))
def test_merge_losses_are_those_of_refitted_gaussians(kind, reg, seed):
    rng = np.random.RandomState(seed)
    # Seven free rows or more in each group: the reference knows no singular covariances.
    Z, y = rng.normal(size=(90, 2)), np.repeat([0, 1, -1], 30)
    codes = np.concatenate([rng.randint(4, size=60), rng.permutation(np.arange(30) % 4)])
    Z += rng.normal(size=(4, 2))[codes]
    task = task_of(Z, y, kind, reg)
    groups = free_classes(task, Z, codes)
    free = mixture_fit.partition_moments(task.rows, groups.astype(np.int32), 4, kind)
    losses = mixture_moves.merge_losses(free, task.rows.labeled, task.settings)
    members = [np.vstack([Z[(y < 0) & (codes == k)], Z[y == k]]) for k in range(4)]
    for a in range(4):
        for b in range(4):
            if a >= b or b < 2:
                assert losses[a, b] == np.inf
                continue
            alone = best_likelihood(members[a], kind, reg) + best_likelihood(members[b], kind, reg)
            union = best_likelihood(np.vstack([members[a], members[b]]), kind, reg)
            assert losses[a, b] == pytest.approx(alone - union)


@MOVABLE
def test_split_of_a_component_on_two_blobs_finds_the_blobs(kind):
    X, _, truth = blobs(n_known=0, n_novel=3)
    task = task_of(X, kind=kind)
    classes = free_classes(task, X, truth)
    Z, members = task.rows.source.X, np.flatnonzero(classes < 2)
    split = mixture_moves.propose_split(task.rows, members, 5, task.settings, np.random.RandomState(0))
    centers = np.array([Z[classes == k].mean(axis=0) for k in range(2)])
    assert split.component == 5
    assert_allclose(np.sort(split.halves.gaussians.means, axis=0), np.sort(centers, axis=0), atol=0.01)
    gain = log_likelihood(Z[members], split.halves) - gaussian_of(Z[members], kind, 0.1).logpdf(Z[members]).sum()
    assert split.gain == pytest.approx(gain)


@MOVABLE
@pytest.mark.parametrize("known", [0, 1])
def test_labeled_rows_stay_in_the_first_half(kind, known):
    X, _, truth = blobs(n_known=0, n_novel=2)
    y = np.where((truth == known) & (np.arange(len(X)) % 3 == 0), 0, -1)
    task = task_of(X, y, kind)
    members = np.arange(task.rows.source.n_rows)
    split = mixture_moves.propose_split(task.rows, members, 0, task.settings, np.random.RandomState(0))
    centers = [X[truth == k].mean(axis=0) - task.problem.frame.shift for k in (known, 1 - known)]
    assert_allclose(split.halves.gaussians.means, centers, atol=0.01)


@pytest.mark.parametrize("n_members", [0, 1, 2, 3])
def test_few_or_equal_rows_are_cut_only_where_they_differ(n_members):
    task = task_of(np.array([[0.0, 0], [1, 1], [5, 5]]))
    split = mixture_moves.propose_split(task.rows, np.arange(n_members), 0, task.settings, np.random.RandomState(0))
    assert (split is None) == (n_members < 2)


@MOVABLE
def test_divided_and_joined_change_only_the_components_they_name(kind):
    X, y, _ = blobs()
    task = task_of(X, y, kind)
    fit = task.run(mixture_search.start_mixture(task, 2, 0, 0))
    splits = mixture_moves.propose_splits(task.rows, fit.mixture, task.settings, np.random.RandomState(0))
    assert sorted(split.component for split in splits) == [0, 1, 2, 3, 4]
    assert [split.gain for split in splits] == sorted((split.gain for split in splits), reverse=True)
    split = next(split for split in splits if split.component == 3)
    old, shares = fit.mixture, fit.mixture.weights[3] * split.halves.weights
    more = mixture_moves.divided(old, split)
    assert_allclose(more.weights, [*old.weights[:3], shares[0], old.weights[4], shares[1]])
    assert_allclose(more.gaussians.means[[3, 5]], split.halves.gaussians.means)
    assert_allclose(more.gaussians.covariances[[0, 1, 2, 4]], old.gaussians.covariances[[0, 1, 2, 4]])
    fewer = mixture_moves.joined(old, fit.moments, task.rows.labeled, (1, 3), task.settings)
    assert_allclose(fewer.weights, [old.weights[0], old.weights[1] + old.weights[3], old.weights[2], old.weights[4]])
    assert_allclose(fewer.gaussians.means[[0, 2, 3]], old.gaussians.means[[0, 2, 4]])
    codes = mixture_fit.component_codes(task.rows, old)
    union = np.vstack([task.rows.source.X[np.isin(codes, [1, 3])], X[y == 1] - task.problem.frame.shift])
    expected = gaussian_of(union, kind, 0.1)
    assert_allclose(fewer.gaussians.means[1], expected.mean, atol=0.01)
    assert_allclose(fewer.gaussians.full_covariances()[1], expected.cov, rtol=0.01, atol=0.05)


def test_best_fits_come_in_order_and_ties_by_age():
    fits = [SimpleNamespace(value=value, age=age) for age, value in enumerate([1.0, 3.0, 2.0, 3.0 + 1e-12, -np.inf])]

    def best(n_best):
        return [fit.age for fit in mixture_search.best_fits(fits, lambda fit: fit.value, n_best)]

    assert best(1) == [1]
    assert best(3) == [1, 3, 2]
    assert sorted(best(9)) == [0, 1, 2, 3, 4]


def test_infinite_score_is_the_best():
    fits = [SimpleNamespace(value=value) for value in (1.0, np.inf, 2.0)]
    assert mixture_search.best_fits(fits, lambda fit: fit.value)[0].value == np.inf


@KINDS
@pytest.mark.parametrize("init", mixture_search.INITS)
def test_starts_have_the_known_classes_and_at_most_the_distinct_rows(kind, init):
    X, y = np.repeat([[0.0, 0], [5, 1], [9, 9], [0, 7]], 10, axis=0), np.repeat([0, 1, -1, -1], 10)
    task = task_of(X, y, kind, init=init)
    start = mixture_search.start_mixture(task, 6, 0, 0)
    assert start.n_components == 4
    expected = [[0, 0], [5, 1], [0, 7], [9, 9]]
    means = start.gaussians.means + task.problem.frame.shift
    assert_allclose(means[:2], expected[:2], atol=1e-9)
    assert_allclose(sorted(means[2:].tolist()), expected[2:], atol=1e-9)


@KINDS
def test_best_of_starts_is_no_worse_than_any_start_by_the_score(kind):
    (X, y, _), seen = blobs(class_sep=3), []
    task = task_of(X, y, kind, n_init=3, score=lambda fit: -fit.objective)
    fits = mixture_search.best_of_starts(task, 2, np.random.RandomState(0), lambda m, v: seen.append(v))
    assert len(seen) == len(fits) == 3
    assert [-fit.objective for fit in fits] == sorted((-fit.objective for fit in fits), reverse=True)
    assert fits[0].objective == min(fit.objective for fit in fits)


@KINDS
def test_within_variances_are_those_about_the_classes(kind):
    X, y, truth = blobs()
    task = task_of(X, y, kind)
    codes = np.where(y < 0, truth, y)
    fit = task.run(mixture_search.start_mixture(task, 2, 0, 0))
    expected = sum(X[codes == k].var(axis=0) * (codes == k).sum() for k in range(5)) / len(X)
    expected = np.full(len(expected), expected.mean()) if kind == "spherical" else expected
    assert_allclose(mixture_search.within_variances(task.rows, fit, kind), expected, rtol=1e-3)


@KINDS
def test_without_regularization_every_parameter_of_a_component_counts(kind):
    X = np.random.RandomState(0).normal(size=(60, 4)) * [1, 2, 3, 4]
    task = task_of(X, None, kind, reg=0.0)
    moments = mixture_fit.partition_moments(task.rows, np.arange(60, dtype=np.int32) % 2, 2, kind)
    nominal = {"full": 4 + 10, "tied": 4, "diag": 8, "spherical": 5}[kind]
    assert_allclose(mixture_order.effective_parameters(moments, task.settings), nominal)


@MOVABLE
def test_variances_as_large_as_the_regularization_count_half(kind):
    scatter = {"full": 20 * np.eye(3)[None], "diag": np.full((1, 3), 20.0), "spherical": np.array([60.0])}[kind]
    settings = MaximizationSettings(kind, "all", np.full(3, 2.0))
    moments = Moments(np.array([10.0]), np.zeros((1, 3)), scatter)
    # Half of each mean, and of each entry of the covariance the product of two halves.
    expected = 1.5 + {"full": 6, "diag": 3, "spherical": 1}[kind] / 4
    assert_allclose(mixture_order.effective_parameters(moments, settings), [expected])


def squares(n_known, n_novel):
    """Classes that are uniform squares, no Gaussians, with labels on every other row of the known ones."""
    rng, truth = np.random.RandomState(0), np.repeat(np.arange(n_known + n_novel), 70)
    X = rng.uniform(-1, 1, size=(len(truth), 2)) + 4 * np.column_stack([truth % 3, truth // 3])
    return X, np.where((truth < n_known) & (np.arange(len(X)) % 2 == 0), truth, -1), truth


@MOVABLE
def test_penalty_lies_between_splitting_a_class_and_joining_two(kind):
    X, y, truth = squares(4, 2)
    task = task_of(X, y, kind, reg=1e-3)
    fit = task.run(mixture_search.start_mixture(task, 2, 0, 0))
    calibration = mixture_order.calibration_rows(task, np.random.RandomState(0))
    penalty = mixture_order.component_penalty(task, fit, calibration, np.random.RandomState(0))
    within, between = [], []
    for k in range(4):
        own = X[truth == k]
        one, two = (
            GaussianMixture(n, covariance_type=kind, reg_covar=1e-3, n_init=5, random_state=0).fit(own) for n in (1, 2)
        )
        within.append((two.score(own) - one.score(own)) * len(own))
        for other in range(k):
            rest = X[truth == other]
            alone = best_likelihood(own, kind, 1e-3) + best_likelihood(rest, kind, 1e-3)
            between.append(alone - best_likelihood(np.vstack([own, rest]), kind, 1e-3))
    assert 0.9 * np.median(within) < penalty < min(between)


@MOVABLE
@pytest.mark.parametrize("n_novel", [0, 2])
def test_sweep_prefers_the_planted_number(kind, n_novel):
    X, y, truth = squares(3, n_novel)
    task = task_of(X, y, kind, reg=0.02, n_init=2)
    fits, scores = mixture_order.sweep(task, list(range(3, 6 + n_novel)), np.random.RandomState(0))
    assert max(scores, key=scores.get) == 3 + n_novel
    assert list(fits) == list(scores) == list(range(3, 3 + len(fits)))
    codes = mixture_fit.component_codes(task.rows, fits[3 + n_novel].mixture)
    assert clustering_accuracy(free_classes(task, X, truth), codes) > 0.98


def test_sweep_stops_when_told_and_when_numbers_get_worse():
    X, y, _ = blobs()
    task = task_of(X, y, "spherical", n_init=1)
    assert 5 <= max(mixture_order.sweep(task, list(range(3, 30)), np.random.RandomState(0))[0]) < 12
    fits, _ = mixture_order.sweep(task, list(range(3, 30)), np.random.RandomState(0), lambda mixture, value: True)
    assert list(fits) == [3]


@KINDS
@pytest.mark.parametrize("n_novel", [0, 1, 3])
def test_auto_finds_the_number_of_novel_classes(kind, n_novel):
    X, y, truth = blobs(n_novel=n_novel)
    X = X @ STRETCH.get(kind, np.eye(2))
    model = SemiSupervisedGaussianMixture(covariance_type=kind, k_max=5 + n_novel, n_init=1, random_state=0).fit(X, y)
    assert len(model.novel_classes_) == n_novel
    assert clustering_accuracy(truth, model.labels_) > 0.98


def digits(seed, **parameters):
    """Fit to digits, five classes known by lot and half of their rows labeled; and its accuracy on the others."""
    X, truth = load_digits(return_X_y=True)
    y = hide_classes(truth, n_novel=5, labeled_fraction=0.5, random_state=seed)
    X = PCA(32, random_state=0).fit_transform(X / 16)
    model = SemiSupervisedGaussianMixture(n_init=2, random_state=0, **parameters).fit(X, y)
    return model, category_discovery_accuracy(truth[y == -1], model.labels_[y == -1], y).all


@pytest.mark.parametrize("seed", [1, 2])
def test_digits_are_found_with_their_number_known(seed):
    assert digits(seed, n_components=10)[1] >= 0.9


def test_digits_and_their_number_are_found():
    model, accuracy = digits(1, k_max=12)
    assert 9 <= model.n_components_ <= 11
    assert accuracy >= 0.85


@pytest.mark.parametrize("axis", [0, 1])
def test_callable_selection_chooses_between_partitions_as_likely(axis):
    rng = np.random.RandomState(0)
    X = np.repeat([[0.0, 0], [0, 9], [9, 0], [9, 9]], 40, axis=0) + rng.normal(size=(160, 2))

    def selection(rows, codes):
        return -sum(np.ptp(rows[codes == code][:, axis]) for code in np.unique(codes))

    model = SemiSupervisedGaussianMixture(2, selection=selection, n_init=10, random_state=0).fit(X)
    assert clustering_accuracy(X[:, axis] > 4.5, model.labels_) == 1


def test_labeled_selection_takes_the_start_that_explains_the_labels_best():
    X, t = load_digits(n_class=6, return_X_y=True)
    X, y = PCA(8, random_state=0).fit_transform(X), hide_classes(t, n_novel=3, labeled_fraction=0.3, random_state=0)

    def agreement(seed, n_init):
        model = SemiSupervisedGaussianMixture(6, reg_covar=1.0, selection="labeled", n_init=n_init, random_state=seed)
        proba = model.fit(X, y).predict_proba(X[y >= 0])
        return np.log(proba[np.arange(len(proba)), np.searchsorted(model.classes_[:3], y[y >= 0])] + 1e-300).mean()

    # The first start of three is the only one of one, and all of three are finished.
    gains = np.array([agreement(seed, 3) - agreement(seed, 1) for seed in range(4)])
    assert (gains >= -1e-9).all()
    assert gains.max() > 1e-6


@pytest.mark.parametrize("init", ["ss-kmeans", "k-means++", "random"])
def test_classes_are_found_from_any_init(init):
    X, y, truth = blobs()
    model = SemiSupervisedGaussianMixture(5, init=init, n_init=10, random_state=0).fit(X, y)
    assert clustering_accuracy(truth, model.labels_) > 0.99


WRONG_STARTS = {
    "weights_init": [[0.5, 0.5], [0.3] * 5, [-0.5, 0.5, 0.5, 0.5, 0], [np.nan] * 5],
    "means_init": [np.zeros((1, 2)), np.zeros((4, 3)), np.full((5, 2), np.inf), [["a", "b"]] * 5],
    "precisions_init": [-np.ones((5, 2, 2)), np.ones((5, 2)), [[[1, 0], [0.4, 1]]] * 5],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in WRONG_STARTS for value in WRONG_STARTS[name]])
def test_wrong_start_is_refused_naming_the_parameter(name, value):
    X, y, _ = blobs()
    with pytest.raises(ValueError, match=name):
        SemiSupervisedGaussianMixture(**{name: value}).fit(X, y)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_warm_start_goes_on_where_the_last_fit_ended():
    X, y, _ = blobs(class_sep=3)
    given = {"means_init": X[[0, 1, 2, 3, 4]], "tol": 0.0, "reg_covar": 1e-9}
    whole = SemiSupervisedGaussianMixture(5, max_iter=30, **given).fit(X, y)
    model = SemiSupervisedGaussianMixture(5, max_iter=10, **given).fit(X, y)
    model.set_params(warm_start=True, means_init=None, max_iter=20).fit(X, y)
    assert_allclose(model.lower_bounds_, whole.lower_bounds_[10:])
    assert_allclose(model.means_, whole.means_)


@KINDS
@pytest.mark.parametrize("name", [4, 9], ids=["its name", "another name"])
def test_warm_start_takes_in_a_novel_class_that_became_known(kind, name):
    X, y, truth = blobs()
    model = SemiSupervisedGaussianMixture(5, covariance_type=kind, warm_start=True, n_init=4, random_state=0).fit(X, y)
    before, was = model.labels_, 4 if name == 4 else 3
    assert clustering_accuracy(truth, before) > 0.99
    model.fit(X, np.where((before == was) & (np.arange(len(y)) % 2 == 0), name, y))
    assert model.classes_[:4].tolist() == [0, 1, 2, name]
    assert clustering_accuracy(before, model.labels_) == 1
    assert_array_equal(model.labels_ == name, before == was)
