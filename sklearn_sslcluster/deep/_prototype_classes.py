"""Classes made of prototypes on the unit sphere: which prototypes belong together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..base import order_by_size
from ..labels import UNLABELED, PartialLabels
from ..numerics import modularity
from ._embedding_clusters import edge_counts, join_components


@dataclass(frozen=True)
class PrototypeClasses:
    """Prototypes and the class of each.

    Attributes
    ----------
    prototypes : ndarray of shape (n_prototypes, n_outputs)
        Of unit length; those of known classes, the means of their labeled rows, come first.
    classes : ndarray of shape (n_prototypes,)
        Codes, known classes first.
    n_classes : int
    """

    prototypes: np.ndarray
    classes: np.ndarray
    n_classes: int

    def similarities(self, Z: np.ndarray) -> np.ndarray:
        """Cosine of each row and the nearest prototype of each class."""
        scores = Z @ self.prototypes.T
        out = np.full((len(Z), self.n_classes), -np.inf)
        for code in range(self.n_classes):
            own = self.classes == code
            if own.any():
                out[:, code] = scores[:, own].max(axis=1)
        return out


@dataclass(frozen=True)
class JudgedRows:
    """Rows by whose neighbors prototypes are joined, and classes judged.

    Attributes
    ----------
    embedding : ndarray of shape (n_rows, n_outputs)
        Rows of unit length.
    codes : ndarray of shape (n_rows,)
        Codes of known classes, or ``UNLABELED``.
    neighbors : ndarray of shape (n_rows, n_neighbors)
        Nearest other rows in the embedding.
    """

    embedding: np.ndarray
    codes: np.ndarray
    neighbors: np.ndarray


def class_means(embedding: np.ndarray, codes: np.ndarray, n_known: int) -> np.ndarray:
    """Means of the labeled rows of each known class, of unit length."""
    means = np.stack([embedding[codes == code].mean(axis=0) for code in range(n_known)])
    return means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)


def join_prototypes(rows: JudgedRows, prototypes: np.ndarray, n_known: int, n_classes: int) -> PrototypeClasses:
    """Prototypes joined to so many classes, or as many as have rows.

    Those whose rows are neighbors of each other are joined, two at a time, whichever raises the modularity most; two
    known classes never.

    Parameters
    ----------
    rows : JudgedRows
    prototypes : ndarray of shape (n_known + n_learned, n_outputs)
    n_known, n_classes : int
    """
    nearest = (rows.embedding @ prototypes.T).argmax(axis=1)
    codes = np.where(rows.codes != UNLABELED, rows.codes, nearest)
    # Prototypes of no row belong to nothing.
    kept = np.union1d(np.arange(n_known), codes)
    links = edge_counts(np.searchsorted(kept, codes), len(kept), rows.neighbors)
    joined = join_components(links, n_known, n_classes)
    return PrototypeClasses(prototypes[kept], joined, int(joined.max()) + 1)


def judge(classes: PrototypeClasses, Z: np.ndarray, codes: np.ndarray, neighbors: np.ndarray) -> float:
    """Modularity of the classes on a graph of neighbors of the rows themselves."""
    found = classes.similarities(Z).argmax(axis=1)
    return modularity(neighbors, np.where(codes != UNLABELED, codes, found))


def in_order(
    classes: PrototypeClasses, codes_of: Callable[[PrototypeClasses], np.ndarray], labels: PartialLabels
) -> tuple[PrototypeClasses, np.ndarray]:
    """(classes without those that no unlabeled row falls to, novel ones by size; codes of the rows).

    `codes_of` finds the codes of all rows for given classes.
    """
    n_known = labels.n_known
    codes = codes_of(classes)
    sizes = np.bincount(codes[labels.unlabeled], minlength=classes.n_classes)
    centers = np.stack([classes.prototypes[classes.classes == code].mean(axis=0) for code in range(classes.n_classes)])
    novel = n_known + order_by_size(sizes[n_known:], centers[n_known:])
    kept = np.concatenate([np.arange(n_known), novel[sizes[novel] > 0]]).astype(np.intp)
    place = np.full(classes.n_classes, -1)
    place[kept] = np.arange(len(kept))
    chosen = place[classes.classes] >= 0
    ordered = PrototypeClasses(classes.prototypes[chosen], place[classes.classes[chosen]], len(kept))
    codes = np.array(codes_of(ordered))
    np.copyto(codes, labels.codes, where=labels.codes != UNLABELED)
    return ordered, codes
