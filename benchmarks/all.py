"""Every table of README and documentation, one command after the other.

``python -m benchmarks.all --data FOLDER [--keel FOLDER] [--clustpy PYTHON]`` runs all modules below, after a line with
the date and the versions. ``--list`` shows the commands and runs none, ``--only`` takes names of modules. All of it
takes days on two cores; ``benchmarks/RESULTS.md`` says which tables were printed with fewer seeds.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("scikit-learn", "numpy", "scipy", "torch", "cvxpy", "dask", "faiss-cpu", "pomegranate")
# Options that a module has beside its own defaults: "data", "keel" and "clustpy" are passed on where they are given.
MODULES: dict[str, tuple[str, ...]] = {
    "defaults": ("data",),
    "discovery": ("data",),
    "autopilot": ("data", "keel"),
    "mixture": ("data",),
    "sdp": ("data",),
    "_sdp_likelihood": (),
    "deep": ("data", "clustpy"),
    "manifold": (),
    "representation": ("data", "keel"),
    "label_augmentation": (),
    "quantization": (),
    "speed discovery": (),
    "speed mixture": (),
    "scaling": (),
    "dask_arrays": (),
    "deep_large": (),
}


def command(module: str, options: argparse.Namespace) -> list[str]:
    given = [name for name in MODULES[module] if getattr(options, name) is not None]
    passed = [part for name in given for part in (f"--{name}", str(getattr(options, name)))]
    name, *arguments = module.split()
    return [sys.executable, "-m", f"benchmarks.{name}", *arguments, *passed]


def versions() -> str:
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return f"Python {platform.python_version()}, " + ", ".join(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=None, help="folder that holds ncd/pendigits.npz and the others")
    parser.add_argument("--keel", type=Path, default=None, help="folder that holds NAME.dat of KEEL")
    parser.add_argument("--clustpy", type=Path, default=None, help="interpreter of an environment with ClustPy")
    parser.add_argument("--only", nargs="*", default=list(MODULES), choices=list(MODULES))
    parser.add_argument("--list", action="store_true", help="print the commands, and run nothing")
    options = parser.parse_args()
    failed = []
    print(f"{datetime.date.today()}, {versions()}, {os.cpu_count()} cores")
    for module in options.only:
        line = command(module, options)
        print(f"\n$ python {shlex.join(line[1:])}", flush=True)
        if not options.list and subprocess.run(line, check=False).returncode:
            failed.append(module)
    if failed:
        raise SystemExit(f"These ended with an error: {', '.join(failed)}.")


if __name__ == "__main__":
    main()
