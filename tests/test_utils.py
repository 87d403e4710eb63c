"""What users find with ``all_estimators`` and load with ``trusted_types``."""

from importlib import import_module

import numpy as np
import pytest
import skops.io
from sklearn.base import BaseEstimator
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.metrics import adjusted_rand_score, get_scorer, get_scorer_names
from sklearn.model_selection import GridSearchCV, ShuffleSplit, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import sklearn_sslcluster
from sklearn_sslcluster.datasets import make_partially_labeled_blobs
from sklearn_sslcluster.discovery import NCDKMeans, SemiSupervisedKMeans
from sklearn_sslcluster.inspection import ClusterReport
from sklearn_sslcluster.metrics import clustering_accuracy, make_partial_label_scorer
from sklearn_sslcluster.model_selection import HiddenClassKFold, HiddenClassSearchCV
from sklearn_sslcluster.utils import _trusted_types, all_estimators, trusted_types

GRID = {"seeding": ["distance", "squared-distance"]}


def quick():
    return SemiSupervisedKMeans(n_init=1, max_iter=5, k_max=6, random_state=0)


def resolve(name):
    """Object with a dotted name."""
    module, _, attribute = name.rpartition(".")
    return getattr(import_module(module), attribute)


def test_all_estimators_are_public_estimators_sorted_by_name():
    names = [name for name, _ in all_estimators()]
    assert names == sorted(set(names))
    for name, cls in all_estimators():
        assert issubclass(cls, BaseEstimator)
        room = getattr(sklearn_sslcluster, cls.__module__.split(".")[1])
        assert getattr(room, name) is cls


def test_trusted_types_hold_all_estimators():
    assert {f"{cls.__module__}.{cls.__qualname__}" for _, cls in all_estimators()} <= set(trusted_types())


def test_trusted_types_are_sorted_and_exist():
    names = trusted_types()
    assert names == sorted(set(names))
    for name in names:
        assert callable(resolve(name))


def test_trusted_types_hold_nothing_that_works_when_it_is_made():
    report = f"{ClusterReport.__module__}.{ClusterReport.__qualname__}"
    assert report in _trusted_types._RUN_WHEN_MADE
    assert report not in trusted_types()


def test_trusted_types_hold_every_metric_of_scikit_learn_for_clusters():
    metrics = {get_scorer(name)._score_func for name in get_scorer_names()}
    names = {f"{metric.__module__}.{metric.__name__}" for metric in metrics}
    assert {name for name in names if name.startswith("sklearn.metrics.cluster.")} <= set(trusted_types())


def columns_by_kind():
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    return make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), make_column_selector("kind")),
        (numbers, make_column_selector("x")),
    )


SAVED = {
    "hidden-class search": HiddenClassSearchCV(quick(), GRID),
    "hidden-class search with its own folds": HiddenClassSearchCV(
        quick(), GRID, cv=HiddenClassKFold(2, random_state=0), scoring="adjusted_rand_score"
    ),
    "hidden-class search over a pipeline": HiddenClassSearchCV(
        make_pipeline(StandardScaler(), quick()), {"standardscaler": [StandardScaler(), "passthrough"]}
    ),
    "hidden-class search with several scores": HiddenClassSearchCV(
        quick(), GRID, scoring=["hidden_class_accuracy", "v_measure_score"], refit="hidden_class_accuracy"
    ),
    "grid search": GridSearchCV(NCDKMeans(n_init=1), GRID, cv=2),
    "grid search with a scorer for partial labels": GridSearchCV(
        quick(), GRID, cv=ShuffleSplit(2, random_state=0), scoring=make_partial_label_scorer(clustering_accuracy)
    ),
    "grid search with a metric of scikit-learn": GridSearchCV(
        quick(), GRID, cv=2, scoring=make_partial_label_scorer(adjusted_rand_score)
    ),
    "pipeline on columns by kind": make_pipeline(columns_by_kind(), quick()),
}


def assert_loads(model, X):
    restored = skops.io.loads(skops.io.dumps(model), trusted=trusted_types())
    np.testing.assert_array_equal(restored.predict(X), model.predict(X))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "names",
    [[0, 1, 2, -1], ["ash", "beech", "cedar", None], [0, True, "cedar", None]],
    ids=["integers", "strings", "mixed"],
)
@pytest.mark.parametrize("model", SAVED.values(), ids=list(SAVED))
def test_trusted_types_suffice_to_load(model, names):
    pandas = pytest.importorskip("pandas")
    X, codes, _ = make_partially_labeled_blobs(90, n_known=3, n_novel=1, random_state=0)
    y = np.array(names, dtype=int if names[-1] == -1 else object)[codes]
    if "columntransformer" in model.get_params():
        X = pandas.DataFrame(X, columns=[f"x{i}" for i in range(X.shape[1])])
        X["kind"] = np.where(codes == 0, "a", "b")
    model.fit(X, y)
    assert_loads(model, X)


def test_trusted_types_suffice_to_load_a_stratified_search():
    X, y, _ = make_partially_labeled_blobs(90, n_known=3, n_novel=1, random_state=0)
    model = GridSearchCV(quick(), GRID, cv=StratifiedKFold(2)).fit(X, y)
    assert_loads(model, X)


@pytest.mark.filterwarnings("ignore")
def test_trusted_types_suffice_to_load_a_search_that_could_hide_no_class():
    X, y, _ = make_partially_labeled_blobs(90, n_known=2, n_novel=1, random_state=0)
    model = HiddenClassSearchCV(quick(), GRID).fit(X, y)
    assert_loads(model, X)


def test_loading_without_trust_is_refused():
    X, y, _ = make_partially_labeled_blobs(60, random_state=0)
    dumped = skops.io.dumps(quick().fit(X, y))
    with pytest.raises(TypeError, match="SemiSupervisedKMeans"):
        skops.io.loads(dumped)
