"""A metric that known classes teach: directions in which they vary within themselves count less."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
from scipy.linalg import eigh
from sklearn.neighbors import NearestNeighbors

# Smallest eigenvalue that is divided by, in units of the largest.
_SMALLEST = 1e-10
_NEIGHBORS = 10
# Weights of the identity that `choose_shrinkage` tries, and the one that others have to beat.
SHRINKAGES = (0.01, 0.03, 0.1, 0.2, 0.4, 0.7, 1.0)
USUAL_SHRINKAGE = 0.2
_MOST_HIDINGS = 10


def within_scatter(X: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Pooled covariance of the rows around the means of their classes, (n_features, n_features)."""
    scatter = np.zeros((X.shape[1], X.shape[1]))
    present = np.unique(codes)
    for code in present:
        rows = X[codes == code]
        rows = rows - rows.mean(axis=0)
        scatter += rows.T @ rows
    return scatter / max(len(X) - len(present), 1)


def between_scatter(X: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Covariance of the class means, weighted by the sizes of the classes."""
    present, sizes = np.unique(codes, return_counts=True)
    means = np.stack([X[codes == code].mean(axis=0) for code in present]) - X.mean(axis=0)
    return (means.T * sizes) @ means / len(X)


def whitening(scatter: np.ndarray, shrinkage: float) -> np.ndarray:
    """Inverse square root of a covariance shrunk toward a multiple of the identity, symmetric.

    Parameters
    ----------
    scatter : ndarray of shape (n_features, n_features)
    shrinkage : float
        Weight of the identity, in [0, 1].
    """
    values, vectors = eigh(scatter)
    values = (1 - shrinkage) * np.maximum(values, 0) + shrinkage * max(values.mean(), 0.0)
    largest = values.max(initial=0.0)
    if not largest > 0:
        return np.eye(len(scatter))
    return (vectors / np.sqrt(np.maximum(values, _SMALLEST * largest))) @ vectors.T


def neighbor_purity(X: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Share of the nearest other rows that are of the class of a row, of each row."""
    n_neighbors = min(_NEIGHBORS, len(X) - 1)
    if n_neighbors < 1:
        return np.ones(len(X))
    neighbors = NearestNeighbors(n_neighbors=n_neighbors).fit(X).kneighbors(return_distance=False)
    return (codes[neighbors] == codes[:, np.newaxis]).mean(axis=1)


def choose_shrinkage(X: np.ndarray, codes: np.ndarray, random_state: np.random.RandomState) -> tuple[float, dict]:
    """Shrinkage with which classes that the metric has not seen keep to themselves.

    Half of the classes are hidden (all halves, or ten at random); the covariance comes from the others, and the score
    is the share of the ten nearest labeled rows of a row of a hidden class that are of its class. `USUAL_SHRINKAGE`
    stays unless another one is better by more than a standard error of the paired differences.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
        Labeled rows.
    codes : ndarray of shape (n_rows,)
    random_state : RandomState

    Returns
    -------
    shrinkage : float
    scores : dict of float to float
        Mean share of every shrinkage; empty where there are fewer than two classes.
    """
    classes = np.unique(codes)
    if len(classes) < 2:
        return USUAL_SHRINKAGE, {}
    n_hidden = len(classes) // 2
    hidings: set[tuple] = set()
    if comb(len(classes), n_hidden) <= _MOST_HIDINGS:
        hidings = set(combinations(classes.tolist(), n_hidden))
    while len(hidings) < min(_MOST_HIDINGS, comb(len(classes), n_hidden)):
        hidings.add(tuple(np.sort(random_state.permutation(classes)[:n_hidden]).tolist()))
    scores = np.zeros((len(hidings), len(SHRINKAGES)))
    for number, hidden in enumerate(sorted(hidings)):
        is_hidden = np.isin(codes, list(hidden))
        scatter = within_scatter(X[~is_hidden], codes[~is_hidden])
        for column, shrinkage in enumerate(SHRINKAGES):
            purity = neighbor_purity(X @ whitening(scatter, shrinkage), codes)
            scores[number, column] = purity[is_hidden].mean()
    usual = SHRINKAGES.index(USUAL_SHRINKAGE)
    lead = scores - scores[:, [usual]]
    error = lead.std(axis=0) / np.sqrt(max(len(hidings) - 1, 1))
    better = lead.mean(axis=0) - error
    best = int(better.argmax()) if better.max() > 0 else usual
    return SHRINKAGES[best], dict(zip(SHRINKAGES, scores.mean(axis=0).tolist(), strict=True))
