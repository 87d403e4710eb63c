"""Studies behind the defaults, on random class splits of several tables.

``python -m benchmarks.defaults [--data FOLDER]`` hides a random half of the classes of each table and compares choices
of seeding, selection, number of starts, embedding and criterion. The tables are scikit-learn's, and those of FOLDER.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np

from benchmarks._data import add_data_option, study_tables
from sklearn_sslcluster.discovery import NCDKMeans, NCDSpectralClustering, SemiSupervisedKMeans
from sklearn_sslcluster.metrics import clustering_accuracy
from sklearn_sslcluster.model_selection import estimate_n_clusters

_MOST_ROWS = 1500


def class_splits(X, y, n_splits, labeled_fraction):
    """(rows, partial labels, truth) for random class splits: half of the classes novel."""
    classes = np.unique(y)
    for seed in range(n_splits):
        rng = np.random.RandomState(seed)
        novel = rng.choice(classes, max(1, len(classes) // 2), replace=False)
        rows = rng.permutation(len(y))[:_MOST_ROWS]
        labeled = ~np.isin(y[rows], novel) & (rng.uniform(size=len(rows)) < labeled_fraction)
        yield X[rows], np.where(labeled, y[rows], -1), y[rows]


def compare(title, tables, variants, labeled_fraction, n_splits, predict):
    print(f"\n{title}; accuracy on unlabeled rows in percent, mean of {n_splits} class splits")
    print("| variant | " + " | ".join(tables) + " | mean |")
    print("|---|" + "---|" * (len(tables) + 1))
    for name, make in variants.items():
        means = []
        for X, y in tables.values():
            scores = []
            for rows, partial, truth in class_splits(X, y, n_splits, labeled_fraction):
                free = partial == -1
                model = make(len(np.unique(y))).fit(rows, partial)
                scores.append(clustering_accuracy(truth[free], getattr(model, predict)(rows[free])))
            means.append(100 * np.mean(scores))
        print(f"| {name} | " + " | ".join(f"{m:.1f}" for m in means) + f" | {np.mean(means):.1f} |", flush=True)


def seeding(tables, n_splits):
    choices = [(s, c) for s in ("distance", "squared-distance") for c in ("distance", "inertia")]
    variants = {
        f"seeding {s}, selection {c}": lambda k, s=s, c=c: NCDKMeans(k, seeding=s, selection=c, random_state=0)
        for s, c in choices
    }
    compare("NCDKMeans, all known rows labeled", tables, variants, 1.0, n_splits, "predict_novel")
    variants = {
        f"seeding {s}, selection {c}, n_init {n}": lambda k, s=s, c=c, n=n: SemiSupervisedKMeans(
            k, seeding=s, selection=c, n_init=n, random_state=0
        )
        for s, c in choices
        for n in (10, 40)
    }
    compare("SemiSupervisedKMeans, half of the known rows labeled", tables, variants, 0.5, n_splits, "predict")


def embedding(tables, n_splits):
    choices = [(0.6, 2, True), (0.4, 2, True), (0.8, 2, True), (0.6, 1, True), (0.6, 3, True), (0.6, 2, False)]
    variants = {
        f"s_min {s}, {m} eigenvectors a class, drop_first={f}": lambda k, s=s, m=m, f=f: NCDSpectralClustering(
            k, s_min=s, n_eigenvectors=m * k, drop_first=f, random_state=0
        )
        for s, m, f in choices
    }
    compare("NCDSpectralClustering, all known rows labeled", tables, variants, 1.0, n_splits, "predict_novel")


def counting(tables, n_splits):
    print(f"\nNumber of classes: mean absolute error over {n_splits} class splits")
    print("| estimate | " + " | ".join(f"{n} ({len(np.unique(y))})" for n, (_, y) in tables.items()) + " | mean |")
    print("|---|" + "---|" * (len(tables) + 1))
    estimates = {
        f"estimate_n_clusters, {c}": (lambda X, y, c=c: estimate_n_clusters(X, y, criterion=c, random_state=0), 0.5)
        for c in ("silhouette", "calinski_harabasz", "labeled_accuracy")
    }
    estimates["NCDKMeans()"] = (lambda X, y: NCDKMeans(random_state=0).fit(X, y).n_clusters_, 1.0)
    estimates["NCDSpectralClustering()"] = (
        lambda X, y: NCDSpectralClustering(random_state=0).fit(X, y).n_clusters_,
        1.0,
    )
    for name, (estimate, fraction) in estimates.items():
        errors = []
        for X, y in tables.values():
            splits = class_splits(X, y, n_splits, fraction)
            errors.append(np.mean([abs(estimate(rows, part) - len(np.unique(y))) for rows, part, _ in splits]))
        print(f"| {name} | " + " | ".join(f"{e:.2f}" for e in errors) + f" | {np.mean(errors):.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_data_option(parser, required=False)
    parser.add_argument("--splits", type=int, default=8)
    parser.add_argument("--studies", nargs="*", default=["seeding", "embedding", "counting"])
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    tables = study_tables(options.data)
    for study in options.studies:
        {"seeding": seeding, "embedding": embedding, "counting": counting}[study](tables, options.splits)


if __name__ == "__main__":
    main()
