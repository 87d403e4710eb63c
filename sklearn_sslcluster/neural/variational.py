"""Objectives of a variational autoencoder whose prior is a mixture of Gaussians."""

from __future__ import annotations

from collections.abc import Callable
from math import log, pi
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from .networks import build_autoencoder
from .objectives import Batch, Objective

# Logarithms of variances of the embedding stay in this range.
LOG_VARIANCE_RANGE = (-14.0, 14.0)
# Share of a batch in the running estimate of the noise of Gaussian columns.
_MOMENTUM = 0.05
_SPREAD_WIDTH = 64
# Rows whose posteriors are computed at a time.
_ROWS = 8192
_LOG_2PI = log(2 * pi)


class InputKinds(NamedTuple):
    """Positions of columns of each kind among the inputs.

    Attributes
    ----------
    gaussian, bernoulli : ndarray of int
    categorical : list of ndarray of int
        The categories of each categorical column.
    """

    gaussian: np.ndarray
    bernoulli: np.ndarray
    categorical: list[np.ndarray]


class ColumnLikelihood(nn.Module):
    """Log likelihood of the observed entries of rows, given the outputs of a decoder.

    A Gaussian column has its output as mean and a noise variance, which is a running mean of the squared residuals; a
    Bernoulli column has it as logit, and a categorical column those of its categories.

    Parameters
    ----------
    kinds : InputKinds
    mean, scale : ndarray of shape (n_inputs,)
        By which rows were standardized.
    smallest_noise : float
        The noise variance does not fall below, in units of the variance of a column.
    shared_noise : bool
        Whether all Gaussian columns have the same noise.
    """

    def __init__(
        self, kinds: InputKinds, mean: np.ndarray, scale: np.ndarray, smallest_noise: float, *, shared_noise: bool
    ) -> None:
        super().__init__()
        self.gaussian = torch.as_tensor(kinds.gaussian, dtype=torch.int64)
        self.bernoulli = torch.as_tensor(kinds.bernoulli, dtype=torch.int64)
        self.categorical = [torch.as_tensor(group, dtype=torch.int64) for group in kinds.categorical]
        self.smallest_noise, self.shared_noise = smallest_noise, shared_noise
        self.register_buffer("mean", torch.as_tensor(mean, dtype=torch.float32), persistent=False)
        self.register_buffer("scale", torch.as_tensor(scale, dtype=torch.float32), persistent=False)
        self.register_buffer("noise", torch.ones(len(kinds.gaussian)))
        self.register_buffer("n_seen", torch.zeros(()))

    def forward(self, outputs: torch.Tensor, rows: torch.Tensor, observed: torch.Tensor | None) -> torch.Tensor:
        """Log likelihood of each standardized row; `observed` is 1 where an entry is there, None if all are."""
        device = rows.device
        parts = []
        if len(self.gaussian):
            columns = self.gaussian.to(device)
            squares = (rows[:, columns] - outputs[:, columns]) ** 2
            parts.append((-0.5 * (_LOG_2PI + self.noise.log() + squares / self.noise), columns))
        raw = rows * self.scale + self.mean
        if len(self.bernoulli):
            columns = self.bernoulli.to(device)
            logits = outputs[:, columns]
            parts.append((raw[:, columns] * logits - nn.functional.softplus(logits), columns))
        for group in self.categorical:
            columns = group.to(device)
            parts.append((raw[:, columns] * outputs[:, columns].log_softmax(dim=1), columns))
        if observed is None:
            return sum(values.sum(dim=1) for values, _ in parts)
        return sum((values * observed[:, columns]).sum(dim=1) for values, columns in parts)

    def follow(self, outputs: torch.Tensor, rows: torch.Tensor, observed: torch.Tensor | None) -> None:
        """Let the noise follow the residuals of a batch."""
        if not len(self.gaussian):
            return
        columns = self.gaussian.to(rows.device)
        squares = (rows[:, columns] - outputs[:, columns].detach()) ** 2
        weight = torch.ones_like(squares) if observed is None else observed[:, columns]
        seen, total = (squares * weight).sum(dim=0), weight.sum(dim=0)
        if self.shared_noise:
            seen, total = seen.sum().expand_as(seen), total.sum().expand_as(total)
        # A plain mean of the first batches, a running one of all others.
        self.n_seen += 1
        rate = (1 / self.n_seen).clamp_min(_MOMENTUM) * (total > 0)
        self.noise.lerp_(seen / total.clamp_min(1), rate).clamp_(min=self.smallest_noise)


class _VariationalObjective(Objective):
    requires = ("encoder", "decoder", "spread", "likelihood")

    def __init__(self, observed: np.ndarray | None, noise: float) -> None:
        super().__init__()
        self.noise = noise
        tensor = None if observed is None else torch.as_tensor(observed, dtype=torch.uint8)
        self.register_buffer("observed", tensor, persistent=False)

    def _posterior(self, batch: Batch, network: nn.ModuleDict) -> tuple[torch.Tensor, ...]:
        """(mean, log variance, one draw) of the embedding of each row."""
        rows = batch.rows
        if self.noise and self.training:
            rows = rows + self.noise * torch.randn_like(rows)
        mean = network["encoder"](rows)
        log_variance = network["spread"](mean).clamp(*LOG_VARIANCE_RANGE)
        if self.training:
            noise = torch.randn_like(mean)
        else:
            # The same at every look, so that epochs can be compared.
            generator = torch.Generator().manual_seed(0)
            noise = torch.randn(mean.shape, generator=generator).to(mean.device)
        return mean, log_variance, mean + (log_variance / 2).exp() * noise

    def _log_likelihood(self, batch: Batch, network: nn.ModuleDict, Z: torch.Tensor) -> torch.Tensor:
        outputs = network["decoder"](Z)
        observed = None if self.observed is None else self.observed[batch.index].to(outputs.dtype)
        likelihood: Any = network["likelihood"]
        if self.training:
            likelihood.follow(outputs, batch.rows, observed)
        return likelihood(outputs, batch.rows, observed)


class VariationalReconstruction(_VariationalObjective):
    """Pretraining: the evidence lower bound with a single standard normal prior of little weight.

    Parameters
    ----------
    observed : ndarray of shape (n_rows, n_inputs) or None
        1 where an entry of the training rows is there, 0 where it is missing; None if all are there.
    prior_weight : float
        Of the Kullback-Leibler divergence from the prior: it fixes the scale of the embedding, and what its variance
        means, and leaves its shape alone.
    noise : float, default=0.0
        Standard deviation of noise on the rows that are encoded while training, in units of a column's own.
    """

    def __init__(self, observed: np.ndarray | None, prior_weight: float, noise: float = 0.0) -> None:
        super().__init__(observed, noise)
        self.prior_weight = prior_weight

    def loss(self, batch: Batch, network: nn.ModuleDict) -> torch.Tensor:
        mean, log_variance, Z = self._posterior(batch, network)
        divergence = 0.5 * (mean**2 + log_variance.exp() - log_variance - 1).sum(dim=1)
        losses = self.prior_weight * divergence - self._log_likelihood(batch, network, Z)
        return losses.mean() / batch.rows.shape[1]


class VariationalMixture(_VariationalObjective):
    """The negative evidence lower bound of variational deep embedding, a row and a column.

    Parameters
    ----------
    observed : ndarray of shape (n_rows, n_inputs) or None
        See `VariationalReconstruction`.
    find_mixture : callable
        Embedding of all rows and its variances to the mixture at the start, with attributes ``weights``, ``means`` and
        (diagonal) ``covariances``; components of known classes come first.
    spread : Module
        The part of the network that gives the variances.
    noise : float, default=0.0
        See `VariationalReconstruction`.
    codes : ndarray of shape (n_rows,), optional
        Codes of known classes, -1 for unlabeled rows. Only with them does ``refresh`` tell the clusters.
    """

    def __init__(
        self,
        observed: np.ndarray | None,
        find_mixture: Callable[[np.ndarray, np.ndarray], Any],
        spread: nn.Module,
        noise: float = 0.0,
        codes: np.ndarray | None = None,
    ) -> None:
        super().__init__(observed, noise)
        tensor = None if codes is None else torch.tensor(np.asarray(codes), dtype=torch.int64)
        self.register_buffer("codes", tensor, persistent=False)
        self.find_mixture = find_mixture
        # In a tuple, so that its weights are not taken for those of the objective.
        self.spread = (spread,)
        self.start_mixture: Any = None

    def start(self, embedding: torch.Tensor) -> None:
        with torch.no_grad():
            variances = self.spread[0](embedding).clamp(*LOG_VARIANCE_RANGE).exp()
        found = self.find_mixture(*(part.cpu().numpy().astype(np.float64) for part in (embedding, variances)))
        self.start_mixture = found
        weights, means, covariances = (
            torch.as_tensor(value, dtype=torch.float32, device=embedding.device)
            for value in (found.weights, found.means, found.covariances)
        )
        self.logits = nn.Parameter(weights.log())
        self.means = nn.Parameter(means)
        self.log_variances = nn.Parameter(covariances.log())

    def refresh(self, embedding: torch.Tensor) -> torch.Tensor | None:
        if self.codes is None:
            return None
        with torch.no_grad():
            return torch.cat(
                [
                    self.log_responsibilities(Z, codes).argmax(dim=1)
                    for Z, codes in zip(embedding.split(_ROWS), self.codes.split(_ROWS), strict=True)
                ]
            )

    def final_mixture(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Weights, means and variances."""
        with torch.no_grad():
            weights, means, covariances = (
                part.cpu().numpy().astype(np.float64)
                for part in (self.logits.softmax(dim=0), self.means, self._log_variances().exp())
            )
        return weights, means, covariances

    def _log_variances(self) -> torch.Tensor:
        return self.log_variances.clamp(*LOG_VARIANCE_RANGE)

    def log_responsibilities(self, Z: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """Log posterior of the components; that of a labeled row is given."""
        log_variances = self._log_variances()
        squares = (Z[:, None, :] - self.means) ** 2 / log_variances.exp()
        joint = self.logits.log_softmax(dim=0) - 0.5 * (squares + log_variances + _LOG_2PI).sum(dim=2)
        log_resp = joint.log_softmax(dim=1)
        labeled = codes >= 0
        given = torch.full_like(log_resp, -torch.inf).scatter(1, codes.clamp_min(0)[:, None], 0.0)
        return torch.where(labeled[:, None], given, log_resp)

    def divergence(
        self, mean: torch.Tensor, log_variance: torch.Tensor, Z: torch.Tensor, codes: torch.Tensor
    ) -> torch.Tensor:
        """Kullback-Leibler divergence of embedding and component of each row from the mixture."""
        log_resp = self.log_responsibilities(Z, codes)
        resp = log_resp.exp()
        log_variances = self._log_variances()
        spread = (log_variance.exp()[:, None, :] + (mean[:, None, :] - self.means) ** 2) / log_variances.exp()
        of_component = 0.5 * (log_variances + spread).sum(dim=2) - self.logits.log_softmax(dim=0)
        # 0 log 0 is 0, in the gradient too.
        entropy = -(resp * log_resp.clamp_min(-1e4)).sum(dim=1)
        return (resp * of_component).sum(dim=1) - entropy - 0.5 * (1 + log_variance).sum(dim=1)

    def loss(self, batch: Batch, network: nn.ModuleDict) -> torch.Tensor:
        mean, log_variance, Z = self._posterior(batch, network)
        losses = self.divergence(mean, log_variance, Z, batch.codes) - self._log_likelihood(batch, network, Z)
        return losses.mean() / batch.rows.shape[1]


def build_variational_network(
    encoder: Any, n_rows: int, n_outputs: int, likelihood: ColumnLikelihood, seed: int
) -> nn.ModuleDict:
    """Encoder, decoder, and the "spread": the log variance of an embedding as a function of its mean.

    Were the likelihood Gaussian and the decoder linear near it, this variance would not depend on anything else.
    """
    n_features = len(likelihood.mean)
    network = build_autoencoder(encoder, n_rows, n_features, n_outputs, seed)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        n_outputs = n_features if encoder == "identity" else n_outputs
        last = nn.Linear(_SPREAD_WIDTH, n_outputs)
        # A small variance at first: a tenth of a standard deviation.
        nn.init.constant_(last.bias, log(0.01))
        network["spread"] = nn.Sequential(nn.Linear(n_outputs, _SPREAD_WIDTH), nn.ReLU(), last)
    network["likelihood"] = likelihood
    return network
