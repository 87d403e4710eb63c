"""Rows of Dask arrays and DataFrames in blocks: the same answers as rows in memory, and lazy ones about new rows."""

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from skops.io import dumps, loads

from sklearn_sslcluster.datasets import make_partially_labeled_blobs
from sklearn_sslcluster.discovery import NCDKMeans, SemiSupervisedKMeans
from sklearn_sslcluster.engine import DaskBlocks, DaskRows, RowBlocks
from sklearn_sslcluster.mixture import (
    ProbabilisticPartitivePartitioning,
    SemiSupervisedGaussianMixture,
    SplitMergeGaussianMixture,
)
from sklearn_sslcluster.model_selection import HiddenClassSearchCV
from sklearn_sslcluster.numerics import center_fit
from sklearn_sslcluster.sdp import SketchAndLiftKMeans
from sklearn_sslcluster.utils import trusted_types

MODELS = [
    SemiSupervisedKMeans(5, n_init=3, random_state=0),
    SemiSupervisedKMeans(n_init=2, k_max=6, random_state=0),
    NCDKMeans(5, n_init=3, random_state=0),
    SemiSupervisedGaussianMixture(5, n_init=2, random_state=0),
    SemiSupervisedGaussianMixture(5, covariance_type="tied", n_init=2, random_state=0),
    SplitMergeGaussianMixture(n_init=1, random_state=0),
    ProbabilisticPartitivePartitioning(n_repeats=1, random_state=0),
    SketchAndLiftKMeans(5, sketch_size=60, random_state=0),
]
every_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
quick = pytest.mark.parametrize("model", [MODELS[0], MODELS[3]], ids=lambda model: type(model).__name__)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    # A pass of threads through a few small chunks costs more than it saves.
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture(scope="module")
def blobs():
    return make_partially_labeled_blobs(900, n_known=3, n_novel=2, n_features=3, random_state=0)[:2]


def centers_of(model):
    return model.cluster_centers_ if hasattr(model, "cluster_centers_") else model.means_


def as_frame(X, n_parts=3):
    return dd.from_pandas(pd.DataFrame(X, columns=list("abcdef")[: X.shape[1]]), npartitions=n_parts)


# The container

layouts = st.tuples(st.lists(st.integers(0, 9), min_size=1, max_size=5).filter(sum), st.integers(1, 12))


def both(sizes, block_size, row_data=()):
    X = np.random.RandomState(0).randint(-4, 5, size=(sum(sizes), 3)).astype(float)
    rows = DaskRows(da.from_array(X, chunks=(tuple(sizes), 2)))
    return RowBlocks(X, row_data), DaskBlocks(rows, row_data, block_size=block_size)


@settings(max_examples=10)
@given(layout=layouts)
def test_sum_map_and_pick_are_those_of_rows_in_memory(layout):
    sizes, block_size = layout
    weight = np.arange(sum(sizes))
    here, there = both(sizes, block_size, (weight, None))
    for blocks in (here, there):
        assert blocks.like(blocks.X, (weight,)).row_data[0] is weight
    assert_array_equal(there.sum(lambda b, data, p: (data[0] @ b**p,), 2)[0], weight @ here.X**2)
    moved, numbers = there.map(lambda b, data, shift: (b - shift, data[0]), 1)
    assert_array_equal(moved, here.X - 1)
    assert_array_equal(numbers, weight)
    parts = there.pick(lambda b, _, limit: (np.flatnonzero(b[:, 0] > limit),), 1)
    found = [start + numbers for start, (numbers,) in parts]
    assert_array_equal(np.concatenate(found), np.flatnonzero(here.X[:, 0] > 1))


@settings(max_examples=10)
@given(layout=layouts, seed=st.integers(0, 5))
def test_take_gives_rows_in_the_order_asked_for(layout, seed):
    here, there = both(*layout)
    rows = np.random.RandomState(seed).randint(here.n_rows, size=7)
    assert_array_equal(there.take(rows), here.take(rows))


def test_sums_do_not_depend_on_who_adds_them():
    X = np.random.RandomState(0).normal(size=(400, 3)) * 10.0 ** (np.arange(400) % 90)[:, None]
    rows = DaskRows(da.from_array(X, chunks=(9, 3)))
    sums = []
    for scheduler in ("synchronous", "threads"):
        with dask.config.set(scheduler=scheduler, num_workers=4):
            sums.append(DaskBlocks(rows).sum(lambda b, *_: (b.sum(axis=0),))[0])
    assert_array_equal(*sums)


def test_rows_in_memory_stay_in_memory():
    _, there = both([4, 3], 2)
    assert isinstance(there.like(np.zeros((2, 3))), RowBlocks)


# Fits


def assert_as_in_memory(model, X, y, rows):
    expected = model.fit(X, y)
    labels, centers, score = expected.labels_, centers_of(expected), expected.score(X)
    found = model.fit(rows, da.from_array(y, chunks=300))
    assert type(found.labels_) is np.ndarray
    assert_array_equal(found.labels_, labels)
    assert_allclose(centers_of(found), centers, rtol=1e-10)
    assert found.score(rows) == pytest.approx(score, rel=1e-10)


@every_model
def test_labels_and_centers_are_those_in_memory(model, blobs, monkeypatch):
    # As with a large table, starts and searches see a sample.
    monkeypatch.setattr(center_fit, "_MOST_SAMPLE_ROWS", 256)
    monkeypatch.setattr(center_fit, "_FEWEST_SAMPLE_ROWS", 256)
    assert_as_in_memory(model, *blobs, da.from_array(blobs[0], chunks=(250, 2)))


@quick
def test_labels_and_centers_of_a_frame_are_those_in_memory(model, blobs):
    assert_as_in_memory(model, *blobs, as_frame(blobs[0]))


@quick
def test_rows_that_differ_from_memory_have_two_best_scores_alike(model):
    X = np.random.RandomState(0).normal(size=(4000, 2)).round(1)
    y = np.where(np.arange(4000) % 50 == 0, X[:, 0] > 0, -1)
    here = model.fit(X, y).labels_
    differ = np.flatnonzero(model.fit(da.from_array(X, chunks=(700, 2)), y).labels_ != here)
    scores = model.transform(X) if hasattr(model, "transform") else np.log(model.predict_proba(X))
    best = np.sort(-np.abs(scores[differ]), axis=1)[:, -2:]
    assert (best[:, 1] - best[:, 0] <= 1e-9 * np.abs(best[:, 0])).all()
    assert len(differ) <= 5


@quick
def test_weights_count_as_in_memory(model, blobs):
    X, y = blobs
    weight = np.random.RandomState(0).randint(0, 3, size=len(X)).astype(float)
    centers = centers_of(model.fit(X, y, sample_weight=weight))
    rows = as_frame(X)
    found = model.fit(rows, pd.Series(y), sample_weight=dd.from_pandas(pd.Series(weight), npartitions=2))
    assert_allclose(centers_of(found), centers, rtol=1e-10)


def test_no_labels_and_text_labels(blobs):
    X, y = blobs
    rows = da.from_array(X, chunks=(300, 3))
    model = SemiSupervisedKMeans(5, n_init=2, random_state=0)
    assert_array_equal(model.fit(rows).labels_, model.fit(X).labels_)
    text = pd.Series(np.array(["a", "b", "c", None], dtype=object)[y])
    assert_array_equal(model.fit(rows, dd.from_pandas(text, npartitions=2)).labels_, model.fit(X, text).labels_)


def test_float32_stays_float32_and_integers_become_float64():
    X = np.random.RandomState(0).randint(0, 99, size=(50, 2))
    for dtype, expected in [(np.float32, np.float32), (np.int16, np.float64), (bool, np.float64)]:
        assert DaskRows(da.from_array(X.astype(dtype), chunks=(20, 2))).dtype == expected


def test_fitted_state_is_that_of_a_fit_in_memory(blobs):
    X, y = blobs
    model = SemiSupervisedKMeans(5, n_init=2, random_state=0)
    names = set(vars(model.fit(X, y)))
    found = model.fit(da.from_array(X, chunks=(300, 3)), y)
    assert set(vars(found)) == names
    again = loads(dumps(found), trusted=trusted_types())
    assert_array_equal(again.predict(X), found.predict(X))


def test_hidden_class_search_fits_rows_of_dask_where_they_lie(blobs):
    X, y = blobs
    search = HiddenClassSearchCV(MODELS[0], {"n_clusters": [4, 5]}, cv=2, random_state=0)
    expected = search.fit(X, y).cv_results_["mean_test_score"]
    found = search.fit(da.from_array(X, chunks=(300, 3)), y)
    assert_allclose(found.cv_results_["mean_test_score"], expected, rtol=1e-9)
    assert_array_equal(found.labels_, search.best_estimator_.labels_)


# Lazy answers


@every_model
@pytest.mark.filterwarnings("ignore:X has feature names")
def test_answers_about_rows_are_lazy_and_those_in_memory(model, blobs):
    X, y = blobs
    model.fit(X, y)
    methods = ["predict", "predict_proba", "transform", "score_samples", "novelty_score", "predict_novel"]
    for name in filter(lambda name: hasattr(model, name), methods):
        expected = getattr(model, name)(X)
        for rows in (da.from_array(X, chunks=(400, 2)), as_frame(X)):
            lazy = getattr(model, name)(rows)
            assert isinstance(lazy, da.Array)
            assert lazy.dtype == expected.dtype
            assert lazy.shape[1:] == expected.shape[1:]
            assert_allclose(lazy.compute(), expected, rtol=1e-9, atol=1e-12)


def test_nothing_is_read_before_an_answer_is_asked_for(blobs):
    X, y = blobs
    model = SemiSupervisedKMeans(5, n_init=2, random_state=0).fit(X, y)

    def unreadable(block):
        raise OSError("read")

    rows = da.from_array(X, chunks=(400, 3)).map_blocks(unreadable, dtype=X.dtype, meta=np.empty((0, 0)))
    lazy = model.predict(rows)
    with pytest.raises(OSError, match="read"):
        lazy.compute()


def test_rejected_rows_have_one_type_in_all_chunks(blobs):
    X, y = blobs
    model = SemiSupervisedKMeans(5, n_init=2, random_state=0).fit(X, np.array(["a", "b", "c", None], dtype=object)[y])
    lazy = model.predict(da.from_array(X, chunks=(100, 3)), reject=0.9)
    assert_array_equal(lazy.compute(), model.predict(X, reject=0.9))


@pytest.mark.filterwarnings("ignore:X has feature names")
def test_criteria_of_a_mixture_are_those_in_memory(blobs):
    X, y = blobs
    model = SemiSupervisedGaussianMixture(5, n_init=1, random_state=0).fit(X, y)
    for rows in (da.from_array(X, chunks=(400, 3)), as_frame(X)):
        for name in ("bic", "aic", "icl", "score"):
            assert getattr(model, name)(rows) == pytest.approx(getattr(model, name)(X), rel=1e-9)
