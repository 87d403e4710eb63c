"""Gaussian components: densities, factors of precisions, moments, the normal-inverse-Wishart prior."""

from itertools import combinations_with_replacement

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array, csr_matrix
from scipy.special import gammaln
from scipy.stats import invwishart, multivariate_normal, multivariate_t, norm

from sklearn_sslcluster.numerics.gaussians import (
    COVARIANCE_TYPES,
    Moments,
    NormalInverseWishart,
    add_moments,
    dirichlet_log_marginal,
    expand,
    expanded_features,
    largest_precision,
    log_densities,
    log_determinants,
    make_gaussians,
    merge_groups,
    n_expanded,
    n_parameters,
    niw_log_density,
    niw_log_marginal,
    niw_posterior,
    precision_factor,
)

KINDS = pytest.mark.parametrize("kind", COVARIANCE_TYPES)
SEPARATE = pytest.mark.parametrize("kind", ["full", "diag", "spherical"])
SEEDS = st.integers(0, 10**6)


def spd(rng, n_features, largest=1.0):
    """A well-conditioned covariance."""
    root = rng.normal(size=(n_features, n_features))
    return largest * (root @ root.T / n_features + 0.2 * np.eye(n_features))


def components(kind, n_components=3, n_features=4, seed=0):
    """(means, covariances) of the shapes of scikit-learn."""
    rng = np.random.RandomState(seed)
    covariances = {
        "full": lambda: np.stack([spd(rng, n_features) for _ in range(n_components)]),
        "tied": lambda: spd(rng, n_features),
        "diag": lambda: rng.uniform(0.2, 3, size=(n_components, n_features)),
        "spherical": lambda: rng.uniform(0.2, 3, size=n_components),
    }[kind]()
    return rng.normal(size=(n_components, n_features)), covariances


def matrices(kind, covariances, n_components, n_features):
    """A covariance matrix for each component."""
    if kind == "tied":
        return [covariances] * n_components
    if kind == "spherical":
        return [variance * np.eye(n_features) for variance in covariances]
    return list(covariances) if kind == "full" else [np.diag(variances) for variances in covariances]


def scatter_by_hand(kind, groups):
    """Scatter of groups, each (rows, weights, mean), in the shape of ``Moments.scatter``."""
    products = np.stack([(X - mean).T @ np.diag(weight) @ (X - mean) for X, weight, mean in groups])
    if kind in ("full", "tied"):
        return products if kind == "full" else products.sum(axis=0)
    squares = np.diagonal(products, axis1=1, axis2=2)
    return squares if kind == "diag" else squares.sum(axis=1)


def moments_by_hand(kind, groups):
    """Moments of groups, each (rows, weights)."""
    means = [np.average(X, axis=0, weights=w) if len(X) and w.sum() > 0 else np.zeros(X.shape[1]) for X, w in groups]
    scatter = scatter_by_hand(kind, [(X, w, mean) for (X, w), mean in zip(groups, means, strict=True)])
    return Moments(np.array([w.sum() for _, w in groups]), np.array(means), scatter)


def random_groups(rng, n_groups, n_features, offset=0.0):
    sizes = rng.randint(0, 6, size=n_groups)
    return [(rng.normal(size=(n, n_features)) + offset, rng.uniform(0.1, 3, size=n)) for n in sizes]


def assert_same_moments(moments, expected, atol=1e-9):
    for name in ("weight", "means", "scatter"):
        assert_allclose(getattr(moments, name), getattr(expected, name), rtol=1e-9, atol=atol, err_msg=name)


def prior_of(n_features=3, seed=0):
    rng = np.random.RandomState(seed)
    return NormalInverseWishart(rng.normal(size=n_features), 0.7, n_features + 1.5, spd(rng, n_features))


def one_group(X):
    return moments_by_hand("full", [(X, np.ones(len(X)))])


def log_predictive_chain(prior, X):
    """Log marginal likelihood as a product of Student-t densities, each of a row given those before."""
    n_features, total = len(prior.mean), 0.0
    for x in X:
        dof = prior.dof - n_features + 1
        shape = prior.scale * (prior.mean_strength + 1) / (prior.mean_strength * dof)
        total += multivariate_t(prior.mean, shape, df=dof).logpdf(x)
        prior = niw_posterior(prior, 1.0, x, np.zeros((n_features, n_features)))
    return total


# Densities


@KINDS
@pytest.mark.parametrize("n_features", [1, 4])
def test_log_densities_are_those_of_scipy(kind, n_features):
    means, covariances = components(kind, n_features=n_features)
    X = np.random.RandomState(1).normal(size=(20, n_features)) * 3
    gaussians, n_repaired = make_gaussians(kind, means, covariances)
    pairs = zip(means, matrices(kind, covariances, *means.shape), strict=True)
    expected = [multivariate_normal(mean, covariance).logpdf(X) for mean, covariance in pairs]
    assert_allclose(log_densities(X, gaussians), expected, rtol=1e-11)
    assert n_repaired == 0


@pytest.mark.parametrize("kind", ["diag", "spherical"])
@pytest.mark.parametrize("container", [csr_array, csr_matrix])
def test_log_densities_of_sparse_rows_are_those_of_dense_ones(kind, container):
    X = np.random.RandomState(1).poisson(0.5, size=(20, 4)).astype(float)
    gaussians, _ = make_gaussians(kind, *components(kind))
    assert_allclose(log_densities(container(X), gaussians), log_densities(X, gaussians), rtol=1e-12)


@KINDS
@pytest.mark.parametrize(("dtype", "atol"), [(np.float64, 1e-11), (np.float32, 1e-4)])
@pytest.mark.parametrize("n_features", [1, 5])
def test_expanded_log_densities_are_those_by_differences(kind, dtype, atol, n_features):
    gaussians, _ = make_gaussians(kind, *components(kind, n_features=n_features))
    X = np.random.RandomState(1).normal(size=(20, n_features))
    log_weights = np.log([0.2, 0.5, 0.3])
    expansion = expand(gaussians, log_weights)
    features = np.full((n_expanded(kind, n_features), len(X)), np.nan, dtype=dtype)
    expanded_features(X.T.astype(dtype), kind, expansion.metric, features)
    joint = expansion.coefficients @ features + expansion.constant[:, None]
    assert_allclose(joint, log_densities(X, gaussians) + log_weights[:, None], rtol=0, atol=atol)


@KINDS
def test_log_determinants_are_half_of_those_of_the_precisions(kind):
    means, covariances = components(kind)
    gaussians, _ = make_gaussians(kind, means, covariances)
    expected = [-0.5 * np.linalg.slogdet(matrix)[1] for matrix in matrices(kind, covariances, *means.shape)]
    assert_allclose(log_determinants(gaussians), expected, rtol=1e-11)


@KINDS
def test_full_matrices_of_components_are_covariances_and_factors_of_their_inverses(kind):
    means, covariances = components(kind)
    gaussians, _ = make_gaussians(kind, means, covariances)
    expected = np.stack(matrices(kind, covariances, *means.shape))
    factors = gaussians.full_precision_factors()
    assert_array_equal(gaussians.full_covariances(), expected)
    assert_allclose(factors @ factors.transpose(0, 2, 1), np.linalg.inv(expected), rtol=1e-10, atol=1e-12)


@KINDS
def test_subset_has_the_densities_of_the_components_chosen(kind):
    gaussians, _ = make_gaussians(kind, *components(kind))
    X = np.random.RandomState(1).normal(size=(9, 4))
    kept = np.array([2, 0])
    assert_array_equal(log_densities(X, gaussians.subset(kept)), log_densities(X, gaussians)[kept])


@KINDS
def test_largest_precision_is_the_largest_eigenvalue(kind):
    means, covariances = components(kind, n_features=6)
    gaussians, _ = make_gaussians(kind, means, covariances)
    smallest = min(np.linalg.eigvalsh(matrix)[0] for matrix in matrices(kind, covariances, *means.shape))
    assert largest_precision(gaussians) == pytest.approx(1 / smallest, rel=1e-9)


@KINDS
@pytest.mark.parametrize(("n_components", "n_features"), [(1, 1), (3, 4), (5, 2)])
def test_n_parameters_counts_free_entries(kind, n_components, n_features):
    entries = {
        "full": n_components * len(list(combinations_with_replacement(range(n_features), 2))),
        "tied": len(list(combinations_with_replacement(range(n_features), 2))),
    }
    means, covariances = components(kind, n_components, n_features)
    free = means.size + entries.get(kind, covariances.size) + n_components - 1
    assert n_parameters(kind, n_components, n_features) == free


# Factors of precisions


@given(seed=SEEDS, n_features=st.integers(1, 8), exponent=st.integers(-100, 100))
def test_precision_factor_is_upper_triangular_and_squares_to_the_inverse_at_any_scale(seed, n_features, exponent):
    covariance = spd(np.random.RandomState(seed), n_features, 10.0**exponent)
    factor, repaired = precision_factor(covariance)
    assert not repaired
    assert_array_equal(factor, np.triu(factor))
    assert_allclose(covariance @ factor @ factor.T, np.eye(n_features), rtol=0, atol=1e-9)


@given(seed=SEEDS, n_features=st.integers(2, 8), exponent=st.integers(-50, 50))
def test_singular_covariance_keeps_its_inverse_where_it_has_one(seed, n_features, exponent):
    rng = np.random.RandomState(seed)
    rotation = np.linalg.qr(rng.normal(size=(n_features, n_features)))[0]
    variances = np.append(rng.uniform(0.5, 2, size=n_features - 1), 0.0) * 10.0**exponent
    factor, _ = precision_factor((rotation * variances) @ rotation.T)
    precision = rotation.T @ factor @ factor.T @ rotation * 10.0**exponent
    assert np.isfinite(precision).all()
    alive = precision[:-1, :-1] - precision[:-1, -1:] @ precision[-1:, :-1] / precision[-1, -1]
    assert_allclose(alive, np.diag(10.0**exponent / variances[:-1]), rtol=0, atol=1e-3)
    assert precision[-1, -1] > 1e6


@pytest.mark.parametrize(
    "covariance",
    [np.diag([1.0, 2.0, 0.0]), np.diag([1.0, 2.0, -1.0]), np.array([[1.0, 2, 0], [2, 1, 0], [0, 0, 1]])],
    ids=["singular", "negative variance", "correlation above one"],
)
def test_repaired_factor_is_said_to_be_so_finite_and_triangular(covariance):
    factor, repaired = precision_factor(covariance)
    assert repaired
    assert_array_equal(factor, np.triu(factor))
    assert np.isfinite(factor @ factor.T).all()
    assert (np.diagonal(factor) > 0).all()


@KINDS
def test_components_without_any_variance_are_counted_and_have_finite_precisions(kind):
    means, covariances = components(kind)
    gaussians, n_repaired = make_gaussians(kind, means, np.zeros_like(covariances))
    factors = gaussians.full_precision_factors()
    assert n_repaired > 0
    assert np.isfinite(factors @ factors.transpose(0, 2, 1)).all()
    assert np.isfinite(largest_precision(gaussians))


# Moments


@KINDS
@given(seed=SEEDS, offset=st.sampled_from([0.0, 3.0]))
def test_added_moments_are_those_of_the_rows_together(kind, seed, offset):
    rng = np.random.RandomState(seed)
    first, second = random_groups(rng, 4, 3), random_groups(rng, 4, 3, offset)
    both = [(np.vstack([X, Y]), np.append(v, w)) for (X, v), (Y, w) in zip(first, second, strict=True)]
    total = add_moments(kind, moments_by_hand(kind, first), moments_by_hand(kind, second))
    assert_same_moments(total, moments_by_hand(kind, both))


@pytest.mark.parametrize(("kind", "others"), [("full", np.s_[1:, 1:]), ("diag", np.s_[1:])])
def test_features_keep_their_scatter_where_means_are_a_million_apart_in_another(kind, others):
    rng = np.random.RandomState(0)
    near = [(rng.normal(size=(50, 3)), np.ones(50)) for _ in range(2)]
    far = [near[0], (near[1][0] + [1e6, 0, 0], near[1][1])]
    scatters = [merge_groups(kind, moments_by_hand(kind, groups), 0, 1).scatter[0] for groups in (near, far)]
    assert_allclose(scatters[1][others], scatters[0][others], rtol=1e-12)
    both = moments_by_hand(kind, [(np.vstack([X for X, _ in far]), np.ones(100))])
    assert_allclose(scatters[1], both.scatter[0], rtol=1e-9)


@KINDS
def test_groups_far_from_the_origin_but_together_add_without_cancellation(kind):
    rng = np.random.RandomState(0)
    first, second = (moments_by_hand(kind, [(rng.normal(size=(40, 3)), np.ones(40))]) for _ in range(2))
    near = add_moments(kind, first, second)
    far = add_moments(kind, *(Moments(part.weight, part.means + 1e6, part.scatter) for part in (first, second)))
    assert_allclose(far.scatter, near.scatter, rtol=1e-7)
    assert_allclose(far.means, near.means + 1e6, rtol=1e-15)


@SEPARATE
@given(seed=SEEDS)
def test_merged_groups_are_one_whatever_their_order(kind, seed):
    groups = random_groups(np.random.RandomState(seed), 3, 3)
    moments = moments_by_hand(kind, groups)
    expected = moments_by_hand(kind, [(np.vstack([groups[2][0], groups[0][0]]), np.append(groups[2][1], groups[0][1]))])
    assert_same_moments(merge_groups(kind, moments, 2, 0), expected)
    assert_same_moments(merge_groups(kind, moments, 0, 2), expected)


@KINDS
def test_scaled_moments_are_those_of_rows_with_scaled_weights(kind):
    groups = random_groups(np.random.RandomState(3), 3, 3)
    expected = moments_by_hand(kind, [(X, 2.5 * weight) for X, weight in groups])
    assert_same_moments(moments_by_hand(kind, groups).scaled(2.5), expected)


# The normal-inverse-Wishart prior


@given(seed=SEEDS, n_rows=st.integers(1, 8))
def test_marginal_likelihood_is_a_chain_of_student_predictives(seed, n_rows):
    X = np.random.RandomState(seed).normal(size=(n_rows, 3)) * 2
    assert niw_log_marginal(prior_of(), one_group(X))[0] == pytest.approx(log_predictive_chain(prior_of(), X), abs=1e-9)


def test_marginal_likelihood_of_integer_weights_is_that_of_repeated_rows():
    rng = np.random.RandomState(0)
    X, repeats = rng.normal(size=(5, 3)), np.array([1, 3, 2, 1, 4])
    weighted = moments_by_hand("full", [(X, repeats.astype(float))])
    expected = log_predictive_chain(prior_of(), np.repeat(X, repeats, axis=0))
    assert niw_log_marginal(prior_of(), weighted)[0] == pytest.approx(expected)


def test_groups_have_their_own_marginals_and_an_empty_group_has_none():
    rng = np.random.RandomState(0)
    groups = [(rng.normal(size=(n, 3)), np.ones(n)) for n in (4, 0, 7)]
    expected = [log_predictive_chain(prior_of(), X) for X, _ in groups]
    assert_allclose(niw_log_marginal(prior_of(), moments_by_hand("full", groups)), expected, rtol=1e-10, atol=1e-10)


@given(seed=SEEDS)
def test_posterior_of_all_rows_is_that_of_one_part_after_the_other(seed):
    rng = np.random.RandomState(seed)
    X, Y = rng.normal(size=(4, 3)), rng.normal(size=(6, 3)) + 2
    parts, prior = [one_group(X), one_group(Y)], prior_of()
    for part in parts:
        prior = niw_posterior(prior, part.weight[0], part.means[0], part.scatter[0])
    both = one_group(np.vstack([X, Y]))
    at_once = niw_posterior(prior_of(), both.weight[0], both.means[0], both.scatter[0])
    for name in ("mean", "mean_strength", "dof", "scale"):
        assert_allclose(getattr(prior, name), getattr(at_once, name), rtol=1e-10, atol=1e-12)


@given(seed=SEEDS, step=st.floats(-100, 100), log_scale=st.floats(-3, 3))
def test_marginal_likelihood_moves_with_rows_and_scales_like_a_density(seed, step, log_scale):
    X = np.random.RandomState(seed).normal(size=(6, 3))
    prior, scale = prior_of(), np.exp(log_scale)
    moved = NormalInverseWishart(scale * (prior.mean + step), prior.mean_strength, prior.dof, scale**2 * prior.scale)
    expected = niw_log_marginal(prior, one_group(X))[0] - X.size * log_scale
    assert niw_log_marginal(moved, one_group(scale * (X + step)))[0] == pytest.approx(expected, abs=1e-7)


def scipy_niw_log_density(prior, kind, means, covariances):
    n_features = len(prior.mean)
    if kind in ("full", "tied"):
        covariance_of = matrices(kind, covariances, *means.shape)
        distinct = covariance_of[:1] if kind == "tied" else covariance_of
        wishart = sum(invwishart(prior.dof, prior.scale).logpdf(one) for one in distinct)
        pairs = zip(means, covariance_of, strict=True)
        return wishart + sum(multivariate_normal(prior.mean, c / prior.mean_strength).logpdf(m) for m, c in pairs)
    total = 0.0
    variances = np.broadcast_to(covariances.reshape(len(means), -1), means.shape)
    for j in range(n_features):
        total += invwishart(prior.dof, prior.scale[j, j]).logpdf(variances[:, j]).sum()
        total += norm(prior.mean[j], np.sqrt(variances[:, j] / prior.mean_strength)).logpdf(means[:, j]).sum()
    return total


@KINDS
def test_log_density_of_the_prior_is_that_of_scipy(kind):
    means, covariances = components(kind, n_features=3)
    gaussians, _ = make_gaussians(kind, means, covariances)
    expected = scipy_niw_log_density(prior_of(), kind, means, covariances)
    assert niw_log_density(prior_of(), gaussians) == pytest.approx(expected, rel=1e-10)


@KINDS
def test_shifted_prior_gives_shifted_components_the_same_density(kind):
    means, covariances = components(kind, n_features=3)
    shift = np.array([5.0, -2.0, 0.5])
    there, here = (make_gaussians(kind, m, covariances)[0] for m in (means, means - shift))
    prior = prior_of()
    shifted = NormalInverseWishart(prior.mean - shift, prior.mean_strength, prior.dof, prior.scale)
    assert niw_log_density(shifted, here) == pytest.approx(niw_log_density(prior, there))


# Partitions


@given(counts=st.lists(st.integers(1, 9), min_size=1, max_size=6), concentration=st.floats(0.01, 100))
def test_partition_probability_is_that_of_guests_seated_one_by_one(counts, concentration):
    log_probability, n_seated = 0.0, 0
    for count in counts:
        for n_at_table in range(count):
            log_probability += np.log((n_at_table or concentration) / (concentration + n_seated))
            n_seated += 1
    assert dirichlet_log_marginal(np.array(counts), concentration) == pytest.approx(log_probability, abs=1e-9)


@given(seed=SEEDS, sizes=st.tuples(st.integers(1, 9), st.integers(1, 9)), concentration=st.floats(0.1, 10))
def test_log_hastings_ratio_of_a_merge_is_the_negative_of_that_of_the_split(seed, sizes, concentration):
    rng = np.random.RandomState(seed)
    rest, X, Y = rng.normal(size=(5, 3)), rng.normal(size=(sizes[0], 3)) + 2, rng.normal(size=(sizes[1], 3))
    moments = moments_by_hand("full", [(Z, np.ones(len(Z))) for Z in (rest, X, Y)])
    merged = merge_groups("full", moments, 1, 2)
    apart, joined = moments.weight, np.append(moments.weight[0], merged.weight)
    log_h_merge = dirichlet_log_marginal(joined, concentration) - dirichlet_log_marginal(apart, concentration)
    log_h_merge += float(niw_log_marginal(prior_of(), merged)[0] - niw_log_marginal(prior_of(), moments)[1:].sum())
    log_f = [log_predictive_chain(prior_of(), Z) for Z in (X, Y, np.vstack([X, Y]))]
    log_h_split = np.log(concentration) + gammaln(sizes).sum() - gammaln(sum(sizes)) + log_f[0] + log_f[1] - log_f[2]
    assert log_h_merge == pytest.approx(-log_h_split, abs=1e-8)
