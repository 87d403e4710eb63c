"""Clusters in a neighbor embedding, and a network that carries embedding and clusters to new rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from scipy.special import log_softmax
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from .. import neural
from ..base import PartialLabelMixin, fit_method, lazily, order_by_size, refuse_dask
from ..engine import DaskBlocks, RowBlocks, blocks_of, fit_progress
from ..labels import UNLABELED, PartialLabels, decode
from ..neural import NetworkSettings, NeuralMixin, OptimizerSettings
from ..numerics import RowSource, distinct_rows, pairwise_distances, quantiles_by_class, silhouette
from ._embedding_clusters import (
    EmbeddedRows,
    choose_k,
    cluster_posteriors,
    draw_rows,
    neighbor_embedding,
    possible_numbers,
)
from ._references import evenly_spread, nearest_distances, novelty

# Neighbors that a row may be moved toward while the map is trained.
_NEIGHBORS = 10
# Rows of an epoch: those of small tables are seen several times.
_FEWEST_TRAINED = 512
_MOST_SCORED = 5000


class NeighborEmbeddingClustering(
    NeuralMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, PartialLabelMixin, BaseEstimator
):
    """Gaussian mixture in a neighbor embedding, and a network that maps new rows to both.

    For clusters of any shape in many columns, where centers fail: t-SNE draws rows together that are linked by near
    neighbors, a mixture finds the groups it draws, and a network learns from both to say of any row where it lies and
    what it belongs to.

    Parameters
    ----------
    n_clusters : int or "auto", default="auto"
        Number of classes, known and novel together. ``"auto"`` takes the smallest number whose mean silhouette
        in the neighbor embedding is as good as the largest, see Notes.
    embedding : {"tsne", "umap"}, default="tsne"
        :class:`sklearn.manifold.TSNE`, or UMAP of the package umap-learn, which must be installed.
    n_components : int, default=2
        Columns of the embedding.
    perplexity : float, default=20.0
        Neighbors that count, of t-SNE; UMAP takes it as their number. At most an eighth of the distinct rows.
    max_embedded : int, default=10000
        Of larger tables, so many distinct rows are embedded and learned from; the map carries the rest.
    encoder : None, NetworkSettings or torch.nn.Module subclass, default=None
        Network of the map. None for two hidden layers of 256 units with batch normalization; settings can be set as
        ``encoder__hidden`` and so on. A class of your own is called with (n_features, n_outputs); models with one need
        torch to predict.
    optimizer : OptimizerSettings, default=None
        How its weights are updated; None for Adam with a learning rate that falls to 0 along a cosine. Settings can be
        set as ``optimizer__lr`` and so on.
    max_epochs : int, default=100
        Epochs of the map.
    batch_size : int, default=128
        Rows of a training step.
    n_init : int, default=10
        Starts of the mixture.
    k_max : int, default=None
        Largest number of classes that ``n_clusters="auto"`` tries; None for ``max(30, 3 * n_known)``.
    checkpoint : str or path, default=None
        File that keeps the state of the map after every epoch: a fit that was killed goes on from there, and ends with
        the same labels as one that was not. It is removed at the end.
    unlabeled_value : int, str, bool or None, default=-1
        Value of `y` that stands for "no label", besides None, NaN and ``pd.NA``.
    device : {"cpu", "cuda", "auto"}, default=None
        Of torch; None for the CPU. The fitted model predicts by numpy, wherever it was trained.
    random_state : int, RandomState instance or None, default=None
        Seed of mixture and map (and of UMAP, and of the sample of a large table; t-SNE starts from principal
        components and draws nothing).

    Attributes
    ----------
    classes_ : ndarray of shape (n_clusters_,)
        Names of the classes: known ones in sorted order, then novel ones by decreasing size.
    novel_classes_ : ndarray of shape (n_novel,)
        Names of the novel classes.
    labels_ : ndarray of shape (n_samples,)
        Class of each training row: its label, or what ``predict`` says.
    n_clusters_ : int
        Number of classes found.
    n_clusters_scores_ : dict of int to float
        With ``n_clusters="auto"``, the mean silhouette of each number of classes tried.
    embedding_ : ndarray of shape (n_samples, n_components)
        Neighbor embedding of the training rows, centered and of unit scale; of rows of large tables that were not
        embedded, what the map says.
    agreement_ : float
        Share of the embedded rows that the map gives the class that the mixture gives them.
    history_ : dict of str to list of dict
        For the phase "map" one entry an epoch with the loss.
    encoder_layers_ : list of dict
        Weights of the map, as numpy arrays.
    outputs_ : ndarray of shape (n_clusters_,)
        Output of the network that belongs to each class; the first `n_components` outputs are the embedding.
    mean_, scale_ : ndarray of shape (n_features,)
        By which rows are standardized.
    reference_rows_ : ndarray of shape (n_references, n_features)
        At most 2,000 standardized training rows, for ``predict(X, reject=...)``.
    distance_quantiles_ : ndarray of shape (n_clusters_, 101)
        Percentiles of the distance of the training rows of each class to the nearest other reference row.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, when all are strings.

    See Also
    --------
    DeepEmbeddedClustering : An embedding learned for the sake of the clusters.
    sklearn_sslcluster.mixture.SemiSupervisedGaussianMixture : The mixture without the embedding.

    Notes
    -----
    *Rows.* Columns of comparable width share one scale, others have one each. Distinct rows are embedded, in
    lexicographic order, so that neither order nor repetition of the table matters; equal ones would be neighbors of
    each other and of nothing else. In the mixture and in the loss of the map a row weighs as often as it stands in the
    table.

    *Mixture.* Labeled rows stay in the component of their class; the embedding itself does not see the labels. A
    mixture may have half as many components again as there are classes, which are joined where that raises the
    modularity on the graph of the ten nearest neighbors of the rows: what t-SNE tears off a group often lands beside
    another one. Of the runs the one whose classes have the largest modularity is taken. Modularity prefers groups of
    similar size; the silhouettes of ``"auto"`` suppose it too. Silhouettes count as equally good if they differ by less
    than a standard error, taken as half over the root of the number of embedded rows, but at most 0.015.

    *Map.* With embedding :math:`e_i` and posteriors :math:`p_i` of a row, the network with outputs :math:`(f, g)`
    minimizes

    .. math::
        \\operatorname{mean}_i\\; -p_i^\\top \\log \\operatorname{softmax} g(x_i) + \\lVert f(x_i) - e_i \\rVert^2 / c

    at rows on the way to one of their ten nearest neighbors, targets alike, with noise as large as the distance of the
    nearest. Posteriors are learned beside the embedding since a map into the plane has to cross one cluster on the way
    from a second to a third. ``predict`` and ``labels_`` follow :math:`g`, ``transform`` is :math:`f`.

    N2D [1]_ embeds the code of an autoencoder, in as many columns as clusters, and does not predict. Here rows are
    embedded as they are: on tables the autoencoder blurs neighborhoods. There is no joint training whose start might
    be better than its end; the loss of the map does not reward a collapse.

    References
    ----------
    .. [1] R. McConville, R. Santos-Rodriguez, R. J. Piechocki, I. Craddock, "N2D: (not too) deep clustering via
       clustering the local manifold of an autoencoded embedding", ICPR 2020.
    .. [2] L. van der Maaten, "Learning a parametric embedding by preserving local structure", AISTATS 2009.

    Examples
    --------
    >>> from sklearn.datasets import make_moons
    >>> from sklearn_sslcluster.deep import NeighborEmbeddingClustering
    >>> X, _ = make_moons(150, noise=0.05, random_state=0)
    >>> model = NeighborEmbeddingClustering(2, max_epochs=10, random_state=0).fit(X)
    >>> model.transform(X).shape
    (150, 2)
    """

    _accepts_dask = True
    _parameter_constraints: dict = {
        "n_clusters": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "embedding": [StrOptions({"tsne", "umap"})],
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "perplexity": [Interval(Real, 0, None, closed="neither")],
        "max_embedded": [Interval(Integral, 2, None, closed="left")],
        **{
            name: NeuralMixin._neural_constraints[name]
            for name in ("optimizer", "max_epochs", "batch_size", "checkpoint", "device")
        },
        "encoder": "no_validation",
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "k_max": [Interval(Integral, 1, None, closed="left"), None],
        "unlabeled_value": [Integral, str, "boolean", None],
        "random_state": ["random_state"],
    }
    _nested: ClassVar[dict] = {
        "encoder": partial(NetworkSettings, (256, 256), batch_norm=True),
        "optimizer": partial(OptimizerSettings, schedule="cosine"),
    }

    def __init__(
        self,
        n_clusters: Any = "auto",
        *,
        embedding: str = "tsne",
        n_components: int = 2,
        perplexity: float = 20.0,
        max_embedded: int = 10_000,
        encoder: Any = None,
        optimizer: Any = None,
        max_epochs: int = 100,
        batch_size: int = 128,
        n_init: int = 10,
        k_max: int | None = None,
        checkpoint: Any = None,
        unlabeled_value: Any = -1,
        device: str | None = None,
        random_state: Any = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.embedding = embedding
        self.n_components = n_components
        self.perplexity = perplexity
        self.max_embedded = max_embedded
        self.encoder = encoder
        self.optimizer = optimizer
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.n_init = n_init
        self.k_max = k_max
        self.checkpoint = checkpoint
        self.unlabeled_value = unlabeled_value
        self.device = device
        self.random_state = random_state

    @fit_method
    def fit(self, X: Any, y: Any = None) -> NeighborEmbeddingClustering:
        """Embed partially labeled rows, find their classes, and learn both.

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
            If `X` has NaN or infinite values, `y` has another length or holds floats that are not whole numbers, or the
            checkpoint belongs to another fit.
        TypeError
            If `y` holds values that are no labels, dates for example.
        ImportError
            If ``embedding="umap"`` and umap-learn is not installed.
        """
        rows = self._check_rows(X, reset=True)
        labels = self._encode_labels(y, rows)
        random_state = check_random_state(self.random_state)
        seed = int(random_state.randint(np.iinfo(np.int32).max))
        source = blocks_of(rows)
        if isinstance(source, DaskBlocks):
            source.check_finite()
        drawn = draw_rows(source, labels, self.max_embedded, random_state)
        embedded = source.take(drawn.rows)
        scale = neural.measure(embedded)
        Z = neural.standardize(embedded, scale["mean_"], scale["scale_"])
        embedding = neighbor_embedding(Z, self.embedding, self.n_components, self.perplexity, seed)
        neighbors = _neighbors(Z)
        ks = possible_numbers(self._candidates(labels.n_known), Z, seed) if self.n_clusters == "auto" else []
        posteriors, wanted, scores = self._cluster((embedding, neighbors[1]), drawn, labels, ks, random_state)
        targets = neural.MapTargets(Z, neighbors[1], embedding, posteriors, drawn.relative_weight)
        # A module of the user's own is built anew with so many outputs.
        self.n_outputs_ = self.n_components + posteriors.shape[1]

        def as_fitted(trained: Any) -> dict[str, Any]:
            layers = self._weights(trained)
            read = _Reader(self._applier(layers), scale, self.n_components)
            found = self._attributes(source, read, labels, drawn, targets)
            return {**found, **scale, **scores, "encoder_layers_": layers, "history_": trained.history}

        with fit_progress(self, X, y, max_steps=self.max_epochs, step_name="epoch") as step:
            trained = self._train_map(targets, neighbors[0], seed, lambda now: step(lambda: now(as_fitted)))
        fitted = as_fitted(trained)
        self._warn_if_fewer(wanted, fitted["n_clusters_"])
        self._set_fitted(**fitted)
        return self

    @lazily
    def predict(self, X: Any, *, reject: float | None = None) -> np.ndarray:
        """Name the most likely class of each row, known or novel.

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
        codes = self._map(X)[1].argmax(axis=1)
        if reject is not None:
            distances = nearest_distances(self._standardized(X), self.reference_rows_)
            codes = self._reject(codes, distances, reject)
        return decode(codes, self.classes_, unlabeled_value=self.unlabeled_value)

    @lazily
    def predict_proba(self, X: Any) -> np.ndarray:
        """Posterior probability of each class, as the map has learned it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_clusters_)
            Columns in the order of ``classes_``; rows sum to 1.
        """
        return np.exp(self._map(X)[1])

    @lazily
    def transform(self, X: Any) -> np.ndarray:
        """Place of each row in the embedding, by the map.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        embedding : ndarray of shape (n_samples, n_components)
            In the coordinates of ``embedding_``.
        """
        return self._map(X)[0]

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
            The largest posterior of a novel class over the sum of the largest of a novel and of a known one: above one
            half exactly where ``predict`` names a novel class. 0 everywhere if no novel class was found, 1 if no class
            is known.
        """
        log_proba = self._map(X)[1]
        return novelty(log_proba, len(self.classes_) - len(self.novel_classes_))

    def score(self, X: Any, y: Any = None) -> float:
        """Mean silhouette width of the predicted classes in the embedding, on at most 5,000 fixed distinct rows.

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
        X = self._check_rows(X)
        rows = distinct_rows(
            RowBlocks(X, (None, None)), (None, None), max_rows=_MOST_SCORED, random_state=np.random.RandomState(0)
        ).rows
        embedding, log_proba = self._split(self._embed(X[rows]))
        return silhouette(pairwise_distances(embedding), log_proba.argmax(axis=1))

    def _check_rows(self, X: Any, *, reset: bool = False) -> np.ndarray:
        return self._validate_rows(X, reset=reset, dtype=[np.float64, np.float32])

    def _standardized(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return neural.standardize(self._check_rows(X), self.mean_, self.scale_)

    def _map(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """(embedding, log posteriors) of rows."""
        check_is_fitted(self)
        return self._split(self._embed(self._check_rows(X)))

    def _split(self, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return outputs[:, : self.n_components], log_softmax(outputs[:, self.outputs_], axis=1)

    def _n_outputs(self, n_features: int) -> int:
        return self.n_outputs_

    def _cluster(
        self,
        places: tuple[np.ndarray, np.ndarray],
        drawn: EmbeddedRows,
        labels: PartialLabels,
        ks: list[int],
        random_state: np.random.RandomState,
    ) -> tuple[np.ndarray, int, dict[str, Any]]:
        """(posteriors, number of classes wanted, further attributes); `places` are embedding and neighbors."""
        (embedding, neighbors), n_known = places, labels.n_known
        scores: dict[str, Any] = {}
        if self.n_clusters == "auto":
            wanted, values = choose_k(embedding, drawn, n_known, ks, self.n_init, random_state)
            scores["n_clusters_scores_"] = values
        else:
            wanted = n_known + self._n_novel_wanted(labels)
        posteriors = cluster_posteriors(
            embedding, neighbors, drawn, n_known, wanted - n_known, (self.n_init, random_state)
        )
        return posteriors, wanted, scores

    def _train_map(self, targets: Any, distances: np.ndarray, seed: int, on_epoch: Any) -> Any:
        Z = targets.rows
        near = distances[:, 0][distances[:, 0] > 0] if distances.shape[1] else np.empty(0)
        # Noise of the length of the way to the nearest neighbor.
        noise = float(np.median(near)) / np.sqrt(Z.shape[1]) if len(near) else 0.0
        encoder = self.encoder if self.encoder is not None else self._nested["encoder"]()
        network = neural.build_map(encoder, *Z.shape, self.n_outputs_, seed)
        objective = neural.EmbeddingDistillation(targets, noise=noise)
        repeats = -(-max(_FEWEST_TRAINED, 2) // len(Z))
        seen = np.tile(Z, (repeats, 1)) if repeats > 1 else Z
        phases = [neural.Phase("map", objective, self.max_epochs)]
        return self._train(
            seen, np.full(len(seen), UNLABELED), network, phases, seed, validation_share=0.0, on_epoch=on_epoch
        )

    def _attributes(
        self,
        source: RowSource,
        read: _Reader,
        labels: PartialLabels,
        drawn: EmbeddedRows,
        targets: Any,
    ) -> dict[str, Any]:
        """Labels, names and the like: what follows from the map, whose outputs are put in the order of the classes."""
        n_known, n_components = labels.n_known, self.n_components
        embedding, posteriors = targets.embedding, targets.posteriors
        places, codes = source.map(read)
        sizes = np.bincount(codes[labels.unlabeled], minlength=posteriors.shape[1])
        weight = np.maximum(posteriors.sum(axis=0), np.finfo(np.float64).tiny)
        centers = posteriors.T @ embedding / weight[:, None]
        novel = n_known + order_by_size(sizes[n_known:], centers[n_known:])
        kept = np.concatenate([np.arange(n_known), novel[sizes[novel] > 0]]).astype(np.intp)
        # Labeled rows may be mapped to an output that no unlabeled row is: it is no class.
        lost = np.flatnonzero(~np.isin(codes, kept))
        rank = np.zeros(posteriors.shape[1], dtype=np.int32)
        rank[kept] = np.arange(len(kept))
        codes = rank[codes]
        codes[lost] = read.outputs(source.take(lost))[:, n_components + kept].argmax(axis=1)
        embedded = codes[drawn.rows]
        np.copyto(codes, labels.codes, where=labels.codes != UNLABELED)
        places[drawn.members] = embedding[drawn.places]
        names = self._name_classes(labels.classes, len(kept) - n_known)
        Z = targets.rows
        references = evenly_spread(len(Z))
        return {
            **names,
            "labels_": decode(codes, names["classes_"]),
            "n_clusters_": len(kept),
            "embedding_": places,
            "agreement_": float((kept[embedded] == posteriors.argmax(axis=1)).mean()),
            "outputs_": n_components + kept,
            "n_outputs_": self.n_outputs_,
            "reference_rows_": Z[references],
            "distance_quantiles_": quantiles_by_class(
                nearest_distances(Z, Z[references], own=references), embedded, np.ones(len(Z)), len(kept)
            ),
            "_n_features_out": n_components,
        }


@dataclass(frozen=True)
class _Reader:
    """(places, codes of the outputs with the largest posterior) of blocks of rows.

    Attributes
    ----------
    apply : callable
        Outputs of the map for standardized rows.
    scale : dict
        ``mean_`` and ``scale_``.
    n_components : int
    """

    apply: Callable[[np.ndarray], np.ndarray]
    scale: dict[str, np.ndarray]
    n_components: int

    def outputs(self, rows: np.ndarray) -> np.ndarray:
        return self.apply(neural.standardize(rows, self.scale["mean_"], self.scale["scale_"]))

    def __call__(self, block: np.ndarray, row_data: tuple, parameters: Any) -> tuple[np.ndarray, np.ndarray]:
        outputs = self.outputs(block)
        return outputs[:, : self.n_components], outputs[:, self.n_components :].argmax(axis=1).astype(np.int32)


def _neighbors(Z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(distances, numbers) of the nearest other rows."""
    n_neighbors = min(_NEIGHBORS, len(Z) - 1)
    if n_neighbors < 1:
        return np.zeros((len(Z), 0)), np.zeros((len(Z), 0), dtype=np.intp)
    return NearestNeighbors(n_neighbors=n_neighbors).fit(Z).kneighbors()
