"""Every public object has a numpydoc docstring that names what it takes and gives."""

import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest
from numpydoc.validate import validate

import sklearn_sslcluster

# Rooms whose names are for the other rooms, not for users.
INTERNAL = {"base", "cli", "engine", "labels", "neural", "numerics"}

ERRORS = {
    "GL03",  # two blank lines in a row
    "GL06",  # unknown section
    "GL07",  # sections out of order
    "GL08",  # no docstring
    "SS01",  # no summary
    "SS03",  # summary without a period
    "PR01",  # parameter not documented
    "PR02",  # documented parameter that does not exist
    "PR03",  # parameters out of order
    "PR04",  # parameter without a type
    "PR06",  # type by another name (bool, not boolean)
    "PR07",  # parameter without a description
    "PR10",  # no space before the colon
    "RT01",  # no Returns section
    "RT03",  # return value without a description
    "YD01",  # no Yields section
}
# Functions and classes, not their methods, also show an example.
ERRORS_OF_EXPORTS = ERRORS | {"EX01"}


def public_modules():
    """Names of the public rooms and of the public modules inside them."""
    for info in pkgutil.iter_modules(sklearn_sslcluster.__path__):
        if info.name in INTERNAL or info.name.startswith("_"):
            continue
        room = f"{sklearn_sslcluster.__name__}.{info.name}"
        yield room
        inside = pkgutil.iter_modules(getattr(importlib.import_module(room), "__path__", ()))
        yield from (f"{room}.{module.name}" for module in inside if not module.name.startswith("_"))


def exports():
    """Dotted name and value of everything that is public, modules aside."""
    for module_name in public_modules():
        module = importlib.import_module(module_name)
        for name in module.__all__:
            value = getattr(module, name)
            if not inspect.ismodule(value):
                yield f"{module_name}.{name}", value


def exported_objects():
    return sorted(name for name, _ in exports())


def is_public(name):
    return not name.startswith("_")


def written_here(member):
    """Whether the package, not scikit-learn, holds the code of a method or property."""
    function = next((getattr(member, name) for name in ("fget", "__func__", "fn") if hasattr(member, name)), member)
    return getattr(inspect.unwrap(function), "__module__", "").startswith(sklearn_sslcluster.__name__)


def public_methods():
    """Dotted names of the public methods and properties of exported classes, without those of scikit-learn."""
    names = []
    for class_name, value in exports():
        if not inspect.isclass(value):
            continue
        for name in filter(is_public, dir(value)):
            member = inspect.getattr_static(value, name)
            if (callable(member) or hasattr(member, "__get__")) and written_here(member):
                names.append(f"{class_name}.{name}")
    return sorted(names)


def findings(name, codes):
    return [f"{code}: {text}" for code, text in validate(name)["errors"] if code in codes]


def test_public_objects_are_found():
    names = exported_objects()
    assert "sklearn_sslcluster.discovery.SemiSupervisedKMeans" in names
    assert "sklearn_sslcluster.metrics.clustering_accuracy" in names


def test_api_page_lists_every_export():
    page = set((Path(__file__).resolve().parents[1] / "docs" / "api.rst").read_text(encoding="utf-8").split())
    names = {name.removeprefix(f"{sklearn_sslcluster.__name__}.") for name in exported_objects()}
    assert names - page == set()


# A constant, a search space for example, cannot carry a docstring.
@pytest.mark.parametrize("name", sorted(name for name, value in exports() if callable(value)))
def test_docstring_of_export(name):
    assert findings(name, ERRORS_OF_EXPORTS) == []


@pytest.mark.parametrize("name", public_methods())
def test_docstring_of_method(name):
    assert findings(name, ERRORS) == []
