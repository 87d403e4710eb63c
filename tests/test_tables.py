"""Tables as they come: names, text, gaps and dates, and what every estimator says of them."""

import warnings
from copy import deepcopy
from functools import cache

import numpy as np
import pandas as pd
import polars as pl
import pytest
import skops.io
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.metrics import adjusted_rand_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sklearn_sslcluster.base import TableKinds
from sklearn_sslcluster.deep import VariationalDeepEmbedding
from sklearn_sslcluster.discovery import SemiSupervisedKMeans, TabularNCD
from sklearn_sslcluster.model_selection import HiddenClassSearchCV, estimate_n_clusters
from sklearn_sslcluster.sdp import certify_kmeans
from sklearn_sslcluster.utils import all_estimators, trusted_types
from tests.test_common import TEST_PARAMETERS

ESTIMATORS = dict(all_estimators())
TAKE_TEXT = {"TabularNCD", "VariationalDeepEmbedding"}
TAKE_GAPS = {"VariationalDeepEmbedding"}
TAKE_NUMBERS_ONLY = sorted(ESTIMATORS.keys() - TAKE_TEXT)


def instance(name):
    estimator = ESTIMATORS[name](**TEST_PARAMETERS.get(name, {}))
    return clone(estimator).set_params(random_state=0) if "random_state" in estimator.get_params() else estimator


def table(n_rows=80):
    """Two numbers by which four groups differ, and the groups."""
    truth = np.arange(n_rows) % 4
    noise = np.random.RandomState(0).normal(size=(n_rows, 2))
    return pd.DataFrame(noise + 20 * truth[:, None], columns=["age", "income"]), truth


def partial(truth):
    """Labels of half of the rows of the first three groups."""
    return np.where((truth < 3) & (np.arange(len(truth)) % 8 < 4), truth, -1)


@cache
def fitted_to_table(name):
    X, truth = table()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of classes that are not all novel.
        return instance(name).fit(X, partial(truth))


def clone_of_fitted(name):
    return deepcopy(fitted_to_table(name))


# What is refused, and what the message says


def refusal(call, *args):
    with pytest.raises((TypeError, ValueError)) as refused:
        call(*args)
    message = str(refused.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("container", [pd.DataFrame, pl.DataFrame, "category", "string"])
@pytest.mark.parametrize("name", TAKE_NUMBERS_ONLY)
def test_text_is_refused_with_the_column_and_the_step(name, container):
    X, truth = table()
    cities = np.array(["Rome", "Oslo", "Bonn", "Lima"])[truth]
    X = X.assign(city=pd.Series(cities, dtype=container)) if isinstance(container, str) else X.assign(city=cities)
    X = container(X.to_dict("list")) if container is pl.DataFrame else X
    message = refusal(instance(name).fit, X, partial(truth))
    assert "text ('Rome') in column 'city'" in message
    assert "sklearn.preprocessing.OneHotEncoder()" in message
    assert "skrub.TableVectorizer()" in message


@pytest.mark.parametrize("name", sorted(ESTIMATORS.keys() - TAKE_GAPS))
def test_a_gap_is_refused_with_the_column_the_row_and_the_step(name):
    X, truth = table()
    X.loc[5, "income"] = np.nan
    message = refusal(instance(name).fit, X, partial(truth))
    assert "contains NaN" in message
    assert "row 5 of column 'income'" in message
    assert "sklearn.impute.SimpleImputer()" in message


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_dates_are_refused_with_the_column_and_the_step(name):
    X, truth = table()
    message = refusal(instance(name).fit, X.assign(since=pd.Timestamp("2020-01-01")), partial(truth))
    assert "dates or times ('2020-01-01" in message
    assert "column 'since'" in message
    assert "skrub.DatetimeEncoder()" in message


@pytest.mark.parametrize("name", TAKE_NUMBERS_ONLY)
def test_new_rows_with_text_or_gaps_are_refused_likewise(name):
    X, _ = table()
    fitted = clone_of_fitted(name)
    method = getattr(fitted, "predict", getattr(fitted, "transform", None))
    gap, text = X.copy(), X.astype({"income": object})
    gap.loc[5, "income"], text.loc[5, "income"] = np.nan, "much"
    assert "row 5 of column 'income'" in refusal(method, gap)
    assert "text ('much') in column 'income'" in refusal(method, text)


@pytest.mark.parametrize("function", [estimate_n_clusters, lambda X: certify_kmeans(X, np.arange(len(X)) % 2)])
def test_functions_say_the_same(function):
    X, truth = table()
    assert "column 'city'" in refusal(function, X.assign(city=truth.astype(str) + "th"))
    X.loc[5, "income"] = np.nan
    assert "row 5 of column 'income'" in refusal(function, X)


@pytest.mark.parametrize(
    "make", [np.asarray, lambda X: X.to_numpy().tolist()], ids=["array of objects", "nested lists"]
)
def test_columns_without_names_are_numbered(make):
    X, truth = table()
    assert "in column 2," in refusal(SemiSupervisedKMeans().fit, make(X.assign(city=truth.astype(str) + "th")))


def test_many_columns_are_counted():
    X, truth = table()
    X = X.assign(**{f"text{i}": truth.astype(str) + "th" for i in range(5)})
    message = refusal(SemiSupervisedKMeans().fit, X)
    assert "in columns 'text0', 'text1', 'text2' and 2 more, where" in message


def test_other_objects_keep_the_error_of_scikit_learn():
    with pytest.raises(TypeError, match="string or a real number"):
        SemiSupervisedKMeans().fit(np.array([[1, {}], [2, 3]], dtype=object))


@pytest.mark.parametrize("container", [pd.Series, pl.Series, np.asarray])
@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_one_column_alone_is_refused_as_no_table(name, container):
    X, truth = table()
    column = container(np.asarray(X)[:, 0])
    with pytest.raises((TypeError, ValueError), match=r"2[Dd]|2-dimensional|two-dimensional|1 dimension"):
        instance(name).fit(column, partial(truth))


def test_the_steps_that_are_named_do_it():
    X, truth = table()
    X = X.assign(city=np.array(["Rome", "Oslo", "Bonn", None], dtype=object)[truth])
    X.loc[5, "income"] = np.nan
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    columns = make_column_transformer((OneHotEncoder(), ["city"]), (numbers, ["age", "income"]))
    model = make_pipeline(columns, SemiSupervisedKMeans(4, random_state=0)).fit(X, partial(truth))
    assert adjusted_rand_score(truth, model.predict(X)) == 1


# Tables of text and numbers


def mixed(n_rows=120):
    """Four groups that a number and two columns of text tell apart together, each by halves."""
    truth = np.arange(n_rows) % 4
    noise = np.random.RandomState(0).normal(size=n_rows)
    return (
        pd.DataFrame(
            {
                "income": noise + 6 * (truth % 2),
                "city": np.array(["Rome", "Oslo", "Bonn", "Lima"])[truth],
                "plan": pd.Categorical(np.array(["basic", "full"])[truth // 2]),
                "zone": pd.Categorical(5 + truth % 2),
            }
        ),
        truth,
    )


def labels_for(name, truth):
    """Labels under which the assumption of an estimator holds."""
    return np.where(truth < 3, truth, -1) if name == "TabularNCD" else partial(truth)


def quick(name):
    return instance(name).set_params(n_clusters=4)


CONTAINERS = {
    "pandas": lambda X: X,
    "pandas with types of its own": lambda X: X.convert_dtypes(),
    "polars": lambda X: pl.DataFrame(X.astype({"plan": str, "zone": int}).to_dict("list")),
    "array": lambda X: X.to_numpy(),
    "lists": lambda X: X.to_numpy().tolist(),
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("name", sorted(TAKE_TEXT))
@pytest.mark.filterwarnings("ignore")
def test_text_is_read_as_categories(name, container):
    X, truth = mixed()
    X = CONTAINERS[container](X)
    model = quick(name).fit(X, labels_for(name, truth))
    texts = [values.tolist() for values in model.categories_ if values.dtype.kind == "U"]
    assert texts == [["Bonn", "Lima", "Oslo", "Rome"], ["basic", "full"]]
    assert adjusted_rand_score(truth, model.predict(X)) > 0.9
    assert hasattr(X, "columns") == hasattr(model, "feature_names_in_")
    restored = skops.io.loads(skops.io.dumps(model), trusted=trusted_types())
    np.testing.assert_array_equal(restored.predict(X), model.predict(X))


@pytest.mark.parametrize("name", sorted(TAKE_TEXT))
@pytest.mark.filterwarnings("ignore")
def test_missing_texts_need_no_filling_in(name):
    X, truth = mixed()
    X.loc[::9, "city"] = None
    X.loc[1::9, "plan"] = np.nan
    if name in TAKE_GAPS:
        X.loc[2::9, "income"] = np.nan
    model = quick(name).fit(X, labels_for(name, truth))
    assert adjusted_rand_score(truth, model.predict(X)) > 0.6
    assert "nan" not in np.concatenate([values.astype(str) for values in model.categories_])


@pytest.mark.filterwarnings("ignore")
def test_texts_are_categories_by_their_order_alone():
    """Numbers in the place of the sorted texts give the same model."""
    X, truth = mixed()
    coded = X.assign(city=X["city"].map({"Bonn": 0, "Lima": 1, "Oslo": 2, "Rome": 3}), plan=truth // 2)
    kinds = ["gaussian", "categorical", "categorical", "categorical"]
    for name, said in (("TabularNCD", {"categorical_features": [1, 2, 3]}), ("VariationalDeepEmbedding", {})):
        by_text = quick(name).fit(X, labels_for(name, truth))
        said = said or {"likelihood": kinds}
        by_number = quick(name).set_params(**said).fit(coded.astype(float), labels_for(name, truth))
        np.testing.assert_allclose(by_text.transform(X), by_number.transform(coded.astype(float)))


@pytest.mark.filterwarnings("ignore")
def test_new_texts():
    X, truth = mixed()
    new = X.replace({"city": {"Rome": "Paris"}})
    tabular = quick("TabularNCD").fit(X, partial(truth))
    missing = X.replace({"city": {"Rome": None}})
    np.testing.assert_array_equal(tabular.predict(new), tabular.predict(missing))
    variational = quick("VariationalDeepEmbedding").fit(X, partial(truth))
    with pytest.raises(ValueError, match=r"Column 'city' holds 'Paris', which is not among the 4 categories"):
        variational.predict(new)
    assert len(variational.predict(missing)) == len(X)


@pytest.mark.filterwarnings("ignore")
def test_rows_drawn_speak_the_texts_of_the_table():
    X, truth = mixed()
    model = quick("VariationalDeepEmbedding").fit(X, partial(truth))
    drawn, _ = model.sample(20)
    assert set(drawn[:, 1]) <= {"Bonn", "Lima", "Oslo", "Rome"}
    assert set(drawn[:, 2]) <= {"basic", "full"}
    assert set(drawn[:, 3]) <= {5.0, 6.0}
    assert all(isinstance(value, float) for value in drawn[:, 0])


@pytest.mark.parametrize("likelihood", [{"city": "gaussian"}, ["gaussian", "bernoulli", "categorical", "categorical"]])
def test_likelihood_that_is_not_for_text_names_the_column(likelihood):
    X, truth = mixed()
    with pytest.raises(ValueError, match=r"likelihood of column 'city' is .*, but it holds text"):
        VariationalDeepEmbedding(4, likelihood=likelihood).fit(X, partial(truth))


def test_a_number_is_missing_beside_text():
    X, truth = mixed()
    X.loc[3, "city"], X.loc[5, "income"] = None, np.nan
    message = refusal(TabularNCD(4).fit, X, partial(truth))
    assert "row 5 of column 'income', and TabularNCD takes no missing values there" in message


def test_misplaced_columns_are_named_beside_text():
    X, truth = mixed()
    model = TabularNCD(4, max_epochs=1, max_pretrain_epochs=1).fit(X, partial(truth))
    with pytest.raises(ValueError, match="position 0 holds 'city', expected 'income'"):
        model.predict(X[["city", "income", "plan", "zone"]])


def test_kinds_of_columns():
    X, _ = mixed(8)
    kinds = TableKinds.of(X.assign(digits="7", bits=True))
    assert kinds.categorical == [1, 2, 3]
    assert kinds.texts[2].tolist() == ["basic", "full"]
    assert sorted(kinds.texts) == [1, 2]  # Text that reads as numbers is numbers.
    assert TableKinds.of(X.astype({"zone": str}).astype({"zone": "category"})).texts[3].tolist() == ["5", "6"]
    for plain in (np.zeros((2, 2)), [[1, 2], [3, 4]], [1, [2]], None):
        assert TableKinds.of(plain) == TableKinds()


# Names


@pytest.mark.parametrize("name", [name for name, cls in ESTIMATORS.items() if hasattr(cls, "transform")])
def test_set_output_is_honored(name):
    X, _ = table()
    X.index = X.index + 1000
    model = clone_of_fitted(name).set_output(transform="pandas")
    out = model.transform(X)
    assert isinstance(out, pd.DataFrame)
    assert out.columns.tolist() == model.get_feature_names_out().tolist()
    assert out.index.tolist() == X.index.tolist()
    np.testing.assert_array_equal(out.to_numpy(), model.set_output(transform="default").transform(X))
    assert model.feature_names_in_.tolist() == ["age", "income"]


def test_a_search_takes_tables_of_text():
    X, truth = mixed()
    model = TabularNCD(4, max_epochs=2, max_pretrain_epochs=2, n_init=1, random_state=0)
    search = HiddenClassSearchCV(model, {"top_k": [0.1, 0.2]}, error_score="raise").fit(X, partial(truth))
    assert len(search.predict(X)) == len(X)
