"""The fit that the estimators with a learned embedding and centers in it share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist
from scipy.special import softmax
from sklearn.cluster import AgglomerativeClustering
from sklearn.utils import check_random_state

from .. import neural
from ..base import BaseCenterEstimator
from ..engine import RowBlocks, fit_progress
from ..labels import PartialLabels, warn_user
from ..neural import NeuralMixin
from ..numerics import (
    CenterProblem,
    LloydSettings,
    choose_n_clusters,
    distinct_rows,
    modularity,
    nearest_centers,
    nearest_neighbors,
    pose_problem,
    solve,
)

# Rows held out to monitor reconstruction, and the fewest rows of a table for that.
_VALIDATION_SHARE, _FEWEST_FOR_VALIDATION = 0.1, 100
_PRETRAIN_PATIENCE = 10
# Noise on the rows of the autoencoder, in units of the width of a column.
_NOISE = 1.0
_STEPS_BETWEEN = 30
# A cluster with a smaller share of the rows, in units of 1/k, counts as vanished.
_COLLAPSED = 0.1
# Rows by whose neighbors clusters are judged.
_MOST_JUDGED = 5000


class BaseDeepClustering(NeuralMixin, BaseCenterEstimator):
    """Autoencoder, k-means in its embedding, then a joint objective; the better of start and end is kept.

    A subclass gives ``_objective(centers, codes)``, which is lowered in the joint phase and holds the centers as a
    parameter ``centers``.
    """

    _parameter_constraints: dict = {
        **{
            name: BaseCenterEstimator._parameter_constraints[name]
            for name in ("n_clusters", "n_init", "tol", "k_max", "unlabeled_value", "random_state")
        },
        **NeuralMixin._neural_constraints,
        "encoder": "no_validation",
    }
    _accept_sparse = False

    def _objective(self, find_centers: Callable, codes: np.ndarray) -> Any:
        """The joint objective, which finds and holds centers."""
        raise NotImplementedError

    def _fit(self, X: Any, y: Any) -> Any:
        rows = self._check_rows(X, reset=True)
        labels = self._encode_labels(y, rows)
        random_state = check_random_state(self.random_state)
        seed = int(random_state.randint(np.iinfo(np.int32).max))
        scale = self._measure(rows)
        Z = neural.standardize(rows, scale["mean_"], scale["scale_"])
        # Distinct rows in lexicographic order, so that neither order nor repetition of the rows changes anything.
        distinct = np.unique(np.column_stack([Z, labels.codes]), axis=0)
        if len(distinct) == 1:
            # Batch normalization needs two.
            distinct = np.repeat(distinct, 2, axis=0)
        known = replace(labels, codes=distinct[:, -1].astype(np.int32))
        distinct = np.ascontiguousarray(distinct[:, :-1])
        start = _Start(self, known, NeighborGraph(distinct), seed)
        objective = self._objective(start, known.codes)
        network = neural.build_autoencoder(self.encoder, len(distinct), Z.shape[1], self.embedding_size, seed)
        with fit_progress(self, X, y, max_steps=None, step_name="epoch") as step:
            trained = self._train(
                distinct,
                known.codes,
                network,
                self._phases(objective, len(distinct)),
                seed,
                validation_share=_VALIDATION_SHARE if len(distinct) >= _FEWEST_FOR_VALIDATION else 0.0,
                on_epoch=step,
            )
        fitted = scale | self._better(trained, objective, start, distinct)
        # What the names of the classes, their order and their labels follow from is the embedding.
        problem = self._pose(self._apply(fitted["encoder_layers_"], Z), labels, random_state)
        centers = fitted.pop("centers")
        attributes = self._class_attributes(problem, labels, centers[: labels.n_known], centers[labels.n_known :])
        attributes["_n_features_out"] = self.embedding_size if self.encoder != "identity" else Z.shape[1]
        self._warn_if_fewer(start.n_wanted, attributes["n_clusters_"])
        self._set_fitted(**attributes, **fitted, **start.scores, history_=trained.history)
        return self

    def _phases(self, objective: Any, n_rows: int) -> list:
        # Clusters are looked at again after about 30 steps, as for small tables in the papers.
        refresh_every = max(1, round(_STEPS_BETWEEN / max(n_rows / self.batch_size, 1)))
        phases = []
        if self.max_pretrain_epochs and self.encoder != "identity":
            phases.append(
                neural.Phase(
                    "pretrain",
                    neural.Reconstruction(_NOISE),
                    self.max_pretrain_epochs,
                    patience=_PRETRAIN_PATIENCE,
                    restore_best=True,
                )
            )
        joint = neural.Phase(
            "joint",
            objective,
            self.max_epochs,
            refresh_every=refresh_every,
            tol=self.tol,
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
        k = len(objective.start_centers)
        at_start, at_end = (np.bincount(codes, minlength=k) / len(Z) for *_, codes in found)
        # On graphs of a handful of rows fewer clusters can have the higher modularity.
        improved = bool(after > before and np.count_nonzero(at_end) >= np.count_nonzero(at_start))
        if not improved and at_end.min() < _COLLAPSED / k <= at_start.min():
            warn_user(
                f"A cluster of {type(self).__name__} all but vanished while training, and the clusters of its start "
                "are kept; a smaller optimizer__lr or n_clusters?"
            )
        _, layers, centers, _ = found[1 if improved else 0]
        return {
            "encoder_layers_": layers,
            "centers": centers,
            "improved_": improved,
            "modularity_": float(after if improved else before),
        }

    def _pose(
        self, embedding: np.ndarray, labels: PartialLabels, random_state: np.random.RandomState, n_clusters: int = 0
    ) -> CenterProblem:
        """The k-means problem in the embedding."""
        blocks = RowBlocks(embedding, (labels.codes if labels.n_known else None, None))
        return pose_problem(blocks, labels.n_known, random_state, n_clusters, center=True)

    def _represent(self, X: Any) -> np.ndarray:
        return self._embed(X)

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
