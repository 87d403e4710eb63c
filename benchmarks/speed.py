"""Speed and memory, as ratios against a named peer in the same run.

``python -m benchmarks.speed discovery``: k-means estimators against scikit-learn's KMeans, and the peak memory of a fit
over a memory-mapped file. ``python -m benchmarks.speed mixture``: iterations of Gaussian mixtures against
scikit-learn's, beside the multiply-add limit of the machine, and memory.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings

import numpy as np
from sklearn.cluster import KMeans, SpectralClustering
from sklearn.datasets import make_blobs

from benchmarks import _speed_mixture
from benchmarks._timing import interleaved, peak_memory, seconds, write_blobs
from sklearn_sslcluster.datasets import make_partially_labeled_blobs
from sklearn_sslcluster.discovery import NCDKMeans, NCDSpectralClustering, SemiSupervisedKMeans
from sklearn_sslcluster.engine import RowBlocks
from sklearn_sslcluster.metrics import clustering_accuracy
from sklearn_sslcluster.numerics import Frame, LloydSettings, lloyd, no_anchors


def whole_fits(X: np.ndarray, truth: np.ndarray, k: int, repeats: int) -> None:
    """Whole fits at default settings of everything but k, n_init and the seed."""
    print(f"\nWhole fit, n={len(X):,}, d={X.shape[1]}, k={k}, {X.dtype}; median of {repeats}, ratio to KMeans")
    print("| n_init | KMeans | NCDKMeans | SemiSupervisedKMeans | the same, a tenth labeled | inertia over KMeans' |")
    print("|---|---|---|---|---|---|")
    labeled = np.where(np.arange(len(X)) % 10 == 0, truth, -1)
    for n_init in (1, 10):
        models = {
            "peer": KMeans(k, n_init=n_init, random_state=0),
            "ncd": NCDKMeans(k, n_init=n_init, random_state=0),
            "ss": SemiSupervisedKMeans(k, n_init=n_init, random_state=0),
        }
        calls = {name: lambda model=model: model.fit(X) for name, model in models.items()}
        partial = SemiSupervisedKMeans(k, n_init=n_init, random_state=0)
        times = interleaved({**calls, "labeled": lambda partial=partial: partial.fit(X, labeled)}, repeats)
        inertia = [f"{models[name].inertia_ / models['peer'].inertia_:.4f}" for name in ("ncd", "ss")]
        ratios = " | ".join(f"{times[name] / times['peer']:.2f}" for name in ("ncd", "ss", "labeled"))
        print(f"| {n_init} | 1 | {ratios} | {inertia[0]}, {inertia[1]} |", flush=True)


def iterations(X: np.ndarray, k: int, repeats: int) -> None:
    """Seconds per Lloyd iteration: a long run less a short one from the same start, over the iterations that both made.

    The rows overlap so much that no run converges before its last iteration (checked).
    """
    start = X[:k].astype(np.float64)
    few, many = 2, 22
    labeled = np.where(np.arange(len(X)) % 10 == 0, np.arange(len(X)) % k, -1).astype(np.int32)
    made: dict[str, int] = {}
    own = X.copy()

    def peer(n_iter: int) -> int:
        # Without its copy of X, whose allocation takes as long as many iterations and as irregularly.
        model = KMeans(k, init=start.astype(X.dtype), n_init=1, max_iter=n_iter, tol=0, copy_x=False)
        return model.fit(own).n_iter_

    def ours(n_iter: int, codes: np.ndarray | None) -> int:
        blocks = RowBlocks(X, (codes, None))
        settings = LloydSettings(max_iter=n_iter, tol=0)
        return lloyd(blocks, start, no_anchors(X.shape[1]), Frame(None, 1.0, 1.0), settings)[1]

    methods = {"peer": peer, "free": lambda n: ours(n, None), "labeled": lambda n: ours(n, labeled)}

    def run(name: str, n_iter: int) -> None:
        made[f"{name} {n_iter}"] = methods[name](n_iter)

    calls = {f"{name} {n}": (lambda name=name, n=n: run(name, n)) for n in (few, many) for name in methods}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        times = interleaved(calls, repeats)
    if any(made[key] != int(key.split()[1]) for key in made):
        raise RuntimeError(f"A run converged early: {made}.")
    per_iteration = {name: times[f"{name} {many}"] - times[f"{name} {few}"] for name in methods}
    ratios = " | ".join(f"{per_iteration[name] / per_iteration['peer']:.2f}" for name in ("free", "labeled"))
    print(f"| {len(X):,} | {X.shape[1]} | {k} | {X.dtype} | 1 | {ratios} |", flush=True)


def fit_kmeans(X: np.ndarray, labeled: bool) -> int:
    y = np.where(np.arange(len(X)) % 10 == 0, np.arange(len(X)) % 3, -1) if labeled else None
    return SemiSupervisedKMeans(20, n_init=5, max_iter=20, random_state=0).fit(X, y).n_iter_


def memory(gigabytes: float, d: int) -> None:
    """Peak memory of a fit over a float32 file."""
    n = int(gigabytes * 1e9 / (4 * d))
    print(f"\nSemiSupervisedKMeans(20) over a float32 memory map of {4 * n * d / 1e9:.1f} GB (n={n:,}, d={d})")
    print("| labels | peak RssAnon above the value after import, MB | VmHWM, MB (file pages included) | iterations |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        path = write_blobs(folder, n, d)
        for labeled in (False, True):
            anonymous, highest, n_iter = peak_memory(fit_kmeans, path, (n, d), labeled)
            print(f"| {'a tenth' if labeled else 'none'} | {anonymous} | {highest} | {n_iter} |", flush=True)


def spectral() -> None:
    """Spectral clustering on a neighbor graph, against scikit-learn's; ten times the rows without it."""
    print("\nNeighbor graph of 15, d=10, 8 classes of which 4 are known: one run, ratio to SpectralClustering")
    print("| n | SpectralClustering | NCDSpectralClustering | accuracy on unlabeled rows: peer, ours |")
    print("|---|---|---|---|")
    ours_before = None
    for n in (10_000, 100_000):
        X, y, truth = make_partially_labeled_blobs(n, n_known=4, n_novel=4, n_features=10, class_sep=6, random_state=0)
        free = y == -1
        ours = NCDSpectralClustering(8, random_state=0)
        elapsed = seconds(lambda model=ours, X=X, y=y: model.fit(X, y))
        accuracy = f"{100 * clustering_accuracy(truth[free], ours.labels_[free]):.1f}"
        if ours_before is None:
            peer = SpectralClustering(8, affinity="nearest_neighbors", n_neighbors=15, random_state=0)
            peer_elapsed = seconds(lambda model=peer, X=X: model.fit(X))
            peer_accuracy = f"{100 * clustering_accuracy(truth[free], peer.labels_[free]):.1f}"
            print(f"| {n:,} | 1 | {elapsed / peer_elapsed:.2f} | {peer_accuracy}, {accuracy} |", flush=True)
        else:
            print(f"| {n:,} | not run | {elapsed / ours_before:.1f} times the row above | {accuracy} |", flush=True)
        ours_before = elapsed


def discovery(options: argparse.Namespace) -> None:
    for dtype in (np.float64, np.float32):
        if "fits" in options.tables:
            X, truth = blobs(options.n, 20, 20, dtype)
            whole_fits(X, truth, 20, options.repeats)
    if "iterations" in options.tables:
        print(f"\nOne Lloyd iteration, median of {options.repeats}, ratio to KMeans: free rows only; a tenth labeled")
        print("| n | d | k | dtype | KMeans | no labels | a tenth labeled |")
        print("|---|---|---|---|---|---|---|")
        for d, k in ((20, 20), (64, 10), (8, 50)):
            for dtype in (np.float64, np.float32):
                iterations(blobs(options.n, d, k, dtype, spread=30.0)[0], k, options.repeats)
    if "spectral" in options.tables:
        spectral()
    if "memory" in options.tables:
        memory(options.gigabytes, 32)


def blobs(n: int, d: int, k: int, dtype: type, spread: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    X, y = make_blobs(n, d, centers=k, cluster_std=spread, random_state=0)
    return X.astype(dtype), y


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("family", choices=["discovery", "mixture"])
    parser.add_argument("--n", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--gigabytes", type=float, default=4.0)
    parser.add_argument("--tables", nargs="*", default=["fits", "iterations", "spectral", "memory", "rows"])
    options = parser.parse_args()
    {"discovery": discovery, "mixture": _speed_mixture.mixture}[options.family](options)


if __name__ == "__main__":
    main()
