"""Deep clustering: accuracy and CPU time beside shallow methods and ClustPy.

``OMP_NUM_THREADS=1 python -m benchmarks.deep`` takes the digits of scikit-learn; ``--data FOLDER`` adds pendigits and
optdigits. The number of classes is given except where a row says otherwise; all rows are clustered and scored, no label
is used. CPU time is that of KMeans(n_init=20) on the same rows times the number given.

ClustPy brings torchvision and the torch that belongs to it, so it has an environment of its own, and
``--clustpy PYTHON`` names the interpreter there; without it the rows of ClustPy are left out:

    python -m venv clustpy-venv
    clustpy-venv/bin/python -m pip install torch torchvision clustpy==0.0.3
    OMP_NUM_THREADS=1 python -m benchmarks.deep --clustpy clustpy-venv/bin/python

It has the layer sizes of ours, 64-256-128-10, in one more row those of its defaults, and its own default numbers of
epochs. Each fit is a process with one thread; imports are not counted. ``--cap`` ends a fit after so many CPU seconds.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.datasets import load_digits
from sklearn.manifold import TSNE
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.mixture import GaussianMixture

from benchmarks._data import add_data_option
from sklearn_sslcluster.deep import (
    DeepEmbeddedClustering,
    DeepKMeans,
    NeighborEmbeddingClustering,
    VariationalDeepEmbedding,
)
from sklearn_sslcluster.metrics import clustering_accuracy

K = 10
BASE = "KMeans(n_init=20)"
OURS = {
    "DeepEmbeddedClustering (IDEC)": (DeepEmbeddedClustering, {}),
    "DeepEmbeddedClustering (DEC)": (DeepEmbeddedClustering, {"objective": "dec"}),
    "DeepKMeans (DCN)": (DeepKMeans, {}),
    "VariationalDeepEmbedding (VaDE)": (VariationalDeepEmbedding, {}),
    "NeighborEmbeddingClustering": (NeighborEmbeddingClustering, {}),
}
HIDDEN = ("64", "256", "128", "10")  # the encoder of ours on tables of this size
Method = Callable[[np.ndarray, int], tuple[np.ndarray, float]]  # labels and CPU seconds


class CapReached(Exception):
    """A fit was ended."""


def timed(labels_of: Callable[[np.ndarray, int], np.ndarray]) -> Method:
    def run(X: np.ndarray, seed: int) -> tuple[np.ndarray, float]:
        start = time.process_time()
        labels = np.asarray(labels_of(X, seed))
        return labels, time.process_time() - start

    return run


def fitted(cls: Any, n_clusters: int | str, **settings: Any) -> Method:
    return timed(lambda X, seed: cls(n_clusters, random_state=seed, **settings).fit_predict(X))


def tsne_mixture(X: np.ndarray, seed: int) -> np.ndarray:
    embedding = TSNE(2, random_state=seed).fit_transform(X)
    return GaussianMixture(K, n_init=5, random_state=seed).fit_predict(embedding)


def clustpy(python: Path, method: str, cap: float, hidden: tuple[str, ...] = HIDDEN) -> Method:
    """A fit of ClustPy in the environment of `python`."""
    script = Path(__file__).with_name("_clustpy.py")
    settings = ["--clusters", str(K), "--cap", str(cap), "--hidden", *hidden]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}

    def run(X: np.ndarray, seed: int) -> tuple[np.ndarray, float]:
        with tempfile.TemporaryDirectory() as folder:
            np.savez(Path(folder) / "rows.npz", X=X)
            command = [str(python), str(script), method, folder, "--seed", str(seed), *settings]
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            if done.returncode == -signal.SIGXCPU:
                raise CapReached
            if done.returncode:
                raise RuntimeError(f"ClustPy's {method} failed:\n{done.stderr[-2000:]}")
            fit = np.load(Path(folder) / "fit.npz")
            return fit["labels"], float(fit["seconds"])

    return run


def methods(options: argparse.Namespace) -> dict[str, Method]:
    rows = {
        BASE: timed(lambda X, seed: KMeans(K, n_init=20, random_state=seed).fit_predict(X)),
        "Ward": timed(lambda X, seed: AgglomerativeClustering(K).fit_predict(X)),
        "GaussianMixture(reg_covar=0.01)": fitted(GaussianMixture, K, reg_covar=0.01),
        "t-SNE + GaussianMixture": timed(tsne_mixture),
    }
    rows |= {name: fitted(cls, K, **settings) for name, (cls, settings) in OURS.items()}
    for cls in (NeighborEmbeddingClustering, DeepEmbeddedClustering, DeepKMeans, VariationalDeepEmbedding):
        rows[f"{cls.__name__}, n_clusters='auto'"] = fitted(cls, "auto")
    if options.clustpy:
        for name in ("DEC", "IDEC", "DCN", "DDC"):
            number = ", finds the number" if name == "DDC" else ""
            rows[f"ClustPy {name}{number}"] = clustpy(options.clustpy, name, options.cap)
        rows["ClustPy with its default network, IDEC"] = clustpy(options.clustpy, "IDEC", options.cap, hidden=())
    if options.methods:
        wanted = (BASE, *options.methods)
        rows = {name: method for name, method in rows.items() if any(part in name for part in wanted)}
    return rows


def score(truth: np.ndarray, labels: np.ndarray) -> tuple[float, float, float]:
    """ACC, NMI and ARI."""
    return (
        clustering_accuracy(truth, labels),
        normalized_mutual_info_score(truth, labels),
        adjusted_rand_score(truth, labels),
    )


def print_table(title: str, X: np.ndarray, y: np.ndarray, seeds: int, options: argparse.Namespace) -> None:
    print(f"\n{title}, mean of {seeds} seeds (worst accuracy in brackets)")
    print("| method | ACC | NMI | ARI | number of clusters | CPU time over KMeans |")
    print("|---|---|---|---|---|---|")
    base = 0.0
    for name, method in methods(options).items():
        try:
            fits = [method(X, seed) for seed in range(options.first_seed, options.first_seed + seeds)]
        except CapReached:
            print(f"| {name} | - | - | - | - | over {options.cap:g} s |", flush=True)
            continue
        elapsed = float(np.median([seconds for _, seconds in fits]))
        base = base or elapsed
        scores = np.array([score(y, labels) for labels, _ in fits])
        accuracy, information, rand = scores.mean(axis=0)
        found = sorted(len(np.unique(labels)) for labels, _ in fits)
        numbers = " ".join(map(str, found if len(set(found)) > 1 else found[:1]))
        print(
            f"| {name} | {accuracy:.3f} ({scores[:, 0].min():.3f}) | {information:.3f} | {rand:.3f} | {numbers} | "
            f"{elapsed / base:.3g} |",
            flush=True,
        )


def print_held_out(X: np.ndarray, y: np.ndarray, seeds: int, options: argparse.Namespace) -> None:
    """Rows that were not trained on, and whether `labels_` and `predict` agree on those that were."""
    cut = len(X) * 2 // 3
    print(f"\ndigits, {cut} rows to train on, the others predicted: mean of {seeds} seeds; ACC and NMI by labels_ on")
    print("training rows and by predict on the others; share of training rows on which predict gives labels_")
    print("| method | ACC: training | others | NMI: training | others | predict is labels_ | CPU time over KMeans |")
    print("|---|---|---|---|---|---|---|")
    base = 0.0
    for name, (cls, settings) in {BASE: (KMeans, {"n_init": 20}), **OURS}.items():
        if options.methods and not any(part in name for part in (BASE, *options.methods)):
            continue
        scores, elapsed = [], []
        for seed in range(seeds):
            order = np.random.RandomState(seed).permutation(len(X))
            train, other = order[:cut], order[cut:]
            start = time.process_time()
            model = cls(K, random_state=seed, **settings).fit(X[train])
            elapsed.append(time.process_time() - start)
            inside, outside = score(y[train], model.labels_), score(y[other], model.predict(X[other]))
            agree = np.mean(model.predict(X[train]) == model.labels_)
            scores.append((inside[0], outside[0], inside[1], outside[1], agree))
        base = base or float(np.median(elapsed))
        row = " | ".join(f"{value:.3f}" for value in np.mean(scores, axis=0))
        print(f"| {name} | {row} | {np.median(elapsed) / base:.3g} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_option(parser, required=False)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--larger-seeds", type=int, default=2, help="seeds on pendigits and optdigits")
    parser.add_argument("--first-seed", type=int, default=0, help="to go on where another run has ended")
    parser.add_argument("--methods", nargs="*", default=None, help="parts of names, for a quick look")
    parser.add_argument("--tables", nargs="*", default=["digits", "held-out", "larger"])
    parser.add_argument("--clustpy", type=Path, default=None, help="interpreter of an environment with ClustPy")
    parser.add_argument("--cap", type=float, default=600, help="CPU seconds after which a fit of ClustPy is ended")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    X, y = load_digits(return_X_y=True)
    if "digits" in options.tables:
        print_table("digits (1797 x 64)", X / 16, y, options.seeds, options)
    if "held-out" in options.tables:
        print_held_out(X / 16, y, options.seeds, options)
    if options.data and "larger" in options.tables:
        for name in ("pendigits", "optdigits"):
            stored = np.load(options.data / "ncd" / f"{name}.npz")
            rows, truth = stored["X"].astype(np.float64), stored["y"]
            title = f"{name} ({rows.shape[0]} x {rows.shape[1]})"
            print_table(title, rows / rows.max(), truth, options.larger_seeds, options)


if __name__ == "__main__":
    main()
