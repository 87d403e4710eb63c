"""Split and merge moves by the marginal likelihood of a Dirichlet process mixture of Gaussians.

A move is judged by a Hastings ratio of two partitions of the rows, in which means and covariances are integrated out.
All it needs are the moments of the groups involved: a merge costs no look at the rows, a split a look at one group.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import gammaln

from .gaussians import (
    Moments,
    NormalInverseWishart,
    add_moments,
    dirichlet_log_marginal,
    merge_groups,
    niw_log_marginal,
    subtract_moments,
)
from .mixture_densities import Mixture
from .mixture_fit import MixtureFit, component_codes, partition_moments
from .mixture_moves import divided, joined, member_rows, propose_split
from .mixture_search import MixtureTask
from .mixture_steps import padded

# Rounds without a change of the partition after which a random walk is taken to have settled.
_PATIENCE = 5


@dataclass(frozen=True)
class Move:
    """An accepted move.

    Attributes
    ----------
    round : int
    kind : {"split", "merge"}
    components : tuple of int
        Numbers before the move: of the component split, or of the two merged (the second is gone afterwards).
    log_ratio : float
        Logarithm of the Hastings ratio.
    n_components : int
        After the move.
    """

    round: int
    kind: str
    components: tuple[int, ...]
    log_ratio: float
    n_components: int


@dataclass(frozen=True)
class MoveSettings:
    """How moves are proposed and accepted.

    Attributes
    ----------
    prior : NormalInverseWishart
        Relative to the shift.
    concentration : float
        Of the Dirichlet process (alpha).
    greedy : bool
        Accept what raises the marginal likelihood; False: with probability min(1, ratio).
    max_rounds : int
    min_size : float
        Fewest rows of a group that a split leaves.
    absorb : bool
        Whether components of known classes may absorb novel ones.
    k_max : int
    """

    prior: NormalInverseWishart
    concentration: float
    greedy: bool
    max_rounds: int
    min_size: float
    absorb: bool
    k_max: int


def log_split_ratio(parts: Moments, whole: Moments, prior: NormalInverseWishart, concentration: float) -> float:
    """Logarithm of the Hastings ratio of splitting a group into two.

    Chang and Fisher, "Parallel sampling of DP mixture models using sub-cluster splits", NIPS 2013.
    """
    gains = gammaln(parts.weight).sum() + niw_log_marginal(prior, parts).sum()
    costs = gammaln(whole.weight).sum() + niw_log_marginal(prior, whole).sum()
    return float(np.log(concentration) + gains - costs)


def log_merge_ratio(pair: Moments, prior: NormalInverseWishart, concentration: float) -> float:
    """Logarithm of the Hastings ratio of merging two groups: that of the split undone, negative."""
    whole = merge_groups("full", pair, 0, 1)
    return -log_split_ratio(pair, whole, prior, concentration)


def log_joint(groups: Moments, prior: NormalInverseWishart, concentration: float) -> float:
    """Log probability of a partition and its rows under the Dirichlet process mixture."""
    marginal = niw_log_marginal(prior, groups).sum()
    return dirichlet_log_marginal(groups.weight, concentration) + float(marginal)


class SplitMergeRun:
    """One run: expectation-maximization in turn with moves.

    Parameters
    ----------
    task : MixtureTask
        Its settings hold the prior too, so that parameters are modes of their posterior.
    settings : MoveSettings
    random_state : RandomState
    """

    def __init__(self, task: MixtureTask, settings: MoveSettings, random_state: np.random.RandomState) -> None:
        self.task = task
        self.settings = settings
        self.random_state = random_state
        self.history: list[Move] = []

    def groups(self, mixture: Mixture) -> Moments:
        """Moments of the rows that each component is most responsible for, labeled rows included, in distinct rows."""
        rows = self.task.rows
        codes = component_codes(rows, mixture)
        moments = partition_moments(rows, codes, mixture.n_components, "full")
        if rows.labeled is not None:
            moments = add_moments("full", moments, padded("full", rows.labeled, mixture.n_components))
        return moments.scaled(self.task.evidence)

    def joint(self, mixture: Mixture) -> float:
        """Log probability of the partition that a mixture makes; empty components count for nothing."""
        groups = self.groups(mixture)
        return log_joint(groups.subset(groups.weight > 0), self.settings.prior, self.settings.concentration)

    def without_empty(self, fit: MixtureFit) -> MixtureFit:
        """The fit without novel components that no row belongs to."""
        kept = self.groups(fit.mixture).weight > 0
        kept[: self.task.rows.n_known] = True
        if kept.all():
            return fit
        return self.task.run(fit.mixture.subset(np.flatnonzero(kept)))

    def run(self, start: Mixture) -> tuple[MixtureFit, float]:
        """(fit with the most probable partition seen, log probability of this)."""
        fit = self.without_empty(self.task.run(start))
        best, best_joint, n_moves = fit, self.joint(fit.mixture), 0
        unchanged = 0
        for number in range(self.settings.max_rounds):
            moved = self.merges(self.splits(fit, number), number)
            if moved is fit:
                unchanged += 1
                if self.settings.greedy or unchanged >= _PATIENCE:
                    break
                continue
            unchanged = 0
            fit = self.without_empty(self.task.run(moved.mixture))
            now = self.joint(fit.mixture)
            if now > best_joint + 1e-9 * abs(best_joint):
                best, best_joint, n_moves = fit, now, len(self.history)
            elif self.settings.greedy:
                # Moves that raise the ratio of hard partitions, but not what expectation-maximization makes of them.
                break
        # Moves after the best partition led nowhere.
        del self.history[n_moves:]
        return best, best_joint

    def accepts(self, log_ratio: float) -> bool:
        if self.settings.greedy:
            return log_ratio > 0
        return bool(np.log(self.random_state.uniform()) < log_ratio)

    def splits(self, fit: MixtureFit, number: int) -> MixtureFit:
        """Try to split each component once; of a known class only unlabeled rows can leave."""
        codes = component_codes(self.task.rows, fit.mixture)
        mixture = fit.mixture
        seeds = self.random_state.randint(np.iinfo(np.int32).max, size=mixture.n_components)
        for k in range(fit.mixture.n_components):
            members = np.flatnonzero(codes == k)
            if mixture.n_components >= self.settings.k_max or len(members) < 2:
                continue
            rng = np.random.RandomState(seeds[k])
            split = propose_split(self.task.rows, members, k, self.task.settings, rng)
            if split is None:
                continue
            own = member_rows(self.task.rows, members, k, "full")
            parts = partition_moments(own, component_codes(own, split.halves), 2, "full")
            if own.labeled is not None:
                parts = add_moments("full", parts, padded("full", own.labeled, 2))
            parts = parts.scaled(self.task.evidence)
            if parts.weight.min() < self.settings.min_size:
                continue
            whole = merge_groups("full", parts, 0, 1)
            log_ratio = log_split_ratio(parts, whole, self.settings.prior, self.settings.concentration)
            if self.accepts(log_ratio):
                mixture = divided(mixture, split)
                self.history.append(Move(number, "split", (k,), log_ratio, mixture.n_components))
        return fit if mixture is fit.mixture else replace(fit, mixture=mixture)

    def merges(self, fit: MixtureFit, number: int) -> MixtureFit:
        """Try to merge all pairs, the most probable first, each component in one merge at most."""
        mixture, n_known = fit.mixture, self.task.rows.n_known
        groups = self.groups(mixture)
        ratios = []
        for a in range(mixture.n_components):
            for b in range(max(a + 1, n_known), mixture.n_components):
                if (a < n_known and not self.settings.absorb) or min(groups.weight[[a, b]]) <= 0:
                    continue
                pair = groups.subset([a, b])
                ratios.append((log_merge_ratio(pair, self.settings.prior, self.settings.concentration), a, b))
        used: set[int] = set()
        merged: list[tuple[int, int, float]] = []
        for log_ratio, a, b in sorted(ratios, reverse=True):
            if a in used or b in used or not self.accepts(log_ratio):
                continue
            used |= {a, b}
            merged.append((a, b, log_ratio))
        if not merged:
            return fit
        moments = groups.scaled(1 / self.task.evidence)
        free = moments
        if self.task.rows.labeled is not None:
            labeled = padded("full", self.task.rows.labeled, mixture.n_components)
            free = subtract_moments("full", moments, labeled)
        # From the last component on, so that the numbers of the others stay.
        for a, b, log_ratio in sorted(merged, key=lambda one: -one[1]):
            mixture = joined(mixture, free, self.task.rows.labeled, (a, b), self.task.settings)
            self.history.append(Move(number, "merge", (a, b), log_ratio, mixture.n_components))
            kept = np.delete(np.arange(len(free.weight)), b)
            both = merge_groups("full", free, a, b)
            free.weight[a], free.means[a], free.scatter[a] = both.weight[0], both.means[0], both.scatter[0]
            free = free.subset(kept)
        return replace(fit, mixture=mixture)
