"""The relaxation by a thin non-negative factor, and the dealing of rows into parts that look alike."""

import time

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.cluster import KMeans

from sklearn_sslcluster.engine import NumpyBackend
from sklearn_sslcluster.sdp import _low_rank
from sklearn_sslcluster.sdp._admm import AdmmSettings, admm_from_labels
from sklearn_sslcluster.sdp._bounds import label_bound
from sklearn_sslcluster.sdp._division import Parts, deal, division_bound
from sklearn_sslcluster.sdp._low_rank import LowRankSettings, solve_low_rank
from sklearn_sslcluster.sdp._points import make_points
from sklearn_sslcluster.sdp._rounding import centroids, partition_inertia, polish, seat_known, spectral_codes
from sklearn_sslcluster.sdp._solve import SolverOptions, solve_relaxation
from tests.sdp_tools import blobs


def points_of(X, weight=None, n_known=0, n_clusters=4):
    return make_points(X, np.ones(len(X)) if weight is None else weight, n_clusters, n_known)[0]


def solve(points, codes, rank=8, seed=0, on_step=None, **settings):
    multiplier = max(label_bound(points, codes).smallest, 0.0)
    return solve_low_rank(
        points, codes, multiplier, LowRankSettings(rank, **settings), np.random.RandomState(seed), on_step
    )


def value_of(points, relaxed):
    """Objective of the relaxation at the factor."""
    return points.total - ((points.A.T @ relaxed.factor) ** 2).sum()


def violation(points, V):
    return np.linalg.norm(V @ (V.T @ points.q) - points.q) / np.linalg.norm(points.q)


def k_means(points):
    labels = KMeans(points.n_clusters, n_init=5, random_state=0).fit(points.rows, sample_weight=points.weight).labels_
    return seat_known(points, labels)


# The solution


@pytest.mark.parametrize("separation", [3, 6, 8])
@pytest.mark.parametrize("weighted", [False, True])
def test_constraints_are_met_up_to_the_tolerance(separation, weighted):
    X, _ = blobs(200, separation)
    points = points_of(X, np.random.default_rng(0).uniform(0.3, 4, 200) if weighted else None)
    relaxed = solve(points, k_means(points), max_iter=6000)
    V = relaxed.factor
    assert relaxed.converged
    assert V.shape == (200, 8)
    assert V.min() >= 0
    assert (V**2).sum() == pytest.approx(4, rel=1e-9)
    assert violation(points, V) < 2e-4


@pytest.mark.parametrize("tol", [1e-3, 1e-5])
def test_a_smaller_tolerance_is_met_with_more_iterations(tol):
    points = points_of(blobs(200, 6)[0])
    codes = k_means(points)
    relaxed, looser = solve(points, codes, tol=tol, max_iter=20000), solve(points, codes, tol=10 * tol)
    assert violation(points, relaxed.factor) < 2 * tol
    assert relaxed.n_iter >= looser.n_iter


@pytest.mark.parametrize("separation", [3, 6, 12])
def test_value_is_near_that_of_the_dense_solver(separation):
    points = points_of(blobs(100, separation)[0])
    codes = k_means(points)
    dense = admm_from_labels(points, codes, AdmmSettings(600, 1e-5), NumpyBackend())
    assert value_of(points, solve(points, codes)) == pytest.approx(dense.bound, rel=5e-3)


def test_solver_gives_no_bound():
    points = points_of(blobs(60, 6)[0])
    relaxed = solve(points, k_means(points))
    assert relaxed.bound == 0
    assert relaxed.N is None


@pytest.mark.parametrize("separation", [8, 10])
def test_exact_labels_of_tight_data_need_few_iterations(separation):
    X, codes = blobs(1000, separation)
    points = points_of(X)
    codes = polish(points, codes)
    relaxed = solve(points, codes)
    assert relaxed.converged
    assert relaxed.n_iter < 300
    assert value_of(points, relaxed) == pytest.approx(partition_inertia(points, codes), rel=1e-3)
    assert_array_equal(seat(spectral_codes(points, relaxed.factor, np.random.RandomState(0)), codes), codes)


def seat(found, codes):
    """`found` with the numbers that most members have in `codes`."""
    out = np.empty_like(codes)
    for a in np.unique(found):
        out[found == a] = np.bincount(codes[found == a]).argmax()
    return out


def test_wrong_labels_are_repaired():
    X, codes = blobs(400, 8)
    points, wrong = points_of(X), codes.copy()
    # Two blobs as one cluster, and one blob cut in two.
    wrong[codes == 1] = 0
    wrong[(codes == 2) & (X[:, 9] > 0)] = 1
    relaxed = solve(points, wrong)
    found = polish(points, spectral_codes(points, relaxed.factor, np.random.RandomState(0)))
    assert partition_inertia(points, found) == pytest.approx(partition_inertia(points, codes), rel=1e-6)


def test_repeated_points_are_one_of_that_weight():
    X, _ = blobs(120, 6)
    weight = 1 + np.arange(120) % 3
    heavy, repeated = points_of(X, weight.astype(float)), points_of(np.repeat(X, weight, axis=0))
    codes = k_means(heavy)
    values = [
        value_of(points, solve(points, labels, tol=1e-5, max_iter=20000)) * points.weight.sum() / points.n_points
        for points, labels in ((heavy, codes), (repeated, np.repeat(codes, weight)))
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-3)


@pytest.mark.parametrize("factor", [1e6, 1e-6])
def test_iterations_do_not_depend_on_the_units_of_the_table(factor):
    X, codes = blobs(200, 6)
    here, there = solve(points_of(X), codes), solve(points_of(X * factor + 5 * factor), codes)
    assert abs(here.n_iter - there.n_iter) <= 2
    assert_allclose(there.factor, here.factor, atol=1e-5)


# Known classes


@pytest.mark.parametrize("n_known", [2, 4])
def test_known_class_has_a_column_and_shares_none(n_known):
    X, _ = blobs(80, 4)
    # Known classes at one place, so that keeping them apart is against the data.
    X[:n_known] = X[0] + 0.1 * np.random.default_rng(0).standard_normal((n_known, 10))
    points = points_of(X, n_known=n_known)
    V = solve(points, k_means(points)).factor
    known = V[:n_known]
    assert_array_equal(known > 0, np.eye(n_known, 8, dtype=bool))
    assert violation(points, V) < 1e-2


def test_points_without_a_class_may_use_the_column_of_a_known_one():
    X, codes = blobs(80, 10)
    points = points_of(X, n_known=2)
    V = solve(points, seat_known(points, codes)).factor
    Y = V @ V.T
    assert_allclose(Y[0, codes == 0], 1 / 20, rtol=0.05)
    assert_allclose(Y[0, codes != 0], 0, atol=1e-3)


# Blocks, threads and stopping


@pytest.mark.parametrize("n_known", [0, 3])
@pytest.mark.parametrize("block_rows", [7, 64, 1000])
def test_result_does_not_depend_on_the_blocks(block_rows, n_known, monkeypatch):
    points = points_of(blobs(300, 5)[0], n_known=n_known)
    codes = k_means(points)
    whole = solve(points, codes, max_iter=200)
    monkeypatch.setattr(_low_rank, "_BLOCK_ROWS", block_rows)
    parts = solve(points, codes, max_iter=200)
    assert parts.n_iter == whole.n_iter
    assert_allclose(parts.factor, whole.factor, atol=1e-9)


def test_result_does_not_depend_on_threads(monkeypatch):
    points = points_of(blobs(2000, 5)[0])
    codes = k_means(points)
    monkeypatch.setattr(_low_rank, "_BLOCK_ROWS", 256)
    one = solve(points, codes, max_iter=50)
    monkeypatch.setattr(_low_rank, "_FEWEST_FOR_THREADS", 10)
    many = solve(points, codes, max_iter=50)
    assert_allclose(many.factor, one.factor, atol=1e-12)


def test_same_seed_gives_the_same_factor():
    points = points_of(blobs(100, 4)[0])
    codes = k_means(points)
    assert_array_equal(solve(points, codes, seed=3).factor, solve(points, codes, seed=3).factor)


def test_start_is_left_as_it_was():
    points = points_of(blobs(100, 4)[0])
    codes = k_means(points)
    A, q, before = points.A.copy(), points.q.copy(), codes.copy()
    solve(points, codes, max_iter=20)
    assert_array_equal(points.A, A)
    assert_array_equal(points.q, q)
    assert_array_equal(codes, before)


def test_last_iteration_is_reported_as_not_converged():
    points = points_of(blobs(100, 3)[0])
    relaxed = solve(points, k_means(points), max_iter=7)
    assert relaxed.n_iter == 7
    assert not relaxed.converged


def test_no_time_left_means_one_iteration():
    points = points_of(blobs(100, 3)[0])
    relaxed = solve(points, k_means(points), deadline=time.time() - 1)
    assert relaxed.n_iter == 1
    assert not relaxed.converged
    assert (relaxed.factor**2).sum() == pytest.approx(4)


def test_caller_may_stop_after_any_iteration():
    points = points_of(blobs(100, 3)[0])
    steps = iter([False, False, True])
    relaxed = solve(points, k_means(points), on_step=lambda: next(steps))
    assert relaxed.n_iter == 3
    assert not relaxed.converged


def test_rank_below_the_number_of_clusters_is_refused():
    points = points_of(blobs(100, 3)[0])
    options = SolverOptions("low-rank", rank=3)
    with pytest.raises(ValueError, match="rank=3 columns cannot hold 4 clusters"):
        solve_relaxation(points, k_means(points), options, np.random.RandomState(0))


@pytest.mark.parametrize("rank", [4, 5, 12])
def test_any_rank_from_the_number_of_clusters_on_will_do(rank):
    X, codes = blobs(100, 8)
    points = points_of(X)
    relaxed = solve(points, codes, rank=rank)
    assert relaxed.factor.shape == (100, rank)
    assert value_of(points, relaxed) == pytest.approx(partition_inertia(points, codes), rel=2e-3)


# Rows dealt into parts


@pytest.mark.parametrize(("n_points", "n_parts"), [(400, 2), (403, 7), (1000, 9), (41, 5)])
def test_parts_and_the_clusters_in_them_have_equal_sizes(n_points, n_parts):
    X, codes = blobs(n_points, 4)
    part = deal(points_of(X), codes, n_parts, np.random.RandomState(0))
    assert np.ptp(np.bincount(part, minlength=n_parts)) <= 1
    for a in range(4):
        assert np.ptp(np.bincount(part[codes == a], minlength=n_parts)) <= 1


def test_clusters_of_unequal_sizes_do_not_leave_their_remainders_to_the_same_parts():
    X, _ = blobs(300, 4, n_clusters=12)
    codes = np.repeat(np.arange(12), 25)
    part = deal(points_of(X, n_clusters=12), codes, 8, np.random.RandomState(0))
    assert np.ptp(np.bincount(part, minlength=8)) <= 1


def spread_of_means(points, codes, part):
    """Mean squared distance of the centroids of the clusters in parts to those of all points."""
    overall = centroids(points, codes)
    squares = []
    for t in range(int(part.max()) + 1):
        own = part == t
        rows, weight = points.rows[own], points.weight[own]
        for a in range(points.n_clusters):
            member = codes[own] == a
            mean = np.average(rows[member], axis=0, weights=weight[member])
            squares.append(((mean - overall[a]) ** 2).sum())
    return np.mean(squares)


@pytest.mark.parametrize("weighted", [False, True])
def test_clusters_have_nearly_the_same_means_in_all_parts(weighted):
    X, codes = blobs(1200, 4)
    rng = np.random.default_rng(0)
    points = points_of(X, rng.uniform(0.5, 2, 1200) if weighted else None)
    dealt = spread_of_means(points, codes, deal(points, codes, 6, np.random.RandomState(0)))
    by_chance = [spread_of_means(points, codes, rng.permutation(np.arange(1200) % 6)) for _ in range(5)]
    assert dealt < np.mean(by_chance) / 10


def test_division_loses_less_than_parts_at_random():
    X, _ = blobs(600, 3)
    points = points_of(X)
    codes = polish(points, k_means(points))
    part = deal(points, codes, 4, np.random.RandomState(0))
    by_chance = np.random.default_rng(0).permutation(np.arange(600) % 4)

    def smallest(part):
        """Inertia that k-means finds in the parts, together."""
        total = 0.0
        for t in range(4):
            inside, unit = points.subset(np.flatnonzero(part == t))
            total += unit * partition_inertia(inside, k_means(inside))
        return total

    whole = partition_inertia(points, codes)
    assert whole - smallest(part) < 0.8 * (whole - smallest(by_chance))


def test_time_that_is_up_caps_the_division():
    X, _ = blobs(2000, 3)
    points = points_of(X)
    codes = polish(points, k_means(points))
    parts = Parts(200, AdmmSettings(10**6, 0.0, deadline=time.time() - 1))
    started = time.perf_counter()
    bound, complete = division_bound(points, codes, parts, np.random.RandomState(0))
    assert time.perf_counter() - started < 3
    assert not complete
    assert 0 < bound <= partition_inertia(points, codes)


def test_more_time_never_lowers_the_bound_of_division():
    X, _ = blobs(400, 3)
    points = points_of(X)
    codes = polish(points, k_means(points))
    bounds = []
    for deadline in (time.time() - 1, None):
        parts = Parts(100, AdmmSettings(50, 0.0, deadline=deadline))
        bounds.append(division_bound(points, codes, parts, np.random.RandomState(0)))
    assert bounds[0][0] <= bounds[1][0]
    assert bounds[1][1]
