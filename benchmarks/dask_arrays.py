"""Fits of a Dask array larger than the memory of a worker, against the same fits over a memory map on the same cores.

``python -m benchmarks.dask_arrays --gigabytes 10 --workers 2 --folder DIR`` writes a float32 file, lets workers of one
thread each read it in chunks, and prints the peak memory of every process, the time of whole fits beside that of a
process with as many threads, and whether a part of the rows gets the labels that it gets in memory. Needs the extra
``distributed``.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import warnings

import dask
import dask.array as da
import numpy as np
from dask.distributed import Client, LocalCluster
from threadpoolctl import threadpool_limits

from benchmarks._timing import MemoryWatch, seconds, write_blobs
from sklearn_sslcluster.discovery import SemiSupervisedKMeans
from sklearn_sslcluster.engine import KEPT_MEMORY, n_usable_threads
from sklearn_sslcluster.mixture import SemiSupervisedGaussianMixture

CHUNK_BYTES = 128 * 2**20
SUBSET = 500_000
# Seconds between two looks at the memory, which cost the workers time.
INTERVAL = 0.05
# Relative difference of the two best scores below which a row may go either way.
TIE = 1e-9
# Few iterations: what is compared is a pass over the rows.
MODELS = {
    "SemiSupervisedKMeans": SemiSupervisedKMeans(20, n_init=1, max_iter=10, tol=0, random_state=0),
    # From given means: a search on a sample is no pass over the rows.
    "SemiSupervisedGaussianMixture, diag": SemiSupervisedGaussianMixture(
        20, covariance_type="diag", max_iter=5, tol=0, random_state=0
    ),
}

COLUMNS = (
    "model",
    "labels",
    "iterations",
    "s: map, Dask",
    "throughput, Dask over map",
    "processor s: map, Dask",
    "RssAnon of workers, MB",
    "of the client, MB",
    "largest VmHWM of a worker, MB (with file pages)",
    "labels that differ",
)


def read_rows(path: str, shape: tuple[int, int], block_info: dict | None = None) -> np.ndarray:
    """The rows of one chunk, as a memory map of the file."""
    (start, stop), _ = block_info[None]["array-location"]
    return np.memmap(path, dtype=np.float32, mode="r", shape=shape)[start:stop]


def dask_rows(path: str, shape: tuple[int, int]) -> da.Array:
    chunks = da.core.normalize_chunks((CHUNK_BYTES // (4 * shape[1]), -1), shape)
    return da.map_blocks(read_rows, path, shape, chunks=chunks, dtype=np.float32, meta=np.empty((0, 0), np.float32))


def start_watch(dask_worker: object) -> None:
    import sklearn_sslcluster.discovery
    import sklearn_sslcluster.mixture

    # The names are looked up, so that what they import counts as imported.
    sklearn_sslcluster.discovery.SemiSupervisedKMeans(2).fit(np.eye(4))
    sklearn_sslcluster.mixture.SemiSupervisedGaussianMixture(2, n_init=1).fit(np.eye(4))
    dask_worker.watch = MemoryWatch(INTERVAL)


def stop_watch(dask_worker: object) -> tuple[int, int]:
    return dask_worker.watch.stop()


def processor_seconds(client: Client | None) -> float:
    """What this process and the workers have used."""
    return time.process_time() + (sum(client.run(time.process_time).values()) if client else 0.0)


def partial_labels(n: int, labeled: bool) -> np.ndarray | None:
    """A tenth of the rows is said to belong to one of three classes, at random: it is the flow of codes that counts."""
    if not labeled:
        return None
    y = np.full(n, -1, dtype=np.int8)
    y[::10] = np.random.default_rng(0).integers(3, size=len(y[::10]))
    return y


def model_for(name: str, first_rows: np.ndarray) -> object:
    model = MODELS[name]
    return model.set_params(means_init=first_rows.astype(np.float64)) if hasattr(model, "means_init") else model


def measured(name: str, labeled: bool, client: Client, path: str, shape: tuple[int, int], repeats: int) -> None:
    """A row of the table: times of both ways in turn, memory of every process in the last fit of Dask."""
    y = partial_labels(shape[0], labeled)
    mapped, rows = np.memmap(path, dtype=np.float32, mode="r", shape=shape), dask_rows(path, shape)
    model = model_for(name, mapped[:20])
    times: dict[str, list[float]] = {"memory map": [], "Dask": []}
    used: dict[str, list[float]] = {"memory map": [], "Dask": []}
    for _ in range(repeats):
        before = processor_seconds(None)
        times["memory map"].append(seconds(lambda: model.fit(mapped, y)))
        used["memory map"].append(processor_seconds(None) - before)
        expected, n_iter = model.labels_, model.n_iter_
        client.run(start_watch)
        watch, before = MemoryWatch(INTERVAL), processor_seconds(client)
        times["Dask"].append(seconds(lambda: model.fit(rows, y)))
        used["Dask"].append(processor_seconds(client) - before)
        here, workers = watch.stop(), client.run(stop_watch)
        different = int((model.labels_ != expected).sum())
        if model.n_iter_ != n_iter:
            raise RuntimeError(f"{model.n_iter_} iterations on Dask, {n_iter} over the memory map.")
    best, least = ({way: min(values) for way, values in table.items()} for table in (times, used))
    cells = [
        name,
        "a tenth" if labeled else "none",
        n_iter,
        f"{best['memory map']:.0f}, {best['Dask']:.0f}",
        f"{best['memory map'] / best['Dask']:.2f}",
        f"{least['memory map']:.0f}, {least['Dask']:.0f}",
        ", ".join(str(one[0]) for one in workers.values()),
        here[0],
        max(one[1] for one in workers.values()),
        f"{different:,}",
    ]
    print("|", " | ".join(map(str, cells)), "|", flush=True)


def equality(name: str, path: str, shape: tuple[int, int]) -> None:
    """Labels of the first rows as float64, on Dask and in memory."""
    part = dask_rows(path, shape)[:SUBSET].astype(np.float64)
    X = np.array(np.memmap(path, dtype=np.float32, mode="r", shape=shape)[:SUBSET], dtype=np.float64)
    model, y = model_for(name, X[:20]), partial_labels(len(X), True)
    there = model.fit(part, y).labels_
    here = model.fit(X, y).labels_
    differ = np.flatnonzero(there != here)
    ties = 0
    if len(differ):
        scores = -model.transform(X[differ]) if hasattr(model, "transform") else np.log(model.predict_proba(X[differ]))
        best = np.sort(scores, axis=1)[:, -2:]
        ties = int((best[:, 1] - best[:, 0] <= TIE * np.abs(best).max(axis=1)).sum())
    print(f"| {name} | {len(X):,} | {len(differ):,} | {ties:,} |", flush=True)


def compared(options: argparse.Namespace, folder: str) -> None:
    n = int(options.gigabytes * 1e9 / (4 * options.columns))
    shape = (n, options.columns)
    path = write_blobs(folder, *shape)
    dask.config.set(KEPT_MEMORY)
    cluster = LocalCluster(
        n_workers=options.workers, threads_per_worker=1, memory_limit=options.memory_limit, dashboard_address=None
    )
    with cluster, Client(cluster) as client, threadpool_limits(options.workers, user_api="openmp"):
        print(
            f"\nfloat32 file of {4e-9 * n * options.columns:.1f} GB (n={n:,}, d={options.columns}), chunks of 128 MiB"
        )
        print(
            f"{options.workers} workers of 1 thread with {options.memory_limit}; the map is read by "
            f"{n_usable_threads()} threads"
        )
        print("RssAnon: peak above the value after import; the client's includes the scheduler. s: best of the runs.\n")
        print("|", " | ".join(COLUMNS), "|")
        print("|---" * len(COLUMNS) + "|")
        for name in options.models:
            for labeled in (False, True):
                measured(name, labeled, client, path, shape, options.repeats)
        print(f"\nFirst rows as float64, a tenth labeled: labels of Dask and of the same fit in memory (tie: {TIE})\n")
        print("| model | rows | labels that differ | of these ties |")
        print("|---|---|---|---|")
        for name in options.models:
            equality(name, path, shape)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=10.0)
    parser.add_argument("--columns", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--memory-limit", default="2GB")
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--folder", help="where the file is written, and removed from; the folder of temporary files")
    options = parser.parse_args()
    if options.folder:
        os.makedirs(options.folder, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compared(options, folder)


if __name__ == "__main__":
    main()
