"""Neighbor embedding of distinct rows, and a mixture in it: what `NeighborEmbeddingClustering` teaches its map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.manifold import TSNE

from ..engine import RowBlocks
from ..labels import UNLABELED, PartialLabels
from ..numerics import (
    CenterProblem,
    LloydSettings,
    MaximizationSettings,
    MixtureFit,
    MixtureTask,
    RowSource,
    WeightedRows,
    best_fits,
    choose_n_clusters,
    distinct_rows,
    evaluation_of,
    is_one_cluster,
    labeled_moments,
    lexicographic_order,
    log_joint_densities,
    pose_problem,
    sample_rows,
    search,
)

# Fewer rows are embedded by their principal components.
_FEWEST_EMBEDDED = 8
# There are so many rows for a unit of perplexity, at least.
_ROWS_PER_PERPLEXITY, _SMALLEST_PERPLEXITY = 8.0, 2.0
# Standard deviation of the first column of the start of t-SNE.
_START_SCALE = 1e-4
# Added to variances in the embedding, whose own is 1.
_REGULARIZATION = 1e-3
# Components of the mixtures for each class, before they are joined.
_COMPONENTS_PER_CLASS = (1.0, 1.5)
# Components are linked that share so many of the edges of the smaller one.
_LINKED = 0.002
_MAX_ITER, _TOL = 200, 1e-4
# Rows in which more than one group is looked for.
_MOST_TESTED = 500
# Silhouettes are as good as the largest within this standard deviation of single rows over the root of their number.
_SPREAD, _LARGEST_TOLERANCE = 0.5, 0.015


@dataclass(frozen=True)
class EmbeddedRows:
    """Distinct rows of a table, in lexicographic order, of large tables a sample.

    Attributes
    ----------
    rows : ndarray of shape (n_distinct,)
        Number of one of the equal rows in the table.
    codes : ndarray of shape (n_distinct,)
        Of known classes, or ``UNLABELED``.
    members : ndarray of shape (n_found,)
        Rows of the table that are known to equal one of these.
    places : ndarray of shape (n_found,)
        Which one.
    weight : ndarray of shape (n_distinct,)
        How often each stands in the table.
    """

    rows: np.ndarray
    codes: np.ndarray
    members: np.ndarray
    places: np.ndarray
    weight: np.ndarray

    @property
    def relative_weight(self) -> np.ndarray | None:
        """Weights with a mean of 1; None where all are equal."""
        return None if (self.weight == self.weight[0]).all() else self.weight / self.weight.mean()


def draw_rows(
    source: RowSource, labels: PartialLabels, max_rows: int, random_state: np.random.RandomState
) -> EmbeddedRows:
    """Distinct rows: unlabeled ones, and in each known class the labeled ones, which are at most half of a sample."""
    groups = [np.flatnonzero(labels.codes == code) for code in range(labels.n_known)]
    free = np.flatnonzero(labels.unlabeled)
    n_labeled = sum(map(len, groups))
    most_labeled = max_rows if not len(free) else max(max_rows // 2, max_rows - len(free))
    shares = [max(1, round(most_labeled * len(group) / max(n_labeled, most_labeled))) for group in groups]
    limits = [max(max_rows - min(n_labeled, most_labeled), 1), *shares]
    rows, codes, members, places, weight = [], [], [], [], []
    n_rows = 0
    for code, group, limit in zip([UNLABELED, *range(labels.n_known)], [free, *groups], limits, strict=True):
        if not len(group):
            continue
        found, numbers = _distinct(source, labels.codes, code, group, limit, random_state)
        rows.append(numbers)
        codes.append(np.full(len(found.rows), code, dtype=np.int32))
        weight.append(found.weight)
        members.append(group if found.inverse is not None else rows[-1])
        places.append(n_rows + (found.inverse if found.inverse is not None else np.arange(len(found.rows))))
        n_rows += len(found.rows)
    drawn = np.concatenate(rows)
    order = lexicographic_order(source.take(drawn))
    place = np.empty(n_rows, dtype=np.intp)
    place[order] = np.arange(n_rows)
    return EmbeddedRows(
        drawn[order],
        np.concatenate(codes)[order],
        np.concatenate(members),
        place[np.concatenate(places)],
        np.concatenate(weight)[order],
    )


def _distinct(
    source: RowSource,
    codes: np.ndarray,
    code: int,
    group: np.ndarray,
    limit: int,
    random_state: np.random.RandomState,
) -> tuple[WeightedRows, np.ndarray]:
    """(distinct rows of the group with a code, their numbers); of more than `limit` rows a sample."""
    if len(group) > limit:
        # Seen through these codes only the rows of the group are free.
        mask = np.where(codes == code, np.int32(UNLABELED), np.int32(0))
        seen = source.like(source.X, (mask, None))
        found = distinct_rows(seen, (mask, None), max_rows=limit, random_state=random_state)
        return found, found.rows
    blocks = RowBlocks(source.take(group), (None, None))
    found = distinct_rows(blocks, (None, None), max_rows=limit, random_state=random_state)
    return found, group[found.rows]


def neighbor_embedding(Z: np.ndarray, method: str, n_components: int, perplexity: float, seed: int) -> np.ndarray:
    """Neighbor embedding of rows, centered and with a mean variance of 1 a column."""
    start = principal_scores(Z, n_components)
    if len(Z) < max(_FEWEST_EMBEDDED, n_components + 2):
        embedding = start
    else:
        limit = max(len(Z) / _ROWS_PER_PERPLEXITY, _SMALLEST_PERPLEXITY)
        embed = _tsne if method == "tsne" else _umap
        embedding = embed(Z, _noisy(start), min(perplexity, limit), seed)
    embedding = embedding - embedding.mean(axis=0)
    scale = np.sqrt((embedding**2).mean())
    return embedding / scale if scale > 0 else embedding


def principal_scores(Z: np.ndarray, n_components: int) -> np.ndarray:
    """Principal components, in units of the standard deviation of the first; columns of zeros where there are fewer."""
    centered = Z - Z.mean(axis=0)
    vectors, lengths, axes = np.linalg.svd(centered, full_matrices=False)
    signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])
    scores = (vectors * (lengths * signs))[:, :n_components]
    scores = np.pad(scores, ((0, 0), (0, n_components - scores.shape[1])))
    scale = scores[:, 0].std()
    return scores / scale if scale > 0 else scores


def _noisy(start: np.ndarray) -> np.ndarray:
    """Rows that start in a line, or in one place, would stay there."""
    noise = np.random.RandomState(0).normal(size=start.shape)
    return start + 1e-2 * noise


def _tsne(Z: np.ndarray, start: np.ndarray, perplexity: float, seed: int) -> np.ndarray:
    model = TSNE(
        start.shape[1],
        perplexity=perplexity,
        init=(_START_SCALE * start).astype(np.float32),
        method="barnes_hut" if start.shape[1] < 4 else "exact",
        random_state=seed,
    )
    return model.fit_transform(Z.astype(np.float32)).astype(np.float64)


def _umap(Z: np.ndarray, start: np.ndarray, perplexity: float, seed: int) -> np.ndarray:
    try:
        from umap import UMAP
    except ImportError:
        raise ImportError("embedding='umap' needs the package umap-learn; embedding='tsne' does without.") from None
    model = UMAP(
        n_neighbors=max(2, round(perplexity)),
        n_components=start.shape[1],
        min_dist=0.0,
        init=(10 * start).astype(np.float32),
        random_state=seed,
        n_jobs=1,
    )
    return np.asarray(model.fit_transform(Z.astype(np.float32)), dtype=np.float64)


def possible_numbers(ks: list[int], Z: np.ndarray, seed: int) -> list[int]:
    """Numbers of classes among `ks`, without 1 where the rows themselves fall into groups.

    A neighbor embedding fills a disc: many groups in it look to k-means of few centers like none.
    """
    if len(ks) < 2 or ks[0] != 1 or len(Z) < 2:
        return ks
    random_state = np.random.RandomState(seed)
    tested = Z[np.sort(random_state.permutation(len(Z))[:_MOST_TESTED])]
    return ks if is_one_cluster(tested, random_state) else ks[1:]


def choose_k(
    embedding: np.ndarray,
    drawn: EmbeddedRows,
    n_known: int,
    ks: list[int],
    n_init: int,
    random_state: np.random.RandomState,
) -> tuple[int, dict[int, float]]:
    """(fewest classes with a silhouette in the embedding that is as good as the largest, silhouettes)."""
    problem = _pose(embedding, drawn, n_known, random_state)
    chosen, scores = choose_n_clusters(problem, ks, LloydSettings(n_init), random_state, move_known=True)
    if scores:
        tolerance = min(_SPREAD / np.sqrt(len(embedding)), _LARGEST_TOLERANCE)
        chosen = min(k for k, score in scores.items() if score >= max(scores.values()) - tolerance)
    return chosen, scores


def cluster_posteriors(
    embedding: np.ndarray,
    neighbors: np.ndarray,
    drawn: EmbeddedRows,
    n_known: int,
    n_novel: int,
    settings: tuple[int, np.random.RandomState],
) -> np.ndarray:
    """Posteriors of the classes, (n_rows, n_classes), known ones first, by a Gaussian mixture in the embedding.

    The mixture has more components than there are classes: t-SNE tears groups, and what it has torn may lie nearer to
    another group than to its own. Components are joined by the `neighbors` of the rows. A labeled row belongs to its
    class. Of mixtures from several starts, and of several sizes, the one whose classes have the largest modularity on
    the graph of the neighbors is taken. `settings` are the number of starts and the generator they are drawn from.
    """
    n_init, random_state = settings
    n_classes, codes = n_known + n_novel, drawn.codes
    problem = _pose(embedding, drawn, n_known, random_state, n_classes)
    free = bool(problem.frame.weight)
    regularization = np.full(embedding.shape[1], _REGULARIZATION)
    maximization = MaximizationSettings("full", "unlabeled" if free else "all", regularization, None, monotone=False)
    labeled = labeled_moments(problem.source, problem.anchors, "full", problem.frame.shift)
    known = np.flatnonzero(codes != UNLABELED)

    def posteriors(fit: MixtureFit) -> np.ndarray:
        evaluation = evaluation_of(fit.mixture, problem.frame.shift, np.inf, np.dtype(np.float64))
        resp = problem.source.map(log_joint_densities, (evaluation, "resp"))[0]
        resp[known] = 0
        resp[known, codes[known]] = 1
        joined = join_components(edge_counts(resp.argmax(axis=1), resp.shape[1], neighbors), n_known, n_classes)
        out = np.zeros((int(joined.max()) + 1, len(resp)))
        np.add.at(out, joined, resp.T)
        return out.T

    def score(fit: MixtureFit) -> float:
        found = np.unique(posteriors(fit).argmax(axis=1), return_inverse=True)
        # Fewer classes than wanted would have the larger modularity.
        return len(found[0]) + modularity(edge_counts(found[1], len(found[0]), neighbors))

    rows = sample_rows(problem, labeled, "full")
    task = MixtureTask(problem, rows, maximization, n_init, _MAX_ITER, _TOL, score=score, moves=False)
    sizes = {round(ratio * n_classes) for ratio in _COMPONENTS_PER_CLASS} if n_classes > 1 and n_novel else {n_classes}
    fits = [search(task, size - n_known, random_state) for size in sorted(sizes)]
    return posteriors(best_fits(fits, score)[0])


def edge_counts(codes: np.ndarray, n_groups: int, neighbors: np.ndarray) -> np.ndarray:
    """Edges between groups of rows that are linked to their neighbors, (n_groups, n_groups), symmetric."""
    ends = codes.repeat(neighbors.shape[1]) * n_groups + codes[neighbors].ravel()
    counts = np.bincount(ends, minlength=n_groups**2).reshape(n_groups, n_groups).astype(np.float64)
    return (counts + counts.T) / 2


def modularity(links: np.ndarray) -> float:
    """Share of the edges inside groups, less what it would be by chance."""
    total = max(float(links.sum()), 1.0)
    return float(np.trace(links) / total - ((links.sum(axis=1) / total) ** 2).sum())


def join_components(links: np.ndarray, n_known: int, n_classes: int) -> np.ndarray:
    """Class of each component: those are joined, two at a time, whose union raises the modularity most.

    Modularity alone would rather join two small groups that have nothing to do with each other than halves of a large
    one. Therefore components that share no edges worth the name are joined last; two known classes never.

    Parameters
    ----------
    links : ndarray of shape (n_components, n_components)
        As by `edge_counts`.
    n_known, n_classes : int
    """
    links, n_components = links.copy(), len(links)
    classes, left = np.arange(n_components), np.ones(n_components, dtype=bool)
    while left.sum() > max(n_classes, 1):
        volume = links.sum(axis=1)
        total = max(float(volume.sum()), 1.0)
        gain = links / total - np.outer(volume, volume) / total**2
        linked = links > _LINKED * np.minimum.outer(volume, volume)
        allowed = np.outer(left, left) & ~np.eye(n_components, dtype=bool)
        allowed[:n_known, :n_known] = False
        if not allowed.any():
            break
        # Components of no row go first, and to any class.
        empty = np.logical_or.outer(volume == 0, volume == 0)
        value = np.where(allowed, np.where(linked, gain, gain - 2) + 4 * empty, -np.inf)
        a, b = sorted(np.unravel_index(value.argmax(), value.shape))
        links[a] += links[b]
        links[:, a] += links[:, b]
        links[b] = links[:, b] = 0
        left[b] = False
        classes[classes == b] = a
    return np.searchsorted(np.flatnonzero(left), classes)


def _pose(
    embedding: np.ndarray, drawn: EmbeddedRows, n_known: int, random_state: Any, n_clusters: int = 0
) -> CenterProblem:
    blocks = RowBlocks(embedding, (drawn.codes if n_known else None, drawn.relative_weight))
    return pose_problem(blocks, n_known, random_state, n_clusters, center=True)
