"""View generators: two versions of the same rows, which a contrastive objective brings together.

A generator is a module with ``prepare(X)``, called once with all standardized rows before training, and
``forward(rows)``, which returns two tensors of the shape of `rows`. All that is random comes from the generator of
torch, which belongs to the number of the epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

# Bins of a numeric column, and the rows they are counted in, for the mutual information of two columns.
_MOST_BINS, _MOST_COUNTED = 16, 10_000
# Columns whose bins are counted together.
_COLUMNS = 64
# Rows by which a user's function is known.
_SHOWN = 32


class Corruption(nn.Module):
    """Entries drawn anew from their column: the empirical marginals of SCARF.

    Parameters
    ----------
    rate : float
        Share of the columns that are drawn anew in each row, rounded down, at least one.
    both : bool, default=True
        Whether both views are corrupted, or the first is the row itself, as in SCARF.
    """

    def __init__(self, rate: float, both: bool = True) -> None:
        super().__init__()
        self.rate, self.both = rate, both

    def prepare(self, X: torch.Tensor) -> None:
        self.register_buffer("table", X, persistent=False)

    def corrupted(self, rows: torch.Tensor) -> torch.Tensor:
        n_rows, n_features = rows.shape
        n_drawn = max(1, int(self.rate * n_features))
        drawn = torch.rand(n_rows, n_features, device=rows.device).argsort(dim=1) < n_drawn
        donors = torch.randint(len(self.table), (n_rows, n_features), device=rows.device)
        return torch.where(drawn, self.table.gather(0, donors), rows)

    def forward(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return (self.corrupted(rows) if self.both else rows), self.corrupted(rows)


class CorrelatedMask(nn.Module):
    """A column and those that tell most about it are masked in the first view, all others in the second.

    Masked columns hold their mean. The column is drawn for each batch: one for each row would let a network recognize
    the two views of a row by their masks.

    Parameters
    ----------
    information : ndarray of shape (n_features, n_features), default=None
        Mutual information of the columns, in nats; None to measure it in the rows.
    """

    def __init__(self, information: np.ndarray | None = None) -> None:
        super().__init__()
        self.information = information

    def prepare(self, X: torch.Tensor) -> None:
        if self.information is None:
            self.information = mutual_information(X.cpu().numpy())
        n_features = X.shape[1]
        # Ties, as between columns that tell nothing, go to the left.
        ranks = np.argsort(np.argsort(-_with_self_first(self.information), axis=1, kind="stable"), axis=1)
        masked = ranks < max(1, n_features // 2)
        self.register_buffer("masked", torch.as_tensor(masked, device=X.device), persistent=False)

    def forward(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        masked = self.masked[torch.randint(len(self.masked), ())]
        return torch.where(masked, 0.0, rows), torch.where(masked, rows, 0.0)


class Subsets(nn.Module):
    """Two of several overlapping sets of columns, as in SubTab; all other columns hold their mean.

    Parameters
    ----------
    n_subsets : int, default=4
    overlap : float, default=0.75
        Share of its own width by which a set reaches into the next one.
    """

    def __init__(self, n_subsets: int = 4, overlap: float = 0.75) -> None:
        super().__init__()
        self.n_subsets, self.overlap = n_subsets, overlap

    def prepare(self, X: torch.Tensor) -> None:
        n_features = X.shape[1]
        n_subsets = max(2, min(self.n_subsets, n_features))
        # Columns stand in an order drawn by a fixed seed: neighbors are often alike.
        order = np.random.RandomState(0).permutation(n_features)
        width = n_features / n_subsets
        kept = np.zeros((n_subsets, n_features), dtype=bool)
        for subset in range(n_subsets):
            start = round(subset * width)
            columns = np.arange(start, max(start + 1, round((subset + 1 + self.overlap) * width))) % n_features
            kept[subset, order[columns]] = True
        self.register_buffer("kept", torch.as_tensor(kept, device=X.device), persistent=False)

    def forward(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        first, second = torch.randperm(len(self.kept))[:2].tolist()
        return torch.where(self.kept[first], rows, 0.0), torch.where(self.kept[second], rows, 0.0)


class OwnViews(nn.Module):
    """Views by a function of the user, in the units of the table.

    Parameters
    ----------
    function : callable
        Called with (rows, random_state), an array and a `numpy.random.RandomState`; returns two arrays.
    mean, scale : ndarray of shape (n_features,)
        By which rows were standardized.
    """

    def __init__(self, function: Callable, mean: np.ndarray, scale: np.ndarray) -> None:
        super().__init__()
        self.function, self.mean, self.scale = function, mean, scale

    def prepare(self, X: torch.Tensor) -> None:
        # What the function does to some rows tells a checkpoint of one function from that of another.
        self.given = np.stack(self._views(X[:_SHOWN], 0))

    def forward(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        views = self._views(rows, int(torch.randint(np.iinfo(np.int32).max, ())))
        first, second = (torch.as_tensor(view, dtype=rows.dtype, device=rows.device) for view in views)
        return first, second

    def _views(self, rows: torch.Tensor, seed: int) -> list[np.ndarray]:
        given = rows.cpu().numpy().astype(np.float64) * self.scale + self.mean
        returned = self.function(given, np.random.RandomState(seed))
        if not isinstance(returned, tuple | list) or len(returned) != 2:
            raise ValueError(f"views must return two arrays, got {type(returned).__name__}.")
        views = [np.asarray(view, dtype=np.float64) for view in returned]
        for view in views:
            if view.shape != given.shape or not np.isfinite(view).all():
                raise ValueError(f"views must return finite arrays of shape {given.shape}, got shape {view.shape}.")
        return [(view - self.mean) / self.scale for view in views]


def check_views(views: Any) -> None:
    """Refuse what is no view generator.

    Raises
    ------
    TypeError
        If it is no module, or a method is missing.
    """
    if not isinstance(views, nn.Module):
        raise TypeError(f"{type(views).__name__} is no view generator: it is no torch.nn.Module.")
    for method in ("prepare", "forward"):
        # A module that does not define it has a placeholder.
        missing = getattr(type(views), method, None) in (None, nn.Module.forward)
        if missing:
            raise TypeError(f"{type(views).__name__} is no view generator: it has no method {method!r}.")


def mutual_information(X: np.ndarray) -> np.ndarray:
    """Mutual information of each two columns, in nats; numeric ones are cut into as many bins as rows allow.

    Counted in at most 10,000 rows, evenly spread over the table.
    """
    if len(X) > _MOST_COUNTED:
        X = X[np.linspace(0, len(X) - 1, _MOST_COUNTED).astype(np.intp)]
    n_bins = int(np.clip(np.sqrt(len(X) / 5), 2, _MOST_BINS))
    bins = np.column_stack([_binned(column, n_bins) for column in X.T])
    blocks = [slice(start, start + _COLUMNS) for start in range(0, X.shape[1], _COLUMNS)]
    information = np.empty((X.shape[1], X.shape[1]))
    for first in blocks:
        rows = _indicators(bins[:, first])
        for second in blocks[blocks.index(first) :]:
            columns = _indicators(bins[:, second])
            joint = (rows.T @ columns).astype(np.float64) / len(X)
            expected = np.outer(rows.mean(axis=0, dtype=np.float64), columns.mean(axis=0, dtype=np.float64))
            terms = np.zeros_like(joint)
            np.log(joint / np.where(expected > 0, expected, 1), where=joint > 0, out=terms)
            n_first, n_second = bins[:, first].shape[1], bins[:, second].shape[1]
            sums = (joint * terms).reshape(n_first, -1, n_second, _MOST_BINS).sum(axis=(1, 3))
            information[first, second], information[second, first] = sums, sums.T
    return information


def _binned(column: np.ndarray, n_bins: int) -> np.ndarray:
    values, bins = np.unique(column, return_inverse=True)
    if len(values) <= n_bins:
        return bins
    return np.searchsorted(np.unique(np.quantile(column, np.linspace(0, 1, n_bins + 1)[1:-1])), column)


def _indicators(bins: np.ndarray) -> np.ndarray:
    """Columns of zeros and ones, ``_MOST_BINS`` for each column of bins."""
    return np.eye(_MOST_BINS, dtype=np.float32)[bins].reshape(len(bins), -1)


def _with_self_first(information: np.ndarray) -> np.ndarray:
    out = information.copy()
    np.fill_diagonal(out, np.inf)
    return out
