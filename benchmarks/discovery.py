"""Novel class discovery on the published splits.

``python -m benchmarks.discovery --data FOLDER`` prints our estimators by the paper's protocol beside its figures, our
defaults with the number of classes unknown, and what `HiddenClassSearchCV` picks; then the same of the deep methods.
Nothing is tuned or selected on the true classes of novel rows, but for the published parameters of TabularNCD.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.pipeline import Pipeline

from benchmarks._data import PUBLISHED, Split, add_data_option, mean_std, published_split
from benchmarks._deep_discovery import auto_table, given_table, searched_table
from sklearn_sslcluster.discovery import NCDKMeans, NCDSpectralClustering, SemiSupervisedKMeans
from sklearn_sslcluster.metrics import category_discovery_accuracy, clustering_accuracy
from sklearn_sslcluster.model_selection import HiddenClassSearchCV


def kmeans(split: Split, seed: int) -> float:
    """scikit-learn's k-means on novel training rows, as in the paper (random starts)."""
    rows = np.isin(split.y_train, split.novel)
    model = KMeans(len(split.novel), init="random", n_init=10, random_state=seed).fit(split.X_train[rows])
    return novel_accuracy(split, model.predict(split.X_test[split.test_is_novel]))


def ncd_kmeans(split: Split, seed: int, **params: str) -> float:
    model = NCDKMeans(split.n_classes, random_state=seed, **params).fit(split.X_train, split.train_partial)
    return novel_accuracy(split, model.predict_novel(split.X_test[split.test_is_novel]))


def ncd_spectral(split: Split, seed: int, transductive: bool, **params: object) -> float:
    """With the published parameters; `transductive`: embeds and clusters the test rows, as in the paper."""
    s_min, n_eigenvectors = PUBLISHED[split.name]["spectral"]
    settings = {"s_min": s_min, "n_eigenvectors": n_eigenvectors, "sigma": "code", "drop_first": True} | params
    model = NCDSpectralClustering(split.n_classes, random_state=seed, **settings)
    novel = split.X_test[split.test_is_novel]
    if transductive:
        model.fit(split.X_test, np.where(split.test_is_novel, -1, split.y_test))
    else:
        model.fit(split.X_train, split.train_partial)
    return novel_accuracy(split, model.predict_novel(novel))


def novel_accuracy(split: Split, predicted: np.ndarray) -> float:
    return clustering_accuracy(split.y_test[split.test_is_novel], predicted)


METHODS = {
    "k-means": (kmeans, {}, "kmeans"),
    "NCDKMeans (distance, the paper's code)": (ncd_kmeans, {"seeding": "distance", "selection": "distance"}, "ncd"),
    "NCDKMeans (squared, the paper's text)": (
        ncd_kmeans,
        {"seeding": "squared-distance", "selection": "inertia"},
        "ncd",
    ),
    "NCDSpectralClustering, on test rows": (ncd_spectral, {"transductive": True}, "ncd_sc"),
    "NCDSpectralClustering, train then predict": (ncd_spectral, {"transductive": False}, "ncd_sc"),
    "... with Nystrom": (ncd_spectral, {"transductive": False, "extension": "nystrom"}, "ncd_sc"),
}


def published_table(splits: list[Split], n_seeds: int) -> None:
    print(
        f"\nAccuracy on novel test rows in percent, {n_seeds} seeds, number of novel classes given (paper in brackets)"
    )
    print("| method | " + " | ".join(split.name for split in splits) + " |")
    print("|---|" + "---|" * len(splits))
    for name, (method, params, key) in METHODS.items():
        cells = []
        for split in splits:
            scores = [method(split, seed, **params) for seed in range(n_seeds)]
            cells.append(f"{mean_std(scores)} ({PUBLISHED[split.name][key]})")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def defaults_table(splits: list[Split], n_seeds: int) -> None:
    print(
        f"\nDefaults, number of classes estimated, {n_seeds} seeds. Mixed: half of the known training rows unlabeled "
        "too.\nAll / known / novel test rows in percent by one matching, and the number of classes found (true: 10)"
    )
    print("| method | " + " | ".join(split.name for split in splits) + " |")
    print("|---|" + "---|" * len(splits))
    rows = [
        ("SemiSupervisedKMeans()", SemiSupervisedKMeans, False),
        ("SemiSupervisedKMeans(), mixed", SemiSupervisedKMeans, True),
        ("NCDKMeans()", NCDKMeans, False),
        ("NCDSpectralClustering()", NCDSpectralClustering, False),
    ]
    for name, estimator, mixed in rows:
        cells = []
        for split in splits:
            results, found = [], []
            for seed in range(n_seeds):
                y = split.train_partial
                if mixed:
                    y = np.where(np.random.RandomState(seed).uniform(size=len(y)) < 0.5, y, -1)
                model = estimator(random_state=seed).fit(split.X_train, y)
                results.append(test_accuracy(split, model))
                found.append(model.n_clusters_)
            means = " / ".join(f"{100 * np.mean([r[key] for r in results]):.1f}" for key in ("all", "old", "new"))
            cells.append(f"{means}; {min(found)}-{max(found)}")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def test_accuracy(split: Split, model: object) -> dict:
    known = np.setdiff1d(np.unique(split.y_train), split.novel)
    return category_discovery_accuracy(split.y_test, model.predict(split.X_test), known)


def search_table(splits: list[Split], n_jobs: int | None) -> None:
    print(
        "\nHiddenClassSearchCV over estimators and their parameters, number of classes given; score: mean accuracy on "
        "hidden known classes.\nTest rows scored as above, after the choice"
    )
    print("| table | picked | score | all / known / novel |")
    print("|---|---|---|---|")
    for split in splits:
        k = split.n_classes
        pipeline = Pipeline([("reduce", "passthrough"), ("cluster", SemiSupervisedKMeans())])
        kmeans_like = [
            SemiSupervisedKMeans(k, random_state=0),
            NCDKMeans(k, random_state=0),
            NCDKMeans(k, seeding="squared-distance", selection="inertia", random_state=0),
        ]
        grid = [
            {"cluster": kmeans_like, "reduce": ["passthrough", PCA(8), PCA(16)]},
            {
                "cluster": [NCDSpectralClustering(k, random_state=0)],
                "cluster__s_min": [0.4, 0.6, 0.8],
                "cluster__n_eigenvectors": [15, 30],
            },
        ]
        search = HiddenClassSearchCV(pipeline, grid, random_state=0, n_jobs=n_jobs)
        search.fit(split.X_train, split.train_partial)
        result = test_accuracy(split, search)
        means = " / ".join(f"{100 * result[key]:.1f}" for key in ("all", "old", "new"))
        picked = " ".join(f"{search.best_estimator_}".split()).replace("|", "/")
        print(f"| {split.name} | `{picked}` | {search.best_score_:.3f} | {means} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_data_option(parser, required=True)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--n-jobs", type=int, default=None)
    tables = ["published", "defaults", "search", "deep", "deep-auto", "deep-search"]
    parser.add_argument("--tables", nargs="*", default=tables, choices=tables)
    parser.add_argument("--methods", nargs="*", default=None, help="parts of names of rows of the table deep")
    parser.add_argument("--deep-seeds", type=int, default=3)
    parser.add_argument("--n-iter", type=int, default=20, help="candidates of deep-search")
    options = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    splits = [published_split(options.data, name) for name in PUBLISHED]
    if "published" in options.tables:
        published_table(splits, options.seeds)
    if "defaults" in options.tables:
        defaults_table(splits, options.seeds)
    if "search" in options.tables:
        search_table(splits, options.n_jobs)
    if "deep" in options.tables:
        given_table(splits, options.deep_seeds, options.methods)
    if "deep-auto" in options.tables:
        auto_table(splits, options.deep_seeds)
    if "deep-search" in options.tables:
        searched_table(splits, options.n_iter, options.n_jobs)


if __name__ == "__main__":
    main()
