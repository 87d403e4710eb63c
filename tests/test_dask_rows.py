"""What is asked of a Dask collection before it is read, and what is said when it cannot be taken."""

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest

from sklearn_sslcluster.discovery import SemiSupervisedKMeans
from sklearn_sslcluster.engine import DaskRows, is_dask
from sklearn_sslcluster.mixture import SemiSupervisedGaussianMixture
from sklearn_sslcluster.model_selection import estimate_n_clusters
from sklearn_sslcluster.sdp import certify_kmeans
from sklearn_sslcluster.utils import all_estimators

NAMES = ["a", "b", "c"]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    with dask.config.set(scheduler="synchronous"):
        yield


def table(n_rows=60):
    return np.random.RandomState(0).normal(size=(n_rows, 3)) + 9 * (np.arange(n_rows) % 3)[:, None]


def frame_of(X, names=NAMES):
    return dd.from_pandas(pd.DataFrame(X, columns=names), npartitions=2)


def model(**params):
    return SemiSupervisedKMeans(3, n_init=1, random_state=0, **params)


def test_collections_of_dask_are_known_by_their_type():
    assert is_dask(da.zeros(3))
    assert is_dask(frame_of(table()))
    assert not is_dask(table())
    assert not is_dask(None)


def test_unknown_chunk_sizes_are_found_out():
    X = table()
    rows = da.from_array(X, chunks=(20, 3))
    filtered = rows[rows[:, 0] > 5]
    assert np.isnan(filtered.shape[0])
    assert DaskRows(filtered).shape == (int((X[:, 0] > 5).sum()), 3)
    assert DaskRows(frame_of(X)).shape == X.shape


@pytest.mark.parametrize(("value", "what"), [(np.nan, "NaN"), (np.inf, "infinity")])
@pytest.mark.parametrize("estimator", [model(), SemiSupervisedGaussianMixture(3, n_init=1)])
def test_values_that_are_not_finite_are_named_by_column_and_row(value, what, estimator):
    X = table()
    X[47, 1] = value
    with pytest.raises(ValueError, match=rf"Input X contains {what}: column 'b', row 47\."):
        estimator.fit(frame_of(X))
    with pytest.raises(ValueError, match=rf"Input X contains {what}: column 1, row 47\."):
        estimator.fit(da.from_array(X, chunks=(20, 3)))
    assert not hasattr(estimator, "classes_")


def test_values_that_are_not_finite_are_named_when_a_lazy_answer_is_computed():
    X = table()
    fitted = model().fit(frame_of(X))
    X[5, 2] = np.nan
    lazy = fitted.predict(frame_of(X))
    with pytest.raises(ValueError, match="Input X contains NaN: column 'c'"):
        lazy.compute()


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_names_are_checked_without_reading():
    fitted = model().fit(frame_of(table()))
    assert fitted.feature_names_in_.tolist() == NAMES
    with pytest.raises(ValueError, match="First column that differs: position 0 holds 'b', expected 'a'"):
        fitted.predict(frame_of(table(), ["b", "a", "c"]))
    with pytest.raises(ValueError, match="X has 2 features, but SemiSupervisedKMeans is expecting 3"):
        fitted.predict(da.zeros((5, 2)))


def test_columns_of_pandas_types_are_numbers_where_they_hold_numbers():
    X = table()
    frame = pd.DataFrame({"a": pd.array(X[:, 0], dtype="Float64"), "b": X[:, 1], "c": X[:, 2] > 9})
    found = model().fit(dd.from_pandas(frame, npartitions=2)).cluster_centers_
    np.testing.assert_allclose(found, model().fit(frame.astype(float)).cluster_centers_, rtol=1e-10)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (da.zeros(5), "Expected 2D array, got 1D Dask array instead"),
        (da.zeros((0, 2)), "Found array with 0 sample"),
        (da.zeros((5, 0)), "Found array with 0 feature"),
        (da.from_array(np.array([["x"]], dtype=object), chunks=1), "X must be a Dask array of numbers"),
        (frame_of(table())["a"], "Expected 2D array, got a Dask Series instead"),
        (frame_of(table().astype(str)), "column 'a' of X holds"),
    ],
    ids=["one axis", "no rows", "no columns", "objects", "series", "text"],
)
def test_collections_that_are_no_table_of_numbers_are_refused(X, message):
    with pytest.raises(ValueError, match=message):
        model().fit(X)


def test_other_collections_of_dask_are_refused():
    with pytest.raises(TypeError, match="X must be a Dask array or DataFrame, got a Dask Delayed"):
        model().fit(dask.delayed(table)())


def test_labels_of_another_length_are_refused():
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model().fit(da.from_array(table(), chunks=(20, 3)), [0, 1, -1])


def refusing():
    """Estimators that do not fit by sums over chunks."""
    without_search = [cls for name, cls in all_estimators() if name != "HiddenClassSearchCV"]
    return [cls() for cls in without_search if not cls._accepts_dask]


@pytest.mark.parametrize("estimator", refusing(), ids=lambda estimator: type(estimator).__name__)
@pytest.mark.parametrize("kind", ["array", "frame"])
def test_estimators_that_need_all_rows_say_so(estimator, kind):
    y = np.where(np.arange(60) < 30, np.arange(60) % 2, -1)
    rows = da.from_array(table(), chunks=(20, 3)) if kind == "array" else frame_of(table())
    with pytest.raises(TypeError, match=rf"{type(estimator).__name__} takes rows in memory.*compute\(\)"):
        estimator.fit(rows, y)


@pytest.mark.parametrize("function", [lambda X: certify_kmeans(X, [0, 1] * 30), estimate_n_clusters])
def test_functions_that_need_all_rows_say_so(function):
    with pytest.raises(TypeError, match=r"(certify_kmeans|estimate_n_clusters) takes rows in memory.*compute\(\)"):
        function(da.from_array(table(), chunks=(20, 3)))


def test_partial_fit_takes_batches_in_memory():
    fitted = SemiSupervisedGaussianMixture(3, n_init=1).fit(table())
    with pytest.raises(TypeError, match="SemiSupervisedGaussianMixture takes batches in memory"):
        fitted.partial_fit(da.from_array(table(), chunks=(20, 3)))


def test_rows_are_never_gathered():
    with pytest.raises(TypeError, match="are not gathered"):
        np.asarray(DaskRows(da.from_array(table(), chunks=(20, 3))))
