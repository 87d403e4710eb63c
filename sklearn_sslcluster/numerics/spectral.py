"""Spectral embeddings: affinities with a bandwidth from the minimum spanning tree, eigenvectors, Nystrom extension."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.cluster.hierarchy import linkage
from scipy.linalg import eigh
from scipy.sparse import csr_array, diags_array, issparse
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.sparse.linalg import LinearOperator, eigsh, lobpcg
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.neighbors import kneighbors_graph

# Up to this many rows LAPACK finds all eigenvectors faster than ARPACK finds some.
_LAPACK_ROWS = 600
_SMALLEST_EIGENVALUE = 1e-2


@dataclass(frozen=True)
class Affinity:
    """A symmetric affinity matrix and what is needed to extend it.

    Attributes
    ----------
    matrix : ndarray or CSR array of shape (n_rows, n_rows)
        Zero diagonal.
    degrees : ndarray of shape (n_rows,)
        Row sums.
    sigma : float
        Bandwidth of the Gaussian kernel; nan for a graph without weights.
    """

    matrix: Any
    degrees: np.ndarray
    sigma: float


@dataclass(frozen=True)
class Embedding:
    """Leading eigenvectors of the normalized affinity, largest eigenvalue first.

    Attributes
    ----------
    vectors : ndarray of shape (n_rows, n_eigenvectors)
    values : ndarray of shape (n_eigenvectors,)
        Eigenvalues of :math:`D^{-1/2} A D^{-1/2}`, one minus those of the normalized Laplacian.
    """

    vectors: np.ndarray
    values: np.ndarray


def bandwidth(longest_edge: float, s_min: float, convention: str) -> float:
    """Sigma that gives the longest edge of the spanning tree the similarity `s_min` ("paper") or its root ("code")."""
    return longest_edge / np.sqrt((2 if convention == "paper" else 1) * -np.log(s_min))


def dense_distances(X: np.ndarray) -> np.ndarray:
    """Euclidean distances of all pairs, seen from the middle of the rows."""
    return euclidean_distances(X - X.mean(axis=0))


def dense_longest_edge(X: np.ndarray) -> float:
    """Longest edge of the minimum spanning tree of all rows."""
    return float(linkage(X, "single")[:, 2].max()) if len(X) > 1 else 0.0


def gaussian_affinity(distances: np.ndarray, sigma: float) -> Affinity:
    """Gaussian kernel of distances, with a zero diagonal."""
    scale = sigma if sigma > 0 else 1.0
    matrix = np.exp(-0.5 * (distances / scale) ** 2)
    np.fill_diagonal(matrix, 0)
    return Affinity(matrix, matrix.sum(axis=1), scale)


def neighbor_distances(X: np.ndarray, n_neighbors: int) -> csr_array:
    """Distances between rows of which one is among the nearest neighbors of the other."""
    n_neighbors = min(n_neighbors, X.shape[0] - 1)
    graph = csr_array(kneighbors_graph(X - X.mean(axis=0), n_neighbors, mode="distance"))
    return csr_array(graph.maximum(graph.T))


def graph_longest_edge(distances: csr_array) -> float:
    """Longest edge of the minimum spanning forest of a neighbor graph."""
    forest = minimum_spanning_tree(distances)
    return float(forest.data.max()) if forest.nnz else 0.0


def graph_affinity(distances: csr_array, sigma: float) -> Affinity:
    """Gaussian kernel on the edges of a neighbor graph."""
    scale = sigma if sigma > 0 else 1.0
    matrix = distances.copy()
    matrix.data = np.exp(-0.5 * (matrix.data / scale) ** 2)
    return Affinity(matrix, matrix.sum(axis=1), scale)


def connectivity_affinity(X: np.ndarray, n_neighbors: int) -> Affinity:
    """Mean of the neighbor relation and its transpose, as scikit-learn's ``affinity="nearest_neighbors"``."""
    n_neighbors = min(n_neighbors, X.shape[0] - 1)
    graph = csr_array(kneighbors_graph(X - X.mean(axis=0), n_neighbors))
    matrix = csr_array(0.5 * (graph + graph.T))
    return Affinity(matrix, matrix.sum(axis=1), np.nan)


def leading_eigenvectors(affinity: Affinity, n_vectors: int, solver: str = "auto") -> Embedding:
    """Eigenvectors of the normalized affinity for its largest eigenvalues.

    Parameters
    ----------
    affinity : Affinity
    n_vectors : int
        At most the number of rows.
    solver : {"auto", "dense", "arpack", "lobpcg"}, default="auto"
        ``"auto"``: LAPACK for small or nearly complete problems, else ARPACK.
    """
    n_rows = len(affinity.degrees)
    root = 1 / np.sqrt(np.where(affinity.degrees > 0, affinity.degrees, 1))
    sparse = issparse(affinity.matrix)
    if sparse:
        normalized = diags_array(root) @ affinity.matrix @ diags_array(root)
    else:
        normalized = affinity.matrix * root * root[:, None]
    # Neither iterative solver works for more than a part of the eigenvectors.
    if solver == "dense" or n_rows <= _LAPACK_ROWS or 5 * n_vectors >= n_rows:
        dense = normalized.toarray() if sparse else normalized
        values, vectors = eigh(dense, subset_by_index=[n_rows - n_vectors, n_rows - 1])
    else:
        start = np.random.RandomState(0).uniform(-1, 1, size=(n_rows, n_vectors))
        if solver == "lobpcg":
            # Plus one: LOBPCG is made for positive definite matrices.
            shifted = LinearOperator(normalized.shape, matvec=lambda v: normalized @ v + v, dtype=float)
            values, vectors = lobpcg(shifted, start, largest=True, tol=1e-6, maxiter=500)
            values = values - 1
        else:
            values, vectors = eigsh(normalized, n_vectors, which="LA", v0=start[:, 0])
    order = np.argsort(-values, kind="stable")
    vectors = vectors[:, order]
    signs = np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(n_vectors)])
    return Embedding(vectors * signs, values[order])


def keep_extendable(embedding: Embedding) -> Embedding:
    """The eigenvectors that the Nystrom formula extends without blowing up errors."""
    kept = embedding.values >= _SMALLEST_EIGENVALUE * embedding.values.max(initial=0.0)
    kept &= embedding.values > 0
    return Embedding(embedding.vectors[:, kept], embedding.values[kept])


def nystrom(distances: np.ndarray, sigma: float, degrees: np.ndarray, embedding: Embedding) -> np.ndarray:
    """Eigenvectors extended to new rows; a row at distance 0 of a training row gets that row's entries.

    The affinity of a row with itself is 0, as in training, so that the formula returns the training embedding.

    Parameters
    ----------
    distances : ndarray of shape (n_new, n_rows)
        To the training rows.
    sigma, degrees, embedding
        Of the training rows.

    Returns
    -------
    vectors : ndarray of shape (n_new, n_eigenvectors)
        nan for rows so far away that all their affinities vanish.
    """
    affinity = np.where(distances > 0, np.exp(-0.5 * (distances / sigma) ** 2), 0)
    degree = affinity.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = affinity / np.sqrt(degree[:, None] * np.where(degrees > 0, degrees, 1))
        return (weights @ embedding.vectors) / embedding.values
