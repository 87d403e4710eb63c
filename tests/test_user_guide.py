"""The documentation says what is true: its snippets print what it says, and its lists are complete."""

from pathlib import Path

import pytest

from sklearn_sslcluster.utils import all_estimators
from sklearn_sslcluster.utils.estimator_checks import partial_label_checks
from tests.rst_tools import run_page

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = [
    *sorted((DOCS / "user_guide").glob("*.rst")),
    *sorted(path for path in (DOCS / "tutorials").glob("*.rst") if path.stem != "index"),
    DOCS / "index.rst",
    DOCS / "coming_from.rst",
    DOCS / "developers" / "architecture.rst",
    DOCS / "developers" / "estimator_checks.rst",
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_snippets_print_what_the_page_says(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    failed, tried = run_page(page)
    assert failed == 0
    assert tried > 0


def test_page_on_checks_names_every_check():
    page = (DOCS / "developers" / "estimator_checks.rst").read_text(encoding="utf-8")
    assert [check.__name__ for check in partial_label_checks() if f"``{check.__name__}``" not in page] == []


@pytest.mark.parametrize("name", [name for name, _ in all_estimators()])
def test_page_on_choosing_leads_to_every_estimator(name):
    page = (DOCS / "user_guide" / "choose.rst").read_text(encoding="utf-8")
    assert f".{name}`" in page


def test_tutorials_are_listed():
    index = (DOCS / "tutorials" / "index.rst").read_text(encoding="utf-8")
    names = {path.stem for path in (DOCS / "tutorials").glob("*.rst")} - {"index"}
    assert [name for name in names if f":doc:`{name}`" not in index or f"\n   {name}\n" not in index] == []
