"""The command refuses what it cannot do in one line, and leaves nothing half done."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skops.io

from sklearn_sslcluster.cli import main
from sklearn_sslcluster.discovery import SemiSupervisedKMeans
from tests.cli_tools import error_of


@pytest.fixture
def table(folder):
    """A table of two known classes and two others, as customers.csv."""
    rows = np.arange(120)
    frame = pd.DataFrame(
        {
            "key": [f"k{i}" for i in rows],
            "income": [str(100 * (i % 4) + i / 50) for i in rows],
            "city": np.array(["Paris", "Rome", "Oslo", "Bonn"])[rows % 4],
            "segment": np.array(["NA", "007", "", ""])[rows % 4],
        }
    )
    frame.to_csv("customers.csv", index=False)
    return frame


def discover(*args):
    quick = ["--method", "semi-supervised-kmeans"]
    return main(["discover", "customers.csv", "--label", "segment", "--n-clusters", "4", *quick, *args])


def refused(capsys, *args):
    assert main(["discover", *args]) == 2
    return error_of(capsys)


def test_unknown_column_gives_the_nearest_names(table, capsys):
    assert "no column 'Segmnt'; the nearest: 'segment'" in refused(capsys, "customers.csv", "--label", "Segmnt")


def test_unknown_column_unlike_any_gives_the_columns(table, capsys):
    message = refused(capsys, "customers.csv", "--label", "zzz")
    assert "its columns: 'key', 'income', 'city', 'segment'" in message


def test_unknown_id_column(table, capsys):
    assert "no column 'kei'" in refused(capsys, "customers.csv", "--label", "segment", "--id", "kei")


@pytest.mark.parametrize("name", ["segment_discovered", "is_novel"])
def test_column_name_in_use_offers_a_prefix(table, capsys, name):
    table.assign(**{name: "mine"}).to_csv("customers.csv", index=False)
    assert "--output-prefix" in refused(capsys, "customers.csv", "--label", "segment", "-o", "out.csv")
    assert discover("-o", "out.csv", "--output-prefix", "new_") == 0
    written = pd.read_csv("out.csv")
    assert {"new_segment_discovered", "new_is_novel", name} <= set(written.columns)
    assert set(written[name]) == {"mine"}


def test_no_unlabeled_rows(table, capsys):
    table.assign(segment="a").to_csv("customers.csv", index=False)
    message = refused(capsys, "customers.csv", "--label", "segment")
    assert "every row of 'segment' has a label" in message
    assert "--unlabeled VALUE" in message


@pytest.mark.parametrize("value", ["inf", "-Infinity", "1e999"])
def test_infinite_number_names_the_column_and_row(table, capsys, value):
    table.loc[3, "income"] = value
    table.to_csv("customers.csv", index=False)
    message = refused(capsys, "customers.csv", "--label", "segment")
    assert "column 'income' holds an infinite number in row 4" in message


@pytest.mark.parametrize("scale", ["standard", "none"])
@pytest.mark.parametrize("sign", ["", "-"])
def test_number_whose_square_overflows_names_the_column_and_row(table, capsys, scale, sign):
    table.loc[3:, "income"] = [f"{sign}1e308", "1e308", "0"] * 39
    table.to_csv("customers.csv", index=False)
    message = refused(capsys, "customers.csv", "--label", "segment", "--scale", scale)
    assert f"column 'income' holds a number too large to compare rows by, {sign}1e+308, in row 4" in message


def test_text_that_reads_as_a_huge_number_is_no_error_among_text(table, capsys):
    table["hash"] = np.array(["1e999", "2e200", "ab", "cd"])[np.arange(120) % 4]
    table.to_csv("customers.csv", index=False)
    assert discover() == 0


def test_no_column_to_compare_by(folder, capsys):
    Path("t.csv").write_text("id,same,segment\na,1,x\nb,1,\n")
    message = refused(capsys, "t.csv", "--label", "segment")
    assert "no column left to compare rows by" in message
    assert "one value only: 'same'" in message


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("missing.csv", None, "there is no file missing.csv"),
        ("t.csv", "", "cannot be read"),
        ("t.csv", "x,segment\n", "has no rows"),
        ("t.csv", "\n \n", "cannot be read"),
        ("t.csv", "x,segment\n1,2,3\n", "line 2 of t.csv has 3 cells, and its header has 2"),
        ("t.csv", "x,y,segment\n1,2,a\n1.1,2.1\n", "line 3 of t.csv has 2 cells, and its header has 3"),
        ("t.csv", 'x,y,segment\n1,"2\n\n3",a\n\n4\n', "line 6 of t.csv has 1 cells"),
        ("t.tsv", "x\ty\tsegment\n1\t2\n", "line 2 of t.tsv has 2 cells"),
        ("t.csv", "x\n1,a\n", "line 2 of t.csv has 2 cells, and its header has 1"),
        ("t.csv", 'x,segment\n1,a\n2,"b\n3,c\n', "t.csv cannot be read: line 3: unexpected end of data"),
        ("t.csv", "x,x,segment\n1,2,3\n", "two columns named 'x'"),
        ("t.csv", b"x,segment\n\xff,a\n", "cannot be read"),
        ("t.parquet", "not parquet", "cannot be read"),
        ("t.csv", b"\xff\xfex\x00,\x00", "it is no text in UTF-8"),
        ("t.csv", "x;y;segment\n1;2,5;a\n", "the columns of t.csv are set apart by semicolons"),
        ("t.csv", "x;y;segment\n1;2;a\n", "save it with commas (.csv) or tabs (.tsv)"),
        ("t.csv", "x\ty\tsegment\n1\t2\ta\n", "set apart by tabs"),
        ("t.tsv", "x,y,segment\n1,2,a\n", "set apart by commas"),
        ("t.xlsx", "x", "a name that ends in .csv, .tsv, .parquet, .pq"),
    ],
)
def test_unreadable_table(folder, capsys, name, text, expected):
    if text is not None:
        Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
    assert expected in refused(capsys, name, "--label", "segment")


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["-o", "customers.csv"], "customers.csv is already a file of this command"),
        (["-o", "out.csv", "--model", "out.csv"], "out.csv is already a file of this command"),
        (["--model", "customers.csv"], "customers.csv is already a file of this command"),
        (["-o", "nowhere/out.csv"], "there is no folder nowhere"),
        (["-o", "folder.csv"], "folder.csv is not a file"),
        (["-o", "out.xlsx"], "a name that ends in"),
        (["--n-clusters", "121"], "--n-clusters 121 is more than the 120 rows"),
    ],
)
def test_request_that_cannot_be_met_is_refused_before_the_fit(table, capsys, monkeypatch, args, expected):
    monkeypatch.setattr(SemiSupervisedKMeans, "fit", None)
    Path("folder.csv").mkdir()
    assert expected in refused(capsys, "customers.csv", "--label", "segment", *args)


@pytest.mark.parametrize(
    "args", [["customers.csv"], [], ["--label", "segment"], ["customers.csv", "--demo"], ["--demo", "--label", "x"]]
)
def test_table_and_label_or_demo(table, capsys, args):
    assert "--demo" in refused(capsys, *args)


@pytest.mark.parametrize("args", [["--n-clusters", "0"], ["--n-clusters", "many"], ["--seed", "-1"], ["--method", "x"]])
def test_bad_option_is_one_line(table, capsys, args):
    with pytest.raises(SystemExit) as stopped:
        discover(*args)
    assert stopped.value.code == 2
    assert args[0] in error_of(capsys)


@pytest.mark.parametrize("package", ["pandas", "skops", "pyarrow"])
def test_missing_package_says_how_to_get_it(table, capsys, monkeypatch, package):
    table.to_parquet("t.parquet")
    for module in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, package, None)
    message = refused(capsys, "t.parquet", "--label", "segment", "--model", "m.skops")
    assert f'this needs {package}, which comes with: pip install "sklearn-sslcluster[cli]"' in message


# Interrupts and failures


def stop(*args, **kwargs):
    raise KeyboardInterrupt


@pytest.mark.parametrize("where", [(SemiSupervisedKMeans, "fit"), (pd.DataFrame, "to_csv"), (skops.io, "dump")])
def test_interrupt_leaves_nothing_behind(table, capsys, monkeypatch, where):
    monkeypatch.setattr(*where, stop)
    assert discover("-o", "labeled.csv", "--model", "m.skops") == 130
    assert error_of(capsys) == "sslcluster: interrupted\n"
    assert [path.name for path in Path().iterdir()] == ["customers.csv"]


def test_failed_writing_keeps_the_old_file_and_leaves_no_temporary_one(table, capsys, monkeypatch):
    Path("labeled.csv").write_text("old")

    def fill_the_disk(frame, target, **options):
        Path(target).write_text("half")
        raise OSError(28, "No space left on device", target)

    monkeypatch.setattr(pd.DataFrame, "to_csv", fill_the_disk)
    assert discover("-o", "labeled.csv") == 2
    assert "No space left on device" in error_of(capsys)
    assert Path("labeled.csv").read_text() == "old"
    assert sorted(path.name for path in Path().iterdir()) == ["customers.csv", "labeled.csv"]


def test_error_of_an_estimator_is_one_line(table, capsys, monkeypatch):
    def fail(self, X, y=None):
        raise ValueError("Input X is\nbad.")

    monkeypatch.setattr(SemiSupervisedKMeans, "fit", fail)
    assert discover() == 2
    assert error_of(capsys) == "sslcluster: error: Input X is bad.\n"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("none/report.html", "there is no folder none to write report.html to"),
        ("report.txt", "report.txt should be a page, with a name that ends in .html"),
        ("customers.csv", "customers.csv is already a file of this command"),
    ],
)
def test_report_that_cannot_be_written_is_refused_before_the_fit(table, capsys, path, message):
    before = Path("customers.csv").read_bytes()
    assert discover("--report", path) == 2
    assert message in error_of(capsys)
    assert Path("customers.csv").read_bytes() == before


def test_failure_while_the_report_is_written_leaves_no_file(table, capsys, monkeypatch):
    def fail(report, path):
        Path(path).write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr("sklearn_sslcluster.inspection.ClusterReport.to_html", fail)
    assert discover("--report", "report.html", "-o", "labeled.csv") == 2
    assert "disk full" in error_of(capsys)
    assert [path.name for path in Path().iterdir()] == ["customers.csv"]
