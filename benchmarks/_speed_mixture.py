"""Speed and memory of Gaussian mixtures: ``python -m benchmarks.speed mixture``."""

from __future__ import annotations

import argparse
import tempfile
import warnings

import numpy as np
from sklearn.datasets import make_blobs
from sklearn.mixture import GaussianMixture

from benchmarks._timing import interleaved, peak_memory, seconds, write_blobs
from sklearn_sslcluster.engine import RowBlocks
from sklearn_sslcluster.mixture import SemiSupervisedGaussianMixture
from sklearn_sslcluster.numerics import (
    MaximizationSettings,
    Mixture,
    expectation_maximization,
    make_gaussians,
    measure_rows,
    pose_problem,
)

_FEW, _MANY = 2, 10
_MATRIX = 2048
_RIDGE = 1e-3


def multiply_adds(dtype: type) -> float:
    """Floating-point operations per second of a large matrix product."""
    A = np.random.default_rng(0).normal(size=(_MATRIX, _MATRIX)).astype(dtype)
    return 2 * _MATRIX**3 / min(seconds(lambda: A @ A) for _ in range(3))


def our_start(X: np.ndarray, precisions: np.ndarray, weights: np.ndarray, kind: str) -> tuple:
    """(rows, mixture, settings) of a run from the first rows as means, as an estimator would pose it."""
    source = RowBlocks(X, (None, None))
    problem = pose_problem(source, 0, np.random.RandomState(0), center=True)
    shift = problem.frame.shift
    rows = measure_rows(source, problem.frame, None, kind)
    covariances = np.linalg.inv(precisions) if kind == "full" else 1 / precisions
    gaussians, _ = make_gaussians(kind, X[: len(weights)].astype(np.float64) - shift, covariances)
    settings = MaximizationSettings(kind, "all", np.full(X.shape[1], _RIDGE))
    return rows, Mixture(gaussians, weights), settings


def iterations(n: int, d: int, k: int, kind: str, dtype: type, repeats: int) -> None:
    """Seconds per iteration: a long run less a short one from the same start, over the iterations that both made."""
    X = make_blobs(n, d, centers=k, cluster_std=8.0, random_state=0)[0].astype(dtype)
    variance = float(X[:10_000].var())
    precisions = {"full": np.stack([np.eye(d) / variance] * k), "diag": np.full((k, d), 1 / variance)}[kind]
    weights = np.full(k, 1 / k)
    rows, start, settings = our_start(X, precisions, weights, kind)
    made: dict[str, int] = {}

    def peer(n_iter: int) -> int:
        model = GaussianMixture(
            k,
            covariance_type=kind,
            reg_covar=_RIDGE,
            tol=0.0,
            max_iter=n_iter,
            means_init=X[:k],
            weights_init=weights,
            precisions_init=precisions,
        )
        return model.fit(X).n_iter_

    def ours(n_iter: int) -> int:
        return expectation_maximization(rows, start, settings, n_iter, 0.0).n_iter

    methods = {"peer": peer, "ours": ours}

    def run(name: str, n_iter: int) -> None:
        made[f"{name} {n_iter}"] = methods[name](n_iter)

    calls = {f"{name} {n}": (lambda name=name, n=n: run(name, n)) for n in (_FEW, _MANY) for name in ("peer", "ours")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        times = interleaved(calls, repeats)
    if any(made[key] != int(key.split()[1]) for key in made):
        raise RuntimeError(f"A run converged early: {made}.")
    of_peer, of_ours = (
        (times[f"{name} {_MANY}"] - times[f"{name} {_FEW}"]) / (_MANY - _FEW) for name in ("peer", "ours")
    )
    limit = 4 * n * k * (d * d if kind == "full" else 2 * d) / multiply_adds(dtype)
    kind_of = np.dtype(dtype).name
    print(f"| {n:,} | {d} | {k} | {kind} | {kind_of} | {of_peer / of_ours:.1f} | {of_ours / limit:.2f} |", flush=True)


def fit_mixture(X: np.ndarray, settings: dict) -> int:
    """Number of iterations of a fit, of a copy in memory if asked for."""
    settings = dict(settings)
    rows = np.array(X) if settings.pop("in_memory") else X
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return SemiSupervisedGaussianMixture(random_state=0, **settings).fit(rows).n_iter_


def memory(n: int, d: int, k: int, *, in_memory: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_blobs(folder, n, d)
        settings = {"n_components": k, "n_init": 1, "max_iter": 5, "in_memory": in_memory}
        anonymous, highest, n_iter = peak_memory(fit_mixture, path, (n, d), settings)
    megabytes = 4 * n * d / 1e6
    where = "in memory" if in_memory else "memory map"
    print(
        f"| {n:,} x {d}, {k} components | {where}, {megabytes:.0f} MB | {anonymous} | {highest} | {n_iter} |",
        flush=True,
    )


def mixture(options: argparse.Namespace) -> None:
    if "iterations" in options.tables:
        print(
            f"\nOne iteration of expectation-maximization, median of {options.repeats}: scikit-learn's GaussianMixture "
            "over SemiSupervisedGaussianMixture\n(same rows, type and start), and the latter over the multiply-add "
            "limit of this machine (4 n k d^2 operations for full, 8 n k d for diag)"
        )
        print("| n | d | k | covariance | dtype | times as fast | over the limit |")
        print("|---|---|---|---|---|---|---|")
        n = min(options.n, 200_000)
        for dtype in (np.float64, np.float32):
            for d, k, kind in ((32, 20, "full"), (16, 10, "full"), (32, 20, "diag")):
                iterations(n, d, k, kind, dtype, options.repeats)
    if "memory" in options.tables:
        print("\nPeak memory of a fit of float32 rows, all components unknown classes")
        print("| rows | X | peak RssAnon above the value after import, MB | VmHWM, MB | iterations |")
        print("|---|---|---|---|---|")
        memory(min(options.n, 1_000_000), 32, 50, in_memory=True)
        memory(int(options.gigabytes * 1e9 / (4 * 32)), 32, 20, in_memory=False)
