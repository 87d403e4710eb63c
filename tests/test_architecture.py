"""The house plan: floors, rooms, and which room may import which library."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "sklearn_sslcluster"
FILES = sorted(PACKAGE.rglob("*.py"))

# Library: the places that may import it.
CONFINED = {
    "torch": ("neural/", "engine/device.py"),
    "skorch": ("neural/",),
    "cvxpy": ("sdp/",),
}
NEVER_AT_MODULE_LEVEL = ("cvxpy", "dask", "distributed", "matplotlib", "pandas", "polars", "pyarrow", "rich", "skops")


def imported_libraries(nodes):
    """Top-level names of the libraries that the import statements among `nodes` bring in."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.partition(".")[0]


def runs_at_import(tree):
    """Nodes that run when a module is imported: all but the bodies of functions and of ``if TYPE_CHECKING``."""
    pending = list(tree.body)
    while pending:
        node = pending.pop()
        yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            pending.extend(node.orelse)
            continue
        pending.extend(ast.iter_child_nodes(node))


def rooms_entered_by_a_side_door(path):
    """Absolute names of modules inside another room that `path` imports, past that room's ``__init__``."""
    here = path.relative_to(ROOT).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom):
            continue
        parts = (node.module or "").split(".") if node.module else []
        target = [*here[: -node.level], *parts] if node.level else parts
        if len(target) > 2 and target[0] == PACKAGE.name and target[1] != here[1]:
            yield ".".join(target)


def test_import_contracts_are_kept():
    command = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    done = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("library", CONFINED)
def test_confined_library_is_imported_only_where_allowed(library):
    outside = [
        path.relative_to(PACKAGE).as_posix()
        for path in FILES
        if library in imported_libraries(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        and not path.relative_to(PACKAGE).as_posix().startswith(CONFINED[library])
    ]
    assert outside == []


def test_heavy_and_optional_libraries_are_imported_inside_functions():
    found = {
        (path.relative_to(PACKAGE).as_posix(), library)
        for path in FILES
        for library in imported_libraries(runs_at_import(ast.parse(path.read_text(encoding="utf-8"))))
        if library in NEVER_AT_MODULE_LEVEL
    }
    assert found == set()


def test_rooms_are_entered_by_their_front_door():
    found = {path.relative_to(PACKAGE).as_posix(): list(rooms_entered_by_a_side_door(path)) for path in FILES}
    assert {name: doors for name, doors in found.items() if doors} == {}


def test_every_room_exports_sorted_names():
    for path in PACKAGE.rglob("__init__.py"):
        if path.parent == PACKAGE:
            continue
        room = path.parent.relative_to(ROOT).as_posix().replace("/", ".")
        exported = __import__(room, fromlist=["__all__"]).__all__
        assert list(exported) == sorted(exported), room


def test_page_names_every_room_and_every_module_that_rooms_share():
    page = (ROOT / "docs" / "developers" / "architecture.rst").read_text(encoding="utf-8")
    rooms = [path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()]
    shared = [path for room in ("engine", "neural", "numerics") for path in (PACKAGE / room).glob("[a-z]*.py")]
    names = {room for room in rooms if not room.startswith("_")} | {
        f"{path.parent.name}.{path.stem}" for path in shared
    }
    assert [name for name in sorted(names) if f"``{name}``" not in page] == []
