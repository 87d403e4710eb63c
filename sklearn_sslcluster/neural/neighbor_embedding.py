"""Learning a map onto a given embedding and the clusters in it, so that new rows find their place in both."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from .networks import build_encoder
from .objectives import Batch, Objective


class MapTargets(NamedTuple):
    """What the map is to say of each of `n` rows.

    Attributes
    ----------
    rows : ndarray of shape (n, n_features)
        Standardized.
    neighbors : ndarray of shape (n, n_neighbors)
        Numbers of the nearest other rows; without columns, rows are not mixed.
    embedding : ndarray of shape (n, n_components)
        Of unit scale.
    posteriors : ndarray of shape (n, n_clusters)
        Rows sum to 1.
    weight : ndarray of shape (n,) or None
        Of each row in the loss, 1 in the mean; None if all are equal.
    """

    rows: np.ndarray
    neighbors: np.ndarray
    embedding: np.ndarray
    posteriors: np.ndarray
    weight: np.ndarray | None = None


class EmbeddingDistillation(Objective):
    """Cross-entropy with given posteriors plus squared error to a given embedding.

    The first outputs of the encoder are the embedding, the others log posteriors but for a constant. While training,
    each row is moved toward one of its nearest neighbors, its targets with it (a mixup that stays on the manifold the
    rows lie on), and noise is added, so that the map goes on smoothly between the rows.

    Parameters
    ----------
    targets : MapTargets
        Row `i` of the trainer, which may see them several times, is row ``i % n``.
    noise : float
        Standard deviation of the noise.
    embedding_weight : float, default=1.0
        Of the squared error.
    """

    def __init__(self, targets: MapTargets, *, noise: float, embedding_weight: float = 1.0) -> None:
        super().__init__()
        self.noise, self.embedding_weight = noise, embedding_weight
        for name in ("rows", "embedding", "posteriors"):
            values = torch.as_tensor(getattr(targets, name), dtype=torch.float32)
            self.register_buffer(name, values, persistent=False)
        weight = None if targets.weight is None else torch.as_tensor(targets.weight, dtype=torch.float32)
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("neighbors", torch.as_tensor(targets.neighbors, dtype=torch.int64), persistent=False)

    def loss(self, batch: Batch, network: nn.ModuleDict) -> torch.Tensor:
        own = batch.index % len(self.rows)
        rows, places, posteriors = self.rows[own], self.embedding[own], self.posteriors[own]
        if self.training:
            if self.neighbors.shape[1]:
                drawn = torch.randint(self.neighbors.shape[1], (len(own),), device=own.device)
                other, share = self.neighbors[own, drawn], torch.rand(len(own), 1, device=own.device) / 2
                rows = torch.lerp(rows, self.rows[other], share)
                places = torch.lerp(places, self.embedding[other], share)
                posteriors = torch.lerp(posteriors, self.posteriors[other], share)
            rows = rows + self.noise * torch.randn_like(rows)
        outputs = network["encoder"](rows)
        n_components = places.shape[1]
        entropy = -(posteriors * nn.functional.log_softmax(outputs[:, n_components:], dim=1)).sum(dim=1)
        if self.weight is None:
            error = nn.functional.mse_loss(outputs[:, :n_components], places)
            return entropy.mean() + self.embedding_weight * error
        squares = ((outputs[:, :n_components] - places) ** 2).mean(dim=1)
        return (self.weight[own] * (entropy + self.embedding_weight * squares)).mean()


def build_map(encoder: Any, n_rows: int, n_features: int, n_outputs: int, seed: int) -> nn.ModuleDict:
    """Network with weights drawn by a seed; the generator of torch is left as it was."""
    if isinstance(encoder, str):
        raise ValueError(
            f"encoder must be None, NetworkSettings or a module class where a map is learned, got {encoder!r}."
        )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return nn.ModuleDict({"encoder": build_encoder(encoder, n_rows, n_features, n_outputs)})
