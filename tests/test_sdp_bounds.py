"""Lower bounds on the inertia never lie: against enumeration, in any units, on awkward points."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array, csr_matrix

from sklearn_sslcluster.sdp import _bounds
from sklearn_sslcluster.sdp._bounds import (
    clipped,
    label_bound,
    label_multipliers,
    measure_margins,
    pca_bound,
    spectral_bound,
)
from sklearn_sslcluster.sdp._points import make_points
from tests.sdp_tools import allowed, blobs, codes_of_points, inertias, merged_table, partitions, small_points

N_INSTANCES = 240


@pytest.fixture(scope="module")
def instances():
    """(points, codes, inertias, smallest inertia) with all partitions, the best ones that are allowed first."""
    out = []
    for seed in range(N_INSTANCES):
        points = small_points(seed)
        codes, values, possible = partitions(points.n_points, points.n_clusters), inertias(points), allowed(points)
        order = np.lexsort((values, ~possible))
        out.append((points, codes[order], values[order], values[possible].min()))
    return out


def symmetric(rng, n):
    """Random multipliers: dense or sparse, small or large."""
    N = rng.random((n, n)) * (rng.random((n, n)) < rng.uniform(0.1, 1)) * 10 ** rng.uniform(-3, 1)
    return N + N.T


# Against enumeration


def test_enumeration_counts_partitions_and_measures_their_inertia():
    assert [len(partitions(n, k)) for n, k in [(4, 2), (6, 3), (9, 4)]] == [7, 90, 7770]
    points = small_points(1)
    values = inertias(points)
    for i in (0, len(values) // 2, len(values) - 1):
        margins = measure_margins(points, partitions(points.n_points, points.n_clusters)[i])
        assert margins.inertia == pytest.approx(float(values[i]), rel=1e-12)


def test_pca_bound_never_exceeds_the_optimum(instances):
    assert [i for i, (points, _, _, best) in enumerate(instances) if pca_bound(points) > best] == []


def test_pca_bound_is_the_spectral_bound_without_multipliers(instances):
    for points, *_ in instances[::6]:
        without = spectral_bound(points, np.zeros((points.n_points,) * 2))
        assert without == pytest.approx(pca_bound(points), abs=1e-12)


def test_label_bound_at_the_optimal_labels_never_exceeds_the_optimum(instances):
    assert [
        i for i, (points, codes, _, best) in enumerate(instances) if label_bound(points, codes[0]).value > best
    ] == []


def test_label_bound_at_any_labels_never_exceeds_the_optimum(instances):
    rng = np.random.default_rng(0)
    violations = [
        (i, labels)
        for i, (points, codes, _, best) in enumerate(instances)
        for labels in codes[rng.integers(len(codes), size=4)]
        if label_bound(points, labels).value > best
    ]
    assert violations == []


def test_spectral_bound_with_any_multipliers_never_exceeds_the_optimum(instances):
    rng = np.random.default_rng(0)
    violations = []
    for i, (points, _, _, best) in enumerate(instances):
        known = points.n_known
        for _ in range(5):
            N = symmetric(rng, points.n_points)
            N[:known, :known] -= symmetric(rng, known)
            violations += [i] if spectral_bound(points, N) > best else []
    assert violations == []


def test_spectral_bound_near_the_multipliers_of_the_best_labels_never_exceeds_the_optimum(instances):
    rng = np.random.default_rng(0)
    violations = []
    for i, (points, codes, _, best) in enumerate(instances):
        N = label_multipliers(points, codes[0], label_bound(points, codes[0]).multiplier)
        for noise in (0, 1e-9, 1e-3):
            violations += [i] if spectral_bound(points, N + noise * (symmetric(rng, len(N)) - 0.5)) > best else []
    assert violations == []


def test_only_optimal_labels_are_ever_proven(instances):
    # The partitions next to the best one are the ones that tempt.
    for points, codes, values, _ in instances:
        for labels, value in zip(codes[:8], values[:8], strict=True):
            if label_bound(points, labels).proven:
                assert value <= values.min() * (1 + 1e-12)


def test_optimal_labels_are_often_proven(instances):
    proven = [label_bound(points, codes[0]).proven for points, codes, *_ in instances]
    assert np.mean(proven) > 0.25
    assert np.mean(proven[4::5]) > 0.6  # those in blobs


@pytest.mark.parametrize("width", [1e-3, 1e-8, 1e-13, 1e-16])
def test_bound_of_tiny_clusters_does_not_exceed_the_optimum_by_rounding(width):
    violations = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        rows = rng.standard_normal((3, 2))[np.arange(8) % 3] + width * rng.standard_normal((8, 2))
        points = make_points(rows, 10 ** rng.uniform(-3, 3, 8), 3, 0)[0]
        values = inertias(points)
        bound = label_bound(points, partitions(8, 3)[values.argmin()])
        violations += [seed] if bound.value > values.min() else []
    assert violations == []


def test_proven_bound_is_the_inertia(instances):
    for points, codes, values, _ in instances:
        bound = label_bound(points, codes[0])
        if bound.proven:
            assert bound.value == pytest.approx(float(values[0]), rel=1e-12)


# Labels and multipliers


def assert_dense_and_closed_form_agree(points, codes):
    bound = label_bound(points, codes)
    dense = spectral_bound(points, label_multipliers(points, codes, bound.multiplier))
    assert dense == pytest.approx(bound.value, abs=1e-7 * points.total)


def test_label_bound_is_the_spectral_bound_of_its_multipliers(instances):
    rng = np.random.default_rng(1)
    for points, codes, *_ in instances[::2]:
        assert_dense_and_closed_form_agree(points, codes[0])
        assert_dense_and_closed_form_agree(points, codes[rng.integers(len(codes))])


@pytest.mark.parametrize("separation", [3, 6, 9, 14])
@pytest.mark.parametrize("n_clusters", [2, 4, 7])
def test_label_bound_of_many_points_is_the_spectral_bound_of_its_multipliers(separation, n_clusters):
    X, codes = blobs(120, separation, n_clusters)
    weight = np.random.default_rng(0).uniform(0.5, 2, 120)
    assert_dense_and_closed_form_agree(make_points(X, weight, n_clusters, 0)[0], codes)


def test_multipliers_of_labels_are_symmetric_non_negative_and_zero_within_clusters():
    X, codes = blobs(60, 6)
    N = label_multipliers(make_points(X, np.ones(60), 4, 0)[0], codes, 0.3)
    assert_array_equal(N, N.T)
    assert N.min() == 0
    assert N.max() > 0
    assert not N[codes[:, None] == codes].any()


def test_negative_multipliers_count_only_for_two_known_classes():
    points = make_points(np.arange(12.0).reshape(6, 2) ** 2, np.ones(6), 3, 2)[0]
    N = clipped(points, np.full((6, 6), -1.0))
    assert N[0, 1] == N[1, 0] == -1
    assert N.sum() == -2


def test_known_classes_kept_apart_raise_the_bound():
    # Two known classes at one place: a cluster each, which the free points have to do without.
    rows = np.array([[0.0], [0.0], [4.0], [5.0]])
    points, unit, _ = make_points(rows, np.ones(4), 2, 2)
    N = np.zeros((4, 4))
    N[0, 1] = N[1, 0] = -0.5
    best = inertias(points)[allowed(points)].min()
    assert spectral_bound(make_points(rows, np.ones(4), 2, 0)[0], N) * unit <= 0.5
    assert 0.5 < spectral_bound(points, N) * unit <= float(best) * unit


# What can be proven


@pytest.mark.parametrize("separation", [12, 14, 20])
@pytest.mark.parametrize("n_samples", [200, 2000])
def test_well_separated_blobs_are_proven(separation, n_samples):
    X, codes = blobs(n_samples, separation)
    merged = merged_table(X, 4)
    assert label_bound(merged.points, codes_of_points(merged, codes)).proven


def test_overlapping_blobs_are_not_proven():
    X, codes = blobs(200, 3)
    merged = merged_table(X, 4)
    bound = label_bound(merged.points, codes_of_points(merged, codes))
    assert not bound.proven
    assert 0 < bound.value < measure_margins(merged.points, codes_of_points(merged, codes)).inertia


def test_swapped_labels_of_separated_blobs_are_not_proven():
    X, codes = blobs(200, 14)
    merged = merged_table(X, 4)
    codes[:2] = codes[:2][::-1]
    bound = label_bound(merged.points, codes_of_points(merged, codes))
    assert not bound.proven
    assert bound.value <= merged.points.total


# Invariance


def bounds_of(X, truth, n_clusters=4, codes=None, sample_weight=None):
    """All bounds of a table in units of the rows."""
    merged = merged_table(X, n_clusters, codes, sample_weight)
    points, labels = merged.points, codes_of_points(merged, truth)
    N = np.maximum(label_multipliers(points, labels, 0.05) - 0.001, 0)
    values = [pca_bound(points), label_bound(points, labels).value, spectral_bound(points, N)]
    return np.array([merged.inertia(value) for value in values])


@pytest.fixture(scope="module")
def table():
    """(rows, clusters, known classes or -1, weights)."""
    X, truth = blobs(80, 5, n_features=4)
    codes = np.where((np.arange(80) < 20) & (truth < 2), truth, -1)
    return X, truth, codes, np.random.default_rng(0).uniform(0.5, 2, 80)


@pytest.mark.parametrize("scale", [1e6, 1e-6])
@pytest.mark.parametrize("known", [False, True])
def test_bounds_scale_with_the_square_of_the_rows(table, scale, known):
    X, truth, codes, weight = table
    codes = codes if known else None
    expected = bounds_of(X, truth, codes=codes, sample_weight=weight)
    assert (expected > 0).all()
    assert_allclose(bounds_of(X * scale, truth, codes=codes, sample_weight=weight) / scale**2, expected, rtol=1e-9)


@pytest.mark.parametrize("known", [False, True])
def test_bounds_scale_with_the_weights(table, known):
    X, truth, codes, weight = table
    codes = codes if known else None
    expected = bounds_of(X, truth, codes=codes, sample_weight=weight)
    assert_allclose(bounds_of(X, truth, codes=codes, sample_weight=weight * 1e6) / 1e6, expected, rtol=1e-9)


@pytest.mark.parametrize("offset", [-3.0, 1e3, 1e6])
@pytest.mark.parametrize("known", [False, True])
def test_bounds_do_not_depend_on_the_origin(table, offset, known):
    X, truth, codes, weight = table
    codes = codes if known else None
    expected = bounds_of(X, truth, codes=codes, sample_weight=weight)
    assert_allclose(bounds_of(X + offset, truth, codes=codes, sample_weight=weight), expected, rtol=1e-7)


@given(seed=st.integers(0, 10**6))
def test_bounds_do_not_depend_on_the_order_of_rows_and_columns(table, seed):
    X, truth, codes, weight = table
    rng = np.random.default_rng(seed)
    rows, columns = rng.permutation(len(X)), rng.permutation(X.shape[1])
    expected = bounds_of(X, truth, codes=codes, sample_weight=weight)
    permuted = bounds_of(X[rows][:, columns], truth[rows], codes=codes[rows], sample_weight=weight[rows])
    assert_allclose(permuted, expected, rtol=1e-9)


@given(seed=st.integers(0, 10**6))
def test_bounds_do_not_depend_on_the_numbers_of_clusters(table, seed):
    X, truth, *_ = table
    renamed = np.random.default_rng(seed).permutation(4)[truth]
    assert_allclose(bounds_of(X, renamed), bounds_of(X, truth), rtol=1e-9)


# Points of a table


def assert_same_points(found, expected):
    assert_allclose(found.points.A, expected.points.A, atol=1e-12)
    assert_allclose(found.points.q, expected.points.q, rtol=1e-12)


@pytest.mark.parametrize("known", [False, True])
def test_every_row_twice_gives_the_same_points_in_twice_the_unit(table, known):
    X, _, codes, weight = table
    codes = codes if known else None
    once = merged_table(X, 4, codes, weight)
    twice = merged_table(np.vstack([X, X]), 4, None if codes is None else np.tile(codes, 2), np.tile(weight, 2))
    assert_same_points(twice, once)
    assert_allclose([twice.unit, twice.within], [2 * once.unit, 2 * once.within], rtol=1e-10)
    assert_array_equal(twice.point_of, np.tile(once.point_of, 2))


@pytest.mark.parametrize("container", [csr_array, csr_matrix])
def test_sparse_table_gives_the_points_of_the_dense_one(table, container):
    X, _, codes, weight = table
    X = np.where(np.abs(X) > 1, X, 0)
    dense, sparse = merged_table(X, 4, codes, weight), merged_table(container(X), 4, codes, weight)
    assert_same_points(sparse, dense)
    assert_allclose([sparse.unit, sparse.within], [dense.unit, dense.within], rtol=1e-10)


def test_weight_two_is_the_row_twice(table):
    X, *_ = table
    weight = np.arange(80) % 2 + 1.0
    repeated, heavy = merged_table(np.repeat(X, weight.astype(int), axis=0), 4), merged_table(X, 4, None, weight)
    assert_same_points(repeated, heavy)
    assert repeated.unit == pytest.approx(heavy.unit, rel=1e-12)


def test_rows_of_weight_zero_are_no_points(table):
    X, _, codes, _ = table
    weight = (np.arange(80) % 3 > 0).astype(float)
    merged, without = merged_table(X, 4, codes, weight), merged_table(X[weight > 0], 4, codes[weight > 0])
    assert_same_points(merged, without)
    assert_array_equal(merged.point_of[weight > 0], without.point_of)
    assert (merged.point_of[(weight == 0) & (codes < 0)] == -1).all()


@given(seed=st.integers(0, 10**6))
def test_inertia_of_points_is_that_of_the_rows_if_merged_rows_stay_together(seed):
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 4, size=(30, 2)) * 10.0 ** rng.integers(-6, 7)
    codes, weight = rng.integers(-1, 3, 30), rng.uniform(0.5, 2, 30)
    codes[:3] = range(3)
    merged = merged_table(X, 4, codes, weight)
    labels = rng.integers(4, size=merged.points.n_points)
    labels[:4] = range(4)
    of_rows = labels[merged.point_of]
    direct = 0.0
    for a in range(4):
        own = of_rows == a
        direct += weight[own] @ ((X[own] - np.average(X[own], axis=0, weights=weight[own])) ** 2).sum(axis=1)
    assert merged.inertia(measure_margins(merged.points, labels).inertia) == pytest.approx(direct, rel=1e-10)


def test_inertia_within_known_classes_far_apart_is_not_lost_in_rounding():
    rng = np.random.default_rng(0)
    codes = np.repeat([0, 1, 2], 20)
    X = rng.standard_normal((60, 2)) + 1e6 * codes[:, None]
    expected = sum(((X[codes == a] - X[codes == a].mean(axis=0)) ** 2).sum() for a in range(3))
    X, codes = np.vstack([X, rng.standard_normal((5, 2))]), np.r_[codes, np.full(5, -1)]
    assert merged_table(X, 3, codes).within == pytest.approx(expected, rel=1e-8)


def test_center_of_the_points_is_the_mean_of_the_table(table):
    X, _, codes, weight = table
    assert_allclose(merged_table(X + 1e3, 4, codes, weight).center, np.average(X + 1e3, axis=0, weights=weight))


def test_points_are_centered_with_largest_singular_value_one(table):
    X, _, codes, weight = table
    points = merged_table(X + 1e5, 4, codes, weight).points
    assert_allclose(points.A.T @ points.q, 0, atol=1e-13)
    assert np.linalg.norm(points.A, 2) == pytest.approx(1)
    assert points.weight.mean() == pytest.approx(1)


def test_some_of_the_points_are_points_in_their_own_unit(table):
    X, _, codes, _ = table
    points = merged_table(X, 4, codes).points
    rows = np.r_[0, 1, np.arange(5, 40)]
    part, unit = points.subset(rows)
    assert part.n_known == 2
    labels = np.arange(len(rows)) % 4
    direct = sum(
        points.weight[own]
        @ ((points.rows[own] - np.average(points.rows[own], axis=0, weights=points.weight[own])) ** 2)
        for own in (rows[labels == a] for a in range(4))
    ).sum()
    assert unit * measure_margins(part, labels).inertia == pytest.approx(direct)


# Awkward points


def assert_all_bounds_hold(points, labels, best):
    """`best`, of these points or somewhat larger."""
    bound = label_bound(points, labels)
    N = label_multipliers(points, labels, max(bound.multiplier, 0.01))
    for value in (pca_bound(points), bound.value, spectral_bound(points, N)):
        assert 0 <= value <= best
    return bound


def test_singleton_clusters():
    X, codes = blobs(40, 12, n_clusters=2, n_features=3)
    X, codes = np.vstack([X, [[60.0, 0, 0], [0, 60.0, 0]]]), np.r_[codes, 2, 3]
    points = make_points(X, np.ones(42), 4, 0)[0]
    bound = assert_all_bounds_hold(points, codes, measure_margins(points, codes).inertia)
    assert bound.proven


def test_all_but_one_cluster_singletons():
    rows = np.array([[0.0], [1.0], [10.0], [20.0], [30.0]])
    points = make_points(rows, np.ones(5), 4, 0)[0]
    codes = np.array([0, 0, 1, 2, 3])
    assert assert_all_bounds_hold(points, codes, float(inertias(points).min())).proven


def test_duplicates_across_clusters_prove_nothing():
    X, codes = blobs(60, 14)
    X[1] = X[0]
    points = make_points(X, np.ones(60), 4, 0)[0]
    bound = assert_all_bounds_hold(points, codes, measure_margins(points, codes).inertia)
    assert not bound.proven


def test_equal_halves_of_a_cluster_split_in_two_prove_nothing():
    rows = np.array([[0.0], [0.0], [0.0], [0.0], [5.0], [6.0]])
    points = make_points(rows, np.ones(6), 3, 0)[0]
    codes = np.array([0, 0, 1, 1, 2, 2])
    assert not assert_all_bounds_hold(points, codes, measure_margins(points, codes).inertia).proven
    assert assert_all_bounds_hold(points, np.array([0, 0, 0, 0, 1, 2]), 0.0).value == 0


def test_points_at_one_place_have_inertia_zero():
    points = make_points(np.ones((6, 2)), np.ones(6), 2, 0)[0]
    assert not assert_all_bounds_hold(points, np.array([0, 0, 0, 1, 1, 1]), 0.0).proven


@pytest.mark.parametrize("n_features", [200, 1000])
def test_more_features_than_rows_are_reduced_without_loss(n_features):
    X, codes = blobs(50, 40, n_features=n_features)
    points, unit, _ = make_points(X, np.ones(50), 4, 0)
    assert points.A.shape[1] <= 50
    direct = sum(((X[codes == a] - X[codes == a].mean(axis=0)) ** 2).sum() for a in range(4))
    margins = measure_margins(points, codes)
    assert unit * margins.inertia == pytest.approx(direct, rel=1e-10)
    assert_all_bounds_hold(points, codes, margins.inertia)


def test_constant_columns_change_nothing(table):
    X, truth, *_ = table
    assert_allclose(bounds_of(np.column_stack([X, np.full(80, 7.0)]), truth), bounds_of(X, truth), rtol=1e-9)


def test_far_origin_costs_no_more_than_the_rounding_of_the_rows():
    X, codes = blobs(80, 14, n_features=4)
    X = np.round(X * 8) / 8
    far = X + 1e12
    assert_array_equal(far - 1e12, X)
    merged, near = merged_table(far, 4), merged_table(X, 4)
    labels = codes_of_points(merged, codes)
    bound = label_bound(merged.points, labels)
    assert bound.proven
    expected = near.inertia(label_bound(near.points, codes_of_points(near, codes)).value)
    assert merged.inertia(bound.value) == pytest.approx(expected, rel=1e-6)


def test_as_many_clusters_as_points_less_one():
    rows = np.random.default_rng(0).standard_normal((5, 2))
    points = make_points(rows, np.ones(5), 4, 0)[0]
    best = partitions(5, 4)[inertias(points).argmin()]
    assert_all_bounds_hold(points, best, float(inertias(points).min()))


def test_bound_where_the_driver_of_lapack_fails(monkeypatch):
    def fail(*arguments, **options):
        raise np.linalg.LinAlgError("Internal Error.")

    points = small_points(0)
    N = label_multipliers(points, partitions(points.n_points, points.n_clusters)[0], 0.01)
    expected = spectral_bound(points, N)
    monkeypatch.setattr(_bounds, "eigh", fail)
    assert spectral_bound(points, N) == pytest.approx(expected, abs=1e-12)
