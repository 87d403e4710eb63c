"""Time of one iteration as tables grow, against faiss, on more threads, and on a device.

``python -m benchmarks.scaling``, with ``--tables faiss growth threads device`` for parts. Every figure is a ratio in
this run: to a peer, to the row before, or to what the machine does at most, measured in the same minutes.

- faiss: a Lloyd iteration of SemiSupervisedKMeans, a tenth of the rows labeled or none, of faiss and of scikit-learn.
- growth: exponents of the time of an iteration with n, k and d, from the slope of logarithms.
- threads: an iteration on one thread, and of twice the rows on two (weak scaling: 1 is perfect).
- device: iterations by torch on the CPU and, where there is a GPU, on it, over those of numpy; on the GPU also over the
  limits of its matrix products and of its memory.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable

import numpy as np
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs

from benchmarks._timing import interleaved
from sklearn_sslcluster.engine import DeviceBlocks, RowBlocks, array_backend, blas_on_one_thread
from sklearn_sslcluster.numerics import Mixture, evaluation_of, make_gaussians
from sklearn_sslcluster.numerics.centroids import lloyd_statistics
from sklearn_sslcluster.numerics.mixture_steps import expectation_statistics

_FEW, _MANY = 2, 22
_FLOAT = np.dtype(np.float32)


def rows_of(n: int, d: int, k: int) -> np.ndarray:
    return make_blobs(n, d, centers=k, cluster_std=30.0, random_state=0)[0].astype(_FLOAT)


def lloyd_pass(source: RowBlocks, k: int) -> Callable[[], object]:
    centers = np.asarray(source.X[:k], dtype=np.float64)
    return lambda: source.sum(lloyd_statistics, (centers, None))


def mixture_pass(source: RowBlocks, k: int) -> Callable[[], object]:
    d = source.n_features
    gaussians, _ = make_gaussians("full", np.asarray(source.X[:k], dtype=np.float64), np.stack([np.eye(d) * 1e3] * k))
    largest = float((np.asarray(source.X[:1000]) ** 2).sum(axis=1).max()) * 2
    evaluation = evaluation_of(Mixture(gaussians, np.full(k, 1 / k)), None, largest, source.dtype)
    return lambda: source.sum(expectation_statistics, evaluation)


def faiss_table(options: argparse.Namespace) -> None:
    import faiss

    print(f"\nOne Lloyd iteration of float32 rows, median of {options.repeats}, ratio to faiss")
    print("| n | d | k | faiss | scikit-learn | no labels | a tenth labeled |")
    print("|---|---|---|---|---|---|---|")
    for d, k in ((20, 20), (64, 10), (64, 100), (8, 50)):
        X = rows_of(options.n, d, k)
        codes = np.where(np.arange(len(X)) % 10 == 0, np.arange(len(X)) % k, -1).astype(np.int32)
        free, labeled = (lloyd_pass(RowBlocks(X, data), k) for data in ((None, None), (codes, None)))

        def by_faiss(n_iter: int, X: np.ndarray = X, d: int = d, k: int = k) -> None:
            model = faiss.Kmeans(d, k, niter=n_iter, max_points_per_centroid=len(X), min_points_per_centroid=1)
            model.train(X, init_centroids=X[:k])

        start, own = X[:k].copy(), X.copy()

        def by_scikit_learn(n_iter: int, own: np.ndarray = own, k: int = k, start: np.ndarray = start) -> None:
            # Without its copy of X, whose allocation takes as long as many iterations and as irregularly.
            made = KMeans(k, init=start, n_init=1, max_iter=n_iter, tol=0, copy_x=False).fit(own).n_iter_
            if made != n_iter:
                raise RuntimeError(f"A run converged early, after {made} of {n_iter} iterations.")

        calls: dict[str, Callable[[], object]] = {}
        for name, fit in (("faiss", by_faiss), ("sklearn", by_scikit_learn)):
            calls |= {f"{name} {m}": (lambda fit=fit, m=m: fit(m)) for m in (_FEW, _MANY)}
        times = interleaved({**calls, "free": free, "labeled": labeled}, options.repeats)
        peers = {
            name: (times[f"{name} {_MANY}"] - times[f"{name} {_FEW}"]) / (_MANY - _FEW) for name in ("faiss", "sklearn")
        }
        ratios = (peers["sklearn"], times["free"], times["labeled"])
        print(
            f"| {len(X):,} | {d} | {k} | 1 | " + " | ".join(f"{t / peers['faiss']:.2f}" for t in ratios) + " |",
            flush=True,
        )


def slope(sizes: list[int], times: list[float]) -> float:
    return float(np.polyfit(np.log(sizes), np.log(times), 1)[0])


def growth_table(options: argparse.Namespace) -> None:
    print(f"\nExponent with which the time of an iteration grows, float32, median of {options.repeats}")
    print("| what grows | from, to | k-means | mixture, full covariances |")
    print("|---|---|---|---|")
    small = max(options.n // 10, 1000)
    series: dict[str, list[tuple[int, int, int]]] = {
        "n": [(n, 16, 20) for n in (options.largest // 100, options.largest // 10, options.largest)],
        "k": [(small, 16, k) for k in (16, 64, 256)],
        "d": [(small, d, 20) for d in (8, 32, 128)],
    }
    for name, shapes in series.items():
        sizes = [shape["ndk".index(name)] for shape in shapes]
        times: dict[str, list[float]] = {"k-means": [], "mixture": []}
        for n, d, k in shapes:
            source = RowBlocks(rows_of(n, d, k), (None, None))
            calls = {"k-means": lloyd_pass(source, k)}
            if name != "n" or n <= options.largest // 10 or options.whole:
                calls["mixture"] = mixture_pass(source, k)
            for method, elapsed in interleaved(calls, options.repeats).items():
                times[method].append(elapsed)
        slopes = [f"{slope(sizes[: len(values)], values):.2f}" for values in times.values()]
        print(f"| {name} | {sizes[0]:,} to {sizes[-1]:,} | {slopes[0]} | {slopes[1]} |", flush=True)


def threads_table(options: argparse.Namespace) -> None:
    print(
        f"\nTime of an iteration of twice the rows on two threads over that on one thread; median of {options.repeats}"
    )
    print("| rows | d | k | k-means | mixture, full covariances |")
    print("|---|---|---|---|---|")
    n, d, k = options.n // 2, 32, 20
    X = rows_of(2 * n, d, k)
    calls: dict[str, Callable[[], object]] = {}
    for name, make in (("k-means", lloyd_pass), ("mixture", mixture_pass)):
        for n_threads in (1, 2):
            calls[f"{name} {n_threads}"] = make(RowBlocks(X[: n * n_threads], (None, None), n_threads=n_threads), k)
    # The passes of one thread, too, would otherwise have their matrix products on all cores.
    with blas_on_one_thread():
        times = interleaved(calls, options.repeats)
    ratios = [f"{times[f'{name} 2'] / times[f'{name} 1']:.2f}" for name in ("k-means", "mixture")]
    print(f"| {n:,} and {2 * n:,} | {d} | {k} | {ratios[0]} | {ratios[1]} |", flush=True)


def device_table(options: argparse.Namespace) -> None:
    import torch

    has_gpu = torch.cuda.is_available()
    print(f"\nTime of an iteration by torch over that by numpy, float32; median of {options.repeats}")
    print(f"The GPU: {torch.cuda.get_device_name() if has_gpu else 'none, not measured'}")
    print("| method | n | d | k | torch on the CPU | on the GPU | the GPU over its matrix products | over its memory |")
    print("|---|---|---|---|---|---|---|---|")
    for name, make, shapes in (
        ("k-means", lloyd_pass, ((options.n, 64, 100),)),
        ("mixture", mixture_pass, ((options.n // 10, 64, 100),)),
    ):
        for n, d, k in (*shapes, *([(10_000_000, 64, 100)] if has_gpu and options.whole else [])):
            X = rows_of(n, d, k)
            calls = {"numpy": make(RowBlocks(X, (None, None)), k)}
            calls["cpu"] = make(DeviceBlocks(X, (None, None), backend=array_backend("cpu")), k)
            if has_gpu:
                calls["cuda"] = make(DeviceBlocks(X, (None, None), backend=array_backend("cuda")), k)
            times = interleaved(calls, options.repeats)
            cells = [f"{times['cpu'] / times['numpy']:.2f}"]
            if has_gpu:
                cells.append(f"{times['cuda'] / times['numpy']:.4f}")
                operations = 4 * n * k * (d if name == "k-means" else d * (d + 3) / 2)
                cells.append(f"{times['cuda'] / (operations / gpu_products()):.2f}")
                cells.append(f"{times['cuda'] / (X.nbytes / gpu_bandwidth()):.1f}")
            else:
                cells += ["not measured"] * 3
            print(f"| {name} | {n:,} | {d} | {k} | " + " | ".join(cells) + " |", flush=True)


def gpu_products() -> float:
    """Floating-point operations per second of a large float32 matrix product on the GPU."""
    import torch

    A = torch.randn(8192, 8192, device="cuda")

    def product() -> None:
        A @ A
        torch.cuda.synchronize()

    product()
    return 2 * 8192**3 / interleaved({"product": product}, 5)["product"]


def gpu_bandwidth() -> float:
    """Bytes per second that are read from the memory of the GPU."""
    import torch

    A = torch.randn(2**28, device="cuda")

    def read() -> None:
        A.sum()
        torch.cuda.synchronize()

    read()
    return A.nbytes / interleaved({"read": read}, 5)["read"]


TABLES = {"faiss": faiss_table, "growth": growth_table, "threads": threads_table, "device": device_table}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1_000_000)
    parser.add_argument("--largest", type=int, default=10_000_000, help="rows of the largest table of growth")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tables", nargs="*", default=list(TABLES), choices=list(TABLES))
    parser.add_argument("--whole", action="store_true", help="mixtures on the largest tables too")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in options.tables:
        TABLES[name](options)


if __name__ == "__main__":
    main()
