"""One fit of ClustPy, run by benchmarks.deep in the environment of ClustPy; needs nothing else but numpy.

``python _clustpy.py METHOD FOLDER`` reads FOLDER/rows.npz, and writes labels and CPU seconds of the fit to
FOLDER/fit.npz. The seconds leave out the imports and a small fit before. A fit of more CPU seconds than ``--cap`` ends
the process with SIGXCPU.
"""

from __future__ import annotations

import argparse
import math
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from clustpy import deep
from clustpy.deep.neural_networks import FeedforwardAutoencoder


def build(method: str, n_clusters: int, layers: list[int] | None, **settings: Any) -> Any:
    """An estimator of ClustPy; without `layers` it has the network of its defaults."""
    if layers is not None:
        settings["neural_network"] = (FeedforwardAutoencoder, {"layers": layers})
    if method != "DDC":  # which finds the number of clusters
        settings["n_clusters"] = n_clusters
    return getattr(deep, method)(device="cpu", **settings)


def cap_seconds(cap: float) -> None:
    """Let the system end this process after `cap` more CPU seconds."""
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time() + cap), hard))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("method")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clusters", type=int, required=True)
    parser.add_argument("--hidden", type=int, nargs="*", help="sizes after the columns; default: those of ClustPy")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--cap", type=float, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    X = np.load(options.folder / "rows.npz")["X"].astype(np.float32)
    layers = [X.shape[1], *options.hidden] if options.hidden else None
    short = {"pretrain_epochs": 1} | ({} if options.method == "DDC" else {"clustering_epochs": 1})
    build(options.method, 2, layers, random_state=0, **short).fit(X[:256])
    model = build(options.method, options.clusters, layers, random_state=options.seed)
    cap_seconds(options.cap)
    start = time.process_time()
    model.fit(X)
    seconds = time.process_time() - start
    np.savez(options.folder / "fit.npz", labels=model.labels_, seconds=seconds)


if __name__ == "__main__":
    main()
