"""Centroids: seeding, Lloyd iterations with clamped rows, nearest centers. Pure functions on arrays.

Rows come as a `RowSource` (see ``distinct.py``) whose ``row_data`` are ``(codes or None, sample_weight or None)``: rows
with a code are labeled, their cluster is given, and they enter only through `Anchors`; the others are free. All
coordinates are relative to ``Frame.shift``, so that data far from the origin lose no digits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array, issparse
from sklearn.metrics.pairwise import euclidean_distances

from .device_steps import has_kernel, lloyd_on_device, lloyd_row_bytes
from .distinct import RowSource, free_weight

try:
    from sklearn.cluster._k_means_lloyd import lloyd_iter_chunked_dense as _compiled_iteration
except ImportError:  # a private module of scikit-learn: the numpy path below does the same, two to three times slower
    _compiled_iteration = None

# Rows whose squared offset from the origin exceeds this many times their variance are centered first.
_LARGEST_OFFSET = 64.0
# Rows searched at a time for the first that is free.
_SEARCHED_ROWS = 2**16
# Rounding of a squared distance computed by the fast formula, in units of eps times the squared norms.
_ROUNDING = 64

OnStep = Callable[[np.ndarray], bool]


@dataclass(frozen=True)
class Frame:
    """Origin and scale of the free rows.

    Attributes
    ----------
    shift : ndarray of shape (n_features,) or None
        Subtracted from rows; None where that would change nothing that matters (and for CSR).
    weight : float
        Total weight of the free rows.
    variance : float
        Mean over the features of the weighted variance of the free rows.
    """

    shift: np.ndarray | None
    weight: float
    variance: float


@dataclass(frozen=True)
class Anchors:
    """Statistics of the labeled rows, one entry a known class; computed once, in coordinates relative to the shift.

    Attributes
    ----------
    sums : ndarray of shape (n_known, n_features)
    weight : ndarray of shape (n_known,)
    scatter : float
        Weighted sum of squared distances of the labeled rows to the mean of their class.
    """

    sums: np.ndarray
    weight: np.ndarray
    scatter: float

    @property
    def means(self) -> np.ndarray:
        return self.sums / self.weight[:, None]

    def scaled(self, share: float) -> Anchors:
        return Anchors(self.sums * share, self.weight * share, self.scatter * share)

    def inertia(self, centers: np.ndarray) -> float:
        """Sum of squared distances of the labeled rows to the centers of their classes."""
        moved = ((self.means - centers[: len(self.weight)]) ** 2).sum(axis=1)
        return float(self.scatter + self.weight @ moved)


def no_anchors(n_features: int) -> Anchors:
    return Anchors(np.zeros((0, n_features)), np.zeros(0), 0.0)


@dataclass(frozen=True)
class LloydSettings:
    """How Lloyd's algorithm runs and what it compares.

    Attributes
    ----------
    n_init : int
        Starts.
    max_iter : int
        Iterations of one run.
    tol : float
        Stop when the squared shift of all centers is at most `tol` times the mean variance of a feature.
    seed_power, objective_power : {1, 2}
        Power of the distance in the seeding weight, and in the sum by which the best start is chosen.
    n_trials : int or None
        Draws for each new center, of which the best is taken; None for one draw, and in the first of every five starts
        ``2 + log(k)`` draws by squared distance (greedy k-means++), which is surer where clusters are separate.
    """

    n_init: int = 10
    max_iter: int = 300
    tol: float = 1e-4
    seed_power: int = 2
    objective_power: int = 2
    n_trials: int | None = None


def shifted(block: Any, shift: np.ndarray | None) -> Any:
    return block if shift is None else block - shift.astype(block.dtype)


def shifted_centers(centers: np.ndarray, shift: np.ndarray | None) -> np.ndarray:
    """Centers back in the coordinates of the rows."""
    return centers if shift is None else centers + shift


def one_hot(codes: np.ndarray, weight: np.ndarray, n_codes: int) -> csr_array:
    rows = np.arange(len(codes) + 1, dtype=codes.dtype)
    return csr_array((weight, codes, rows), shape=(len(codes), n_codes))


def square_norms(Z: Any) -> np.ndarray:
    return np.asarray(Z.multiply(Z).sum(axis=1)).ravel() if issparse(Z) else np.einsum("ij,ij->i", Z, Z)


def moment_statistics(block: Any, row_data: tuple, origin: np.ndarray | None) -> tuple:
    """(weight, weighted sum, weighted sum of squares) of the free rows about `origin`."""
    weight = free_weight(row_data, block.shape[0])
    Z = block if origin is None else block - origin
    return weight.sum(), weight @ Z, weight @ square_norms(Z).astype(np.float64)


def class_statistics(block: Any, row_data: tuple, parameters: tuple[int, np.ndarray | None]) -> tuple:
    """(sums, weights, sums of squares) of the labeled rows of each known class."""
    n_known, shift = parameters
    codes, sample_weight = row_data
    labeled = np.flatnonzero(codes >= 0)
    Z = block[labeled].astype(np.float64)
    Z = Z if shift is None else Z - shift
    weight = np.ones(len(labeled)) if sample_weight is None else sample_weight[labeled].astype(np.float64)
    member = one_hot(codes[labeled], weight, n_known)
    sums = member.T @ Z
    sums = sums.toarray() if issparse(sums) else sums
    return sums, np.bincount(codes[labeled], weight, n_known), weight @ square_norms(Z)


def measure_frame(source: RowSource, *, center: bool = False) -> Frame:
    """Shift, weight and variance of the free rows, in one pass; `center`: shift dense rows however near they lie."""
    sparse = issparse(source.X)
    origin = None if sparse else _first_free_row(source)
    weight, total, squares = source.sum(moment_statistics, origin)
    if weight <= 0:
        return Frame(None, 0.0, 0.0)
    mean = total / weight
    variance = max(float(squares / weight - mean @ mean), 0.0)
    if sparse:
        return Frame(None, float(weight), variance / source.n_features)
    mean = mean if origin is None else mean + origin
    # Of the type of the rows, so that they are shifted by the same amount whatever the type of the differences.
    mean = mean.astype(source.X.dtype).astype(np.float64)
    shift = mean if center or mean @ mean > _LARGEST_OFFSET * variance else None
    return Frame(shift, float(weight), variance / source.n_features)


def _first_free_row(source: RowSource) -> np.ndarray | None:
    """A free row to see the others from: a labeled one may lie so far away that their variance drowns."""
    for start in range(0, source.n_rows, _SEARCHED_ROWS):
        rows = slice(start, min(start + _SEARCHED_ROWS, source.n_rows))
        row_data = tuple(None if values is None else values[rows] for values in source.row_data)
        weight = free_weight(row_data, rows.stop - rows.start)
        if weight.any():
            row = start + int(np.argmax(weight > 0))
            return np.asarray(source.take(np.array([row]))[0], dtype=np.float64)
    return None


def measure_anchors(source: RowSource, n_known: int, shift: np.ndarray | None) -> Anchors:
    """Statistics of the labeled rows, in one pass."""
    if not n_known:
        return no_anchors(source.n_features)
    sums, weight, squares = source.sum(class_statistics, (n_known, shift))
    between = float((sums**2).sum(axis=1) @ (1 / np.where(weight > 0, weight, 1)))
    return Anchors(sums, weight, max(float(squares) - between, 0.0))


@has_kernel(lloyd_on_device, lloyd_row_bytes)
def lloyd_statistics(block: Any, row_data: tuple, parameters: tuple[np.ndarray, np.ndarray | None]) -> tuple:
    """(sums, weights) of the free rows nearest to each center."""
    centers, shift = parameters
    Z = shifted(block, shift)
    weight = free_weight(row_data, Z.shape[0], Z.dtype)
    codes = _nearest_codes(Z, weight, centers.astype(Z.dtype))
    sums = one_hot(codes, weight, len(centers)).T @ Z
    counts = np.bincount(codes, weight, len(centers))
    return (sums.toarray() if issparse(sums) else sums).astype(np.float64), counts


def _nearest_codes(Z: Any, weight: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Nearest centers by scikit-learn's compiled loop, which is left to find labels only.

    Its own update of the centers moves rows into clusters that are empty, which in one block of many would be wrong.
    """
    if issparse(Z) or _compiled_iteration is None:
        return center_scores(Z, centers).argmin(axis=1).astype(np.int32)
    codes = np.empty(len(Z), dtype=np.int32)
    unused = np.empty(len(centers), Z.dtype)
    _compiled_iteration(np.ascontiguousarray(Z), weight, centers, centers, unused, codes, unused, 1, False)
    return codes


def center_scores(Z: Any, centers: np.ndarray) -> np.ndarray:
    """Squared distances less the squared norm of the row, which no comparison of centers needs."""
    scores = Z @ (-2.0 * centers.T)
    scores += np.einsum("ij,ij->i", centers, centers)
    return scores


def lloyd(
    source: RowSource,
    centers: np.ndarray,
    anchors: Anchors,
    frame: Frame,
    settings: LloydSettings,
    on_step: OnStep | None = None,
) -> tuple[np.ndarray, int]:
    """Lloyd iterations on the free rows, labeled rows clamped to the first ``len(anchors.weight)`` centers.

    A cluster that loses all its rows keeps its center.

    Parameters
    ----------
    source : RowSource
    centers : ndarray of shape (n_clusters, n_features)
        Start, relative to ``frame.shift``.
    anchors : Anchors
        Labeled rows.
    frame : Frame
    settings : LloydSettings
    on_step : callable, optional
        Called with the centers after each iteration; True stops.

    Returns
    -------
    centers : ndarray of shape (n_clusters, n_features)
    n_iter : int
    """
    n_known = len(anchors.weight)
    smallest = settings.tol * frame.variance
    n_iter = 0
    for n_iter in range(1, settings.max_iter + 1):
        sums, weight = source.sum(lloyd_statistics, (centers, frame.shift))
        sums[:n_known] += anchors.sums
        weight[:n_known] += anchors.weight
        moved = np.where(weight[:, None] > 0, sums / np.where(weight > 0, weight, 1)[:, None], centers)
        change = float(((moved - centers) ** 2).sum())
        centers = moved
        if (on_step is not None and on_step(centers)) or change <= smallest:
            break
    return centers, n_iter


def nearest_centers(block: Any, row_data: tuple, parameters: tuple[np.ndarray, np.ndarray | None]) -> tuple:
    """(code,) of the nearest center of each row.

    Rows whose two best centers cannot be told apart by the fast formula are settled by plain differences, so that the
    answer depends neither on the place of a row in its block nor on the size of the block.
    """
    centers, shift = parameters
    Z = shifted(block, shift)
    scores = center_scores(Z, centers.astype(Z.dtype))
    codes = scores.argmin(axis=1).astype(np.int32)
    best = scores[np.arange(len(codes)), codes]
    noise = _ROUNDING * np.finfo(Z.dtype).eps * (square_norms(Z) + (centers**2).sum(axis=1).max(initial=0))
    doubtful = np.flatnonzero((scores <= (best + noise)[:, None]).sum(axis=1) > 1)
    for rows in np.array_split(doubtful, max(1, len(doubtful) * centers.size // 2**22)):
        near = Z[rows].toarray() if issparse(Z) else Z[rows]
        differences = near[:, None, :].astype(np.float64) - centers
        codes[rows] = np.einsum("ijk,ijk->ij", differences, differences).argmin(axis=1)
    return (codes,)


def size_statistics(block: Any, row_data: tuple, parameters: tuple[np.ndarray, np.ndarray | None]) -> tuple:
    """(weight of the free rows nearest to each center,)."""
    (codes,) = nearest_centers(block, row_data, parameters)
    return (np.bincount(codes, free_weight(row_data, block.shape[0]), len(parameters[0])),)


def size_statistics_of_codes(block: Any, row_data: tuple, n_codes: int) -> tuple:
    """(weight of the free rows of each code,); ``row_data`` holds the codes before the usual two."""
    return (np.bincount(row_data[0], free_weight(row_data[1:], block.shape[0]), n_codes),)


def center_distances(block: Any, row_data: tuple, parameters: tuple[np.ndarray, np.ndarray | None]) -> tuple:
    """(distances,) of each row to every center."""
    centers, shift = parameters
    return (euclidean_distances(shifted(block, shift), centers.astype(block.dtype)),)


def objective_statistics(block: Any, row_data: tuple, parameters: tuple[np.ndarray, np.ndarray | None, int]) -> tuple:
    """(weighted sum over the free rows of the distance to the nearest center to a power,)."""
    centers, shift, power = parameters
    (codes,) = nearest_centers(block, row_data, (centers, shift))
    weight = free_weight(row_data, block.shape[0])
    return (weight @ distances_to(shifted(block, shift), centers[codes]) ** power,)


def distances_to(Z: Any, targets: np.ndarray) -> np.ndarray:
    """Distance of each row of `Z` to the same row of `targets`, by differences."""
    if issparse(Z):
        product = np.asarray(Z.multiply(targets).sum(axis=1)).ravel()
        squares = square_norms(Z) - 2 * product + np.einsum("ij,ij->i", targets, targets)
        return np.sqrt(np.maximum(squares, 0))
    return np.linalg.norm(Z - targets, axis=1)


def objective(source: RowSource, centers: np.ndarray, anchors: Anchors, frame: Frame, power: int = 2) -> float:
    """What Lloyd's runs are compared by; with ``power=2`` the inertia, labeled rows included."""
    (free,) = source.sum(objective_statistics, (centers, frame.shift, power))
    return float(free) + (anchors.inertia(centers) if len(anchors.weight) else 0.0)


def _squares_to_nearest(X: Any, norms: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Squared distance of each row to the nearest center; 0 where it is no more than rounding."""
    squares = euclidean_distances(X, centers, X_norm_squared=norms, squared=True)
    codes = squares.argmin(axis=1)
    closest = squares[np.arange(len(codes)), codes]
    noise = _ROUNDING * np.finfo(np.float64).eps * (norms.ravel() + square_norms(centers)[codes])
    return np.where(closest <= noise, 0.0, closest)


def seed_centers(
    X: Any,
    weight: np.ndarray,
    fixed: np.ndarray,
    n_new: int,
    settings: LloydSettings,
    random_state: np.random.RandomState,
) -> np.ndarray:
    """Draw new centers from distinct rows, far from the fixed centers and from each other.

    Each is drawn with probability proportional to the weight of a row times its distance to the nearest center so far
    to the power ``settings.seed_power``; of ``settings.n_trials`` draws the one that lowers the sum most is taken.

    Returns
    -------
    centers : ndarray of shape (n_found, n_features)
        Fewer than `n_new` when the distinct rows run out.
    """
    n_trials = settings.n_trials or 2 + int(np.log(max(n_new, 1)))
    norms = square_norms(X)[:, None]
    power = settings.seed_power / 2
    if len(fixed) and X.shape[0]:
        closest = _squares_to_nearest(X, norms, fixed)
    else:
        closest = np.ones(X.shape[0])
    chosen: list[int] = []
    for _ in range(n_new):
        share = np.cumsum(weight * closest**power)
        if not len(share) or share[-1] <= 0:
            break
        # The first of all centers has no distance to go by: one draw, by weight.
        draws = 1 if not chosen and not len(fixed) else n_trials
        candidates = np.searchsorted(share, random_state.uniform(size=draws) * share[-1], side="right")
        candidates = np.minimum(candidates, len(share) - 1)
        squares = euclidean_distances(X[candidates], X, Y_norm_squared=norms.T, squared=True)
        squares[np.arange(draws), candidates] = 0
        lowered = squares if draws == 1 and not chosen and not len(fixed) else np.minimum(squares, closest)
        best = int(np.argmin((lowered**power) @ weight))
        closest = lowered[best]
        chosen.append(int(candidates[best]))
    return X[chosen].toarray() if issparse(X) else X[chosen]
