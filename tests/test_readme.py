"""The README says what is true: its example runs, its commands are those that are tested, no estimator is missing."""

import inspect
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sklearn_sslcluster.auto
import sklearn_sslcluster.deep
import sklearn_sslcluster.discovery
import sklearn_sslcluster.inspection
import sklearn_sslcluster.mixture
import sklearn_sslcluster.model_selection
import sklearn_sslcluster.quantization
import sklearn_sslcluster.sdp
from sklearn_sslcluster.datasets import make_partially_labeled_blobs
from sklearn_sslcluster.model_selection import HiddenClassKFold, HiddenClassSearchCV, estimate_n_clusters

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ROOMS = [
    sklearn_sslcluster.auto,
    sklearn_sslcluster.deep,
    sklearn_sslcluster.discovery,
    sklearn_sslcluster.inspection,
    sklearn_sslcluster.mixture,
    sklearn_sslcluster.model_selection,
    sklearn_sslcluster.quantization,
    sklearn_sslcluster.sdp,
]


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


def rows_of_the_table():
    """The names in the first cell of each row."""
    rows = [line for line in README.splitlines() if line.startswith("| `")]
    return [re.findall(r"`(\w+)`", row.split("|")[1]) for row in rows]


def test_example_runs_as_printed():
    (example,) = blocks("python")
    names = {}
    exec(compile(example, "README.md", "exec"), names)
    known, novel = set(names["model"][-1].classes_), set(names["model"][-1].novel_classes_)
    assert novel
    assert novel < known
    assert set(names["predicted"]) <= known


def test_linked_files_exist():
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", README) if "://" not in link]
    assert "benchmarks/RESULTS.md" in links
    assert [link for link in links if not (ROOT / link).is_file()] == []


@pytest.mark.parametrize("y", [None, "partial"])
@pytest.mark.parametrize("container", [pd.DataFrame, pl.DataFrame])
@pytest.mark.parametrize(
    "name",
    [
        name
        for name, cls in inspect.getmembers(sklearn_sslcluster.discovery, inspect.isclass)
        if hasattr(cls, "predict")
    ],
)
def test_estimators_work_in_searches_and_pipelines_with_tables_and_without_labels(name, container, y):
    X, partial, _ = make_partially_labeled_blobs(60, labeled_fraction=0.5, random_state=0)
    table, y = container({"a": X[:, 0], "b": X[:, 1]}), partial if y else None
    grid = {"n_clusters": [4, 5]}
    estimator = getattr(sklearn_sslcluster.discovery, name)(5, random_state=0)
    searches = [GridSearchCV(estimator, grid, cv=2, error_score="raise"), HiddenClassSearchCV(estimator, grid)]
    for model in [estimator, *searches]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of a search without labels, and of classes that are not all novel.
            model = make_pipeline(StandardScaler(), model).fit(table, y)
        assert model.predict(table).shape == (60,)


@pytest.mark.parametrize("container", [pd.DataFrame, pl.DataFrame])
def test_number_of_classes_is_estimated_of_tables_and_without_labels(container):
    X, y, _ = make_partially_labeled_blobs(60, random_state=0)
    table = container({"a": X[:, 0], "b": X[:, 1]})
    assert [estimate_n_clusters(table, labels, k_max=6, random_state=0) for labels in (y, None)] == [5, 5]


@pytest.mark.parametrize("container", [pd.Series, pl.Series])
def test_splits_need_three_known_classes_and_take_tables(container):
    labels = container([0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2])
    assert list(HiddenClassKFold(random_state=0).split(np.zeros((15, 1)), labels))
    with pytest.raises(ValueError, match="at least three known classes, got 2"):
        next(HiddenClassKFold(random_state=0).split(np.zeros((10, 1)), labels[:10]))


def test_example_is_about_ten_lines():
    (example,) = blocks("python")
    assert len([line for line in example.splitlines() if line.strip()]) <= 12


@pytest.mark.parametrize("path", [".ci/run"])
def test_commands_are_those_of_the_checks(path):
    commands = [line for block in blocks("bash") for line in block.splitlines() if line.strip()]
    steps = (ROOT / path).read_text(encoding="utf-8").splitlines()
    assert len(commands) == 2
    assert [command for command in commands if f"step '{command}'" not in steps] == []


@pytest.mark.parametrize("room", ROOMS)
def test_table_names_everything_in(room):
    named = {name for row in rows_of_the_table() for name in row}
    assert set(room.__all__) - named == set()


def test_every_row_of_the_table_is_in_one_module():
    found = []
    for room in ROOMS:
        (line,) = re.findall(rf"^- `{room.__name__.rpartition('.')[2]}`: (.*);$", README, flags=re.MULTILINE)
        names = re.findall(r"`(\w+)`", line)
        first, last = (
            next(i for i, row in enumerate(rows_of_the_table()) if name in row) for name in (names[0], names[-1])
        )
        rows = rows_of_the_table()[first : last + 1]
        assert {name for row in rows for name in row} - set(room.__all__) == set()
        found += rows
    assert sorted(found) == sorted(rows_of_the_table())
