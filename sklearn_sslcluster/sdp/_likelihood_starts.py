"""Partitions to start from: Ward's, k-means, spectral, and random ones, each improved by likelihood."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.linalg import eigh
from scipy.spatial.distance import cdist

from ..numerics import LloydSettings, seed_centers
from ._profile_likelihood import GroupProblem, Partition, classify, is_whole, one_hot, soften

INITS = ("ward", "k-means++", "spectral", "random")
# Points that the methods with a matrix of distances work on; of more, summaries of neighboring points.
_MOST_POINTS = 1000
_RUNS_OF_K_MEANS = 10
_RUNS_ON_EMBEDDING = 5
# Random starts for each start that is kept.
_DRAWS = 4
# Bandwidth of the spectral start, in units of the squared distance within a cluster (twice the variance).
_BANDWIDTH = 0.25


def k_means(
    X: np.ndarray, weight: np.ndarray, centers: np.ndarray, n_known: int, max_iter: int = 100
) -> tuple[np.ndarray, float]:
    """(codes, inertia) of Lloyd's algorithm; the first points are known classes and stay in the groups so numbered."""
    codes = np.full(len(X), -1)
    inertia = np.inf
    for _ in range(max_iter):
        distances = cdist(centers, X, "sqeuclidean")
        distances[:, :n_known] = np.inf
        distances[np.arange(n_known), np.arange(n_known)] = 0
        moved = distances.argmin(axis=0)
        if np.array_equal(moved, codes):
            break
        codes = moved
        member = one_hot(codes, len(centers)) * weight
        sizes = member.sum(axis=1, keepdims=True)
        centers = np.where(sizes > 0, member @ X / np.where(sizes > 0, sizes, 1), centers)
        inertia = float(weight @ ((X - centers[codes]) ** 2).sum(axis=1))
    return codes, inertia


def best_k_means(
    X: np.ndarray, weight: np.ndarray, n_known: int, n_groups: int, n_init: int, random_state: np.random.RandomState
) -> tuple[np.ndarray, float]:
    """(codes, inertia) of the best of several runs."""
    runs = []
    for number in range(n_init):
        settings = LloydSettings(n_trials=None if number % 2 == 0 else 1)
        centers = _seeds(X, weight, n_known, n_groups, settings, random_state)
        runs.append(k_means(X, weight, centers, n_known))
    return min(runs, key=lambda run: run[1])


def _seeds(
    X: np.ndarray,
    weight: np.ndarray,
    n_known: int,
    n_groups: int,
    settings: LloydSettings,
    random_state: np.random.RandomState,
) -> np.ndarray:
    fixed = X[:n_known]
    new = seed_centers(X[n_known:], weight[n_known:], fixed, n_groups - n_known, settings, random_state)
    return np.vstack([fixed, new])


def candidate_starts(
    problem: GroupProblem, init: str, n_init: int, random_state: np.random.RandomState
) -> Iterator[np.ndarray]:
    """Codes to start from; with ``init="best"`` of every kind."""
    kinds = INITS if init == "best" else (init,)
    X, weight, n_known, n_groups = problem.X, problem.weight, problem.n_known, problem.n_groups
    if "k-means++" in kinds:
        yield best_k_means(X, weight, n_known, n_groups, _RUNS_OF_K_MEANS, random_state)[0]
        for _ in range(n_init - 1 if init == "k-means++" else 0):
            yield best_k_means(X, weight, n_known, n_groups, 1, random_state)[0]
    if "ward" in kinds or "spectral" in kinds:
        summary, summary_weight, code_of = _summaries(problem, random_state)
        if "ward" in kinds:
            yield ward(summary, summary_weight, n_known, n_groups)[code_of]
        if "spectral" in kinds:
            width = _BANDWIDTH * 2 * problem.spread * problem.n_features
            embedding = spectral_embedding(summary, summary_weight, n_groups, width)
            codes, _ = best_k_means(embedding, summary_weight, n_known, n_groups, _RUNS_ON_EMBEDDING, random_state)
            yield codes[code_of]
    if "random" in kinds:
        for _ in range(_DRAWS * n_init):
            yield _random_codes(problem, random_state)


def _random_codes(problem: GroupProblem, random_state: np.random.RandomState) -> np.ndarray:
    """The nearest of random points."""
    free = problem.weight[problem.n_known :]
    drawn = random_state.choice(len(free), problem.n_groups - problem.n_known, replace=False, p=free / free.sum())
    centers = np.vstack([problem.X[: problem.n_known], problem.X[problem.n_known + drawn]])
    return k_means(problem.X, problem.weight, centers, problem.n_known, max_iter=1)[0]


def improved_starts(
    problem: GroupProblem, init: str, n_init: int, random_state: np.random.RandomState
) -> list[Partition]:
    """Different partitions with the smallest `F`, at most `n_init`, best first.

    Each start is improved by hard iterations alone, and by soft ones, plain or annealed, first.
    """
    found: dict[bytes, Partition] = {}
    for codes in candidate_starts(problem, init, n_init, random_state):
        if not is_whole(problem, codes):
            codes = fill_empty(problem, codes)
        for start in (codes, soften(problem, codes), soften(problem, codes, annealed=True)):
            if is_whole(problem, start):
                partition = classify(problem, start)
                found.setdefault(_signature(problem, partition.codes), partition)
    return sorted(found.values(), key=lambda partition: partition.value)[:n_init]


def _signature(problem: GroupProblem, codes: np.ndarray) -> bytes:
    """The same for partitions that differ by the numbers of the novel groups only."""
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse].tobytes()


def fill_empty(problem: GroupProblem, codes: np.ndarray) -> np.ndarray:
    """Give each empty group the free point that costs most in its own, from a group that has others."""
    codes = codes.copy()
    for group in range(problem.n_groups):
        if (codes == group).any():
            continue
        counts = np.bincount(codes, minlength=problem.n_groups)
        centers = one_hot(codes, problem.n_groups) * problem.weight
        centers = centers @ problem.X / np.maximum(centers.sum(axis=1, keepdims=True), np.finfo(float).tiny)
        far = problem.weight * ((problem.X - centers[codes]) ** 2).sum(axis=1)
        far[counts[codes] < 2] = -1
        far[: problem.n_known] = -1
        codes[int(far.argmax())] = group
    return codes


def _summaries(problem: GroupProblem, random_state: np.random.RandomState) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(means, weights, group of each point) of small groups of neighbors, or of few points themselves."""
    X, weight, n_known = problem.X, problem.weight, problem.n_known
    n_groups = max(_MOST_POINTS, 4 * problem.n_groups) + n_known
    if len(X) <= n_groups:
        return X, weight, np.arange(len(X))
    centers = _seeds(X, weight, n_known, n_groups, LloydSettings(n_trials=1), random_state)
    codes, _ = k_means(X, weight, centers, n_known, max_iter=1)
    # Free points nearest to a known one count as a group of their own.
    joined = codes < n_known
    joined[:n_known] = False
    codes = np.where(joined, len(centers) + codes, codes)
    used, codes = np.unique(codes, return_inverse=True)
    member = one_hot(codes, len(used)) * weight
    sizes = member.sum(axis=1)
    return member @ X / sizes[:, None], sizes, codes


def ward(X: np.ndarray, weight: np.ndarray, n_known: int, n_groups: int) -> np.ndarray:
    """Codes of Ward's agglomeration of weighted points, no two of the first `n_known` together.

    Scikit-learn's and SciPy's take neither weights nor such constraints.
    """
    n = len(X)
    rise = cdist(X, X, "sqeuclidean") * (weight[:, None] * weight / (weight[:, None] + weight))
    rise[:n_known, :n_known] = np.inf
    np.fill_diagonal(rise, np.inf)
    sizes, group_of, active = weight.copy(), np.arange(n), np.ones(n, dtype=bool)
    nearest, smallest = rise.argmin(axis=1), rise.min(axis=1)
    for _ in range(n - n_groups):
        i = int(smallest.argmin())
        j = int(nearest[i])
        i, j = min(i, j), max(i, j)
        joint = sizes[i] + sizes[j]
        # Lance and Williams' update.
        row = ((sizes[i] + sizes) * rise[i] + (sizes[j] + sizes) * rise[j] - sizes * rise[i, j]) / (joint + sizes)
        active[j] = False
        row[~active] = np.inf
        row[i] = np.inf
        rise[i], rise[:, i] = row, row
        rise[j], rise[:, j] = np.inf, np.inf
        sizes[i] = joint
        group_of[group_of == j] = i
        smallest[j] = np.inf
        for stale in np.flatnonzero(active & ((nearest == i) | (nearest == j))):
            nearest[stale], smallest[stale] = rise[stale].argmin(), rise[stale].min()
        closer = row < smallest
        nearest[closer], smallest[closer] = i, row[closer]
        nearest[i], smallest[i] = row.argmin(), row.min()
    codes = np.unique(group_of, return_inverse=True)[1]
    return codes


def spectral_embedding(X: np.ndarray, weight: np.ndarray, n_groups: int, square_width: float) -> np.ndarray:
    """Rows of length 1: the leading eigenvectors of the normalized Gaussian affinity of weighted points.

    Those of the table in which every point stands as often as its weight says.
    """
    affinity = np.exp(-cdist(X, X, "sqeuclidean") / (2 * max(square_width, np.finfo(float).tiny)))
    scale = np.sqrt(weight / (affinity @ weight))
    n = len(X)
    n_vectors = min(n_groups, n)
    vectors = eigh(affinity * scale * scale[:, None], subset_by_index=[n - n_vectors, n - 1])[1]
    rows = vectors / np.sqrt(weight)[:, None]
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(float).tiny)
