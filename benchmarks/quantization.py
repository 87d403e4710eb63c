"""Clusters of equal sizes against plain k-means: ``python -m benchmarks.quantization``.

What balance costs in inertia, what it takes in time as a ratio to KMeans(n_init=10) of scikit-learn, how both grow with
the rows, and how balanced the assignment of Sinkhorn's algorithm is after a fixed number of iterations. With
``--tables codes``: sizes and time of the codes that batches are drawn by.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits

from benchmarks._timing import interleaved
from sklearn_sslcluster.numerics import annealed_potentials, assign_within, balanced_codes, log_sinkhorn, size_limits
from sklearn_sslcluster.quantization import BalancedKMeans

SOLVERS = ("paths", "sinkhorn")


def skewed(n: int, d: int = 8) -> np.ndarray:
    """Rows that are dense near the origin and ever sparser away from it."""
    return np.random.RandomState(0).gamma(1, size=(n, d))


def sizes_of(codes: np.ndarray, k: int) -> str:
    sizes = np.bincount(codes, minlength=k)
    return f"{sizes.min()}-{sizes.max()}"


def inertia(X: np.ndarray, codes: np.ndarray) -> float:
    return sum(float(((X[codes == c] - X[codes == c].mean(axis=0)) ** 2).sum()) for c in np.unique(codes))


def fits(repeats: int) -> None:
    print(
        f"\nWhole fits, n_init=10; sizes, inertia over that of KMeans, time over that of KMeans (median of {repeats})"
    )
    print("| table | n | k | KMeans sizes | BalancedKMeans sizes | inertia | time, paths | time, sinkhorn |")
    print("|---|---|---|---|---|---|---|---|")
    for name, X, k in (("digits", load_digits().data, 10), ("skewed", skewed(2000), 32)):
        plain = KMeans(k, n_init=10, random_state=0)
        models = {solver: BalancedKMeans(k, solver=solver, random_state=0) for solver in SOLVERS}
        calls = {solver: (lambda model=model, X=X: model.fit(X)) for solver, model in models.items()}
        times = interleaved({"peer": lambda plain=plain, X=X: plain.fit(X), **calls}, repeats)
        ratios = " | ".join(f"{times[solver] / times['peer']:.0f}" for solver in SOLVERS)
        sizes = " and ".join(sorted({f"{model.sizes_.min()}-{model.sizes_.max()}" for model in models.values()}))
        cost = " and ".join(sorted({f"{model.inertia_ / plain.inertia_:.3f}" for model in models.values()}))
        print(f"| {name} | {len(X)} | {k} | {sizes_of(plain.labels_, k)} | {sizes} | {cost} | {ratios} |", flush=True)


def iterations() -> None:
    X, k = skewed(2000), 32
    centers = KMeans(k, n_init=10, random_state=0).fit(X).cluster_centers_
    costs = ((X[:, None] - centers) ** 2).sum(axis=2)
    nearest = costs.min(axis=1).mean()
    print("\nAssignments to the same centers, those of KMeans, skewed, n=2000, k=32: sizes (wanted: 62-63), mean cost")
    print("| assignment | sizes | cost over that of the nearest centers |")
    print("|---|---|---|")

    def row(name: str, codes: np.ndarray) -> None:
        cost = costs[np.arange(len(codes)), codes].mean() / nearest
        print(f"| {name} | {sizes_of(codes, k)} | {cost:.3f} |", flush=True)

    row("nearest center", costs.argmin(axis=1))
    # Costs between -1 and 1, as in work on quantizers with this assignment.
    middle, half = (costs.max() + costs.min()) / 2, (costs.max() - costs.min()) / 2
    scaled = (costs - middle) / half
    log_rows, log_columns = np.zeros(len(X)), np.full(k, np.log(len(X) / k))
    for regularization, n_iter in ((0.05, 3), (0.003, 100), (0.003, 1000)):
        plan = log_sinkhorn(-scaled / regularization, log_rows, log_columns, max_iter=n_iter, tol=None)
        row(f"Sinkhorn, regularization {regularization}, {n_iter} iterations", plan.log_plan.argmax(axis=1))
    potentials = annealed_potentials(costs, np.full(k, len(X) / k))
    row("Sinkhorn, annealed, until the masses are right", (costs - potentials).argmin(axis=1))
    row("exact", assign_within(costs, *size_limits(np.full(k, len(X) / k)), potentials).codes)


def growth(repeats: int) -> None:
    print("\nTime of a fit (one start, skewed, k=16) over that of KMeans(n_init=10) on the same rows")
    print("| n | paths | sinkhorn | rows in other clusters than those of the nearest centers |")
    print("|---|---|---|---|")
    for n in (2000, 4000, 8000, 16000):
        X = skewed(n)
        models = {solver: BalancedKMeans(16, solver=solver, n_init=1, random_state=0) for solver in SOLVERS}
        calls = {solver: (lambda model=model, X=X: model.fit(X)) for solver, model in models.items()}
        times = interleaved({"peer": lambda X=X: KMeans(16, n_init=10, random_state=0).fit(X), **calls}, repeats)
        model = models["paths"]
        moved = (model.predict(X, nearest=True) != model.labels_).mean()
        ratios = " | ".join(f"{times[solver] / times['peer']:.1f}" for solver in SOLVERS)
        print(f"| {n} | {ratios} | {moved:.0%} |", flush=True)


def codes() -> None:
    print("\nCodes for batches, skewed, n=20000: time over that of KMeans(256, n_init=10)")
    print("| k | sizes | inertia over that of random codes of these sizes | time |")
    print("|---|---|---|---|")
    X = skewed(20_000)
    found: dict[int, np.ndarray] = {}

    def find(k: int) -> None:
        found[k] = balanced_codes(X, k, np.random.RandomState(0))

    calls = {k: (lambda k=k: find(k)) for k in (64, 256, 2500)}
    times = interleaved({"peer": lambda: KMeans(256, n_init=10, random_state=0).fit(X), **calls}, 1)
    for k, found_codes in found.items():
        chance = inertia(X, np.random.RandomState(0).permutation(found_codes))
        ratio = inertia(X, found_codes) / chance
        print(f"| {k} | {sizes_of(found_codes, k)} | {ratio:.3f} | {times[k] / times['peer']:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    tables = ["fits", "iterations", "growth", "codes"]
    parser.add_argument("--tables", nargs="*", default=tables[:3], choices=tables)
    options = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    if "fits" in options.tables:
        fits(options.repeats)
    if "iterations" in options.tables:
        iterations()
    if "growth" in options.tables:
        growth(options.repeats)
    if "codes" in options.tables:
        codes()


if __name__ == "__main__":
    main()
