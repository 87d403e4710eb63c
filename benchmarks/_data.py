"""Tables for the benchmarks: the published splits of novel class discovery, and tables for many random class splits."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.preprocessing import StandardScaler

# Troisemaine et al. 2024: novel classes, tuned (s_min, number of eigenvectors) with the number of classes given, and
# accuracies of tables 3 and 4 in percent.
PUBLISHED = {
    "pendigits": {"novel": (0, 3, 5, 6, 7), "spectral": (0.3784, 15), "kmeans": 81.7, "ncd": 81.7, "ncd_sc": 81.7},
    "optdigits": {"novel": (0, 3, 4, 5, 6), "spectral": (0.116, 37), "kmeans": 79.1, "ncd": 94.2, "ncd_sc": 95.4},
    "mfeat": {"novel": (1, 3, 6, 7, 9), "spectral": (0.4757, 14), "kmeans": 89.1, "ncd": 89.7, "ncd_sc": 89.2},
}


@dataclass(frozen=True)
class Split:
    """A table with its published split, columns standardized by the training rows."""

    name: str
    X_train: np.ndarray
    y_train: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray

    @property
    def novel(self) -> np.ndarray:
        return np.array(PUBLISHED[self.name]["novel"])

    @property
    def n_classes(self) -> int:
        return len(np.unique(self.y_train))

    @property
    def train_partial(self) -> np.ndarray:
        return np.where(np.isin(self.y_train, self.novel), -1, self.y_train)

    @property
    def test_is_novel(self) -> np.ndarray:
        return np.isin(self.y_test, self.novel)


def add_data_option(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument(
        "--data", type=Path, required=required, help="folder that holds ncd/pendigits.npz, optdigits.npz, mfeat.npz"
    )


def published_split(folder: Path, name: str) -> Split:
    """The split of the paper: its rows, columns and scaling."""
    table = np.load(folder / "ncd" / f"{name}.npz")
    X, y, test = table["X"].astype(np.float64), table["y"].astype(int), table["is_test"]
    if name == "mfeat":
        X = X[:, 1:216]
    X = X[:, X[~test].std(axis=0) > 0]
    scaler = StandardScaler().fit(X[~test])
    return Split(name, scaler.transform(X[~test]), y[~test], scaler.transform(X[test]), y[test])


def study_tables(folder: Path | None) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Standardized tables for random class splits: scikit-learn's, and those of `folder` (mfeat by its views)."""
    tables = {
        "digits": load_digits(return_X_y=True),
        "wine": load_wine(return_X_y=True),
        "iris": load_iris(return_X_y=True),
    }
    if folder is not None:
        for name in ("pendigits", "optdigits"):
            table = np.load(folder / "ncd" / f"{name}.npz")
            tables[name] = table["X"].astype(np.float64), table["y"].astype(int)
        table = np.load(folder / "ncd" / "mfeat.npz")
        X, y, view = table["X"].astype(np.float64), table["y"].astype(int), table["view"]
        for name in np.unique(view):
            tables[f"mfeat-{name}"] = X[:, view == name], y
    return {
        name: (StandardScaler().fit_transform(X[:, X.std(axis=0) > 0]), np.asarray(y))
        for name, (X, y) in tables.items()
    }


def keel_table(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Standardized columns and classes of a file of the KEEL repository; without classes of fewer than ten rows.

    A column of text becomes one column a value.
    """
    lines = [line.strip() for line in path.read_text(errors="ignore").splitlines()]
    cells = [[cell.strip() for cell in line.split(",")] for line in lines if line and not line.startswith("@")]
    y = np.unique([entry[-1] for entry in cells], return_inverse=True)[1]
    X = np.column_stack([_numbers([entry[j] for entry in cells]) for j in range(len(cells[0]) - 1)])
    X, y = X[np.bincount(y)[y] >= 10], y[np.bincount(y)[y] >= 10]
    return StandardScaler().fit_transform(X[:, X.std(axis=0) > 0]), np.unique(y, return_inverse=True)[1]


def _numbers(column: list[str]) -> np.ndarray:
    try:
        return np.array(column, dtype=np.float64)[:, None]
    except ValueError:
        return (np.array(column)[:, None] == np.unique(column)).astype(np.float64)


def mean_std(values: list[float]) -> str:
    """Mean and standard deviation in percent."""
    return f"{100 * np.mean(values):.1f}±{100 * np.std(values):.1f}"
