"""The worked example for developers is code that works: it runs, prints what the page says, and passes the checks."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rst_tools import code_blocks, run_page

PAGE = Path(__file__).resolve().parents[1] / "docs" / "developers" / "add_a_method.rst"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the files of the page, on the path."""
    for caption, code in code_blocks(PAGE.read_text(encoding="utf-8"), "python"):
        (tmp_path / caption.split()[0]).write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("medians", "semi_supervised_kmedians"):
        sys.modules.pop(name, None)


def test_example_prints_what_the_page_says(folder):
    failed, tried = run_page(PAGE)
    assert failed == 0
    assert tried > 10


def test_example_passes_all_checks(folder):
    """By the test file of the page itself, in a process of its own, as a user would run it."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", folder]
    root = str(PAGE.parents[2])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), root, os.environ.get("PYTHONPATH", "")])}
    run = subprocess.run(
        [*command, folder / "test_semi_supervised_kmedians.py"], env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-1000:]
    assert int(re.search(r"(\d+) passed", run.stdout)[1]) > 70
