"""The user guide says what is true: its snippets print what it says, and its lists are complete."""

import doctest
import warnings
from pathlib import Path

import pytest

from sklearn_sslcluster.utils.estimator_checks import partial_label_checks

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = [
    *sorted((DOCS / "user_guide").glob("*.rst")),
    DOCS / "developers" / "architecture.rst",
    DOCS / "developers" / "estimator_checks.rst",
]
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_snippets_print_what_the_page_says(page):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        failed, tried = doctest.testfile(str(page), module_relative=False, optionflags=OPTIONS, encoding="utf-8")
    assert failed == 0
    assert tried > 0


def test_page_on_checks_names_every_check():
    page = (DOCS / "developers" / "estimator_checks.rst").read_text(encoding="utf-8")
    assert [check.__name__ for check in partial_label_checks() if f"``{check.__name__}``" not in page] == []
