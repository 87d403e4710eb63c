"""The command reads cells and rows of text files as they stand, and says what it does not read as numbers or rows."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sklearn_sslcluster.cli import main


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


COMMAS = ["{},5", "{},234", "-{}.000,50", "{} 000,5", "{},000.75", "{}'000,5", "{},5e3"]
SIGNS = ["${}", "{} \u20ac", "\u00a3{},234.50", "-{}%", "{},5 \u20ac"]


@pytest.mark.parametrize(
    ("number", "what", "way_out"),
    [(number, "a comma", "with a decimal point") for number in COMMAS]
    + [(number, "a sign", "write them without") for number in SIGNS],
)
def test_numbers_written_for_people_are_named_with_the_way_out(table, capsys, number, what, way_out):
    table["size"] = [number.format(1 + i % 7) for i in range(120)]
    table.loc[:1, "size"] = "", "8"
    table.to_csv("customers.csv", index=False)
    assert discover() == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert f"column 'size' holds numbers with {what}, such as '{number.format(3)}' in row 3 (118 of 120 cells)" in line
    assert way_out in line


@pytest.mark.parametrize("text", ["$a{}", "{}$$", "a,{}", "{},5,", "10.0.0.{}", "{},a", "v{}", "{}, 5"])
def test_other_text_with_commas_and_points_is_not_taken_for_numbers(table, capsys, text):
    table["size"] = [text.format(i % 7) for i in range(120)]
    table.to_csv("customers.csv", index=False)
    assert discover() == 0
    assert capsys.readouterr().err == ""


def test_a_few_commas_among_numbers_are_named(table, capsys):
    table["size"] = [str(i % 7) for i in range(120)]
    table.loc[[41, 50], "size"] = "1,234"
    table.to_csv("customers.csv", index=False)
    assert discover() == 0
    assert "numbers with a comma, such as '1,234' in row 42 (2 of 120 cells)" in capsys.readouterr().err


def test_a_few_commas_among_text_are_text(table, capsys):
    table["size"] = [["small", "large", "1,5"][i % 3] for i in range(120)]
    table.to_csv("customers.csv", index=False)
    assert discover() == 0
    assert capsys.readouterr().err == ""


def test_blank_lines_between_rows_are_counted(table, capsys):
    header, *lines = Path("customers.csv").read_text().splitlines()
    discover("-o", "without.csv")
    capsys.readouterr()
    Path("customers.csv").write_text("\n".join(["", header, "", *lines[:5], "", "  ", *lines[5:], "", ""]))
    discover("-o", "with.csv")
    err = capsys.readouterr().err
    assert err == "note: blank lines between the rows of customers.csv, which are not read as rows: 3\n"
    assert Path("with.csv").read_bytes() == Path("without.csv").read_bytes()


def test_blank_lines_at_the_end_are_not_worth_a_note(table, capsys):
    with open("customers.csv", "a") as file:
        file.write("\n\n")
    assert discover() == 0
    assert capsys.readouterr().err == ""


def test_rows_of_separators_and_cells_of_any_length_are_kept(table):
    lines = Path("customers.csv").read_text().splitlines()
    Path("customers.csv").write_text("\n".join([*lines, ",,,", f"{'k' * 200_000},  9,Rome,"]))
    discover("-o", "labeled.csv")
    written = pd.read_csv("labeled.csv", dtype=str, keep_default_na=False)
    assert written.iloc[-2:, :4].to_numpy().tolist() == [["", "", "", ""], ["k" * 200_000, "  9", "Rome", ""]]
    assert csv.field_size_limit() == 131_072
