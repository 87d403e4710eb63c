"""The README says what is true: its example runs, its commands are those that are tested, no estimator is missing."""

import re
from pathlib import Path

import pytest

import sklearn_sslcluster.discovery
import sklearn_sslcluster.model_selection

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


def test_example_runs_as_printed():
    (example,) = blocks("python")
    names = {}
    exec(compile(example, "README.md", "exec"), names)
    known, novel = set(names["model"][-1].classes_), set(names["model"][-1].novel_classes_)
    assert novel
    assert novel < known
    assert set(names["predicted"]) <= known


def test_example_is_about_ten_lines():
    (example,) = blocks("python")
    assert len([line for line in example.splitlines() if line.strip()]) <= 12


@pytest.mark.parametrize("path", [".ci/run"])
def test_commands_are_those_of_the_checks(path):
    commands = [line for block in blocks("bash") for line in block.splitlines() if line.strip()]
    steps = (ROOT / path).read_text(encoding="utf-8").splitlines()
    assert len(commands) == 2
    assert [command for command in commands if f"step '{command}'" not in steps] == []


@pytest.mark.parametrize("room", [sklearn_sslcluster.discovery, sklearn_sslcluster.model_selection])
def test_table_names_everything_in(room):
    rows = [line for line in README.splitlines() if line.startswith("|")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert set(room.__all__) - named == set()
