"""Likelihood-adjusted SDP: its criterion, the two solvers of the relaxation, the starts, and the estimator."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import GridSearchCV

from sklearn_sslcluster.numerics import COVARIANCE_TYPES
from sklearn_sslcluster.sdp import LikelihoodAdjustedSDP
from sklearn_sslcluster.sdp._lifted import (
    _Lagrangian,
    _onto_feasible,
    indicator_factor,
    lift,
    lifted_value,
    solve_lifted,
    start_factor,
)
from sklearn_sslcluster.sdp._lifted_reference import solve_reference
from sklearn_sslcluster.sdp._likelihood_search import settle
from sklearn_sslcluster.sdp._likelihood_starts import best_k_means, spectral_embedding, ward
from sklearn_sslcluster.sdp._profile_likelihood import (
    GroupProblem,
    classify,
    evaluate,
    fit_groups,
    point_costs,
)


def shaped(n_samples=120, separation=6.0, seed=0):
    """(rows, clusters): three long, thin Gaussians in the plane, two of them side by side."""
    rng = np.random.default_rng(seed)
    clusters = np.arange(n_samples) % 3
    spreads = np.array([[4.0, 0.4], [4.0, 0.4], [0.4, 2.0]])
    centers = np.array([[0.0, 0.0], [0.0, separation / 2], [separation * 2, 1.0]])
    return centers[clusters] + spreads[clusters] * rng.standard_normal((n_samples, 2)), clusters


def group_problem(X, n_groups, kind="full", *, weight=None, within=None, strength=2.0, spread=1.0):
    weight = np.ones(len(X)) if weight is None else weight
    within = np.zeros((0, X.shape[1], X.shape[1])) if within is None else within
    return GroupProblem(X, weight, within, n_groups, kind, strength, spread)


def covariances_of(gaussians):
    return np.array(gaussians.full_covariances())


def direct_value(problem, codes, covariances, means):
    """`F` from log densities of SciPy and the definition of the prior."""
    d, s = problem.n_features, problem.spread
    value = 0.0
    for a in range(problem.n_groups):
        rows = codes == a
        log_density = np.atleast_1d(multivariate_normal(means[a], covariances[a]).logpdf(problem.X[rows]))
        value += -2 * problem.weight[rows] @ (log_density + d / 2 * np.log(2 * np.pi))
    for a, scatter in enumerate(problem.within):
        value += np.trace(np.linalg.inv(covariances[a]) @ scatter)
    for covariance in covariances[:1] if problem.kind == "tied" else covariances:
        difference = np.linalg.slogdet(covariance)[1] - d * np.log(s) + s * np.trace(np.linalg.inv(covariance)) - d
        value += problem.strength * difference
    return value


def random_problem(kind, seed, n_known=0):
    rng = np.random.default_rng(seed)
    X, clusters = rng.normal(size=(24, 3)), np.arange(24) % 3
    roots = rng.normal(size=(n_known, 3, 3))
    within = roots @ roots.transpose(0, 2, 1)
    return group_problem(X, 3, kind, weight=rng.integers(1, 4, 24).astype(float), within=within), clusters


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
@pytest.mark.parametrize("n_known", [0, 2])
def test_value_is_the_likelihood_and_the_prior_by_definition(kind, n_known):
    problem, codes = random_problem(kind, 0, n_known)
    partition = evaluate(problem, codes)
    expected = direct_value(problem, codes, covariances_of(partition.gaussians), partition.gaussians.means)
    np.testing.assert_allclose(partition.value, expected, rtol=1e-10)


def test_covariance_is_the_ridge_that_minimizes_the_value():
    problem, codes = random_problem("full", 1)
    best = evaluate(problem, codes)
    covariances, means = covariances_of(best.gaussians), best.gaussians.means
    rows = codes == 1
    scatter = np.cov(problem.X[rows].T, aweights=problem.weight[rows], bias=True) * problem.weight[rows].sum()
    ridge = (scatter + problem.strength * np.eye(3)) / (problem.weight[rows].sum() + problem.strength)
    np.testing.assert_allclose(covariances[1], ridge)
    for seed in range(5):
        noise = np.random.default_rng(seed).normal(size=(3, 3, 3)) / 20
        moved = covariances + noise @ noise.transpose(0, 2, 1)
        assert direct_value(problem, codes, moved, means) > best.value


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_classification_steps_never_raise_the_value_and_end_at_a_fixed_point(kind, seed):
    problem, codes = random_problem(kind, seed)
    before = evaluate(problem, codes)
    after = classify(problem, codes)
    assert after.value <= before.value
    nearest = point_costs(problem.X, after.gaussians).argmin(axis=0)
    assert np.array_equal(nearest, after.codes) or len(np.unique(nearest)) < 3


def test_groups_that_lose_their_points_are_dropped():
    problem = group_problem(np.repeat([[0.0], [10.0]], 4, axis=0) + np.linspace(0, 1, 8)[:, None], 3)
    partition = evaluate(problem, np.array([0, 0, 0, 0, 1, 1, 1, 2]))
    far = partition.gaussians.means.copy()
    far[2] = 1e6
    moved = type(partition.gaussians)(
        "full", far, partition.gaussians.covariances, partition.gaussians.precisions_cholesky
    )
    settled, left, kept = settle(problem, type(partition)(partition.codes, moved, partition.sizes, 0.0))
    assert settled.n_groups == 2
    assert kept.tolist() == [0, 1]
    assert left.codes.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_relaxation_at_a_partition_is_its_value(kind):
    problem, codes = random_problem(kind, 2, n_known=2)
    codes[:2] = [0, 1]
    partition = evaluate(problem, codes)
    lifted = lift(problem, partition.gaussians)
    np.testing.assert_allclose(lifted_value(lifted, indicator_factor(lifted, codes)), partition.value, rtol=1e-10)


def test_multipliers_make_the_gradient_vanish_at_a_tied_partition():
    problem, codes = random_problem("tied", 5)
    lifted = lift(problem, evaluate(problem, codes).gaussians)
    U = indicator_factor(lifted, codes)
    _, gradient = _Lagrangian(lifted, codes).value_and_gradient(U)
    np.testing.assert_allclose(gradient[U > 0], 0, atol=1e-12)


def test_tied_relaxation_is_that_of_k_means_on_whitened_rows():
    problem, codes = random_problem("tied", 3)
    partition = evaluate(problem, codes)
    lifted = lift(problem, partition.gaussians)
    white = problem.X @ partition.gaussians.precisions_cholesky
    products = np.cov(white.T, aweights=problem.weight, bias=True) * problem.weight.sum()
    np.testing.assert_allclose(lifted.white[0].T @ lifted.white[0], products)
    assert lifted.n_blocks == 1
    assert lifted.trace == 3


@pytest.mark.parametrize("kind", ["full", "tied"])
def test_gradient_agrees_with_finite_differences(kind):
    problem, codes = random_problem(kind, 4)
    lifted = lift(problem, evaluate(problem, codes).gaussians)
    lagrangian = _Lagrangian(lifted, codes)
    rng = np.random.RandomState(0)
    lagrangian.y = rng.normal(size=24)
    U = start_factor(lifted, codes, rng)
    direction = rng.normal(size=U.shape)
    _, gradient = lagrangian.value_and_gradient(U)
    difference = lagrangian.value(U + 1e-6 * direction) - lagrangian.value(U - 1e-6 * direction)
    np.testing.assert_allclose((gradient * direction).sum(), difference / 2e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
@pytest.mark.parametrize("separation", [4.0, 6.0])
def test_low_rank_objective_agrees_with_the_conic_solver(kind, separation):
    X, clusters = shaped(30, separation)
    problem = group_problem(X, 3, kind, weight=np.random.default_rng(0).integers(1, 3, 30).astype(float))
    lifted = lift(problem, classify(problem, clusters).gaussians)
    reference = solve_reference(lifted, 20000, 1e-5)
    found = solve_lifted(lifted, classify(problem, clusters).codes, np.random.RandomState(0), 3000, 1e-4)
    assert reference.converged
    assert found.converged
    np.testing.assert_allclose(found.objective, reference.objective, rtol=1e-2)
    np.testing.assert_allclose(found.mass.sum(axis=0), found.mass.sum(axis=0).round(), atol=2e-3)


@pytest.mark.parametrize("kind", ["full", "tied"])
@pytest.mark.parametrize("solver", ["low-rank", "cvxpy"])
def test_known_points_stay_in_their_groups(kind, solver):
    X, clusters = shaped(24)
    order = np.r_[np.flatnonzero(clusters == 0)[0], np.flatnonzero(clusters == 0)[1], np.arange(6, 24)]
    problem = group_problem(X[order], 3, kind, within=np.zeros((2, 2, 2)))
    codes = clusters[order].copy()
    codes[:2] = [0, 1]
    lifted = lift(problem, evaluate(problem, codes).gaussians)
    if solver == "cvxpy":
        found = solve_reference(lifted, 20000, 1e-5)
    else:
        found = solve_lifted(lifted, codes, np.random.RandomState(0), 1000, 1e-4)
    Y = found.factor @ found.factor.transpose(0, 2, 1)
    if kind == "tied":
        np.testing.assert_allclose(Y[0, 0, 1], 0, atol=1e-3)
    else:
        np.testing.assert_allclose(found.mass[:, :2], np.eye(3)[:, :2], atol=2e-3)


def test_projection_gives_nonnegative_factors_of_the_right_norm():
    problem, codes = random_problem("full", 5)
    lifted = lift(problem, evaluate(problem, codes).gaussians)
    U = _onto_feasible(lifted, np.random.RandomState(0).normal(size=(3, 24, 2)))
    assert U.min() >= 0
    np.testing.assert_allclose((U**2).sum(axis=(1, 2)), 1)
    assert _onto_feasible(lifted, -np.ones((3, 24, 2))).min() > 0


def test_ward_agrees_with_scikit_learn_and_weights_repeat_points():
    X, _ = shaped(40, seed=3)
    codes = ward(X, np.ones(40), 0, 4)
    assert adjusted_rand_score(codes, AgglomerativeClustering(4).fit_predict(X)) == 1
    weight = np.random.default_rng(0).integers(1, 4, 40)
    repeated = AgglomerativeClustering(4).fit_predict(np.repeat(X, weight, axis=0))
    assert adjusted_rand_score(np.repeat(ward(X, weight.astype(float), 0, 4), weight), repeated) == 1


def test_ward_keeps_known_points_apart():
    X, clusters = shaped(40, seed=3)
    first = np.flatnonzero(clusters == 0)[:3]
    order = np.r_[first, np.setdiff1d(np.arange(40), first)]
    assert ward(X[order], np.ones(40), 3, 4)[:3].tolist() == [0, 1, 2]


def test_spectral_embedding_is_that_of_the_repeated_table():
    X, _ = shaped(30, seed=1)
    weight = np.random.default_rng(1).integers(1, 4, 30)
    once = spectral_embedding(X, weight.astype(float), 3, 4.0)[np.repeat(np.arange(30), weight)]
    repeated = spectral_embedding(np.repeat(X, weight, axis=0), np.ones(weight.sum()), 3, 4.0)
    np.testing.assert_allclose(once @ once.T, repeated @ repeated.T, atol=1e-6)


def test_weighted_k_means_reaches_the_inertia_of_scikit_learn():
    X, _ = shaped(60)
    weight = np.random.default_rng(0).uniform(0.5, 2, 60)
    _, inertia = best_k_means(X, weight, 0, 3, 40, np.random.RandomState(0))
    expected = KMeans(3, n_init=20, random_state=0).fit(X, sample_weight=weight).inertia_
    np.testing.assert_allclose(inertia, expected, rtol=1e-6)


def estimator(n_clusters=3, **parameters):
    return LikelihoodAdjustedSDP(n_clusters, random_state=0, **{"n_init": 2, **parameters})


def test_finds_clusters_that_differ_in_shape():
    X, clusters = shaped()
    model = estimator().fit(X)
    assert adjusted_rand_score(clusters, model.labels_) > 0.95
    assert adjusted_rand_score(clusters, KMeans(3, n_init=10, random_state=0).fit_predict(X)) < 0.8


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_path_never_rises_and_ends_at_the_objective(kind):
    X, _ = shaped(separation=2.0)
    model = estimator(covariance_type=kind, init="random").fit(X)
    path = np.array(model.objective_path_)
    assert (np.diff(path) <= 0).all()
    assert path[-1] == model.objective_
    assert model.n_iter_ == len(path) - 1
    assert model.relaxed_objective_ < model.objective_ + 1e-2 * abs(model.objective_)


def test_objective_is_the_value_of_the_labels_in_the_units_of_the_rows():
    X, _ = shaped()
    model = estimator(reg_covar=3.0).fit(1000 * X)
    codes = model.labels_
    _, inertia = best_k_means(X, np.ones(120), 0, 3, 10, np.random.RandomState(0))
    problem = group_problem(1000 * X, 3, strength=3.0, spread=1e6 * inertia / 240)
    np.testing.assert_allclose(model.objective_, evaluate(problem, codes).value, rtol=1e-8)


@pytest.mark.parametrize("labeled", [False, True])
def test_best_of_all_partitions_of_few_rows(labeled):
    for seed in range(3):
        X = np.random.default_rng(seed).normal(size=(9, 2))
        y = np.array([0, 1] + [-1] * 7) if labeled else np.full(9, -1)
        model = estimator(2, n_init=5).fit(X, y)
        _, inertia = best_k_means(X, np.ones(9), 2 * labeled, 2, 10, np.random.RandomState(0))
        problem = group_problem(X, 2, spread=inertia / 18, within=np.zeros((2 * labeled, 2, 2)))
        every = (np.array(codes) for codes in product([0, 1], repeat=9))
        allowed = (codes for codes in every if 0 < codes.sum() < 9 and (not labeled or codes[:2].tolist() == [0, 1]))
        best = min(evaluate(problem, codes).value for codes in allowed)
        np.testing.assert_allclose(model.objective_, best, rtol=1e-9)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_weights_are_repeated_rows(kind):
    X, _ = shaped(60, separation=3.0)
    weight = np.random.default_rng(0).integers(0, 3, 60)
    repeat = np.repeat(np.arange(60), weight)
    weighted = estimator(covariance_type=kind).fit(X, sample_weight=weight)
    repeated = estimator(covariance_type=kind).fit(X[repeat])
    np.testing.assert_array_equal(weighted.labels_[repeat], repeated.labels_)
    np.testing.assert_allclose(weighted.means_, repeated.means_)
    np.testing.assert_allclose(weighted.covariances_, repeated.covariances_)
    np.testing.assert_allclose(weighted.objective_path_, repeated.objective_path_)
    # Hundreds of gradient steps carry on what rounding of the weights there is.
    np.testing.assert_allclose(weighted.membership_[repeat], repeated.membership_, atol=1e-2)


def test_labeled_rows_keep_their_classes_and_form_the_covariances():
    X, clusters = shaped()
    y = np.where(np.arange(120) % 4 == 0, clusters, -1)
    y[clusters == 2] = -1
    model = estimator().fit(X, y)
    np.testing.assert_array_equal(model.labels_[y >= 0], y[y >= 0])
    np.testing.assert_array_equal(model.membership_[y >= 0], np.eye(3)[y[y >= 0]])
    assert model.novel_classes_.tolist() == [2]
    assert (model.labels_ == clusters).mean() > 0.97
    rows = model.labels_ == 0
    scatter = np.cov(X[rows].T, bias=True) * rows.sum()
    shrunk = model.covariances_[0] * (rows.sum() + 2) - scatter
    np.testing.assert_allclose(shrunk, shrunk[0, 0] * np.eye(2), atol=1e-8)


def test_row_labeled_against_its_place_is_kept():
    X, clusters = shaped()
    y = np.full(120, -1)
    y[[0, 1]] = clusters[[1, 0]]
    model = estimator().fit(X, y)
    np.testing.assert_array_equal(model.labels_[:2], y[:2])


@pytest.mark.parametrize("init", ["ward", "k-means++", "spectral", "random"])
def test_every_start_finds_separate_clusters(init):
    X, clusters = shaped(separation=12.0)
    assert adjusted_rand_score(clusters, estimator(init=init).fit(X).labels_) > 0.95


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_densities_are_those_of_scipy(kind):
    X, _ = shaped(60)
    model = estimator(covariance_type=kind).fit(X)
    covariances = covariances_of(model._gaussians())
    normals = [multivariate_normal(mean, cov) for mean, cov in zip(model.means_, covariances, strict=True)]
    density = np.stack([normal.pdf(X) for normal in normals], axis=1)
    np.testing.assert_allclose(model.predict_proba(X), density / density.sum(axis=1, keepdims=True), atol=1e-9)
    np.testing.assert_allclose(model.score(X), np.log(density @ model.class_prior_).mean())
    np.testing.assert_array_equal(model.predict(X), density.argmax(axis=1))
    squares = [np.einsum("ij,jk,ik->i", X - n.mean, np.linalg.inv(n.cov), X - n.mean) for n in normals]
    np.testing.assert_allclose(model.transform(X), np.sqrt(np.stack(squares, axis=1)))


def test_membership_of_rows_between_two_clusters_is_divided():
    X, _ = shaped(60, separation=1.5)
    model = estimator().fit(X)
    np.testing.assert_allclose(model.membership_.sum(axis=1), 1)
    assert model.membership_.min() >= 0
    assert (model.membership_.max(axis=1) < 0.95).any()


def test_reference_solver_finds_the_same_labels():
    X, _ = shaped(30, separation=8.0)
    low_rank, reference = (estimator(n_init=1, solver=solver).fit(X) for solver in ("low-rank", "cvxpy"))
    np.testing.assert_array_equal(low_rank.labels_, reference.labels_)
    np.testing.assert_allclose(low_rank.relaxed_objective_, reference.relaxed_objective_, rtol=1e-2)


def test_discriminant_axes_do_not_change_the_scale_of_the_objective():
    rng = np.random.default_rng(0)
    X, clusters = shaped()
    X = np.hstack([X, rng.normal(size=(120, 6))])
    plain, reduced = (estimator(dim_reduction=kind).fit(X) for kind in (None, "lda"))
    assert adjusted_rand_score(clusters, reduced.labels_) > 0.9
    np.testing.assert_allclose(plain.objective_, reduced.objective_, rtol=0.05)


@pytest.mark.parametrize(
    ("X", "n_clusters", "n_found"),
    [
        (np.arange(12.0).reshape(6, 2), 1, 1),
        (np.random.default_rng(0).normal(size=(6, 2)), 6, 6),
        (np.column_stack([shaped(30)[0], np.full(30, 7.0)]), 3, 3),
        (np.tile(shaped(15)[0], (3, 1)), 3, 3),
        (shaped(30)[0] @ np.random.default_rng(1).normal(size=(2, 50)), 3, 3),
        (np.vstack([shaped(30)[0], [[1000.0, 1000.0]]]), 4, 4),
        (np.ones((5, 2)), 1, 1),
    ],
    ids=[
        "one cluster",
        "all rows clusters",
        "constant column",
        "duplicates",
        "more columns",
        "singleton",
        "equal rows",
    ],
)
@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_degenerate_tables_have_sensible_answers(X, n_clusters, n_found, kind):
    model = estimator(n_clusters, covariance_type=kind).fit(X)
    assert model.n_clusters_ == n_found
    for values in (model.means_, model.covariances_, model.membership_, model.objective_, model.relaxed_objective_):
        assert np.isfinite(values).all()
    np.testing.assert_array_equal(model.predict(X), model.labels_)


def test_far_row_is_a_cluster_of_its_own():
    X = np.vstack([shaped(30)[0], [[1000.0, 1000.0]]])
    labels = estimator(4).fit(X).labels_
    assert (labels == labels[-1]).sum() == 1


def test_more_clusters_than_distinct_rows_warn():
    with pytest.warns(UserWarning, match="Only 3 clusters"):
        model = estimator(5).fit(np.repeat(np.eye(3), 4, axis=0))
    assert model.n_clusters_ == 3


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_auto_finds_the_planted_number(kind):
    centers = np.array([[0, 0], [20, 0], [0, 20], [20, 20]])
    X = np.random.default_rng(0).normal(size=(120, 2)) + centers[np.arange(120) % 4]
    model = estimator("auto", covariance_type=kind, k_max=8).fit(X)
    assert model.n_clusters_ == 4
    assert min(model.n_clusters_scores_, key=model.n_clusters_scores_.get) == 4


def test_plain_grid_search_finds_the_planted_number():
    rng = np.random.default_rng(0)
    centers = np.array([[0, 0, 0], [14, 0, 3], [0, 15, -2], [13, 16, 0], [6, 7, 17]])
    X = rng.normal(size=(150, 3)) + centers[rng.integers(0, 5, 150)]
    search = GridSearchCV(estimator(n_init=1), {"n_clusters": [4, 5, 6]}, cv=2).fit(X)
    assert search.best_params_["n_clusters"] == 5


def test_large_tables_are_fitted_on_a_sample(monkeypatch):
    monkeypatch.setattr("sklearn_sslcluster.numerics.center_fit.sample_size", lambda *_: 100)
    X, clusters = shaped(400)
    model = estimator().fit(X)
    assert adjusted_rand_score(clusters, model.labels_) > 0.9
    np.testing.assert_array_equal(model.predict(X), model.labels_)
    np.testing.assert_allclose(model.membership_, model.predict_proba(X))


def test_many_points_are_summarized_for_the_starts_that_need_distances(monkeypatch):
    monkeypatch.setattr("sklearn_sslcluster.sdp._likelihood_starts._MOST_POINTS", 50)
    X, clusters = shaped(300, separation=12.0)
    y = np.where(np.arange(300) < 30, clusters, -1)
    for init in ("ward", "spectral"):
        assert adjusted_rand_score(clusters, estimator(init=init).fit(X, y).labels_) > 0.95


def test_soft_shares_weigh_points_of_a_group_by_their_share():
    problem, _ = random_problem("full", 6)
    shares = np.random.default_rng(0).dirichlet(np.ones(3), 24).T
    gaussians, sizes = fit_groups(problem, shares)
    np.testing.assert_allclose(sizes, shares @ problem.weight)
    np.testing.assert_allclose(gaussians.means[1], np.average(problem.X, axis=0, weights=shares[1] * problem.weight))
