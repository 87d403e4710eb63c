"""A release is what its files say: one version, floors that are tested, citation and changelog that fit."""

import re
import tomllib
from pathlib import Path

import pytest

from sklearn_sslcluster import __version__

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def pins(path):
    lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {name.lower().replace("_", "-"): version for name, version in pairs}


def floors():
    """Lowest version of each package that running and testing need."""
    extras = PROJECT["optional-dependencies"]
    groups = [PROJECT["dependencies"], *(extras[name] for name in ("cli", "distributed", "plot", "test"))]
    pattern = r"([\w-]+)(?:\[[\w,]+\])?>=([\d.]+)"
    wanted = (re.fullmatch(pattern, requirement) for group in groups for requirement in group)
    return {match[1].lower().replace("_", "-"): match[2] for match in wanted if match}


def number(version):
    parts = [int(part) for part in re.findall(r"\d+", version)]
    return parts + [0] * (4 - len(parts))


def test_oldest_versions_that_are_tested_are_the_floors():
    oldest = pins("constraints-minimum.txt")
    assert {name: number(version) for name, version in oldest.items()} == {
        name: number(version) for name, version in floors().items()
    }


def test_versions_that_are_tested_are_not_below_the_floors():
    newest = pins("constraints.txt")
    assert [name for name, floor in floors().items() if number(newest[name]) < number(floor)] == []


def test_changelog_knows_the_version():
    headings = re.findall(r"^## \[(.+?)\](.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == ("Unreleased", "")
    for version, date in headings[1:]:
        assert re.fullmatch(r"\d+\.\d+\.\d+", version)
        assert re.fullmatch(r" - \d{4}-\d\d-\d\d", date)
    if "dev" not in __version__:
        assert headings[1][0] == __version__


def test_version_is_semantic():
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+)?", __version__)


def test_citation_names_the_project_and_its_license():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    citation = dict(re.findall(r"^([\w-]+): *(.*)$", text, re.MULTILINE))
    assert citation["cff-version"] == "1.2.0"
    assert citation["title"].startswith(f'"{PROJECT["name"]}:')
    assert citation["license"] == PROJECT["license"]
    assert citation["url"] in PROJECT["urls"].values()
    assert re.findall(r"^  - name: (.*)$", text, re.MULTILINE) == [author["name"] for author in PROJECT["authors"]]
    assert {"message", "abstract", "keywords", "type"} <= citation.keys()


@pytest.mark.parametrize("script", ["run", "release", "minimum"])
def test_scripts_stop_at_the_first_failure(script):
    text = (ROOT / ".ci" / script).read_text(encoding="utf-8")
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "\nset -euo pipefail\n" in text


def test_tests_that_the_script_of_floors_names_exist():
    text = (ROOT / ".ci" / "minimum").read_text(encoding="utf-8")
    groups = re.findall(r"tests/test_\{(.+?)\}\.py", text)
    names = [name for group in groups for name in group.split(",")]
    assert len(names) > 15
    assert [name for name in names if not (ROOT / "tests" / f"test_{name}.py").is_file()] == []
