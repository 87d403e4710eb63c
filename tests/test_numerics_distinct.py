"""Distinct rows, their order and their sample, seen by neither row order nor repetition."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array, csr_matrix, issparse

from sklearn_sslcluster.engine import RowBlocks
from sklearn_sslcluster.numerics import distinct
from sklearn_sslcluster.numerics.distinct import distinct_rows, lexicographic_order

CONTAINERS = pytest.mark.parametrize("container", [np.asarray, csr_array, csr_matrix])
EVERYTHING = 10**6


def take(X, codes=None, weight=None, *, max_rows=EVERYTHING, seed=0, block_size="auto"):
    row_data = (codes, weight)
    source = RowBlocks(X, row_data, block_size=block_size, n_threads=1)
    return distinct_rows(source, row_data, max_rows=max_rows, random_state=np.random.RandomState(seed))


def dense(X):
    return X.toarray() if issparse(X) else X


def grids(dtype=np.float64, largest=2, smallest=-2):
    """Small arrays with many equal rows."""
    shapes = st.tuples(st.integers(1, 30), st.integers(1, 4))
    return npst.arrays(np.int64, shapes, elements=st.integers(smallest, largest)).map(lambda X: X.astype(dtype))


# All distinct rows


@CONTAINERS
@given(X=grids())
def test_distinct_rows_and_counts_are_those_of_numpy_unique(container, X):
    rows = take(container(X))
    expected, counts = np.unique(X, axis=0, return_counts=True)
    assert_array_equal(dense(rows.X), expected)
    assert_array_equal(rows.weight, counts)
    assert rows.complete


@CONTAINERS
@given(X=grids(np.float32))
def test_float32_rows_stay_float32(container, X):
    rows = take(container(X / np.float32(3)))
    assert_array_equal(dense(rows.X), np.unique(X / np.float32(3), axis=0))
    assert rows.X.dtype == np.float32


@CONTAINERS
@given(X=grids())
def test_each_row_is_the_distinct_row_that_inverse_names(container, X):
    rows = take(container(X))
    assert_array_equal(dense(rows.X)[rows.inverse], X)
    assert_array_equal(dense(rows.X), X[rows.rows])


@given(X=grids(), seed=st.integers(0, 99))
def test_weights_of_equal_rows_are_summed(X, seed):
    weight = np.random.RandomState(seed).randint(1, 5, size=len(X)).astype(float)
    rows = take(X, weight=weight)
    expected, inverse = np.unique(X, axis=0, return_inverse=True)
    assert_array_equal(rows.X, expected)
    assert_array_equal(rows.weight, np.bincount(inverse.ravel(), weight))


def test_labeled_rows_and_rows_without_weight_are_left_out():
    X = np.array([[1.0], [2.0], [3.0], [1.0], [4.0]])
    rows = take(X, np.array([-1, 0, -1, 1, -1]), np.array([2.0, 1.0, 0.0, 1.0, 0.5]))
    assert_array_equal(rows.X, [[1], [4]])
    assert_array_equal(rows.weight, [2, 0.5])
    assert_array_equal(rows.rows, [0, 4])
    assert_array_equal(rows.inverse, [0, 1])


def test_no_free_row_gives_no_distinct_row():
    rows = take(np.ones((3, 2)), np.zeros(3, dtype=int))
    assert rows.X.shape == (0, 2)
    assert rows.weight.shape == rows.rows.shape == rows.inverse.shape == (0,)


def test_zero_has_no_sign():
    stored_zeros = csr_array(np.ones((2, 2)))
    stored_zeros.data[:] = [-0.0, 0.0, 1.0, -0.0]
    for X in (np.array([[0.0, -0.0], [-0.0, 0.0], [1.0, 0.0], [1.0, -0.0]]), stored_zeros):
        rows = take(X)
        assert_array_equal(dense(rows.X), [[0, 0], [1, 0]])
        assert_array_equal(rows.weight, [X.shape[0] / 2] * 2)


# Hashes


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@given(X=grids(largest=3))
def test_equal_rows_have_equal_hashes_dense_and_sparse(dtype, X):
    X = (X / 7).astype(dtype)
    keys = distinct.hash_keys(X.shape[1], np.random.RandomState(0))
    hashes = distinct.hash_rows(X, keys)
    assert_array_equal(hashes, distinct.hash_rows(csr_array(X), keys))
    _, groups = np.unique(X, axis=0, return_inverse=True)
    _, by_hash = np.unique(hashes, return_inverse=True)
    assert len(set(zip(groups.ravel(), by_hash, strict=True))) == len(set(by_hash)) == len(set(groups.ravel()))


@CONTAINERS
def test_hashing_leaves_the_rows_alone(container):
    X = np.random.RandomState(0).normal(size=(20, 3))
    rows = container(X.copy())
    distinct.hash_rows(rows, distinct.hash_keys(3, np.random.RandomState(0)))
    assert_array_equal(dense(rows), X)


def test_hashes_spread_evenly_over_their_range():
    X = np.arange(20000.0)[:, None] * [1, 0, 2]
    hashes = distinct.hash_rows(X, distinct.hash_keys(3, np.random.RandomState(0)))
    counts = np.bincount((hashes >> np.uint64(60)).astype(int), minlength=16)
    # Chi-square with 15 degrees of freedom exceeds 45 once in 10,000 draws.
    assert ((counts - 1250) ** 2 / 1250).sum() < 45


@CONTAINERS
def test_rows_whose_hashes_collide_are_told_apart(monkeypatch, container):
    monkeypatch.setattr(distinct, "hash_rows", lambda X, keys: np.full(X.shape[0], 3, dtype=np.uint64))
    X = np.random.RandomState(0).randint(0, 3, size=(40, 2)).astype(float)
    rows = take(container(X))
    expected, counts = np.unique(X, axis=0, return_counts=True)
    assert_array_equal(dense(rows.X), expected)
    assert_array_equal(rows.weight, counts)


# Lexicographic order


@CONTAINERS
@given(X=grids(largest=1, smallest=0))
def test_order_is_that_of_lexsort(container, X):
    X = np.unique(X, axis=0)
    X = X[np.random.RandomState(len(X)).permutation(len(X))]
    assert_array_equal(lexicographic_order(container(X)), np.lexsort(X.T[::-1]))


@given(X=grids(largest=1, smallest=0))
def test_equal_rows_keep_their_order(X):
    assert_array_equal(lexicographic_order(X), np.lexsort(X.T[::-1]))


# Order and repetition of rows


def assert_same_rows(one, other, times=1):
    assert_array_equal(dense(one.X), dense(other.X))
    assert_allclose(one.weight * times, other.weight, rtol=1e-12)


def continuous(n_rows=300):
    """Distinct rows with some zeros, one of them all zeros."""
    X = np.random.RandomState(1).normal(size=(n_rows, 3))
    X[:, :2][np.abs(X[:, :2]) < 0.3] = 0
    X[-1] = 0
    return X


def heavily_repeated(n_rows=300):
    """Nine distinct rows, some of them often."""
    return np.random.RandomState(1).binomial(2, 0.2, size=(n_rows, 2)).astype(float)


TABLES = pytest.mark.parametrize("table", [continuous, heavily_repeated])
MAX_ROWS = pytest.mark.parametrize("max_rows", [EVERYTHING, 60, 3])


@TABLES
@MAX_ROWS
@CONTAINERS
def test_row_order_changes_nothing(table, max_rows, container):
    X = table()
    weight = np.random.RandomState(2).uniform(0.5, 2, size=len(X))
    order = np.random.RandomState(3).permutation(len(X))
    one, other = (
        take(container(X), weight=weight, max_rows=max_rows),
        take(container(X[order]), weight=weight[order], max_rows=max_rows),
    )
    assert_same_rows(one, other)
    assert_array_equal(X[one.rows], X[order][other.rows])


@TABLES
@MAX_ROWS
def test_repeating_all_rows_multiplies_the_weights(table, max_rows):
    X = table()
    assert_same_rows(take(X, max_rows=max_rows), take(np.repeat(X, 4, axis=0), max_rows=max_rows), times=4)


@MAX_ROWS
def test_repeating_a_row_adds_to_its_weight_only(max_rows):
    X = continuous()
    times = np.random.RandomState(4).randint(1, 5, size=len(X))
    repeated, weighted = take(np.repeat(X, times, axis=0), max_rows=max_rows), take(X, weight=times, max_rows=max_rows)
    assert_same_rows(repeated, weighted)


@MAX_ROWS
@pytest.mark.parametrize("block_size", [1, 7, 299])
def test_block_size_changes_nothing(max_rows, block_size):
    X = continuous()
    assert_same_rows(take(X, max_rows=max_rows), take(X, max_rows=max_rows, block_size=block_size))


# The sample


def test_sample_has_the_wanted_number_of_distinct_rows_with_all_their_copies():
    X = np.repeat(continuous(), 3, axis=0)
    rows = take(X, max_rows=50)
    assert rows.X.shape[0] == 50
    assert not rows.complete
    assert_array_equal(rows.weight, np.full(50, 3))


def test_few_distinct_rows_among_many_are_all_taken():
    X = np.zeros((5000, 2))
    X[::1000, 1] = np.arange(5)
    rows = take(X, max_rows=100)
    assert_array_equal(rows.X, np.column_stack([np.zeros(5), np.arange(5)]))
    assert rows.weight.sum() == 5000


def test_few_distinct_rows_are_found_without_a_copy_of_the_table():
    X = np.repeat(np.random.RandomState(0).normal(size=(50, 20)), 4000, axis=0)
    tracemalloc.start()
    try:
        rows = take(X, max_rows=100, block_size=4096)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert_array_equal(rows.weight, np.full(50, 4000))
    assert peak < 0.3 * X.nbytes


def test_sample_is_dense_and_sparse_the_same():
    assert_same_rows(take(continuous(), max_rows=50), take(csr_array(continuous()), max_rows=50))


def test_sample_leaves_out_labeled_rows():
    codes = np.tile([-1, 0, -1], 100)
    rows = take(continuous(), codes, max_rows=50)
    assert rows.X.shape[0] == 50
    assert set(codes[rows.rows]) == {-1}


def test_sample_of_no_free_rows_is_empty():
    assert take(continuous(), np.zeros(300, dtype=int), max_rows=50).X.shape == (0, 3)


def test_seeds_draw_different_samples_in_which_each_row_is_equally_likely():
    X = continuous(200)
    taken = np.zeros(200)
    for seed in range(200):
        taken[take(X, max_rows=20, seed=seed).rows] += 1
    # Each row, that of zeros too, is taken 20 times on average, with a standard deviation of 4.2.
    assert taken.min() >= 1
    assert taken.max() <= 45
