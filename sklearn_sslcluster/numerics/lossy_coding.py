"""Lossy coding: how many nats rows near linear subspaces take, alone and class by class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ClassScatter:
    """Second moments of the rows of each class, about the origin.

    Attributes
    ----------
    moments : ndarray of shape (n_classes, n_features, n_features)
        Sums of outer products of the rows with themselves.
    weight : ndarray of shape (n_classes,)
        Number of rows, or their summed weight; positive.
    """

    moments: np.ndarray
    weight: np.ndarray


def class_scatter(Z: np.ndarray, codes: np.ndarray, n_classes: int, weight: np.ndarray) -> ClassScatter:
    """Second moments of classes, none of which is empty."""
    groups = [np.flatnonzero(codes == code) for code in range(n_classes)]
    moments = np.stack([(Z[rows] * weight[rows, None]).T @ Z[rows] for rows in groups])
    return ClassScatter(moments, np.array([weight[rows].sum() for rows in groups]))


def coding_rates(scatter: ClassScatter, squared_error: float) -> np.ndarray:
    """Nats a row of each class, when rows are coded up to a mean squared error.

    :math:`\\tfrac12 \\log\\det(I + \\tfrac{p}{n \\varepsilon^2} Z^\\top Z)` (Ma, Derksen, Hong and Wright, IEEE
    Transactions on Pattern Analysis and Machine Intelligence 29, 2007), in nats.
    """
    n_features = scatter.moments.shape[1]
    scaled = scatter.moments * (n_features / (squared_error * scatter.weight))[:, None, None]
    return 0.5 * np.linalg.slogdet(np.eye(n_features) + scaled)[1]


def rate_reduction(X: np.ndarray, codes: np.ndarray, n_classes: int, weight: np.ndarray, squared_error: float) -> float:
    """Nats a row that are saved when rows are coded class by class instead of all together.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
        Centered rows, in any unit: they are coded as if their mean square were one.
    codes : ndarray of shape (n_rows,)
        Classes ``0 .. n_classes - 1``, none of which is empty.
    n_classes : int
    weight : ndarray of shape (n_rows,)
    squared_error : float
    """
    size = float(weight @ (X**2).sum(axis=1) / weight.sum())
    if size == 0:
        return 0.0

    def rate(rows: np.ndarray) -> float:
        scaled = X[rows] * np.sqrt(weight[rows] * (X.shape[1] / (size * squared_error * weight[rows].sum())))[:, None]
        # The determinant is the same of the larger and of the smaller matrix of products.
        products = scaled.T @ scaled if len(scaled) > X.shape[1] else scaled @ scaled.T
        return 0.5 * float(np.linalg.slogdet(np.eye(len(products)) + products)[1])

    total = weight.sum()
    groups = [codes == code for code in range(n_classes)]
    return rate(np.ones(len(X), dtype=bool)) - sum(float(weight[own].sum() / total) * rate(own) for own in groups)


def coding_length(scatter: ClassScatter, squared_error: float) -> float:
    """Nats of all rows, coded class by class, with their classes and subspaces (same source)."""
    weight = scatter.weight
    rates = coding_rates(scatter, squared_error)
    return float(((weight + scatter.moments.shape[1]) * rates - weight * np.log(weight / weight.sum())).sum())


def incremental_lengths(Z: np.ndarray, scatter: ClassScatter, squared_error: float) -> np.ndarray:
    """Nats that a row adds to the coding length of each class, (n_rows, n_classes).

    A row belongs where it adds least (Wright, Tao, Lin, Ma and Shum, "Classification via minimum incremental coding
    length", SIAM Journal on Imaging Sciences 2, 2009).
    """
    n_features = Z.shape[1]
    before = (scatter.weight + n_features) * coding_rates(scatter, squared_error)
    grown = scatter.weight + 1
    factor = n_features / (squared_error * grown)
    regular = np.eye(n_features) + scatter.moments * factor[:, None, None]
    log_det = np.linalg.slogdet(regular)[1]
    inverse = np.linalg.inv(regular)
    added = np.stack([((Z @ matrix) * Z).sum(axis=1) for matrix in inverse], axis=1)
    after = (grown + n_features) / 2 * (log_det + np.log1p(factor * added))
    return after - before - np.log(scatter.weight / scatter.weight.sum())


def outside_energy(Z: np.ndarray, scatter: ClassScatter, squared_error: float) -> np.ndarray:
    """Energy of rows that the rows of each class do not account for, (n_rows, n_classes).

    :math:`z^\\top (I + \\tfrac{p}{n \\varepsilon^2} Z_j^\\top Z_j)^{-1} z`: what is left of a row outside the
    subspace of a class, and little inside.
    """
    n_features = Z.shape[1]
    factor = (n_features / (squared_error * scatter.weight))[:, None, None]
    inverse = np.linalg.inv(np.eye(n_features) + scatter.moments * factor)
    return np.stack([((Z @ matrix) * Z).sum(axis=1) for matrix in inverse], axis=1)


def subspace_bases(scatter: ClassScatter, share: float) -> list[np.ndarray]:
    """Orthonormal bases (n_features, rank) of the smallest subspaces that hold a share of the energy of each class."""
    bases = []
    for moments in scatter.moments:
        values, vectors = np.linalg.eigh(moments)
        values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
        held = np.cumsum(values) / max(values.sum(), np.finfo(np.float64).tiny)
        rank = min(int(np.searchsorted(held, share * (1 - 1e-9))) + 1, len(values))
        signs = np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(len(values))])
        bases.append((vectors * signs)[:, :rank])
    return bases
