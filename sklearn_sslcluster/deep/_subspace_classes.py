"""Classes read from an embedding in which each is near a linear subspace of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..engine import RowBlocks
from ..labels import UNLABELED
from ..numerics import (
    Affinity,
    ClassScatter,
    LloydSettings,
    class_scatter,
    coding_length,
    incremental_lengths,
    leading_eigenvectors,
    log_sinkhorn,
    modularity,
    nearest_neighbors,
    outside_energy,
    pose_problem,
    rate_reduction,
    solve,
)
from ._embedding_clusters import EmbeddedRows

# Numbers of classes are compared by a code that is coarser by this factor: to a fine one the parts of a curved class
# are classes.
_COARSER = 5.0
# Rounds in which rows move to the class that codes them best.
_MOST_ROUNDS = 20
_SINKHORN_ITER, _SINKHORN_TOL = 500, 1e-4
_SWEEP_STARTS = 3
# There need be no novel class if this share of the rows without a label lie within this quantile of the labeled ones.
_TYPICAL_QUANTILE, _TYPICAL_SHARE = 0.95, 0.75
_DECIMALS, _SMALLEST_EIGENVALUE = 9, 1e-9


@dataclass(frozen=True)
class ReadSettings:
    """How classes are read.

    Attributes
    ----------
    squared_error : float
        Of the lossy code.
    temperature : float
        Of the doubly stochastic membership.
    n_init : int
        Runs of k-means among the leading eigenvectors.
    seed : int
    """

    squared_error: float
    temperature: float
    n_init: int
    seed: int


@dataclass(frozen=True)
class FoundClasses:
    """Classes of the rows that were read.

    Attributes
    ----------
    codes : ndarray of shape (n_rows,)
        Known classes first.
    scatter : ClassScatter
        Of these classes, none of which is empty.
    modularity : float
        On the graph of the nearest neighbors of the standardized rows.
    saved : float
        Nats a row that are saved when the standardized rows are coded class by class.
    lengths : dict of int to float
        Nats a row for every number of classes tried.
    """

    codes: np.ndarray
    scatter: ClassScatter
    modularity: float
    saved: float
    lengths: dict[int, float]

    @property
    def n_classes(self) -> int:
        return len(self.scatter.weight)


class ClassReader:
    """Reads classes from embeddings of the same rows.

    Parameters
    ----------
    drawn : EmbeddedRows
        Distinct rows of the table: so many that matrices of all pairs fit into memory.
    rows : ndarray of shape (n_distinct, n_features)
        Standardized; classes are compared by how much shorter they make the code of these.
    n_known : int
    settings : ReadSettings
    """

    def __init__(self, drawn: EmbeddedRows, rows: np.ndarray, n_known: int, settings: ReadSettings) -> None:
        self.drawn, self.n_known, self.settings = drawn, n_known, settings
        self.rows, self.neighbors = rows, nearest_neighbors(rows)
        relative = drawn.relative_weight
        self.weight = np.ones(len(drawn.rows)) if relative is None else relative
        self.labeled = np.flatnonzero(drawn.codes != UNLABELED)
        groups = np.unique(rows, axis=0, return_inverse=True)[1].ravel()
        # A row that equals a labeled one makes no class of its own.
        self.most_classes = max(n_known + len(np.unique(groups)) - len(np.unique(groups[self.labeled])), 1)

    def read(self, Z: np.ndarray, ks: list[int]) -> FoundClasses:
        """The classes of one of `ks` numbers that have the shortest code.

        Parameters
        ----------
        Z : ndarray of shape (n_distinct, n_columns)
            Embedding, rows of unit length.
        ks : list of int
            Numbers of classes, known ones included; increasing.
        """
        ks = [k for k in ks if k <= self.most_classes] or [self.most_classes]
        if len(ks) > 1 and ks[0] == self.n_known and not self.is_familiar(Z):
            ks = ks[1:]
        n_vectors = min(ks[-1], len(Z))
        membership = self.membership(Z)
        leading = leading_eigenvectors(Affinity(membership, membership.sum(axis=1), np.nan), n_vectors)
        # Eigenvectors of 0 are arbitrary, and would tell equal rows apart.
        vectors = leading.vectors[:, leading.values > _SMALLEST_EIGENVALUE]
        n_init = self.settings.n_init if len(ks) == 1 else _SWEEP_STARTS
        best: FoundClasses | None = None
        shortest, lengths = np.inf, {}
        for k in ks:
            found = self._best_of(Z, vectors[:, :k], k, n_init)
            if best is not None and found.n_classes < k:
                break
            lengths[k] = coding_length(found.scatter, _COARSER * self.settings.squared_error) / float(self.weight.sum())
            if best is None or lengths[k] < shortest:
                best, shortest = replace(found, lengths=lengths), lengths[k]
        return best  # type: ignore[return-value]

    def is_familiar(self, Z: np.ndarray) -> bool:
        """Whether most rows without a label lie as near to the subspace of a known class as labeled rows do.

        The code of a class that no row has a label of costs so much in small tables that they would rather do without.
        """
        error, free = self.settings.squared_error, self.drawn.codes == UNLABELED
        codes, weight = self.drawn.codes[self.labeled], self.weight[self.labeled]
        scatter = class_scatter(Z[self.labeled], codes, self.n_known, weight)
        own = outside_energy(Z[self.labeled], scatter, error)[np.arange(len(codes)), codes]
        # As if a labeled row were not among those that its class is made of.
        counted = weight * Z.shape[1] / (error * scatter.weight[codes])
        own = own / np.maximum(1 - counted * own, np.finfo(np.float64).tiny)
        energy = outside_energy(Z[free], scatter, error).min(axis=1)
        spread = np.sqrt(_TYPICAL_QUANTILE * (1 - _TYPICAL_QUANTILE) / len(energy))
        return bool((energy <= np.quantile(own, _TYPICAL_QUANTILE)).mean() >= _TYPICAL_SHARE - 2 * spread)

    def membership(self, Z: np.ndarray) -> np.ndarray:
        """Doubly stochastic projection of the absolute cosines; rows count by their weight."""
        scores = np.abs(Z @ Z.T)
        codes = self.drawn.codes[self.labeled]
        edited = np.where(codes[:, None] == codes, 1.0, -np.inf)
        scores[np.ix_(self.labeled, self.labeled)] = edited
        mass = np.log(self.weight / self.weight.sum())
        plan = log_sinkhorn(
            scores / self.settings.temperature, mass, mass, max_iter=_SINKHORN_ITER, tol=_SINKHORN_TOL
        ).log_plan
        membership = np.exp(plan + np.log(len(Z)))
        # Alternating projections end on one side of the answer, which is symmetric.
        return (membership + membership.T) / 2

    def _best_of(self, Z: np.ndarray, vectors: np.ndarray, k: int, n_init: int) -> FoundClasses:
        """Of clusters among the eigenvectors and in the embedding, those that save more of the code of the rows."""
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        found = []
        for rows in (vectors / np.maximum(lengths, np.finfo(np.float64).tiny), Z):
            # Equal rows with and without a label are equal up to rounding here.
            rows = np.round(rows, _DECIMALS)
            codes, scatter = self._settle(Z, self._cluster(rows, k, n_init))
            found.append(self._judged(codes, scatter))
        return max(found, key=lambda classes: (classes.n_classes, classes.saved))

    def _judged(self, codes: np.ndarray, scatter: ClassScatter) -> FoundClasses:
        saved = rate_reduction(self.rows, codes, len(scatter.weight), self.weight, self.settings.squared_error)
        return FoundClasses(codes, scatter, modularity(self.neighbors, codes), saved, {})

    def _cluster(self, rows: np.ndarray, k: int, n_init: int) -> np.ndarray:
        """Codes of k-means, the labeled rows in their classes; clusters without rows are left out."""
        source = RowBlocks(rows, (self.drawn.codes if self.n_known else None, self.weight))
        random_state = np.random.RandomState(self.settings.seed)
        problem = pose_problem(source, self.n_known, random_state, k, center=True)
        centers = solve(problem, k - self.n_known, LloydSettings(n_init), random_state, move_known=True).all
        squares = ((rows**2).sum(axis=1)[:, None] - 2 * rows @ centers.T) + (centers**2).sum(axis=1)
        return self._without_gaps(self._clamped(squares.argmin(axis=1)))

    def _settle(self, Z: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, ClassScatter]:
        """Move rows to the class that codes them best, until none moves or a class would lose its last row."""
        n_classes = int(codes.max()) + 1
        scatter = class_scatter(Z, codes, n_classes, self.weight)
        for _ in range(_MOST_ROUNDS):
            lengths = incremental_lengths(Z, scatter, self.settings.squared_error)
            moved = self._clamped(lengths.argmin(axis=1))
            if (moved == codes).all() or np.bincount(moved, minlength=n_classes).min() == 0:
                break
            codes, scatter = moved, class_scatter(Z, moved, n_classes, self.weight)
        return codes, scatter

    def _clamped(self, codes: np.ndarray) -> np.ndarray:
        return np.where(self.drawn.codes != UNLABELED, self.drawn.codes, codes)

    def _without_gaps(self, codes: np.ndarray) -> np.ndarray:
        """Codes of novel classes in sequence; every known class has a labeled row."""
        return np.unique(codes, return_inverse=True)[1]
