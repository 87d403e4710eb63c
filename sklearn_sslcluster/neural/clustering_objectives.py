"""Objectives that pull an embedding together around centers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from .objectives import Batch, Objective
from .processes import summed

# Weight of a center before its first row, in the running means of deep k-means.
_FIRST_COUNT = 100.0
_SMALLEST = 1e-12

Start = Callable[[np.ndarray], np.ndarray]


class CenterObjective(Objective):
    """Centers that ``start`` finds in the embedding.

    Parameters
    ----------
    find_centers : callable
        Embedding of all rows to centers; those of known classes come first.
    codes : ndarray of shape (n_rows,)
        Codes of known classes, -1 for unlabeled rows.
    """

    requires: tuple[str, ...] = ("encoder", "decoder")

    def __init__(self, find_centers: Start, codes: np.ndarray) -> None:
        super().__init__()
        self.find_centers = find_centers
        self.register_buffer("codes", torch.tensor(np.asarray(codes), dtype=torch.int64), persistent=False)
        self.start_centers = np.zeros((0, 0))

    def start(self, embedding: torch.Tensor) -> None:
        self.start_centers = np.asarray(self.find_centers(embedding.cpu().numpy().astype(np.float64)))
        centers = torch.as_tensor(self.start_centers, dtype=torch.float32, device=embedding.device)
        self._hold(centers)

    def _hold(self, centers: torch.Tensor) -> None:
        self.register_buffer("centers", centers)

    def final_centers(self) -> np.ndarray:
        return self.centers.detach().cpu().numpy().astype(np.float64)

    def _clamped(self, codes: torch.Tensor) -> torch.Tensor:
        return torch.where(self.codes >= 0, self.codes, codes)


class DeepEmbedding(CenterObjective):
    """DEC and IDEC: soft assignments by Student's t, drawn towards their own sharpened version.

    Parameters
    ----------
    find_centers, codes
        See `CenterObjective`.
    reconstruction_weight, clustering_weight : float
        DEC has no reconstruction, IDEC 1 and 0.1.
    alpha : float, default=1.0
        Degrees of freedom of Student's t.
    """

    def __init__(
        self,
        find_centers: Start,
        codes: np.ndarray,
        reconstruction_weight: float,
        clustering_weight: float,
        alpha: float = 1.0,
    ) -> None:
        super().__init__(find_centers, codes)
        self.reconstruction_weight, self.clustering_weight = reconstruction_weight, clustering_weight
        self.alpha = alpha
        self.requires = ("encoder", "decoder") if reconstruction_weight else ("encoder",)

    def _hold(self, centers: torch.Tensor) -> None:
        self.centers = nn.Parameter(centers)
        self.register_buffer("target", torch.zeros(len(self.codes), len(centers), device=centers.device))
        self.register_buffer("frequencies", torch.ones(len(centers), device=centers.device))

    def soft(self, embedding: torch.Tensor) -> torch.Tensor:
        """Log of the soft assignments."""
        squares = torch.cdist(embedding, self.centers) ** 2
        return torch.log_softmax(-(self.alpha + 1) / 2 * torch.log1p(squares / self.alpha), dim=1)

    def refresh(self, embedding: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            q = self.soft(embedding).exp()
            self.frequencies.copy_(q.sum(dim=0).clamp_min(_SMALLEST))
            self.target.copy_(self._sharpened(q, self.codes))
            return self._clamped(q.argmax(dim=1))

    def running(self) -> dict[str, torch.Tensor]:
        return {"frequencies": self.frequencies}

    def go_on(self, embedding: torch.Tensor, running: dict[str, torch.Tensor]) -> None:
        """Frequencies of the clusters are those of the rows before and of these: a batch may be small."""
        with torch.no_grad():
            q = self.soft(embedding).exp()
            self.frequencies.copy_(running.get("frequencies", 0) + q.sum(dim=0).clamp_min(_SMALLEST))
            self.target.copy_(self._sharpened(q, self.codes))

    def _sharpened(self, q: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """Targets of rows with soft assignments `q`; labeled rows belong to their class."""
        p = q**2 / self.frequencies
        p /= p.sum(dim=1, keepdim=True)
        labeled = torch.nonzero(codes >= 0).ravel()
        p[labeled] = nn.functional.one_hot(codes[labeled], p.shape[1]).to(p.dtype)
        return p

    def loss(self, batch: Batch, network: nn.ModuleDict) -> torch.Tensor:
        Z = network["encoder"](batch.rows)
        log_q = self.soft(Z)
        # Rows that are read as they are needed have no target from the last refresh, but its frequencies.
        p = self._sharpened(log_q.detach().exp(), batch.codes) if batch.index is None else self.target[batch.index]
        divergence = (torch.xlogy(p, p) - p * log_q).sum(dim=1).mean()
        loss = self.clustering_weight * divergence
        if self.reconstruction_weight:
            loss = loss + self.reconstruction_weight * nn.functional.mse_loss(network["decoder"](Z), batch.rows)
        return loss


class DeepMeans(CenterObjective):
    """DCN: reconstruction, and the squared distance to the nearest center; centers are running means.

    Parameters
    ----------
    find_centers, codes
        See `CenterObjective`.
    clustering_weight : float
        Of the squared distance, a mean over rows and columns of the embedding, beside the mean squared error. For
        tables of d columns and embeddings of e columns the paper's beta is ``2 * clustering_weight * d / e``.
    """

    def __init__(self, find_centers: Start, codes: np.ndarray, clustering_weight: float) -> None:
        super().__init__(find_centers, codes)
        self.clustering_weight = clustering_weight

    def _hold(self, centers: torch.Tensor) -> None:
        super()._hold(centers)
        self.register_buffer("counts", torch.full((len(centers),), _FIRST_COUNT, device=centers.device))

    def running(self) -> dict[str, torch.Tensor]:
        return {"counts": self.counts}

    def go_on(self, embedding: torch.Tensor, running: dict[str, torch.Tensor]) -> None:
        self.counts.copy_(running.get("counts", self.counts))

    def _nearest(self, Z: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        return torch.where(codes >= 0, codes, torch.cdist(Z, self.centers).argmin(dim=1))

    def refresh(self, embedding: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return self._nearest(embedding, self.codes)

    def loss(self, batch: Batch, network: nn.ModuleDict) -> torch.Tensor:
        Z = network["encoder"](batch.rows)
        with torch.no_grad():
            nearest = self._nearest(Z, batch.codes)
        distances = ((Z - self.centers[nearest].clone()) ** 2).sum(dim=1).mean()
        if self.training:
            self._follow(Z.detach(), nearest, batch.counted)
        reconstruction = nn.functional.mse_loss(network["decoder"](Z), batch.rows)
        return reconstruction + self.clustering_weight * distances / Z.shape[1]

    def _follow(self, Z: torch.Tensor, nearest: torch.Tensor, counted: float) -> None:
        """Running means of the rows of each center, as if they came one after the other."""
        k = len(self.centers)
        counts = summed(counted * torch.bincount(nearest, minlength=k).to(self.counts.dtype))
        sums = summed(counted * torch.zeros_like(self.centers).index_add_(0, nearest, Z.to(self.centers.dtype)))
        total = self.counts + counts
        self.centers.copy_((self.centers * self.counts[:, None] + sums) / total[:, None])
        self.counts.copy_(total)
