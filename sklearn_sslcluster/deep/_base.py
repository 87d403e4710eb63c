"""The fit that the estimators with a learned embedding and centers in it share."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist
from scipy.special import softmax
from sklearn.cluster import AgglomerativeClustering
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval

from .. import neural
from ..base import BaseCenterEstimator, lazily
from ..engine import DaskRows, RowBlocks, blocks_of, fit_progress
from ..labels import UNLABELED, PartialLabels, decode, warn_user
from ..numerics import (
    CenterProblem,
    LloydSettings,
    choose_n_clusters,
    distances_to,
    distinct_rows,
    modularity,
    nearest_centers,
    nearest_neighbors,
    pose_problem,
    quantiles_by_class,
    solve,
)
from ._batches import BatchwiseMixin
from ._pretraining import held_out_share, pretraining

_STEPS_BETWEEN = 30
# Rows by whose neighbors clusters are judged.
_MOST_JUDGED = 5000
# Rows of each class that the percentiles of distances remember from earlier batches.
_REMEMBERED_ROWS = 1000


class BaseDeepClustering(BatchwiseMixin, BaseCenterEstimator):
    """Autoencoder, k-means in its embedding, then a joint objective; the better of start and end is kept.

    A subclass gives ``_objective(centers, codes)``, which is lowered in the joint phase and holds the centers as a
    parameter ``centers``.
    """

    _parameter_constraints: dict = {
        **{
            name: BaseCenterEstimator._parameter_constraints[name]
            for name in ("n_clusters", "n_init", "k_max", "unlabeled_value", "random_state")
        },
        "tol": [Interval(Real, 0, None, closed="left"), None],
        **BatchwiseMixin._neural_constraints,
        "encoder": "no_validation",
    }
    _accept_sparse = False
    _accepts_dask = True

    def _objective(self, find_centers: Callable, codes: np.ndarray) -> Any:
        """The joint objective, which finds and holds centers."""
        raise NotImplementedError

    def _fit(self, X: Any, y: Any) -> Any:
        rows = self._check_rows(X, reset=True)
        labels = self._encode_labels(y, rows)
        random_state = check_random_state(self.random_state)
        seed = int(random_state.randint(np.iinfo(np.int32).max))
        task = self._task(rows, labels, seed, random_state)
        with fit_progress(self, X, y, max_steps=None, step_name="epoch") as step:
            trained = self._learn(task, step)
        fitted, collapsed = self._fitted_attributes(task, trained)
        if collapsed:
            warn_user(
                f"A cluster of {type(self).__name__} all but vanished while training, and the clusters of its start "
                "are kept; a smaller optimizer__lr or n_clusters?"
            )
        self._warn_if_fewer(task.start.n_wanted, fitted["n_clusters_"])
        self._set_fitted(**fitted)
        return self

    def _follow(self, X: Any, y: Any) -> dict[str, Any]:
        rows, seed = self._next_rows(X), self._next_seed()
        given = self._given_codes(self._encode_labels(y, rows))
        # A single row comes twice, for batch normalization.
        Z, codes = (rows, given) if len(rows) > 1 else (rows.repeat(2, axis=0), given.repeat(2))
        objective = self._objective(lambda embedding: self.cluster_centers_, codes)
        n_rows = self.training_state_["n_rows"]
        network = neural.build_autoencoder(self.encoder, n_rows, Z.shape[1], self.embedding_size, seed)
        phase = neural.Phase("joint", objective, 1, tol=None, hold_out=False)
        trained, kept = self._go_on(Z, codes, network, phase, seed)
        layers, centers = self._weights(trained), objective.final_centers()
        embedding = self._apply(layers, rows)
        nearest = self._map(nearest_centers, embedding, centers)[0]
        free = nearest[given == UNLABELED]
        n_known = len(self.classes_) - len(self.novel_classes_)
        return kept | {
            "encoder_layers_": layers,
            "cluster_centers_": centers,
            "labels_": decode(np.where(given == UNLABELED, nearest, given), self.classes_),
            "known_share_": float(np.mean(free < n_known)) if len(free) else 0.0,
            "distance_quantiles_": self._running_quantiles(embedding, centers, nearest),
        }

    def _given_codes(self, labels: PartialLabels) -> np.ndarray:
        """Codes, among all classes, of the labels of a further batch."""
        names = {(type(name), name) for name in self.classes_.tolist()}
        strange = [name for name in labels.classes.tolist() if (type(name), name) not in names]
        if strange:
            raise ValueError(
                f"y holds the label {strange[0]!r}, which is none of the {len(names)} classes of the first batch."
            )
        codes = np.append(self._codes_of(labels.classes), UNLABELED) if labels.n_known else np.array([UNLABELED])
        return codes[labels.codes].astype(np.int32)

    def _task(self, rows: Any, labels: PartialLabels, seed: int, random_state: np.random.RandomState) -> _Task:
        table = neural.training_table(rows, labels, seed)
        start = _Start(self, table.labels, NeighborGraph(table.Z), seed)
        return _Task(table, labels, start, self._objective(start, table.labels.codes), random_state)

    def _learn(self, task: _Task, step: Callable) -> Any:
        Z, seed = task.table.Z, task.start.seed

        def so_far(trained: Any) -> dict[str, Any] | None:
            # There are no clusters before the joint phase.
            return self._fitted_attributes(task, trained)[0] if "joint" in trained.starts else None

        return self._train(
            Z,
            task.table.labels.codes,
            neural.build_autoencoder(self.encoder, *Z.shape, self.embedding_size, seed),
            self._phases(task.objective, len(Z)),
            seed,
            validation_share=held_out_share(len(Z)),
            on_epoch=lambda now: step(lambda: now(so_far)),
            stream=task.table.stream,
        )

    def _fitted_attributes(self, task: _Task, trained: Any) -> tuple[dict[str, Any], bool]:
        """(all fitted attributes, whether the training has collapsed)."""
        fitted = self._better(trained, task.objective, task.start, task.table.Z)
        # What the names of the classes, their order and their labels follow from is the embedding.
        embedding = task.table.map(self._applier(fitted["encoder_layers_"]))
        labels, centers, collapsed = task.labels, fitted.pop("centers"), fitted.pop("collapsed")
        # A copy, since callbacks may ask for the attributes of each epoch.
        problem = self._pose(embedding, labels, copy.deepcopy(task.random_state))
        classes = self._class_attributes(problem, labels, centers[: labels.n_known], centers[labels.n_known :])
        classes["_n_features_out"] = embedding.shape[1]
        # Sizes of the classes, by the rows that stand for all; `DeepMeans` has no use for them.
        codes = self._map(nearest_centers, embedding[task.table.rows], classes["cluster_centers_"])[0]
        codes = np.where(task.table.labels.unlabeled, codes, task.table.labels.codes)
        sizes = np.bincount(codes, minlength=classes["n_clusters_"]).astype(np.float32)
        begun = None if fitted["improved_"] else "joint"
        fitted |= self._begun(trained, begun, len(task.table.Z), frequencies=sizes)
        return classes | task.table.scale | fitted | task.start.scores | {"history_": trained.history}, collapsed

    def _phases(self, objective: Any, n_rows: int) -> list:
        # Clusters are looked at again after about 30 steps, as for small tables in the papers.
        refresh_every = max(1, round(_STEPS_BETWEEN / max(n_rows / self.batch_size, 1)))
        phases = pretraining(self.encoder, self.max_pretrain_epochs)
        joint = neural.Phase(
            "joint",
            objective,
            self.max_epochs,
            refresh_every=refresh_every,
            tol=self.tol,
            # Clusters of an encoder that has learned nothing come and go.
            smallest_share=neural.SMALLEST_SHARE if phases or self.encoder == "identity" else 0.0,
            hold_out=False,
        )
        return [*phases, joint]

    def _better(self, trained: Any, objective: Any, start: _Start, Z: np.ndarray) -> dict[str, Any]:
        """Network and centers at the start or at the end of the joint phase, whichever has the higher modularity."""
        found = []
        for phase, centers in (("joint", objective.start_centers), (None, objective.final_centers())):
            layers = self._weights(trained, phase)
            codes = start.codes(self._apply(layers, Z), centers)
            found.append((start.graph.modularity(codes), layers, centers, codes))
        (before, *_), (after, *_) = found
        sizes = [np.bincount(codes, minlength=len(objective.start_centers)) for *_, codes in found]
        collapsed = trained.collapsed["joint"] or neural.has_collapsed(*sizes)
        # On graphs of a handful of rows fewer clusters can have the higher modularity.
        improved = bool(after > before and not collapsed and np.count_nonzero(sizes[1]) >= np.count_nonzero(sizes[0]))
        _, layers, centers, _ = found[1 if improved else 0]
        return {
            "encoder_layers_": layers,
            "centers": centers,
            "improved_": improved,
            "modularity_": float(after if improved else before),
            "collapsed": collapsed,
        }

    def _pose(
        self, embedding: np.ndarray, labels: PartialLabels, random_state: np.random.RandomState, n_clusters: int = 0
    ) -> CenterProblem:
        """The k-means problem in the embedding."""
        blocks = RowBlocks(embedding, (labels.codes if labels.n_known else None, None))
        return pose_problem(blocks, labels.n_known, random_state, n_clusters, center=True)

    def _running_quantiles(self, embedding: np.ndarray, centers: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Percentiles of the distance to the center: a mean over batches that forgets the first ones slowly."""
        distances = distances_to(embedding, centers[codes])
        found = quantiles_by_class(distances, codes, np.ones(len(codes)), len(centers))
        out = self.distance_quantiles_.copy()
        for code, count in enumerate(np.bincount(codes, minlength=len(centers))):
            if not np.isfinite(out[code]).all():
                out[code] = found[code]
            elif count:
                out[code] += count / (count + _REMEMBERED_ROWS) * (found[code] - out[code])
        return out

    def _represent(self, X: Any) -> np.ndarray:
        if not isinstance(X, DaskRows):
            return self._embed(X)
        scale = {"mean_": self.mean_, "scale_": self.scale_}
        return neural.map_standardized(blocks_of(X), self._applier(self.encoder_layers_), scale)

    @lazily
    def predict_proba(self, X: Any) -> np.ndarray:
        """Soft assignment of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_clusters_)
            Of Student's t with one degree of freedom around the centers; columns in the order of ``classes_``.
        """
        Z = self._represent(self._check_fitted_rows(X))
        log_q = -np.log1p(cdist(Z, self.cluster_centers_, "sqeuclidean"))
        return softmax(log_q, axis=1)

    @lazily
    def transform(self, X: Any) -> np.ndarray:
        """Embedding of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        embedding : ndarray of shape (n_samples, embedding_size)
            Outputs of the encoder.
        """
        return self._represent(self._check_fitted_rows(X))


class NeighborGraph:
    """Nearest neighbors of the rows, by which clusters are judged.

    The judge looks at the rows themselves, not at the embedding, which a network could shape to its liking.
    """

    def __init__(self, X: np.ndarray) -> None:
        blocks = RowBlocks(X, (None, None))
        self.rows = distinct_rows(
            blocks, (None, None), max_rows=_MOST_JUDGED, random_state=np.random.RandomState(0)
        ).rows
        self.neighbors = nearest_neighbors(X[self.rows])

    def modularity(self, codes: np.ndarray) -> float:
        """Modularity of the clusters of all rows: 0 for one cluster, below 1."""
        return modularity(self.neighbors, codes[self.rows])


@dataclass(frozen=True)
class _Task:
    """What a fit works with.

    Attributes
    ----------
    table : TrainingTable
    labels : PartialLabels
        Of all rows.
    start : _Start
    objective : Objective
    random_state : RandomState
    """

    table: neural.TrainingTable
    labels: PartialLabels
    start: _Start
    objective: Any
    random_state: np.random.RandomState


class _Start:
    """Finds centers in an embedding; the same ones whenever it is called with it."""

    def __init__(self, estimator: BaseDeepClustering, labels: PartialLabels, graph: NeighborGraph, seed: int) -> None:
        self.estimator, self.labels, self.graph, self.seed = estimator, labels, graph, seed
        self.n_wanted = 0
        self.scores: dict[str, Any] = {}

    def __call__(self, embedding: np.ndarray) -> np.ndarray:
        estimator, labels, settings = self.estimator, self.labels, LloydSettings(self.estimator.n_init)
        random_state = np.random.RandomState(self.seed)
        if estimator.n_clusters == "auto":
            problem = estimator._pose(embedding, labels, random_state)
            k, self.scores["n_clusters_scores_"] = choose_n_clusters(
                problem,
                estimator._candidates(labels.n_known),
                settings,
                random_state,
                move_known=True,
                criterion="silhouette",
            )
        else:
            k = labels.n_known + estimator._n_novel_wanted(labels)
            problem = estimator._pose(embedding, labels, random_state, k)
        self.n_wanted = k
        n_novel = k - labels.n_known
        candidates = [solve(problem, n_novel, settings, random_state, move_known=True).all]
        once = LloydSettings(n_init=1)
        for _ in range(estimator.n_init if n_novel else 0):
            candidates.append(solve(problem, n_novel, once, random_state, move_known=True).all)
        if not labels.n_known and len(candidates[0]) == k > 1:
            candidates.append(self._ward(embedding, k))
        return max(candidates, key=lambda centers: self.graph.modularity(self.codes(embedding, centers)))

    def codes(self, embedding: np.ndarray, centers: np.ndarray) -> np.ndarray:
        """Nearest centers, labeled rows in their class."""
        nearest = nearest_centers(embedding, (), (centers, None))[0]
        return np.where(self.labels.codes >= 0, self.labels.codes, nearest)

    def _ward(self, embedding: np.ndarray, k: int) -> np.ndarray:
        """Centers of Ward's clusters of the rows of the graph."""
        rows = embedding[self.graph.rows]
        codes = AgglomerativeClustering(k).fit(rows).labels_
        return np.stack([rows[codes == code].mean(axis=0) for code in range(k)])
