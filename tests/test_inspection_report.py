"""The report of a fitted clusterer says what can be computed from the rows by other means, and shows data as text."""

import warnings
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.sparse import csr_array
from sklearn.cluster import DBSCAN, KMeans
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.metrics import confusion_matrix, precision_score, recall_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sklearn_sslcluster.datasets import make_partially_labeled_blobs
from sklearn_sslcluster.discovery import SemiSupervisedKMeans
from sklearn_sslcluster.inspection import ClusterReport
from sklearn_sslcluster.inspection._classes import jaccard
from sklearn_sslcluster.inspection._rules import in_boxes, join_boxes, learn_boxes, short_threshold
from sklearn_sslcluster.mixture import SemiSupervisedGaussianMixture

VOID = {"meta"}


@pytest.fixture(scope="module")
def blobs():
    """Rows, partial labels, and a model fitted to them: three known classes and two novel ones."""
    X, y, _ = make_partially_labeled_blobs(200, n_known=3, n_novel=2, labeled_fraction=0.5, random_state=0)
    return X, y, SemiSupervisedKMeans(5, random_state=0).fit(X, y)


@pytest.fixture(scope="module")
def report(blobs):
    X, y, model = blobs
    return ClusterReport(model, X, y, feature_names=["width", "height"], random_state=0)


class Reader(HTMLParser):
    """Collects tags, attributes and text, and checks that tags are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.texts = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.texts.append(data)


def written(report, folder):
    report.to_html(folder / "report.html")
    return (folder / "report.html").read_text(encoding="utf-8")


def rows_picked(rule, table):
    """Rows that the conditions of a rule hold for."""
    picked = np.zeros(len(table), dtype=bool)
    for conditions in rule["conditions"]:
        here = np.ones(len(table), dtype=bool)
        for condition in conditions:
            column = table[condition["column"]].to_numpy()
            here &= (column > condition["above"]) & (column <= condition["at_most"])
        picked |= here
    return picked


def test_classes_are_those_of_the_model(report, blobs):
    model = blobs[2]
    assert report.classes_.tolist() == model.classes_.tolist()
    assert report.classes_[report.is_novel_].tolist() == model.novel_classes_.tolist()
    assert np.array_equal(report.labels_, model.labels_)
    assert report.sizes_.tolist() == [(model.labels_ == name).sum() for name in model.classes_]
    assert report.shares_.sum() == pytest.approx(1)


def test_difference_is_that_of_the_means_in_standard_deviations(report, blobs):
    X, _, model = blobs
    for code, name in enumerate(model.classes_):
        inside = model.labels_ == name
        expected = (X[inside].mean(axis=0) - X[~inside].mean(axis=0)) / X.std(axis=0)
        np.testing.assert_allclose(report.differences_[code], expected, rtol=1e-12)


def test_prototypes_are_the_rows_nearest_to_the_mean(report, blobs):
    X, _, model = blobs
    Z = StandardScaler().fit_transform(X)
    for code, name in enumerate(model.classes_):
        rows = np.flatnonzero(model.labels_ == name)
        distances = np.linalg.norm(Z[rows] - Z[rows].mean(axis=0), axis=1)
        assert set(report.prototypes_[code]) == set(rows[np.argsort(distances)[:3]])


def test_precision_and_recall_on_all_rows_are_those_of_the_conditions(report, blobs):
    X, _, model = blobs
    table = pd.DataFrame(X, columns=["width", "height"])
    for name, rule in zip(model.classes_, report.rules_, strict=True):
        picked = rows_picked(rule, table)
        assert rule["precision_all_rows"] == pytest.approx(precision_score(model.labels_ == name, picked))
        assert rule["recall_all_rows"] == pytest.approx(recall_score(model.labels_ == name, picked))
        assert rule["recall_all_rows"] > 0.9


def test_precision_and_recall_are_of_rows_that_the_rule_has_not_seen():
    rng = np.random.RandomState(0)
    X, labels = rng.normal(size=(300, 5)), rng.randint(2, size=300)
    model = KMeans(2, n_init=1, random_state=0).fit(X)
    model.predict = lambda rows: labels
    rule = ClusterReport(model, X, random_state=0).rules_[1]
    seed = int(np.random.RandomState(0).randint(2**31 - 1))
    picked = np.zeros(300, dtype=bool)
    for train, test in StratifiedKFold(5, shuffle=True, random_state=seed).split(X, labels == 1):
        boxes = learn_boxes(X[train], labels[train] == 1, np.ones(len(train)), seed)
        picked[test] = in_boxes(boxes, X[test])
    assert rule["precision"] == pytest.approx(precision_score(labels, picked))
    assert rule["recall"] == pytest.approx(recall_score(labels, picked))
    assert rule["precision"] < 0.6  # Noise; on its own rows a rule does better.
    assert rule["precision_all_rows"] > rule["precision"]


def test_text_of_a_rule_is_its_conditions(report):
    for rule in report.rules_:
        for conditions in rule["conditions"]:
            for condition in conditions:
                assert condition["column"] in rule["text"]
                finite = [condition[side] for side in ("above", "at_most") if np.isfinite(condition[side])]
                assert all(repr(bound).removesuffix(".0") in rule["text"] for bound in finite)


def test_threshold_has_the_fewest_digits_that_part_the_rows_alike():
    values = np.array([1.0, 2.0, 3.0])
    assert short_threshold(2.4999, values, values <= 2) == 2.0
    values = np.array([1234.5, 1234.6])
    assert short_threshold(1234.567, values, values <= 1234.5) == 1234.57
    values = np.array([1.0, np.nextafter(1.0, 2), 3.0])
    assert short_threshold(1.0000001, values, values <= 1) == 1.0


@pytest.mark.parametrize(("offset", "scale"), [(1.7e9, 1.0), (0.0, 1e120), (0.0, 1e-120)])
def test_rules_of_columns_that_single_precision_cannot_hold(offset, scale):
    truth = np.arange(60) % 2
    X = offset + scale * (4.0 * truth + np.random.RandomState(0).uniform(size=60))[:, None]
    model = make_pipeline(StandardScaler(), KMeans(2, n_init=1, random_state=0)).fit(X / scale)
    model.predict = lambda rows: truth
    report = ClusterReport(model, X, feature_names=["time"])
    assert [rule["precision"] for rule in report.rules_] == [1.0, 1.0]
    picked = rows_picked(report.rules_[1], pd.DataFrame(X, columns=["time"]))
    assert picked.tolist() == (truth == 1).tolist()
    assert report.differences_[1] == pytest.approx(
        [2 * (X[truth == 1] / scale).mean() - 2 * (X / scale).mean()] / (X / scale).std()
    )


def test_boxes_that_touch_are_joined():
    infinity = np.inf
    low, high, far = {0: (-infinity, 1.0), 1: (0, 1)}, {0: (1.0, 2.0), 1: (0, 1)}, {0: (3.0, 4.0), 1: (0, 1)}
    assert join_boxes([low, far, high]) == [{0: (-infinity, 2.0), 1: (0, 1)}, far]


def test_margin_is_one_minus_the_ratio_of_distances(report, blobs):
    X, _, model = blobs
    Z = StandardScaler().fit_transform(X)
    means = np.array([Z[model.labels_ == name].mean(axis=0) for name in model.classes_])
    distances = np.linalg.norm(Z[:, None] - means, axis=2)
    codes = np.searchsorted(model.classes_, model.labels_)
    own = distances[np.arange(len(X)), codes]
    distances[np.arange(len(X)), codes] = np.inf
    np.testing.assert_allclose(report.confidence_, np.clip(1 - own / distances.min(axis=1), 0, 1))
    assert report.confidence_kind_ == "margin"


def test_confidence_is_the_probability_where_there_is_one(blobs):
    X, y, _ = blobs
    model = SemiSupervisedGaussianMixture(5, random_state=0).fit(X, y)
    report = ClusterReport(model, X, y)
    assert report.confidence_kind_ == "predict_proba"
    np.testing.assert_array_equal(report.confidence_, model.predict_proba(X).max(axis=1))


def test_rows_whose_label_the_model_would_not_give_are_listed(blobs):
    X, y, model = blobs
    wrong = y.copy()
    rows = np.flatnonzero(y == 0)[:4]
    wrong[rows] = 1
    report = ClusterReport(model, X, wrong)
    said = model.predict(X)
    assert set(report.disagreeing_rows_) == set(np.flatnonzero((wrong >= 0) & (wrong != said)))
    assert set(rows) <= set(report.disagreeing_rows_)
    assert (np.diff(report.confidence_[report.disagreeing_rows_]) <= 0).all()
    labeled = wrong >= 0
    expected = confusion_matrix(wrong[labeled], said[labeled], labels=model.classes_)[:3]
    assert np.array_equal(report.confusion_, expected)


def test_confidence_of_a_row_with_a_wrong_label_is_that_in_what_the_model_says(blobs):
    X, y, model = blobs
    Z = StandardScaler().fit_transform(X)
    center = Z[model.labels_ == 0].mean(axis=0)
    row = np.flatnonzero(model.labels_ == 0)[np.linalg.norm(Z[model.labels_ == 0] - center, axis=1).argmin()]
    wrong = y.copy()
    wrong[row] = 1
    report = ClusterReport(model, X, wrong)
    assert report.disagreeing_rows_.tolist() == [row]
    assert report.confidence_[row] > 0.9


def test_label_that_the_model_does_not_know_is_no_disagreement(blobs):
    X, y, model = blobs
    report = ClusterReport(model, X, np.where(y == -1, 77, y))
    assert report.confusion_labels_.tolist() == [0, 1, 2, 77]
    assert (report.labels_[y == -1] == model.predict(X)[y == -1]).all()


def test_stability_tells_real_classes_from_parts_of_a_circle():
    rng = np.random.RandomState(0)
    angle = rng.uniform(0, 2 * np.pi, size=150)
    circle = np.column_stack([np.cos(angle), np.sin(angle)])
    X = np.concatenate([circle, [20, 0] + 0.1 * rng.normal(size=(50, 2))])
    # Where k-means cuts a circle is up to the rows that it sees.
    model = KMeans(5, n_init=1, random_state=rng).fit(X)
    report = ClusterReport(model, X, n_bootstraps=20, random_state=0)
    assert (report.labels_[150:] == report.labels_[150]).all()
    parts = report.classes_ != report.labels_[150]
    assert report.stability_[~parts] > 0.9
    assert report.stability_[parts].mean() < 0.8


def test_jaccard_by_hand():
    values = jaccard(np.array([0, 0, 1, 1, 1]), np.array([0, 0, 0, 1, 1]), 3)
    np.testing.assert_allclose(values[:2], [2 / 3, 2 / 3])
    assert np.isnan(values[2])


def test_refits_of_known_classes_need_labels(blobs):
    X, _, model = blobs
    with pytest.raises(ValueError, match="give the labels y of its fit"):
        ClusterReport(model, X, n_bootstraps=2)


@pytest.mark.parametrize("container", [pd.DataFrame, pl.DataFrame])
def test_pipeline_on_a_table_with_text_is_described_in_units_of_the_columns(container):
    rng = np.random.RandomState(0)
    truth = np.arange(120) % 3
    table = container(
        {
            "income": (1000.0 * truth + rng.normal(size=120)).tolist(),
            "city": np.array(["Paris", "Rome", "Oslo"])[truth].tolist(),
        }
    )
    y = np.array(["a", "b", None], dtype=object)[truth]
    y[:30] = None
    columns = make_column_transformer((StandardScaler(), ["income"]), (OneHotEncoder(sparse_output=False), ["city"]))
    model = make_pipeline(columns, SemiSupervisedKMeans(3, random_state=0)).fit(table, y)
    report = ClusterReport(model, table, y, random_state=0)
    assert report.feature_names_ == ["income", "city = Oslo", "city = Paris", "city = Rome"]
    assert report.classes_.tolist() == ["a", "b", "novel_0"]
    assert report.labels_.tolist() == np.array(["a", "b", "novel_0"])[truth].tolist()
    assert report.model_name_ == "SemiSupervisedKMeans"
    assert {rule["precision"] for rule in report.rules_} == {1.0}
    texts = " ".join(rule["text"] for rule in report.rules_)
    assert "income" in texts or "city is" in texts


@pytest.mark.parametrize("y", ["partial", "all", None])
@pytest.mark.parametrize("estimator", [SemiSupervisedKMeans, SemiSupervisedGaussianMixture])
def test_any_share_of_labels_will_do(blobs, estimator, y, tmp_path):
    X, partial, model = blobs
    labels = {"partial": partial, "all": model.labels_, None: None}[y]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of rows that are all labeled.
        fitted = estimator(5, random_state=0).fit(X, labels)
    report = ClusterReport(fitted, X, labels)
    assert len(report.rules_) == 5
    assert report.is_novel_.sum() == {"partial": 2, "all": 0, None: 5}[y]
    assert ("No row is labeled" in written(report, tmp_path)) == (y is None)


def test_one_class_only_has_nothing_to_be_told_from(tmp_path):
    X = np.random.RandomState(0).normal(size=(20, 2))
    report = ClusterReport(SemiSupervisedKMeans(1, random_state=0).fit(X), X)
    assert report.rules_ == [None]
    assert np.isnan(report.differences_).all()
    assert report.warnings_[0] == "There is one class only, so nothing sets it apart."
    Reader(written(report, tmp_path))


@pytest.mark.parametrize("X", [[[1.0, 2.0]], [[1.0], [2.0], [9.0]], [[3.0, 3.0]] * 4])
def test_smallest_tables(X, tmp_path):
    X = np.array(X)
    report = ClusterReport(KMeans(1, n_init=1).fit(X), X)
    assert Reader(written(report, tmp_path)).tags.count("path") == 1


def test_clusterers_and_searches_of_scikit_learn(blobs):
    X, y, _ = blobs
    report = ClusterReport(KMeans(4, n_init=1, random_state=0).fit(X), X, y)
    assert report.is_novel_.all()
    assert len(report.disagreeing_rows_) == 0  # The numbers of clusters are no class names.
    assert report.confusion_.shape == (3, 4)
    search = GridSearchCV(SemiSupervisedKMeans(random_state=0), {"n_clusters": [4, 5]}, cv=2).fit(X, y)
    assert ClusterReport(search, X, y).model_name_ == "SemiSupervisedKMeans"


def test_missing_numbers_where_the_model_takes_them(tmp_path):
    X, y, _ = make_partially_labeled_blobs(120, random_state=0)
    X = np.column_stack([X, np.full(120, np.nan)])
    X[5, 0] = np.nan
    model = make_pipeline(SimpleImputer(keep_empty_features=True), SemiSupervisedKMeans(5, random_state=0)).fit(X, y)
    report = ClusterReport(model, X, y, feature_names=["a", "b", "empty"])
    assert np.isfinite(report.differences_[:, :2]).all()
    assert any("a (1), empty (120)" in warning for warning in report.warnings_)
    Reader(written(report, tmp_path))


def test_missing_number_that_the_model_refuses_names_the_column(blobs):
    X, y, model = blobs
    holed = X.copy()
    holed[7, 1] = np.nan
    with pytest.raises(ValueError, match="column 'height' of X has missing values, at row 7"):
        ClusterReport(model, holed, y, feature_names=["width", "height"])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            lambda X, model: (model, np.where(np.arange(len(X))[:, None] == 3, np.inf, X), {}),
            ValueError,
            "column 'x0' of X .* row 3",
        ),
        (lambda X, model: (model, csr_array(X), {}), TypeError, "dense table"),
        (lambda X, model: (model, X[:, 0], {}), ValueError, "got shape"),
        (lambda X, model: (model, X, {"feature_names": ["a"]}), ValueError, "1 names, but X has 2 columns"),
        (lambda X, model: (model, X, {"n_prototypes": -1}), ValueError, "n_prototypes must be"),
        (lambda X, model: (model, X, {"n_bootstraps": 1.5}), ValueError, "n_bootstraps must be"),
        (lambda X, model: (DBSCAN().fit(X), X, {}), TypeError, "DBSCAN has none"),
    ],
)
def test_what_is_refused(blobs, change, error, message):
    X, _, model = blobs
    model, X, params = change(X, model)
    with pytest.raises(error, match=message):
        ClusterReport(model, X, **params)


def test_warnings_name_what_to_be_careful_about():
    rng = np.random.RandomState(0)
    X = np.column_stack([rng.normal(size=300), np.ones(300)])
    X[:3, 0] += 50
    report = ClusterReport(KMeans(2, n_init=1, random_state=0).fit(X), X, feature_names=["a", "flat"])
    said = " ".join(report.warnings_)
    assert "is tiny: 3 rows" in said
    assert "Of one value only, and so without difference between classes: flat." in said
    labels = rng.randint(2, size=300)
    model = KMeans(2, n_init=1, random_state=0).fit(X)
    model.predict = lambda rows: labels
    noise = ClusterReport(model, rng.normal(size=(300, 2)))
    assert any("No column alone sets class 0 apart" in warning for warning in noise.warnings_)


def test_table_has_one_line_a_class(report):
    table = report.table
    assert table.index.tolist() == report.classes_.tolist()
    assert table["rows"].tolist() == report.sizes_.tolist()
    assert "2 novel classes" in repr(report)


def test_same_seed_same_page(blobs):
    X, y, model = blobs
    pages = {ClusterReport(model, X, y, n_bootstraps=2, random_state=3)._repr_html_() for _ in range(2)}
    assert len(pages) == 1


def test_large_table_learns_rules_from_a_sample_that_stands_for_it(monkeypatch, blobs):
    X, y, model = blobs
    monkeypatch.setattr("sklearn_sslcluster.inspection._report._MAX_RULE_ROWS", 60)
    monkeypatch.setattr("sklearn_sslcluster.inspection._picture._MAX_ROWS", 50)
    report = ClusterReport(model, X, y, random_state=0)
    assert min(rule["recall_all_rows"] for rule in report.rules_) > 0.8
    assert report._repr_html_().count("a3 3 0 1 0 6 0") + report._repr_html_().count("l4 4l-4 4") < 60


def test_page_is_whole_and_brings_nothing_from_elsewhere(report, tmp_path):
    text = written(report, tmp_path)
    reader = Reader(text)
    assert reader.tags.count("html") == reader.tags.count("main") == reader.tags.count("h1") == 1
    assert not {"script", "link", "img", "iframe", "object"} & set(reader.tags)
    names = {name for name, _ in reader.attributes}
    assert not {name for name in names if name in ("src", "href", "srcset", "data") or name.startswith("on")}
    assert not [word for word in ("http:", "https:", "url(", "@import", "javascript:") if word in text]
    assert "prefers-color-scheme:dark" in text
    assert reader.tags.count("caption") == reader.tags.count("table")
    assert reader.tags.count("summary") == reader.tags.count("details")
    assert "Content-Security-Policy" in text


def test_notebook_part_is_closed_and_styles_nothing_else(report):
    text = report._repr_html_()
    assert not {"body", "h1", "h2"} & set(Reader(text).tags)
    style = text.partition("<style>")[2].partition("</style>")[0]
    assert style.count("{") == style.count("}")
    assert "body{margin" not in text


def test_text_of_the_data_is_shown_as_text(tmp_path):
    hostile = "<script>alert('x')</script>"
    rng = np.random.RandomState(0)
    truth = np.arange(80) % 2
    table = pd.DataFrame(
        {
            hostile: 10.0 * truth + rng.normal(size=80),
            '"><img src=x onerror=alert(1)>': np.array([hostile, "</style></svg>&amp;"])[truth],
        }
    )
    y = np.array([hostile + "1", None], dtype=object)[truth]
    y[4] = "</table><script>"
    columns = make_column_transformer((StandardScaler(), [hostile]), remainder="drop")
    model = make_pipeline(columns, SemiSupervisedKMeans(3, random_state=0)).fit(table, y)
    model[-1].rename_classes({"novel_0": "<b onclick='x'>\x00\ud800"})
    report = ClusterReport(model, table, y)
    for text in (written(report, tmp_path), report._repr_html_()):
        reader = Reader(text)
        assert not {"script", "img", "b"} & set(reader.tags)
        assert not [name for name, _ in reader.attributes if name.startswith("on")]
        assert hostile in "".join(reader.texts)
        assert "\x00" not in text


def test_page_into_a_folder_that_is_missing(report, tmp_path):
    with pytest.raises(FileNotFoundError):
        report.to_html(tmp_path / "none" / "report.html")
