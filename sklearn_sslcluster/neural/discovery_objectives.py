"""Objectives of novel class discovery: classification of known classes while rows are rebuilt, and TabularNCD's two."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from .networks import SideBySide
from .objectives import Batch, Objective

_LEAST_PROBABILITY = 1e-7


class ClassifiedReconstruction(Objective):
    """Cross-entropy of the known classes and squared error of the decoded rows: ``w * L_CE + (1 - w) * L_MSE``.

    The sum of it over networks that are side by side.

    Parameters
    ----------
    w : float
        Weight of the classification.
    summed : bool
        Sum the squared errors of a row over its features, or take their mean.
    normalize : bool
        Rows of the embedding have unit length.
    """

    requires = ("encoder", "decoder", "head")

    def __init__(self, w: float, *, summed: bool, normalize: bool) -> None:
        super().__init__()
        self.w, self.summed, self.normalize = w, summed, normalize

    def loss(self, batch: Batch, network: nn.ModuleDict) -> torch.Tensor:
        parts: Any = [network[name] for name in self.requires]
        if not isinstance(parts[0], SideBySide):
            return self._loss(batch, *parts)
        members = zip(parts[0].members, *parts[1:], strict=True)
        return torch.stack([self._loss(batch, *member) for member in members]).sum()

    def _loss(self, batch: Batch, encoder: nn.Module, decoder: nn.Module, head: nn.Module) -> torch.Tensor:
        embedding = encoder(batch.rows)
        if self.normalize:
            embedding = functional.normalize(embedding, dim=1)
        squares = (decoder(embedding) - batch.rows) ** 2
        rebuilt = (squares.sum(dim=1) if self.summed else squares.mean(dim=1)).mean()
        labeled = batch.codes >= 0
        if not labeled.any():
            return (1 - self.w) * rebuilt
        classified = functional.cross_entropy(head(embedding[labeled]), batch.codes[labeled])
        return self.w * classified + (1 - self.w) * rebuilt


@dataclass(frozen=True)
class Columns:
    """Which columns of encoded rows belong together.

    Attributes
    ----------
    numbers : tuple of int
        Columns that hold numbers.
    blocks : tuple of (int, int)
        First and one-past-last column of every one-hot encoded categorical column.
    """

    numbers: tuple[int, ...]
    blocks: tuple[tuple[int, int], ...]

    def membership(self) -> torch.Tensor:
        """Matrix of shape (n_original, n_encoded): 1 where an encoded column belongs to an original one."""
        n_encoded = len(self.numbers) + sum(stop - start for start, stop in self.blocks)
        spans = sorted([(j, j + 1) for j in self.numbers] + list(self.blocks))
        member = torch.zeros(len(spans), n_encoded)
        for i, (start, stop) in enumerate(spans):
            member[i, start:stop] = 1
        return member


def corrupt(rows: torch.Tensor, mask: torch.Tensor, order: torch.Tensor, member: torch.Tensor) -> tuple:
    """Rows whose masked entries come from other rows, and which entries that has changed.

    Parameters
    ----------
    rows : Tensor of shape (n_rows, n_encoded)
    mask : Tensor of shape (n_rows, n_original)
        1 where an original column is to be taken from another row.
    order : Tensor of shape (n_rows, n_original)
        The other row, for every column a permutation.
    member : Tensor of shape (n_original, n_encoded)
        See ``Columns.membership``.

    Returns
    -------
    corrupted : Tensor of shape (n_rows, n_encoded)
    changed : Tensor of shape (n_rows, n_original)
    """
    column = member.argmax(dim=0)
    others = torch.gather(rows, 0, order[:, column])
    corrupted = torch.where(mask[:, column] > 0, others, rows)
    changed = ((corrupted != rows).to(rows.dtype) @ member.T > 0).to(rows.dtype)
    return corrupted, changed


class MaskedReconstruction(Objective):
    """Which entries of a row were replaced, and what they were (VIME): ``L_mask + alpha * L_rows``.

    Parameters
    ----------
    columns : Columns
    mask_share : float
        Share of the entries that are replaced.
    alpha : float
        Weight of the rows.
    """

    requires = ("encoder", "mask_estimator", "row_estimator")

    def __init__(self, columns: Columns, mask_share: float, alpha: float) -> None:
        super().__init__()
        self.mask_share, self.alpha = mask_share, alpha
        self.register_buffer("member", columns.membership(), persistent=False)

    def loss(self, batch: Batch, network: nn.ModuleDict) -> torch.Tensor:
        rows = batch.rows
        shape = (len(rows), len(self.member))
        mask = (torch.rand(shape, device=rows.device) < self.mask_share).to(rows.dtype)
        order = torch.rand(shape, device=rows.device).argsort(dim=0)
        corrupted, changed = corrupt(rows, mask, order, self.member)
        embedding = network["encoder"](corrupted)
        masked = functional.binary_cross_entropy_with_logits(network["mask_estimator"](embedding), changed)
        return masked + self.alpha * functional.mse_loss(network["row_estimator"](embedding), rows)


def similar_pairs(embedding: torch.Tensor, n_similar: int) -> torch.Tensor:
    """Pseudo-labels of pairs: 1 where one row is among the `n_similar` most cosine-similar ones of the other.

    Returns
    -------
    pairs : Tensor of shape (n_rows, n_rows)
        Symmetric; the diagonal means nothing.
    """
    unit = functional.normalize(embedding.detach(), dim=1)
    similarity = (unit @ unit.T).fill_diagonal_(-torch.inf)
    nearest = similarity.topk(min(n_similar, len(unit) - 1), dim=1).indices
    pairs = torch.zeros_like(similarity).scatter_(1, nearest, 1.0)
    return torch.maximum(pairs, pairs.T)


def pair_loss(probabilities: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy between "in one cluster" and pseudo-labels, over all unordered pairs of rows."""
    first, second = torch.triu_indices(len(pairs), len(pairs), offset=1, device=pairs.device)
    together = (probabilities[first] * probabilities[second]).sum(dim=1)
    together = together.clamp(_LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
    return functional.binary_cross_entropy(together, pairs[first, second])


def interpolate(
    rows: torch.Tensor, pool: torch.Tensor, allowed: torch.Tensor, n_neighbors: int, columns: Columns
) -> torch.Tensor:
    """Views of rows on the way to a random near one (SMOTE-NC): the categories are the commonest of the near ones.

    Parameters
    ----------
    rows : Tensor of shape (n_rows, n_encoded)
    pool : Tensor of shape (n_pool, n_encoded)
        Candidates.
    allowed : Tensor of shape (n_rows, n_pool), dtype bool
        Who may be a neighbor of whom. A row without any stays as it is.
    n_neighbors : int
        The near ones are those of largest cosine similarity.
    columns : Columns
    """
    similarity = functional.normalize(rows, dim=1) @ functional.normalize(pool, dim=1).T
    similarity = torch.where(allowed, similarity, -torch.inf)
    values, nearest = similarity.topk(min(n_neighbors, len(pool)), dim=1)
    near = (values > -torch.inf).to(rows.dtype)
    n_near = near.sum(dim=1)
    drawn = (torch.rand(len(rows), device=rows.device) * n_near).long().clamp(max=near.shape[1] - 1)
    target = pool[nearest.gather(1, drawn[:, None])[:, 0]]
    way = torch.rand(len(rows), 1, device=rows.device)
    views = rows + way * (target - rows)
    for start, stop in columns.blocks:
        votes = torch.einsum("ij,ijb->ib", near, pool[nearest][:, :, start:stop])
        commonest = functional.one_hot(votes.argmax(dim=1), stop - start).to(rows.dtype)
        views[:, start:stop] = torch.where(votes.sum(dim=1, keepdim=True) > 0, commonest, rows[:, start:stop])
    return torch.where(n_near[:, None] > 0, views, rows)


class Memory(nn.Module):
    """The latest rows seen, first in, first out, in buffers of fixed size."""

    def __init__(self, n_rows: int, n_columns: int) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(n_rows, n_columns))
        self.register_buffer("index", torch.full((n_rows,), -1))
        self.register_buffer("codes", torch.full((n_rows,), -1))

    def pool(self, batch: Batch) -> Batch:
        """Rows of the batch, then those remembered; places not yet filled have the index -1."""
        return Batch(
            torch.cat([batch.rows, self.rows]),
            torch.cat([batch.index, self.index]),
            torch.cat([batch.codes, self.codes]),
        )

    def remember(self, batch: Batch) -> None:
        size = len(self.index)
        for name in ("rows", "index", "codes"):
            new = getattr(batch, name)
            kept = torch.cat([getattr(self, name), new.to(getattr(self, name).dtype)])[-size:] if size else new[:0]
            setattr(self, name, kept)


@dataclass(frozen=True)
class ConsistencySettings:
    """How views are made.

    Attributes
    ----------
    columns : Columns
    n_neighbors : int
    n_memory : int
        Rows remembered of the known, and of the unlabeled rows.
    """

    columns: Columns
    n_neighbors: int
    n_memory: int


class DiscoveryHeads(Objective):
    """TabularNCD: two heads that learn in turn, each from its own optimizer.

    ``w1 * L_class + (1 - w1) * L_reg`` for the head of the known classes and of "novel", where unlabeled rows are
    taken to be novel; then ``w2 * L_clust + (1 - w2) * L_reg`` for the head of the novel classes, on unlabeled rows.

    Parameters
    ----------
    weights : (float, float)
        `w1` and `w2`.
    top_k : float
        Share of the unlabeled rows of a batch that are similar to a row.
    consistency : ConsistencySettings
    n_known, n_novel : int
        Classes; the head of the known classes has one more output where there are novel ones.
    place_heads : callable, optional
        Called with the embedding of all rows before the first epoch; sets the heads.
    """

    requires = ("encoder", "class_head", "cluster_head")

    def __init__(
        self,
        weights: tuple[float, float],
        top_k: float,
        consistency: ConsistencySettings,
        n_known: int,
        n_novel: int,
        place_heads: Callable[[torch.Tensor], None] | None = None,
    ) -> None:
        super().__init__()
        self.w1, self.w2 = weights
        self.top_k, self.consistency, self.place_heads = top_k, consistency, place_heads
        self.n_known, self.n_novel = n_known, n_novel
        columns = consistency.columns
        n_columns = len(columns.numbers) + sum(stop - start for start, stop in columns.blocks)
        self.memories = nn.ModuleList([Memory(consistency.n_memory, n_columns) for _ in range(2)])

    def start(self, embedding: torch.Tensor) -> None:
        if self.place_heads is not None:
            self.place_heads(embedding)

    def steps(self, batch: Batch, network: nn.ModuleDict) -> Iterator[torch.Tensor | None]:
        """Loss of classification, and once that has been stepped, of clustering."""
        views = self.views(batch)
        yield self.classification(batch, views, network)
        yield self.clustering(batch, views, network)

    def loss(self, batch: Batch, network: nn.ModuleDict) -> torch.Tensor:
        views = self.views(batch)
        losses = (self.classification(batch, views, network), self.clustering(batch, views, network))
        return sum((loss for loss in losses if loss is not None), start=batch.rows.new_zeros(()))

    def views(self, batch: Batch) -> torch.Tensor:
        """A near row on the way to each row; labeled rows look among those of their class, others among unlabeled."""
        views = batch.rows.clone()
        for is_known, memory in enumerate(self.memories):
            kind = (batch.codes >= 0) == bool(is_known)
            if not kind.any():
                continue
            part = Batch(batch.rows[kind], batch.index[kind], batch.codes[kind])
            pool = memory.pool(part)
            allowed = (part.codes[:, None] == pool.codes) & (part.index[:, None] != pool.index) & (pool.index >= 0)
            views[kind] = interpolate(
                part.rows, pool.rows, allowed, self.consistency.n_neighbors, self.consistency.columns
            )
            if self.training:
                memory.remember(part)
        return views

    def classification(self, batch: Batch, views: torch.Tensor, network: nn.ModuleDict) -> torch.Tensor | None:
        n_outputs = self.n_known + (self.n_novel > 0)
        used = (batch.codes >= 0) | (self.n_novel > 0)
        if n_outputs < 2 or not used.any():
            return None
        codes = torch.where(batch.codes >= 0, batch.codes, self.n_known)[used]
        logits = network["class_head"](network["encoder"](batch.rows[used]))
        other = network["class_head"](network["encoder"](views[used]))
        known = functional.cross_entropy(logits, codes)
        return self.w1 * known + (1 - self.w1) * difference(logits, other)

    def clustering(self, batch: Batch, views: torch.Tensor, network: nn.ModuleDict) -> torch.Tensor | None:
        free = batch.codes < 0
        n_free = int(free.sum())
        if self.n_novel < 2 or n_free < 2:
            return None
        embedding = network["encoder"](batch.rows[free])
        logits = network["cluster_head"](embedding)
        other = network["cluster_head"](network["encoder"](views[free]))
        pairs = similar_pairs(embedding, max(1, round(self.top_k * n_free)))
        return self.w2 * pair_loss(logits.softmax(dim=1), pairs) + (1 - self.w2) * difference(logits, other)


def difference(logits: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of the probabilities of rows and of their views."""
    return functional.mse_loss(logits.softmax(dim=1), other.softmax(dim=1))


def place_head(head: nn.Linear, centers: np.ndarray, variance: float) -> None:
    """Set a head so that its probabilities are those of spherical Gaussians around centers, equally heavy."""
    weight = torch.as_tensor(centers / variance, dtype=head.weight.dtype, device=head.weight.device)
    bias = torch.as_tensor(-0.5 * (centers**2).sum(axis=1) / variance, dtype=head.bias.dtype, device=head.bias.device)
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias)
