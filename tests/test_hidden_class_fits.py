"""HiddenClassSearchCV: what its fits see and share, and what is left when they fail."""

import pickle

import numpy as np
import pytest
from joblib import parallel_config
from scipy.sparse import coo_array, csr_array
from scipy.stats import randint
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler, StandardScaler

from sklearn_sslcluster.discovery import SemiSupervisedKMeans
from sklearn_sslcluster.model_selection import HiddenClassKFold
from sklearn_sslcluster.utils import trusted_types
from tests.hidden_class_search_tools import (
    SeededKMeans,
    Spy,
    blobs,
    objects,
    search_of,
    two_scores,
)


def spied_search(X, y, **settings):
    Spy.seen.clear()
    model = make_pipeline(Spy(), SeededKMeans())
    search = search_of(model, {"seededkmeans__n_clusters": [4, 5]}, **settings).fit(X, y)
    return search, list(Spy.seen)


@pytest.mark.parametrize("names", [range(4), "abcd", ["a", 7, True, "b"]])
def test_no_step_of_a_pipeline_sees_the_hidden_classes(names):
    X, codes, _ = blobs()
    y = objects(codes, names)
    search, seen = spied_search(X, y)
    *in_search, (_, at_last) = seen
    assert len(in_search) == 2 * 3
    for number, (_, labels) in enumerate(in_search):
        hidden = search.hidden_classes_[number % 3].tolist()
        visible = [name not in hidden for name in y.tolist()]
        unlabeled = set(np.asarray(labels)[~np.array(visible)].tolist())
        assert unlabeled == ({-1} if isinstance(names, range) else {None})
        assert np.asarray(labels)[(codes >= 0) & visible].tolist() == y[(codes >= 0) & visible].tolist()
    assert at_last is y


def test_every_fit_is_given_all_rows():
    X, y, _ = blobs()
    _, seen = spied_search(X, y)
    assert {len(rows) for rows, _ in seen} == {len(X)}


def test_the_table_is_not_copied():
    X, y, _ = blobs()
    _, seen = spied_search(X, y)
    assert all(np.shares_memory(rows, X) for rows, _ in seen)


def test_frames_and_sparse_tables_keep_their_kind_and_are_not_copied():
    pandas = pytest.importorskip("pandas")
    X, y, _ = blobs()
    for table in (pandas.DataFrame(X, columns=["a", "b"], index=np.arange(len(X)) + 7), csr_array(X)):
        Spy.seen.clear()
        model = make_pipeline(Spy(), FunctionTransformer(dense), SeededKMeans())
        search_of(model, {"seededkmeans__n_clusters": [5]}).fit(table, y)
        assert len(Spy.seen) == 4
        for rows, _ in Spy.seen:
            assert type(rows) is type(table)
            assert np.shares_memory(memory(rows), memory(table))
            assert not memory(rows).flags.writeable
            if isinstance(table, pandas.DataFrame):
                pandas.testing.assert_frame_equal(rows, table)


def memory(table):
    return table.data if isinstance(table, csr_array) else table.to_numpy()


def dense(X):
    return X.toarray() if hasattr(X, "toarray") else np.asarray(X)


def test_a_step_that_works_in_place_cannot_change_the_table():
    X, y, _ = blobs()
    before = X.copy()
    model = make_pipeline(StandardScaler(copy=False), SeededKMeans())
    search = search_of(model, {"seededkmeans__n_clusters": [4, 5]}, refit=False).fit(X, y)
    assert (before == X).all()
    assert X.flags.writeable
    assert search.best_score_ == 1


def unsorted_csr(X):
    """CSR whose columns come in falling order, which methods of scipy mend in place."""
    n_rows, n_columns = X.shape
    columns = np.tile(np.arange(n_columns)[::-1], n_rows)
    return csr_array((X[:, ::-1].ravel(), columns, np.arange(n_rows + 1) * n_columns), shape=X.shape)


def frame(X):
    return pytest.importorskip("pandas").DataFrame(X, columns=["a", "b"])


def frame_of_two_dtypes(X):
    return frame(X).assign(a=np.round(X[:, 0]).astype(np.int32))


def frame_of_nullable_numbers(X):
    return frame(X).convert_dtypes()


TABLES = [np.array, frame, frame_of_two_dtypes, frame_of_nullable_numbers, csr_array, coo_array, unsorted_csr]


@pytest.mark.parametrize("make", TABLES)
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_steps_in_place_change_neither_the_table_nor_the_next_fit(make, n_jobs):
    X, y, truth = blobs()
    table, untouched = make(X * [1, 100]), make(X * [1, 100])
    expected = MaxAbsScaler().fit(untouched).scale_
    model = make_pipeline(MaxAbsScaler(copy=False), FunctionTransformer(dense), SeededKMeans(5))
    settings = {"scoring": largest_scale, "n_jobs": n_jobs}
    search = search_of(model, {"seededkmeans__n_clusters": [5, 6]}, **settings).fit(table, y)
    assert (dense(table) == dense(untouched)).all()
    results = search.cv_results_
    assert {results[f"split{fold}_test_score"][i] for fold in range(3) for i in range(2)} == {expected.max()}
    assert search.best_estimator_[0].scale_.tolist() == expected.tolist()
    assert search.labels_.tolist() == truth.tolist()


def largest_scale(estimator, X, y):
    return estimator[0].scale_.max()


def test_a_standardized_frame_is_not_standardized_again():
    X, y, _ = blobs()
    table = frame(X * [1, 100])
    model = make_pipeline(StandardScaler(copy=False), SemiSupervisedKMeans(5, n_init=1, random_state=0))
    search = search_of(model, {"semisupervisedkmeans__n_clusters": [4, 5]}).fit(table, y)
    assert search.best_estimator_[0].mean_ == pytest.approx((X * [1, 100]).mean(axis=0))
    assert (table.to_numpy() == X * [1, 100]).all()


def sort_columns(X):
    X.sort_indices()
    return X


def test_a_sparse_table_may_be_brought_into_order_by_a_step():
    X, y, _ = blobs()
    table = unsorted_csr(X)
    model = make_pipeline(FunctionTransformer(sort_columns), FunctionTransformer(dense), SeededKMeans(5))
    assert search_of(model, {}).fit(table, y).best_score_ == 1
    assert table.indices[:2].tolist() == [1, 0]


def test_the_fallback_without_hidden_classes_changes_no_table():
    X, y, _ = blobs()
    table = frame(X * [1, 100])
    model = make_pipeline(StandardScaler(copy=False), SeededKMeans(5))
    with pytest.warns(UserWarning, match="too few to hide one"):
        search = search_of(model, {"seededkmeans__n_clusters": [4, 5]}).fit(table, np.where(y > 1, -1, y))
    assert (table.to_numpy() == X * [1, 100]).all()
    assert search.best_estimator_[0].mean_ == pytest.approx((X * [1, 100]).mean(axis=0))


def was_mapped(estimator, X, y):
    return float(estimator.was_mapped_)


def mapped_file(estimator, X, y):
    return estimator.file_


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_backends_agree_with_the_serial_search(backend):
    X, y, _ = blobs(std=2.0)
    expected = search_of().fit(X, y)
    with parallel_config(backend, n_jobs=2):
        search = search_of().fit(X, y)
    assert search.cv_results_["mean_test_score"].tolist() == expected.cv_results_["mean_test_score"].tolist()
    assert search.labels_.tolist() == expected.labels_.tolist()


def test_worker_processes_share_one_copy_of_the_table():
    X, y, _ = blobs(n_rows=70_000)
    search = search_of(
        grid={"n_clusters": [4, 5]}, scoring={"mapped": was_mapped, "file": mapped_file}, refit=False, n_jobs=2
    )
    results = search.fit(X, y).cv_results_
    assert results["mean_test_mapped"].tolist() == [1, 1]
    assert len({results[f"split{fold}_test_file"][i] for fold in range(3) for i in range(2)}) == 1


def test_the_same_seed_gives_the_same_search():
    X, y, _ = blobs(std=2.0)
    settings = {"n_iter": 4, "grid": {"n_clusters": randint(4, 12)}, "random_state": 7}
    first, second = search_of(**settings).fit(X, y), search_of(**settings, n_jobs=2).fit(X, y)
    assert first.cv_results_["params"] == second.cv_results_["params"]
    assert [h.tolist() for h in first.hidden_classes_] == [h.tolist() for h in second.hidden_classes_]
    assert first.cv_results_["mean_test_score"].tolist() == second.cv_results_["mean_test_score"].tolist()


def test_the_global_generator_is_left_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    search_of(n_iter=2).fit(*blobs()[:2])
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_fit_parameters_reach_every_fit_uncut():
    X, y, _ = blobs()
    given_weight = np.arange(len(X)) + 1.0
    seen = []

    def remember(X, y, sample_weight):
        seen.append(sample_weight)

    search_of(SeededKMeans(callback=remember)).fit(X, y, sample_weight=given_weight)
    assert len(seen) == 3 * 3 + 1
    assert all((weight == given_weight).all() for weight in seen)


# Failures


@pytest.mark.filterwarnings("ignore:One or more of the test scores")
def test_a_failed_fit_gets_the_error_score_and_a_warning():
    X, y, _ = blobs()
    with pytest.warns(FitFailedWarning, match="3 fits failed out of a total of 9"):
        search = search_of(SeededKMeans(fail_above=5)).fit(X, y)
    assert np.isnan(search.cv_results_["mean_test_score"]).tolist() == [False, False, True]
    assert search.best_params_ == {"n_clusters": 5}


@pytest.mark.parametrize("scoring", [["adjusted_rand_score", "hidden_class_accuracy"], two_scores])
def test_a_failed_fit_gets_the_error_score_for_every_score(scoring):
    X, y, _ = blobs()
    with pytest.warns(FitFailedWarning):
        search = search_of(SeededKMeans(fail_above=5), scoring=scoring, refit=False, error_score=-2).fit(X, y)
    assert {results[2] for name, results in search.cv_results_.items() if name.startswith("mean_test")} == {-2}


def test_when_all_fits_fail_the_error_itself_is_raised():
    with pytest.raises(TypeError, match="too many clusters for this test"):
        search_of(SeededKMeans(fail_above=1)).fit(*blobs()[:2])


def test_error_score_raise_lets_the_first_error_through():
    with pytest.raises(TypeError, match="too many clusters for this test"):
        search_of(SeededKMeans(fail_above=5), error_score="raise").fit(*blobs()[:2])


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
@pytest.mark.parametrize("at", [0, 4, 9])
@pytest.mark.parametrize("fitted", [False, True])
def test_a_search_that_breaks_off_leaves_the_object_as_it_was(error, at, fitted):
    X, y, _ = blobs()
    calls = []

    def break_off(X, y, sample_weight):
        calls.append(1)
        if armed and len(calls) == at + 1:
            raise error("stop here")

    armed = False
    search = search_of(SeededKMeans(callback=break_off), error_score="raise")
    if fitted:
        search.fit(X, y)
    before = dict(vars(search))
    armed = True
    calls.clear()
    with pytest.raises(error, match="stop here"):
        search.fit(X + 1, y)
    assert vars(search) == before
    assert all(vars(search)[name] is value for name, value in before.items())


def test_labels_of_another_length_are_refused():
    X, y, _ = blobs()
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        search_of().fit(X, y[1:])


# Persistence and callbacks


def test_a_fitted_search_survives_pickle_and_clone():
    X, y, truth = blobs()
    search = search_of().fit(X, y)
    again = pickle.loads(pickle.dumps(search))
    assert again.predict(X).tolist() == truth.tolist()
    assert again.score(X, y) == search.score(X, y)
    assert clone(search).get_params()["cv"] == 3


def test_fitted_state_holds_no_table_generator_or_label():
    X, y, _ = blobs()
    search = search_of(random_state=np.random.RandomState(0)).fit(X, y)
    parameters = search.get_params(deep=False)
    fitted = {name: value for name, value in vars(search).items() if name not in parameters}
    assert all(name.endswith("_") and not name.startswith("_") for name in fitted)
    assert b"RandomState" not in pickle.dumps({**fitted, "best_estimator_": None})


@pytest.mark.parametrize("scoring", [None, "adjusted_rand_score"])
@pytest.mark.parametrize("names", [range(4), ["a", 7, True, "b"]])
def test_skops_needs_no_more_trust_than_our_list(scoring, names):
    skops = pytest.importorskip("skops.io")
    X, y, _ = blobs()
    model = SemiSupervisedKMeans(n_init=1, random_state=0)
    search = search_of(model, {"n_clusters": [4, 5]}, cv=HiddenClassKFold(2, random_state=0), scoring=scoring)
    dumped = skops.dumps(search.fit(X, objects(y, names)))
    again = skops.loads(dumped, trusted=trusted_types())
    assert again.predict(X).tolist() == search.predict(X).tolist()
    assert again.score(X, objects(y, names)) == search.score(X, objects(y, names))


class TaskLog:
    """Callback that writes down the tasks it hears of."""

    def __init__(self):
        self.began, self.ended = [], []

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context, *, X, y):
        self.began.append((context.task_name, y))

    def on_fit_task_end(self, estimator, context):
        self.ended.append(context.task_name)


def test_callbacks_hear_of_every_fit_and_not_of_hidden_classes():
    X, y, _ = blobs()
    log = TaskLog()
    search = search_of().set_callbacks(log).fit(X, y)
    names = [name for name, _ in log.began]
    assert names == ["fit", "search", *["candidate-split-evaluation"] * 9, "refit-with-best-params"]
    assert sorted(log.ended) == sorted(names)
    evaluations = [labels for name, labels in log.began if name == "candidate-split-evaluation"]
    for number, labels in enumerate(evaluations):
        assert not set(labels) & set(search.hidden_classes_[number % 3])
