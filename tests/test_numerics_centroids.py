"""Centers: Lloyd's iterations with clamped rows, nearest centers, statistics of labeled rows, seeds."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist
from scipy.stats import chi2
from sklearn.cluster import KMeans
from sklearn.metrics.pairwise import euclidean_distances

from sklearn_sslcluster.engine import RowBlocks
from sklearn_sslcluster.numerics import (
    LloydSettings,
    center_fit,
    centroids,
    lloyd,
    nearest_centers,
    no_anchors,
    objective,
    seed_centers,
)

CONVERGED = LloydSettings(tol=0.0, n_trials=1)
ONE_STEP = LloydSettings(max_iter=1, n_trials=1)
CONTAINERS = pytest.mark.parametrize("container", [np.asarray, csr_array])


def table(n_rows=60, n_features=3, n_known=2, seed=0):
    """(rows, codes): about a third of the rows labeled."""
    rng = np.random.RandomState(seed)
    X = rng.normal(size=(n_rows, n_features)) + rng.choice([-3, 0, 3], size=(n_rows, n_features))
    codes = np.where(rng.uniform(size=n_rows) < 0.35, rng.randint(n_known, size=n_rows), -1)
    codes[:n_known] = np.arange(n_known)
    return X, codes


def source_of(X, codes=None, weight=None, block_size="auto"):
    return RowBlocks(X, (codes, weight), block_size=block_size, n_threads=1)


def measured(X, codes=None, weight=None, block_size="auto"):
    """(source, anchors, frame), frame without shift."""
    source = source_of(X, codes, weight, block_size)
    n_known = 0 if codes is None else codes.max() + 1
    frame = centroids.Frame(None, 1.0, 1.0)
    return source, centroids.measure_anchors(source, n_known, None), frame


def clamped_codes(X, codes, centers):
    return np.where(codes >= 0, codes, cdist(X, centers).argmin(axis=1))


def step_by_loop(X, codes, weight, centers):
    """One iteration, written as one would say it."""
    assigned = clamped_codes(X, codes, centers)
    moved = centers.copy()
    for k in range(len(centers)):
        if weight[assigned == k].sum() > 0:
            moved[k] = np.average(X[assigned == k], axis=0, weights=weight[assigned == k])
    return moved


def clamped_inertia(X, codes, centers):
    return (np.linalg.norm(X - centers[clamped_codes(X, codes, centers)], axis=1) ** 2).sum()


# Lloyd's iterations


@CONTAINERS
@pytest.mark.parametrize("block_size", [1, 7, 1000])
@pytest.mark.parametrize("seed", range(3))
def test_one_step_is_that_of_a_plain_loop(container, block_size, seed):
    X, codes = table(seed=seed)
    weight = np.random.RandomState(seed).uniform(0, 2, size=len(X)) * (np.arange(len(X)) % 5 > 0)
    weight[:2] = 1
    centers = np.vstack([X[5:9], [[50, 50, 50]]])
    source, anchors, frame = measured(container(X), codes, weight, block_size)
    moved, n_iter = lloyd(source, centers, anchors, frame, ONE_STEP)
    assert_allclose(moved, step_by_loop(X, codes, weight, centers), rtol=1e-12)
    assert_array_equal(moved[-1], centers[-1])
    assert n_iter == 1


@pytest.mark.parametrize(("container", "dtype"), [(np.asarray, "d"), (np.asarray, "f"), (csr_array, "d")])
@pytest.mark.parametrize("seed", range(3))
def test_without_labels_it_ends_where_kmeans_of_scikit_learn_does(container, dtype, seed):
    X = table(400, seed=seed)[0].astype(dtype)
    start = X[:6].astype(float)
    expected = KMeans(6, init=start, n_init=1, tol=0, algorithm="lloyd").fit(X)
    source, anchors, frame = measured(container(X))
    centers, n_iter = lloyd(source, start, anchors, frame, CONVERGED)
    assert_allclose(centers, expected.cluster_centers_, rtol=1e-10 if dtype == "d" else 1e-5, atol=1e-6)
    assert_array_equal(source.map(nearest_centers, (centers, None))[0], expected.labels_)
    assert objective(source, centers, anchors, frame) == pytest.approx(expected.inertia_, rel=1e-5)
    assert abs(n_iter - expected.n_iter_) <= 1


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("block_size", [5, 1000])
def test_compiled_and_numpy_path_agree_even_where_a_block_leaves_a_cluster_empty(monkeypatch, dtype, block_size):
    X, codes = table(100)
    X = X[np.argsort(X[:, 0])].astype(dtype)  # neighbors in a block: most clusters are empty in it
    weight = np.random.RandomState(0).uniform(0.5, 2, size=100)
    centers = X[[3, 40, 97]].astype(float)
    results = []
    for compiled in (centroids._compiled_iteration, None):
        monkeypatch.setattr(centroids, "_compiled_iteration", compiled)
        source, anchors, frame = measured(X, codes, weight, block_size)
        results.append(lloyd(source, centers, anchors, frame, ONE_STEP)[0])
    assert results[0] == pytest.approx(results[1], rel=1e-12 if dtype == np.float64 else 1e-5)


def test_compiled_path_is_there_for_this_scikit_learn():
    assert centroids._compiled_iteration is not None


@given(seed=st.integers(0, 10**6), n_novel=st.integers(0, 3))
def test_no_iteration_raises_the_objective_with_clamped_rows(seed, n_novel):
    X, codes = table(40, seed=seed)
    source, anchors, frame = measured(X, codes)
    path = [np.vstack([anchors.means, X[-n_novel:] if n_novel else X[:0]])]
    lloyd(source, path[0], anchors, frame, CONVERGED, lambda centers: path.append(centers) or False)
    values = [clamped_inertia(X, codes, centers) for centers in path]
    assert (np.diff(values) <= 1e-9 * values[0]).all()
    assert objective(source, path[-1], anchors, frame) == pytest.approx(values[-1])


@given(seed=st.integers(0, 10**6))
def test_weights_count_like_repetitions(seed):
    X, codes = table(30, seed=seed)
    times = np.random.RandomState(seed).randint(1, 4, size=30)
    start = X[:3]
    once = measured(X, codes, times.astype(float))
    often = measured(np.repeat(X, times, axis=0), np.repeat(codes, times))
    moved = [lloyd(source, start, anchors, frame, CONVERGED)[0] for source, anchors, frame in (once, often)]
    assert_allclose(moved[0], moved[1], rtol=1e-9, atol=1e-12)
    values = [objective(source, moved[0], anchors, frame) for source, anchors, frame in (once, often)]
    assert values[0] == pytest.approx(values[1])


def test_on_step_sees_each_iteration_and_stops_by_returning_true():
    X, _ = table()
    source, anchors, frame = measured(X)
    seen = []
    centers, n_iter = lloyd(source, X[:4], anchors, frame, CONVERGED, lambda now: seen.append(now) or len(seen) == 2)
    assert n_iter == len(seen) == 2
    assert_array_equal(centers, seen[-1])


def best_partition(X, codes, n_clusters):
    """Smallest clamped objective over all assignments of the free rows."""
    free = np.flatnonzero(codes < 0)
    best = np.inf
    for assignment in product(range(n_clusters), repeat=len(free)):
        assigned = codes.copy()
        assigned[free] = assignment
        groups = [X[assigned == k] for k in range(n_clusters)]
        best = min(best, sum(((rows - rows.mean(axis=0)) ** 2).sum() for rows in groups if len(rows)))
    return best


def uniform_without_labels(rng):
    return rng.uniform(size=(7, 2)), np.full(7, -1)


def three_groups_two_of_them_known(rng):
    centers = np.array([[0, 0], [0, 2], [1.5, 1]])
    return rng.normal(centers[[0, 0, 1, 0, 1, 1, 2, 2, 2]], 0.4), np.r_[0, 0, 1, np.full(6, -1)]


@pytest.mark.parametrize("instance", [uniform_without_labels, three_groups_two_of_them_known])
@pytest.mark.parametrize("seed", range(5))
def test_best_of_many_starts_is_the_best_of_all_partitions(instance, seed):
    X, codes = instance(np.random.RandomState(seed))
    n_known = codes.max() + 1
    problem = center_fit.pose_problem(source_of(X, codes), n_known, np.random.RandomState(0))
    settings = LloydSettings(n_init=50, n_trials=1, tol=0.0)
    centers = center_fit.solve(problem, 3 - n_known, settings, np.random.RandomState(0), move_known=True)
    assert clamped_inertia(X, codes, centers.all) == pytest.approx(best_partition(X, codes, 3))


# Nearest centers


def nearly_tied(dtype):
    """Rows on, and a hair beside, the planes between two centers, and rows far from them."""
    rng = np.random.RandomState(0)
    centers = rng.normal(size=(5, 4)).astype(dtype)
    pairs = rng.randint(5, size=(200, 2))
    middle = (centers[pairs[:, 0]] + centers[pairs[:, 1]]) / 2
    hair = rng.choice([0, 1e-16, 1e-8, 1e-3], size=(200, 1)) * rng.normal(size=(200, 4))
    return (middle + hair).astype(dtype), centers.astype(float)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@CONTAINERS
def test_nearest_center_depends_neither_on_place_nor_on_block_size(container, dtype):
    X, centers = nearly_tied(dtype)
    (codes,) = nearest_centers(X, (), (centers, None))
    squares = ((X[:, None].astype(float) - centers) ** 2).sum(axis=2)
    assert_allclose(squares[np.arange(len(X)), codes], squares.min(axis=1), rtol=1e-14)
    order = np.random.RandomState(1).permutation(len(X))
    for block_size in (1, 3, 64, 1000):
        again = source_of(container(X[order]), block_size=block_size).map(nearest_centers, (centers, None))[0]
        assert_array_equal(again, codes[order])


def test_exact_ties_go_to_the_first_center():
    centers = np.array([[1.0, 0], [0, 1], [-1, 0], [1, 0]])
    X = np.array([[0.0, 0], [0, -5], [1, 0], [-0.5, 0.5]])
    assert nearest_centers(X, (), (centers, None))[0].tolist() == [0, 0, 0, 1]


def test_rows_far_from_the_origin_are_told_apart_through_the_shift():
    centers = np.array([[0.0, 0], [1, 0], [0, 1]])
    X = np.random.RandomState(0).uniform(-1, 2, size=(300, 2))
    shift = np.array([1e9, -1e9])
    (codes,) = nearest_centers(X + shift, (), (centers, shift))
    assert_array_equal(codes, cdist((X + shift) - shift, centers).argmin(axis=1))


# Measures of the rows


@CONTAINERS
@pytest.mark.parametrize("block_size", [7, 1000])
def test_anchors_hold_sums_weights_and_scatter_of_the_classes(container, block_size):
    X, codes = table()
    weight = np.random.RandomState(0).uniform(0.5, 2, size=len(X))
    _, anchors, _ = measured(container(X), codes, weight, block_size)
    classes = [(X[codes == c], weight[codes == c]) for c in range(2)]
    means = np.array([np.average(rows, axis=0, weights=w) for rows, w in classes])
    scatter = sum((w @ (rows - mean) ** 2).sum() for (rows, w), mean in zip(classes, means, strict=True))
    assert_allclose(anchors.means, means)
    assert_allclose(anchors.weight, [w.sum() for _, w in classes])
    assert anchors.scatter == pytest.approx(scatter)
    centers = np.ones((3, 3))
    assert anchors.inertia(centers) == pytest.approx(sum((w @ (rows - 1) ** 2).sum() for rows, w in classes))
    assert anchors.scaled(0.5).inertia(centers) == pytest.approx(anchors.inertia(centers) / 2)


@pytest.mark.parametrize(
    ("offset", "dtype", "rel"), [(0, "d", 1e-12), (1e9, "d", 1e-6), (0, "f", 1e-5), (1e4, "f", 1e-2)]
)
@pytest.mark.parametrize("block_size", [7, 1000])
def test_frame_measures_the_variance_at_any_offset(offset, dtype, rel, block_size):
    X, codes = table(200)
    moved = (X + offset).astype(dtype)
    frame = centroids.measure_frame(source_of(moved, codes, block_size=block_size))
    free = moved[codes < 0].astype(float)
    assert frame.weight == len(free)
    assert frame.variance == pytest.approx(X[codes < 0].var(axis=0).mean(), rel=rel)
    if offset:
        assert_allclose(frame.shift, free.mean(axis=0), rtol=1e-7)
    else:
        assert frame.shift is None


def test_frame_of_sparse_rows_has_no_shift():
    X, codes = table()
    frame = centroids.measure_frame(source_of(csr_array(X + 100), codes))
    assert frame.shift is None
    assert frame.variance == pytest.approx(X[codes < 0].var(axis=0).mean())


def test_a_labeled_row_far_away_leaves_the_variance_of_the_free_rows_exact():
    X, codes = table()
    X[0] = 1e9
    frame = centroids.measure_frame(source_of(X, codes))
    assert frame.variance == pytest.approx(X[codes < 0].var(axis=0).mean())


# Seeds


def drawn(X, weight, fixed, n_draws=800, **settings):
    """How often each row is drawn as the first seed."""
    rng = np.random.RandomState(0)
    settings = LloydSettings(n_trials=1, **settings)
    seeds = np.vstack([seed_centers(X, weight, fixed, 1, settings, rng) for _ in range(n_draws)])
    dense = X if isinstance(X, np.ndarray) else X.toarray()
    return np.bincount(cdist(seeds, dense).argmin(axis=1), minlength=len(dense))


@CONTAINERS
@pytest.mark.parametrize("power", [1, 2])
def test_first_seed_is_drawn_by_weight_and_power_of_the_distance(container, power):
    X, weight = np.random.RandomState(1).normal(size=(6, 2)), np.array([1.0, 3, 0.5, 2, 1, 1])
    fixed = np.array([[0.1, 0.2], X[4]])
    share = weight * cdist(X, fixed).min(axis=1) ** power
    expected = 800 * np.delete(share / share.sum(), 4)
    counts = drawn(container(X), weight, fixed, seed_power=power)
    assert counts[4] == 0
    assert ((np.delete(counts, 4) - expected) ** 2 / expected).sum() < chi2.isf(1e-4, 4)


def test_first_seed_without_centers_is_drawn_by_weight():
    X, weight = np.arange(5.0)[:, None], np.array([1.0, 3, 0.5, 2, 1])
    expected = 800 * weight / weight.sum()
    counts = drawn(X, weight, X[:0])
    assert ((counts - expected) ** 2 / expected).sum() < chi2.isf(1e-4, 4)


@given(seed=st.integers(0, 10**6), n_features=st.integers(1, 20))
def test_rows_that_are_centers_already_are_never_drawn(seed, n_features):
    rng = np.random.RandomState(seed)
    X = rng.normal(size=(6, n_features)) + 3 * rng.normal(size=n_features)
    settings = LloydSettings(n_trials=1, seed_power=1)
    assert len(seed_centers(X, np.ones(6), X, 2, settings, rng)) == 0
    seeds = seed_centers(X, np.ones(6), X[:2], 10, settings, rng)
    assert_array_equal(np.unique(seeds, axis=0), np.unique(X[2:], axis=0))
    assert len(seeds) == 4


@CONTAINERS
def test_seeds_run_out_with_the_distinct_rows(container):
    X = np.random.RandomState(0).normal(size=(5, 2))
    seeds = seed_centers(container(X), np.ones(5), np.empty((0, 2)), 8, LloydSettings(), np.random.RandomState(0))
    assert_array_equal(np.unique(seeds, axis=0), np.unique(X, axis=0))
    assert len(seeds) == 5


def test_no_rows_give_no_seeds():
    seeds = seed_centers(np.empty((0, 2)), np.empty(0), np.ones((1, 2)), 3, LloydSettings(), np.random.RandomState(0))
    assert seeds.shape == (0, 2)


@pytest.mark.parametrize("power", [1, 2])
def test_of_many_trials_the_seed_that_lowers_the_sum_most_is_taken(power):
    X, fixed = np.random.RandomState(2).normal(size=(8, 2)), np.zeros((1, 2))
    settings = LloydSettings(n_trials=500, seed_power=power)
    (seed,) = seed_centers(X, np.ones(8), fixed, 1, settings, np.random.RandomState(0))
    sums = np.minimum(euclidean_distances(X), np.linalg.norm(X, axis=1)) ** power
    assert_array_equal(seed, X[sums.sum(axis=1).argmin()])


def test_no_anchors_weigh_nothing():
    anchors = no_anchors(3)
    assert anchors.sums.shape == (0, 3)
    assert anchors.inertia(np.ones((2, 3))) == 0
