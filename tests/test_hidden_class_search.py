"""HiddenClassSearchCV: what comes out, which candidates it takes, and the checks of scikit-learn."""

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import sklearn
from scipy.stats import randint
from sklearn.base import BaseEstimator, clone, is_clusterer
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.metrics import adjusted_rand_score, make_scorer
from sklearn.model_selection import KFold
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import check_estimator

from sklearn_sslcluster.discovery import NCDKMeans, SemiSupervisedKMeans
from sklearn_sslcluster.model_selection import HiddenClassKFold, HiddenClassSearchCV
from tests.hidden_class_search_tools import (
    SeededKMeans,
    Spy,
    blobs,
    nothing,
    objects,
    search_of,
)

# What comes out


def test_it_is_a_search_of_scikit_learn():
    search = search_of().fit(*blobs()[:2])
    assert isinstance(search, BaseSearchCV)
    assert search.best_params_ == {"n_clusters": 5} == search.cv_results_["params"][search.best_index_]
    assert search.best_score_ == search.cv_results_["mean_test_score"].max() == 1
    assert search.best_estimator_.n_clusters == 5
    assert search.cv_results_["param_n_clusters"].tolist() == [4, 5, 6]
    assert {f"split{i}_test_score" for i in range(3)} <= set(search.cv_results_)
    assert search.n_splits_ == 3
    assert search.refit_time_ >= 0
    assert not search.multimetric_


def test_the_best_estimator_is_fitted_with_all_labels():
    X, y, truth = blobs()
    search = search_of().fit(X, y)
    expected = SeededKMeans(5).fit(X, y)
    assert search.labels_.tolist() == expected.labels_.tolist() == truth.tolist()
    assert search.classes_.tolist() == [0, 1, 2, 3, 4]
    assert search.novel_classes_.tolist() == [4]
    assert search.n_clusters_ == 5
    assert search.predict(X).tolist() == truth.tolist()
    assert search.predict(X, shift=1).tolist() == ((truth + 1) % 5).tolist()
    assert (search.transform(X) == expected.transform(X)).all()
    assert (search.novelty_score(X) == expected.novelty_score(X)).all()


def test_labels_come_from_the_last_step_of_a_pipeline():
    X, y, truth = blobs()
    model = make_pipeline(StandardScaler(), make_pipeline(FunctionTransformer(), SeededKMeans()))
    search = search_of(model, {"pipeline__seededkmeans__n_clusters": [4, 5]}).fit(X, y)
    assert search.labels_.tolist() == truth.tolist()
    assert search.novel_classes_.tolist() == [4]
    assert search.n_clusters_ == 5
    assert len(search.hidden_classes_) == 3
    assert search.predict(X).tolist() == truth.tolist()


def test_novelty_is_asked_of_the_last_step_of_a_pipeline():
    X, y, truth = blobs()
    clusterer = SemiSupervisedKMeans(n_init=1, random_state=0)
    inner = make_pipeline("passthrough", clusterer)
    for model, name in [(clusterer, ""), (make_pipeline(StandardScaler(), inner), "pipeline__semisupervisedkmeans__")]:
        search = search_of(model, {f"{name}n_clusters": [4, 5]}).fit(X, y)
        scaled = StandardScaler().fit_transform(X) if name else X
        expected = clone(clusterer).set_params(n_clusters=5).fit(scaled, y)
        assert search.novelty_score(X) == pytest.approx(expected.novelty_score(scaled))
        assert search.predict_novel(X).tolist() == expected.predict_novel(scaled).tolist() == [4] * len(X)
        assert ((search.novelty_score(X) > 0.5) == (truth == 4)).all()


def test_novelty_is_not_offered_where_the_last_step_lacks_it():
    for model in (KMeans(), make_pipeline(StandardScaler(), KMeans())):
        assert not hasattr(search_of(model), "novelty_score")
        assert not hasattr(search_of(model), "predict_novel")


def test_fit_predict_passes_labels_on():
    X, y, truth = blobs()
    names = objects(truth, "abcde")
    found = search_of().fit_predict(X, objects(y, "abcd"))
    assert found[truth < 4].tolist() == names[truth < 4].tolist()
    assert set(found[truth == 4]) == {"novel_0"}


def test_fit_transform_is_fit_and_transform():
    X, y, _ = blobs()
    assert (search_of().fit_transform(X, y) == search_of().fit(X, y).transform(X)).all()


def test_hidden_classes_are_recorded_by_name():
    X, y, _ = blobs()
    splitter = HiddenClassKFold(3, random_state=5)
    search = search_of(cv=splitter).fit(X, objects(y, "abcd"))
    expected = [h.tolist() for h in splitter.hidden_classes(objects(y, "abcd"))]
    assert [h.tolist() for h in search.hidden_classes_] == expected


def test_fewer_combinations_than_folds_give_fewer_folds():
    X, y, _ = blobs(n_known=3)
    search = search_of(cv=10).fit(X, y)
    assert search.n_splits_ == len(search.hidden_classes_) == 3


def test_a_class_can_be_renamed():
    X, y, truth = blobs()
    search = search_of().fit(X, objects(y, "abcd"))
    assert search.rename_classes({"novel_0": "leak"}) is search
    assert set(search.predict(X[truth == 4])) == {"leak"}


def test_nothing_but_the_search_is_there_without_a_refit():
    X, y, _ = blobs()
    search = search_of(refit=False).fit(X, y)
    assert search.best_params_ == {"n_clusters": 5}
    assert search.best_score_ == 1
    for name in ("best_estimator_", "labels_", "predict", "transform", "rename_classes", "refit_time_"):
        assert not hasattr(search, name)
    with pytest.raises(AttributeError, match="refit=False"):
        search.fit_predict(X, y)


def test_an_unfitted_search_says_so():
    with pytest.raises(NotFittedError):
        search_of().predict(np.zeros((1, 2)))
    with pytest.raises(NotFittedError):
        search_of().score(np.zeros((1, 2)))
    assert not hasattr(search_of(), "labels_")
    assert hasattr(search_of(), "predict")


def test_a_second_fit_leaves_nothing_of_the_first():
    X, y, _ = blobs()
    search = search_of().fit(X, y)
    search.set_params(refit=False).fit(X, y)
    assert "best_estimator_" not in vars(search)


def test_tags_are_those_of_the_estimator():
    class Sparse(SeededKMeans):
        def __sklearn_tags__(self):
            tags = super().__sklearn_tags__()
            tags.input_tags.sparse = tags.input_tags.allow_nan = tags.target_tags.required = True
            return tags

    tags = get_tags(search_of(Sparse()))
    assert tags.input_tags.sparse
    assert tags.input_tags.allow_nan
    assert tags.target_tags.required
    assert is_clusterer(search_of())
    assert not get_tags(search_of()).input_tags.sparse


def test_output_container_is_set_on_the_transformer():
    pytest.importorskip("pandas")
    X, y, _ = blobs()
    search = search_of(PCA(), {"n_components": [2]}, scoring=nothing).set_output(transform="pandas").fit(X, y)
    assert search.transform(X).columns.tolist() == ["pca0", "pca1"] == search.get_feature_names_out().tolist()
    assert isinstance(search.set_output(transform="default").transform(X), np.ndarray)


# Candidates


def test_steps_of_a_pipeline_are_candidates():
    X, y, truth = blobs()
    X = np.column_stack([X, 1e4 * np.random.RandomState(0).normal(size=len(X))])
    model = Pipeline([("scale", "passthrough"), ("cluster", SeededKMeans())])
    grid = [
        {"scale": [StandardScaler(), "passthrough", FunctionTransformer(first_two)], "cluster__n_clusters": [5]},
        {"cluster": [KMeans(2, n_init=1), SeededKMeans(4)]},
    ]
    search = search_of(model, grid).fit(X, y)
    assert len(search.cv_results_["params"]) == 5
    assert search.best_params_["scale"] is grid[0]["scale"][2]
    assert search.labels_.tolist() == truth.tolist()


def first_two(X):
    return X[:, :2]


def test_estimators_among_the_candidates_are_cloned():
    X, y, _ = blobs()
    scalers = [StandardScaler(), StandardScaler(with_std=False)]
    model = make_pipeline(StandardScaler(), SeededKMeans())
    search = search_of(model, {"standardscaler": scalers}).fit(X, y)
    assert not any(hasattr(scaler, "mean_") for scaler in scalers)
    assert not hasattr(model[-1], "labels_")
    assert hasattr(search.best_estimator_[0], "mean_")


def test_n_iter_draws_candidates():
    X, y, _ = blobs()
    search = search_of(grid={"n_clusters": randint(4, 30)}, n_iter=5).fit(X, y)
    drawn = [params["n_clusters"] for params in search.cv_results_["params"]]
    assert len(drawn) == 5
    assert len(set(drawn)) > 1


def test_n_iter_draws_from_lists_without_repetition():
    search = search_of(grid={"n_clusters": [4, 5, 6, 7]}, n_iter=4).fit(*blobs()[:2])
    assert sorted(params["n_clusters"] for params in search.cv_results_["params"]) == [4, 5, 6, 7]


def test_a_distribution_needs_n_iter():
    with pytest.raises(ValueError, match=r"distribution for 'n_clusters'; set n_iter"):
        search_of(grid={"n_clusters": randint(2, 5)}).fit(*blobs()[:2])


def test_an_unknown_parameter_of_the_estimator_is_named():
    with pytest.raises(ValueError, match="Invalid parameter 'n_groups'"):
        search_of(grid={"n_groups": [2]}).fit(*blobs()[:2])


@pytest.mark.parametrize(
    ("setting", "value"), [("cv", KFold(3)), ("cv", 0), ("n_iter", 0), ("scoring", "accurate"), ("error_score", "no")]
)
def test_a_wrong_setting_is_named(setting, value):
    with pytest.raises(ValueError, match=f"The '{setting}' parameter of HiddenClassSearchCV"):
        search_of(**{setting: value}).fit(*blobs()[:2])


OTHER = SeededKMeans(unlabeled_value=None)


@pytest.mark.parametrize(
    "settings",
    [
        {"cv": HiddenClassKFold(2, unlabeled_value=None)},
        {"estimator": OTHER},
        {"estimator": make_pipeline(OTHER), "grid": {}},
        {"estimator": Pipeline([("cluster", SeededKMeans())]), "grid": {"cluster": [OTHER]}},
    ],
)
def test_different_ideas_of_no_label_are_refused(settings):
    with pytest.raises(ValueError, match=r"unlabeled_value=-1 differs from that of \w+, None"):
        search_of(**settings).fit(*blobs()[:2])


def test_no_candidate_is_an_error():
    with pytest.raises(ValueError, match="param_distributions holds no candidate"):
        search_of(grid=[]).fit(*blobs()[:2])


class FirstClass:
    """Splitter of a user's own: hides the smallest class, and offers all rows for scoring."""

    def get_n_splits(self, X=None, y=None, groups=None):
        return 1

    def split_masked(self, X, y, groups=None):
        yield np.where(y == np.min(y[y >= 0]), -1, y), np.flatnonzero(y <= np.min(y[y >= 0]))


def test_another_splitter_may_mask_and_unlabeled_rows_are_not_scored():
    X, y, _ = blobs()
    search = search_of(cv=FirstClass(), scoring=count_rows, refit=False).fit(X, y)
    assert [h.tolist() for h in search.hidden_classes_] == [[0]]
    assert search.best_score_ == (y == 0).sum()


class AllRows(FirstClass):
    """Scores every row."""

    def __init__(self, rows):
        self.rows = rows

    def split_masked(self, X, y, groups=None):
        yield np.where(y == 0, -1, y), self.rows(len(y))


@pytest.mark.parametrize(
    "rows", [np.arange, lambda n: np.arange(n)[::-1], lambda n: np.ones(n, dtype=bool), lambda n: -1 - np.arange(n)]
)
@pytest.mark.parametrize("container", [np.asarray, list])
def test_a_splitter_that_scores_all_rows_is_told_the_truth_in_its_order(rows, container):
    X, _, truth = blobs()
    seen = []

    def remember(estimator, X, y):
        seen.append((np.asarray(X), y, estimator.classes_.tolist()))
        return 0.0

    search_of(grid={}, cv=AllRows(rows), scoring=remember, refit=False).fit(container(X), truth)
    ((scored, names, classes),) = seen
    assert (scored == X[rows(len(X))]).all()
    assert names.tolist() == truth[rows(len(X))].tolist()
    assert classes == [1, 2, 3, 4, 5]


def test_masked_labels_of_a_splitter_are_not_taken_for_signs():
    X, y, _ = blobs()

    class OneVisible(FirstClass):
        def split_masked(self, X, y, groups=None):
            masked = np.where(y == 1, 1, np.where(y == 0, None, -1))
            yield masked, np.flatnonzero(y != 1)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search = search_of(cv=OneVisible()).fit(X, y)
    assert [hidden.tolist() for hidden in search.hidden_classes_] == [[0, 2, 3]]
    assert search.best_score_ == 1


def test_folds_with_class_one_alone_visible_do_not_warn_of_signs():
    X, y, _ = blobs(n_known=3, n_classes=4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search = search_of(grid={"n_clusters": [4, 5]}, cv=HiddenClassKFold(n_hidden=2)).fit(
            X, np.where(y < 0, y, y + 1)
        )
    assert [2, 3] in [hidden.tolist() for hidden in search.hidden_classes_]
    assert search.best_params_ == {"n_clusters": 4}


def count_rows(estimator, X, y):
    return len(y)


def test_a_fold_with_nothing_to_score_is_an_error():
    class Nothing(FirstClass):
        def split_masked(self, X, y, groups=None):
            yield y, np.flatnonzero(y == -1)

    with pytest.raises(ValueError, match="Fold 0 of cv has no labeled row"):
        search_of(cv=Nothing()).fit(*blobs()[:2])


def test_minus_one_may_be_a_class():
    X, _, truth = blobs(unlabeled_known=False)
    names = np.where(truth < 4, truth - 1, 99).astype(object)
    names[truth == 4] = None
    search = search_of(SeededKMeans(unlabeled_value=None), unlabeled_value=None).fit(X, names)
    assert search.classes_.tolist() == [-1, 0, 1, 2, 3]
    assert search.best_score_ == 1


# Groups


def test_groups_reach_the_folds():
    X, y, _ = blobs()
    groups = np.random.RandomState(0).randint(8, size=len(X))
    Spy.seen.clear()
    splitter = HiddenClassKFold(3, random_state=0)
    model = make_pipeline(Spy(), SeededKMeans(5))
    search_of(model, {}, cv=splitter, refit=False).fit(X, y, groups=groups)
    expected = [masked.tolist() for masked, _ in splitter.split_masked(X, y, groups)]
    assert [seen.tolist() for _, seen in Spy.seen] == expected


@pytest.mark.parametrize("cv", [3, HiddenClassKFold(3, random_state=0)])
def test_groups_and_weights_are_routed_where_requested(cv):
    X, y, _ = blobs()
    groups, weight = np.random.RandomState(0).randint(8, size=len(X)), np.ones(len(X))
    seen = []

    def remember(X, y, sample_weight):
        seen.append((y, sample_weight))

    with sklearn.config_context(enable_metadata_routing=True):
        model = SeededKMeans(callback=remember).set_fit_request(sample_weight=True)
        search = search_of(model, {"n_clusters": [5]}, cv=cv).fit(X, y, groups=groups, sample_weight=weight)
        scorer = make_scorer(adjusted_rand_score)
        with pytest.raises(TypeError, match="unexpected argument"):
            search_of(scoring=scorer).fit(X, y, nonsense=1)
    assert all((given is not None) and len(given) == len(X) for _, given in seen)
    hidden_or_left_out = [(labels == -1).sum() for labels, _ in seen[:-1]]
    assert min(hidden_or_left_out) > (y == -1).sum()
    assert len(search.hidden_classes_) == 3


# Kinds of tables, and scikit-learn's checks


def test_a_list_of_lists_is_a_table():
    X, y, truth = blobs()
    assert search_of().fit(X.tolist(), y.tolist()).labels_.tolist() == truth.tolist()


def test_column_names_are_kept_and_checked():
    pandas = pytest.importorskip("pandas")
    X, y, _ = blobs()
    frame = pandas.DataFrame(X, columns=["a", "b"])
    search = search_of().fit(frame, y)
    assert search.feature_names_in_.tolist() == ["a", "b"]
    assert search.n_features_in_ == 2
    with pytest.raises(ValueError, match="feature names"):
        search.predict(frame[["b", "a"]])


def test_polars_tables_are_searched():
    polars = pytest.importorskip("polars")
    X, y, truth = blobs()
    frame = polars.DataFrame({"a": X[:, 0], "b": X[:, 1]})
    assert search_of().fit(frame, polars.Series(y)).labels_.tolist() == truth.tolist()


def test_array_api_dispatch_does_not_get_in_the_way():
    program = (
        "import numpy as np, sklearn\n"
        "from sklearn.datasets import make_blobs\n"
        "from sklearn_sslcluster.discovery import SemiSupervisedKMeans\n"
        "from sklearn_sslcluster.model_selection import HiddenClassSearchCV\n"
        "X, y = make_blobs(60, centers=5, random_state=0)\n"
        "model = SemiSupervisedKMeans(n_init=1, random_state=0)\n"
        "search = HiddenClassSearchCV(model, {'n_clusters': [4, 5]}, cv=2, random_state=0)\n"
        "with sklearn.config_context(array_api_dispatch=True):\n"
        "    search.fit(X, np.where(y < 4, y, -1))\n"
    )
    environment = {**os.environ, "SCIPY_ARRAY_API": "1"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr


class Kernel(BaseEstimator):
    """Clusterer on a matrix of similarities to the training rows."""

    def fit(self, X, y=None):
        self.n_rows_ = len(X)
        return self

    def predict(self, X):
        return np.full(len(X), X.shape[1] == self.n_rows_, dtype=int)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = True
        return tags


def matrix_shape(estimator, X, y):
    return float(X.shape == (len(y), estimator.n_rows_))


def test_similarities_are_cut_by_rows_and_columns():
    X, y, _ = blobs()
    search = HiddenClassSearchCV(Kernel(), {}, cv=2, scoring=matrix_shape, refit=False).fit(X @ X.T, y)
    assert search.best_score_ == 1


@pytest.mark.parametrize("estimator", [SemiSupervisedKMeans, NCDKMeans])
def test_estimators_of_the_package_find_the_number_of_classes(estimator):
    X, y, truth = blobs(n_known=4, n_classes=6, n_rows=150, unlabeled_known=estimator is SemiSupervisedKMeans)
    model = make_pipeline(StandardScaler(), estimator(n_init=3, random_state=0))
    name = estimator.__name__.lower()
    search = search_of(model, {f"{name}__n_clusters": [4, 5, 6, 7, 8]}).fit(X, y)
    assert search.best_params_ == {f"{name}__n_clusters": 6}
    assert adjusted_rand_score(search.labels_, truth) == 1


SMALL = SemiSupervisedKMeans(n_init=2, max_iter=20, random_state=0)


@pytest.mark.filterwarnings("ignore:y holds")
@pytest.mark.parametrize(
    "search",
    [
        HiddenClassSearchCV(SMALL, {"n_clusters": [2, 3]}, cv=2),
        HiddenClassSearchCV(
            make_pipeline(StandardScaler(with_mean=False), SMALL), {"semisupervisedkmeans__n_clusters": [2, 3]}, cv=2
        ),
    ],
)
def test_scikit_learn_checks(search):
    results = check_estimator(search, on_fail=None, on_skip=None)
    failed = {result["check_name"]: result["exception"] for result in results if result["status"] == "failed"}
    skipped = {result["check_name"] for result in results if result["status"] not in ("passed", "failed")}
    assert len(results) > 30
    assert failed == {}
    assert skipped <= {"check_array_api_input"}
