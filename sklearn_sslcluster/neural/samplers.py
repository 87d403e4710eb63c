"""Batch samplers: which rows a training step sees together.

A sampler has ``start(rows, embedding)``, called with the standardized rows to train on and their embedding before the
first epoch of a phase, and ``batches(n_rows, batch_size, random_state)``, which returns the places of the rows of each
step of an epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch


class RandomBatches:
    """Every row once an epoch, in random order."""

    def start(self, rows: torch.Tensor, embedding: torch.Tensor) -> None:
        """Nothing to prepare."""

    def batches(self, n_rows: int, batch_size: int, random_state: np.random.RandomState) -> list[np.ndarray]:
        return np.split(random_state.permutation(n_rows), batch_ends(n_rows, batch_size))


class OnePerCluster:
    """Batches in which no two rows share a pseudo-label, as in G-SimCLR.

    The n-th batch holds the n-th row of every cluster that has so many. Where sizes of clusters differ by at most one,
    only one batch of an epoch is smaller than the others; unequal clusters would end in batches of a few rows. A row
    that would make a batch of its own is left out of the epoch.

    Parameters
    ----------
    find_clusters : callable
        Called with (values, number of clusters); returns codes.
    batch_size : int
        Number of clusters.
    of : {"rows", "embedding"}
        What the clusters are looked for in.
    """

    def __init__(self, find_clusters: Callable[[np.ndarray, int], np.ndarray], batch_size: int, of: str) -> None:
        self.find_clusters, self.batch_size, self.of = find_clusters, batch_size, of
        self.codes = np.zeros(0, dtype=np.intp)

    def start(self, rows: torch.Tensor, embedding: torch.Tensor) -> None:
        values = (rows if self.of == "rows" else embedding).cpu().numpy().astype(np.float64)
        self.codes = np.asarray(self.find_clusters(values, min(self.batch_size, len(values))))

    def batches(self, n_rows: int, batch_size: int, random_state: np.random.RandomState) -> list[np.ndarray]:
        order = random_state.permutation(n_rows)
        by_cluster = order[np.argsort(self.codes[order], kind="stable")]
        sizes = np.bincount(self.codes)
        first = np.repeat(np.cumsum(sizes) - sizes, sizes)
        turn = np.arange(n_rows) - first
        # Rows whose turn comes together, in random order; clusters of one more row make the last turn.
        by_turn = by_cluster[np.argsort(turn, kind="stable")]
        found = np.split(by_turn, np.cumsum(np.bincount(turn))[:-1])
        found = [rows for rows in found if len(rows) > 1] or found[:1]
        return [found[place] for place in random_state.permutation(len(found))]

    def collision_rate(self, n_rows_of_batch: int, seed: int) -> float:
        """Share of the batches of an epoch in which two rows have the same pseudo-label."""
        batches = self.batches(len(self.codes), n_rows_of_batch, np.random.RandomState(seed))
        return collision_rate(batches, self.codes)


def batch_ends(n_rows: int, batch_size: int) -> list[int]:
    """Where one batch ends and the next begins; last rows too few for batch normalization join the batch before."""
    ends = list(range(batch_size, n_rows, batch_size))
    if ends and n_rows - ends[-1] < 2:
        ends.pop()
    return ends


def collision_rate(batches: list[np.ndarray], codes: np.ndarray) -> float:
    """Share of the batches in which two rows have the same code."""
    return float(np.mean([len(np.unique(codes[rows])) < len(rows) for rows in batches]))


def check_sampler(sampler: Any) -> None:
    """Refuse what is no batch sampler.

    Raises
    ------
    TypeError
        If a method is missing.
    """
    for method in ("start", "batches"):
        if not callable(getattr(sampler, method, None)):
            raise TypeError(f"{type(sampler).__name__} is no batch sampler: it has no method {method!r}.")
