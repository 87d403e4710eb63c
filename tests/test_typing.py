"""Type checkers and editors see what the rooms export: their stubs say the same as their lazy imports."""

import ast
import importlib
import pkgutil
from pathlib import Path

import pytest

import sklearn_sslcluster

PACKAGE = Path(sklearn_sslcluster.__file__).parent
# Internal rooms, whose names are seen by other rooms only.
WITHOUT_STUB = {"cli", "engine", "neural", "numerics"}
ROOMS = sorted({info.name for info in pkgutil.iter_modules([str(PACKAGE)]) if info.ispkg} - WITHOUT_STUB)


def imported(path):
    """Module that each name of a stub comes from, and the names in its __all__."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    sources = {a.asname or a.name: n.module for n in tree.body if isinstance(n, ast.ImportFrom) for a in n.names}
    (names,) = [n.value for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == "__all__"]
    return sources, ast.literal_eval(names)


@pytest.mark.parametrize("room", ROOMS)
def test_stub_names_what_the_room_exports(room):
    module = importlib.import_module(f"sklearn_sslcluster.{room}")
    sources, names = imported(PACKAGE / room / "__init__.pyi")
    assert sorted(names) == sorted(module.__all__)
    assert sorted(sources) == sorted(names)
    for name, source in sources.items():
        if source is not None:
            assert getattr(importlib.import_module(f"{module.__name__}.{source}"), name) is getattr(module, name)


def test_stub_of_the_package():
    sources, names = imported(PACKAGE / "__init__.pyi")
    assert set(names) == set(sources) == set(sklearn_sslcluster.__all__)


def test_package_opens_every_public_room():
    assert set(sklearn_sslcluster.__all__) == set(ROOMS) - {"base"}
    for room in sklearn_sslcluster.__all__:
        assert f"``{room}" in sklearn_sslcluster.__doc__
        assert getattr(sklearn_sslcluster, room).__name__ == f"sklearn_sslcluster.{room}"


def test_package_says_that_it_is_typed():
    assert (PACKAGE / "py.typed").is_file()
