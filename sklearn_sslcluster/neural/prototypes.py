"""Objectives by which two views of a row fall to the same prototypes: SwAV, DeepCluster-v2, MLCD."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from torch import nn

from ..engine import blas_on_one_thread
from ..numerics import log_sinkhorn
from .contrastive import contrast, positives
from .objectives import Batch, Objective
from .views import check_views

_MAX_ITER = 20
# Sinkhorn's algorithm ends when the masses of prototypes are off by no larger a share.
_MARGINAL_TOL = 1e-4
_MOST_SINKHORN = 1000
Find = Callable[[torch.Tensor], torch.Tensor]
Own = Callable[[torch.Tensor, Find], torch.Tensor]


@dataclass(frozen=True)
class PrototypeSettings:
    """What objectives with prototypes are told.

    Attributes
    ----------
    n_prototypes : tuple of int
        Of each head; DeepCluster-v2 has several.
    temperature : float
        Divides cosines of rows and prototypes in the loss.
    seed : int
        Of k-means.
    epsilon : float
        Regularization of the transport of SwAV.
    balance : float in [0, 1]
        1: the prototypes of SwAV get the masses of `log_prior` exactly; 0: no account is taken of masses.
    log_prior : ndarray of shape (n_prototypes,) or None
        The larger ones go to the prototypes that have more rows at the start. None: equal masses.
    n_positives : int
        Nearest prototypes that are positives in MLCD.
    """

    n_prototypes: tuple[int, ...]
    temperature: float
    seed: int
    epsilon: float = 0.05
    balance: float = 1.0
    log_prior: np.ndarray | None = None
    n_positives: int = 2


class PrototypeObjective(Objective):
    """Prototypes on the unit sphere that k-means finds in the embedding at the start of its phase.

    Parameters
    ----------
    views : torch.nn.Module
        View generator.
    X : ndarray of shape (n_rows, n_features)
        Standardized rows.
    settings : PrototypeSettings
    """

    def __init__(self, views: nn.Module, X: np.ndarray, settings: PrototypeSettings) -> None:
        super().__init__()
        check_views(views)
        views.prepare(torch.as_tensor(X, dtype=torch.float32))
        self.views, self.settings = views, settings
        self.given = getattr(views, "given", None)
        # By how much the last codes miss the masses of the prototypes, where there are masses.
        self.error = 0.0

    def start(self, embedding: torch.Tensor) -> None:
        unit = _unit(embedding)
        found = [find_prototypes(unit, k, self.settings.seed) for k in self.settings.n_prototypes]
        self.start_prototypes = found[-1][0].cpu().numpy().astype(np.float64)
        for head, (prototypes, codes) in enumerate(found):
            self._hold(head, prototypes, codes)

    def _hold(self, head: int, prototypes: torch.Tensor, codes: torch.Tensor) -> None:
        self.register_buffer(f"prototypes_{head}", prototypes)
        self.register_buffer(f"codes_{head}", codes)

    def final_prototypes(self) -> np.ndarray:
        """Prototypes of the last head."""
        last = getattr(self, f"prototypes_{len(self.settings.n_prototypes) - 1}")
        return _unit(last.detach()).cpu().numpy().astype(np.float64)

    def refresh(self, embedding: torch.Tensor) -> torch.Tensor:
        """K-means from the prototypes as they are; a prototype without rows stays where it is."""
        unit = _unit(embedding)
        for head in range(len(self.settings.n_prototypes)):
            before = getattr(self, f"prototypes_{head}")
            prototypes, codes = find_prototypes(unit, len(before), self.settings.seed, before)
            before.copy_(prototypes)
            getattr(self, f"codes_{head}").copy_(codes)
        return codes

    def loss(self, batch: Batch, network: nn.ModuleDict) -> torch.Tensor:
        first, second = (_unit(network["encoder"](view).float()) for view in self.views(batch.rows))
        loss = self._of(first, second, partial(self._own, batch, network))
        labeled = torch.nonzero(batch.codes >= 0).ravel()
        if len(labeled) > 1:
            Z = torch.cat([first[labeled], second[labeled]])
            share = len(labeled) / len(batch.codes)
            loss = loss + share * contrast(Z @ Z.T / self.settings.temperature, positives(batch.codes[labeled]))
        return loss

    def _own(self, batch: Batch, network: nn.ModuleDict, values: torch.Tensor, find: Find) -> torch.Tensor:
        """Values of the rows of a batch, out of those of all rows.

        Of rows that are read as they are needed nothing is remembered: `find` says it of where they lie now.
        """
        if batch.index is not None:
            return values[batch.index]
        with torch.no_grad():
            return find(_unit(network["encoder"](batch.rows).float()))

    def _of(self, first: torch.Tensor, second: torch.Tensor, own: Own) -> torch.Tensor:
        raise NotImplementedError


class ClusteredViews(PrototypeObjective):
    """DeepCluster-v2: both views are to fall to the cluster of their row, in every head."""

    def _of(self, first: torch.Tensor, second: torch.Tensor, own: Own) -> torch.Tensor:
        Z, losses = torch.cat([first, second]), []
        for head in range(len(self.settings.n_prototypes)):
            prototypes = getattr(self, f"prototypes_{head}")
            codes = own(getattr(self, f"codes_{head}"), partial(_nearest, prototypes))
            losses.append(nn.functional.cross_entropy(Z @ prototypes.T / self.settings.temperature, codes.repeat(2)))
        return torch.stack(losses).mean()


class SeveralPrototypes(PrototypeObjective):
    """MLCD: each row belongs to its nearest few prototypes, told apart from all others in a sum of its own.

    Which these are is settled at the start, and the prototypes are learned.
    """

    def start(self, embedding: torch.Tensor) -> None:
        super().start(embedding)
        scores = _unit(embedding) @ self.prototypes_0.detach().T
        # A row for all but one prototype would leave nothing to tell it from.
        self.n_positives = max(1, min(self.settings.n_positives, scores.shape[1] - 1))
        self.register_buffer("nearest", scores.topk(self.n_positives, dim=1).indices)

    def _hold(self, head: int, prototypes: torch.Tensor, codes: torch.Tensor) -> None:
        self.prototypes_0 = nn.Parameter(prototypes)

    def refresh(self, embedding: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return (_unit(embedding) @ _unit(self.prototypes_0).T).argmax(dim=1)

    def _of(self, first: torch.Tensor, second: torch.Tensor, own: Own) -> torch.Tensor:
        prototypes = _unit(self.prototypes_0)
        scores = torch.cat([first, second]) @ prototypes.T / self.settings.temperature
        nearest = own(self.nearest, lambda unit: (unit @ prototypes.T).topk(self.n_positives, dim=1).indices)
        return separated_loss(scores, nearest.repeat(2, 1)).mean()


def separated_loss(scores: torch.Tensor, nearest: torch.Tensor) -> torch.Tensor:
    """``log(1 + sum of exp(s) over negatives) + log(1 + sum of exp(-s) over positives)`` of each row."""
    positive = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, nearest, True)
    nothing = torch.zeros_like(scores[:, :1])
    negatives = torch.cat([nothing, scores.masked_fill(positive, -torch.inf)], dim=1)
    wanted = torch.cat([nothing, (-scores).masked_fill(~positive, -torch.inf)], dim=1)
    return torch.logsumexp(negatives, dim=1) + torch.logsumexp(wanted, dim=1)


class SwappedPrediction(PrototypeObjective):
    """SwAV: each view predicts the soft codes of the other, by optimal transport to prototypes of given masses.

    The potentials of the prototypes come from all rows, once an epoch, to a tolerance on the masses; given these, the
    codes of a batch are a softmax. There is no queue, and no batch is too small.
    """

    def _hold(self, head: int, prototypes: torch.Tensor, codes: torch.Tensor) -> None:
        self.prototypes_0 = nn.Parameter(prototypes)
        self.register_buffer("potentials", torch.zeros(len(prototypes), device=prototypes.device))
        log_masses = torch.full((len(prototypes),), -np.log(len(prototypes)), dtype=torch.float64)
        if self.settings.log_prior is not None:
            # The numbers of prototypes mean nothing, their sizes do.
            order = torch.bincount(codes.cpu(), minlength=len(prototypes)).argsort(descending=True, stable=True)
            log_masses[order] = torch.as_tensor(np.sort(self.settings.log_prior)[::-1].copy(), dtype=torch.float64)
        self.register_buffer("log_masses", log_masses.to(prototypes.device))
        self.n_iter = 0

    def refresh(self, embedding: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            scores = (_unit(embedding) @ _unit(self.prototypes_0).T).double() / self.settings.epsilon
            log_rows = torch.full((len(scores),), -np.log(len(scores)), dtype=scores.dtype, device=scores.device)
            plan = log_sinkhorn(
                scores,
                log_rows,
                self.log_masses,
                max_iter=_MOST_SINKHORN,
                tol=_MARGINAL_TOL,
                balance=self.settings.balance,
            )
            self.n_iter, self.error = plan.n_iter, plan.error
            self.potentials.copy_(plan.column_potentials)
            return (scores + plan.column_potentials).argmax(dim=1)

    def _of(self, first: torch.Tensor, second: torch.Tensor, own: Own) -> torch.Tensor:
        scores = [Z @ _unit(self.prototypes_0).T for Z in (first, second)]
        with torch.no_grad():
            codes = [torch.softmax(s / self.settings.epsilon + self.potentials, dim=1) for s in scores]
        predicted = [torch.log_softmax(s / self.settings.temperature, dim=1) for s in scores]
        return -((codes[0] * predicted[1]).sum(dim=1) + (codes[1] * predicted[0]).sum(dim=1)).mean() / 2


def find_prototypes(
    unit: torch.Tensor, n_prototypes: int, seed: int, before: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """(means on the unit sphere, codes of the rows) by k-means of rows of unit length."""
    rows = unit.detach().cpu().numpy().astype(np.float64)
    init = "k-means++" if before is None else before.cpu().numpy().astype(np.float64)
    with blas_on_one_thread(), warnings.catch_warnings():
        # Fewer distinct rows than prototypes leave some without rows.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = KMeans(n_prototypes, init=init, n_init=1, max_iter=_MAX_ITER, random_state=seed).fit(rows)
    centers = torch.as_tensor(model.cluster_centers_, dtype=unit.dtype, device=unit.device)
    codes = torch.as_tensor(model.labels_, dtype=torch.int64, device=unit.device)
    return _unit(centers), codes


def _nearest(prototypes: torch.Tensor, unit: torch.Tensor) -> torch.Tensor:
    return (unit @ prototypes.T).argmax(dim=1)


def _unit(Z: torch.Tensor) -> torch.Tensor:
    return nn.functional.normalize(Z, dim=1)
