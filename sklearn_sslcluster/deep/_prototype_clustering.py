"""Clusters of prototypes to which two views of a row fall alike."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from .. import neural
from ..base import PartialLabelMixin, fit_method, lazily, mean_silhouette, refuse_dask
from ..engine import blocks_of, fit_progress
from ..labels import PartialLabels, decode, warn_user
from ..neural import NeuralMixin
from ..numerics import nearest_neighbors, quantiles_by_class
from ._embedding_clusters import EmbeddedRows, choose_k, draw_rows, possible_numbers
from ._pretraining import held_out_share, pretraining
from ._prototype_classes import JudgedRows, PrototypeClasses, class_means, in_order, join_prototypes, judge
from ._references import novelty
from ._views import VIEWS, make_views

# Prototypes for each class, the fewest rows for one, and the number where that of classes is not given.
_PROTOTYPES_PER_CLASS, _ROWS_PER_PROTOTYPE, _PROTOTYPES_OF_AUTO = 10, 8, 100
# Heads of "kmeans": shares of the number of prototypes.
_HEADS = (4, 2, 1)
# Balance where prototypes are the classes, whose sizes are not known.
_RELAXED_BALANCE = 0.5
# Share of the rows by which masses may be missed without a word.
_MOST_MISSED = 0.01
_MOST_JUDGED = 5000
# Cosine of two places that are one, but for rounding.
_SAME_PLACE = 1 - 1e-6


class PrototypeClustering(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, NeuralMixin, PartialLabelMixin, BaseEstimator
):
    """Clustering by prototypes in an embedding in which two views of a row fall to the same ones.

    An autoencoder gives the start; then the encoder is trained so that views of a row agree about their prototypes.
    There are more prototypes than classes, and those whose rows are neighbors are joined. The better of start and end
    is kept.

    Parameters
    ----------
    n_clusters : int or "auto", default=8
        Number of classes, known and novel together. ``"auto"`` takes the smallest number whose silhouette in the
        embedding is as good as the largest.
    assignment : {"kmeans", "sinkhorn", "multi"}, default="kmeans"
        What views have to agree about. "sinkhorn" (SwAV [1]_): the soft codes of the other view, an optimal transport
        of rows to prototypes of given masses. "kmeans" (DeepCluster-v2 [1]_): the cluster of the row, by k-means once
        an epoch, in heads of `n_prototypes`, a half and a quarter of them. "multi" (MLCD [2]_): the few
        prototypes that were nearest at the start, against all others.
    n_prototypes : int or "auto", default="auto"
        ``"auto"``: ten for each class, at most one for eight rows. At least the number of classes.
    views : {"corruption", "correlated-mask", "subset"} or callable, default="corruption"
        How two views of a row are made; see :class:`ContrastiveEncoder`. Here "corruption" changes both.
    corruption_rate : float in (0, 1], default=0.3
        Share of the columns that "corruption" draws anew.
    temperature : float, default=0.1
        Divides the cosines of rows and prototypes.
    epsilon : float, default=0.05
        Regularization of the transport of "sinkhorn": the smaller, the harder its codes.
    prior : None or array-like of shape (n_prototypes,), default=None
        Shares of the rows that the prototypes of "sinkhorn" get, in any order: the largest is that of the prototype
        with most rows at the start, and so on. None for equal ones.
    balance : float in [0, 1] or "auto", default="auto"
        How strictly "sinkhorn" keeps to `prior`: 1 exactly, 0 not at all, which may end in a single prototype.
        ``"auto"``: 1 if there are more prototypes than classes, so that a large class may have many of them, else 0.5.
    n_positives : int, default=2
        Nearest prototypes that are positives of a row in "multi".
    embedding_size : int, default=32
        Columns of the embedding.
    encoder : None, "identity", NetworkSettings or torch.nn.Module subclass, default=None
        Network of the encoder; None for the default :class:`NetworkSettings`, whose settings can be set as
        ``encoder__hidden`` and so on. A class of your own is called with (n_features, embedding_size); models with one
        need torch to predict.
    optimizer : OptimizerSettings, default=None
        How weights are updated; settings can be set as ``optimizer__lr`` and so on.
    max_pretrain_epochs : int, default=100
        Epochs of the autoencoder at most; it stops when the reconstruction of held-out rows (a tenth) has not improved
        for ten epochs.
    max_epochs : int, default=100
        Epochs of the joint phase at most.
    tol : float or None, default=1e-3
        The joint phase ends when no larger share of the rows changes its prototype in an epoch. None: never.
    batch_size : int, default=256
        Rows of a training step.
    n_init : int, default=10
        Starts of k-means for ``n_clusters="auto"``.
    k_max : int or None, default=None
        Largest number of classes that ``"auto"`` tries; None for the larger of 30 and three times the known ones.
    checkpoint : str, path or None, default=None
        File that keeps the state after every epoch; a fit that was killed and is run again goes on from there. Removed
        at the end. Needs a `random_state`.
    unlabeled_value : int, str, bool or None, default=-1
        Label of rows without one, beside None and NaN.
    device : {"cpu", "cuda", "auto"} or None, default=None
        Where the network is trained; None is the CPU.
    random_state : int, RandomState instance or None, default=None
        Draws weights, batches, views and starts.

    Attributes
    ----------
    classes_ : ndarray of shape (n_clusters_,)
        Names of the classes: known ones, then discovered ones by decreasing size.
    novel_classes_ : ndarray of shape (n_novel,)
        Names of the discovered classes.
    labels_ : ndarray of shape (n_samples,)
        Class of each training row; a labeled row keeps its label.
    prototypes_ : ndarray of shape (n_found, embedding_size)
        Prototypes that some row is nearest to, of unit length; of known classes also the mean.
    prototype_classes_ : ndarray of shape (n_found,)
        Place in `classes_` of the class of each prototype.
    n_clusters_ : int
        Number of classes found.
    n_clusters_scores_ : dict of int to float
        Silhouettes by number of classes, with ``n_clusters="auto"``.
    modularity_ : float
        Of the classes on the graph of neighbors of the rows.
    improved_ : bool
        Whether the end of the joint phase was better than its start by `modularity_`.
    encoder_layers_ : list of dict
        Layers of the encoder, for numpy.
    mean_, scale_ : ndarray of shape (n_features_in_,)
        By which rows are standardized.
    distance_quantiles_ : ndarray of shape (n_clusters_, 101)
        Percentiles of one minus the cosine of the training rows of a class and their prototype.
    history_ : dict of str to list of dict
        Losses of each epoch, by phase.
    n_features_in_ : int
        Number of columns of `X`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, where all are strings.

    See Also
    --------
    ContrastiveEncoder : The embedding alone, by contrast of rows.
    NeighborEmbeddingClustering : The first to try for clusters of any shape.

    Notes
    -----
    Labeled rows add a supervised contrastive loss: rows of a known class come together.

    Departures: potentials of "sinkhorn" come from all rows, once an epoch and to a tolerance on the masses, where [1]_
    takes three iterations in a batch and a queue. "kmeans" clusters the rows as they are, not their views of the epoch
    before.

    Start and end are compared by the modularity of the classes on the ten nearest neighbors of the standardized rows,
    fixed before training; a single class has 0, so that a collapsed solution cannot win. A collapse, when all rows lie
    all but in one place of the embedding, is told by a warning. MLCD samples negatives; here all prototypes are.

    References
    ----------
    .. [1] Caron, M., et al. (2020). Unsupervised learning of visual features by contrasting cluster assignments.
       NeurIPS. arXiv:2006.09882.
    .. [2] An, X., et al. (2024). Multi-label cluster discrimination for visual representation learning. ECCV.
       arXiv:2407.17331.

    Examples
    --------
    >>> from sklearn_sslcluster.datasets import make_partially_labeled_blobs
    >>> from sklearn_sslcluster.deep import PrototypeClustering
    >>> X, y, _ = make_partially_labeled_blobs(200, n_known=2, n_novel=1, n_features=8, random_state=0)
    >>> model = PrototypeClustering(3, max_pretrain_epochs=5, max_epochs=5, random_state=0).fit(X, y)
    >>> model.novel_classes_
    array([2])
    """

    _accepts_dask = True
    _parameter_constraints: ClassVar[dict] = {
        **NeuralMixin._neural_constraints,
        # Of unit length, a single column could only be 1 or -1.
        "embedding_size": [Interval(Integral, 2, None, closed="left")],
        "n_clusters": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "assignment": [StrOptions({"sinkhorn", "kmeans", "multi"})],
        "n_prototypes": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "views": [StrOptions(set(VIEWS)), callable],
        "corruption_rate": [Interval(Real, 0, 1, closed="right")],
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "prior": ["array-like", None],
        "balance": [Interval(Real, 0, 1, closed="both"), StrOptions({"auto"})],
        "n_positives": [Interval(Integral, 1, None, closed="left")],
        "encoder": "no_validation",
        "tol": [Interval(Real, 0, None, closed="left"), None],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "k_max": [Interval(Integral, 1, None, closed="left"), None],
        "unlabeled_value": [Integral, str, "boolean", None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_clusters: Any = 8,
        *,
        assignment: str = "kmeans",
        n_prototypes: Any = "auto",
        views: Any = "corruption",
        corruption_rate: float = 0.3,
        temperature: float = 0.1,
        epsilon: float = 0.05,
        prior: Any = None,
        balance: Any = "auto",
        n_positives: int = 2,
        embedding_size: int = 32,
        encoder: Any = None,
        optimizer: Any = None,
        max_pretrain_epochs: int = 100,
        max_epochs: int = 100,
        tol: float | None = 1e-3,
        batch_size: int = 256,
        n_init: int = 10,
        k_max: int | None = None,
        checkpoint: Any = None,
        unlabeled_value: Any = -1,
        device: str | None = None,
        random_state: Any = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.assignment = assignment
        self.n_prototypes = n_prototypes
        self.views = views
        self.corruption_rate = corruption_rate
        self.temperature = temperature
        self.epsilon = epsilon
        self.prior = prior
        self.balance = balance
        self.n_positives = n_positives
        self.embedding_size = embedding_size
        self.encoder = encoder
        self.optimizer = optimizer
        self.max_pretrain_epochs = max_pretrain_epochs
        self.max_epochs = max_epochs
        self.tol = tol
        self.batch_size = batch_size
        self.n_init = n_init
        self.k_max = k_max
        self.checkpoint = checkpoint
        self.unlabeled_value = unlabeled_value
        self.device = device
        self.random_state = random_state

    @fit_method
    def fit(self, X: Any, y: Any = None) -> PrototypeClustering:
        """Learn an embedding, prototypes in it, and the classes that they make up.

        Parameters
        ----------
        X : array-like or Dask collection of shape (n_samples, n_features)
            Training rows. Arrays of more than 1 GiB (as float64) and Dask arrays and DataFrames are not held in memory.
        y : array-like of shape (n_samples,), default=None
            Partial labels: ints, strings, bools or categories, and -1, None, NaN or ``pd.NA`` for rows without one.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If `X` has NaN or infinite values, `y` has another length or holds floats that are not whole numbers,
            `prior` does not fit the prototypes, `views` returns something else than two arrays, a setting of network or
            optimizer is out of its range, torch sees no such `device`, `checkpoint` belongs to another fit or comes
            without a `random_state`, or the loss is no longer finite.
        TypeError
            If `y` holds values that are no labels, dates for example.

        Warns
        -----
        UserWarning
            If the embedding has collapsed.
        """
        rows = self._check_rows(X, reset=True)
        labels = self._encode_labels(y, rows)
        task = self._task(rows, labels, check_random_state(self.random_state))

        def so_far(trained: Any) -> dict[str, Any] | None:
            # There are no prototypes before the joint phase.
            return self._fitted_attributes(task, trained)[0] if "joint" in trained.starts else None

        with fit_progress(self, X, y, max_steps=None, step_name="epoch") as step:
            Z = task.table.Z
            trained = self._train(
                Z,
                task.table.labels.codes,
                neural.build_autoencoder(self.encoder, *Z.shape, self.embedding_size, task.seed),
                self._phases(task.objective),
                task.seed,
                validation_share=held_out_share(len(Z)),
                on_epoch=lambda now: step(lambda: now(so_far)),
                stream=task.table.stream,
            )
        fitted, collapsed = self._fitted_attributes(task, trained)
        if collapsed:
            warn_user(
                "The embedding of PrototypeClustering collapsed to all but one place, and the classes of its start are "
                "kept; more balance, or a smaller optimizer__lr?"
            )
        missed = task.objective.error
        if missed > _MOST_MISSED:
            warn_user(
                f"Codes of 'sinkhorn' miss the masses of their prototypes by {missed:.1%} of the rows: its iterations "
                "ended before. A larger epsilon needs fewer.",
                ConvergenceWarning,
            )
        if task.wanted:
            self._warn_if_fewer(task.wanted, fitted["n_clusters_"])
        self._set_fitted(**fitted)
        return self

    @lazily
    def predict(self, X: Any, *, reject: float | None = None) -> np.ndarray:
        """Name the class of each row: that of the nearest prototype.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        reject : float in (0, 1], default=None
            Leave a row unassigned (-1, or None where names are not integers) when it lies farther from its prototype
            than this quantile of the training rows of the class; 0.99 for example.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            Names of ``classes_``.
        """
        similarities = self._similarities(X)
        codes = similarities.argmax(axis=1)
        if reject is not None:
            codes = self._reject(codes, 1 - similarities.max(axis=1), reject)
        return decode(codes, self.classes_, unlabeled_value=self.unlabeled_value)

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
            Softmax of the cosine of the nearest prototype of each class over `temperature`; columns in the order of
            ``classes_``.
        """
        return softmax(self._similarities(X) / self.temperature, axis=1)

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
            Outputs of the encoder, of unit length.
        """
        check_is_fitted(self)
        return self._embed(self._check_rows(X))

    @lazily
    def novelty_score(self, X: Any) -> np.ndarray:
        """How much a row looks like a novel rather than a known class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        score : ndarray of shape (n_samples,)
            Logistic function of the lead, in cosines over `temperature`, of the nearest prototype of a novel class over
            that of a known one: above one half exactly where ``predict`` names a novel class. 0 everywhere if no novel
            class was found, 1 if no class is known.
        """
        log_odds = self._similarities(X) / self.temperature
        return novelty(log_odds, len(self.classes_) - len(self.novel_classes_))

    def score(self, X: Any, y: Any = None) -> float:
        """Mean silhouette width of the predicted classes among the rows, on at most 5,000 fixed distinct ones.

        Uses no labels, and can be compared between numbers of clusters.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        y : None
            Ignored.

        Returns
        -------
        score : float
            In [-1, 1], higher is better; 0 where all rows fall in one class.
        """
        check_is_fitted(self)
        refuse_dask(self, X, "rows to score")
        rows = self._check_rows(X)
        return mean_silhouette(rows, self._similarities(rows).argmax(axis=1))

    def _check_rows(self, X: Any, *, reset: bool = False) -> np.ndarray:
        return self._validate_rows(X, reset=reset, dtype=[np.float64, np.float32])

    def _similarities(self, X: Any) -> np.ndarray:
        """Cosine of each row and the nearest prototype of each class."""
        embedding = self.transform(X)
        return PrototypeClasses(self.prototypes_, self.prototype_classes_, self.n_clusters_).similarities(embedding)

    def _apply(self, layers: list[dict[str, Any]], X: np.ndarray) -> np.ndarray:
        return neural.unit_rows(super()._apply(layers, X))

    def _task(self, rows: Any, labels: PartialLabels, random_state: np.random.RandomState) -> _Task:
        seed = int(random_state.randint(np.iinfo(np.int32).max))
        table, source = neural.training_table(rows, labels, seed), blocks_of(rows)
        scale = table.scale
        drawn = draw_rows(source, labels, _MOST_JUDGED, random_state)
        drawn_rows = neural.standardize(source.take(drawn.rows), scale["mean_"], scale["scale_"])
        wanted = 0 if self.n_clusters == "auto" else labels.n_known + self._n_novel_wanted(labels)
        views = make_views(self.views, self.corruption_rate, True, scale)
        settings = self._settings(wanted, len(drawn.rows), seed)
        objective = {
            "sinkhorn": neural.SwappedPrediction,
            "kmeans": neural.ClusteredViews,
            "multi": neural.SeveralPrototypes,
        }[self.assignment](views, table.Z, settings)
        return _Task(table, labels, drawn, drawn_rows, nearest_neighbors(drawn_rows), objective, wanted, seed)

    def _settings(self, wanted: int, n_distinct: int, seed: int) -> Any:
        n_wanted = self.n_prototypes
        if n_wanted == "auto":
            most = _PROTOTYPES_PER_CLASS * wanted if wanted else _PROTOTYPES_OF_AUTO
            n_wanted = min(most, n_distinct // _ROWS_PER_PROTOTYPE)
        n_prototypes = max(1, min(max(n_wanted, wanted), n_distinct))
        balance = self.balance
        if balance == "auto":
            balance = 1.0 if n_prototypes > wanted else _RELAXED_BALANCE
        heads = _HEADS if self.assignment == "kmeans" else (1,)
        return neural.PrototypeSettings(
            tuple(max(1, n_prototypes // share) for share in heads),
            float(self.temperature),
            seed,
            float(self.epsilon),
            float(balance),
            self._log_prior(n_prototypes),
            self.n_positives,
        )

    def _log_prior(self, n_prototypes: int) -> np.ndarray | None:
        if self.prior is None:
            return None
        prior = np.asarray(self.prior, dtype=np.float64)
        if prior.shape != (n_prototypes,) or not np.isfinite(prior).all() or not (prior > 0).all():
            raise ValueError(
                f"prior must hold {n_prototypes} positive numbers, one for each prototype, got shape {prior.shape}."
            )
        return np.log(prior / prior.sum())

    def _phases(self, objective: Any) -> list:
        joint = neural.Phase("joint", objective, self.max_epochs, refresh_every=1, tol=self.tol, hold_out=False)
        return [*pretraining(self.encoder, self.max_pretrain_epochs), joint]

    def _fitted_attributes(self, task: _Task, trained: Any) -> tuple[dict[str, Any], bool]:
        """(all fitted attributes, whether the training has collapsed)."""
        start = self._reached(task, trained, "joint", task.objective.start_prototypes)
        end = self._reached(task, trained, None, self._final_prototypes(task, trained))
        collapsed = neural.has_lost_spread(start.spread, end.spread)
        enough = end.classes.n_classes >= start.classes.n_classes or self.n_clusters == "auto"
        improved = bool(end.modularity > start.modularity and enough and not collapsed)
        better = end if improved else start
        labels, embed = task.labels, self._applier(better.layers)
        classes, codes = in_order(better.classes, lambda own: task.table.map(_NearestClass(embed, own)), labels)
        names = self._name_classes(labels.classes, classes.n_classes - labels.n_known)
        embedding = embed(task.drawn_rows)
        own = classes.similarities(embedding)[np.arange(len(task.drawn.rows)), codes[task.drawn.rows]]
        quantiles = quantiles_by_class(1 - own, codes[task.drawn.rows], task.drawn.weight, classes.n_classes)
        scores = {"n_clusters_scores_": better.scores} if self.n_clusters == "auto" else {}
        return {
            **names,
            **task.table.scale,
            **scores,
            "labels_": decode(codes, names["classes_"]),
            "prototypes_": classes.prototypes,
            "prototype_classes_": classes.classes,
            "n_clusters_": classes.n_classes,
            "modularity_": better.modularity,
            "improved_": improved,
            "encoder_layers_": better.layers,
            "distance_quantiles_": quantiles,
            "history_": trained.history,
            "_n_features_out": embedding.shape[1],
        }, collapsed

    def _final_prototypes(self, task: _Task, trained: Any) -> np.ndarray:
        """Prototypes at the end; means of clusters follow the encoder once more."""
        prototypes = task.objective.final_prototypes()
        if self.assignment != "kmeans":
            return prototypes
        embedding = self._apply(self._weights(trained), task.table.Z)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = KMeans(len(prototypes), init=prototypes, n_init=1, random_state=task.seed).fit(embedding)
        return neural.unit_rows(model.cluster_centers_)

    def _reached(self, task: _Task, trained: Any, phase: str | None, prototypes: np.ndarray) -> _Reached:
        """Classes at the start of a phase, or at the end of the training."""
        layers, labels, drawn = self._weights(trained, phase), task.labels, task.drawn
        embedding = self._apply(layers, task.drawn_rows)
        scores: dict[int, float] = {}
        wanted = task.wanted
        if not wanted:
            random_state = np.random.RandomState(task.seed)
            ks = possible_numbers(self._candidates(labels.n_known), task.drawn_rows, task.seed)
            wanted, scores = choose_k(embedding, drawn, labels.n_known, ks, self.n_init, random_state)
        known = class_means(embedding, drawn.codes, labels.n_known) if labels.n_known else prototypes[:0]
        if labels.n_known:
            # What is where the labeled rows of a class are is no class of its own.
            prototypes = prototypes[(prototypes @ known.T).max(axis=1) < _SAME_PLACE]
        rows = JudgedRows(embedding, drawn.codes, nearest_neighbors(embedding))
        classes = join_prototypes(rows, np.vstack([known, prototypes]), labels.n_known, wanted)
        modularity = judge(classes, embedding, drawn.codes, task.neighbors)
        return _Reached(layers, classes, modularity, neural.spread(embedding), scores)


@dataclass(frozen=True)
class _Task:
    """What a fit works with.

    Attributes
    ----------
    table : TrainingTable
    labels : PartialLabels
        Of all rows.
    drawn : EmbeddedRows
        Distinct rows by which classes are made and judged.
    drawn_rows : ndarray of shape (n_drawn, n_features)
        These, standardized.
    neighbors : ndarray of shape (n_drawn, n_neighbors)
        Of these, among the rows themselves.
    objective : Objective
    wanted : int
        Number of classes, 0 for "auto".
    seed : int
    """

    table: neural.TrainingTable
    labels: PartialLabels
    drawn: EmbeddedRows
    drawn_rows: np.ndarray
    neighbors: np.ndarray
    objective: Any
    wanted: int
    seed: int


@dataclass(frozen=True)
class _NearestClass:
    """Class of the nearest prototype of standardized rows."""

    embed: Callable[[np.ndarray], np.ndarray]
    classes: PrototypeClasses

    def __call__(self, Z: np.ndarray) -> np.ndarray:
        return self.classes.similarities(self.embed(Z)).argmax(axis=1).astype(np.int32)


@dataclass(frozen=True)
class _Reached:
    """What training had reached at some time."""

    layers: list
    classes: PrototypeClasses
    modularity: float
    spread: float
    scores: dict[int, float]
