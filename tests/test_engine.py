"""Rows in blocks and threads, and what callbacks hear of a fit."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array, issparse
from sklearn.callback import ScoringMonitor
from threadpoolctl import ThreadpoolController

from sklearn_sslcluster.datasets import make_partially_labeled_blobs
from sklearn_sslcluster.discovery import NCDKMeans, NCDSpectralClustering, SemiSupervisedKMeans
from sklearn_sslcluster.engine import RowBlocks, blas_on_one_thread, check_block_size, n_usable_threads

THREE_BLOCKS = {"block_size": 4, "n_threads": 3}


def rows(n_rows=10, n_features=3):
    return np.random.RandomState(0).randint(-4, 5, size=(n_rows, n_features)).astype(float)


def as_ndarray(X, folder):
    return X


def as_csr(X, folder):
    return csr_array(X)


def as_memmap(X, folder):
    path = folder / f"{len(list(folder.iterdir()))}.bin"
    mapped = np.memmap(path, dtype=X.dtype, mode="w+", shape=X.shape)
    mapped[:] = X
    mapped.flush()
    return np.memmap(path, dtype=X.dtype, mode="r", shape=X.shape)


CONTAINERS = pytest.mark.parametrize("container", [as_ndarray, as_memmap, as_csr])
layouts = st.tuples(st.integers(1, 40), st.integers(1, 45), st.integers(1, 4))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("rows")


def dense(block):
    return block.toarray() if issparse(block) else np.asarray(block)


# Whatever the container, the block size and the number of threads


@CONTAINERS
@given(layout=layouts)
def test_sum_equals_the_sum_over_all_rows(container, folder, layout):
    n_rows, block_size, n_threads = layout
    X, weight = rows(n_rows), np.arange(n_rows)
    blocks = RowBlocks(container(X, folder), (weight,), block_size=block_size, n_threads=n_threads)
    total, count = blocks.sum(lambda block, data, power: (data[0] @ dense(block) ** power, block.shape[0]), 2)
    assert_array_equal(total, weight @ X**2)
    assert count == n_rows


@CONTAINERS
@given(layout=layouts)
def test_map_equals_the_function_of_all_rows(container, folder, layout):
    n_rows, block_size, n_threads = layout
    X, shift = rows(n_rows), np.arange(3)
    blocks = RowBlocks(container(X, folder), block_size=block_size, n_threads=n_threads)
    moved, smallest = blocks.map(lambda block, _, shift: (dense(block) - shift, dense(block).min(axis=1)), shift)
    assert_array_equal(moved, X - shift)
    assert_array_equal(smallest, X.min(axis=1))


@CONTAINERS
@given(layout=layouts)
def test_pick_gives_the_results_of_the_blocks_in_order(container, folder, layout):
    n_rows, block_size, n_threads = layout
    X = rows(n_rows)
    blocks = RowBlocks(container(X, folder), block_size=block_size, n_threads=n_threads)
    parts = blocks.pick(lambda block, _, limit: (np.flatnonzero(dense(block)[:, 0] > limit),), 1)
    found = np.concatenate([start + numbers for start, (numbers,) in parts])
    assert_array_equal(found, np.flatnonzero(X[:, 0] > 1))


def test_row_data_are_cut_with_the_rows_and_none_stays_none():
    X = rows(10)
    seen = []
    blocks = RowBlocks(X, (np.arange(10), None), block_size=4, n_threads=1)
    blocks.map(lambda block, data, _: (seen.append((block, *data)), np.zeros(len(block)))[1:])
    for (block, numbers, nothing), start in zip(seen, (0, 4, 8), strict=True):
        assert_array_equal(numbers, np.arange(10)[start : start + 4])
        assert_array_equal(block, X[numbers])
        assert nothing is None


def test_blocks_are_added_in_their_order_so_that_threads_change_no_bit():
    X = np.random.RandomState(0).normal(size=(200, 3)) * 10.0 ** np.arange(200)[:, None] / 1e100
    sums = [
        RowBlocks(X, block_size=7, n_threads=n_threads).sum(lambda block, *_: (block.sum(axis=0),))[0]
        for n_threads in (1, 2, 5)
    ]
    assert_array_equal(sums[0], sums[1])
    assert_array_equal(sums[0], sums[2])


def test_no_rows_give_empty_results():
    blocks = RowBlocks(np.empty((0, 3)))
    assert blocks.sum(lambda block, *_: (block.sum(axis=0),))[0].tolist() == [0, 0, 0]
    assert blocks.map(lambda block, *_: (block[:, 0],))[0].shape == (0,)
    assert [start for start, _ in blocks.pick(lambda block, *_: (block[:, 0] > 0,))] == [0]


# Block sizes


def test_auto_block_fills_eight_mebibytes():
    assert check_block_size("auto", 10**9, 80) == 8 * 2**20 // 80


def test_auto_block_has_at_least_1024_rows_and_no_more_than_there_are():
    assert check_block_size("auto", 10**9, 10**9) == 1024
    assert check_block_size("auto", 50, 80) == 50


@pytest.mark.parametrize("block_size", [0, -3, 2.0, "large", None])
def test_other_block_sizes_are_refused_with_what_came(block_size):
    with pytest.raises(ValueError, match=f"block_size must be 'auto' or a positive integer, got {block_size!r}"):
        RowBlocks(rows(), block_size=block_size)


# Errors and threads


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
@pytest.mark.parametrize("method", ["sum", "map", "pick"])
@pytest.mark.parametrize("n_threads", [1, 3])
def test_errors_in_a_block_come_out_and_no_thread_stays(error, method, n_threads):
    def fail_late(block, row_data, parameters):
        if row_data[0][0] >= 8:
            raise error("in the third block")
        return (block[:, 0] > 0,)

    before = threading.active_count()
    blocks = RowBlocks(rows(12), (np.arange(12),), block_size=4, n_threads=n_threads)
    with pytest.raises(error, match="in the third block"):
        list(getattr(blocks, method)(fail_late))
    assert threading.active_count() == before


def test_blocks_run_on_several_threads_at_once():
    barrier = threading.Barrier(3, timeout=10)
    RowBlocks(rows(12), **THREE_BLOCKS).map(lambda block, *_: (np.full(len(block), barrier.wait()),))
    assert not barrier.broken


def blas_threads():
    """Threads of every BLAS in the process but those built without threads, as that of SCS is."""
    pools = ThreadpoolController().select(user_api="blas").info()
    return [pool["num_threads"] for pool in pools if pool.get("threading_layer") != "disabled"]


@pytest.fixture
def blas_on_two_threads():
    with ThreadpoolController().limit(limits=2, user_api="blas"):
        assert set(blas_threads()) == {2}
        yield


@pytest.mark.usefixtures("blas_on_two_threads")
def test_blas_is_limited_inside_and_restored_after_an_error():
    def fail():
        assert set(blas_threads()) == {1}
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), blas_on_one_thread():
        fail()
    assert set(blas_threads()) == {2}


@pytest.mark.usefixtures("blas_on_two_threads")
def test_blas_has_one_thread_while_blocks_run_on_several():
    seen = RowBlocks(rows(12), **THREE_BLOCKS).map(lambda block, *_: (np.full(len(block), max(blas_threads())),))[0]
    assert set(seen) == {1}
    assert set(blas_threads()) == {2}


def test_usable_threads_respect_the_limit_of_openmp():
    with ThreadpoolController().limit(limits=1, user_api="openmp"):
        assert n_usable_threads() == 1


# Callbacks


class Recorder:
    """Callback that notes what it hears, and stops or fails at the end of an iteration with a given number."""

    def __init__(self, stop_at=None, fail_at=None):
        self.stop_at, self.fail_at = stop_at, fail_at
        self.heard, self.fitted = [], []

    def setup(self, estimator, context):
        self.heard.append("setup")

    def teardown(self, estimator, context):
        self.heard.append("teardown")

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None):
        self.heard.append(f"begin {context.task_name}")
        self.data = X, y

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, fitted_estimator=None):
        self.heard.append(f"end {context.task_name}")
        self.fitted.append(fitted_estimator)
        if context.task_name == "iteration" and context.task_id == self.fail_at:
            raise ZeroDivisionError("in a callback")
        return context.task_name == "iteration" and context.task_id == self.stop_at


@pytest.fixture(scope="module")
def blobs():
    return make_partially_labeled_blobs(200, labeled_fraction=0.5, random_state=0)[:2]


def test_callbacks_hear_begin_and_end_of_the_fit_and_of_each_iteration(blobs):
    recorder = Recorder()
    SemiSupervisedKMeans(5, n_init=3, random_state=0).set_callbacks(recorder).fit(*blobs)
    iteration = ["begin iteration", "end iteration"]
    assert recorder.heard == ["setup", "begin fit", *3 * iteration, "end fit", "teardown"]
    assert_array_equal(recorder.data[0], blobs[0])
    assert_array_equal(recorder.data[1], blobs[1])


def test_callback_that_returns_true_stops_the_fit_which_can_predict(blobs):
    recorder = Recorder(stop_at=1)
    model = SemiSupervisedKMeans(5, n_init=30, random_state=0).set_callbacks(recorder).fit(*blobs)
    assert recorder.heard.count("end iteration") == 2
    assert recorder.heard[-2:] == ["end fit", "teardown"]
    assert_array_equal(model.predict(blobs[0])[blobs[1] == -1], model.labels_[blobs[1] == -1])


def test_stopping_spectral_clustering_ends_its_search_for_an_embedding(blobs):
    class StopAtOnce(Recorder):
        def on_fit_task_end(self, estimator, context):
            return context.task_name == "step"

    model = NCDSpectralClustering(5, tune=True, n_tune=20, random_state=0).set_callbacks(StopAtOnce()).fit(*blobs)
    assert len(model.tuning_results_["score"]) == 1


@pytest.mark.parametrize("estimator", [SemiSupervisedKMeans(5), NCDKMeans(5), NCDKMeans(3)])
@pytest.mark.filterwarnings("ignore:.*lie nearest to a known class")
def test_estimator_given_to_callbacks_predicts_and_scores(blobs, estimator):
    recorder = Recorder()
    model = estimator.set_callbacks(recorder).set_params(random_state=0, n_init=2).fit(*blobs)
    given = [fitted for fitted in recorder.fitted if fitted is not None]
    for fitted in given:
        assert fitted is not model
        assert set(fitted.predict(blobs[0])) <= set(model.classes_)
        assert np.isfinite(fitted.score(blobs[0]))
    assert len(given) == (0 if estimator.n_clusters == 3 else 2)


def test_last_estimator_given_to_callbacks_is_the_fitted_one(blobs):
    recorder = Recorder()
    model = SemiSupervisedKMeans(5, n_init=4, random_state=0).set_callbacks(recorder).fit(*blobs)
    last = [fitted for fitted in recorder.fitted if fitted is not None][-1]
    assert_allclose(np.sort(last.cluster_centers_, axis=0), np.sort(model.cluster_centers_, axis=0))


def test_scoring_monitor_of_scikit_learn_logs_each_iteration(blobs):
    monitor = ScoringMonitor(scoring={"own": lambda estimator, X, y: estimator.score(X)})
    model = SemiSupervisedKMeans(5, n_init=3, random_state=0).set_callbacks(monitor).fit(*blobs)
    scores = [entry["own"] for entry in monitor.get_logs().data if entry["task_name"] == "iteration"]
    assert len(scores) == 3
    assert scores[-1] == pytest.approx(model.score(blobs[0]))


def test_callbacks_are_torn_down_once_when_the_fit_fails(blobs):
    recorder = Recorder(fail_at=1)
    model = SemiSupervisedKMeans(5, n_init=3, random_state=0).set_callbacks(recorder)
    with pytest.raises(ZeroDivisionError, match="in a callback"):
        model.fit(*blobs)
    assert recorder.heard[-1] == "teardown"
    assert recorder.heard.count("teardown") == 1
    assert vars(model).keys() == {*model.get_params(), "_skl_callbacks"}
