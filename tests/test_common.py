"""Every public estimator, found automatically, passes the checks of scikit-learn and ours; no failure is expected."""

import inspect
import json
import pickle
import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone, is_clusterer
from sklearn.cluster import KMeans
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

from sklearn_sslcluster.datasets import make_partially_labeled_blobs
from sklearn_sslcluster.discovery import SemiSupervisedKMeans
from sklearn_sslcluster.inspection import ClusterReport
from sklearn_sslcluster.neural import NeuralMixin
from sklearn_sslcluster.utils import all_estimators
from sklearn_sslcluster.utils.estimator_checks import parametrize_with_partial_label_checks

# Sizes and iteration counts that make the test instances quick, and arguments without a default. Nothing else belongs
# here; an estimator without a row is tested with its defaults.
TEST_PARAMETERS = {
    "BalancedKMeans": {"n_init": 2, "max_iter": 20},
    "DeepEmbeddedClustering": {"max_pretrain_epochs": 3, "max_epochs": 3, "n_init": 2},
    "DeepKMeans": {"max_pretrain_epochs": 3, "max_epochs": 3, "n_init": 2},
    "HiddenClassSearchCV": {
        "estimator": SemiSupervisedKMeans(n_init=1, max_iter=5, k_max=6),
        "param_distributions": {"seeding": ["distance", "squared-distance"]},
    },
    "LabelAugmentationClassifier": {"max_epochs": 30},
    "LikelihoodAdjustedSDP": {"n_init": 1, "max_outer": 3, "max_iter": 200},
    "ManifoldLinearizingClustering": {"max_pretrain_epochs": 5, "max_epochs": 5, "n_init": 2, "k_max": 8},
    "NCDKMeans": {"n_init": 2, "max_iter": 20},
    "NCDSpectralClustering": {"max_iter": 50},
    "NovelClassDiscovery": {"max_candidates": 2, "n_splits": 2, "max_rows": 100, "k_max": 8},
    "NeighborEmbeddingClustering": {"n_init": 2, "max_epochs": 10, "k_max": 8},
    "ProbabilisticPartitivePartitioning": {"n_repeats": 2, "max_iter": 20},
    "ProjectionNCD": {"max_epochs": 30, "n_init": 2},
    "PrototypeClustering": {"max_pretrain_epochs": 10, "max_epochs": 5, "n_init": 2, "k_max": 8},
    "SemiSupervisedGaussianMixture": {"n_init": 2, "max_iter": 20, "k_max": 8},
    "SemiSupervisedKMeans": {"n_init": 2, "max_iter": 20},
    "SplitMergeGaussianMixture": {"n_init": 1, "max_iter": 20, "k_max": 8},
    "TabularNCD": {"max_pretrain_epochs": 5, "n_init": 2},
    "VariationalDeepEmbedding": {"n_init": 2, "max_pretrain_epochs": 15, "max_epochs": 5, "k_max": 8},
}
ALL_ESTIMATORS = dict(all_estimators())
# Transformers and classifiers have tests of their own beside the checks of scikit-learn.
ESTIMATORS = {name: cls for name, cls in ALL_ESTIMATORS.items() if hasattr(cls, "predict")}


def may_import_heavy_libraries(cls):
    """Importing torch is what estimators with a network are for, and importing cvxpy what the room `sdp` is for.

    The room `auto` has networks among its candidates.
    """
    return issubclass(cls, NeuralMixin) or cls.__module__.split(".")[1] in ("auto", "sdp")


def quick_instance(name):
    return ESTIMATORS[name](**TEST_PARAMETERS.get(name, {}))


def required_arguments(name):
    parameters = inspect.signature(ESTIMATORS[name]).parameters.values()
    return {parameter.name for parameter in parameters if parameter.default is parameter.empty}


def default_instance(name):
    """Instance with nothing but the arguments that have no default."""
    return ESTIMATORS[name](**{key: TEST_PARAMETERS[name][key] for key in required_arguments(name)})


QUICK_INSTANCES = [quick_instance(name) for name in ESTIMATORS]
CLUSTERERS = [name for name in ESTIMATORS if is_clusterer(quick_instance(name))]
TRANSFORMERS = [cls() for name, cls in ALL_ESTIMATORS.items() if name not in ESTIMATORS]
DEFAULT_INSTANCES = [
    default_instance(name) for name in ESTIMATORS if required_arguments(name) < set(TEST_PARAMETERS.get(name, {}))
]


@parametrize_with_checks(QUICK_INSTANCES + DEFAULT_INSTANCES + TRANSFORMERS)
def test_checks_of_scikit_learn(estimator, check):
    """Each check that check_estimator would run."""
    check(estimator)


@parametrize_with_partial_label_checks([quick_instance(name) for name in CLUSTERERS])
def test_partial_label_checks(estimator, check):
    """Each check that check_partial_label_estimator would run."""
    check(estimator)


def test_estimators_are_found_and_the_table_names_no_other():
    assert {"HiddenClassSearchCV", "NCDKMeans", "NCDSpectralClustering", "SemiSupervisedKMeans"} <= set(ESTIMATORS)
    assert set(TEST_PARAMETERS) <= set(ESTIMATORS)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_test_parameters_are_sizes_counts_and_required_arguments(name):
    sizes = {key: value for key, value in TEST_PARAMETERS.get(name, {}).items() if key not in required_arguments(name)}
    for parameter, value in sizes.items():
        assert isinstance(value, int)
        assert parameter.startswith(("n_", "max_", "k_", "batch_"))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_only_the_array_api_check_is_skipped(name):
    results = check_estimator(quick_instance(name), on_skip=None)
    others = {result["check_name"] for result in results if result["status"] != "passed"}
    assert others <= {"check_array_api_input"}
    assert not any(result["expected_to_fail"] for result in results)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_tags_dodge_no_check(name):
    estimator = quick_instance(name)
    plain = get_tags(KMeans() if name in CLUSTERERS else GaussianNB())
    tags = get_tags(estimator)
    assert tags.estimator_type == plain.estimator_type
    assert not tags._skip_test
    assert not tags.no_validation
    assert not tags.non_deterministic
    assert tags.requires_fit
    assert tags.target_tags == plain.target_tags
    # Sparse rows and missing values are documented input where they are accepted (sparse ones by mixtures for some
    # covariances); nothing else differs from scikit-learn's own estimators.
    documented = type(estimator).fit.__doc__.partition("y :")[0]
    assert not tags.input_tags.sparse or "sparse" in documented or "estimator" in estimator.get_params()
    assert not tags.input_tags.allow_nan or "NaN for entries that are missing" in " ".join(documented.split())
    tags.input_tags.sparse, tags.input_tags.allow_nan = plain.input_tags.sparse, plain.input_tags.allow_nan
    assert tags.input_tags == plain.input_tags


@pytest.mark.parametrize("name", CLUSTERERS)
def test_metadata_routing_leaves_fit_and_searches_working(name):
    X, y, _ = make_partially_labeled_blobs(90, n_known=3, n_novel=1, random_state=0)
    estimator = quick_instance(name)
    expected = clone(estimator).set_params(**seed(estimator)).fit(X, y).labels_
    with config_context(enable_metadata_routing=True):
        fitted = clone(estimator).set_params(**seed(estimator)).fit(X, y)
        np.testing.assert_array_equal(fitted.labels_, expected)
        search = GridSearchCV(clone(estimator), {}, cv=2, error_score="raise").fit(X, y)
        assert len(search.predict(X)) == len(X)
        # Not scored: with routing, the Pipeline of scikit-learn 1.9 scores no last step without sample_weight.
        assert len(make_pipeline(StandardScaler(), clone(estimator)).fit_predict(X, y)) == len(X)


def seed(estimator):
    return {key: 0 for key in estimator.get_params(deep=True) if key.split("__")[-1] == "random_state"}


# Scikit-learn imports pandas and rich by itself where they are installed: hidden, they show that a fit needs none.
FIT_IN_A_FRESH_PROCESS = """
import json, pickle, sys
class Hidden:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in ("pandas", "rich"):
            raise ModuleNotFoundError("hidden: " + name, name=name)
sys.meta_path.insert(0, Hidden)
import numpy as np
estimator = pickle.loads(sys.stdin.buffer.read())
X = np.random.RandomState(0).normal(size=(60, 2)) + 20 * np.repeat(np.arange(4), 15)[:, None]
y = np.repeat([0, 1, 2, -1], 15)
estimator.fit(X, y).predict(X)
estimator.score(X)
libraries = {"cvxpy", "dask", "distributed", "matplotlib", "pandas", "polars", "rich", "skops", "skorch", "torch"}
print(json.dumps(sorted(libraries & set(sys.modules))))
"""


@pytest.mark.parametrize("name", [name for name, cls in ESTIMATORS.items() if not may_import_heavy_libraries(cls)])
def test_fitting_imports_no_heavy_library(name):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FIT_IN_A_FRESH_PROCESS],
        input=pickle.dumps(quick_instance(name)),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize("name", ESTIMATORS)
def test_documentation_link_leads_to_the_public_name(name):
    cls = ESTIMATORS[name]
    room = ".".join(cls.__module__.split(".")[:2])
    assert getattr(import_module(room), name) is cls
    link = quick_instance(name)._get_doc_link()
    assert link.endswith(f"/{room}.{name}.html")


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.filterwarnings("ignore")
def test_report_describes_the_classes_of_every_estimator(name):
    X, y, _ = make_partially_labeled_blobs(80, n_known=3, n_novel=1, labeled_fraction=0.5, random_state=0)
    names = np.array(["a", "b", "c", None], dtype=object)[y]
    model = quick_instance(name)
    if "random_state" in model.get_params():
        model.set_params(random_state=0)
    report = ClusterReport(model.fit(X, names), X, names, random_state=0)
    assert set(model.predict(X)) <= set(report.classes_)
    assert report.classes_[~report.is_novel_].tolist() == ["a", "b", "c"]
    assert report.labels_[y >= 0].tolist() == names[y >= 0].tolist()
    assert report._repr_html_().count("<details") == len(report.classes_) + 1
