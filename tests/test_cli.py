"""The command: what it reads, finds, says and writes, and how it refuses."""

import csv
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import skops.io
from sklearn.metrics import adjusted_rand_score, silhouette_score

from sklearn_sslcluster import __version__, cli
from sklearn_sslcluster.cli import main
from sklearn_sslcluster.utils import trusted_types
from tests.cli_tools import QUICK, cells, discover, planted, result, write_planted

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def table(folder):
    return write_planted()


# What it finds and writes


def test_discovers_planted_classes(table):
    assert discover("-o", "labeled.csv", n_clusters="auto") == 0
    found = result("labeled.csv")
    _, truth = planted()
    assert adjusted_rand_score(truth, found["segment_discovered"]) == 1
    assert set(found["segment_discovered"]) == {"NA", "007", "novel_0", "novel_1"}
    assert ((found["is_novel"] == "True") == (truth >= 2)).all()


def test_labeled_rows_keep_their_label(table):
    discover("-o", "labeled.csv")
    labeled = table["segment"] != ""
    assert (result("labeled.csv")["segment_discovered"][labeled] == table["segment"][labeled]).all()


def test_original_columns_are_written_as_they_stand(folder):
    rows = [["id", "x", "odd ", "segment"]]
    rows += [[f"00{i}", f"{i % 3}.50", ' a,"b"\n', ["NA", "", "None"][i % 3]] for i in range(30)]
    with open("t.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    assert discover("-o", "out.csv", "--id", "id", name="t.csv") == 0
    assert [row[:-2] for row in cells("out.csv")] == rows


def test_tables_can_be_separated_by_tabs(table):
    table.to_csv("t.tsv", index=False, sep="\t")
    assert discover("-o", "out.tsv", name="t.tsv") == 0
    discover("-o", "out.csv")
    assert result("out.csv").equals(pd.read_csv("out.tsv", sep="\t", dtype=str, keep_default_na=False))


def test_parquet_round_trip_keeps_types_and_null_labels(folder):
    _, truth = planted()
    big = 2**53 + 1
    source = pa.table(
        {
            "x": pa.array((10.0 * truth).tolist()),
            "count": pa.array([None if i % 5 else big + i for i in range(len(truth))], pa.int64()),
            "day": pa.array(np.arange(len(truth), dtype=np.int32), pa.date32()),
            "segment": pa.array([None if i % 3 or k > 1 else int(k) for i, k in enumerate(truth)], pa.int32()),
        }
    )
    pq.write_table(source, "t.parquet")
    assert discover("-o", "out.parquet", name="t.parquet") == 0
    written = pq.read_table("out.parquet")
    assert written.select(source.column_names).cast(source.schema).equals(source)
    assert set(written["segment_discovered"].to_pylist()) == {"0", "1", "novel_0", "novel_1"}
    assert written["is_novel"].type == pa.bool_()


def test_integer_labels_with_gaps_are_not_written_as_floats(table):
    codes = table["segment"].map({"NA": 1.0, "007": 2.0})
    table.assign(segment=codes).to_parquet("t.parquet")
    assert discover("-o", "out.csv", name="t.parquet") == 0
    assert set(result("out.csv")["segment_discovered"]) == {"1", "2", "novel_0", "novel_1"}


def test_index_of_a_parquet_file_is_kept_and_not_compared(table, capsys):
    table.assign(income=table["income"].astype(float)).set_index("key").to_parquet("t.parquet")
    assert discover("-o", "out.csv", "--id", "key", name="t.parquet") == 0
    assert result("out.csv")["key"].tolist() == table["key"].tolist()


@pytest.mark.parametrize("label", ["NA", "None", "null", "nan", "007", "1.50", "-1", "True"])
def test_labels_are_read_as_they_stand(table, capsys, label):
    table.replace({"segment": {"NA": label}}).to_csv("customers.csv", index=False)
    discover("-o", "labeled.csv")
    assert label in set(result("labeled.csv")["segment_discovered"])
    assert capsys.readouterr().err == ""


def test_unlabeled_values_are_those_named(table, capsys):
    table.replace({"segment": {"": "?"}}).to_csv("customers.csv", index=False)
    assert discover("--unlabeled", "?", "--unlabeled", "NA", "-o", "labeled.csv") == 0
    assert "labeled with 1 classes" in capsys.readouterr().out
    assert not {"?", "NA"} & set(result("labeled.csv")["segment_discovered"])


def test_unlabeled_value_that_does_not_occur_is_named(table, capsys):
    discover("--unlabeled", "na")
    assert "--unlabeled 'na': no cell of 'segment' is that; the nearest is 'NA'" in capsys.readouterr().err


def test_without_labels_it_clusters_and_says_so(table, capsys):
    table.assign(segment="").to_csv("customers.csv", index=False)
    assert discover("-o", "labeled.csv", n_clusters="auto") == 0
    assert "No row of 'segment' has a label: all rows were clustered" in capsys.readouterr().out
    found = result("labeled.csv")
    assert set(found["segment_discovered"]) == {f"novel_{i}" for i in range(4)}
    assert set(found["is_novel"]) == {"True"}


def test_number_of_classes_can_be_given(table):
    discover("-o", "labeled.csv", n_clusters="3")
    assert set(result("labeled.csv")["segment_discovered"]) == {"NA", "007", "novel_0"}


@pytest.mark.parametrize("method", ["semi-supervised-kmeans", "ncd-kmeans", "ncd-spectral"])
def test_methods_find_as_many_classes_as_asked(table, method):
    assert discover("--method", method, "-o", "labeled.csv") == 0
    assert result("labeled.csv")["segment_discovered"].nunique() == 4


def test_same_seed_same_output(table):
    for name in ("a.csv", "b.csv"):
        discover("--seed", "3", "-o", name)
    assert Path("a.csv").read_bytes() == Path("b.csv").read_bytes()


def test_row_numbers_and_ids_do_not_change_the_result(table):
    discover("-o", "without.csv")
    table.insert(0, "", [str(i) for i in range(len(table))])
    table.to_csv("customers.csv", index=False)
    discover("-o", "with.csv")
    assert result("without.csv")["segment_discovered"].equals(result("with.csv")["segment_discovered"])


def test_existing_output_is_replaced(table):
    Path("labeled.csv").write_text("old")
    assert discover("-o", "labeled.csv") == 0
    assert len(result("labeled.csv")) == len(table)


# The report


def test_report_counts_rows_by_class(table, capsys):
    discover()
    out = capsys.readouterr().out
    counts = {
        name: [int(n) for n in numbers.split()] for name, numbers in re.findall(r"^(\w+)((?: +\d+)+)$", out, re.M)
    }
    n_labeled = table["segment"].value_counts()
    assert counts == {
        "007": [n_labeled["007"], 30 - n_labeled["007"]],
        "NA": [n_labeled["NA"], 30 - n_labeled["NA"]],
        "novel_0": [30],
        "novel_1": [30],
    }


def test_report_gives_silhouette_and_known_share(table, capsys):
    discover("--model", "m.skops", "-o", "labeled.csv")
    out = capsys.readouterr().out
    pipeline = skops.io.load("m.skops", trusted=trusted_types())["pipeline"]
    Z = pipeline[:-1].transform(table.astype({"code": float, "income": float}))
    expected = silhouette_score(Z, result("labeled.csv")["segment_discovered"])
    assert float(re.search(r"silhouette of all classes: (\S+)", out)[1]) == pytest.approx(expected, abs=0.006)
    unlabeled = table["segment"] == ""
    share = (unlabeled & table["city"].isin(["Paris", "Rome"])).sum() / unlabeled.sum()
    assert f"unlabeled rows that look known: {share:.0%}" in out


def test_telling_columns_are_five_and_in_order(folder, capsys):
    rng = np.random.RandomState(0)
    truth = np.arange(200) % 2
    shifts = {"a": 1, "b": -12, "c": 6, "d": 0, "e": -3, "f": 9, "g": 2}
    columns = {name: rng.normal(size=200) + shift * truth for name, shift in shifts.items()}
    pd.DataFrame({**columns, "segment": np.where(truth, "", "old")}).to_csv("t.csv", index=False)
    discover(name="t.csv", n_clusters="2")
    lines = re.findall(r"^  (\w) +(\S+) +(\S+) +([+-]\d\.\d\d)$", capsys.readouterr().out, re.M)
    table = pd.read_csv("t.csv")
    means = table[list(shifts)].groupby(truth).mean()
    expected = ((means.loc[1] - means.loc[0]) / table[list(shifts)].std(ddof=0)).sort_values(key=np.abs)[::-1][:5]
    assert [line[0] for line in lines] == list(expected.index)
    assert [float(line[3]) for line in lines] == pytest.approx(expected.to_list(), abs=0.006)
    assert [float(line[1]) for line in lines] == pytest.approx(means.loc[1][expected.index].to_list(), rel=1e-3)


def test_telling_text_is_named_with_its_share(table, capsys):
    discover()
    out = capsys.readouterr().out
    for city in ("Oslo", "Bonn"):
        assert re.search(rf"^  city={city} +100% +0% +\+\d", out, re.M)
    assert len(re.findall(r"^  city=", out, re.M)) == 2


def test_report_says_which_columns_are_left_out_and_why(table, capsys):
    extra = {
        "day": [f"2024-01-{1 + i % 28:02d}" for i in range(120)],
        "nothing": "",
        "same": "x",
        "number": [str(i + 5) for i in range(120)],
        "flat": "3.0",
    }
    table.assign(**extra).to_csv("customers.csv", index=False)
    discover("--id", "code")
    out = capsys.readouterr().out
    for line in (
        "left out, dates or times: 'day'",
        "left out, all cells empty: 'nothing'",
        "left out, one value only: 'same', 'flat'",
        "left out, counts the rows: 'number'",
        "left out, no text occurs twice: 'key'",
        "left out, named by --id: 'code'",
        "compared by 2 columns",
    ):
        assert line in out


def test_empty_cells_and_rare_texts_are_counted(table, capsys):
    table.loc[::10, "income"] = ["", "NA", "null"] * 4
    table["many"] = [str(i % 40) + "x" for i in range(120)]
    table.to_csv("customers.csv", index=False)
    discover()
    out = capsys.readouterr().out
    assert "12 empty cells, read as the median of their column" in out
    assert "more than 30 texts, the rarer ones read as one, in: 'many'" in out


def test_number_column_with_one_text_is_named_with_the_row(table, capsys):
    table["size"] = [str(i % 7) for i in range(120)]
    table.loc[41, "size"] = "about 5"
    table.to_csv("customers.csv", index=False)
    assert discover() == 0
    assert "column 'size' holds numbers, but 'about 5' in row 42 (text in 1 of 120 cells)" in capsys.readouterr().err


def test_report_fits_a_page_whatever_the_names(table, capsys):
    long = {"income": "income " * 30, "city": "city\n\x1b[31m" * 20}
    table.replace({"segment": {"NA": "n" * 300}}).rename(columns=long).to_csv("customers.csv", index=False)
    discover("-o", "labeled.csv")
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 100
    assert "\x1b" not in out


def test_warning_of_an_estimator_is_a_note(table, capsys):
    discover("--method", "ncd-kmeans")
    assert re.search(r"^note: \d+% of the unlabeled rows lie nearest to a known class", capsys.readouterr().err, re.M)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--method", "ncd-kmeans"], ["--method ncd-kmeans assumes", "--method semi-supervised-kmeans makes no such"]),
        (["--n-clusters", "1"], ["--n-clusters=1 is less than the 2 known classes"]),
    ],
)
def test_notes_speak_of_options_and_not_of_python(table, capsys, args, words):
    discover(*args)
    err = capsys.readouterr().err
    assert [word for word in words if word not in err] == []
    assert "KMeans" not in err
    assert "n_clusters" not in err


def test_no_new_class_is_said(folder, capsys):
    frame, truth = planted()
    frame[truth < 2].to_csv("customers.csv", index=False)
    discover(n_clusters="2")
    assert "No new class was found." in capsys.readouterr().out


def test_report_says_where_the_files_went(table, capsys):
    discover("-o", "labeled.csv", "--model", "m.skops")
    out = capsys.readouterr().out
    assert "labeled.csv: the table with columns 'segment_discovered' and 'is_novel'" in out
    assert "sslcluster predict TABLE --model m.skops" in out


def test_without_output_no_file_is_written(table, capsys):
    discover()
    assert [path.name for path in Path().iterdir()] == ["customers.csv"]
    assert "-o FILE writes the table" in capsys.readouterr().out


# Progress, demonstration, entry points


@pytest.mark.parametrize(("args", "expected"), [([], True), (["--quiet"], False)])
def test_progress_is_shown_to_someone_who_watches(table, capsys, monkeypatch, args, expected):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert discover("-o", "labeled.csv", "--model", "m.skops", *args) == 0
    out, err = capsys.readouterr()
    assert ("fitting SemiSupervisedKMeans on 120 rows" in err) is expected
    assert ("SemiSupervisedKMeans - fit" in err) is expected
    assert "SemiSupervisedKMeans - fit" not in out
    model = skops.io.load("m.skops", trusted=trusted_types())
    assert not hasattr(model["pipeline"][-1], "_skl_callbacks")


def test_no_progress_in_a_log_file(table, capsys):
    discover()
    assert capsys.readouterr().err == ""


def test_demo_prints_the_accuracy(folder, capsys):
    assert main(["discover", "--demo", "--n-clusters", "10", *QUICK]) == 0
    out = capsys.readouterr().out
    shares = re.search(
        r"accuracy on the 1,347 unlabeled rows: (\S+)% \(known classes (\S+)%, new classes (\S+)%\)", out
    )
    assert min(map(float, shares.groups())) > 60
    assert "10 classes were told apart, and the truth has 10" in out
    assert list(folder.iterdir()) == []


def test_demo_can_be_saved_and_predicted(folder):
    assert main(["discover", "--demo", "--n-clusters", "10", *QUICK, "-o", "digits.csv", "--model", "m.skops"]) == 0
    labeled = result("digits.csv")
    labeled.drop(columns=["digit_discovered", "is_novel"]).to_csv("plain.csv", index=False)
    assert main(["predict", "plain.csv", "--model", "m.skops", "-o", "predicted.csv"]) == 0
    unlabeled = labeled["digit"] == ""
    same = labeled["digit_discovered"] == result("predicted.csv")["digit_discovered"]
    assert same[unlabeled].all()


def test_by_default_the_method_is_chosen_and_the_report_says_why(table, capsys):
    assert main(["discover", "customers.csv", "--label", "segment", "-o", "labeled.csv", "--model", "m.skops"]) == 0
    out = capsys.readouterr().out
    assert "chosen among" in out
    assert "k-means" in out
    assert re.search(r"vote of each counter: .*silhouette in columns 4 \(\d+%\)", out.replace("\n  ", " "))
    found = result("labeled.csv")
    assert found["segment_discovered"].nunique() == 4
    found.drop(columns=["segment_discovered", "is_novel"]).to_csv("plain.csv", index=False)
    assert main(["predict", "plain.csv", "--model", "m.skops", "-o", "predicted.csv"]) == 0
    unlabeled = found["segment"] == ""
    same = found["segment_discovered"] == result("predicted.csv")["segment_discovered"]
    assert same[unlabeled].all()


def test_time_budget_is_kept_for_the_choice(table, capsys):
    assert discover("--method", "auto", "--time-budget", "0.001") == 0
    assert "chosen among" in capsys.readouterr().out
    assert discover("--time-budget", "5") == 2
    assert "--time-budget goes with --method auto" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["0", "-1", "inf", "soon"])
def test_time_budget_is_a_number_of_seconds(table, capsys, seconds):
    with pytest.raises(SystemExit):
        discover("--method", "auto", "--time-budget", seconds)
    assert "expected a number of seconds above 0" in capsys.readouterr().err


def test_version(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"sslcluster {__version__}\n"


def test_command_lines_of_the_readme_are_known(capsys):
    commands = re.findall(r"sslcluster (\w+)([^`\n]*)", README)
    assert commands
    for command, rest in commands:
        with pytest.raises(SystemExit):
            main([command, "--help"])
        help_text = capsys.readouterr().out
        assert [option for option in re.findall(r"(?<!\S)--?[a-z-]+", rest) if option not in help_text] == []


def test_module_runs_and_help_imports_little():
    code = (
        "import sys, runpy; sys.argv = ['sslcluster', 'discover', '--help']\n"
        "try: runpy.run_module('sklearn_sslcluster.cli', run_name='__main__')\n"
        "except SystemExit as stopped: print(stopped.code, *{'pandas', 'sklearn', 'torch', 'rich'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0"


def test_entry_point_refuses_in_one_line():
    command = [sys.executable, "-m", "sklearn_sslcluster.cli", "discover", "missing.csv", "--label", "segment"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (
        2,
        "",
        "sslcluster: error: there is no file missing.csv\n",
    )


def test_main_is_what_the_room_offers():
    assert cli.__all__ == ["main"]


def test_report_is_a_page_about_the_classes_in_units_of_the_table(table, capsys):
    assert discover("--report", "report.html", "-o", "labeled.csv") == 0
    assert "report.html: a page about the classes" in capsys.readouterr().out
    page = Path("report.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert all(name in page for name in ("income", "city", "novel_0", "novel_1", "007", "SemiSupervisedKMeans"))
    sizes = result("labeled.csv")["segment_discovered"].value_counts()
    for name, size in sizes.items():
        assert re.search(rf"class {name}: {size} rows", page)


def test_report_shows_text_of_the_table_as_text(table):
    hostile = "<script>alert(1)</script>"
    frame = table.rename(columns={"income": hostile})
    frame["city"] = frame["city"].replace("Oslo", hostile)
    frame["segment"] = frame["segment"].replace("007", hostile)
    frame.to_csv("customers.csv", index=False)
    assert discover("--report", "report.html") == 0
    page = Path("report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(1)") >= 3


def test_report_of_empty_cells(table):
    table.loc[::7, "income"] = ""
    table.loc[::5, "city"] = ""
    table.to_csv("customers.csv", index=False)
    assert discover("--report", "report.html") == 0
    assert "Missing numbers" in Path("report.html").read_text(encoding="utf-8")
