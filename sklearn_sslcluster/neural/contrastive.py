"""Objectives that bring two views of a row together: NT-Xent, group ordering, VICReg."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from .objectives import Batch, Objective
from .sorting import soft_sort
from .views import check_views


class ViewObjective(Objective):
    """What objectives of two views share: the projections of both.

    Parameters
    ----------
    views : torch.nn.Module
        View generator.
    X : ndarray of shape (n_rows, n_features)
        Standardized rows, for the generator.
    """

    requires = ("encoder", "projector")

    def __init__(self, views: nn.Module, X: np.ndarray) -> None:
        super().__init__()
        check_views(views)
        views.prepare(torch.as_tensor(X, dtype=torch.float32))
        self.views, self.given = views, getattr(views, "given", None)

    def projections(self, rows: torch.Tensor, network: nn.ModuleDict) -> tuple[torch.Tensor, torch.Tensor]:
        """Projections of two views of the rows, in float32 also where the network is run in half precision."""
        both = torch.cat(self.views(rows))
        first, second = network["projector"](network["encoder"](both)).float().chunk(2)
        return first, second


class NTXent(ViewObjective):
    """Normalized temperature-scaled cross-entropy; rows of one known class are positives of each other.

    Parameters
    ----------
    views, X
        See `ViewObjective`.
    temperature : float
        Divides cosines.
    """

    def __init__(self, views: nn.Module, X: np.ndarray, temperature: float) -> None:
        super().__init__(views, X)
        self.temperature = temperature

    def loss(self, batch: Batch, network: nn.ModuleDict) -> torch.Tensor:
        Z = nn.functional.normalize(torch.cat(self.projections(batch.rows, network)), dim=1)
        scores = Z @ (Z / self.temperature).T
        if (batch.codes >= 0).any():
            return contrast(scores, positives(batch.codes))
        # Without labels the other view is the only positive.
        other = torch.arange(len(Z), device=Z.device).roll(len(batch.codes))
        return nn.functional.cross_entropy(scores.fill_diagonal_(-torch.inf), other)


def positives(codes: torch.Tensor) -> torch.Tensor:
    """Which projections of two views, one after the other, belong together: of a row, or of a known class."""
    n_rows = len(codes)
    same = torch.eye(n_rows, dtype=torch.bool, device=codes.device)
    same = same | ((codes[:, None] == codes) & (codes[:, None] >= 0))
    both = same.repeat(2, 2)
    return both & ~torch.eye(2 * n_rows, dtype=torch.bool, device=codes.device)


def contrast(scores: torch.Tensor, positive: torch.Tensor) -> torch.Tensor:
    """Mean over rows of the mean over positives of minus the log of their share among all others."""
    itself = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    log_shares = torch.log_softmax(scores.masked_fill(itself, -torch.inf), dim=1)
    return -(log_shares.masked_fill(~positive, 0.0).sum(dim=1) / positive.sum(dim=1)).mean()


class GroupOrdering(ViewObjective):
    """GroCo: in the order of similarity to a row all positives come after all negatives.

    Parameters
    ----------
    views, X
        See `ViewObjective`.
    temperature : float
        Its inverse is the steepness of comparisons.
    n_negatives : int
        Most similar rows of the batch, in the other view, that serve as negatives: of the own view they would share the
        mask of the anchor, which the positive has not.
    """

    def __init__(
        self,
        views: nn.Module,
        X: np.ndarray,
        temperature: float,
        n_negatives: int,
    ) -> None:
        super().__init__(views, X)
        self.temperature, self.n_negatives = temperature, n_negatives

    def loss(self, batch: Batch, network: nn.ModuleDict) -> torch.Tensor:
        first, second = (nn.functional.normalize(Z, dim=1) for Z in self.projections(batch.rows, network))
        codes = batch.codes
        related = torch.eye(len(codes), dtype=torch.bool, device=codes.device)
        related = related | ((codes[:, None] == codes) & (codes[:, None] >= 0))
        n_negatives = min(self.n_negatives, int((~related).sum(dim=1).min()))
        if not n_negatives:
            # Rows of one class only have nothing to be apart from.
            return 0.0 * first.sum()
        both = [self._similarities(*views, related, n_negatives) for views in ((first, second), (second, first))]
        return ordering_loss(torch.cat(both), n_negatives, 1 / self.temperature)

    def _similarities(
        self, anchors: torch.Tensor, others: torch.Tensor, related: torch.Tensor, n_negatives: int
    ) -> torch.Tensor:
        """Similarities of anchors to their nearest negatives, and to their positives, each in increasing order."""
        # Partners do not move: anchors come to them.
        near = anchors @ others.detach().T
        negatives = near.masked_fill(related, -torch.inf).topk(n_negatives, dim=1).values.flip(1)
        positives = near.diagonal()[:, None]
        if related.sum() > len(related):
            # Beside its other view, that of a row of its known class; rows without one have their own twice.
            partner = (torch.rand(related.shape, device=related.device) * related).argmax(dim=1)
            positives = torch.cat([positives, near.gather(1, partner[:, None])], dim=1).sort(dim=1).values
        return torch.cat([negatives, positives], dim=1)


def ordering_loss(values: torch.Tensor, n_negatives: int, steepness: float) -> torch.Tensor:
    """Cross-entropy of the masses of negatives in the low ranks and of positives in the high ones, when sorted.

    Negatives are the first columns of `values`.
    """
    wanted = torch.zeros_like(values)
    wanted[:, :n_negatives] = 1
    # Each negative carries a mass of one. That of positives at a rank is what the negatives leave: both cross-entropies
    # are the same.
    masses = soft_sort(values, wanted[:, :, None], steepness)[1][:, :, 0]
    return nn.functional.binary_cross_entropy(masses.clamp(1e-6, 1 - 1e-6), wanted)


class VICReg(ViewObjective):
    """Views agree, every column of a projection varies, and no two columns say the same.

    Parameters
    ----------
    views, X
        See `ViewObjective`.
    invariance, variance, covariance : float
        Weights of the three terms.
    """

    def __init__(
        self,
        views: nn.Module,
        X: np.ndarray,
        invariance: float = 25.0,
        variance: float = 25.0,
        covariance: float = 1.0,
    ) -> None:
        super().__init__(views, X)
        self.invariance, self.variance, self.covariance = invariance, variance, covariance

    def loss(self, batch: Batch, network: nn.ModuleDict) -> torch.Tensor:
        first, second = self.projections(batch.rows, network)
        codes = batch.codes
        related = (codes[:, None] == codes) & (codes[:, None] >= 0)
        related = related | torch.eye(len(codes), dtype=torch.bool, device=codes.device)
        # Each row agrees with its other view and, as much, with the mean of its class, where that is known.
        means = related.float() @ second / related.sum(dim=1, keepdim=True)
        agreement = (nn.functional.mse_loss(first, second) + nn.functional.mse_loss(first, means)) / 2
        spread = (_hinge(first) + _hinge(second)) / 2
        shared = _off_diagonal(first) + _off_diagonal(second)
        return self.invariance * agreement + self.variance * spread + self.covariance * shared


def _hinge(Z: torch.Tensor) -> torch.Tensor:
    """How far the standard deviations of columns fall below 1, on average."""
    return torch.relu(1 - torch.sqrt(Z.var(dim=0, correction=0) + 1e-4)).mean()


def _off_diagonal(Z: torch.Tensor) -> torch.Tensor:
    """Squared covariances of different columns, over the number of columns."""
    centered = Z - Z.mean(dim=0)
    covariance = centered.T @ centered / max(len(Z) - 1, 1)
    return ((covariance**2).sum() - (covariance.diagonal() ** 2).sum()) / Z.shape[1]
