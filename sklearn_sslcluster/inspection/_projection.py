"""Rows in a plane."""

from __future__ import annotations

import numpy as np
from sklearn.decomposition import PCA

from ._columns import Columns


def project(columns: Columns) -> np.ndarray:
    """First two principal components of the standardized columns; zero where the table has fewer dimensions."""
    Z = columns.standardized
    embedding = np.zeros((len(Z), 2))
    n_components = min(2, *Z.shape)
    if len(Z) > 1 and columns.varies.any():
        reduction = PCA(n_components, svd_solver="auto", random_state=0)
        embedding[:, :n_components] = reduction.fit_transform(Z)
    return embedding


def shown_rows(codes: np.ndarray, max_rows: int) -> np.ndarray:
    """Rows to draw: all, or every so many of each class, at least one of each."""
    if len(codes) <= max_rows:
        return np.arange(len(codes))
    by_class = np.argsort(codes, kind="stable")
    step = len(codes) / max_rows
    drawn = by_class[np.unique((np.arange(max_rows) * step).astype(int))]
    _, first = np.unique(codes, return_index=True)
    return np.unique(np.concatenate([drawn, first]))
