"""The relaxation solved by alternating directions, beside general conic solvers and published values."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import minimize
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris, load_wine
from sklearn.preprocessing import scale

from sklearn_sslcluster.engine import array_backend
from sklearn_sslcluster.sdp import _admm
from sklearn_sslcluster.sdp._admm import AdmmSettings, capped_simplex, solve_admm
from sklearn_sslcluster.sdp._bounds import label_bound, label_multipliers, measure_margins, spectral_bound
from sklearn_sslcluster.sdp._points import make_points
from sklearn_sslcluster.sdp._reference import solve_cvxpy
from tests.sdp_tools import allowed, blobs, codes_of_points, inertias, merged_table, small_points


def from_zero(points):
    return np.zeros((points.n_points,) * 2), np.zeros((points.n_points,) * 2)


def from_labels(points, codes):
    """Primal and dual start that labels imply."""
    weight = points.q * (codes == np.arange(points.n_clusters)[:, None])
    W = sum(np.outer(q, q) / (q @ q) for q in weight)
    return W, label_multipliers(points, codes, max(label_bound(points, codes).multiplier, 0.01))


def solve(points, start=None, device=None, inertia=np.inf, on_step=None, **settings):
    start = from_zero(points) if start is None else start
    return solve_admm(points, start, inertia, AdmmSettings(**settings), array_backend(device), on_step)


def value_of(points, relaxed):
    """Objective of the relaxation at the factor."""
    return points.total - ((points.A.T @ relaxed.factor) ** 2).sum()


# Projection of the spectrum


def nearest_by_quadratic_program(values, total):
    done = minimize(
        lambda x: ((x - values) ** 2).sum() / 2,
        np.full(len(values), total / len(values)),
        jac=lambda x: x - values,
        bounds=[(0, 1)] * len(values),
        constraints={"type": "eq", "fun": lambda x: x.sum() - total, "jac": lambda x: np.ones(len(x))},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    return done.x


@pytest.mark.parametrize("seed", range(25))
def test_capped_simplex_is_the_nearest_point(seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 10 ** rng.uniform(-1, 0.7), rng.integers(2, 9))
    total = float(rng.integers(1, len(values) + 1))
    assert_allclose(capped_simplex(values, total), nearest_by_quadratic_program(values, total), atol=1e-6)


@given(
    values=st.lists(st.floats(-1e3, 1e3, width=32), min_size=2, max_size=30),
    share=st.floats(0, 1),
)
def test_capped_simplex_is_one_shift_of_all_values(values, share):
    values = np.array(values)
    total = share * len(values)
    out = capped_simplex(values, total)
    assert out.min() >= 0
    assert out.max() <= 1
    assert out.sum() == pytest.approx(total, abs=1e-9 * len(values) * max(1, np.abs(values).max()))
    inside = (out > 0) & (out < 1)
    shift = (values - out)[inside]
    assert np.ptp(shift) <= 1e-9 if len(shift) else True


@pytest.mark.parametrize(
    ("values", "total", "expected"),
    [
        ([3.0, 2.0, 1.0], 3, [1, 1, 1]),
        ([5.0, 5.0, -5.0, -5.0], 2, [1, 1, 0, 0]),
        ([0.0, 0.0, 0.0, 0.0], 1, [0.25] * 4),
        ([0.9, 0.3, -2.0], 1, [0.8, 0.2, 0]),
        ([-1.0, -1.5, -9.0], 1, [0.75, 0.25, 0]),
    ],
)
def test_capped_simplex_in_cases_done_by_hand(values, total, expected):
    assert_allclose(capped_simplex(np.array(values), total), expected, atol=1e-12)


# Beside conic solvers


@pytest.mark.parametrize("separation", [6, 3])
@pytest.mark.parametrize(("solver", "tol"), [("SCS", 1e-5), ("CLARABEL", 1e-6)])
def test_bound_agrees_with_conic_solvers(separation, solver, tol):
    X, _ = blobs(50, separation)
    points = make_points(X, np.ones(50), 4, 0)[0]
    reference, relaxed = solve_cvxpy(points, solver, tol), solve(points, max_iter=600, tol=1e-6)
    assert reference.converged
    assert reference.n_iter > 0
    assert relaxed.bound == pytest.approx(reference.bound, rel=1e-4)
    # What the multipliers prove is what the matrix attains: nothing lies between.
    assert value_of(points, relaxed) == pytest.approx(relaxed.bound, rel=1e-4)
    assert value_of(points, reference) == pytest.approx(reference.bound, rel=1e-4)


@pytest.mark.parametrize("n_known", [0, 2, 4])
def test_bound_of_weighted_points_and_known_classes_agrees_with_a_conic_solver(n_known):
    rng = np.random.default_rng(n_known)
    X, _ = blobs(40, 4)
    # The known classes at one place, so that to keep them apart costs something.
    X[:n_known] = X[0] + rng.standard_normal((n_known, 10))
    points = make_points(X, rng.uniform(0.5, 3, 40), 4, n_known)[0]
    reference, relaxed = solve_cvxpy(points), solve(points, max_iter=600, tol=1e-6)
    assert relaxed.bound == pytest.approx(reference.bound, rel=1e-3)
    assert value_of(points, reference) == pytest.approx(reference.bound, rel=1e-3)


@pytest.mark.parametrize("run", [solve, solve_cvxpy], ids=["admm", "cvxpy"])
def test_known_classes_share_no_cluster_of_the_relaxation(run):
    X, _ = blobs(40, 4)
    X[:3] = X[0] + 0.1 * np.eye(3, 10)
    together = make_points(X, np.ones(40), 4, 0)[0]
    apart = make_points(X, np.ones(40), 4, 3)[0]
    relaxed = run(apart)
    Y = relaxed.factor @ relaxed.factor.T
    assert_allclose(Y[:3, :3][apart.separated()], 0, atol=1e-3)
    assert relaxed.N[:3, :3][apart.separated()].max() < 0
    assert relaxed.bound > run(together).bound * 1.01


@pytest.mark.parametrize("run", [solve, solve_cvxpy], ids=["admm", "cvxpy"])
def test_bound_is_that_of_the_multipliers(run):
    X, _ = blobs(40, 4)
    points = make_points(X, np.ones(40), 4, 0)[0]
    relaxed = run(points)
    assert relaxed.N.min() >= -1e-12
    assert relaxed.bound == spectral_bound(points, relaxed.N)


@pytest.mark.parametrize("run", [solve, solve_cvxpy], ids=["admm", "cvxpy"])
def test_factor_meets_the_equalities_and_its_spectrum_the_caps(run):
    X, _ = blobs(40, 4)
    points = make_points(X, np.random.default_rng(0).uniform(0.5, 3, 40), 4, 0)[0]
    V = run(points).factor
    assert_allclose(V @ (V.T @ points.q), points.q, atol=1e-10)
    assert (V**2).sum() == pytest.approx(4)
    spectrum = np.linalg.svd(V, compute_uv=False) ** 2
    assert spectrum.max() <= 1 + 1e-10
    assert (V @ V.T).min() > -1e-3


def test_relaxation_of_separated_blobs_is_their_membership():
    X, codes = blobs(48, 12)
    points = make_points(X, np.ones(48), 4, 0)[0]
    for relaxed in (solve(points, tol=1e-6), solve_cvxpy(points, tol=1e-6)):
        assert_allclose(relaxed.factor @ relaxed.factor.T, (codes[:, None] == codes) / 12, atol=1e-3)
        assert relaxed.bound == pytest.approx(measure_margins(points, codes).inertia, rel=1e-4)


def test_unknown_conic_solver_is_refused():
    with pytest.raises(ValueError, match="solver must be 'SCS' or 'CLARABEL', got 'MOSEK'"):
        solve_cvxpy(small_points(0), "MOSEK")


@pytest.mark.parametrize("solver", ["SCS", "CLARABEL"])
def test_conic_solver_stopped_early_gives_a_valid_bound_in_silence(solver, capfd, recwarn):
    X, codes = blobs(40, 6)
    points = make_points(X, np.ones(40), 4, 0)[0]
    relaxed = solve_cvxpy(points, solver, 1e-9, max_iter=8)
    assert not relaxed.converged
    assert 0 <= relaxed.bound <= measure_margins(points, codes).inertia
    assert len(relaxed.factor) == 40
    assert capfd.readouterr() == ("", "")
    assert [warning for warning in recwarn if "accurate" in str(warning.message)] == []


# Published values


@pytest.mark.parametrize(
    ("X", "inertia", "value", "tolerance"),
    [(load_iris().data, 78.851, 75.54, 0.03), (scale(load_wine().data), 1277.93, 1266.9, 0.5)],
    ids=["iris", "wine"],
)
def test_value_on_real_data(X, inertia, value, tolerance):
    kmeans = KMeans(3, n_init=10, random_state=0).fit(X)
    merged = merged_table(X, 3)
    points, codes = merged.points, codes_of_points(merged, kmeans.labels_)
    best = measure_margins(points, codes).inertia
    relaxed = solve(points, from_labels(points, codes), inertia=best, max_iter=400, tol=1e-6)
    assert merged.inertia(best) == pytest.approx(kmeans.inertia_, rel=1e-9)
    assert merged.inertia(best) == pytest.approx(inertia, rel=1e-5)
    assert merged.inertia(relaxed.bound) == pytest.approx(value, abs=tolerance)
    assert merged.inertia(value_of(points, relaxed)) == pytest.approx(value, abs=tolerance)


# Starts, ways and backends


def random_start(points, seed):
    rng = np.random.default_rng(seed)
    W, N = (10 ** rng.uniform(-4, 1) * rng.random((points.n_points,) * 2) for _ in range(2))
    return W + W.T, N + N.T


@pytest.mark.parametrize("max_iter", [1, 3, 40])
def test_bound_from_any_start_never_exceeds_the_optimum(max_iter):
    violations = []
    for seed in range(60):
        points = small_points(seed)
        best = inertias(points)[allowed(points)].min()
        relaxed = solve(points, random_start(points, seed), max_iter=max_iter, check_every=10)
        violations += [seed] if not 0 <= relaxed.bound <= best else []
    assert violations == []


@pytest.mark.parametrize("seed", range(3))
def test_any_start_leads_to_the_same_value(seed):
    X, codes = blobs(60, 4)
    points = make_points(X, np.ones(60), 4, 0)[0]
    expected = solve(points, from_labels(points, codes), max_iter=800, tol=1e-4)
    relaxed = solve(points, random_start(points, seed), max_iter=800, tol=1e-4)
    assert relaxed.bound == pytest.approx(expected.bound, rel=1e-3)


@pytest.mark.parametrize("max_iter", [1, 2, 5])
@pytest.mark.parametrize(("n_features", "n_clusters"), [(1, 4), (10, 12)])
def test_factor_meets_the_equalities_however_early_it_is_taken(max_iter, n_features, n_clusters):
    # More clusters than directions: at first the projected matrix has too few positive eigenvalues.
    X = np.random.default_rng(0).standard_normal((40, n_features))
    points = make_points(X, np.ones(40), n_clusters, 0)[0]
    V = solve(points, max_iter=max_iter).factor
    assert_allclose(V @ (V.T @ points.q), points.q, atol=1e-10)
    assert (V**2).sum() == pytest.approx(n_clusters)


def test_multipliers_of_optimal_labels_are_a_start_that_is_the_end():
    X, codes = blobs(100, 14)
    points = make_points(X, np.ones(100), 4, 0)[0]
    best = measure_margins(points, codes).inertia
    relaxed = solve(points, from_labels(points, codes), inertia=best, stop_gap=1e-6, check_every=5)
    assert relaxed.n_iter == 5
    assert relaxed.bound == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("separation", [3, 6])
def test_followed_eigenpairs_give_the_bound_of_exact_ones(separation, monkeypatch):
    X, _ = blobs(200, separation)
    points = make_points(X, np.ones(200), 4, 0)[0]
    calls = []
    monkeypatch.setattr(_admm._State, "_dense", counted(_admm._State._dense, calls))
    followed = solve(points, max_iter=100, tol=0.0)
    n_followed = len(calls)
    monkeypatch.setattr(_admm, "_SMALLEST_THIN", 10**9)
    exact = solve(points, max_iter=100, tol=0.0)
    assert n_followed < 50
    assert len(calls) - n_followed == 100
    assert followed.bound == pytest.approx(exact.bound, rel=1e-3)
    assert value_of(points, followed) == pytest.approx(value_of(points, exact), rel=1e-3)


def counted(method, calls):
    def call(self):
        calls.append(1)
        return method(self)

    return call


@pytest.mark.parametrize("n_known", [0, 3])
@pytest.mark.parametrize("n_points", [60, 200])
def test_torch_gives_the_bound_of_numpy(n_points, n_known):
    X, _ = blobs(n_points, 6)
    points = make_points(X, np.random.default_rng(0).uniform(0.5, 3, n_points), 4, n_known)[0]
    by_numpy, by_torch = (solve(points, device=device, max_iter=75, tol=0.0) for device in (None, "cpu"))
    assert by_torch.bound == pytest.approx(by_numpy.bound, rel=1e-6)
    assert_allclose(by_torch.N, by_numpy.N, atol=1e-6)
    assert isinstance(by_torch.factor, np.ndarray)
    assert_allclose(by_torch.factor @ by_torch.factor.T, by_numpy.factor @ by_numpy.factor.T, atol=1e-6)


@pytest.mark.parametrize("device", [None, "cpu"])
def test_single_precision_of_large_problems_costs_little(device, monkeypatch):
    X, codes = blobs(150, 6)
    points = make_points(X, np.ones(150), 4, 0)[0]
    double = solve(points, device=device, max_iter=100, tol=0.0)
    monkeypatch.setattr(_admm, "_SMALLEST_FLOAT32", 100)
    single = solve(points, device=device, max_iter=100, tol=0.0)
    assert single.bound == pytest.approx(double.bound, rel=1e-4)
    assert single.bound <= measure_margins(points, codes).inertia


@pytest.mark.parametrize("factor", [1e6, 1e-6])
def test_bound_does_not_depend_on_the_units_of_the_table(factor):
    X, _ = blobs(60, 4)
    here, there = merged_table(X, 4), merged_table(X * factor + 3 * factor, 4)
    values = [merged.inertia(solve(merged.points, max_iter=50).bound) for merged in (here, there)]
    assert values[1] / factor**2 == pytest.approx(values[0], rel=1e-6)


def test_bound_of_a_row_twice_is_that_of_weight_two():
    X, _ = blobs(60, 4)
    weight = 1 + np.arange(60) % 2
    repeated, heavy = merged_table(np.repeat(X, weight, axis=0), 4), merged_table(X, 4, None, weight.astype(float))
    values = [merged.inertia(solve(merged.points, max_iter=50).bound) for merged in (repeated, heavy)]
    assert values[0] == pytest.approx(values[1], rel=1e-9)


# When to stop


@pytest.fixture(scope="module")
def points():
    return make_points(blobs(60, 4)[0], np.ones(60), 4, 0)[0]


def test_residuals_below_the_tolerance_end_the_run(points):
    relaxed = solve(points, tol=1e-3, max_iter=2000)
    assert relaxed.converged
    assert relaxed.n_iter < 1000
    assert relaxed.n_iter % 25 == 0


def test_last_iteration_is_reported_as_not_converged(points):
    relaxed = solve(points, tol=0.0, max_iter=30)
    assert not relaxed.converged
    assert relaxed.n_iter == 30


def test_a_bound_near_the_best_inertia_is_enough(points):
    reached = solve(points, max_iter=200).bound
    relaxed = solve(points, inertia=reached / 0.9, stop_gap=0.15, max_iter=200, check_every=5, tol=0.0)
    assert relaxed.n_iter < 200
    assert relaxed.bound >= 0.85 * reached / 0.9


def test_a_bound_that_hardly_rises_is_given_up(points):
    relaxed = solve(points, inertia=2.0, stop_gain=1e-2, max_iter=500, tol=0.0)
    assert relaxed.n_iter < 500


def test_no_time_left_means_one_iteration_and_a_bound(points):
    relaxed = solve(points, deadline=time.perf_counter())
    assert relaxed.n_iter == 1
    assert relaxed.bound == spectral_bound(points, relaxed.N)


def test_caller_may_stop_after_any_iteration(points):
    steps = iter([False, False, True])
    relaxed = solve(points, on_step=lambda: next(steps))
    assert relaxed.n_iter == 3
    assert not relaxed.converged
