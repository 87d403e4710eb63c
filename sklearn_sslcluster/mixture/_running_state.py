"""Statistics of a mixture between batches: what ``partial_fit`` carries on."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from scipy.sparse import issparse
from scipy.spatial.distance import cdist
from scipy.stats import chi2

from ..labels import UNLABELED, PartialLabels, encode_partial_labels, find_classes, novel_names
from ..numerics import (
    Evaluation,
    Frame,
    MaximizationSettings,
    Mixture,
    Moments,
    NormalInverseWishart,
    add_moments,
    expectation,
    free_weight,
    group_moments,
    log_joint_densities,
    maximize,
    measure_rows,
    n_parameters,
    own_distances,
    padded,
    precision_factor,
    quantiles_by_class,
    subtract_moments,
)
from ._base import seen_from

# The share of a batch decays with the number of batches seen to this power (Cappe and Moulines 2009: 0.5 to 1).
_DECAY = 0.7
# Rows that no component explains: so many are kept, and so many make a component at least.
_BUFFER_ROWS = 1000
_SMALLEST_BIRTH = 20
# Largest variance of a component that is born, in units of that of the widest one.
_WIDEST_BIRTH = 4.0
# Its covariance comes from its middle at first and is too small by as much.
_GROWTH, _GROWTH_STEPS = 1.5, 20


class RunningState:
    """Statistics of a mixture between batches, in the coordinates of the rows; components in the order of ``names``."""

    def __init__(self, names: np.ndarray, n_known: int) -> None:
        self.names = names
        self.is_known = np.arange(len(names)) < n_known
        self.free: Moments
        self.labeled: Moments
        self.n_seen = 0.0
        self.buffer: np.ndarray
        self.buffer_weight: np.ndarray
        self.threshold = -np.inf
        self.quantiles: np.ndarray
        self.regularization = np.zeros(0)
        self.kind = "full"
        self.ranks = np.arange(len(names), dtype=np.int32)

    @classmethod
    def of(cls, model: Any) -> RunningState:
        """State of a fitted model; after ``fit`` its parameters stand for the statistics of the rows."""
        state = cls(model.classes_, len(model.classes_) - len(model.novel_classes_))
        state.kind, state.quantiles = model.covariance_type, model.distance_quantiles_
        state.regularization, state.threshold = model.reg_covar_, model.unlikely_
        state.n_seen = model.n_samples_seen_
        state.buffer, state.buffer_weight = model.unlikely_rows_, model.unlikely_weights_
        saved = model.statistics_
        if "weight" in saved:
            state.free = Moments(saved["weight"], saved["means"], saved["scatter"])
            state.labeled = Moments(saved["labeled_weight"], saved["labeled_means"], saved["labeled_scatter"])
        else:
            state.labeled = Moments(saved["labeled_weight"], saved["labeled_means"], saved["labeled_scatter"])
            state.labeled = padded(state.kind, state.labeled, len(state.names))
            state.free = state.from_parameters(model)
        return state

    def from_parameters(self, model: Any) -> Moments:
        """Moments of the unlabeled rows: what the parameters say of all rows, less the labeled ones."""
        weight, n_features = self.n_seen * model.weights_ + self.labeled.weight, model.means_.shape[1]
        ridge = self.regularization
        if self.kind == "full":
            scatter = weight[:, None, None] * (model.covariances_ - np.diag(ridge))
        elif self.kind == "tied":
            scatter = weight.sum() * (model.covariances_ - np.diag(ridge))
        elif self.kind == "diag":
            scatter = weight[:, None] * (model.covariances_ - ridge)
        else:
            scatter = weight * n_features * (model.covariances_ - ridge.mean())
        return subtract_moments(self.kind, Moments(weight, model.means_.copy(), scatter), self.labeled)

    def nothing(self, n_groups: int | None = None) -> Moments:
        n_groups = len(self.names) if n_groups is None else n_groups
        means = np.zeros((n_groups, self.free.means.shape[1]))
        tied = self.kind == "tied"
        scatter = np.zeros_like(self.free.scatter if tied else self.free.scatter[:1])
        return Moments(np.zeros(n_groups), means, scatter if tied else np.repeat(scatter, n_groups, axis=0))

    def settings(self, model: Any) -> MaximizationSettings:
        weights = "all" if model.class_weights == "unlabeled" and not self.free.weight.any() else model.class_weights
        prior = None if model.prior_ is None else NormalInverseWishart(**model.prior_)
        return MaximizationSettings(self.kind, weights, self.regularization, prior)

    def mixture(self, model: Any) -> Mixture:
        # Known classes may stand anywhere: their weight is raised by hand.
        settings = self.settings(model)
        both = add_moments(self.kind, self.free, self.labeled)
        mixture = maximize(both, None, settings)
        if settings.class_weights == "unlabeled":
            counts = self.free.weight + self.is_known + 1e-15
            mixture = Mixture(mixture.gaussians, counts / counts.sum())
        return mixture

    def add_component(self, moments: Moments, name: Any, known: bool) -> None:
        """Append a component with statistics of free rows (of one group)."""
        self.free = self._appended(self.free, moments)
        self.labeled = self._appended(self.labeled, self.nothing(1))
        self.names = _names([*self.names.tolist(), name])
        self.is_known = np.append(self.is_known, known)
        self.quantiles = np.vstack([self.quantiles, np.full((1, self.quantiles.shape[1]), np.inf)])

    def _appended(self, moments: Moments, one: Moments) -> Moments:
        tied = self.kind == "tied"
        scatter = moments.scatter + one.scatter if tied else np.concatenate([moments.scatter, one.scatter])
        return Moments(np.append(moments.weight, one.weight), np.vstack([moments.means, one.means]), scatter)

    def take_labels(self, model: Any, X: Any, labels: PartialLabels) -> np.ndarray:
        """Codes of the rows by component; a label seen for the first time gets a component."""
        place = find_classes(labels.classes, self.names)
        for code in range(labels.n_known):
            home = int(place[code])
            if home != UNLABELED and self.is_known[home]:
                continue
            rows, name = np.flatnonzero(labels.codes == code), labels.classes[code]
            explained = model._map_joint(X[rows], "density") >= self.threshold
            counts = np.bincount(model._map_joint(X[rows], "code")[explained], minlength=len(self.names))
            likely = int(np.argmax(np.where(self.is_known, -1, counts[: len(self.names)])))
            belongs = not self.is_known[likely] and counts[likely] > len(rows) / 2
            names = self.names.tolist()
            if belongs and home not in (UNLABELED, likely):
                # The user's name was that of another novel component, which takes the free one.
                names[home], names[likely] = names[likely], names[home]
            elif belongs:
                names[likely] = name
            elif home == UNLABELED:
                self.add_component(self.nothing(1), name, True)
                names, likely = self.names.tolist(), len(self.names) - 1
            else:
                likely = home
            self.names = _names(names)
            self.is_known[likely] = True
            place[code] = likely
        return np.append(place, UNLABELED).astype(np.int32)[labels.codes]

    def update(self, model: Any, blocks: Any) -> None:
        """One step of expectation-maximization with the rows of a batch."""
        codes, sample_weight = blocks.row_data
        weight = free_weight(blocks.row_data, blocks.n_rows)
        n_free = float(weight.sum())
        shift = None if issparse(blocks.X) else self.free.means.mean(axis=0).astype(blocks.X.dtype).astype(np.float64)
        if (codes >= 0).any():
            present = np.unique(codes[codes >= 0])
            rank = np.full(len(self.names) + 1, UNLABELED, dtype=np.int32)
            rank[present] = np.arange(len(present))
            ranked = blocks.like(blocks.X, (rank[codes], sample_weight))
            found = group_moments(ranked, len(present), self.kind, shift)
            self.add_labeled(_public(found, shift).scaled(model.labeled_weight), present)
        mixture = self.mixture(model)
        if model.n_components == "auto":
            evaluation = model._evaluate(blocks.X, mixture.gaussians.means, mixture)
            weight = self._without_unlikely(blocks, evaluation, weight)
            blocks = blocks.like(blocks.X, (None, weight))
            n_free = float(weight.sum())
        if n_free > 0:
            rows = measure_rows(blocks, Frame(shift, n_free, 1.0), None, self.kind, exact=model.dtype == "float64")
            seen = seen_from(mixture, mixture.gaussians.means, shift)
            _, moments = expectation(rows, seen, self.settings(model))
            share = (1 + self.n_seen / n_free) ** -_DECAY
            total = self.n_seen + n_free
            # As means over the rows, so that the step does not depend on how large the batches are.
            old = self.free.scaled((1 - share) * total / max(float(self.free.weight.sum()), 1e-300))
            if not self.free.weight.any():
                old, share = self.free, 1.0
            self.free = add_moments(self.kind, old, _public(moments, shift).scaled(share * total / n_free))
            self.n_seen = total

    def add_labeled(self, found: Moments, present: np.ndarray) -> None:
        """Add moments of labeled rows to those of the components `present`."""
        more = self.nothing()
        weight, means, scatter = more.weight, more.means, more.scatter
        weight[present], means[present] = found.weight, found.means
        if self.kind == "tied":
            scatter = found.scatter
        else:
            scatter[present] = found.scatter
        self.labeled = add_moments(self.kind, self.labeled, Moments(weight, means, scatter))

    def _without_unlikely(self, blocks: Any, evaluation: Evaluation, weight: np.ndarray) -> np.ndarray:
        """Weights of the rows, 0 for those that no component explains, which are kept aside."""
        density = blocks.map(log_joint_densities, (evaluation, "density"))[0]
        unlikely = (density < self.threshold) & (weight > 0)
        rows = np.flatnonzero(unlikely)
        if len(rows):
            X = blocks.X[rows].toarray() if issparse(blocks.X) else np.asarray(blocks.X[rows], dtype=np.float64)
            self.buffer = np.vstack([self.buffer, X])[-_BUFFER_ROWS:]
            self.buffer_weight = np.append(self.buffer_weight, weight[rows])[-_BUFFER_ROWS:]
        return np.where(unlikely, 0.0, weight)

    def give_birth(self, model: Any, blocks: Any) -> None:
        """Make a component of unlikely rows that lie together, where that pays by the information criterion.

        Together means: no further apart than twice the standard deviation of the widest component.
        """
        n_features = self.free.means.shape[1]
        smallest = max(_SMALLEST_BIRTH, 2 * (n_features + 1))
        members = _densest(self.buffer, self.buffer_weight, smallest)
        if self.buffer_weight[members].sum() < smallest:
            return
        members = _grown(self.buffer, self.buffer_weight, members, self.regularization)
        weight = self.buffer_weight[members]
        X = self.buffer[members]
        center = np.average(X, axis=0, weights=weight)
        one_group = np.zeros(len(X), dtype=np.int32)
        found = group_moments(blocks.like(X - center, (one_group, weight)), 1, self.kind, None)
        widest = np.einsum("kii->k", self.mixture(model).gaussians.full_covariances()).max()
        if weight @ ((X - center) ** 2).sum(axis=1) > _WIDEST_BIRTH * widest * weight.sum():
            return
        before, trial = self.mixture(model), copy.copy(self)
        name = novel_names(self.names, 1, unlabeled_value=model.unlabeled_value)[0]
        trial.add_component(Moments(found.weight, found.means + center, found.scatter), name, False)
        after = trial.mixture(model)
        gain = weight @ (model._density_under(X, after) - model._density_under(X, before))
        price = n_parameters(self.kind, 2, n_features) - n_parameters(self.kind, 1, n_features)
        if gain <= price / 2 * np.log(max(self.n_seen, 2.0)):
            return
        vars(self).update(vars(trial))
        self.n_seen += float(weight.sum())
        self.buffer, self.buffer_weight = self.buffer[~members], self.buffer_weight[~members]
        born = after.subset(np.array([after.n_components - 1]))
        evaluation = model._evaluate(X, born.gaussians.means, born)
        distances = blocks.like(X, (one_group,)).map(own_distances, evaluation)[0]
        self.quantiles[-1] = quantiles_by_class(distances, one_group, weight, 1)[0]

    def attributes(self, mixture: Mixture) -> dict[str, Any]:
        """Fitted attributes, known classes first in sorted order; novel ones keep their order."""
        known, novel = np.flatnonzero(self.is_known), np.flatnonzero(~self.is_known)
        # As `fit` sorts them.
        sorted_names = encode_partial_labels(self.names[known], unlabeled_value=None, warn=False).codes
        order = np.concatenate([known[np.argsort(sorted_names)], novel]).astype(np.intp)
        self.ranks = np.empty(len(order), dtype=np.int32)
        self.ranks[order] = np.arange(len(order))
        mixture = mixture.subset(order)
        classes = self.names[order]
        counts = (self.free.weight + self.labeled.weight)[order]
        tied = self.kind == "tied"
        return {
            "classes_": classes,
            "novel_classes_": classes[len(known) :],
            "component_labels_": classes.copy(),
            "is_novel_": ~self.is_known[order],
            "weights_": mixture.weights,
            "class_prior_": counts / counts.sum(),
            "means_": mixture.gaussians.means,
            "covariances_": mixture.gaussians.covariances,
            "precisions_cholesky_": mixture.gaussians.precisions_cholesky,
            "n_components_": len(order),
            "n_clusters_": len(order),
            "distance_quantiles_": self.quantiles[order],
            "n_samples_seen_": self.n_seen,
            "unlikely_rows_": self.buffer,
            "unlikely_weights_": self.buffer_weight,
            "statistics_": {
                "weight": self.free.weight[order],
                "means": self.free.means[order],
                "scatter": self.free.scatter if tied else self.free.scatter[order],
                "labeled_weight": self.labeled.weight[order],
                "labeled_means": self.labeled.means[order],
                "labeled_scatter": self.labeled.scatter if tied else self.labeled.scatter[order],
            },
        }


def _names(values: list) -> np.ndarray:
    """Names of classes as an array: of integers, or of objects."""
    if all(isinstance(value, int | np.integer) and not isinstance(value, bool) for value in values):
        return np.array(values, dtype=np.int64)
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out


def _public(moments: Moments, shift: np.ndarray | None) -> Moments:
    """Moments with means in the coordinates of the rows."""
    means = moments.means if shift is None else np.where(moments.weight[:, None] > 0, moments.means + shift, 0.0)
    return Moments(moments.weight, means, moments.scatter)


def _densest(X: np.ndarray, weight: np.ndarray, smallest: float) -> np.ndarray:
    """Rows around the one that has rows of so much weight nearest, within twice their distance."""
    if weight.sum() < smallest:
        return np.zeros(len(X), dtype=bool)
    distances = cdist(X, X)
    order = np.argsort(distances, axis=1, kind="stable")
    enough = (np.cumsum(weight[order], axis=1) >= smallest).argmax(axis=1)
    reach = np.take_along_axis(distances, np.take_along_axis(order, enough[:, None], axis=1), axis=1)[:, 0]
    center = int(np.argmin(reach))
    return distances[center] <= 2 * reach[center]


def _grown(X: np.ndarray, weight: np.ndarray, members: np.ndarray, ridge: np.ndarray) -> np.ndarray:
    """The rows that belong to the Gaussian of some of them: those within a quantile of its distances."""
    limit = _GROWTH * chi2.ppf(0.99, X.shape[1])
    for _ in range(_GROWTH_STEPS):
        center = np.average(X[members], axis=0, weights=weight[members])
        Z = X[members] - center
        covariance = (Z * weight[members][:, None]).T @ Z / weight[members].sum() + np.diag(ridge)
        factor, _ = precision_factor(covariance)
        grown = (((X - center) @ factor) ** 2).sum(axis=1) <= limit
        if (grown == members).all():
            break
        members = grown
    return members
