"""`sslcluster predict`, and the file that holds the model."""

from pathlib import Path

import pandas as pd
import pytest
import skops.io
from sklearn.cluster import KMeans
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_sslcluster import __version__
from sklearn_sslcluster.cli import main
from sklearn_sslcluster.utils import trusted_types
from tests.cli_tools import discover, error_of, result, write_planted


@pytest.fixture
def table(folder):
    return write_planted()


def test_predict_gives_unlabeled_rows_the_classes_of_discover(table):
    discover("-o", "labeled.csv", "--model", "m.skops")
    assert main(["predict", "customers.csv", "--model", "m.skops", "-o", "predicted.csv"]) == 0
    first, second = result("labeled.csv"), result("predicted.csv")
    unlabeled = table["segment"] == ""
    assert first[unlabeled].equals(second[unlabeled])


def test_predict_without_output_prints_the_table(table, capsys):
    discover("--model", "m.skops")
    capsys.readouterr()
    main(["predict", "customers.csv", "--model", "m.skops"])
    out, err = capsys.readouterr()
    main(["predict", "customers.csv", "--model", "m.skops", "-o", "predicted.csv"])
    assert out == Path("predicted.csv").read_text(encoding="utf-8")
    assert err == "note: columns that the model does not use: 'key', 'segment'\n"


def test_predict_reads_another_format(table, capsys):
    discover("--model", "m.skops", "-o", "labeled.csv")
    table.astype({"code": float, "income": float}).to_parquet("t.parquet")
    assert main(["predict", "t.parquet", "--model", "m.skops", "-o", "predicted.csv"]) == 0
    unlabeled = table["segment"] == ""
    names = [result(name)["segment_discovered"][unlabeled].tolist() for name in ("labeled.csv", "predicted.csv")]
    assert names[0] == names[1]


def test_predict_accepts_empty_cells_and_names_unseen_texts(table, capsys):
    discover("--model", "m.skops")
    table.loc[0, ["income", "city"]] = "", "Kyiv"
    table.to_csv("new.csv", index=False)
    assert main(["predict", "new.csv", "--model", "m.skops", "-o", "predicted.csv"]) == 0
    assert "values of column 'city' that the model has never seen: 'Kyiv'" in capsys.readouterr().err
    assert len(result("predicted.csv")) == len(table)


def test_predict_takes_a_table_of_one_column_with_blank_lines(folder):
    pd.DataFrame({"x": [0, 1, 50, 51, 0, 50] * 5, "segment": ["a", "a", "", "", "a", ""] * 5}).to_csv(
        "t.csv", index=False
    )
    discover("--model", "m.skops", name="t.csv", n_clusters="2")
    Path("new.csv").write_text("x\n1\n\n50\n")
    main(["predict", "new.csv", "--model", "m.skops", "-o", "out.csv"])
    assert len(result("out.csv")) == 3


def test_predict_missing_column_gives_the_nearest_names(table, capsys):
    discover("--model", "m.skops")
    capsys.readouterr()
    table.rename(columns={"income": "incomes"}).to_csv("new.csv", index=False)
    assert main(["predict", "new.csv", "--model", "m.skops"]) == 2
    assert "new.csv has no column 'income'; the nearest: 'incomes'" in error_of(capsys)


def test_predict_text_among_numbers_is_an_error_with_the_row(table, capsys):
    discover("--model", "m.skops")
    capsys.readouterr()
    table.loc[7, "income"] = "much"
    table[["income", "city", "code"]].to_csv("new.csv", index=False)
    assert main(["predict", "new.csv", "--model", "m.skops"]) == 2
    assert "column 'income' holds 'much' in row 8, where the model expects a number" in error_of(capsys)


def test_model_file_is_plain_and_trusted(table):
    discover("--model", "m.skops", "--unlabeled", "?")
    model = skops.io.load("m.skops", trusted=trusted_types())
    assert type(model.pop("pipeline")) is Pipeline
    assert model == {
        "format": 1,
        "package_version": __version__,
        "label": "segment",
        "unlabeled": ["?"],
        "numbers": ["code", "income"],
        "text": ["city"],
    }


def test_model_predicts_in_python(table):
    discover("--model", "m.skops", "-o", "labeled.csv")
    pipeline = skops.io.load("m.skops", trusted=trusted_types())["pipeline"]
    predicted = pipeline.predict(table.astype({"code": float, "income": float}))
    unlabeled = table["segment"] == ""
    assert (predicted == result("labeled.csv")["segment_discovered"])[unlabeled].all()


def harmful(text):
    raise AssertionError("ran")


@pytest.mark.parametrize("content", [{"pipeline": FunctionTransformer(harmful)}, harmful])
def test_hostile_model_is_refused(table, capsys, content):
    skops.io.dump(content, "bad.skops")
    assert main(["predict", "customers.csv", "--model", "bad.skops"]) == 2
    assert "bad.skops was not loaded" in error_of(capsys)


def test_file_that_is_no_model_is_refused(table, capsys):
    assert main(["predict", "customers.csv", "--model", "customers.csv"]) == 2
    assert "cannot be read as a model" in error_of(capsys)


@pytest.mark.parametrize("content", [KMeans(), {"format": 1}, [1]])
def test_other_contents_of_a_model_file_are_refused(table, capsys, content):
    skops.io.dump(content, "other.skops")
    assert main(["predict", "customers.csv", "--model", "other.skops"]) == 2
    assert "is not a model that sslcluster discover --model saved" in error_of(capsys)


def test_model_of_another_format_is_refused(table, capsys):
    discover("--model", "m.skops")
    model = skops.io.load("m.skops", trusted=trusted_types())
    skops.io.dump(model | {"format": 99}, "m.skops")
    capsys.readouterr()
    assert main(["predict", "customers.csv", "--model", "m.skops"]) == 2
    assert "has format 99" in error_of(capsys)
