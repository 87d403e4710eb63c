"""Manifold linearizing and clustering beside k-means, spectral clustering and mixtures.

``OMP_NUM_THREADS=1 python -m benchmarks.manifold`` draws unions of manifolds that cross, 100 rows each with noise, anew
for every seed, and takes the digits of scikit-learn. The number of classes is given except where a row says otherwise;
all rows are clustered and scored, and no label is used.

- linear: subspaces of 2, 2 and 3 dimensions through the origin of 12 columns.
- curved: such rows u mapped to u A + sin(1.5 u B), with random matrices A and B: surfaces that cross in the origin.
- curves: three closed curves of two frequencies each in 12 columns.
- folded: linear rows of 1, 2 and 2 dimensions u mapped to u + cos(3 u B + b) - cos(b), which folds them several times.

The rate reduction is that of the clusters among the standardized rows, in nats a row at a squared error of 0.1: what is
saved when rows are coded cluster by cluster. That of the embedding is what the method raises. "Start kept": of the
seeds, in how many the classes before the joint phase were taken for the better ones.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.cluster import KMeans, SpectralClustering
from sklearn.datasets import load_digits
from sklearn.metrics import normalized_mutual_info_score
from sklearn.mixture import GaussianMixture

from benchmarks._timing import peak_memory, write_blobs
from sklearn_sslcluster.deep import ManifoldLinearizingClustering
from sklearn_sslcluster.metrics import clustering_accuracy

N_COLUMNS, N_ROWS, NOISE = 12, 100, 0.02
SQUARED_ERROR = 0.1
# Tables of smaller seeds have served to choose the defaults.
FIRST_SEED = 100
MEMORY_COLUMNS = 16
Table = tuple[np.ndarray, np.ndarray]


def linear_union(rng: np.random.RandomState, dimensions: tuple[int, ...] = (2, 2, 3)) -> Table:
    parts = []
    for dimension in dimensions:
        basis = np.linalg.qr(rng.normal(size=(N_COLUMNS, dimension)))[0]
        parts.append(rng.normal(size=(N_ROWS, dimension)) @ basis.T + NOISE * rng.normal(size=(N_ROWS, N_COLUMNS)))
    return np.vstack(parts), np.repeat(np.arange(len(dimensions)), N_ROWS)


def curved_union(rng: np.random.RandomState) -> Table:
    X, y = linear_union(rng)
    straight, bent = rng.normal(size=(2, N_COLUMNS, N_COLUMNS)) / np.sqrt(N_COLUMNS)
    return X @ straight + np.sin(1.5 * X @ bent), y


def closed_curves(rng: np.random.RandomState) -> Table:
    parts = []
    for _ in range(3):
        angle = rng.uniform(0, 2 * np.pi, size=N_ROWS)
        waves = np.column_stack([np.cos(angle), np.sin(angle), 0.6 * np.cos(2 * angle), 0.6 * np.sin(2 * angle)])
        curve = waves @ rng.normal(size=(4, N_COLUMNS)) / np.sqrt(N_COLUMNS)
        parts.append(curve + NOISE / 2 * rng.normal(size=curve.shape))
    return np.vstack(parts), np.repeat(np.arange(3), N_ROWS)


def folded_union(rng: np.random.RandomState) -> Table:
    X, y = linear_union(rng, (1, 2, 2))
    directions = rng.normal(size=(N_COLUMNS, N_COLUMNS)) / np.sqrt(N_COLUMNS)
    phase = rng.uniform(0, 2 * np.pi, size=N_COLUMNS)
    return X + np.cos(3 * X @ directions + phase) - np.cos(phase), y


def digits(rng: np.random.RandomState) -> Table:
    X, y = load_digits(return_X_y=True)
    return X / 16, y


TABLES: dict[str, Callable[[np.random.RandomState], Table]] = {
    "linear": linear_union,
    "curved": curved_union,
    "curves": closed_curves,
    "folded": folded_union,
    "digits": digits,
}


def methods(k: int, seed: int) -> dict[str, Any]:
    ours = {
        "": {},
        ", encoder='identity'": {"encoder": "identity"},
        ", cluster_head='shared'": {"cluster_head": "shared"},
        ", max_pretrain_epochs=0": {"max_pretrain_epochs": 0},
        ", n_clusters='auto'": {"n_clusters": "auto"},
        ", 'auto' and 'identity'": {"n_clusters": "auto", "encoder": "identity"},
    }
    rows: dict[str, Any] = {
        "KMeans(n_init=20)": KMeans(k, n_init=20, random_state=seed),
        "SpectralClustering, ten neighbors": SpectralClustering(k, affinity="nearest_neighbors", random_state=seed),
        "GaussianMixture(n_init=5, reg_covar=0.001)": GaussianMixture(k, n_init=5, reg_covar=1e-3, random_state=seed),
    }
    for name, settings in ours.items():
        rows[f"ManifoldLinearizingClustering{name}"] = ManifoldLinearizingClustering(
            **{"n_clusters": k, "random_state": seed, **settings}
        )
    return rows


def rate(X: np.ndarray) -> float:
    scatter = X.T @ X * (X.shape[1] / (len(X) * SQUARED_ERROR))
    return 0.5 * float(np.linalg.slogdet(np.eye(X.shape[1]) + scatter)[1])


def rate_reduction(X: np.ndarray, labels: np.ndarray) -> float:
    """Of clusters among rows of which none is longer, in the mean square, than one."""
    X = X - X.mean(axis=0)
    X = X / np.sqrt((X**2).sum(axis=1).mean())
    return rate(X) - sum(float(np.mean(labels == label)) * rate(X[labels == label]) for label in np.unique(labels))


def print_table(name: str, options: argparse.Namespace) -> None:
    draw = TABLES[name]
    results: dict[str, list[tuple]] = {}
    truths = []
    for seed in range(options.seeds):
        X, y = draw(np.random.RandomState(FIRST_SEED + seed))
        truths.append(rate_reduction(X, y))
        for method, model in methods(len(np.unique(y)), seed).items():
            if options.methods and not any(part in method for part in options.methods):
                continue
            start = time.process_time()
            labels = model.fit_predict(X)
            seconds = time.process_time() - start
            scores = (
                clustering_accuracy(y, labels),
                normalized_mutual_info_score(y, labels),
                rate_reduction(X, labels),
            )
            own = (getattr(model, "rate_reduction_", np.nan), not getattr(model, "improved_", True))
            results.setdefault(method, []).append((*scores, *own, len(np.unique(labels)), seconds))
    shape = f"{X.shape[0]} x {X.shape[1]}, {len(np.unique(y))} classes"
    print(
        f"\n{name} ({shape}), mean of {options.seeds} seeds; rate reduction of the true classes {np.mean(truths):.2f}"
    )
    print("| method | ACC (worst) | NMI | rate reduction | in the embedding | start kept | classes | CPU time |")
    print("|---|---|---|---|---|---|---|---|")
    base = np.median([fit[-1] for fit in next(iter(results.values()))])
    for method, fits in results.items():
        values = np.array(fits, dtype=np.float64)
        accuracy, information, reduction, embedded, kept = values[:, :5].mean(axis=0)
        inside = "" if np.isnan(embedded) else f"{embedded:.2f}"
        starts = "" if np.isnan(embedded) else f"{kept * len(fits):.0f} of {len(fits)}"
        numbers = sorted(set(values[:, 5].astype(int).tolist()))
        print(
            f"| {method} | {accuracy:.3f} ({values[:, 0].min():.3f}) | {information:.3f} | {reduction:.2f} | {inside} "
            f"| {starts} | {' '.join(map(str, numbers))} | {np.median(values[:, -1]) / base:.3g} |",
            flush=True,
        )


def fitted(X: np.ndarray, batch_size: int) -> None:
    """One epoch of each phase."""
    warnings.simplefilter("ignore")
    model = ManifoldLinearizingClustering(8, batch_size=batch_size, max_pretrain_epochs=1, max_epochs=1, n_init=1)
    model.set_params(random_state=0).fit(X)


def print_memory() -> None:
    """Peak memory by rows of the table and of a batch, for which every row of a batch has a class of its own."""
    print(f"\nOne epoch of each phase, {MEMORY_COLUMNS} columns")
    print("| rows | batch_size | peak RssAnon above the value after import, MB | table in float64, MB |")
    print("|---|---|---|---|")
    for n_rows, batch_size in ((10_000, 256), (40_000, 256), (10_000, 1024), (40_000, 1024)):
        with tempfile.TemporaryDirectory() as folder:
            path = write_blobs(folder, n_rows, MEMORY_COLUMNS)
            peak = peak_memory(fitted, path, (n_rows, MEMORY_COLUMNS), batch_size)[0]
        print(f"| {n_rows} | {batch_size} | {peak} | {n_rows * MEMORY_COLUMNS * 8 / 2**20:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    names = [*TABLES, "memory"]
    parser.add_argument("--tables", nargs="*", default=names, choices=names)
    parser.add_argument("--methods", nargs="*", default=None, help="parts of names, for a quick look")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in options.tables:
        if name == "memory":
            print_memory()
        else:
            print_table(name, options)


if __name__ == "__main__":
    main()
