"""The fit of variational deep embedding: its phases, and the better of start and end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from .. import neural
from ..base import TableKinds
from ..labels import PartialLabels, decode
from ..numerics import quantiles_by_class
from ._columns import Standard, fitted_columns, measure, shares_noise, training_table
from ._pretraining import held_out_share
from ._variational_model import LatentMixture, VariationalModel, in_order
from ._variational_start import VariationalStart

_PATIENCE, _JOINT_PATIENCE = 10, 20
# Epochs between two looks at the clusters.
_REFRESH_EVERY = 5
# Of the standard normal prior while pretraining.
_PRIOR_WEIGHT = 0.1
# Noise on the rows that are encoded, in units of the width of a column and of the root of the number of columns: many
# columns tell the same, and noise on them averages out.
_NOISE, _MOST_NOISE = 0.125, 1.0
# Noise variance of Gaussian columns at least, in units of their variance: without it the likelihood has no bound.
_SMALLEST_NOISE = 0.01


class VariationalFit:
    """One fit of a `VariationalDeepEmbedding`.

    Parameters
    ----------
    estimator : VariationalDeepEmbedding
    rows : ndarray of shape (n_rows, n_features)
        Of the table, as numbers.
    types : TableKinds
        What the types of its columns say.
    labels : PartialLabels
    seed : int
    """

    def __init__(self, estimator: Any, rows: np.ndarray, types: TableKinds, labels: PartialLabels, seed: int) -> None:
        self.estimator, self.labels, self.seed = estimator, labels, seed
        names = getattr(estimator, "feature_names_in_", None)
        self.columns = fitted_columns(estimator.likelihood, rows, None if names is None else list(names), types)
        if estimator.encoder == "identity" and set(self.columns.kinds) != {"gaussian"}:
            raise ValueError("encoder='identity' needs a Gaussian likelihood for every column.")
        self.inputs = self.columns.expand(rows)
        self.table = training_table(self.inputs, labels.codes)
        self.standard = Standard(*measure(self.table, self.columns), np.ones(len(self.columns.positions("gaussian"))))
        self.Z = self.standard.apply(self.table.inputs)
        self.start = VariationalStart(estimator, labels, self.Z, self.table.codes, seed)
        # Without an encoder there is nothing that could learn to see through noise.
        noise = min(_NOISE * self.columns.n_inputs**0.5, _MOST_NOISE)
        self.noise = 0.0 if estimator.encoder == "identity" else noise
        self.network = neural.build_variational_network(
            estimator.encoder, len(self.Z), estimator.embedding_size, self._likelihood(), seed
        )
        self.objective = neural.VariationalMixture(
            self.table.observed, self.start, self.network["spread"], self.noise, self.table.codes
        )

    def learn(self, step: Callable) -> Any:
        """Pretrain the networks, find the mixture, and train all together."""
        return self.estimator._train(
            self.Z,
            self.table.codes,
            self.network,
            self._phases(),
            self.seed,
            validation_share=held_out_share(len(self.Z)),
            on_epoch=lambda now: step(lambda: now(self._attributes_so_far)),
        )

    def _attributes_so_far(self, trained: Any) -> dict[str, Any] | None:
        """Attributes of an estimator for callbacks; there are no clusters before the joint phase."""
        return self.attributes(trained)[0] if "joint" in trained.starts else None

    def attributes(self, trained: Any) -> tuple[dict[str, Any], bool]:
        """(all fitted attributes, whether the training has collapsed)."""
        estimator, labels = self.estimator, self.labels
        model, compared, collapsed = self._better(trained)
        model, codes = in_order(model, self._embed(model), self.table, labels.n_known)
        names = estimator._name_classes(labels.classes, model.n_components - labels.n_known)
        distances = model.distances(self._embed(model), self.table.inputs, codes)
        rows = self.standard.apply(self.inputs)
        found = model.log_joint(estimator._apply(model.encoder, rows)).argmax(axis=1)
        return {
            **names,
            **model.attributes(),
            **self.start.scores,
            **compared,
            "labels_": decode(np.where(labels.unlabeled, found, labels.codes), names["classes_"]),
            "n_clusters_": model.n_components,
            "history_": trained.history,
            "distance_quantiles_": quantiles_by_class(distances, codes, np.ones(len(codes)), model.n_components),
            "_n_features_out": model.mixture.means.shape[1],
        }, collapsed

    def _likelihood(self) -> Any:
        columns, standard = self.columns, self.standard
        gaussian = columns.positions("gaussian")
        return neural.ColumnLikelihood(
            neural.InputKinds(gaussian, columns.positions("bernoulli"), columns.categorical_groups),
            standard.mean,
            standard.scale,
            _SMALLEST_NOISE,
            shared_noise=shares_noise(standard.scale[gaussian]),
        )

    def _phases(self) -> list[Any]:
        estimator = self.estimator
        joint = neural.Phase(
            "joint",
            self.objective,
            estimator.max_epochs,
            refresh_every=_REFRESH_EVERY,
            tol=None,
            patience=_JOINT_PATIENCE,
            restore_best=True,
            # Clusters of an encoder that has learned nothing come and go.
            smallest_share=neural.SMALLEST_SHARE if estimator.max_pretrain_epochs else 0.0,
        )
        if not estimator.max_pretrain_epochs:
            return [joint]
        first = neural.VariationalReconstruction(self.table.observed, _PRIOR_WEIGHT, self.noise)
        n_epochs = estimator.max_pretrain_epochs
        return [neural.Phase("pretrain", first, n_epochs, patience=_PATIENCE, restore_best=True), joint]

    def _embed(self, model: VariationalModel) -> np.ndarray:
        """Embedding of the rows trained on."""
        return self.estimator._apply(model.encoder, self.Z)

    def _model(self, trained: Any, phase: str | None, mixture: LatentMixture) -> VariationalModel:
        """The model at the start of a phase, or at the end."""
        noise = trained.state("likelihood", phase)["noise"].numpy().astype(np.float64)
        return VariationalModel(
            self.columns,
            replace(self.standard, noise=noise),
            self.estimator._weights(trained, phase),
            trained.layers("decoder", phase),
            trained.layers("spread", phase),
            mixture,
        )

    def _better(self, trained: Any) -> tuple[VariationalModel, dict[str, Any], bool]:
        """Start or end, whichever has the higher modularity; the end only if its clusters have not collapsed."""
        start = self._model(trained, "joint", self.objective.start_mixture)
        end = self._model(trained, None, LatentMixture(*self.objective.final_mixture()))
        codes = [self.start.clamped(model.log_joint(self._embed(model)).argmax(axis=1)) for model in (start, end)]
        sizes = [np.bincount(own, minlength=start.n_components) for own in codes]
        before, after = (self.start.graph.modularity(own) for own in codes)
        collapsed = trained.collapsed["joint"] or neural.has_collapsed(*sizes)
        improved = not collapsed and after >= before
        compared = {"improved_": improved, "modularity_": after if improved else before}
        return end if improved else start, compared, collapsed
