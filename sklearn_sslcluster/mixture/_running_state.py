"""Statistics of a mixture between batches: what ``partial_fit`` carries on."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from scipy.sparse import issparse
from scipy.spatial.distance import cdist

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
    quantiles_by_class,
)
from ._base import seen_from

# The share of a batch decays with the number of batches seen to this power (Cappe and Moulines 2009: 0.5 to 1).
_DECAY = 0.7
# Rows that no component explains: so many are kept, and so many make a component at least.
_BUFFER_ROWS = 1000
_SMALLEST_BIRTH = 20


class RunningState:
    """Statistics of a mixture between batches, in the coordinates of the rows; components in the order of ``names``."""

    def __init__(self, names: np.ndarray, n_known: int) -> None:
        self.names = names
        self.is_known = np.arange(len(names)) < n_known
        self.free: Moments
        self.labeled: Moments
        self.n_seen = 0.0
        self.buffer: np.ndarray
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
        state.n_seen, state.buffer = model.n_samples_seen_, model.unlikely_rows_
        saved = getattr(model, "statistics_", None)
        if saved:
            state.free = Moments(saved["weight"], saved["means"], saved["scatter"])
            state.labeled = Moments(saved["labeled_weight"], saved["labeled_means"], saved["labeled_scatter"])
        else:
            state.free = state.from_parameters(model)
            state.labeled = state.nothing()
        return state

    def from_parameters(self, model: Any) -> Moments:
        weight, n_features = self.n_seen * model.class_prior_, model.means_.shape[1]
        ridge = self.regularization
        if self.kind == "full":
            scatter = weight[:, None, None] * (model.covariances_ - np.diag(ridge))
        elif self.kind == "tied":
            scatter = weight.sum() * (model.covariances_ - np.diag(ridge))
        elif self.kind == "diag":
            scatter = weight[:, None] * (model.covariances_ - ridge)
        else:
            scatter = weight * n_features * (model.covariances_ - ridge.mean())
        return Moments(weight, model.means_.copy(), scatter)

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
        self.is_known[place[place >= 0]] = True
        for code in np.flatnonzero(place == UNLABELED):
            rows = np.flatnonzero(labels.codes == code)
            explained = model._map_joint(X[rows], "density") >= self.threshold
            counts = np.bincount(model._map_joint(X[rows], "code")[explained], minlength=len(self.names))
            home = int(np.argmax(np.where(self.is_known, -1, counts[: len(self.names)])))
            name = labels.classes[code]
            if not self.is_known[home] and counts[home] > len(rows) / 2:
                self.names = _names([*self.names[:home].tolist(), name, *self.names[home + 1 :].tolist()])
                self.is_known[home] = True
            else:
                self.add_component(self.nothing(1), name, True)
                home = len(self.names) - 1
            place[code] = home
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
        if n_free > 0:
            rows = measure_rows(blocks, Frame(shift, n_free, 1.0), None, self.kind, exact=model.dtype == "float64")
            mixture = self.mixture(model)
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
            self._keep_unlikely(blocks, model._evaluate(blocks.X, mixture.gaussians.means, mixture), weight)

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

    def _keep_unlikely(self, blocks: Any, evaluation: Evaluation, weight: np.ndarray) -> None:
        density = blocks.map(log_joint_densities, (evaluation, "density"))[0]
        rows = np.flatnonzero((density < self.threshold) & (weight > 0))
        if len(rows):
            X = blocks.X[rows].toarray() if issparse(blocks.X) else np.asarray(blocks.X[rows], dtype=np.float64)
            self.buffer = np.vstack([self.buffer, X])[-_BUFFER_ROWS:]

    def give_birth(self, model: Any, blocks: Any) -> None:
        """Make a component of unlikely rows that lie together, where that pays by the information criterion."""
        n_features = self.free.means.shape[1]
        smallest = max(_SMALLEST_BIRTH, 2 * (n_features + 1))
        members = _densest(self.buffer) if len(self.buffer) >= smallest else np.zeros(0, dtype=bool)
        if members.sum() < smallest:
            return
        X, center = self.buffer[members], self.buffer[members].mean(axis=0)
        one_group = np.zeros(len(X), dtype=np.int32)
        found = group_moments(blocks.like(X - center, (one_group, None)), 1, self.kind, None)
        before, trial = self.mixture(model), copy.copy(self)
        name = novel_names(self.names, 1, unlabeled_value=model.unlabeled_value)[0]
        trial.add_component(Moments(found.weight, found.means + center, found.scatter), name, False)
        after = trial.mixture(model)
        gain = (model._density_under(X, after) - model._density_under(X, before)).sum()
        price = n_parameters(self.kind, 2, n_features) - n_parameters(self.kind, 1, n_features)
        if gain <= price / 2 * np.log(max(self.n_seen, 2.0)):
            return
        vars(self).update(vars(trial))
        self.buffer = self.buffer[~members]
        born = after.subset(np.array([after.n_components - 1]))
        evaluation = model._evaluate(X, born.gaussians.means, born)
        distances = blocks.like(X, (one_group,)).map(own_distances, evaluation)[0]
        self.quantiles[-1] = quantiles_by_class(distances, one_group, np.ones(len(X)), 1)[0]

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


def _densest(X: np.ndarray) -> np.ndarray:
    """Which rows lie around the row that has half of the others nearest."""
    distances = cdist(X, X)
    middle = np.median(distances, axis=1)
    center = int(np.argmin(middle))
    return distances[center] <= 2 * middle[center]
