"""Gaussian mixtures for category discovery: accuracy on unlabeled rows with the number of classes known and unknown.

``python -m benchmarks.mixture`` takes the digits of scikit-learn; ``--data FOLDER`` adds pendigits and optdigits. For
each of ten class splits five of the ten classes are known, half of their rows (drawn from all of them together) are
labeled, and all other rows are scored by one matching of clusters and classes. All methods see the same rows: divided
by the largest value, and their first 32 principal components. No parameter is chosen by true classes of scored rows.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture

from benchmarks._data import add_data_option, mean_std
from sklearn_sslcluster.discovery import SemiSupervisedKMeans
from sklearn_sslcluster.metrics import category_discovery_accuracy
from sklearn_sslcluster.mixture import (
    ProbabilisticPartitivePartitioning,
    SemiSupervisedGaussianMixture,
    SplitMergeGaussianMixture,
)

N_COMPONENTS = 32
N_CLASSES = 10


@dataclass(frozen=True)
class Task:
    """One class split: rows, partial labels (-1 for none), true classes and the known ones."""

    X: np.ndarray
    y: np.ndarray
    truth: np.ndarray
    known: np.ndarray

    def accuracy(self, labels: np.ndarray) -> dict[str, float]:
        free = self.y == -1
        return category_discovery_accuracy(self.truth[free], labels[free], self.known)


def table(name: str, folder: Path | None) -> tuple[np.ndarray, np.ndarray]:
    if name == "digits":
        X, y = load_digits(return_X_y=True)
    else:
        stored = np.load(folder / "ncd" / f"{name}.npz")
        X, y = stored["X"].astype(np.float64), stored["y"].astype(int)
    X = X / X.max()
    return PCA(min(N_COMPONENTS, X.shape[1]), svd_solver="full").fit_transform(X), y


def task(X: np.ndarray, truth: np.ndarray, seed: int) -> Task:
    """Split number 0 has the first five classes known; the others are drawn."""
    rng = np.random.RandomState(seed)
    classes = np.unique(truth)
    known = classes[:5] if seed == 0 else np.sort(rng.permutation(classes)[:5])
    pool = np.flatnonzero(np.isin(truth, known))
    labeled = rng.permutation(pool)[: len(pool) // 2]
    y = np.full(len(truth), -1)
    y[labeled] = truth[labeled]
    return Task(X, y, truth, known)


def pomegranate_labels(X: np.ndarray, seed: int) -> np.ndarray:
    """Full-covariance mixture of pomegranate from its own k-means start (extra ``bench``)."""
    import torch
    from pomegranate.distributions import Normal
    from pomegranate.gmm import GeneralMixtureModel

    torch.manual_seed(seed)
    model = GeneralMixtureModel([Normal() for _ in range(N_CLASSES)], random_state=seed)
    rows = torch.tensor(X, dtype=torch.float64)
    try:
        return model.fit(rows).predict(rows).numpy()
    except torch.linalg.LinAlgError:
        # Its covariances are not regularized; such a run counts as one cluster.
        return np.zeros(len(X), dtype=int)


def unsupervised(model: object) -> Callable[[Task], np.ndarray]:
    return lambda task: model.fit_predict(task.X)


def partial(model: object) -> Callable[[Task], np.ndarray]:
    return lambda task: model.fit(task.X, task.y).labels_


def methods_known(seed: int, k: int) -> dict[str, Callable[[Task], np.ndarray]]:
    methods = {
        "KMeans(10)": unsupervised(KMeans(k, n_init=10, random_state=seed)),
        "GaussianMixture(10), n_init=5": unsupervised(GaussianMixture(k, n_init=5, random_state=seed)),
        "... reg_covar=0.03": unsupervised(GaussianMixture(k, n_init=5, reg_covar=0.03, random_state=seed)),
        "BayesianGaussianMixture(10), n_init=5": unsupervised(
            BayesianGaussianMixture(n_components=k, n_init=5, random_state=seed)
        ),
    }
    if find_spec("pomegranate") is not None:
        methods["pomegranate GeneralMixtureModel(10)"] = lambda task: pomegranate_labels(task.X, seed)
    mixture = SemiSupervisedGaussianMixture
    return methods | {
        "SemiSupervisedKMeans(10)": partial(SemiSupervisedKMeans(k, random_state=seed)),
        "SemiSupervisedGaussianMixture(10)": partial(mixture(k, random_state=seed)),
        "... n_init=1, no moves (selection='labeled')": partial(
            mixture(k, n_init=1, selection="labeled", random_state=seed)
        ),
        "... covariance_type='tied'": partial(mixture(k, covariance_type="tied", random_state=seed)),
        "... covariance_type='diag'": partial(mixture(k, covariance_type="diag", random_state=seed)),
    }


def methods_unknown(seed: int) -> dict[str, Callable[[Task], np.ndarray]]:
    return {
        "BayesianGaussianMixture(25)": unsupervised(BayesianGaussianMixture(n_components=25, random_state=seed)),
        "SemiSupervisedKMeans()": partial(SemiSupervisedKMeans(random_state=seed)),
        "SemiSupervisedGaussianMixture()": partial(SemiSupervisedGaussianMixture(random_state=seed)),
        "SplitMergeGaussianMixture()": partial(SplitMergeGaussianMixture(random_state=seed)),
        "ProbabilisticPartitivePartitioning()": partial(ProbabilisticPartitivePartitioning(random_state=seed)),
    }


def print_table(title: str, tasks: list[Task], methods: Callable[[int], dict], *, count: bool) -> None:
    print(f"\n{title}")
    print(
        "| method | All | Old | New | "
        + ("number of classes; 9..11 | " if count else "")
        + "time over the first row's |"
    )
    print("|---|---|---|---|---|" + ("---|" if count else ""))
    peer = 0.0
    for name in methods(0):
        results, found, elapsed = [], [], []
        for seed, one in enumerate(tasks):
            start = time.perf_counter()
            labels = methods(seed)[name](one)
            elapsed.append(time.perf_counter() - start)
            results.append(one.accuracy(np.asarray(labels)))
            found.append(len(np.unique(labels)))
        cells = [mean_std([result[key] for result in results]) for key in ("all", "old", "new")]
        if count:
            near = sum(abs(k - N_CLASSES) <= 1 for k in found)
            cells.append(f"{' '.join(map(str, sorted(found)))}; {near} of {len(found)}")
        peer = peer or float(np.median(elapsed))
        cells.append(f"{np.median(elapsed) / peer:.1f}")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_data_option(parser, required=False)
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--sets", nargs="*", default=None, help="of digits, pendigits, optdigits")
    parser.add_argument("--tables", nargs="*", default=["known", "unknown"])
    options = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    names = options.sets or ["digits", *(["pendigits", "optdigits"] if options.data else [])]
    for name in names:
        X, truth = table(name, options.data)
        tasks = [task(X, truth, seed) for seed in range(options.splits)]
        shape = f"{name} ({X.shape[0]} rows, {X.shape[1]} components), {len(tasks)} class splits"
        if "known" in options.tables:
            print_table(
                f"{shape}, number of classes given", tasks, lambda seed: methods_known(seed, N_CLASSES), count=False
            )
        if "unknown" in options.tables:
            print_table(f"{shape}, number of classes unknown", tasks, methods_unknown, count=True)


if __name__ == "__main__":
    main()
