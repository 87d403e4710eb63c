"""Semidefinite clustering: solvers, certificates and their price.

``python -m benchmarks.sdp`` prints every table; ``--tables NAME ...`` some of them; ``--data FOLDER`` adds pendigits
and optdigits to the real data. Planted data: k = 4 balanced clusters in d = 10 features, unit variance, all centers
`sep` apart. Times are CPU seconds of this process, as ratios to a peer's in the same run.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.preprocessing import scale

from benchmarks._data import add_data_option
from sklearn_sslcluster.engine import array_backend
from sklearn_sslcluster.sdp import CertificateSettings, SDPKMeans, SketchAndLiftKMeans, certify_kmeans
from sklearn_sslcluster.sdp._admm import AdmmSettings, admm_from_labels
from sklearn_sslcluster.sdp._bounds import label_bound
from sklearn_sslcluster.sdp._low_rank import LowRankSettings, solve_low_rank
from sklearn_sslcluster.sdp._points import make_points
from sklearn_sslcluster.sdp._reference import solve_cvxpy
from sklearn_sslcluster.sdp._rounding import partition_inertia, polish, spectral_codes

K, D = 4, 10


def planted(n: int, sep: float, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centers = np.zeros((K, D))
    centers[np.arange(K), np.arange(K)] = sep / np.sqrt(2)
    return rng.normal(size=(n, D)) + centers[np.arange(n) % K]


def cpu(call: Callable[[], Any]) -> tuple[float, Any]:
    """(CPU seconds, result)."""
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def median_cpu(call: Callable[[], Any], repeats: int = 3) -> tuple[float, Any]:
    runs = [cpu(call) for _ in range(repeats)]
    return statistics.median(seconds for seconds, _ in runs), runs[-1][1]


def k_means(X: np.ndarray, n_init: int = 50, k: int = K) -> KMeans:
    return KMeans(k, n_init=n_init, random_state=0).fit(X)


def print_admm(devices: list[str | None]) -> None:
    """ADMM against cvxpy with SCS, to the same verified bound."""
    print(
        "\nADMM against cvxpy with SCS, both to a verified bound within 1e-3 of the value of the relaxation (the "
        "loosest of five tolerances of SCS that gets there); CPU time, median of 3"
    )
    print("| n | sep | value / best inertia | SCS: eps, iterations | ADMM: iterations | cvxpy over ADMM, whole calls |")
    print("|---|---|---|---|---|---|")
    for sep in (3, 6):
        for n in (100, 200, 300):
            points, codes, inertia = problem(planted(n, sep))
            value = admm_from_labels(points, codes, AdmmSettings(5000, 1e-7)).bound
            settings = AdmmSettings(5000, check_every=5, stop_gap=1e-3)

            def reach(points=points, codes=codes, value=value, settings=settings) -> Any:
                return admm_from_labels(points, codes, settings, inertia=value)

            ours, relaxed = median_cpu(reach)
            for eps in (1e-2, 3e-3, 1e-3, 3e-4, 1e-4):
                found = solve_cvxpy(points, tol=eps, max_iter=20000)
                if found.bound >= (1 - 1e-3) * value:
                    break
            theirs, found = median_cpu(lambda points=points, eps=eps: solve_cvxpy(points, tol=eps, max_iter=20000))
            print(
                f"| {n} | {sep} | {value / inertia:.5f} | {eps:g}, {found.n_iter} | {relaxed.n_iter} | "
                f"{theirs / ours:.0f} |",
                flush=True,
            )
    print("\nADMM where SCS is hopeless: 100 iterations; time over that of KMeans(n_init=50)")
    print("| n | sep | device | bound / best inertia | time |")
    print("|---|---|---|---|---|")
    for n in (1000, 2000):
        for sep in (3, 6):
            X = planted(n, sep)
            points, codes, inertia = problem(X)
            for device in devices:
                base, _ = cpu(lambda X=X: k_means(X))
                seconds, relaxed = cpu(
                    lambda p=points, c=codes, v=device: admm_from_labels(p, c, AdmmSettings(100), array_backend(v))
                )
                print(
                    f"| {n} | {sep} | {device or 'numpy'} | {relaxed.bound / inertia:.5f} | {seconds / base:.0f} |",
                    flush=True,
                )


def problem(X: np.ndarray, n_init: int = 50) -> tuple[Any, np.ndarray, float]:
    """(points, labels of the best of many runs of k-means, their inertia in the units of the points)."""
    points, _, _ = make_points(X, np.ones(len(X)), K, 0)
    codes = k_means(X, n_init).labels_
    return points, codes, partition_inertia(points, codes)


def print_low_rank(sizes: list[int]) -> None:
    """The low-rank solver as the table grows."""
    print(
        "\nLow-rank solver from the labels of one run of k-means, sep 6, rank 8: time over that of KMeans(n_init=50) "
        "(up to n = 100,000; KMeans(n_init=5) above), values over the inertia of the best of those runs"
    )
    print(
        "| n | iterations | converged | solver time | relaxation / best | rounded / best | after Lloyd / best | bound |"
    )
    print("|---|---|---|---|---|---|---|---|")
    times = []
    for n in sizes:
        X = planted(n, 6)
        points, _, _ = make_points(X, np.ones(n), K, 0)
        base, best = cpu(lambda X=X, n=n: k_means(X, 50 if n <= 100_000 else 5))
        inertia = partition_inertia(points, best.labels_)
        start = polish(points, KMeans(K, n_init=1, random_state=1).fit(X).labels_)
        implied = label_bound(points, start)
        seconds, relaxed = cpu(
            lambda p=points, s=start, i=implied: solve_low_rank(
                p, s, max(i.smallest, 0.0), LowRankSettings(2 * K), np.random.RandomState(0)
            )
        )
        times.append(seconds / relaxed.n_iter)
        codes = spectral_codes(points, relaxed.factor, np.random.RandomState(0))
        value = points.total - float(((points.A.T @ relaxed.factor) ** 2).sum())
        print(
            f"| {n:,} | {relaxed.n_iter} | {relaxed.converged} | {seconds / base:.1f} | {value / inertia:.5f} | "
            f"{partition_inertia(points, codes) / inertia:.6f} | "
            f"{partition_inertia(points, polish(points, codes)) / inertia:.6f} | {implied.value / inertia:.4f} |",
            flush=True,
        )
    large = [i for i, n in enumerate(sizes) if n >= 10_000]
    exponent = np.polyfit(np.log([sizes[i] for i in large]), np.log([times[i] for i in large]), 1)[0]
    print(f"\nTime of an iteration grows like n to the power {exponent:.2f} (from n = 10,000 on).")


def print_million(n: int) -> None:
    """A proof for a million rows."""
    X = planted(n, 14)
    base, _ = cpu(lambda: k_means(X, 10))
    seconds, model = cpu(lambda: SDPKMeans(K, random_state=0).fit(X))
    alone, certificate = cpu(lambda: certify_kmeans(X, model.labels_))
    sketch, lifted = cpu(lambda: SketchAndLiftKMeans(K, random_state=0).fit(X))
    print(f"\nn = {n:,}, sep 14: CPU time over that of one KMeans(n_init=10) fit on the same rows")
    print("| what | result | time |")
    print("|---|---|---|")
    print(f"| SDPKMeans(4) | certified_={model.certified_}, solver_={model.solver_!r} | {seconds / base:.1f} |")
    print(f"| certify_kmeans of its labels | {certificate.method}, gap {certificate.gap:.1e} | {alone / base:.1f} |")
    ratio = lifted.inertia_ / model.inertia_
    print(f"| SketchAndLiftKMeans(4) | inertia {ratio:.6f} of SDPKMeans | {sketch / base:.1f} |")


def print_overlap(sizes: list[int]) -> None:
    """Certificates of heavily overlapping clusters."""
    print("\nCertificates at sep 3 of labels of KMeans(n_init=10); CPU time over that of that fit")
    print("| n | method | settings | gap, % | complete | time |")
    print("|---|---|---|---|---|---|")
    for n in sizes:
        X = planted(n, 3)
        base, model = cpu(lambda X=X: k_means(X, 10))
        runs: list[tuple[str, str, dict]] = [("labels", "", {})]
        if n <= 2000:
            runs.append(("admm", "", {}))
        runs += [
            ("division", f"part_size={size}", {"settings": CertificateSettings(part_size=size, random_state=0)})
            for size in (400, 1000)
            if n >= 2 * size
        ]
        if n >= 100_000:
            runs += [
                ("division", f"budget={budget}", {"budget": budget, "settings": CertificateSettings(random_state=0)})
                for budget in (5, 20)
            ]
        for method, what, options in runs:
            seconds, found = cpu(
                lambda X=X, m=model, method=method, o=options: certify_kmeans(X, m.labels_, method=method, **o)
            )
            print(
                f"| {n:,} | {method} | {what} | {100 * found.gap:.2f} | {found.complete} | {seconds / base:.0f} |",
                flush=True,
            )


def print_real(folder: Path | None) -> None:
    """What can be proven of k-means on real tables."""
    tables = {
        "iris": (load_iris().data, 3),
        "wine, standardized": (scale(load_wine().data), 3),
        "digits": (load_digits().data, 10),
    }
    for name in ("optdigits", "pendigits") if folder else ():
        tables[name] = (np.load(folder / "ncd" / f"{name}.npz")["X"].astype(np.float64), 10)
    print("\nLabels of KMeans(n_init=50) on real tables: proven gap in %, by method; CPU time over that of that fit")
    print(
        "| table | n, d, k | inertia | pca | labels | admm or division | time of the last | 99 % confidence, sketch |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, (X, k) in tables.items():
        base, model = cpu(lambda X=X, k=k: k_means(X, 50, k))
        seconds, found = cpu(lambda X=X, m=model: certify_kmeans(X, m.labels_))
        last = "admm" if "admm" in found.bounds else "division"
        gaps = [100 * (1 - found.bounds[key] / found.inertia) for key in ("pca", "labels", last)]
        chance = certify_kmeans(
            X, model.labels_, method="sketch", settings=CertificateSettings(n_sketches=20, random_state=0)
        )
        print(
            f"| {name} | {X.shape[0]}, {X.shape[1]}, {k} | {found.inertia:.6g} | {gaps[0]:.1f} | {gaps[1]:.1f} | "
            f"{last} {gaps[2]:.2f} | {seconds / base:.0f} | {100 * (1 - chance.probable_bound / found.inertia):.0f} |",
            flush=True,
        )


TABLES = ("admm", "low-rank", "million", "overlap", "real", "likelihood")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_data_option(parser, required=False)
    parser.add_argument("--tables", nargs="*", default=TABLES, choices=TABLES)
    parser.add_argument("--sizes", nargs="*", type=int, default=None, help="numbers of rows, for a quick look")
    parser.add_argument("--devices", nargs="*", default=[], help="of torch, for ADMM: cpu, cuda")
    options = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    if "admm" in options.tables:
        print_admm([None, *options.devices])
    if "low-rank" in options.tables:
        print_low_rank(options.sizes or [1000, 10_000, 100_000, 1_000_000])
    if "million" in options.tables:
        print_million((options.sizes or [1_000_000])[-1])
    if "overlap" in options.tables:
        print_overlap(options.sizes or [2000, 20_000, 100_000])
    if "real" in options.tables:
        print_real(options.data)
    if "likelihood" in options.tables:
        from benchmarks._sdp_likelihood import likelihood_table

        likelihood_table()


if __name__ == "__main__":
    main()
