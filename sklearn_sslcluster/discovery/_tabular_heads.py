"""The two linear heads of TabularNCD: where they start, which one is kept, and what they say of a row."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import softmax

from .. import neural
from ..engine import RowBlocks
from ..labels import UNLABELED
from ..numerics import LloydSettings, modularity, nearest_centers, nearest_neighbors, pose_problem, solve

_MAX_ITER, _TOL = 300, 1e-4
_MOST_JUDGED = 5000

Layers = list[dict[str, Any]]


@dataclass(frozen=True)
class Heads:
    """Fitted heads.

    Attributes
    ----------
    known, clusters : list of dict
        Layers; the last output of `known` is "novel" where there are clusters.
    n_known, n_novel : int
    """

    known: Layers
    clusters: Layers
    n_known: int
    n_novel: int

    def cluster_codes(self, Z: np.ndarray) -> np.ndarray:
        return self._outputs(self.clusters, Z, max(self.n_novel, 1)).argmax(axis=1)

    def codes(self, Z: np.ndarray) -> np.ndarray:
        """Known classes, then clusters: a row is novel if that is likelier than each of the known classes."""
        codes = self._outputs(self.known, Z, self.n_known + (self.n_novel > 0)).argmax(axis=1)
        return np.where(codes < self.n_known, codes, self.n_known + self.cluster_codes(Z))

    def probabilities(self, Z: np.ndarray) -> np.ndarray:
        """Known classes, then clusters: the probability of "novel" times that of the cluster."""
        known = softmax(self._outputs(self.known, Z, self.n_known + (self.n_novel > 0)), axis=1)
        if not self.n_novel:
            return known
        clusters = softmax(self._outputs(self.clusters, Z, self.n_novel), axis=1)
        return np.hstack([known[:, :-1], known[:, -1:] * clusters])

    def ordered(self, order: np.ndarray) -> Heads:
        """With these clusters, in this order."""
        head = self.clusters[0]
        clusters = [{"kind": "linear", "weight": head["weight"][order], "bias": head["bias"][order]}]
        return Heads(self.known, clusters, self.n_known, len(order))

    @staticmethod
    def _outputs(layers: Layers, Z: np.ndarray, n_outputs: int) -> np.ndarray:
        return neural.apply_layers(layers, Z)[:, :n_outputs]


@dataclass
class HeadStart:
    """Means of the known classes and k-means of the unlabeled rows, in the embedding before the joint phase.

    Attributes
    ----------
    codes : ndarray of shape (n_rows,)
        Codes of the training rows, -1 for unlabeled ones.
    n_known, n_novel : int
    n_init, seed : int
        Of k-means.
    clusters : ndarray of shape (n_free,)
        Once found, the cluster of each unlabeled row.
    places : (ndarray, ndarray, float)
        Once found, what `find` returns.
    """

    codes: np.ndarray
    n_known: int
    n_novel: int
    n_init: int
    seed: int
    clusters: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.intp))
    places: tuple[np.ndarray, np.ndarray, float] = (np.zeros((0, 0)), np.zeros((0, 0)), 1.0)

    def heads(self) -> Heads:
        """Heads at these places, for the embedding in which they were found."""
        means, centers, spread = self.places
        return Heads(_head_at(means, spread), _head_at(centers, spread), self.n_known, len(centers))

    def find(self, embedding: Any) -> tuple[np.ndarray, np.ndarray, float]:
        """(means of the known classes and of all unlabeled rows, centers of the clusters, spread about them)."""
        Z = embedding.cpu().numpy().astype(np.float64)
        free = self.codes == UNLABELED
        means = [Z[self.codes == c].mean(axis=0) for c in range(self.n_known)]
        squares = sum(((Z[self.codes == c] - means[c]) ** 2).sum() for c in range(self.n_known))
        centers = np.zeros((0, Z.shape[1]))
        if self.n_novel:
            rng = np.random.RandomState(self.seed)
            problem = pose_problem(RowBlocks(Z[free], (None, None)), 0, rng)
            settings = LloydSettings(self.n_init, _MAX_ITER, _TOL)
            centers = solve(problem, self.n_novel, settings, rng, move_known=True).novel
            self.clusters = nearest_centers(Z[free], (), (centers, None))[0]
            squares += ((Z[free] - centers[self.clusters]) ** 2).sum()
            means.append(Z[free].mean(axis=0))
        # The spread over all columns, not of one: heads that are sure of themselves learn nothing from pairs.
        spread = max(float(squares) / len(Z), float(np.finfo(np.float32).eps))
        self.places = np.array(means), centers, spread
        return self.places

    def place(self, network: Any, embedding: Any) -> None:
        """Set the heads of a network."""
        means, centers, spread = self.find(embedding)
        neural.place_head(network["class_head"], means, spread)
        if self.n_novel and len(centers) == self.n_novel:
            neural.place_head(network["cluster_head"], centers, spread)


def _head_at(places: np.ndarray, spread: float) -> Layers:
    """Layers whose probabilities are those of spherical Gaussians around places, equally heavy."""
    return [{"kind": "linear", "weight": places / spread, "bias": -0.5 * (places**2).sum(axis=1) / spread}]


def better_heads(heads: Heads, start: HeadStart, S: np.ndarray, Z: np.ndarray) -> tuple[Heads, bool, bool]:
    """The learned clusters, or those of the start about their means in the learned embedding, and which.

    Parameters
    ----------
    heads : Heads
    start : HeadStart
    S, Z : ndarray of shape (n_rows, n_inputs) and (n_rows, n_outputs)
        Training rows as the network reads them, and where it puts them.

    Returns
    -------
    heads : Heads
    improved : bool
        Whether the learned clusters have at least the modularity of the others on the neighbor graph of unlabeled rows.
    collapsed : bool
        Whether they have not because a cluster has all but lost its rows. Clusters that merge to a higher modularity
        are no collapse.
    """
    if heads.n_novel < 2:
        return heads, True, False
    free = np.flatnonzero(start.codes == UNLABELED)
    found = np.unique(start.clusters)
    centers = np.array([Z[free[start.clusters == j]].mean(axis=0) for j in found])
    before = Heads(heads.known, _head_at(centers, 1.0), heads.n_known, len(found))
    judged = free[np.sort(np.random.RandomState(0).permutation(len(free))[:_MOST_JUDGED])]
    neighbors = nearest_neighbors(S[judged])
    values = [modularity(neighbors, each.cluster_codes(Z[judged])) for each in (before, heads)]
    improved = bool(values[1] >= values[0])
    sizes = [np.bincount(codes, minlength=heads.n_novel) for codes in (start.clusters, heads.cluster_codes(Z[free]))]
    return (heads if improved else before), improved, not improved and neural.has_collapsed(*sizes)
