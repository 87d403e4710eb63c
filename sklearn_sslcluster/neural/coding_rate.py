"""Maximal coding rate reduction, with a membership that is a doubly stochastic matrix of the rows."""

from __future__ import annotations

from functools import partial
from math import log
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from ..numerics import log_sinkhorn
from .networks import build_encoder
from .objectives import Batch, Objective

# The floats that the classes of a chunk of memberships may take: they come one chunk after the other.
_MOST_FLOATS = 2**22


class RateSettings(NamedTuple):
    """Constants of the rates.

    Attributes
    ----------
    squared_error : float
        Rows of unit length are coded up to this mean squared error.
    temperature : float
        Entropic regularization of the doubly stochastic membership, in units of affinities.
    n_steps : int
        Half-iterations of Sinkhorn's algorithm, through which gradients flow.
    sparsity : float
        Weight of half the squared norm of the membership.
    neighbor_weight : float
        Weight of the part that keeps neighbors together.
    """

    squared_error: float
    temperature: float
    n_steps: int
    sparsity: float
    neighbor_weight: float


def total_rate(Z: torch.Tensor, squared_error: float) -> torch.Tensor:
    """Nats a row that all rows take together."""
    n_rows, n_columns = Z.shape
    scatter = Z.T @ Z * (n_columns / (n_rows * squared_error))
    return 0.5 * torch.logdet(torch.eye(n_columns, dtype=Z.dtype, device=Z.device) + scatter)


def class_rate(Z: torch.Tensor, membership: torch.Tensor, squared_error: float) -> torch.Tensor:
    """Nats a row when each is coded with the classes that it belongs to.

    Parameters
    ----------
    Z : Tensor of shape (n_rows, n_columns)
    membership : Tensor of shape (n_rows, n_classes)
        Non-negative; no column is all zeros. Any number of classes: as many as rows, or a few.
    squared_error : float
    """
    n_rows, n_columns = Z.shape
    outer = (Z[:, :, None] * Z[:, None, :]).reshape(n_rows, -1)
    eye = torch.eye(n_columns, dtype=Z.dtype, device=Z.device)
    total = torch.zeros((), dtype=Z.dtype, device=Z.device)
    # One product of matrices and one batched factorization a chunk: memory is bounded by the chunk and the batch.
    for part in membership.split(max(1, _MOST_FLOATS // n_columns**2), dim=1):
        weight = part.sum(dim=0)
        scatter = ((part / weight).T @ outer).reshape(-1, n_columns, n_columns)
        factor = torch.linalg.cholesky(eye + scatter * (n_columns / squared_error))
        log_det = 2 * torch.log(torch.diagonal(factor, dim1=1, dim2=2)).sum(dim=1)
        total = total + (weight / (2 * n_rows) * log_det).sum()
    return total


def doubly_stochastic(codes: torch.Tensor, known: torch.Tensor | None, settings: RateSettings) -> torch.Tensor:
    """Membership of rows in the classes of rows, (n_rows, n_rows), whose rows and columns sum to 1.

    The entropic projection of the absolute cosines. Rows of one known class count as parallel, and rows of different
    known classes share no class.

    Parameters
    ----------
    codes : Tensor of shape (n_rows, n_columns)
        Of unit length.
    known : Tensor of shape (n_rows,) or None
        Codes of known classes, -1 for unlabeled rows.
    settings : RateSettings
    """
    scores = (codes @ codes.T).abs()
    if known is not None and bool((known >= 0).any()):
        both = (known[:, None] >= 0) & (known[None, :] >= 0)
        same = known[:, None] == known[None, :]
        scores = scores.masked_fill(both & same, 1.0).masked_fill(both & ~same, -torch.inf)
    mass = torch.full((len(codes),), -log(len(codes)), dtype=codes.dtype, device=codes.device)
    n_iter = max(1, -(-settings.n_steps // 2))
    plan = log_sinkhorn(scores / settings.temperature, mass, mass, max_iter=n_iter, tol=None).log_plan
    return (plan + log(len(codes))).exp()


class TotalRate(Objective):
    """Spreads the rows: the coding rate of all of them, while neighbors stay together.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_features)
        Standardized.
    neighbors : ndarray of shape (n_rows, n_neighbors)
        Numbers of the nearest other rows.
    settings : RateSettings
    """

    def __init__(self, rows: np.ndarray, neighbors: np.ndarray, settings: RateSettings) -> None:
        super().__init__()
        self.settings = settings
        self.register_buffer("rows", torch.as_tensor(rows, dtype=torch.float32), persistent=False)
        self.register_buffer("neighbors", torch.as_tensor(neighbors, dtype=torch.int64), persistent=False)

    def loss(self, batch: Batch, network: nn.ModuleDict) -> torch.Tensor:
        Z = self._embed(batch.rows, network)
        # Determinants want all the digits there are, also on a GPU that trains in half precision.
        with torch.autocast(Z.device.type, enabled=False):
            Z = Z.float()
            return self._torn(Z, batch, network) - total_rate(Z, self.settings.squared_error)

    def _embed(self, rows: torch.Tensor, network: nn.ModuleDict) -> torch.Tensor:
        return nn.functional.normalize(network["encoder"](rows), dim=1)

    def _torn(self, Z: torch.Tensor, batch: Batch, network: nn.ModuleDict) -> torch.Tensor:
        """One minus the cosine between rows and places on the way to one of their neighbors."""
        if not self.settings.neighbor_weight or not self.neighbors.shape[1]:
            return torch.zeros((), dtype=Z.dtype, device=Z.device)
        index = batch.index
        drawn = torch.randint(self.neighbors.shape[1], (len(index),), device=index.device)
        other, share = self.neighbors[index, drawn], torch.rand(len(index), 1, device=index.device)
        beside = self._embed(torch.lerp(batch.rows, self.rows[other], share), network).to(Z.dtype)
        return self.settings.neighbor_weight * (1 - (Z * beside).sum(dim=1)).mean()


class RateReduction(TotalRate):
    """What `TotalRate` raises, less the rate of the classes, with the sparsity of the membership.

    Parameters
    ----------
    rows, neighbors, settings
        As of `TotalRate`.
    network : torch.nn.ModuleDict or None
        With a part "cluster", which ``start`` makes the copy of the last layer of the encoder that it was built as.
        None: the memberships are those of the embedding itself.
    """

    def __init__(
        self, rows: np.ndarray, neighbors: np.ndarray, settings: RateSettings, network: nn.ModuleDict | None = None
    ) -> None:
        super().__init__(rows, neighbors, settings)
        # A function, since a module would be stored, and learned, a second time.
        self.copy_head = None if network is None else partial(copy_head, network)
        self.requires = ("encoder",) if network is None else ("encoder", "cluster")

    def start(self, embedding: torch.Tensor) -> None:
        if self.copy_head is not None:
            self.copy_head()

    def loss(self, batch: Batch, network: nn.ModuleDict) -> torch.Tensor:
        settings = self.settings
        Z, codes = self._embed_twice(batch.rows, network)
        with torch.autocast(Z.device.type, enabled=False):
            Z, codes = Z.float(), codes.float()
            membership = doubly_stochastic(codes, batch.codes, settings)
            reduction = total_rate(Z, settings.squared_error) - class_rate(Z, membership, settings.squared_error)
            return self._torn(Z, batch, network) - reduction + settings.sparsity / 2 * (membership**2).sum()

    def _embed_twice(self, rows: torch.Tensor, network: nn.ModuleDict) -> tuple[torch.Tensor, torch.Tensor]:
        """(embedding, codes that tell the memberships)."""
        if "cluster" not in self.requires:
            Z = self._embed(rows, network)
            return Z, Z
        encoder = network["encoder"]
        if _has_trunk(encoder):
            trunk = encoder[:-1](rows)
            outputs, codes = encoder[-1](trunk), network["cluster"](trunk)
        else:
            outputs = encoder(rows)
            codes = network["cluster"](outputs)
        return nn.functional.normalize(outputs, dim=1), nn.functional.normalize(codes, dim=1)


def build_rate_network(
    encoder: Any, shape: tuple[int, int], n_outputs: int, seed: int, *, twice: bool
) -> nn.ModuleDict:
    """Encoder, and on request a second head beside its last layer, with weights drawn by a seed.

    Of the encoder "identity" one linear layer is left. A module of a user has no last layer that is known: its second
    head reads its outputs. The generator of torch is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        built = build_encoder(encoder, *shape, n_outputs)
        if isinstance(encoder, str):
            built = nn.Sequential(nn.Linear(shape[1], n_outputs))
        parts = {"encoder": built}
        if twice:
            n_inputs = built[-1].in_features if _has_trunk(built) else n_outputs
            parts["cluster"] = nn.Linear(n_inputs, n_outputs)
        return nn.ModuleDict(parts)


def copy_head(network: nn.ModuleDict) -> None:
    """Make the second head what the first is."""
    encoder, head = network["encoder"], network["cluster"]
    with torch.no_grad():
        if _has_trunk(encoder):
            head.load_state_dict(encoder[-1].state_dict())
        else:
            head.weight.copy_(torch.eye(len(head.weight)))
            head.bias.zero_()


def _has_trunk(encoder: nn.Module) -> bool:
    return isinstance(encoder, nn.Sequential) and len(encoder) > 0 and isinstance(encoder[-1], nn.Linear)
