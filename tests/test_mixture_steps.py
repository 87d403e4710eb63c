"""Steps of expectation-maximization on partially labeled rows, what is measured of rows once, and the loop."""

from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.sparse import csr_array, csr_matrix
from scipy.special import logsumexp, softmax
from sklearn.mixture import GaussianMixture
from sklearn.mixture._gaussian_mixture import _estimate_gaussian_parameters

from sklearn_sslcluster.engine import RowBlocks
from sklearn_sslcluster.numerics import gaussians as densities
from sklearn_sslcluster.numerics import mixture_fit
from sklearn_sslcluster.numerics import mixture_steps as steps
from sklearn_sslcluster.numerics.centroids import Frame, measure_anchors, measure_frame
from sklearn_sslcluster.numerics.gaussians import Moments, NormalInverseWishart, make_gaussians, niw_log_density
from sklearn_sslcluster.numerics.mixture_densities import Mixture, evaluation_of, largest_square, log_joint_densities
from sklearn_sslcluster.numerics.mixture_steps import maximize

KINDS = pytest.mark.parametrize("kind", densities.COVARIANCE_TYPES)
WAYS = pytest.mark.parametrize("way", ["expanded", "by differences"])
CLASS_WEIGHTS = pytest.mark.parametrize("class_weights", ["unlabeled", "all", "uniform"])
DTYPES = pytest.mark.parametrize("dtype", [np.float64, np.float32])
PRIOR = NormalInverseWishart(np.array([0.5, -0.3, 0.2]), 0.8, 7.5, np.diag([2.0, 1.0, 3.0]) + 0.3)
PRIORS = pytest.mark.parametrize("prior", [None, PRIOR], ids=["no prior", "prior"])
SEEDS = st.integers(0, 1000)


def table(n_rows=80, seed=0):
    """(rows in four groups, codes: some rows of the first two groups labeled, weights)."""
    rng, group = np.random.RandomState(seed), np.arange(n_rows) % 4
    X = rng.normal(size=(n_rows, 3)) + 2 * rng.normal(size=(4, 3))[group]
    codes = np.where((group < 2) & (rng.uniform(size=n_rows) < 0.6), group, -1)
    codes[:2] = 0, 1
    return X, codes, rng.uniform(0.5, 2, size=n_rows)


def mixture_of(kind, seed=0, means=None):
    rng = np.random.RandomState(seed)
    roots = rng.normal(size=(4, 3, 3))
    full = roots @ roots.transpose(0, 2, 1) / 3 + np.eye(3)
    diagonals = np.diagonal(full, axis1=1, axis2=2).copy()
    covariances = {"full": full, "tied": full[0], "diag": diagonals, "spherical": diagonals[:, 0]}[kind]
    means = 2 * rng.normal(size=(4, 3)) if means is None else means
    return Mixture(make_gaussians(kind, means, covariances)[0], rng.dirichlet(np.full(4, 5.0)))


def log_joint(X, mixture):
    return densities.log_densities(X, mixture.gaussians).T + np.log(mixture.weights)


def source_of(X, codes=None, weight=None, block_size="auto"):
    return RowBlocks(X, (codes, weight), block_size=block_size, n_threads=1)


def rows_of(X, codes, weight, kind, block_size="auto"):
    source = source_of(X, codes, weight, block_size)
    frame = measure_frame(source, center=True)
    anchors = measure_anchors(source, codes.max() + 1, frame.shift)
    labeled = mixture_fit.labeled_moments(source, anchors, kind, frame.shift)
    return mixture_fit.measure_rows(source, frame, labeled, kind)


def settings_of(kind, class_weights="unlabeled", reg=0.0, prior=None):
    return steps.MaximizationSettings(kind, class_weights, np.full(3, reg), prior)


def evaluation(mixture, way="expanded", dtype=np.float64):
    """By differences where asked, else expanded in the given type: the rows of `table` are small enough."""
    chosen = evaluation_of(mixture, None, 100.0, np.dtype(dtype))
    return replace(chosen, expansion=None) if way == "by differences" else chosen


def expected(source, chosen):
    """(log likelihood, moments) of the free rows."""
    second = source.sum(steps.second_moment_statistics, chosen.shift)[0]
    return steps.to_moments(source.sum(steps.expectation_statistics, chosen), chosen, second)


def as_sklearn(kind, mixture, **parameters):
    """GaussianMixture that starts from the mixture, and is it until fitted."""
    model, factor = GaussianMixture(4, covariance_type=kind, **parameters), mixture.gaussians.precisions_cholesky
    precisions = factor**2 if kind in ("diag", "spherical") else factor @ np.swapaxes(factor, -1, -2)
    model.set_params(weights_init=mixture.weights, means_init=mixture.gaussians.means, precisions_init=precisions)
    model.weights_, model.means_, model.precisions_cholesky_ = mixture.weights, mixture.gaussians.means, factor
    return model


def moments_by_hand(kind, X, resp):
    weight = resp.sum(axis=0)
    means = resp.T @ X / np.where(weight > 0, weight, 1)[:, None]
    differences = X[:, None, :] - means
    full = np.einsum("nk,nki,nkj->kij", resp, differences, differences)
    diag = np.diagonal(full, axis1=1, axis2=2)
    shapes = {"full": full, "tied": full.sum(axis=0), "diag": diag, "spherical": diag.sum(axis=1)}
    return Moments(weight, means, shapes[kind])


def one_hot(codes, n_codes):
    return (codes[:, None] == np.arange(n_codes)).astype(float)


def assert_same(actual, wanted, rtol=1e-10, atol=1e-9):
    assert_allclose(actual[0], wanted[0], rtol=rtol)
    for name in ("weight", "means", "scatter"):
        assert_allclose(getattr(actual[1], name), getattr(wanted[1], name), rtol=rtol, atol=atol, err_msg=name)


def assert_same_mixture(mixture, weights, means, covariances, atol=1e-9):
    actual = mixture.weights, mixture.gaussians.means, mixture.gaussians.covariances
    for one, other in zip(actual, (weights, means, covariances), strict=True):
        assert_allclose(one, other, rtol=0, atol=atol)


# Expectation


@KINDS
@WAYS
@pytest.mark.parametrize("n_rows", [80, 1500])
def test_statistics_are_sums_over_the_responsibilities_of_scikit_learn(kind, way, n_rows):
    (X, _, weight), mixture = table(n_rows), mixture_of(kind)
    model = as_sklearn(kind, mixture)
    resp = model.predict_proba(X) * weight[:, None]
    wanted = weight @ model.score_samples(X), moments_by_hand(kind, X, resp)
    assert_same(expected(source_of(X, None, weight), evaluation(mixture, way)), wanted)


@KINDS
@WAYS
@given(block_size=st.integers(1, 90), seed=SEEDS)
def test_block_size_never_changes_the_statistics(kind, way, block_size, seed):
    X, codes, weight = table(seed=seed)
    chosen = evaluation(mixture_of(kind), way)
    whole = expected(source_of(X, codes, weight), chosen)
    assert_same(expected(source_of(X, codes, weight, block_size), chosen), whole)


@pytest.mark.parametrize("kind", ["diag", "spherical"])
@WAYS
@pytest.mark.parametrize("container", [csr_array, csr_matrix])
@DTYPES
def test_statistics_of_sparse_rows_are_those_of_dense_ones(kind, way, container, dtype):
    X, codes, weight = table()
    X = np.where(np.abs(X) < 1.5, 0, X).astype(dtype)
    chosen, rtol = evaluation(mixture_of(kind), way, dtype), 1e-10 if dtype == np.float64 else 1e-5
    dense = expected(source_of(X, codes, weight, 30), chosen)
    statistics = source_of(container(X), codes, weight, 30).sum(steps.expectation_statistics, chosen)
    assert_same(steps.to_moments(statistics, chosen, None), dense, rtol=rtol, atol=100 * rtol)


@KINDS
@WAYS
@given(seed=SEEDS)
def test_integer_weights_are_repeated_rows(kind, way, seed):
    X, codes, _ = table(seed=seed)
    repeats = np.random.RandomState(seed).randint(4, size=len(X))
    chosen = evaluation(mixture_of(kind), way)
    repeated = source_of(*(np.repeat(part, repeats, axis=0) for part in (X, codes)))
    assert_same(expected(source_of(X, codes, repeats.astype(float)), chosen), expected(repeated, chosen))


@KINDS
@pytest.mark.parametrize("block_size", [1, 20, 1000])
def test_labeled_rows_are_passed_over_wherever_they_lie(kind, block_size):
    X, codes, weight = table()
    X[codes >= 0] += 1e4
    chosen, free = evaluation(mixture_of(kind)), codes < 0
    wanted = expected(source_of(X[free], None, weight[free]), chosen)
    assert_same(expected(source_of(X, codes, weight, block_size), chosen), wanted)


@KINDS
def test_float32_rows_give_nearly_the_statistics_of_float64(kind):
    X, codes, weight = table(3000)
    source = source_of(X.astype(np.float32), codes, weight)
    single = evaluation(mixture_of(kind), dtype=np.float32)
    assert_same(expected(source, single), expected(source, evaluation(mixture_of(kind))), rtol=1e-5, atol=1e-3)


@KINDS
@pytest.mark.parametrize("wanted", ["resp", "density", "code"])
def test_rows_are_told_what_scikit_learn_tells(kind, wanted):
    (X, codes, _), mixture = table(), mixture_of(kind)
    method = {"resp": "predict_proba", "density": "score_samples", "code": "predict"}[wanted]
    actual = source_of(X, codes, None, 7).map(log_joint_densities, (evaluation(mixture), wanted))[0]
    assert_allclose(actual, getattr(as_sklearn(kind, mixture), method)(X), rtol=1e-9, atol=1e-12)


@KINDS
def test_the_larger_rows_are_the_more_exactly_they_are_evaluated(kind):
    mixture = mixture_of(kind)
    chosen = [evaluation_of(mixture, None, size, np.dtype(np.float32)) for size in (1.0, 1e6, 1e12)]
    assert [one.dtype for one in chosen] == [np.float32, np.float64, np.float64]
    assert [one.expansion is None for one in chosen] == [False, False, True]
    assert evaluation_of(mixture, None, 1.0, np.dtype(np.float32), exact=True).dtype == np.float64


@KINDS
@pytest.mark.parametrize("size", [1e1, 1e2, 1e3, 1e4, 1e6])
@DTYPES
def test_chosen_evaluation_is_exact_enough_at_any_size(kind, size, dtype):
    mixture = mixture_of(kind, means=table()[0][:4] + size)
    X = (table()[0] + size).astype(dtype)
    chosen = evaluation_of(mixture, None, largest_square(source_of(X), None), X.dtype)
    joint = source_of(X).map(log_joint_densities, (chosen, "joint"))[0]
    assert_allclose(joint, log_joint(X.astype(float), mixture), rtol=0, atol=1e-6 if dtype == np.float64 else 5e-2)


@pytest.mark.parametrize("distance", [1e3, 1e4, 1e6])
def test_component_far_from_the_free_rows_is_evaluated_as_exactly(distance):
    along, across = np.array([1.0, 1, 0]) / np.sqrt(2), np.array([1.0, -1, 0]) / np.sqrt(2)
    flat = distance**2 * np.outer(along, along) + 1e-4 * np.outer(across, across) + np.diag([0.0, 0, 1])
    mixture = Mixture(make_gaussians("full", distance * along[None], flat[None])[0], np.ones(1))
    X = np.linspace(-1, 1, 50)[:, None] * along
    chosen = evaluation_of(mixture, None, largest_square(source_of(X), None), X.dtype)
    joint = source_of(X).map(log_joint_densities, (chosen, "joint"))[0]
    assert_allclose(joint, log_joint(X, mixture), rtol=0, atol=1e-6)


@KINDS
@DTYPES
def test_rows_a_million_deviations_away_have_the_responsibilities_of_centered_ones(kind, dtype):
    X, codes, weight = np.round(table()[0] * 8) / 8, *table()[1:]  # exact in float32 at the offset
    fits = []
    for offset, Z in ((0.0, X), (2.0**20, (X + 2.0**20).astype(dtype))):
        rows = rows_of(Z, codes, weight, kind)
        start = mixture_of(kind, means=X[10:14] + offset - rows.shift)
        fit = mixture_fit.expectation_maximization(rows, start, settings_of(kind, reg=0.1), 5, 0.0)
        chosen = evaluation_of(fit.mixture, rows.shift, rows.largest_square, Z.dtype)
        fits.append((fit.lower_bounds[0], rows.source.map(log_joint_densities, (chosen, "resp"))[0]))
    tolerance = 1e-8 if dtype == np.float64 else 1e-5
    assert_allclose(fits[1][0], fits[0][0], rtol=tolerance)
    assert_allclose(fits[1][1], fits[0][1], rtol=0, atol=100 * tolerance)


# Maximization


@KINDS
def test_maximization_is_that_of_scikit_learn(kind):
    X, resp = table()[0], np.random.RandomState(1).dirichlet(np.ones(4), size=80)
    counts, means, covariances = _estimate_gaussian_parameters(X, resp, 0.3, kind)
    mixture = maximize(moments_by_hand(kind, X, resp), None, settings_of(kind, reg=0.3))
    assert_same_mixture(mixture, counts / counts.sum(), means, covariances)


@KINDS
@PRIORS
def test_labeled_rows_count_in_full_for_their_class(kind, prior):
    X, codes, _ = table()
    resp = np.random.RandomState(1).dirichlet(np.ones(4), size=len(X))
    resp[codes >= 0] = one_hot(codes, 4)[codes >= 0]
    labeled, free = moments_by_hand(kind, X, one_hot(codes, 2)), moments_by_hand(kind, X[codes < 0], resp[codes < 0])
    wanted = maximize(moments_by_hand(kind, X, resp), None, settings_of(kind, "all", 0.1, prior))
    mixture = maximize(free, labeled, settings_of(kind, "all", 0.1, prior))
    assert_same_mixture(mixture, wanted.weights, wanted.gaussians.means, wanted.gaussians.covariances)


@CLASS_WEIGHTS
def test_component_weights_follow_the_rows_they_are_estimated_on(class_weights):
    free, labeled = (Moments(np.array(w), np.zeros((len(w), 3)), np.ones(len(w))) for w in ([4.0, 6, 20], [10.0, 0]))
    counts = np.array({"uniform": [1, 1, 1], "all": [14, 6, 20], "unlabeled": [5, 7, 20]}[class_weights])
    assert_allclose(maximize(free, labeled, settings_of("spherical", class_weights)).weights, counts / counts.sum())


def perturbed(kind, gaussians, rng, size):
    means, covariances = gaussians.means + size * rng.normal(size=(4, 3)), gaussians.covariances
    noise = size * rng.normal(size=covariances.shape)
    if kind in ("diag", "spherical"):
        return make_gaussians(kind, means, covariances * np.exp(noise))[0]
    return make_gaussians(kind, means, (np.eye(3) + noise) @ covariances @ (np.eye(3) + np.swapaxes(noise, -1, -2)))[0]


@KINDS
@given(seed=SEEDS, size=st.sampled_from([1e-4, 1e-2, 0.3]))
def test_map_parameters_maximize_the_penalized_expected_likelihood(kind, seed, size):
    X, resp = table()[0], np.random.RandomState(1).dirichlet(np.full(4, 0.3), size=80)
    best = maximize(moments_by_hand(kind, X, resp), None, settings_of(kind, prior=PRIOR)).gaussians
    both = best, perturbed(kind, best, np.random.RandomState(seed), size)
    top, other = ((resp * densities.log_densities(X, one).T).sum() + niw_log_density(PRIOR, one) for one in both)
    assert other < top


@KINDS
@pytest.mark.parametrize("reg", [0.0, 1e-6])
def test_component_without_rows_leaves_finite_statistics(kind, reg):
    X = table()[0]
    mixture = maximize(moments_by_hand(kind, X, np.tile([1.0, 0.0], (80, 1))), None, settings_of(kind, "all", reg))
    likelihood, after = expected(source_of(X), evaluation_of(mixture, None, 100.0, X.dtype))
    assert np.isfinite(likelihood)
    assert after.weight.sum() == pytest.approx(len(X))


@KINDS
@pytest.mark.parametrize("offset", [0.0, 1e6])
@DTYPES
def test_rows_are_measured_about_the_shift(kind, offset, dtype):
    X, codes, weight = table()
    X = (X + offset).astype(dtype)
    rows = rows_of(X, codes, weight, kind, block_size=9)
    Z, free = X.astype(float) - rows.shift, np.where(codes < 0, weight, 0)
    labeled = moments_by_hand(kind, Z, one_hot(codes, 2) * weight[:, None])
    assert_same((rows.weight, rows.labeled), (weight.sum(), labeled))
    assert (rows.n_known, rows.free_weight) == (2, pytest.approx(free.sum()))
    assert rows.largest_square == pytest.approx((Z[codes < 0] ** 2).sum(axis=1).max(), rel=0.05)
    second = rows.second_moment if kind == "tied" else rows.source.sum(steps.second_moment_statistics, rows.shift)[0]
    assert_allclose(second, (Z * free[:, None]).T @ Z, rtol=1e-9, atol=1e-9)


@KINDS
@pytest.mark.parametrize("container", [np.asarray, csr_array])
@given(seed=SEEDS, block_size=st.integers(1, 90))
def test_group_moments_are_those_of_each_group(kind, container, seed, block_size):
    X, codes, weight = table(seed=seed)
    moments = mixture_fit.group_moments(source_of(container(X), codes, weight, block_size), 3, kind, None)
    assert_same((0, moments), (0, moments_by_hand(kind, X, one_hot(codes, 3) * weight[:, None])))


@KINDS
@given(seed=SEEDS)
def test_likelihood_from_moments_is_the_sum_over_labeled_rows(kind, seed):
    X, codes, weight = table(seed=seed)
    gaussians, member = mixture_of(kind).gaussians, one_hot(codes, 2) * weight[:, None]
    actual = steps.log_likelihood_of_moments(moments_by_hand(kind, X, member), gaussians)
    wanted = (member * densities.log_densities(X, gaussians)[:2].T).sum(axis=0)
    assert actual.sum() == pytest.approx(wanted.sum(), rel=1e-10)
    assert kind == "tied" or actual == pytest.approx(wanted, rel=1e-10)


# The loop


@KINDS
@CLASS_WEIGHTS
@PRIORS
def test_objective_is_the_penalized_likelihood_per_weight(kind, class_weights, prior):
    X, codes, weight = table()
    rows, mixture = rows_of(X, codes, weight, kind), mixture_of(kind)
    joint, log_weights = log_joint(X - rows.shift, mixture), np.log(mixture.weights)
    own = joint - (0 if class_weights == "all" else log_weights)
    by_row = np.where(codes < 0, logsumexp(joint, axis=1), own[np.arange(len(X)), codes])
    total = weight @ by_row + (log_weights[:2].sum() if class_weights == "unlabeled" else 0)
    total += 0 if prior is None else niw_log_density(prior, mixture.gaussians)
    resp = softmax(joint, axis=1) * np.where(codes < 0, weight, 0)[:, None]
    actual = mixture_fit.expectation(rows, mixture, settings_of(kind, class_weights, prior=prior))
    assert_same(actual, (total / weight.sum(), moments_by_hand(kind, X - rows.shift, resp)))


@KINDS
@CLASS_WEIGHTS
@PRIORS
@pytest.mark.parametrize("seed", range(3))
def test_no_step_lets_the_penalized_likelihood_fall(kind, class_weights, prior, seed):
    X, codes, weight = table(300, seed)
    rows, settings, values = rows_of(X, codes, weight, kind), settings_of(kind, class_weights, prior=prior), []
    mixture = mixture_of(kind, seed, means=X[:4] - rows.shift)
    for _ in range(20):
        value, moments = mixture_fit.expectation(rows, mixture, settings)
        values.append(value)
        mixture = maximize(moments, rows.labeled, settings)
    assert np.diff(values).min() > -1e-12


@KINDS
@PRIORS
def test_run_returns_its_best_parameters_and_their_moments(kind, prior):
    rows, settings = rows_of(*table(), kind), settings_of(kind, reg=0.0, prior=prior)
    fit = mixture_fit.expectation_maximization(rows, mixture_of(kind), settings, 500, 1e-6)
    value, moments = mixture_fit.expectation(rows, fit.mixture, settings)
    assert fit.converged
    assert (np.diff(fit.lower_bounds) >= 0).all()
    assert_same((fit.objective, fit.moments), (value, moments))


@KINDS
@PRIORS
def test_monotone_run_ends_before_strong_regularization_lets_the_likelihood_fall(kind, prior):
    rows, settings, start = rows_of(*table(), kind), settings_of(kind, reg=3.0, prior=prior), mixture_of(kind, seed=1)
    unguarded, guarded = (
        mixture_fit.expectation_maximization(rows, start, replace(settings, monotone=monotone), 500, 1e-6)
        for monotone in (False, True)
    )
    assert np.diff(unguarded.lower_bounds).min() < 0
    assert (np.diff(guarded.lower_bounds) >= 0).all()
    assert guarded.converged
    assert_same((guarded.objective, guarded.moments), mixture_fit.expectation(rows, guarded.mixture, settings))


@KINDS
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("seed", range(3))
def test_without_labels_the_run_is_that_of_scikit_learn(kind, seed):
    X, start = table(300, seed)[0], mixture_of(kind, seed)
    model = as_sklearn(kind, start, tol=0.0, max_iter=12).fit(X)
    rows = mixture_fit.measure_rows(source_of(X), Frame(None, float(len(X)), 1.0), None, kind)
    fit = mixture_fit.expectation_maximization(rows, start, settings_of(kind, "all", 1e-6), 12, 0.0)
    assert_same_mixture(fit.mixture, model.weights_, model.means_, model.covariances_, atol=1e-6)
    assert_allclose(fit.lower_bounds[:-1], model.lower_bounds_, rtol=1e-8)


def test_run_stops_when_told():
    rows, on_step = rows_of(*table(), "full"), Mock(side_effect=[False, False, True])
    fit = mixture_fit.expectation_maximization(rows, mixture_of("full"), settings_of("full"), 50, 0.0, on_step)
    assert (len(fit.lower_bounds), fit.converged) == (4, False)
    on_step.assert_called_with(fit.mixture, fit.objective)
