"""Deep clustering: accuracy and CPU time beside shallow methods and ClustPy.

``python -m benchmarks.deep`` takes the digits of scikit-learn; ``--data FOLDER`` adds pendigits and optdigits. The
number of classes is given except where a row says otherwise; all rows are clustered and scored, no label is used. CPU
time is that of KMeans(n_init=20) times the number given. ClustPy (if it is installed) has the network of ours,
64-256-128-10, and their own default numbers of epochs.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
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
Labels = Callable[[np.ndarray, int], np.ndarray]


def fitted(build: Callable[[int], Any]) -> Labels:
    return lambda X, seed: build(seed).fit_predict(X)


def tsne_mixture(X: np.ndarray, seed: int) -> np.ndarray:
    embedding = TSNE(2, random_state=seed).fit_transform(X)
    return GaussianMixture(K, n_init=5, random_state=seed).fit_predict(embedding)


def clustpy(name: str) -> Labels:
    def labels(X: np.ndarray, seed: int) -> np.ndarray:
        from clustpy import deep
        from clustpy.deep.neural_networks import FeedforwardAutoencoder

        network = (FeedforwardAutoencoder, {"layers": [X.shape[1], 64, 256, 128, 10]})
        return getattr(deep, name)(K, neural_network=network, random_state=seed).fit(X.astype(np.float32)).labels_

    return labels


def methods() -> dict[str, Labels]:
    rows = {
        "KMeans(n_init=20)": fitted(lambda seed: KMeans(K, n_init=20, random_state=seed)),
        "Ward": fitted(lambda seed: AgglomerativeClustering(K)),
        "GaussianMixture(reg_covar=0.01)": fitted(lambda seed: GaussianMixture(K, reg_covar=0.01, random_state=seed)),
        "t-SNE + GaussianMixture": tsne_mixture,
        "DeepEmbeddedClustering (IDEC)": fitted(lambda seed: DeepEmbeddedClustering(K, random_state=seed)),
        "DeepEmbeddedClustering (DEC)": fitted(
            lambda seed: DeepEmbeddedClustering(K, objective="dec", random_state=seed)
        ),
        "DeepKMeans (DCN)": fitted(lambda seed: DeepKMeans(K, random_state=seed)),
        "VariationalDeepEmbedding (VaDE)": fitted(lambda seed: VariationalDeepEmbedding(K, random_state=seed)),
        "NeighborEmbeddingClustering": fitted(lambda seed: NeighborEmbeddingClustering(K, random_state=seed)),
        "NeighborEmbeddingClustering, n_clusters='auto'": fitted(
            lambda seed: NeighborEmbeddingClustering("auto", random_state=seed)
        ),
        "DeepEmbeddedClustering, n_clusters='auto'": fitted(
            lambda seed: DeepEmbeddedClustering("auto", random_state=seed)
        ),
    }
    if find_spec("clustpy") is not None:
        rows |= {f"ClustPy {name}": clustpy(name) for name in ("DEC", "IDEC", "DCN")}
    return rows


def print_table(title: str, X: np.ndarray, y: np.ndarray, seeds: int, names: list[str] | None) -> None:
    print(f"\n{title}, mean of {seeds} seeds (worst accuracy in brackets)")
    print("| method | ACC | NMI | ARI | number of clusters | CPU time over KMeans |")
    print("|---|---|---|---|---|---|")
    base = 0.0
    for name, labels_of in methods().items():
        if names and not any(part in name for part in (*names, "KMeans(n_init=20)")):
            continue
        scores, found, elapsed = [], [], []
        for seed in range(seeds):
            start = time.process_time()
            labels = np.asarray(labels_of(X, seed))
            elapsed.append(time.process_time() - start)
            found.append(len(np.unique(labels)))
            scores.append(
                (
                    clustering_accuracy(y, labels),
                    normalized_mutual_info_score(y, labels),
                    adjusted_rand_score(y, labels),
                )
            )
        base = base or float(np.median(elapsed))
        accuracy, information, rand = np.mean(scores, axis=0)
        print(
            f"| {name} | {accuracy:.3f} ({min(score[0] for score in scores):.3f}) | {information:.3f} | {rand:.3f} | "
            f"{' '.join(map(str, sorted(set(found))))} | {np.median(elapsed) / base:.0f} |",
            flush=True,
        )


def print_held_out(X: np.ndarray, y: np.ndarray, seeds: int) -> None:
    """Rows that were not trained on."""
    print(f"\ndigits, {len(X) * 2 // 3} rows to train on, the others predicted: mean ACC of {seeds} seeds")
    print("| method | training rows | other rows |")
    print("|---|---|---|")
    for cls in (DeepEmbeddedClustering, DeepKMeans, VariationalDeepEmbedding, NeighborEmbeddingClustering):
        scores = []
        for seed in range(seeds):
            order = np.random.RandomState(seed).permutation(len(X))
            train, other = order[: len(X) * 2 // 3], order[len(X) * 2 // 3 :]
            model = cls(K, random_state=seed).fit(X[train])
            scores.append(
                (clustering_accuracy(y[train], model.labels_), clustering_accuracy(y[other], model.predict(X[other])))
            )
        inside, outside = np.mean(scores, axis=0)
        print(f"| {cls.__name__} | {inside:.3f} | {outside:.3f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_data_option(parser, required=False)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--methods", nargs="*", default=None, help="parts of names, for a quick look")
    parser.add_argument("--tables", nargs="*", default=["digits", "held-out", "larger"])
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    X, y = load_digits(return_X_y=True)
    if "digits" in options.tables:
        print_table("digits (1797 x 64)", X / 16, y, options.seeds, options.methods)
    if "held-out" in options.tables:
        print_held_out(X / 16, y, options.seeds)
    folder: Path | None = options.data
    if folder and "larger" in options.tables:
        for name in ("pendigits", "optdigits"):
            stored = np.load(folder / "ncd" / f"{name}.npz")
            rows, truth = stored["X"].astype(np.float64), stored["y"]
            print_table(f"{name} ({rows.shape[0]} x {rows.shape[1]})", rows / rows.max(), truth, 2, options.methods)


if __name__ == "__main__":
    main()
