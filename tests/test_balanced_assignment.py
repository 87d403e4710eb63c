"""Assignments to clusters of given sizes are the cheapest there are, and potentials explain them."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import linear_sum_assignment

from sklearn_sslcluster.numerics import (
    annealed_potentials,
    assign_distinct,
    assign_within,
    balanced_codes,
    clear_potentials,
    size_limits,
    target_sizes,
)


def even(n_rows, n_clusters):
    return size_limits(np.full(n_clusters, n_rows / n_clusters))


def total(costs, codes):
    return costs[np.arange(len(codes)), codes].sum()


def cheapest_by_enumeration(costs, lower, upper):
    n_rows, n_clusters = costs.shape
    best = np.inf
    for codes in product(range(n_clusters), repeat=n_rows):
        sizes = np.bincount(codes, minlength=n_clusters)
        if (sizes >= lower).all() and (sizes <= upper).all():
            best = min(best, total(costs, np.array(codes)))
    return best


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), n_rows=st.integers(1, 7), n_clusters=st.integers(1, 3), warm=st.booleans())
def test_no_assignment_with_these_sizes_is_cheaper(seed, n_rows, n_clusters, warm):
    rng = np.random.RandomState(seed)
    costs = rng.normal(size=(n_rows, n_clusters)).round(1)
    lower = rng.multinomial(rng.randint(n_rows + 1), np.full(n_clusters, 1 / n_clusters))
    upper = lower + rng.multinomial(n_rows, np.full(n_clusters, 1 / n_clusters))
    potentials = rng.normal(size=n_clusters) if warm else None
    codes, v = assign_within(costs, lower, upper, potentials)
    sizes = np.bincount(codes, minlength=n_clusters)
    assert (lower <= sizes).all()
    assert (sizes <= upper).all()
    assert_allclose(total(costs, codes), cheapest_by_enumeration(costs, lower, upper), atol=1e-12)
    assert_allclose(total(costs - v, codes), (costs - v).min(axis=1).sum(), atol=1e-12)


@pytest.mark.parametrize("start", ["nearest", "sinkhorn"])
@pytest.mark.parametrize(("n_rows", "n_clusters"), [(300, 5), (301, 7), (200, 40)])
def test_cost_is_that_of_the_assignment_problem_of_scipy(n_rows, n_clusters, start):
    rng = np.random.RandomState(0)
    X = rng.gamma(1, size=(n_rows, 3))
    costs = ((X[:, None] - X[:n_clusters]) ** 2).sum(axis=2)
    lower, upper = even(n_rows, n_clusters)
    potentials = annealed_potentials(costs, np.full(n_clusters, n_rows / n_clusters)) if start == "sinkhorn" else None
    codes, _ = assign_within(costs, lower, upper, potentials)
    # Columns are seats. The last seat of a cluster may be taken by one of the rows that fill the table up, for nothing.
    seats = np.repeat(np.arange(n_clusters), upper)
    optional = np.append(np.diff(seats) != 0, True) & (upper > lower)[seats]
    filling = np.where(optional, 0, 1e6) * np.ones((len(seats) - n_rows, 1))
    square = np.vstack([costs[:, seats], filling])
    assert_allclose(total(costs, codes), square[linear_sum_assignment(square)].sum(), rtol=1e-10)
    sizes = np.bincount(codes, minlength=n_clusters)
    assert sizes.max() - sizes.min() <= 1


def test_potentials_leave_every_row_in_its_cluster_by_the_largest_margin():
    # Two clusters on a line: the margin is half the gap between the differences of costs.
    costs = np.array([[0.0, 5.0], [0.0, 3.0], [0.0, 1.0], [0.0, -4.0]])
    codes = np.array([0, 0, 1, 1])
    v = clear_potentials(costs, codes)
    added = (costs - v)[np.arange(4), 1 - codes] - (costs - v)[np.arange(4), codes]
    assert_allclose(added.min(), 0.5)
    assert v.max() == 0


def test_potentials_are_zero_where_nearest_centers_have_the_sizes():
    X = np.random.RandomState(0).normal(size=(60, 2)) + 30 * np.repeat(np.eye(2), 30, axis=0)
    costs = ((X[:, None] - 30 * np.eye(2)) ** 2).sum(axis=2)
    codes, _ = assign_within(costs, *even(60, 2))
    assert_array_equal(clear_potentials(costs, codes), [0, 0])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), n_clusters=st.integers(2, 9))
def test_potentials_tell_the_cluster_of_every_row(seed, n_clusters):
    rng = np.random.RandomState(seed)
    costs = rng.gamma(1, size=(80, n_clusters))
    codes, _ = assign_within(costs, *even(80, n_clusters))
    assert_array_equal((costs - clear_potentials(costs, codes)).argmin(axis=1), codes)


def test_annealed_potentials_nearly_give_the_masses():
    rng = np.random.RandomState(0)
    X = rng.gamma(1, size=(2000, 8))
    costs = ((X[:, None] - X[:8]) ** 2).sum(axis=2)
    masses = np.array([100, 200, 300, 400, 400, 300, 200, 100])
    sizes = np.bincount((costs - annealed_potentials(costs, masses)).argmin(axis=1), minlength=8)
    nearest = np.bincount(costs.argmin(axis=1), minlength=8)
    assert np.maximum(sizes - masses, 0).sum() <= 20 < np.maximum(nearest - masses, 0).sum()


def test_cluster_of_no_mass_attracts_no_row():
    costs = np.random.RandomState(0).gamma(1, size=(50, 3))
    v = annealed_potentials(costs, np.array([25.0, 25.0, 0.0]))
    assert_array_equal(np.unique((costs - v).argmin(axis=1)), [0, 1])


def test_equal_rows_stay_together_and_go_where_rows_are_missing():
    costs = np.array([[0.0, 1.0], [0.0, 2.0], [0.0, 9.0]])
    codes, _ = assign_distinct(costs, np.array([3, 2, 2]), np.array([4.0, 3.0]), None)
    assert_array_equal(codes, [1, 0, 0])


def test_target_sizes_leave_labeled_rows_where_they_are():
    assert_allclose(target_sizes(np.array([50, 3, 0, 0]), 80, np.ones(4)), [50, 10, 10, 10])
    assert_allclose(target_sizes(np.array([0, 0, 0]), 60, np.array([3.0, 2.0, 1.0])), [30, 20, 10])
    assert_allclose(target_sizes(np.array([4, 2]), 6, np.ones(2)), [4, 2])


@pytest.mark.parametrize(("n_rows", "n_clusters"), [(100, 7), (160, 20), (350, 43), (30, 30), (5, 1)])
@pytest.mark.parametrize("kind", ["skewed", "equal"])
def test_codes_differ_in_size_by_at_most_one(n_rows, n_clusters, kind):
    X = np.random.RandomState(0).gamma(0.5, size=(n_rows, 4)) if kind == "skewed" else np.ones((n_rows, 4))
    sizes = np.bincount(balanced_codes(X, n_clusters, np.random.RandomState(0)), minlength=n_clusters)
    assert len(sizes) == n_clusters
    assert sizes.max() - sizes.min() <= 1


def test_codes_are_clusters():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(400, 2)) + 50 * np.repeat(rng.normal(size=(40, 2)), 10, axis=0)
    codes = balanced_codes(X, 40, np.random.RandomState(0))
    within = sum(((X[codes == code] - X[codes == code].mean(axis=0)) ** 2).sum() for code in range(40))
    assert within < 0.05 * ((X - X.mean(axis=0)) ** 2).sum()


def test_codes_repeat_with_the_seed():
    X = np.random.RandomState(0).normal(size=(120, 3))
    first, second = (balanced_codes(X, 25, np.random.RandomState(7)) for _ in range(2))
    assert_array_equal(first, second)
