"""The mixture in the embedding with which variational deep embedding starts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.cluster import AgglomerativeClustering

from ..engine import RowBlocks
from ..labels import PartialLabels
from ..numerics import (
    CenterProblem,
    LloydSettings,
    MaximizationSettings,
    Mixture,
    MixtureTask,
    StableSilhouette,
    choose_n_clusters,
    hard_mixture,
    labeled_moments,
    nearest_centers,
    pose_problem,
    sample_rows,
    search,
    solve,
)
from ._base import NeighborGraph
from ._variational_model import LatentMixture, log_joint

# Added to the variances of the mixture, in units of those of the embedding.
_REGULARIZATION = 0.01
_SMALLEST_WEIGHT, _SMALLEST_VARIANCE = 1e-6, 1e-6
# Rows in the hierarchy of Ward: it takes the square of their number.
_MOST_WARD_ROWS = 5000
# Mixtures of the start that expectation-maximization tries to improve.
_N_IMPROVED = 3


def pose(X: np.ndarray, codes: np.ndarray, random_state: np.random.RandomState, n_clusters: int = 0) -> CenterProblem:
    """Partially labeled rows, measured for k-means and mixtures."""
    n_known = int(codes.max(initial=-1)) + 1
    blocks = RowBlocks(X, (codes if n_known else None, None))
    return pose_problem(blocks, n_known, random_state, n_clusters, center=True)


def partitions(
    problem: CenterProblem, n_clusters: int, n_init: int, random_state: np.random.RandomState
) -> Iterator[np.ndarray]:
    """Codes of all rows by k-means, the best of several starts and each of some more, and by Ward."""
    X, known = problem.source.X, problem.source.row_data[0]
    n_novel = n_clusters - len(problem.anchors.weight)
    for n_starts in [n_init] + [1] * (n_init if n_novel else 0):
        centers = solve(problem, n_novel, LloydSettings(n_starts), random_state, move_known=True).all
        codes = nearest_centers(X, (), (centers, None))[0]
        yield codes if known is None else np.where(known >= 0, known, codes)
    rows = problem.sample.rows[:: max(1, -(-len(problem.sample.rows) // _MOST_WARD_ROWS))]
    if known is None and 1 < n_clusters < len(rows):
        clusters = AgglomerativeClustering(n_clusters).fit(X[rows]).labels_
        centers = np.stack([X[rows[clusters == cluster]].mean(axis=0) for cluster in range(n_clusters)])
        codes = nearest_centers(X, (), (centers, None))[0]
        codes[rows] = clusters
        yield codes


class MixtureStart:
    """Mixtures with diagonal covariances that start from partitions.

    Parameters
    ----------
    problem : CenterProblem
        The embedding.
    spread : ndarray of shape (n_dimensions,)
        Mean variance of the posteriors of rows, of whose means the problem consists.
    """

    def __init__(self, problem: CenterProblem, spread: np.ndarray) -> None:
        self.problem, self.spread = problem, spread
        variances = np.asarray(problem.source.X, dtype=np.float64).var(axis=0)
        regularization = np.maximum(_REGULARIZATION * variances, _SMALLEST_VARIANCE)
        settings = MaximizationSettings("diag", "all", regularization)
        labeled = labeled_moments(problem.source, problem.anchors, "diag", problem.frame.shift)
        self.task = MixtureTask(problem, sample_rows(problem, labeled, "diag"), settings)

    def of_partition(self, codes: np.ndarray) -> Mixture:
        """Moments of the clusters."""
        n_components = max(int(codes.max(initial=-1)) + 1, len(self.problem.anchors.weight))
        return hard_mixture(self.task.rows, codes[self.problem.sample.rows], n_components, self.task.settings)

    def searched(self, n_components: int, n_init: int, random_state: np.random.RandomState) -> Mixture:
        """The most likely mixture found, components being split and merged: k-means halves what is wide."""
        n_novel = n_components - len(self.problem.anchors.weight)
        return search(replace(self.task, n_init=n_init), n_novel, random_state).mixture

    def improved(self, mixture: Mixture) -> Mixture:
        """By expectation-maximization."""
        return self.task.run(mixture).mixture

    def in_embedding(self, mixture: Mixture) -> LatentMixture:
        """The mixture of the posteriors of rows in the coordinates of the embedding."""
        weights = np.maximum(mixture.weights, _SMALLEST_WEIGHT)
        gaussians, shift = mixture.gaussians, self.problem.frame.shift
        means = gaussians.means if shift is None else gaussians.means + shift
        return LatentMixture(weights / weights.sum(), means, gaussians.covariances + self.spread)


class VariationalStart:
    """Finds the mixture in an embedding of the training rows; the same one whenever it is called with it."""

    def __init__(self, estimator: Any, labels: PartialLabels, Z: np.ndarray, codes: np.ndarray, seed: int) -> None:
        self.estimator, self.labels, self.Z, self.codes, self.seed = estimator, labels, Z, codes, seed
        self.graph = NeighborGraph(Z)
        self.n_wanted = 0
        self.scores: dict[str, Any] = {}

    def __call__(self, embedding: np.ndarray, variances: np.ndarray) -> LatentMixture:
        estimator, n_known, n_init = self.estimator, self.labels.n_known, self.estimator.n_init
        random_state = np.random.RandomState(self.seed)
        problem = pose(embedding, self.codes, random_state)
        if estimator.n_clusters == "auto":
            self.n_wanted, self.scores["n_clusters_scores_"] = choose_n_clusters(
                problem,
                estimator._candidates(n_known),
                LloydSettings(n_init),
                random_state,
                move_known=True,
                criterion=StableSilhouette(),
            )
        else:
            self.n_wanted = n_known + estimator._n_novel_wanted(self.labels)
        start = MixtureStart(problem, variances.mean(axis=0))
        mixtures = [
            start.of_partition(codes)
            for space in (problem, pose(self.Z, self.codes, random_state))
            for codes in partitions(space, self.n_wanted, n_init, random_state)
        ]
        if self.n_wanted > n_known:
            mixtures.append(start.searched(self.n_wanted, max(1, n_init // 4), random_state))

        def modularity(mixture: Mixture) -> float:
            return self.graph.modularity(self.clamped(log_joint(embedding, start.in_embedding(mixture)).argmax(axis=1)))

        best = sorted(mixtures, key=modularity, reverse=True)[:_N_IMPROVED]
        return start.in_embedding(max(best + [start.improved(mixture) for mixture in best], key=modularity))

    def clamped(self, codes: np.ndarray) -> np.ndarray:
        """Codes of the training rows, those of labeled ones given."""
        return np.where(self.codes >= 0, self.codes, codes)
