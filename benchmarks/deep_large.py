"""Deep estimators on a file larger than their memory: peak memory, and the time of an epoch beside that in memory.

``OMP_NUM_THREADS=2 python -m benchmarks.deep_large --gigabytes 10`` writes a float32 file of 64 columns around 20
centers, fits each estimator to the memory map, for few epochs and with a small network, and prints

- the peak of RssAnon above the value after import, and the largest VmHWM (which counts the pages of the file);
- the accuracy of the labels on the first 100,000 rows;
- the time of an epoch of the autoencoder over that of an epoch of as many rows that lie in memory.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from typing import Any

import numpy as np

from benchmarks._timing import interleaved, peak_memory, write_blobs
from sklearn_sslcluster.deep import (
    ContrastiveEncoder,
    DeepEmbeddedClustering,
    DeepKMeans,
    NeighborEmbeddingClustering,
    NetworkSettings,
    PrototypeClustering,
)
from sklearn_sslcluster.engine import RowBlocks, ShuffledRows
from sklearn_sslcluster.labels import encode_partial_labels
from sklearn_sslcluster.metrics import clustering_accuracy
from sklearn_sslcluster.neural import Phase, Reconstruction, Trainer, TrainingSettings, build_autoencoder, tables

COLUMNS, CENTERS, SCORED = 64, 20, 100_000
SETTINGS = {"encoder": NetworkSettings((128,)), "random_state": 0}
FEW = {"max_pretrain_epochs": 5, "max_epochs": 5, "n_init": 5}
MODELS = {
    "DeepEmbeddedClustering": DeepEmbeddedClustering(CENTERS, **FEW, **SETTINGS),
    "DeepKMeans": DeepKMeans(CENTERS, **FEW, **SETTINGS),
    "PrototypeClustering": PrototypeClustering(CENTERS, **FEW, **SETTINGS),
    "NeighborEmbeddingClustering": NeighborEmbeddingClustering(CENTERS, max_epochs=20, **SETTINGS),
    "ContrastiveEncoder": ContrastiveEncoder(16, max_epochs=5, **SETTINGS),
}


def true_centers() -> np.ndarray:
    return np.random.default_rng(0).normal(scale=3, size=(CENTERS, COLUMNS)).astype(np.float32)


def fitted(X: np.ndarray, name: str) -> float:
    """Accuracy of the labels of the first rows; NaN of what has no labels."""
    warnings.simplefilter("ignore")
    model = MODELS[name].fit(X)
    if not hasattr(model, "labels_"):
        return np.nan
    centers, rows = true_centers(), np.asarray(X[:SCORED])
    # The nearest center by which the rows were drawn.
    truth = ((centers**2).sum(axis=1) - 2 * rows @ centers.T).argmin(axis=1)
    return float(clustering_accuracy(truth, model.labels_[:SCORED]))


def epoch(Z: np.ndarray, stream: Any) -> None:
    network = build_autoencoder(SETTINGS["encoder"], *Z.shape, 10, 0)
    trainer = Trainer(Z, np.full(len(Z), -1), network, TrainingSettings(), None, stream)
    trainer.train([Phase("pretrain", Reconstruction(1.0), 1, hold_out=False)])


def epochs(X: np.ndarray, repeats: int) -> float:
    """Time of an epoch of rows read from the file over that of as many in memory."""
    labels = encode_partial_labels(None, X)
    rows = ShuffledRows(RowBlocks(X))
    mean, scale = np.zeros(COLUMNS), np.full(COLUMNS, 3.0)
    stream = tables.RowStream(rows, labels.codes, np.arange(10), mean, scale)
    n_rows = sum(len(batch) for batch, _ in rows.batches(0, 256, 0))
    Z = np.asarray(X[:n_rows]) / 3
    times = interleaved({"file": lambda: epoch(Z[:1000], stream), "memory": lambda: epoch(Z, None)}, repeats)
    return times["file"] / times["memory"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=10.0)
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", help="where the file is written, and removed from; the folder of temporary files")
    options = parser.parse_args()
    n = int(options.gigabytes * 1e9 / (4 * COLUMNS))
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path, shape = write_blobs(folder, n, COLUMNS), (n, COLUMNS)
        X = np.memmap(path, dtype=np.float32, mode="r", shape=shape)
        print(f"\nfloat32 file of {X.nbytes / 1e9:.1f} GB (n={n:,}, d={COLUMNS}), networks with one layer of 128 units")
        print(f"time of an epoch over that of as many rows in memory: {epochs(X, options.repeats):.2f}")
        print(
            "\n| model | peak RssAnon above the value after import, MB | VmHWM, MB (file pages included) | accuracy |"
        )
        print("|---|---|---|---|", flush=True)
        for name in options.models:
            anonymous, highest, accuracy = peak_memory(fitted, path, shape, name)
            print(f"| {name} | {anonymous} | {highest} | {accuracy:.3f} |", flush=True)


if __name__ == "__main__":
    main()
