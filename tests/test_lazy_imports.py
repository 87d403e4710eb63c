"""Importing the package stays cheap: no heavy or optional library comes in before it is needed."""

import json
import subprocess
import sys

# Scikit-learn itself imports pandas (hence pyarrow) and rich where they are installed; the other libraries stay out.
WITH_SCIKIT_LEARN = ("pandas", "pyarrow", "rich")
HEAVY = ("torch", "skorch", "cvxpy", "dask", "distributed", "matplotlib", "polars", "skops")

# Imports each room and resolves all it exports; prints the rooms and the heavy libraries that came in with a name.
OPEN_EVERY_DOOR = f"""
import importlib, json, pkgutil, sys
import sklearn_sslcluster
found, seen = {{}}, []
for info in pkgutil.iter_modules(sklearn_sslcluster.__path__):
    if info.name == "neural":
        continue
    room = importlib.import_module("sklearn_sslcluster." + info.name)
    seen.append(info.name)
    for name in getattr(room, "__all__", ()):
        getattr(room, name)
        for library in set({HEAVY!r}) & set(sys.modules) - set(found):
            found[library] = info.name + "." + name
print(json.dumps({{"found": found, "seen": seen}}))
"""

HIDE_OPTIONAL_LIBRARIES = f"""
import sys
class Missing:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in {HEAVY + WITH_SCIKIT_LEARN!r}:
            raise ModuleNotFoundError("hidden: " + name, name=name)
sys.meta_path.insert(0, Missing)
"""


def run_fresh(program):
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_importing_every_room_imports_no_heavy_library():
    report = run_fresh(OPEN_EVERY_DOOR)
    assert report["found"] == {}
    assert {"datasets", "discovery", "metrics", "model_selection", "utils"} <= set(report["seen"])


def test_every_room_opens_where_no_heavy_or_optional_library_is_installed():
    assert run_fresh(HIDE_OPTIONAL_LIBRARIES + OPEN_EVERY_DOOR)["found"] == {}


def test_importing_the_package_does_not_import_scikit_learn():
    program = "import json, sys, sklearn_sslcluster; print(json.dumps('sklearn' in sys.modules))"
    assert run_fresh(program) is False
