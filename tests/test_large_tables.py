"""Deep estimators on tables that are read as they go: the order of the rows, samples, and what comes of a fit."""

import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_digits, make_blobs

from sklearn_sslcluster.deep import (
    ContrastiveEncoder,
    DeepEmbeddedClustering,
    DeepKMeans,
    NeighborEmbeddingClustering,
    NetworkSettings,
    PrototypeClustering,
)
from sklearn_sslcluster.engine import DaskBlocks, DaskRows, RowBlocks, ShuffledRows, on_disk
from sklearn_sslcluster.labels import encode_partial_labels
from sklearn_sslcluster.metrics import clustering_accuracy
from sklearn_sslcluster.neural import measure, tables, training_table

QUICK = {"max_pretrain_epochs": 4, "max_epochs": 4, "random_state": 0}
MODELS = [
    DeepEmbeddedClustering(3, n_init=2, **QUICK),
    DeepKMeans(3, n_init=2, **QUICK),
    NeighborEmbeddingClustering(3, max_epochs=15, random_state=0),
    PrototypeClustering(3, n_init=2, **QUICK),
    ContrastiveEncoder(6, max_epochs=3, random_state=0),
]
each = pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture(scope="module")
def blobs():
    X, truth = make_blobs(300, n_features=5, centers=3, cluster_std=0.8, random_state=0)
    return X, truth, np.where(np.arange(300) % 10 == 0, truth, -1)


@pytest.fixture
def read_all(monkeypatch):
    """Read tables of any size as they go."""
    monkeypatch.setattr(tables, "LARGEST_IN_MEMORY", 0)


# Rows in random order


def numbered(n_rows):
    return np.arange(2.0 * n_rows).reshape(n_rows, 2)


def taken(rows, number, size, seed=0, without=()):
    return list(rows.batches(number, size, seed, np.asarray(without, dtype=np.intp)))


@given(st.integers(2, 60), st.integers(1, 20), st.integers(2, 25), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_a_round_of_a_small_table_holds_every_row_once(n_rows, block_size, size, number):
    X = numbered(n_rows)
    batches = taken(ShuffledRows(RowBlocks(X, block_size=block_size)), number, size)
    numbers = np.concatenate([batch for batch, _ in batches])
    assert len(set(numbers.tolist())) == len(numbers)
    # A single row that is left makes no batch.
    assert len(numbers) == n_rows - (n_rows % size == 1)
    assert [len(batch) for batch, _ in batches[:-1]] == [size] * (len(batches) - 1)
    for batch, rows in batches:
        assert_array_equal(rows, X[batch])


def test_rounds_of_a_large_table_see_all_rows_before_any_comes_again():
    rows = ShuffledRows(RowBlocks(numbered(120), block_size=10), pool_bytes=2 * 160, round_rows=30)
    seen = [np.sort(np.concatenate([batch for batch, _ in taken(rows, number, 6)])) for number in range(8)]
    assert all(len(numbers) == 30 for numbers in seen)
    for first in (0, 4):
        assert_array_equal(np.sort(np.concatenate(seen[first : first + 4])), np.arange(120))
    assert not np.array_equal(seen[0], seen[4])


@given(st.lists(st.integers(0, 30), min_size=1, max_size=25).filter(sum), st.integers(1, 60), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_chunks_of_any_size_make_rounds_of_enough_rows(sizes, round_rows, seed):
    X = numbered(sum(sizes))
    with dask.config.set(scheduler="synchronous"):
        source = DaskBlocks(DaskRows(da.from_array(X, chunks=(tuple(sizes), 2))))
        rows = ShuffledRows(source, pool_bytes=160, round_rows=round_rows)
        seen = [
            np.concatenate(
                [np.concatenate([source.part(part)[1] for part in pool]) for pool in rows._parts(number, seed)]
            )
            for number in range(rows.n_rounds)
        ]
    assert_array_equal(np.sort(np.concatenate(seen)[:, 0]), X[:, 0])
    target = len(X) / rows.n_rounds
    assert all(target / 2 - 1 <= len(part) <= 1.5 * target + 1 for part in seen)


def test_rows_of_several_parts_are_mixed():
    rows = ShuffledRows(RowBlocks(numbered(100), block_size=10), pool_bytes=4 * 160)
    ((batch, _), *_) = taken(rows, 0, 20)
    assert len(np.unique(batch // 10)) == 4


def test_rows_left_out_do_not_come():
    rows = ShuffledRows(RowBlocks(numbered(50), block_size=7))
    numbers = np.concatenate([batch for batch, _ in taken(rows, 0, 8, without=range(0, 50, 5))])
    assert set(numbers.tolist()) == {number for number in range(50) if number % 5}


def test_rows_of_dask_come_in_the_order_of_those_in_memory():
    X = numbered(70)
    inside = ShuffledRows(RowBlocks(X, block_size=16), pool_bytes=2 * 256)
    chunks = ShuffledRows(DaskBlocks(DaskRows(da.from_array(X, chunks=(16, 2)))), pool_bytes=2 * 256)
    for (first, rows), (second, others) in zip(taken(inside, 2, 9), taken(chunks, 2, 9), strict=True):
        assert_array_equal(first, second)
        assert_array_equal(rows, others)


@pytest.mark.parametrize("kind", ["array", "dask"])
def test_results_on_disk_are_those_in_memory(kind):
    X = numbered(40)
    source = RowBlocks(X, block_size=9) if kind == "array" else DaskBlocks(DaskRows(da.from_array(X, chunks=(9, 2))))
    found = on_disk(source, lambda block, row_data, factor: (factor * block,), 3)
    assert isinstance(found, np.memmap)
    assert_array_equal(found, 3 * X)


# The table


@pytest.mark.parametrize("offset", [0.0, 1e9])
def test_scale_is_that_of_a_table_in_memory(offset, read_all):
    X = np.random.RandomState(0).normal(size=(500, 4)) * [1, 30, 1e-3, 0] + offset
    labels = encode_partial_labels(None, X)
    read = training_table(X, labels, 0).scale
    assert_allclose(read["mean_"], X.mean(axis=0), rtol=1e-12, atol=1e-12)
    assert_allclose(read["scale_"], measure(X)["scale_"], rtol=1e-6)


def test_sample_of_a_wide_table_is_small(monkeypatch, read_all):
    monkeypatch.setattr(tables, "_SAMPLE_BYTES", 8 * 2 * 40)
    monkeypatch.setattr(tables, "_FEWEST_SAMPLED", 30)
    assert len(training_table(numbered(100), encode_partial_labels(np.full(100, -1)), 0).rows) == 40
    monkeypatch.setattr(tables, "_SAMPLE_BYTES", 8)
    assert len(training_table(numbered(100), encode_partial_labels(np.full(100, -1)), 0).rows) == 30


def test_sample_holds_every_class_its_share_and_mostly_unlabeled_rows(monkeypatch, read_all):
    monkeypatch.setattr(tables, "SAMPLE_ROWS", 100)
    codes = np.full(5000, -1)
    codes[:1500], codes[1500:2000], codes[2000] = 0, 1, 2
    table = training_table(numbered(5000), encode_partial_labels(codes), 0)
    shares = {code: np.count_nonzero(table.labels.codes == code) for code in (-1, 0, 1, 2)}
    assert shares == {-1: 50, 0: 37, 1: 12, 2: 1}
    assert (np.diff(table.rows) > 0).all()
    assert_array_equal(table.labels.codes, codes[table.rows])


def test_few_unlabeled_rows_leave_room_for_labeled_ones(monkeypatch, read_all):
    monkeypatch.setattr(tables, "SAMPLE_ROWS", 100)
    codes = np.zeros(400, dtype=int)
    codes[:20] = -1
    table = training_table(numbered(400), encode_partial_labels(codes), 0)
    assert np.count_nonzero(table.labels.codes == -1) == 20
    assert len(table.rows) == 100


# Fits


@each
def test_array_and_dask_of_one_chunk_give_the_same_fit(model, blobs, read_all):
    X, _, y = blobs
    array = clone(model).fit(X, y)
    chunks = clone(model).fit(da.from_array(X, chunks=(300, 5)), y)
    assert_array_equal(array.transform(X), chunks.transform(X))
    if hasattr(array, "labels_"):
        assert_array_equal(array.labels_, chunks.labels_)


@pytest.mark.parametrize("model", MODELS[:4], ids=lambda model: type(model).__name__)
@pytest.mark.parametrize("labeled", [False, True])
def test_clusters_of_a_dask_array_are_found_and_answers_are_lazy(model, labeled, blobs):
    X, truth, y = blobs
    rows = da.from_array(X, chunks=(70, 5))
    model = clone(model).fit(rows, y if labeled else None)
    assert clustering_accuracy(truth, model.labels_) > 0.95
    for answer in (model.predict, model.predict_proba, model.transform, model.novelty_score):
        lazy = answer(rows)
        assert isinstance(lazy, da.Array)
        # Products of other numbers of rows are rounded otherwise.
        assert_allclose(lazy.compute(), answer(X), rtol=1e-12)
    free = y == -1 if labeled else slice(None)
    assert_array_equal(model.labels_[free], model.predict(X)[free])
    assert not any(isinstance(value, np.memmap) for value in vars(model).values())


def test_labeled_rows_keep_their_class_when_a_sample_stands_for_the_table(monkeypatch, read_all, blobs):
    monkeypatch.setattr(tables, "SAMPLE_ROWS", 90)
    X, truth, y = blobs
    model = DeepEmbeddedClustering(3, n_init=2, **QUICK).fit(X, y)
    assert len(model.labels_) == len(X)
    assert_array_equal(model.labels_[y != -1], y[y != -1])
    assert clustering_accuracy(truth, model.labels_) > 0.95


def test_digits_read_as_they_go_are_clustered_about_as_well_as_in_memory(read_all):
    X, truth = load_digits(return_X_y=True)
    model = DeepKMeans(10, max_pretrain_epochs=15, max_epochs=10, n_init=5, random_state=0)
    assert clustering_accuracy(truth, model.fit(X).labels_) > 0.72


@pytest.mark.parametrize("assignment", ["kmeans", "multi"])
def test_prototypes_of_rows_that_are_read_are_those_near_them_now(assignment, blobs, read_all):
    X, truth, y = blobs
    model = PrototypeClustering(3, assignment=assignment, n_init=2, **QUICK).fit(X, y)
    assert clustering_accuracy(truth, model.labels_) > 0.95
    assert_array_equal(model.labels_[y == -1], model.predict(X)[y == -1])


@pytest.mark.parametrize("kind", ["array", "dask"])
def test_neighbor_embedding_of_a_sample_carries_to_all_rows(kind, blobs):
    X, truth, y = blobs
    rows = X if kind == "array" else da.from_array(X, chunks=(70, 5))
    model = NeighborEmbeddingClustering(3, max_embedded=120, max_epochs=20, random_state=0).fit(rows, y)
    assert clustering_accuracy(truth, model.labels_) > 0.95
    assert_array_equal(model.labels_[y != -1], y[y != -1])
    assert model.embedding_.shape == (300, 2)


def test_same_seed_same_fit(blobs, read_all):
    X = blobs[0]
    first, second = (DeepEmbeddedClustering(3, n_init=2, **QUICK).fit(X) for _ in range(2))
    assert_array_equal(first.cluster_centers_, second.cluster_centers_)


def test_killed_fit_goes_on_from_its_checkpoint(blobs, read_all, tmp_path):
    class Killed(Exception):
        pass

    class KillAt:
        left = 6

        def setup(self, estimator, context):
            pass

        teardown = on_fit_task_begin = setup

        def on_fit_task_end(self, estimator, context):
            self.left -= 1
            if not self.left:
                raise Killed

    X = blobs[0]
    whole = DeepEmbeddedClustering(3, n_init=2, **QUICK).fit(X)
    model = DeepEmbeddedClustering(3, n_init=2, checkpoint=str(tmp_path / "state"), **QUICK)
    with pytest.raises(Killed):
        model.set_callbacks(KillAt()).fit(X)
    model.set_callbacks().fit(X)
    assert_array_equal(model.cluster_centers_, whole.cluster_centers_)


def test_values_that_are_not_finite_are_named():
    X = make_blobs(90, n_features=3, random_state=0)[0]
    X[50, 2] = np.inf
    with pytest.raises(ValueError, match="contains infinity: column 2, row 50"):
        DeepKMeans(3, **QUICK).fit(da.from_array(X, chunks=(30, 3)))


def test_values_that_are_not_finite_are_named_before_rows_are_embedded():
    X = make_blobs(90, n_features=3, random_state=0)[0]
    X[7, 1] = np.nan
    with pytest.raises(ValueError, match="contains NaN: column 1, row 7"):
        NeighborEmbeddingClustering(3, max_epochs=1).fit(da.from_array(X, chunks=(30, 3)))


def test_labeled_rows_of_a_large_class_are_sampled(monkeypatch):
    taken = []
    take = DaskBlocks.take
    monkeypatch.setattr(DaskBlocks, "take", lambda self, rows: taken.append(len(rows)) or take(self, rows))
    X, y = make_blobs(400, centers=2, random_state=0)
    NeighborEmbeddingClustering(3, max_embedded=60, max_epochs=1, random_state=0).fit(
        da.from_array(X, chunks=(100, 2)), y
    )
    assert max(taken) <= 61


def test_fit_reads_by_the_client_of_its_context(blobs):
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None)
    with cluster, distributed.Client(cluster, set_as_default=False) as client, client.as_current():
        rows = da.from_array(blobs[0], chunks=(150, 5)).persist()
        with dask.config.set(scheduler=None):
            model = DeepKMeans(3, n_init=1, **QUICK).fit(rows)
    assert len(model.labels_) == 300


def test_tables_of_pandas_are_no_lazy_answer(blobs):
    rows = da.from_array(blobs[0], chunks=(150, 5))
    model = DeepKMeans(3, n_init=1, **QUICK).fit(blobs[0]).set_output(transform="pandas")
    with pytest.raises(TypeError, match="set_output makes a table in memory"):
        model.transform(rows)


def test_batches_of_one_row_a_cluster_need_all_rows(blobs):
    with pytest.raises(ValueError, match="sampler='one-per-cluster' needs all rows in memory"):
        ContrastiveEncoder(sampler="one-per-cluster").fit(da.from_array(blobs[0], chunks=(50, 5)))


@pytest.mark.parametrize("model", MODELS[:2], ids=lambda model: type(model).__name__)
def test_score_of_a_dask_array_is_that_in_memory(model, blobs):
    model = clone(model).fit(blobs[0])
    assert model.score(da.from_array(blobs[0], chunks=(50, 5))) == pytest.approx(model.score(blobs[0]))


@pytest.mark.parametrize("model", MODELS[2:4], ids=lambda model: type(model).__name__)
def test_scores_need_rows_in_memory(model, blobs):
    model = clone(model).fit(blobs[0])
    with pytest.raises(TypeError, match="takes rows to score in memory"):
        model.score(da.from_array(blobs[0], chunks=(50, 5)))


@pytest.mark.parametrize("n_rows", [1, 2, 3])
def test_tiny_collections_are_fitted(n_rows):
    X = np.random.RandomState(0).normal(size=(n_rows, 3))
    model = DeepKMeans(1, encoder=NetworkSettings([4], batch_norm=True), n_init=1, **QUICK)
    model.fit(da.from_array(X, chunks=(1, 3)))
    assert model.labels_.tolist() == [0] * n_rows
    assert np.isfinite(model.cluster_centers_).all()


def test_constant_columns_and_equal_rows_give_finite_centers():
    X = np.tile([[1.0, 5.0, 1e12], [2.0, 5.0, 1e12]], (40, 1))
    model = DeepKMeans(2, n_init=1, **QUICK).fit(da.from_array(X, chunks=(30, 3)))
    assert np.isfinite(model.cluster_centers_).all()
    assert model.n_clusters_ == 2
