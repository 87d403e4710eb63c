"""Manifold linearizing and clustering: an embedding in which each class spans a linear subspace of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from scipy.special import log_softmax
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from .. import neural
from ..base import PartialLabelMixin, fit_method, order_by_size
from ..engine import fit_progress
from ..labels import UNLABELED, PartialLabels, decode, warn_user
from ..neural import NetworkSettings, NeuralMixin, OptimizerSettings
from ..numerics import (
    ClassScatter,
    class_scatter,
    coding_rates,
    incremental_lengths,
    nearest_neighbors,
    quantiles_by_class,
    subspace_bases,
)
from ._base import NeighborGraph
from ._embedding_clusters import EmbeddedRows, draw_rows
from ._references import evenly_spread, nearest_distances, novelty
from ._subspace_classes import ClassReader, FoundClasses, ReadSettings

# Distinct rows from whose memberships classes are read: a matrix of all their pairs is held.
_MOST_READ = 2000
# Share of the energy of a class that its subspace holds.
_ENERGY = 0.95


class ManifoldLinearizingClustering(
    NeuralMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, PartialLabelMixin, BaseEstimator
):
    """DOC"""

    _parameter_constraints: dict = {
        "n_clusters": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "squared_error": [Interval(Real, 0, None, closed="neither")],
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "sparsity": [Interval(Real, 0, None, closed="left")],
        "neighbor_weight": [Interval(Real, 0, None, closed="left")],
        "n_sinkhorn": [Interval(Integral, 1, None, closed="left")],
        "cluster_head": [StrOptions({"shared", "copied"})],
        **NeuralMixin._neural_constraints,
        "encoder": "no_validation",
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "k_max": [Interval(Integral, 1, None, closed="left"), None],
        "unlabeled_value": [Integral, str, "boolean", None],
        "random_state": ["random_state"],
    }
    _nested: ClassVar[dict] = {
        "encoder": partial(NetworkSettings, (256,), activation="gelu"),
        "optimizer": partial(OptimizerSettings, lr=2e-3),
    }

    def __init__(
        self,
        n_clusters: Any = 8,
        *,
        embedding_size: int = 16,
        squared_error: float = 0.1,
        temperature: float = 0.175,
        sparsity: float = 0.05,
        neighbor_weight: float = 20.0,
        n_sinkhorn: int = 10,
        cluster_head: str = "copied",
        encoder: Any = None,
        optimizer: Any = None,
        max_pretrain_epochs: int = 30,
        max_epochs: int = 60,
        batch_size: int = 256,
        n_init: int = 10,
        k_max: int | None = None,
        checkpoint: Any = None,
        unlabeled_value: Any = -1,
        device: str | None = None,
        random_state: Any = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.embedding_size = embedding_size
        self.squared_error = squared_error
        self.temperature = temperature
        self.sparsity = sparsity
        self.neighbor_weight = neighbor_weight
        self.n_sinkhorn = n_sinkhorn
        self.cluster_head = cluster_head
        self.encoder = encoder
        self.optimizer = optimizer
        self.max_pretrain_epochs = max_pretrain_epochs
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.n_init = n_init
        self.k_max = k_max
        self.checkpoint = checkpoint
        self.unlabeled_value = unlabeled_value
        self.device = device
        self.random_state = random_state

    @fit_method
    def fit(self, X: Any, y: Any = None) -> ManifoldLinearizingClustering:
        """Learn an embedding and the subspaces in it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows.
        y : array-like of shape (n_samples,), default=None
            Partial labels: ints, strings, bools or categories, and -1, None, NaN or ``pd.NA`` for rows without one.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If `X` has NaN or infinite values, `y` has another length or holds floats that are not whole numbers, a
            setting of network or optimizer is out of its range, torch sees no such `device`, `checkpoint` belongs to
            another fit or comes without a `random_state`, or the loss is no longer finite.
        TypeError
            If `y` holds values that are no labels, dates for example.
        """
        rows = self._check_rows(X, reset=True)
        labels = self._encode_labels(y, rows)
        task = self._task(rows, labels, check_random_state(self.random_state))
        with fit_progress(self, X, y, max_steps=None, step_name="epoch") as step:
            trained = self._learn(task, step)
        fitted, collapsed = self._fitted_attributes(task, trained)
        if collapsed:
            warn_user(
                "A class all but vanished while training, and the classes of the start are kept; a smaller "
                "optimizer__lr or n_clusters, or a larger neighbor_weight?"
            )
        if self.n_clusters != "auto":
            self._warn_if_fewer(task.ks[-1], fitted["n_clusters_"])
        self._set_fitted(**fitted)
        return self

    def predict(self, X: Any, *, reject: float | None = None) -> np.ndarray:
        """Name the class of each row: the one whose coding length it adds least to.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        reject : float in (0, 1], default=None
            Leave a row unassigned (-1, or None where names are not integers) when it lies farther from the nearest
            reference row than this quantile of the training rows of its class; 0.99 for example.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            Names of ``classes_``.
        """
        rows = self._standardized(X)
        codes = self._lengths(rows).argmin(axis=1)
        if reject is not None:
            codes = self._reject(codes, nearest_distances(rows, self.reference_rows_), reject)
        return decode(codes, self.classes_, unlabeled_value=self.unlabeled_value)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each class by the code: the softmax of minus the nats that a row adds to it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_clusters_)
            Columns in the order of ``classes_``; rows sum to 1.
        """
        return np.exp(self._log_proba(X))

    def transform(self, X: Any) -> np.ndarray:
        """Embedding of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        embedding : ndarray of shape (n_samples, embedding_size)
            Rows of unit length.
        """
        return self._directions(self.encoder_layers_, self._standardized(X))

    def novelty_score(self, X: Any) -> np.ndarray:
        """How much a row looks like a novel rather than a known class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        score : ndarray of shape (n_samples,)
            The largest probability of a novel class over the sum of the largest of a novel and of a known one: above
            one half exactly where ``predict`` names a novel class. 0 everywhere if no novel class was found, 1 if no
            class is known.
        """
        return novelty(self._log_proba(X), len(self.classes_) - len(self.novel_classes_))

    def score(self, X: Any, y: Any = None) -> float:
        """Modularity of the predicted classes, on the graph of the ten nearest neighbors of at most 5,000 rows of `X`.

        Uses no labels, and can be compared between numbers of clusters. Silhouettes would ask for round classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        y : None
            Ignored.

        Returns
        -------
        score : float
            Below 1, higher is better; 0 where all rows fall in one class.
        """
        rows = self._standardized(X)
        return NeighborGraph(rows).modularity(self._lengths(rows).argmin(axis=1))

    def _check_rows(self, X: Any, *, reset: bool = False) -> np.ndarray:
        return self._validate_rows(X, reset=reset, dtype=[np.float64, np.float32])

    def _standardized(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return neural.standardize(self._check_rows(X), self.mean_, self.scale_)

    def _directions(self, layers: list, rows: np.ndarray) -> np.ndarray:
        """Embedding of standardized rows."""
        Z = self._apply(layers, rows)
        return Z / np.maximum(np.linalg.norm(Z, axis=1, keepdims=True), np.finfo(np.float64).tiny)

    def _lengths(self, rows: np.ndarray) -> np.ndarray:
        Z = self._directions(self.encoder_layers_, rows)
        return incremental_lengths(Z, ClassScatter(self.class_moments_, self.class_weights_), self.squared_error)

    def _log_proba(self, X: Any) -> np.ndarray:
        return log_softmax(-self._lengths(self._standardized(X)), axis=1)

    def _task(self, rows: np.ndarray, labels: PartialLabels, random_state: np.random.RandomState) -> _Task:
        seed = int(random_state.randint(np.iinfo(np.int32).max))
        trained_on = neural.training_rows(rows, labels.codes)
        drawn = draw_rows(rows, labels, _MOST_READ, random_state)
        scale = self._measure(rows[trained_on])
        Z = neural.standardize(rows, scale["mean_"], scale["scale_"])
        reader = ClassReader(
            drawn,
            Z[drawn.rows],
            labels.n_known,
            ReadSettings(self.squared_error, self.temperature, self.n_init, seed),
        )
        if self.n_clusters == "auto":
            ks = self._candidates(labels.n_known) if labels.unlabeled.any() else [labels.n_known]
        else:
            ks = [labels.n_known + self._n_novel_wanted(labels)]
        return _Task(Z, labels, trained_on, drawn, scale, reader, ks, seed)

    def _learn(self, task: _Task, step: Callable) -> Any:
        Z = task.Z[task.trained_on]
        twice = self.cluster_head == "copied"
        encoder = self.encoder if self.encoder is not None else self._nested["encoder"]()
        network = neural.build_rate_network(encoder, Z.shape, self.embedding_size, task.seed, twice=twice)
        settings = neural.RateSettings(
            self.squared_error, self.temperature, self.n_sinkhorn, self.sparsity, self.neighbor_weight
        )
        neighbors = nearest_neighbors(Z)
        warm_up = neural.TotalRate(Z, neighbors, settings)
        joint = neural.RateReduction(Z, neighbors, settings, network if twice else None)
        phases = [
            neural.Phase("warm-up", warm_up, self.max_pretrain_epochs, hold_out=False),
            neural.Phase("joint", joint, self.max_epochs, hold_out=False),
        ]

        def so_far(trained: Any) -> dict[str, Any] | None:
            # There are no classes before the joint phase.
            return self._fitted_attributes(task, trained)[0] if "joint" in trained.starts else None

        return self._train(
            Z,
            task.labels.codes[task.trained_on],
            network,
            phases if self.max_pretrain_epochs else phases[1:],
            task.seed,
            validation_share=0.0,
            on_epoch=lambda now: step(lambda: now(so_far)),
        )

    def _fitted_attributes(self, task: _Task, trained: Any) -> tuple[dict[str, Any], bool]:
        """(all fitted attributes, whether the training has collapsed)."""
        first, last = (self._weights(trained, phase) for phase in ("joint", None))
        read = task.Z[task.drawn.rows]
        start = task.reader.read(self._directions(first, read), task.ks)
        # Numbers of classes are chosen once: with more of them the modularity of what has no gaps is larger.
        end = task.reader.read(self._directions(last, read), [start.n_classes])
        collapsed = self._has_collapsed(start, end)
        improved = bool(end.modularity > start.modularity and not collapsed and end.n_classes >= start.n_classes)
        classes, layers = (end, last) if improved else (start, first)
        fitted = self._class_attributes(task, classes, layers)
        if self.n_clusters == "auto":
            fitted["n_clusters_scores_"] = {k: -length for k, length in start.lengths.items()}
        return {
            **fitted,
            **task.scale,
            "encoder_layers_": layers,
            "improved_": improved,
            "modularity_": classes.modularity,
            "history_": trained.history,
        }, collapsed

    def _has_collapsed(self, start: FoundClasses, end: FoundClasses) -> bool:
        if end.n_classes < start.n_classes:
            return True
        sizes = [np.bincount(classes.codes, minlength=start.n_classes) for classes in (start, end)]
        return neural.has_collapsed(*sizes)

    def _class_attributes(self, task: _Task, found: FoundClasses, layers: list) -> dict[str, Any]:
        """Names, labels and subspaces: what follows from the classes of the rows that were read."""
        labels, drawn = task.labels, task.drawn
        Z = self._directions(layers, task.Z)
        lengths = incremental_lengths(Z, found.scatter, self.squared_error)
        sizes = np.bincount(lengths.argmin(axis=1)[labels.unlabeled], minlength=found.n_classes)
        n_known = labels.n_known
        scatter = found.scatter
        novel = n_known + order_by_size(sizes[n_known:], _leading_directions(scatter)[n_known:])
        kept = np.concatenate([np.arange(n_known), novel[sizes[novel] > 0]]).astype(np.intp)
        scatter = ClassScatter(scatter.moments[kept], scatter.weight[kept])
        # Classes without a row count in the share of each class: lengths of the kept ones alone are those of predict.
        codes = incremental_lengths(Z, scatter, self.squared_error).argmin(axis=1).astype(np.int32)
        np.copyto(codes, labels.codes, where=labels.codes != UNLABELED)
        names = self._name_classes(labels.classes, len(kept) - n_known)
        read = task.Z[drawn.rows]
        references = evenly_spread(len(read))
        distances = nearest_distances(read, read[references], own=references)
        return {
            **names,
            "labels_": decode(codes, names["classes_"]),
            "n_clusters_": len(kept),
            "class_moments_": scatter.moments,
            "class_weights_": scatter.weight,
            "subspace_bases_": subspace_bases(scatter, _ENERGY),
            "rate_reduction_": self._rate_reduction(Z[drawn.rows], task.reader.weight, scatter),
            "reference_rows_": read[references],
            "distance_quantiles_": quantiles_by_class(distances, codes[drawn.rows], np.ones(len(read)), len(kept)),
            "_n_features_out": Z.shape[1],
        }

    def _rate_reduction(self, Z: np.ndarray, weight: np.ndarray, scatter: ClassScatter) -> float:
        whole = coding_rates(class_scatter(Z, np.zeros(len(Z), dtype=np.intp), 1, weight), self.squared_error)[0]
        shares = scatter.weight / scatter.weight.sum()
        return float(whole - shares @ coding_rates(scatter, self.squared_error))


@dataclass(frozen=True)
class _Task:
    """What a fit works with.

    Attributes
    ----------
    Z : ndarray of shape (n_rows, n_features)
        Standardized rows of the table.
    labels : PartialLabels
        Of these.
    trained_on : ndarray
        Numbers of the rows to train on: `neural.training_rows`.
    drawn : EmbeddedRows
        Distinct rows that classes are read from.
    scale : dict of str to ndarray
        Fitted attributes by which rows are standardized.
    reader : ClassReader
    ks : list of int
        Numbers of classes to choose from.
    seed : int
    """

    Z: np.ndarray
    labels: PartialLabels
    trained_on: np.ndarray
    drawn: EmbeddedRows
    scale: dict[str, np.ndarray]
    reader: ClassReader
    ks: list[int]
    seed: int


def _leading_directions(scatter: ClassScatter) -> np.ndarray:
    """First direction of each subspace, by which classes of equal size are put in order."""
    return np.stack([basis[:, 0] for basis in subspace_bases(scatter, 0.0)])
