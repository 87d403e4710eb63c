"""ProbabilisticPartitivePartitioning: parts that a mixture confirms, repeatability, separability."""

from dataclasses import replace
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.stats import multivariate_normal, norm
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, make_blobs
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score

import sklearn_sslcluster.mixture._partitive as partitive
from sklearn_sslcluster.mixture import ProbabilisticPartitivePartitioning
from sklearn_sslcluster.mixture._fit_tools import pose
from sklearn_sslcluster.mixture._repeats import most_typical
from sklearn_sslcluster.numerics.mixture_parts import (
    agreements,
    divide,
    division_gains,
    fit_parts,
    merge_unconfirmed,
    part_settings,
)


def separated_blobs(n_blobs, n_rows=300, n_features=4, seed=0, distance=7.0):
    """Spherical blobs of standard deviation 1 whose centers lie at least `distance` apart."""
    random_state = np.random.RandomState(seed)
    centers = np.full((n_blobs, n_features), 0.0)
    while np.min([np.linalg.norm(a - b) for a, b in combinations(centers, 2)], initial=np.inf) < distance:
        centers = random_state.uniform(-4 * distance / 3, 4 * distance / 3, (n_blobs, n_features))
    return make_blobs(n_rows, centers=centers, random_state=seed)


def fitted(X, y=None, **parameters):
    parameters = {"n_repeats": 2, "random_state": 0} | parameters
    return ProbabilisticPartitivePartitioning(**parameters).fit(X, y)


def task_of(X, y=None, **parameters):
    """Task of a fit, and rows, part and weight as the parts are judged by: the distinct free rows."""
    model = ProbabilisticPartitivePartitioning(**parameters)
    random_state = np.random.RandomState(0)
    return model._task(pose(model, X, y, None, random_state), random_state)


@pytest.mark.parametrize("n_blobs", [3, 4, 5, 6, 7, 8])
def test_finds_the_planted_blobs_without_a_number(n_blobs):
    X, truth = separated_blobs(n_blobs, seed=n_blobs)
    model = fitted(X)
    assert model.n_clusters_ == n_blobs
    assert adjusted_rand_score(truth, model.labels_) == 1


@pytest.mark.parametrize("n_features", [1, 2, 20])
def test_one_gaussian_is_one_class(n_features):
    X = np.random.RandomState(3).normal(size=(300, n_features))
    assert fitted(X).n_clusters_ == 1


def test_an_elongated_gaussian_is_one_class():
    X = np.random.RandomState(0).normal(size=(500, 2)) * [30, 1]
    assert fitted(X).n_clusters_ == 1


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_every_covariance_type_finds_the_planted_blobs(kind):
    X, truth = separated_blobs(4)
    model = fitted(X, covariance_type=kind)
    assert adjusted_rand_score(truth, model.labels_) == 1
    assert model.covariances_.shape == {"full": (4, 4, 4), "tied": (4, 4), "diag": (4, 4), "spherical": (4,)}[kind]


def test_more_features_than_rows_a_class():
    X, truth = separated_blobs(4, n_rows=100, n_features=50)
    assert adjusted_rand_score(truth, fitted(X).labels_) == 1


def test_overlapping_digits_do_not_collapse():
    X, truth = load_digits(return_X_y=True)
    X = PCA(16, random_state=0).fit_transform(X / 16)
    model = fitted(X)
    assert 9 <= model.n_clusters_ <= 15
    by_kmeans = KMeans(10, n_init=10, random_state=0).fit_predict(X)
    assert adjusted_rand_score(truth, model.labels_) > adjusted_rand_score(truth, by_kmeans) + 0.05


def test_k_max_caps_the_number_of_classes():
    X, _ = separated_blobs(5)
    assert [fitted(X, k_max=k).n_clusters_ for k in (1, 3, 5, 9)] == [1, 3, 5, 5]


def test_as_many_classes_as_parts_at_most():
    X, _ = separated_blobs(5)
    models = [fitted(X, n_parts=n_parts) for n_parts in (1, 2, 12)]
    assert [model.n_parts_ for model in models] == [1, 2, 12]
    assert [model.n_clusters_ for model in models] == [1, 2, 5]


def test_a_higher_agreement_wants_classes_further_apart():
    random_state = np.random.RandomState(0)
    X = np.concatenate([random_state.normal(center, size=400) for center in (0, 4.5)])[:, None]
    assert [fitted(X, agreement=agreement).n_clusters_ for agreement in (0.0, 0.8, 0.9999)] == [2, 2, 1]


def test_all_unlabeled_rows_of_known_classes_give_no_new_class():
    X, truth = separated_blobs(4)
    y = np.where(np.arange(len(X)) % 3 == 0, truth, -1)
    model = fitted(X, y)
    assert len(model.novel_classes_) == 0
    np.testing.assert_array_equal(model.labels_, truth)


def test_one_new_class_beside_known_ones():
    X, truth = separated_blobs(4)
    y = np.where((np.arange(len(X)) % 3 == 0) & (truth < 3), truth, -1)
    model = fitted(X, y)
    assert model.novel_classes_.tolist() == [3]
    np.testing.assert_array_equal(model.labels_, truth)


def test_two_known_classes_are_never_merged():
    """Not even where their rows come from one Gaussian, which without labels is one class."""
    X = np.random.RandomState(0).normal(size=(200, 2))
    y = np.where(np.arange(200) < 100, np.arange(200) % 2, -1)
    assert fitted(X).n_clusters_ == 1
    model = fitted(X, y, agreement=1.0, k_max=1)
    assert model.classes_.tolist() == [0, 1]
    np.testing.assert_array_equal(model.labels_[:100], y[:100])


def test_a_novel_part_may_become_part_of_a_known_class():
    X, _ = separated_blobs(3)
    y = np.full(len(X), -1)
    y[0] = 0
    task = task_of(X, y)
    codes, n_parts = divide(task, 20, seed=0)
    _, n_left = merge_unconfirmed(task, codes, n_parts)
    assert n_parts == 21
    assert n_left == 3


def test_all_rows_labeled():
    X, truth = separated_blobs(3)
    with pytest.warns(UserWarning, match="Every row is labeled"):
        model = fitted(X, truth)
    assert model.n_clusters_ == model.n_parts_ == 3
    np.testing.assert_array_equal(model.predict(X), truth)


def log_likelihood(X, mean, covariance):
    return multivariate_normal(mean, covariance).logpdf(X).sum()


def test_gain_of_a_division_is_a_difference_of_likelihoods_less_a_penalty():
    X, truth = make_blobs([30, 70], 3, centers=[[0, 0, 0], [2, 1, 0]], random_state=0)
    task = task_of(X, reg_covar=0.0)
    order = task.problem.sample.rows
    gain = division_gains(task, truth[order].astype(np.int32), 2)[0, 1]
    sides = [X[truth == k] for k in (0, 1)]
    within = sum(len(side) * np.cov(side.T, bias=True) for side in sides) / len(X)
    apart = sum(log_likelihood(side, side.mean(axis=0), within) + len(side) * np.log(len(side) / 100) for side in sides)
    whole = log_likelihood(X, X.mean(axis=0), np.cov(X.T, bias=True))
    np.testing.assert_allclose(gain, apart - whole - (3 + 1) / 2 * np.log(100), rtol=1e-7)


@pytest.mark.parametrize("kind", ["full", "tied", "dense diag", "diag", "spherical"])
def test_gain_with_regularization(kind):
    """Likelihood of rows under the regularized Gaussian; each feature has a ridge of its own."""
    X, truth = make_blobs([40, 60], 3, centers=[[0, 0, 0], [2, 1, 0]], random_state=1)
    X *= [1, 5, 0.1]
    simple = kind in ("diag", "spherical")
    task = task_of(csr_matrix(X) if simple else X, covariance_type=kind.removeprefix("dense "))
    gain = division_gains(task, truth[task.problem.sample.rows].astype(np.int32), 2)[0, 1]
    sides = [X[truth == k] for k in (0, 1)]
    within = sum(len(side) * np.cov(side.T, bias=True) for side in sides) / 100
    if kind == "diag":
        within = np.diag(np.diag(within))
    elif kind == "spherical":
        within = np.trace(within) / 3 * np.eye(3)
    ridge = np.diag((0.1 + 1.0 * (1 if simple else 3) * 2 / 100) * np.diag(within))
    difference = sides[0].mean(axis=0) - sides[1].mean(axis=0)
    total = within + 0.24 * np.outer(difference, difference)

    def likelihood(covariance):
        ridged = covariance + ridge
        return -100 / 2 * (np.linalg.slogdet(ridged)[1] + np.trace(np.linalg.solve(ridged, covariance)))

    freedom = np.trace(np.linalg.solve(within + ridge, within))
    shares = 40 * np.log(0.4) + 60 * np.log(0.6)
    expected = likelihood(within) + shares - likelihood(total) - (freedom + 1) / 2 * np.log(100)
    np.testing.assert_allclose(gain, expected, rtol=1e-9)


def test_gain_counts_labeled_rows_and_spares_known_pairs():
    X, truth = separated_blobs(3, n_rows=90)
    y = np.where(truth < 2, truth, -1)
    y[truth == 1] = np.where(np.arange(30) % 2, 1, -1)
    labeled, blind = task_of(X, y, reg_covar=0.5), task_of(X, reg_covar=0.5)
    gains = division_gains(labeled, truth[labeled.problem.sample.rows].astype(np.int32), 3)
    expected = division_gains(blind, truth[blind.problem.sample.rows].astype(np.int32), 3)
    assert np.isinf(gains[0, 1])
    np.testing.assert_allclose(gains[:2, 2], expected[:2, 2], rtol=1e-9)


def test_agreement_is_the_mean_posterior_on_the_worse_side():
    X, truth = make_blobs([60, 140], 2, centers=[[0, 0], [2, 1]], random_state=0)
    task = task_of(X)
    codes = truth[task.problem.sample.rows].astype(np.int32)
    mixture = fit_parts(task, codes, 2).mixture
    rows = task.problem.sample.X
    joint = np.stack(
        [
            weight * multivariate_normal(mean, covariance).pdf(rows)
            for weight, mean, covariance in zip(
                mixture.weights, mixture.gaussians.means, mixture.gaussians.covariances, strict=True
            )
        ]
    )
    posterior = joint / joint.sum(axis=0)
    expected = min(posterior[k, codes == k].mean() for k in (0, 1))
    np.testing.assert_allclose(agreements(task, mixture, codes), [[1, expected], [expected, 1]], rtol=1e-8)


def test_regularization_follows_the_variance_of_each_feature():
    X, truth = separated_blobs(3)
    task = task_of(X * [1, 10, 100, 1e-3])
    moments = fit_parts(task, truth[task.problem.sample.rows].astype(np.int32), 3).moments
    ridge = part_settings(task, moments).regularization
    within = np.einsum("kii->i", moments.scatter) / moments.weight.sum()
    np.testing.assert_allclose(ridge / within, ridge[0] / within[0])


def test_the_partition_does_not_depend_on_the_seed():
    X, truth = separated_blobs(5, n_rows=400)
    labels = [fitted(X, random_state=seed).labels_ for seed in range(4)]
    assert adjusted_rand_score(truth, labels[0]) == 1
    for other in labels[1:]:
        np.testing.assert_array_equal(other, labels[0])


def test_repeatability_is_one_where_groups_are_apart_and_less_where_there_are_none():
    X, _ = separated_blobs(4)
    clear = fitted(X, n_repeats=3)
    assert clear.repeatability_ == 1
    assert clear.repeat_n_clusters_.tolist() == [4, 4, 4]
    # Gamma-distributed rows: skewed, without groups.
    skewed = fitted(np.random.RandomState(0).gamma(0.3, size=(600, 4)), n_repeats=3)
    assert skewed.repeatability_ < 0.95


def test_the_repeat_that_agrees_best_with_the_others_is_kept():
    same, other = np.repeat([0, 1, 2], 10), np.arange(30) % 3

    def repeat(codes, objective):
        return SimpleNamespace(codes=codes, fit=SimpleNamespace(objective=objective))

    repeats = [repeat(other, 9.0), repeat(same, 1.0), repeat((same + 1) % 3, 2.0)]
    best, repeatability = most_typical(repeats)
    assert best is repeats[2]
    expected = np.mean([1, *[adjusted_rand_score(same, other)] * 2])
    np.testing.assert_allclose(repeatability, expected)


def test_a_single_repeat_is_its_own_measure():
    X, _ = separated_blobs(3)
    assert fitted(X, n_repeats=1).repeatability_ == 1


def test_parts_from_a_sample_and_a_mixture_of_all_rows(monkeypatch):
    X, truth = separated_blobs(4, n_rows=2000)
    whole = fitted(X)
    monkeypatch.setattr(partitive, "_MOST_DIVIDED_ROWS", 300)
    sampled = fitted(X)
    assert adjusted_rand_score(truth, sampled.labels_) == 1
    # A sample of 300 rows would give means to about 0.1.
    np.testing.assert_allclose(sampled.means_, whole.means_, atol=0.02)


def bayes_accuracy(grid, shares, means, deviations):
    densities = [share * norm(m, s).pdf(grid) for share, m, s in zip(shares, means, deviations, strict=True)]
    return np.trapezoid(np.max(densities, axis=0), grid)


def test_separability_is_one_minus_the_numerically_integrated_overlap():
    """The last feature holds the classes apart, so that their rows are known; the others overlap."""
    random_state = np.random.RandomState(0)
    sizes, shares = [4000, 6000], np.array([0.4, 0.6])
    means, deviations = np.array([[0.0, 0, 0], [1.5, 3, 40]]), np.array([[1.0, 2, 1], [2, 1, 1]])
    X = np.vstack([random_state.normal(m, s, (n, 3)) for m, s, n in zip(means, deviations, sizes, strict=True)])
    model = fitted(X, n_parts=4, n_repeats=1)
    grid = np.linspace(-20, 60, 20001)
    accuracy = np.array([bayes_accuracy(grid, shares, means[:, j], deviations[:, j]) for j in range(3)])
    np.testing.assert_allclose(model.separability_, (accuracy - 0.6) / 0.4, atol=0.04)
    features, scores = model.rank_features(X)
    np.testing.assert_array_equal(features.ravel(), np.argsort(-model.separability_))
    np.testing.assert_allclose(scores, np.sort(model.separability_)[::-1], atol=0.02)


def test_planted_feature_ranks_above_noise():
    X, _ = separated_blobs(3, n_features=1, distance=8)
    table = np.column_stack([np.random.RandomState(1).normal(size=(len(X), 3)), X])
    model = fitted(table)
    assert model.n_clusters_ == 3
    assert model.separability_.argmax() == 3
    assert model.separability_[3] > 0.95
    assert model.separability_[:3].max() < 0.15


def test_planted_pair_ranks_above_its_features_and_all_other_pairs():
    """Two stripes along the diagonal: either feature alone tells little, both together tell all."""
    random_state = np.random.RandomState(0)
    side = np.repeat([-1, 1], 500)
    along = random_state.normal(scale=6, size=1000)
    across = 3 * side + random_state.normal(scale=0.5, size=1000)
    noise = random_state.normal(size=(1000, 2))
    X = np.column_stack([noise[:, 0], along + across, noise[:, 1], along - across])
    model = fitted(X)
    assert adjusted_rand_score(side, model.labels_) > 0.99
    pairs, scores = model.rank_features(X, size=2)
    assert pairs[0].tolist() == [1, 3]
    assert scores[0] > 0.99
    assert scores[1] < 0.7
    assert len(pairs) == 6


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_all_features_together_are_as_separable_as_the_mixture(kind):
    X, _ = separated_blobs(3)
    model = fitted(X, covariance_type=kind)
    features, scores = model.rank_features(X, size=4)
    assert features.tolist() == [[0, 1, 2, 3]]
    np.testing.assert_allclose(scores, 1, atol=1e-3)


def test_labeled_rows_count_in_separability():
    """With labels on one of two classes, the score is that of the table without labels."""
    X, truth = make_blobs([200, 300], 2, centers=[[0, 0], [2, 30]], random_state=0)
    blind, labeled = fitted(X), fitted(X, np.where(truth == 1, 7, -1))
    np.testing.assert_allclose(labeled.separability_, blind.separability_, atol=0.01)


def test_a_single_class_has_nothing_to_separate():
    model = fitted(np.random.RandomState(0).normal(size=(100, 3)))
    np.testing.assert_array_equal(model.separability_, 0)


def test_sparse_rows_as_dense_ones():
    X, truth = separated_blobs(4)
    X[np.abs(X) < 0.3] = 0
    dense, sparse = fitted(X, covariance_type="diag"), fitted(csr_matrix(X), covariance_type="diag")
    assert adjusted_rand_score(truth, sparse.labels_) == 1
    np.testing.assert_array_equal(sparse.labels_, dense.labels_)
    np.testing.assert_allclose(sparse.separability_, dense.separability_, atol=1e-6)
    np.testing.assert_allclose(sparse.rank_features(csr_matrix(X), size=2)[1], dense.rank_features(X, size=2)[1])


def test_sparse_rows_are_refused_by_full_covariances():
    with pytest.raises(TypeError, match=r"[Ss]parse"):
        fitted(csr_matrix(np.eye(5)))


@pytest.mark.parametrize(
    "parameters",
    [{"n_parts": 0}, {"n_parts": "many"}, {"agreement": 1.5}, {"n_repeats": 0}, {"k_max": 0}, {"reg_covar": -1.0}],
)
def test_wrong_parameters_are_refused(parameters):
    with pytest.raises(ValueError, match=next(iter(parameters))):
        fitted(np.eye(4), **parameters)


@pytest.mark.parametrize("size", [0, 5, 1.5])
def test_sizes_of_feature_sets_that_cannot_be(size):
    X, _ = separated_blobs(3)
    with pytest.raises(ValueError, match="size must be an integer from 1 to the number of features 4"):
        fitted(X).rank_features(X, size=size)


def test_too_many_feature_sets_are_refused():
    X = np.random.RandomState(0).normal(size=(40, 30))
    with pytest.raises(ValueError, match="sets of size=15"):
        fitted(X, covariance_type="diag").rank_features(X, size=15)


def test_no_convergence_warns():
    X, _ = make_blobs(300, centers=3, cluster_std=3, random_state=0)
    with pytest.warns(ConvergenceWarning, match="max_iter=1"):
        fitted(X, max_iter=1, tol=0.0)


def test_correction_gives_up_where_the_mixture_never_agrees():
    """A threshold that no division meets leaves a single class, and ends."""
    X, _ = make_blobs(200, centers=4, cluster_std=2, random_state=0)
    task = replace(task_of(X), agreement=1.1)
    codes, n_parts = divide(task, 10, seed=0)
    codes, n_left = merge_unconfirmed(task, codes, n_parts)
    assert n_left == 1
    assert not codes.any()
