"""SDPKMeans: solutions, partial labels, weights, awkward tables."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score

from sklearn_sslcluster.sdp import KMeansCertificate, SDPKMeans, SketchAndLiftKMeans, _reference
from tests.sdp_tools import best_inertia, blobs, inertia_of

SOLVERS = ["admm", "low-rank", "cvxpy"]
EXACT = 1 + 1e-12


def fit(X, n_clusters, y=None, sample_weight=None, **parameters):
    return SDPKMeans(n_clusters, random_state=0, **parameters).fit(X, y, sample_weight)


# Attributes and how they belong together


@pytest.fixture(scope="module", params=[(solver, weighted) for solver in SOLVERS for weighted in (False, True)])
def fitted(request):
    """(rows, weights or None, model) on blobs that overlap, so that a solver has to run."""
    solver, weighted = request.param
    X, _ = blobs(48, 3, n_features=4)
    weight = np.random.default_rng(0).uniform(0.5, 3, 48) if weighted else None
    return X, weight, fit(X, 4, None, weight, solver=solver)


def test_membership_is_the_product_of_the_factor(fitted):
    X, _, model = fitted
    assert model.solver_ in SOLVERS
    assert model.factor_.shape[0] == len(X)
    assert_allclose(model.membership_, model.factor_ @ model.factor_.T, atol=1e-14)


def test_weighted_sums_of_the_rows_of_the_membership_are_one(fitted):
    X, weight, model = fitted
    assert_allclose(model.membership_ @ (np.ones(len(X)) if weight is None else weight), 1, atol=2e-3)


def test_membership_is_nearly_nonnegative_with_weighted_trace_k(fitted):
    X, weight, model = fitted
    assert model.membership_.min() > -1e-3
    assert np.diag(model.membership_) @ (np.ones(len(X)) if weight is None else weight) == pytest.approx(4, rel=1e-3)


def test_objective_is_that_of_the_membership(fitted):
    X, weight, model = fitted
    weight = np.ones(len(X)) if weight is None else weight
    D = ((X[:, None] - X) ** 2).sum(axis=2)
    assert model.objective_ == pytest.approx((np.outer(weight, weight) * D * model.membership_).sum() / 2, rel=2e-3)


def test_bound_is_near_the_objective_and_both_below_the_inertia(fitted):
    _, _, model = fitted
    # A factor of few non-negative columns may not reach the value of the relaxation.
    rel = 0.03 if model.solver_ == "low-rank" else 2e-3
    assert model.lower_bound_ == pytest.approx(model.objective_, rel=rel)
    assert model.lower_bound_ < model.inertia_
    assert model.objective_ < model.inertia_ * EXACT
    assert model.converged_
    assert model.n_iter_ >= 1


def test_gap_and_certificate_say_the_same(fitted):
    X, _, model = fitted
    certificate = model.certificate_
    assert isinstance(certificate, KMeansCertificate)
    assert model.gap_ == certificate.gap == (model.inertia_ - model.lower_bound_) / model.inertia_
    assert model.certified_ == certificate.certified == False  # noqa: E712
    assert (certificate.inertia, certificate.lower_bound) == (model.inertia_, model.lower_bound_)
    assert (certificate.n_samples, certificate.n_clusters) == (len(X), 4)
    assert certificate.method == "admm"
    assert str(certificate).startswith("No clustering of 48 rows into 4 clusters has an inertia more than")


def test_inertia_and_centers_are_those_of_the_labels(fitted):
    X, weight, model = fitted
    assert model.inertia_ == pytest.approx(inertia_of(X, model.labels_, weight), rel=1e-10)
    for name, center in zip(model.classes_, model.cluster_centers_, strict=True):
        own = model.labels_ == name
        assert_allclose(center, np.average(X[own], axis=0, weights=None if weight is None else weight[own]), atol=1e-9)


def test_labels_are_what_predict_says(fitted):
    X, _, model = fitted
    assert_array_equal(model.predict(X), model.labels_)
    assert_array_equal(model.classes_[model.transform(X).argmin(axis=1)], model.labels_)
    assert -1 <= model.score(X) <= 1


def test_labels_are_about_as_good_as_those_of_many_starts(fitted):
    X, weight, model = fitted
    best = KMeans(4, n_init=50, random_state=0).fit(X, sample_weight=weight).inertia_
    assert best / EXACT <= model.inertia_ <= best * 1.005
    assert 0 < model.tightness_ < 1


@pytest.mark.parametrize("separation", [3, 5])
def test_solvers_agree(separation):
    X, _ = blobs(50, separation)
    admm, low_rank, cvxpy = (fit(X, 4, solver=solver, tol=1e-5) for solver in SOLVERS)
    assert admm.objective_ == pytest.approx(cvxpy.objective_, rel=1e-3)
    assert low_rank.objective_ == pytest.approx(cvxpy.objective_, rel=3e-3)
    assert admm.lower_bound_ == pytest.approx(cvxpy.lower_bound_, rel=1e-3)
    assert_array_equal(admm.labels_, cvxpy.labels_)
    assert low_rank.inertia_ == pytest.approx(cvxpy.inertia_, rel=5e-3)


@pytest.mark.parametrize(("n_samples", "expected"), [(40, "CLARABEL"), (41, "SCS")])
def test_cvxpy_takes_the_accurate_solver_for_few_rows(n_samples, expected, monkeypatch):
    used = []

    def spy(points, solver, *arguments):
        used.append(solver)
        return solve(points, solver, *arguments)

    solve = _reference.solve_cvxpy
    monkeypatch.setattr(_reference, "solve_cvxpy", spy)
    fit(blobs(n_samples, 3, n_features=3)[0], 4, solver="cvxpy", max_iter=5)
    assert used == [expected]


def test_iris():
    model = fit(load_iris().data, 3)
    assert model.inertia_ == pytest.approx(78.8514, rel=1e-5)
    assert model.lower_bound_ == pytest.approx(75.54, abs=0.05)
    assert model.objective_ == pytest.approx(75.54, abs=0.05)


# Separated data


@pytest.mark.parametrize("solver", ["auto", *SOLVERS])
def test_separated_blobs_are_proven_optimal_without_a_solver(solver):
    X, codes = blobs(80, 14)
    model = fit(X, 4, solver=solver)
    assert model.solver_ == "closed-form"
    assert model.certified_
    assert model.converged_
    assert model.gap_ < 1e-9
    assert model.tightness_ == pytest.approx(0, abs=1e-12)
    assert_allclose(model.membership_, (codes[:, None] == codes) / 20, atol=1e-12)
    assert model.objective_ == pytest.approx(model.inertia_, rel=1e-9)
    assert str(model.certificate_).startswith("Proven optimal by multipliers that the labels imply")


@pytest.mark.parametrize("certificate", [None, "pca"])
def test_proof_of_the_closed_form_counts_whatever_certificate_is_asked_for(certificate):
    model = fit(blobs(80, 14)[0], 4, certificate=certificate)
    assert model.certified_
    assert model.certificate_.method == "labels"


@pytest.mark.parametrize("solver", SOLVERS)
def test_relaxation_that_the_closed_form_just_fails_to_prove_is_tight(solver):
    X, codes = blobs(60, 8)
    model = fit(X, 4, solver=solver, tol=1e-5)
    assert model.tightness_ == pytest.approx(0, abs=1e-2)
    assert_allclose(model.membership_, (codes[:, None] == codes) / 15, atol=1e-2)
    assert model.gap_ < 1e-3


# Options


@pytest.mark.parametrize("certificate", ["pca", "labels", "admm", "division"])
def test_certificate_asked_for_is_the_one_given(certificate):
    model = fit(blobs(100, 3)[0], 4, solver="low-rank", max_iter=50, certificate=certificate)
    assert model.certificate_.method == certificate
    assert list(model.certificate_.bounds) == [certificate]
    assert 0 < model.lower_bound_ < model.inertia_


def test_no_certificate_leaves_the_bound_of_the_solver():
    X, _ = blobs(60, 3)
    assert fit(X, 4, certificate=None).certificate_.method == "admm"
    low_rank = fit(X, 4, solver="low-rank", certificate=None)
    assert low_rank.lower_bound_ == 0
    assert low_rank.gap_ == 1
    assert not low_rank.certified_
    assert str(low_rank.certificate_).startswith("Nothing is proven")


@pytest.mark.parametrize("rounding", ["best", "spectral", "denoised"])
@pytest.mark.parametrize("polish", [False, True])
def test_every_rounding_finds_separate_clusters(rounding, polish):
    X, codes = blobs(60, 6)
    model = fit(X, 4, rounding=rounding, polish=polish)
    assert adjusted_rand_score(codes, model.labels_) > 0.9
    assert model.inertia_ == pytest.approx(inertia_of(X, model.labels_), rel=1e-9)


@pytest.mark.parametrize("rounding", ["spectral", "denoised"])
def test_best_rounding_is_no_worse_than_the_others(rounding):
    X, _ = blobs(60, 2)
    best = fit(X, 6, max_iter=50).inertia_
    assert best <= fit(X, 6, max_iter=50, rounding=rounding).inertia_ * EXACT
    assert best <= fit(X, 6, max_iter=50, rounding=rounding, polish=False).inertia_ * EXACT


def test_stopping_early_still_gives_a_valid_bound():
    X, _ = blobs(80, 3)
    model, longer = fit(X, 4, max_iter=3, certificate=None), fit(X, 4, certificate=None)
    assert not model.converged_
    assert model.n_iter_ == 3
    assert 0 < model.lower_bound_ < longer.lower_bound_


def test_rank_sets_the_columns_of_the_factor():
    X, _ = blobs(60, 3)
    assert fit(X, 4, solver="low-rank", rank=11, max_iter=20).factor_.shape == (60, 11)
    assert fit(X, 4, solver="low-rank", max_iter=20).factor_.shape == (60, 8)


@pytest.mark.parametrize("y", [None, np.r_[0, 1, 2, np.full(57, -1)]])
def test_rank_below_the_number_of_clusters_is_refused(y):
    with pytest.raises(ValueError, match="rank=3 columns cannot hold 4 clusters; take at least as many"):
        fit(blobs(60, 3)[0], 4, y, solver="low-rank", rank=3)


@pytest.mark.parametrize(
    "parameters",
    [{"solver": "simplex"}, {"rounding": "up"}, {"certificate": "sketch"}, {"rank": 1}, {"max_iter": 0}, {"tol": -1}],
)
def test_bad_parameters_are_refused(parameters):
    with pytest.raises(ValueError, match=f"The '{next(iter(parameters))}' parameter of SDPKMeans must be"):
        fit(blobs(20, 3)[0], 2, **parameters)


def test_unknown_device_is_refused():
    with pytest.raises(ValueError, match="got 'gpuu'"):
        fit(blobs(40, 3)[0], 4, device="gpuu")


def test_torch_gives_the_answer_of_numpy():
    X, _ = blobs(60, 3)
    by_numpy, by_torch = fit(X, 4, max_iter=50), fit(X, 4, max_iter=50, device="cpu")
    assert_array_equal(by_torch.labels_, by_numpy.labels_)
    assert by_torch.lower_bound_ == pytest.approx(by_numpy.lower_bound_, rel=1e-6)


@pytest.mark.parametrize("estimator", [SDPKMeans, SketchAndLiftKMeans])
def test_number_of_clusters_is_found(estimator):
    X, _ = blobs(100, 9)
    model = estimator("auto", random_state=0, k_max=7).fit(X)
    assert model.n_clusters_ == 4
    assert max(model.n_clusters_scores_, key=model.n_clusters_scores_.get) == 4


def test_large_tables_have_a_factor_but_no_membership():
    X, _ = blobs(3001, 30, n_clusters=2, n_features=2)
    model = fit(X, 2, n_init=1)
    assert not hasattr(model, "membership_")
    assert model.factor_.shape == (3001, 2)


def test_large_tables_take_the_low_rank_solver():
    X, _ = blobs(2100, 4, n_clusters=2, n_features=2)
    model = fit(X, 2, n_init=1, max_iter=5, certificate=None)
    assert model.solver_ == "low-rank"
    assert model.n_iter_ == 5


# Partial labels


def instance(seed):
    """Nine rows and partial labels, of which some mislead."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((9, 2)) + 2 * rng.standard_normal((3, 2))[np.arange(9) % 3]
    y = np.full(9, -1)
    labeled = rng.choice(9, int(rng.integers(2, 6)), replace=False)
    y[labeled] = np.r_[0, 1, rng.integers(2, size=len(labeled) - 2)]
    return X, y


@pytest.mark.parametrize("solver", SOLVERS)
def test_constrained_problem_is_bounded_and_nearly_solved(solver):
    reached = []
    for seed in range(12):
        X, y = instance(seed)
        model, best = fit(X, 3, y, solver=solver), best_inertia(X, 3, y)
        assert model.lower_bound_ <= best * EXACT
        assert model.inertia_ >= best / EXACT
        assert_array_equal(model.labels_[y >= 0], y[y >= 0])
        assert not model.certified_ or model.inertia_ <= best * (1 + 2e-6)
        reached.append(model.inertia_ <= best * (1 + 1e-9))
    assert np.mean(reached) >= 0.7


@pytest.mark.parametrize("solver", SOLVERS)
def test_bound_of_weighted_partial_labels_is_valid(solver):
    for seed in range(8):
        X, y = instance(seed + 100)
        weight = np.random.default_rng(seed).uniform(0.2, 5, 9)
        model = fit(X, 3, y, weight, solver=solver)
        assert model.lower_bound_ <= best_inertia(X, 3, y, weight) * EXACT


@pytest.mark.parametrize("solver", SOLVERS)
def test_known_class_shares_a_cluster_and_known_classes_share_none(solver):
    X, _ = blobs(48, 4)
    # The labels mislead: one class spans two blobs, two classes lie in one.
    y = np.full(48, -1)
    y[[0, 1, 5]] = 0
    y[[4, 8]] = 1
    model = fit(X, 4, y, solver=solver)
    assert_array_equal(model.labels_[y >= 0], y[y >= 0])
    Z = model.membership_
    assert_allclose(Z[0, [1, 5]], Z[0, 0], atol=1e-12)
    assert_allclose(Z[np.ix_([0, 1, 5], [4, 8])], 0, atol=2e-3)
    assert_allclose(Z.sum(axis=1), 1, atol=5e-3)
    assert model.certificate_.constrained
    assert "that respects the labels" in str(model.certificate_)
    assert model.inertia_ == pytest.approx(inertia_of(X, model.labels_), rel=1e-10)


def test_labels_that_fit_the_data_change_nothing_but_names():
    X, codes = blobs(80, 12)
    y = np.where(np.arange(80) < 20, np.array(["d", "a", "b", "c"])[codes], None)
    model = fit(X, 4, y)
    assert_array_equal(model.labels_, np.array(["d", "a", "b", "c"])[codes])
    assert model.certified_
    assert model.lower_bound_ == pytest.approx(fit(X, 4).lower_bound_, rel=1e-9)


def test_classes_nobody_labeled_are_found():
    X, codes = blobs(80, 10)
    y = np.where((np.arange(80) < 24) & (codes < 2), codes, -1)
    model = fit(X, 4, y)
    assert_array_equal(model.novel_classes_, [2, 3])
    assert_array_equal(model.labels_[codes < 2], codes[codes < 2])
    assert adjusted_rand_score(codes, model.labels_) == 1


def test_all_rows_labeled_is_a_solved_problem():
    X, codes = blobs(40, 2)
    model = fit(X, 4, codes)
    assert_array_equal(model.labels_, codes)
    assert model.certified_
    assert model.lower_bound_ == pytest.approx(inertia_of(X, codes), rel=1e-9)
    assert model.solver_ == "closed-form"


@pytest.mark.parametrize("y", [np.full(60, -1), np.full(60, None), np.full(60, np.nan)])
def test_no_row_labeled_is_no_label_at_all(y):
    X, _ = blobs(60, 4)
    model, expected = fit(X, 4, y, max_iter=50), fit(X, 4, max_iter=50)
    assert_array_equal(model.labels_, expected.labels_)
    assert model.lower_bound_ == expected.lower_bound_
    assert not model.certificate_.constrained


def test_more_known_classes_than_clusters_raise_the_number():
    X, codes = blobs(40, 5)
    with pytest.warns(UserWarning, match="n_clusters"):
        model = fit(X, 2, np.where(np.arange(40) < 12, codes, -1))
    assert model.n_clusters_ >= 4


# Weights, order, units


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("labeled", [False, True])
def test_weight_two_is_the_row_twice(solver, labeled):
    X, codes = blobs(30, 3, n_features=3)
    weight = 1 + np.arange(30) % 3
    y = np.where(np.arange(30) % 7 == 0, codes % 2, -1) if labeled else np.full(30, -1)
    heavy = fit(X, 4, y, weight.astype(float), solver=solver)
    repeated = fit(np.repeat(X, weight, axis=0), 4, np.repeat(y, weight), solver=solver)
    assert_array_equal(repeated.labels_, np.repeat(heavy.labels_, weight))
    assert repeated.inertia_ == pytest.approx(heavy.inertia_, rel=1e-9)
    assert repeated.lower_bound_ == pytest.approx(heavy.lower_bound_, rel=1e-4)
    assert_allclose(
        repeated.membership_, np.repeat(np.repeat(heavy.membership_, weight, axis=0), weight, axis=1), atol=1e-3
    )


def test_rows_of_weight_zero_count_for_nothing_but_get_a_label():
    X, _ = blobs(60, 4)
    weight = (np.arange(60) % 5 > 0).astype(float)
    model, without = fit(X, 4, None, weight, max_iter=50), fit(X[weight > 0], 4, max_iter=50)
    assert_array_equal(model.labels_[weight > 0], without.labels_)
    assert model.inertia_ == pytest.approx(without.inertia_, rel=1e-10)
    assert model.lower_bound_ == pytest.approx(without.lower_bound_, rel=1e-6)
    assert not model.membership_[weight == 0].any()
    assert model.certificate_.n_samples == 48


@pytest.mark.parametrize("solver", SOLVERS)
def test_order_of_rows_does_not_matter(solver):
    X, codes = blobs(50, 3)
    y = np.where(np.arange(50) % 9 == 0, codes % 2, -1)
    order = np.random.default_rng(0).permutation(50)
    model, permuted = fit(X, 4, y, solver=solver), fit(X[order], 4, y[order], solver=solver)
    assert_array_equal(permuted.labels_, model.labels_[order])
    assert permuted.inertia_ == pytest.approx(model.inertia_, rel=1e-10)
    # SCS takes the constraints in the order in which they come.
    atol = 1e-3 if solver == "cvxpy" else 1e-6
    assert permuted.lower_bound_ == pytest.approx(model.lower_bound_, rel=atol)
    assert_allclose(permuted.membership_, model.membership_[np.ix_(order, order)], atol=atol)


@settings(max_examples=8)
@given(
    scale=st.sampled_from([1e-6, 1e-3, 1.0, 1e3, 1e6]),
    offset=st.sampled_from([0.0, -7.0, 1e3, 1e6]),
    repeat=st.integers(1, 3),
)
def test_answer_follows_the_units_of_the_table(scale, offset, repeat):
    X, _ = blobs(24, 3, n_clusters=3, n_features=2)
    model = fit(X, 3, max_iter=25, n_init=3)
    moved = fit(np.repeat((X + offset) * scale, repeat, axis=0), 3, max_iter=25, n_init=3)
    assert_array_equal(moved.labels_[::repeat], model.labels_)
    assert moved.inertia_ / scale**2 / repeat == pytest.approx(model.inertia_, rel=1e-6)
    assert moved.lower_bound_ / scale**2 / repeat == pytest.approx(model.lower_bound_, rel=1e-4)


@pytest.mark.parametrize("solver", ["admm", "low-rank"])
def test_same_seed_gives_the_same_answer(solver):
    X, _ = blobs(50, 2)
    one, two = fit(X, 5, solver=solver), fit(X, 5, solver=solver)
    assert_array_equal(one.factor_, two.factor_)
    assert one.certificate_ == two.certificate_


# Awkward tables


def test_one_cluster():
    X, _ = blobs(30, 4)
    model = fit(X, 1)
    assert_array_equal(model.labels_, 0)
    assert model.certified_
    assert model.inertia_ == pytest.approx(inertia_of(X, model.labels_))
    assert_allclose(model.membership_, 1 / 30)


@pytest.mark.parametrize("repeat", [1, 3])
def test_as_many_clusters_as_distinct_rows(repeat):
    X = np.repeat(np.random.default_rng(0).standard_normal((5, 3)) + 0.1, repeat, axis=0)
    model = fit(X, 5)
    assert model.inertia_ == model.lower_bound_ == model.gap_ == 0
    assert model.certified_
    assert len(np.unique(model.labels_)) == 5


def test_more_clusters_than_distinct_rows():
    X = np.repeat(np.eye(3), 2, axis=0)
    with pytest.warns(ConvergenceWarning, match="Only 3 clusters were found where 5 were asked for"):
        model = fit(X, 5)
    assert model.n_clusters_ == 3
    assert model.inertia_ == 0


def test_one_cluster_fewer_than_rows():
    X = np.array([[0.0], [1.0], [10.0], [20.0], [35.0]])
    model = fit(X, 4)
    assert model.inertia_ == pytest.approx(0.5)
    assert model.certified_


@pytest.mark.parametrize("solver", SOLVERS)
def test_many_duplicates(solver):
    X = np.random.default_rng(0).integers(0, 3, (40, 2)).astype(float)
    model = fit(X, 3, solver=solver)
    assert len(np.unique(X, axis=0)) == 9
    best = best_inertia(np.unique(X, axis=0), 3, sample_weight=np.unique(X, axis=0, return_counts=True)[1])
    assert model.lower_bound_ <= best * EXACT
    assert model.inertia_ == pytest.approx(best)


def test_all_rows_equal():
    with pytest.warns(ConvergenceWarning, match="Only 1 clusters"):
        model = fit(np.full((8, 3), 0.1), 3)
    assert model.inertia_ == 0
    assert model.certified_


def test_one_row():
    model = fit(np.array([[3.0, 4.0]]), 1)
    assert_array_equal(model.cluster_centers_, [[3.0, 4.0]])
    assert model.inertia_ == 0


def test_constant_columns_change_nothing():
    X, _ = blobs(50, 3, n_features=4)
    wide = np.column_stack([np.full(50, 7.3), X, np.zeros(50)])
    model, expected = fit(wide, 4, max_iter=50), fit(X, 4, max_iter=50)
    assert_array_equal(model.labels_, expected.labels_)
    assert model.lower_bound_ == pytest.approx(expected.lower_bound_, rel=1e-6)


@pytest.mark.parametrize("solver", SOLVERS)
def test_more_features_than_rows(solver):
    X = np.random.default_rng(0).standard_normal((9, 70))
    X[:4] += 0.8
    model = fit(X, 2, solver=solver)
    best = best_inertia(X, 2)
    assert model.lower_bound_ <= best * EXACT
    assert model.inertia_ == pytest.approx(best, rel=0.02)


def test_singletons_are_clusters():
    X = np.vstack([np.random.default_rng(0).standard_normal((20, 2)), [[60, 50], [-90, 40]]])
    model = fit(X, 3)
    assert sorted(np.unique(model.labels_, return_counts=True)[1]) == [1, 1, 20]
    assert model.certified_


@pytest.mark.parametrize("X", [np.eye(40), np.vstack([np.eye(20), -np.eye(20)]), np.repeat(np.eye(20), 2, axis=0)])
def test_rows_equally_far_from_each_other(X):
    # All clusterings into clusters of given sizes are alike, and eigensolvers meet many equal eigenvalues.
    model = fit(X, 4, max_iter=50)
    assert 0 < model.lower_bound_ <= model.inertia_
    assert model.n_clusters_ == 4


def test_duplicates_across_planted_clusters():
    X, _ = blobs(40, 9)
    X[1] = X[0]
    model = fit(X, 4)
    assert model.labels_[0] == model.labels_[1]
    assert model.lower_bound_ <= model.inertia_


@pytest.mark.parametrize(("scale", "offset"), [(1e-12, 0.0), (1.0, 1e12), (1e-150, 0.0), (1e150, 0.0)])
def test_extreme_units(scale, offset):
    X, _ = blobs(40, 4)
    model, expected = fit(X * scale + offset, 4, max_iter=50), fit(X, 4, max_iter=50)
    assert_array_equal(model.labels_, expected.labels_)
    assert model.inertia_ / scale**2 == pytest.approx(expected.inertia_, rel=1e-3)
    assert model.gap_ == pytest.approx(expected.gap_, rel=1e-2)


def test_values_that_vanish_when_squared_are_refused():
    with pytest.raises(ValueError, match="X holds values so close"):
        fit(blobs(20, 4)[0] * 1e-170, 4)


def test_single_precision_gives_the_answer_of_double():
    X, _ = blobs(60, 3)
    X = X.astype(np.float32)
    single, double = fit(X, 4, max_iter=50), fit(X.astype(np.float64), 4, max_iter=50)
    assert_array_equal(single.labels_, double.labels_)
    assert single.inertia_ == pytest.approx(double.inertia_, rel=1e-9)
    assert single.lower_bound_ == pytest.approx(double.lower_bound_, rel=1e-4)


def test_sparse_rows_give_the_answer_of_dense_ones():
    X, _ = blobs(60, 3)
    X = np.where(np.abs(X) > 0.7, X, 0)
    sparse, dense = fit(csr_array(X), 4, max_iter=50), fit(X, 4, max_iter=50)
    assert_array_equal(sparse.labels_, dense.labels_)
    assert sparse.inertia_ == pytest.approx(dense.inertia_, rel=1e-9)
    assert sparse.lower_bound_ == pytest.approx(dense.lower_bound_, rel=1e-4)


@pytest.mark.parametrize("offset", [1e6, 1e8])
def test_sparse_rows_far_from_the_origin_are_not_measured_in_its_units(offset):
    X = blobs(40, 3)[0] + offset
    model = fit(csr_array(X), 4, max_iter=50)
    assert model.inertia_ == pytest.approx(inertia_of(X, model.labels_), rel=1e-6)
    assert not model.certified_


@pytest.mark.parametrize("distance", [1e5, 1e9])
def test_known_classes_far_apart_do_not_blur_the_inertia(distance):
    # A bound above an inertia that was rounded down would pass for a proof.
    X, codes = blobs(60, 3)
    y = np.where(np.arange(60) < 40, codes % 2, -1)
    X[y == 0] += distance
    model = fit(X, 4, y)
    assert model.inertia_ == pytest.approx(inertia_of(X, model.labels_), rel=1e-7)
    assert not model.certified_


def test_data_frames_give_names():
    X, codes = blobs(60, 8, n_features=3)
    frame = pd.DataFrame(X, columns=["height", "weight", "age"], index=np.arange(60)[::-1])
    y = pd.Series(np.where(np.arange(60) < 10, np.array(list("abcd"))[codes], None), index=frame.index)
    model = fit(frame, 4, y)
    assert_array_equal(model.feature_names_in_, ["height", "weight", "age"])
    assert_array_equal(model.labels_, np.array(list("abcd"))[codes])
    assert_array_equal(model.predict(frame), model.labels_)
