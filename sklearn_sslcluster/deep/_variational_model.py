"""A fitted variational autoencoder with a mixture for a prior, in numpy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import logsumexp

from ..base import order_by_size
from ..neural import apply_layers
from ..numerics import log_densities, make_gaussians
from ._columns import Columns, Standard, TrainingTable

# Draws from the posterior of each row for its density, in pairs of opposite ones.
_N_DRAWS = 16
# Rows decoded at a time.
_ROWS = 4096
_LOG_2PI = float(np.log(2 * np.pi))
_LOG_VARIANCES = (-14.0, 14.0)
_SMALLEST = np.finfo(np.float64).tiny


@dataclass(frozen=True)
class LatentMixture:
    """Gaussians with diagonal covariances in the embedding.

    Attributes
    ----------
    weights : ndarray of shape (n_components,)
    means, covariances : ndarray of shape (n_components, n_dimensions)
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray

    def subset(self, kept: np.ndarray) -> LatentMixture:
        """Some of the components, in the order given."""
        return LatentMixture(self.weights[kept] / self.weights[kept].sum(), self.means[kept], self.covariances[kept])


def log_joint(Z: np.ndarray, mixture: LatentMixture) -> np.ndarray:
    """Log of weight times density of each component, (n_rows, n_components)."""
    gaussians, _ = make_gaussians("diag", mixture.means, mixture.covariances)
    return log_densities(Z, gaussians).T + np.log(np.maximum(mixture.weights, _SMALLEST))


@dataclass(frozen=True)
class VariationalModel:
    """Networks as layers, and the mixture in the embedding.

    Attributes
    ----------
    columns : Columns
    standard : Standard
    encoder, decoder, spread : list of dict
        Layers; "spread" gives the log variances of an embedding.
    mixture : LatentMixture
    """

    columns: Columns
    standard: Standard
    encoder: list[dict[str, Any]]
    decoder: list[dict[str, Any]]
    spread: list[dict[str, Any]]
    mixture: LatentMixture

    @classmethod
    def of(cls, estimator: Any) -> VariationalModel:
        """The model that the fitted attributes of an estimator hold."""
        return cls(
            Columns.named(estimator.likelihood_, estimator.categories_),
            Standard(estimator.mean_, estimator.scale_, estimator.noise_variance_),
            estimator.encoder_layers_,
            estimator.decoder_layers_,
            estimator.spread_layers_,
            LatentMixture(estimator.weights_, estimator.means_, estimator.covariances_),
        )

    def attributes(self) -> dict[str, Any]:
        """Fitted attributes that hold the model."""
        return {
            "likelihood_": self.columns.kinds,
            "categories_": self.columns.named_categories,
            "mean_": self.standard.mean,
            "scale_": self.standard.scale,
            "noise_variance_": self.standard.noise,
            "encoder_layers_": self.encoder,
            "decoder_layers_": self.decoder,
            "spread_layers_": self.spread,
            "weights_": self.mixture.weights,
            "means_": self.mixture.means,
            "covariances_": self.mixture.covariances,
        }

    @property
    def n_components(self) -> int:
        return len(self.mixture.weights)

    def log_joint(self, Z: np.ndarray) -> np.ndarray:
        """Log of weight times density of each component at points of the embedding, (n_rows, n_components)."""
        return log_joint(Z, self.mixture)

    def distances(self, Z: np.ndarray, inputs: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """How far rows lie from their class: from the component in the embedding, and from what is decoded there."""
        squares = ((Z - self.mixture.means[codes]) ** 2 / self.mixture.covariances[codes]).sum(axis=1)
        squares += self.columns.square_residuals(apply_layers(self.decoder, Z), inputs, self.standard)
        return np.sqrt(np.maximum(squares, 0.0))

    def log_density(self, Z: np.ndarray, inputs: np.ndarray) -> np.ndarray:
        """Importance weighted lower bound of the log density of rows with these embeddings."""
        half = np.random.RandomState(0).normal(size=(_N_DRAWS // 2, Z.shape[1]))
        # With the moments of the distribution the lower bound is exact where the logarithms are quadratic.
        half /= np.sqrt((half**2).mean(axis=0))
        draws = np.vstack([half, -half])
        out = np.empty(len(Z))
        for start in range(0, len(Z), _ROWS):
            rows = slice(start, start + _ROWS)
            out[rows] = self._log_density(Z[rows], inputs[rows], draws)
        return out

    def draw(self, codes: np.ndarray, random_state: np.random.RandomState) -> np.ndarray:
        """Rows of the given components."""
        noise = random_state.normal(size=(len(codes), self.mixture.means.shape[1]))
        Z = self.mixture.means[codes] + np.sqrt(self.mixture.covariances[codes]) * noise
        return self.columns.draw(apply_layers(self.decoder, Z), self.standard, random_state)

    def _log_density(self, Z: np.ndarray, inputs: np.ndarray, draws: np.ndarray) -> np.ndarray:
        log_variance = np.clip(apply_layers(self.spread, Z), *_LOG_VARIANCES)
        deviation = np.exp(log_variance / 2)
        terms = np.empty((len(draws), len(Z)))
        for term, noise in zip(terms, draws, strict=True):
            drawn = Z + deviation * noise
            term[:] = self.columns.log_likelihood(apply_layers(self.decoder, drawn), inputs, self.standard)
            term += logsumexp(self.log_joint(drawn), axis=1)
            term += 0.5 * (_LOG_2PI + log_variance + noise**2).sum(axis=1)
        return logsumexp(terms, axis=0) - np.log(len(draws))


def in_order(
    model: VariationalModel, Z: np.ndarray, table: TrainingTable, n_known: int
) -> tuple[VariationalModel, np.ndarray]:
    """The model with novel components by decreasing size, without those that no row belongs to; codes of the rows."""
    codes = clamped_codes(model, Z, table)
    sizes = np.bincount(codes[table.codes < 0], minlength=model.n_components)
    novel = n_known + order_by_size(sizes[n_known:], model.mixture.means[n_known:])
    order = np.concatenate([np.arange(n_known), novel[sizes[novel] > 0]]).astype(np.intp)
    model = replace(model, mixture=model.mixture.subset(order))
    return model, clamped_codes(model, Z, table)


def clamped_codes(model: VariationalModel, Z: np.ndarray, table: TrainingTable) -> np.ndarray:
    """Most likely component of each row, that of its label where it has one."""
    return np.where(table.codes >= 0, table.codes, model.log_joint(Z).argmax(axis=1))
