"""Moves between mixtures: a component split in two, two joined into one, and exchanges of the kind at a fixed number.

Split proposals look at the rows of one component only; merges are judged from moments, without the rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh

from .centroids import Frame, LloydSettings, lloyd, nearest_centers, no_anchors, seed_centers
from .gaussians import Gaussians, Moments, add_moments, merge_groups
from .mixture_densities import Mixture
from .mixture_fit import (
    MixtureFit,
    MixtureRows,
    component_codes,
    expectation,
    expectation_maximization,
    hard_mixture,
    measure_rows,
)
from .mixture_steps import MaximizationSettings, log_likelihood_of_moments, maximize, padded

# Iterations that refine a proposal on its own rows, and the whole mixture after a move.
_REFINE_ITER = 15
_MOVE_ITER = 25
_REFINE_TOL = 1e-4
_PRINCIPAL_CUTS = 2


@dataclass(frozen=True)
class Split:
    """A component cut in two.

    Attributes
    ----------
    component : int
    halves : Mixture
        Two components; of a known class, the first keeps its labeled rows.
    gain : float
        Growth of the penalized log likelihood of the rows of the component, in all.
    """

    component: int
    halves: Mixture
    gain: float


def propose_split(
    rows: MixtureRows,
    members: np.ndarray,
    component: int,
    settings: MaximizationSettings,
    random_state: np.random.RandomState,
) -> Split | None:
    """Best of several refined cuts of a component: by 2-means, and at the mean along its principal axes.

    Parameters
    ----------
    rows : MixtureRows
        In memory, and relative to their shift.
    members : ndarray of int
        Free rows that the component is most responsible for.
    component : int
        A known class if less than ``rows.n_known``: its labeled rows stay in the first half.
    settings : MaximizationSettings
    random_state : RandomState

    Returns
    -------
    Split or None
        None where the rows cannot be cut.
    """
    if len(members) < 2:
        return None
    own = member_rows(rows, members, component, settings.kind)
    whole = hard_mixture(own, np.zeros(len(members), dtype=np.int32), 1, settings)
    before, _ = expectation(own, whole, settings)
    best: MixtureFit | None = None
    for codes in _cuts(own, random_state):
        if own.labeled is not None:
            codes = _nearer_half_first(own, codes)
        start = hard_mixture(own, codes, 2, settings)
        fit = expectation_maximization(own, start, settings, _REFINE_ITER, _REFINE_TOL)
        if best is None or fit.objective > best.objective:
            best = fit
    if best is None:
        return None
    return Split(component, best.mixture, (best.objective - before) * own.weight)


def member_rows(rows: MixtureRows, members: np.ndarray, component: int, kind: str) -> MixtureRows:
    """The free rows of one component, with the labeled ones of its class."""
    weight = rows.source.row_data[1][members]
    labeled = None
    if component < rows.n_known and rows.labeled is not None and kind != "tied":
        labeled = rows.labeled.subset([component])
    source = rows.source.like(rows.source.X[members], (None, weight))
    return measure_rows(source, Frame(None, float(weight.sum()), 1.0), labeled, kind)


def _cuts(own: MixtureRows, random_state: np.random.RandomState) -> Iterator[np.ndarray]:
    X, weight = own.source.X, own.source.row_data[1]
    settings = LloydSettings(n_init=1, max_iter=50)
    seeds = seed_centers(X, weight, np.zeros((0, X.shape[1])), 2, settings, random_state)
    if len(seeds) < 2:
        return
    variance = float(np.average((X - np.average(X, axis=0, weights=weight)) ** 2, axis=0, weights=weight).mean())
    frame = Frame(None, float(weight.sum()), variance)
    centers, _ = lloyd(own.source, seeds, no_anchors(X.shape[1]), frame, settings)
    yield own.source.map(nearest_centers, (centers, None))[0]
    Z = X - np.average(X, axis=0, weights=weight)
    n_cuts = min(_PRINCIPAL_CUTS, Z.shape[1])
    last = Z.shape[1] - 1
    axes = eigh((Z * weight[:, None]).T @ Z, subset_by_index=[last - n_cuts + 1, last])[1].T[::-1]
    for axis in axes:
        codes = (Z @ axis > 0).astype(np.int32)
        if codes.min() < codes.max():
            yield codes


def _nearer_half_first(own: MixtureRows, codes: np.ndarray) -> np.ndarray:
    X, weight = own.source.X, own.source.row_data[1]
    centers = np.stack([np.average(X[codes == half], axis=0, weights=weight[codes == half]) for half in (0, 1)])
    first = int(((centers - own.labeled.means[0]) ** 2).sum(axis=1).argmin())  # type: ignore[union-attr]
    return codes if first == 0 else 1 - codes


def best_log_likelihood(moments: Moments, settings: MaximizationSettings) -> np.ndarray:
    """Log likelihood of each group of rows under the Gaussian that fits it, mixed in proportion to its weight."""
    fitted = maximize(moments, None, settings).gaussians
    weight = moments.weight
    return log_likelihood_of_moments(moments, fitted) + weight * np.log(np.maximum(weight, 1e-300))


def merge_losses(free: Moments, labeled: Moments | None, settings: MaximizationSettings) -> np.ndarray:
    """What joining two components costs in log likelihood, (n_components, n_components); inf where not allowed."""
    n_components = len(free.weight)
    moments = (
        free if labeled is None else add_moments(settings.kind, free, padded(settings.kind, labeled, n_components))
    )
    alone = best_log_likelihood(moments, settings)
    n_known = 0 if labeled is None else len(labeled.weight)
    losses = np.full((n_components, n_components), np.inf)
    a, b = np.triu_indices(n_components, k=1)
    a, b = a[b >= n_known], b[b >= n_known]
    if len(a):
        joined = add_moments(settings.kind, moments.subset(a), moments.subset(b))
        losses[a, b] = alone[a] + alone[b] - best_log_likelihood(joined, settings)
    return losses


def joined(
    mixture: Mixture, moments: Moments, labeled: Moments | None, pair: tuple[int, int], settings: MaximizationSettings
) -> Mixture:
    """Mixture in which the second component of a pair has become part of the first."""
    a, b = pair
    both = merge_groups(settings.kind, moments, a, b)
    n_known = 0 if labeled is None else len(labeled.weight)
    pinned = labeled.subset([a]) if labeled is not None and a < n_known else None
    one = maximize(both, pinned, settings)
    return replaced(mixture, a, one.gaussians, mixture.weights[[a]] + mixture.weights[[b]]).subset(
        np.delete(np.arange(mixture.n_components), b)
    )


def replaced(mixture: Mixture, component: int, one: Gaussians, weight: np.ndarray) -> Mixture:
    """Mixture with another first component in a place, further ones at the end."""
    old = mixture.gaussians
    fields = {}
    for name in ("means", "covariances", "precisions_cholesky"):
        values = getattr(old, name).copy()
        values[component] = getattr(one, name)[0]
        fields[name] = np.concatenate([values, getattr(one, name)[1:]])
    weights = mixture.weights.copy()
    weights[component] = weight[0]
    return Mixture(Gaussians(old.kind, **fields), np.concatenate([weights, weight[1:]]))


def divided(mixture: Mixture, split: Split) -> Mixture:
    """Mixture with a component replaced by its halves: the first in its place, the second at the end."""
    share = split.halves.weights * mixture.weights[split.component]
    return replaced(mixture, split.component, split.halves.gaussians, share)


def propose_splits(
    rows: MixtureRows, mixture: Mixture, settings: MaximizationSettings, random_state: np.random.RandomState
) -> list[Split]:
    """A proposal for each component that can be cut, the largest gain first."""
    codes = component_codes(rows, mixture)
    seeds = random_state.randint(np.iinfo(np.int32).max, size=mixture.n_components)
    found = [
        propose_split(rows, np.flatnonzero(codes == k), k, settings, np.random.RandomState(seeds[k]))
        for k in range(mixture.n_components)
    ]
    return sorted((split for split in found if split is not None), key=lambda split: -split.gain)


def exchange(
    rows: MixtureRows,
    fit: MixtureFit,
    settings: MaximizationSettings,
    random_state: np.random.RandomState,
    *,
    max_moves: int = 20,
    n_trials: int = 12,
    max_iter: int = 200,
) -> MixtureFit:
    """Split one component and merge two others, as long as the penalized likelihood grows.

    Ueda, Nakano, Ghahramani and Hinton, "SMEM algorithm for mixture models", Neural Computation 12, 2000; here with
    refined splits, and with merges judged by the likelihood they cost.

    Parameters
    ----------
    rows : MixtureRows
        In memory, and relative to their shift.
    fit : MixtureFit
    settings : MaximizationSettings
    random_state : RandomState
    max_moves : int, default=20
        Exchanges that may be accepted.
    n_trials : int, default=12
        Most promising exchanges that are tried before the search ends.
    max_iter : int, default=200
        Iterations after an accepted exchange.

    Returns
    -------
    MixtureFit
        Never with a smaller objective than `fit`.
    """
    for _ in range(max_moves):
        splits = propose_splits(rows, fit.mixture, settings, random_state)
        losses = merge_losses(fit.moments, rows.labeled, settings)
        pairs = np.argwhere(np.isfinite(losses))
        trials = [
            (split.gain - losses[a, b], i, a, b)
            for i, split in enumerate(splits)
            for a, b in pairs
            if split.component not in (a, b)
        ]
        trials.sort(key=lambda trial: -trial[0])
        better = None
        for _, i, a, b in trials[:n_trials]:
            merged = joined(divided(fit.mixture, splits[i]), with_empty(fit.moments), rows.labeled, (a, b), settings)
            moved = expectation_maximization(rows, merged, settings, _MOVE_ITER, _REFINE_TOL)
            if moved.objective > fit.objective + _REFINE_TOL:
                better = moved
                break
        if better is None:
            return fit
        finished = expectation_maximization(rows, better.mixture, settings, max_iter, _REFINE_TOL)
        fit = max(better, finished, key=lambda one: one.objective)
    return fit


def with_empty(moments: Moments) -> Moments:
    return Moments(
        np.append(moments.weight, 0.0),
        np.vstack([moments.means, np.zeros((1, moments.means.shape[1]))]),
        np.concatenate([moments.scatter, np.zeros((1, *moments.scatter.shape[1:]))]),
    )
