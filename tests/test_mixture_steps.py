"""Steps of expectation-maximization on partially labeled rows, and the loop over them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array, csr_matrix
from scipy.special import logsumexp
from sklearn.mixture import GaussianMixture
from sklearn.mixture._gaussian_mixture import _estimate_gaussian_parameters

from sklearn_sslcluster.engine import RowBlocks
from sklearn_sslcluster.numerics.centroids import Frame, measure_anchors, measure_frame
from sklearn_sslcluster.numerics.gaussians import (
    COVARIANCE_TYPES,
    Moments,
    NormalInverseWishart,
    log_densities,
    make_gaussians,
    niw_log_density,
)
from sklearn_sslcluster.numerics.mixture_fit import (
    expectation,
    expectation_maximization,
    group_moments,
    labeled_moments,
    measure_rows,
)
from sklearn_sslcluster.numerics.mixture_steps import (
    MaximizationSettings,
    Mixture,
    evaluation_of,
    expectation_statistics,
    largest_square,
    log_joint_densities,
    log_likelihood_of_moments,
    maximize,
    second_moment_statistics,
    to_moments,
)

KINDS = pytest.mark.parametrize("kind", COVARIANCE_TYPES)
CSR_KINDS = pytest.mark.parametrize("kind", ["diag", "spherical"])
WAYS = pytest.mark.parametrize("way", ["expanded", "by differences"])
N_FEATURES = 3


def table(n_rows=80, seed=0, n_known=2, n_groups=4):
    """(rows in groups, codes: about a third of the rows of the first groups labeled, weights)."""
    rng = np.random.RandomState(seed)
    group = np.arange(n_rows) % n_groups
    X = rng.normal(size=(n_rows, N_FEATURES)) + 2 * rng.normal(size=(n_groups, N_FEATURES))[group]
    codes = np.where((group < n_known) & (rng.uniform(size=n_rows) < 0.6), group, -1)
    codes[:n_known] = np.arange(n_known)
    return X, codes, rng.uniform(0.5, 2, size=n_rows)


def mixture_of(kind, n_components=4, seed=0):
    rng = np.random.RandomState(seed)
    roots = rng.normal(size=(n_components, N_FEATURES, N_FEATURES))
    full = roots @ roots.transpose(0, 2, 1) / N_FEATURES + np.eye(N_FEATURES)
    diagonals = np.diagonal(full, axis1=1, axis2=2)
    covariances = {"full": full, "tied": full[0], "diag": diagonals, "spherical": diagonals[:, 0]}[kind]
    gaussians, _ = make_gaussians(kind, 2 * rng.normal(size=(n_components, N_FEATURES)), covariances.copy())
    return Mixture(gaussians, rng.dirichlet(np.full(n_components, 5.0)))


def source_of(X, codes=None, weight=None, block_size="auto"):
    return RowBlocks(X, (codes, weight), block_size=block_size, n_threads=1)


def evaluation(mixture, way="expanded", dtype=np.float64):
    """By differences where asked, else expanded as float32 or float64 rows of usual size are."""
    chosen = evaluation_of(mixture, None, 100.0, np.dtype(dtype))
    return replace(chosen, expansion=None) if way == "by differences" else chosen


def free_moments(source, chosen):
    """(log likelihood, moments) of the free rows."""
    second = source.sum(second_moment_statistics, chosen.shift)[0]
    return to_moments(source.sum(expectation_statistics, chosen), chosen, second)


def assert_same(actual, expected, rtol=1e-10, atol=1e-9):
    """Equal log likelihoods and moments."""
    assert_allclose(actual[0], expected[0], rtol=rtol)
    for name in ("weight", "means", "scatter"):
        assert_allclose(getattr(actual[1], name), getattr(expected[1], name), rtol=rtol, atol=atol, err_msg=name)


def rows_of(X, codes=None, weight=None, kind="full", *, center=True, block_size="auto"):
    source = source_of(X, codes, weight, block_size)
    frame = measure_frame(source, center=center)
    anchors = measure_anchors(source, 0 if codes is None else codes.max() + 1, frame.shift)
    return measure_rows(source, frame, labeled_moments(source, anchors, kind, frame.shift), kind)


def settings_of(kind, class_weights="unlabeled", reg=0.0, prior=None):
    return MaximizationSettings(kind, class_weights, np.full(N_FEATURES, reg), prior)


def prior_of():
    scale = np.array([[2.0, 0.3, 0], [0.3, 1.0, -0.2], [0, -0.2, 3.0]])
    return NormalInverseWishart(np.array([0.5, -0.3, 0.2]), 0.8, 7.5, scale)


def as_sklearn(kind, mixture, **parameters):
    """GaussianMixture that starts from the mixture, or is it."""
    gaussians = mixture.gaussians
    model = GaussianMixture(mixture.n_components, covariance_type=kind, **parameters)
    factor = gaussians.precisions_cholesky
    precisions = factor**2 if kind in ("diag", "spherical") else factor @ np.swapaxes(factor, -1, -2)
    model.set_params(weights_init=mixture.weights, means_init=gaussians.means, precisions_init=precisions)
    model.weights_, model.means_, model.precisions_cholesky_ = mixture.weights, gaussians.means, factor
    model.covariances_ = gaussians.covariances
    return model


def scatter_by_hand(kind, X, resp, means):
    differences = X[:, None, :] - means
    products = np.einsum("nk,nki,nkj->kij", resp, differences, differences)
    squares = np.diagonal(products, axis1=1, axis2=2)
    return {"full": products, "tied": products.sum(axis=0), "diag": squares, "spherical": squares.sum(axis=1)}[kind]


def moments_by_hand(kind, X, resp):
    weight = resp.sum(axis=0)
    means = resp.T @ X / np.where(weight > 0, weight, 1)[:, None]
    return Moments(weight, means, scatter_by_hand(kind, X, resp, means))


def one_hot(codes, n_codes):
    return (codes[:, None] == np.arange(n_codes)).astype(float)


def expected_log_likelihood(X, resp, gaussians):
    return float((resp * log_densities(X, gaussians).T).sum())


# Expectation


@KINDS
@WAYS
def test_statistics_are_sums_over_the_responsibilities_of_scikit_learn(kind, way):
    X, mixture = table()[0], mixture_of(kind)
    model = as_sklearn(kind, mixture)
    likelihood, moments = free_moments(source_of(X), evaluation(mixture, way))
    expected = moments_by_hand(kind, X, model.predict_proba(X))
    assert_same((likelihood, moments), (model.score_samples(X).sum(), expected))


@KINDS
@WAYS
@given(block_size=st.integers(1, 90), seed=st.integers(0, 1000))
def test_block_size_never_changes_the_statistics(kind, way, block_size, seed):
    X, codes, weight = table(seed=seed)
    chosen = evaluation(mixture_of(kind), way)
    whole = free_moments(source_of(X, codes, weight), chosen)
    assert_same(free_moments(source_of(X, codes, weight, block_size), chosen), whole)


@KINDS
def test_many_chunks_of_a_large_block_give_the_statistics_of_small_ones(kind):
    X, codes, weight = table(5000)
    chosen = evaluation(mixture_of(kind))
    whole = free_moments(source_of(X, codes, weight, 5000), chosen)
    assert_same(free_moments(source_of(X, codes, weight, 61), chosen), whole)


@CSR_KINDS
@WAYS
@pytest.mark.parametrize("container", [csr_array, csr_matrix])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_statistics_of_sparse_rows_are_those_of_dense_ones(kind, way, container, dtype):
    X, codes, weight = table()
    X = np.where(np.abs(X) < 1.5, 0, X).astype(dtype)
    chosen = evaluation(mixture_of(kind), way, dtype)
    sparse = source_of(container(X), codes, weight, 30).sum(expectation_statistics, chosen)
    dense = source_of(X, codes, weight, 30).sum(expectation_statistics, chosen)
    rtol = 1e-10 if dtype == np.float64 else 1e-5
    for part, expected in zip(sparse, dense, strict=True):
        assert_allclose(part, expected, rtol=rtol, atol=rtol * 10)


@KINDS
@WAYS
@given(seed=st.integers(0, 1000))
def test_integer_weights_are_repeated_rows(kind, way, seed):
    X, codes, _ = table(seed=seed)
    repeats = np.random.RandomState(seed).randint(4, size=len(X))
    chosen = evaluation(mixture_of(kind), way)
    weighted = free_moments(source_of(X, codes, repeats.astype(float)), chosen)
    assert_same(weighted, free_moments(source_of(*(np.repeat(part, repeats, axis=0) for part in (X, codes))), chosen))


@KINDS
@pytest.mark.parametrize("block_size", [1, 20, 1000])
def test_labeled_rows_are_passed_over_wherever_they_lie(kind, block_size):
    X, codes, weight = table()
    X[codes >= 0] += 1e4
    chosen, free = evaluation(mixture_of(kind)), codes < 0
    expected = free_moments(source_of(X[free], None, weight[free]), chosen)
    assert_same(free_moments(source_of(X, codes, weight, block_size), chosen), expected)


@KINDS
def test_rows_all_labeled_leave_empty_statistics(kind):
    X = table()[0]
    likelihood, moments = free_moments(
        source_of(X, np.zeros(len(X), dtype=int), None, 30), evaluation(mixture_of(kind))
    )
    assert likelihood == 0
    assert_array_equal(moments.weight, np.zeros(4))
    assert not moments.scatter.any()


@KINDS
def test_float32_rows_give_nearly_the_statistics_of_float64(kind):
    X, codes, weight = table(3000)
    X = X.astype(np.float32)
    single = evaluation(mixture_of(kind), dtype=np.float32)
    assert single.dtype == np.float32
    expected = free_moments(source_of(X, codes, weight), evaluation(mixture_of(kind)))
    assert_same(free_moments(source_of(X, codes, weight), single), expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("wanted", ["joint", "resp", "density", "code"])
@KINDS
@pytest.mark.parametrize("block_size", [7, 1000])
def test_rows_are_told_what_scikit_learn_tells(wanted, kind, block_size):
    X, codes, _ = table()
    mixture = mixture_of(kind)
    model = as_sklearn(kind, mixture)
    joint = log_densities(X, mixture.gaussians).T + np.log(mixture.weights)
    expected = {
        "joint": joint,
        "resp": model.predict_proba(X),
        "density": model.score_samples(X),
        "code": model.predict(X),
    }[wanted]
    actual = source_of(X, codes, None, block_size).map(log_joint_densities, (evaluation(mixture), wanted))[0]
    assert_allclose(actual, expected, rtol=1e-9, atol=1e-12)


# How densities are computed, and where rows lie


@KINDS
def test_the_larger_rows_are_the_more_exactly_they_are_evaluated(kind):
    mixture = mixture_of(kind)
    chosen = [evaluation_of(mixture, None, size, np.dtype(np.float32)) for size in (1.0, 1e6, 1e12)]
    assert [one.dtype for one in chosen] == [np.float32, np.float64, np.float64]
    assert [one.expansion is None for one in chosen] == [False, False, True]
    assert evaluation_of(mixture, None, 1.0, np.dtype(np.float32), exact=True).dtype == np.float64
    assert evaluation_of(mixture, None, 1.0, np.dtype(np.float64)).dtype == np.float64


@KINDS
@pytest.mark.parametrize("size", [1e1, 1e2, 1e3, 1e4, 1e6])
@pytest.mark.parametrize(("dtype", "atol"), [(np.float64, 1e-6), (np.float32, 5e-2)])
def test_chosen_evaluation_is_exact_enough_at_any_size(kind, size, dtype, atol):
    mixture = mixture_of(kind)
    moved = Mixture(replace(mixture.gaussians, means=mixture.gaussians.means + size), mixture.weights)
    X = (table()[0] + size).astype(dtype)
    chosen = evaluation_of(moved, None, largest_square(source_of(X), None), X.dtype)
    expected = log_densities(X.astype(float), moved.gaussians).T + np.log(moved.weights)
    joint = source_of(X).map(log_joint_densities, (chosen, "joint"))[0]
    assert_allclose(joint, expected, rtol=0, atol=atol)


# The limit is set by the free rows alone, but a labeled class may pull its mean far along the axis of its ellipse.
@pytest.mark.parametrize("distance", [1e3, 1e4, 1e6])
def test_component_far_from_the_free_rows_is_evaluated_as_exactly(distance):
    along, across = np.array([1.0, 1, 0]) / np.sqrt(2), np.array([1.0, -1, 0]) / np.sqrt(2)
    flat = distance**2 * np.outer(along, along) + 1e-4 * np.outer(across, across) + np.diag([0.0, 0, 1])
    means = np.stack([distance * along, np.zeros(3)])
    mixture = Mixture(make_gaussians("full", means, np.stack([flat, np.eye(3)]))[0], np.array([0.5, 0.5]))
    X = np.random.RandomState(0).uniform(-1, 1, size=(50, 1)) * along
    chosen = evaluation_of(mixture, None, largest_square(source_of(X), None), X.dtype)
    joint = source_of(X).map(log_joint_densities, (chosen, "joint"))[0]
    assert_allclose(joint, log_densities(X, mixture.gaussians).T + np.log(0.5), rtol=0, atol=1e-6)


@KINDS
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_rows_a_million_deviations_away_have_the_responsibilities_of_centered_ones(kind, dtype):
    # Rows on a grid that float32 holds at this distance: nothing is lost but by the code.
    X, codes, weight = np.round(table()[0] * 8) / 8, *table()[1:]
    resp, bounds = [], []
    for Z in (X, (X + 2.0**20).astype(dtype)):
        rows = rows_of(Z, codes, weight, kind)
        start = mixture_of(kind)
        start = Mixture(replace(start.gaussians, means=X[10:14] - X[codes < 0].mean(axis=0)), start.weights)
        fit = expectation_maximization(rows, start, settings_of(kind, reg=0.1), 10, 0.0)
        chosen = evaluation_of(fit.mixture, rows.shift, rows.largest_square, Z.dtype)
        resp.append(rows.source.map(log_joint_densities, (chosen, "resp"))[0])
        bounds.append(fit.lower_bounds[0])
    tolerance = 1e-9 if dtype == np.float64 else 1e-5
    assert_allclose(bounds[1], bounds[0], rtol=tolerance)
    assert_allclose(resp[1], resp[0], rtol=0, atol=tolerance * 100)


@pytest.mark.parametrize("container", [np.asarray, csr_array])
def test_largest_square_is_that_of_free_rows_with_weight(container):
    X, codes, weight = table()
    X[codes >= 0], X[5], weight[5], codes[5] = 1e5, 1e6, 0.0, -1
    free = (codes < 0) & (weight > 0)
    shift = None if container is csr_array else np.array([1.0, -2, 3])
    expected = ((X[free] - (0 if shift is None else shift)) ** 2).sum(axis=1).max()
    assert largest_square(source_of(container(X), codes, weight, 11), shift) == pytest.approx(expected)


@KINDS
def test_row_of_weight_zero_counts_for_nothing_however_large(kind):
    X, _, weight = table()
    X[5], weight[5] = 1e20, 0.0
    left = np.arange(len(X)) != 5
    chosen = evaluation(mixture_of(kind), dtype=np.float32)
    statistics = source_of(X.astype(np.float32), None, weight).sum(expectation_statistics, chosen)
    expected = source_of(X[left].astype(np.float32), None, weight[left]).sum(expectation_statistics, chosen)
    for part, other in zip(statistics, expected, strict=True):
        assert_allclose(part, other, rtol=1e-4, atol=1e-3)


# Maximization


@KINDS
def test_maximization_is_that_of_scikit_learn(kind):
    X = table()[0]
    resp = np.random.RandomState(1).dirichlet(np.ones(4), size=len(X))
    mixture = maximize(moments_by_hand(kind, X, resp), None, settings_of(kind, reg=0.3))
    counts, means, covariances = _estimate_gaussian_parameters(X, resp, 0.3, kind)
    assert_allclose(mixture.gaussians.means, means, rtol=1e-10)
    assert_allclose(mixture.gaussians.covariances, covariances, rtol=1e-10)
    assert_allclose(mixture.weights, counts / counts.sum(), rtol=1e-10)


@KINDS
def test_labeled_rows_count_in_full_for_their_class(kind):
    X, codes, _ = table()
    resp = np.random.RandomState(1).dirichlet(np.ones(4), size=len(X))
    resp[codes >= 0] = one_hot(codes, 4)[codes >= 0]
    labeled = moments_by_hand(kind, X, one_hot(codes, 2))
    free = moments_by_hand(kind, X[codes < 0], resp[codes < 0])
    for prior in (None, prior_of()):
        mixture = maximize(free, labeled, settings_of(kind, "all", 0.1, prior))
        expected = maximize(moments_by_hand(kind, X, resp), None, settings_of(kind, "all", 0.1, prior))
        assert_allclose(mixture.gaussians.means, expected.gaussians.means, rtol=1e-9)
        assert_allclose(mixture.gaussians.covariances, expected.gaussians.covariances, rtol=1e-9, atol=1e-12)
        assert_allclose(mixture.weights, expected.weights, rtol=1e-9)


@pytest.mark.parametrize(
    ("class_weights", "expected"),
    [("uniform", [1 / 3] * 3), ("all", [14 / 40, 6 / 40, 20 / 40]), ("unlabeled", [5 / 32, 7 / 32, 20 / 32])],
)
def test_component_weights_follow_the_rows_they_are_estimated_on(class_weights, expected):
    free, labeled = (Moments(np.array(w), np.zeros((len(w), 3)), np.ones(len(w))) for w in ([4.0, 6, 20], [10.0, 0]))
    mixture = maximize(free, labeled, settings_of("spherical", class_weights))
    assert_allclose(mixture.weights, expected, rtol=1e-12)


def perturbed(kind, gaussians, rng, size):
    means = gaussians.means + size * rng.normal(size=gaussians.means.shape)
    covariances = gaussians.covariances
    if kind in ("full", "tied"):
        turn = np.eye(N_FEATURES) + size * rng.normal(size=covariances.shape)
        covariances = turn @ covariances @ np.swapaxes(turn, -1, -2)
    else:
        covariances = covariances * np.exp(size * rng.normal(size=covariances.shape))
    return make_gaussians(kind, means, covariances)[0]


@KINDS
@given(seed=st.integers(0, 10**6), size=st.sampled_from([1e-4, 1e-2, 0.3]))
def test_map_parameters_maximize_the_penalized_expected_likelihood(kind, seed, size):
    X, rng = table()[0], np.random.RandomState(seed)
    resp = np.random.RandomState(1).dirichlet(np.full(4, 0.3), size=len(X))
    best = maximize(moments_by_hand(kind, X, resp), None, settings_of(kind, prior=prior_of())).gaussians
    top = expected_log_likelihood(X, resp, best) + niw_log_density(prior_of(), best)
    other = perturbed(kind, best, rng, size)
    assert expected_log_likelihood(X, resp, other) + niw_log_density(prior_of(), other) < top + 1e-9


@KINDS
@pytest.mark.parametrize("reg", [0.0, 1e-6])
def test_component_without_rows_leaves_finite_statistics(kind, reg):
    X = table()[0]
    moments = moments_by_hand(kind, X, np.tile([1.0, 0.0], (len(X), 1)))
    mixture = maximize(moments, None, settings_of(kind, "all", reg))
    chosen = evaluation_of(mixture, None, 100.0, np.dtype(np.float64))
    likelihood, after = free_moments(source_of(X), chosen)
    assert np.isfinite(likelihood)
    assert after.weight.sum() == pytest.approx(len(X))


# Rows measured once


@KINDS
@pytest.mark.parametrize("offset", [0.0, 1e6])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_labeled_moments_and_second_moment_are_those_about_the_mean(kind, offset, dtype):
    X, codes, weight = table()
    X = (X + offset).astype(dtype)
    rows = rows_of(X, codes, weight, kind, block_size=9)
    Z = X.astype(float) - rows.shift
    expected = moments_by_hand(kind, Z, one_hot(codes, 2) * weight[:, None])
    assert_same((rows.weight, rows.labeled), (weight.sum(), expected))
    free = np.where(codes < 0, weight, 0)
    assert_allclose(free @ Z, 0, atol=1e-6 * free.sum())
    assert rows.largest_square == pytest.approx((Z[codes < 0] ** 2).sum(axis=1).max(), rel=1e-6, abs=0.1 * offset / 1e6)
    assert (rows.n_known, rows.second_moment is None) == (2, kind != "tied")
    if kind == "tied":
        assert_allclose(rows.second_moment, (Z * free[:, None]).T @ Z, rtol=1e-9, atol=1e-9)


@KINDS
@pytest.mark.parametrize("container", [np.asarray, csr_array])
@given(seed=st.integers(0, 1000), block_size=st.integers(1, 90))
def test_group_moments_are_those_of_each_group(kind, container, seed, block_size):
    X, codes, weight = table(seed=seed)
    moments = group_moments(source_of(container(X), codes, weight, block_size), 3, kind, None)
    assert_same((0.0, moments), (0.0, moments_by_hand(kind, X, one_hot(codes, 3) * weight[:, None])))


@KINDS
@given(seed=st.integers(0, 1000))
def test_likelihood_from_moments_is_the_sum_over_labeled_rows(kind, seed):
    X, codes, weight = table(seed=seed)
    gaussians, member = mixture_of(kind).gaussians, one_hot(codes, 2) * weight[:, None]
    by_class = log_likelihood_of_moments(moments_by_hand(kind, X, member), gaussians)
    expected = (member * log_densities(X, gaussians)[:2].T).sum(axis=0)
    actual, wanted = (by_class.sum(), expected.sum()) if kind == "tied" else (by_class, expected)
    assert_allclose(actual, wanted, rtol=1e-10)


# The loop


@KINDS
@pytest.mark.parametrize("class_weights", ["unlabeled", "all", "uniform"])
@pytest.mark.parametrize("prior", [None, prior_of()])
def test_objective_is_the_penalized_likelihood_per_weight(kind, class_weights, prior):
    X, codes, weight = table()
    rows, mixture = rows_of(X, codes, weight, kind), mixture_of(kind)
    value, moments = expectation(rows, mixture, settings_of(kind, class_weights, prior=prior))
    log_weights = np.log(mixture.weights)
    densities = log_densities(X - rows.shift, mixture.gaussians).T
    own = densities + (log_weights if class_weights == "all" else 0)
    by_row = np.where(codes < 0, logsumexp(densities + log_weights, axis=1), own[np.arange(len(X)), codes])
    total = weight @ by_row + (log_weights[:2].sum() if class_weights == "unlabeled" else 0)
    total += 0 if prior is None else niw_log_density(prior, mixture.gaussians)
    assert value == pytest.approx(total / weight.sum(), rel=1e-10)
    resp = as_sklearn(kind, mixture).predict_proba(X - rows.shift) * np.where(codes < 0, weight, 0)[:, None]
    assert_same((0, moments), (0, moments_by_hand(kind, X - rows.shift, resp)))


@KINDS
@pytest.mark.parametrize("class_weights", ["unlabeled", "all", "uniform"])
@pytest.mark.parametrize("prior", [None, prior_of()])
@pytest.mark.parametrize("seed", range(3))
def test_no_step_lets_the_penalized_likelihood_fall(kind, class_weights, prior, seed):
    X, codes, weight = table(200, seed)
    rows, mixture = rows_of(X, codes, weight, kind), mixture_of(kind, seed=seed)
    settings, values = settings_of(kind, class_weights, prior=prior), []
    for _ in range(15):
        value, moments = expectation(rows, mixture, settings)
        values.append(value)
        mixture = maximize(moments, rows.labeled, settings)
    assert np.diff(values).min() > -1e-10
    assert values[-1] > values[0]


@KINDS
@pytest.mark.parametrize("prior", [None, prior_of()])
@pytest.mark.parametrize("reg", [0.0, 3.0])
def test_run_returns_its_best_parameters_and_their_moments(kind, prior, reg):
    X, codes, weight = table()
    rows, settings = rows_of(X, codes, weight, kind), settings_of(kind, reg=reg, prior=prior)
    fit = expectation_maximization(rows, mixture_of(kind), settings, 500, 1e-6)
    value, moments = expectation(rows, fit.mixture, settings)
    assert (np.diff(fit.lower_bounds) >= 0).all()
    assert fit.converged
    assert fit.objective == value == max(fit.lower_bounds)
    assert_same((0, fit.moments), (0, moments))


@KINDS
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("seed", range(3))
def test_without_labels_the_run_is_that_of_scikit_learn(kind, seed):
    X, start = table(300, seed)[0], mixture_of(kind, seed=seed)
    expected = as_sklearn(kind, start, tol=0.0, max_iter=12).fit(X)
    rows = measure_rows(source_of(X), Frame(None, float(len(X)), 1.0), None, kind)
    fit = expectation_maximization(rows, start, settings_of(kind, "all", 1e-6), 12, 0.0)
    assert_allclose(fit.mixture.gaussians.means, expected.means_, rtol=0, atol=1e-6)
    assert_allclose(fit.mixture.gaussians.covariances, expected.covariances_, rtol=0, atol=1e-6)
    assert_allclose(fit.mixture.weights, expected.weights_, rtol=0, atol=1e-8)
    assert_allclose(fit.lower_bounds[:-1], expected.lower_bounds_, rtol=1e-8)


def test_run_stops_when_told():
    seen = []
    rows, settings = rows_of(table()[0]), settings_of("full", reg=1e-3)

    def on_step(mixture, value):
        seen.append((mixture, value))
        return len(seen) == 3

    fit = expectation_maximization(rows, mixture_of("full"), settings, 50, 0.0, on_step)
    assert len(fit.lower_bounds) == 4
    assert (fit.mixture, fit.objective) == seen[-1]
    assert not fit.converged
