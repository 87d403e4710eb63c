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
from ..engine import RowBlocks, fit_progress
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
    """Manifold linearizing and clustering: an embedding in which each class spans a linear subspace of its own.

    For classes that cross, or lie inside one another, where centers and often neighbors mislead: rows of one class are
    near a subspace, or a curved surface that a network can straighten. The network raises the coding rate of
    all rows and lowers that of the classes, and classes are read from a doubly stochastic membership of the rows.

    Parameters
    ----------
    n_clusters : int or "auto", default=8
        Number of classes, known and novel together. ``"auto"`` takes the number with the shortest code, see Notes.
    embedding_size : int, default=16
        Columns of the embedding: more than the dimensions of all classes together. A training step takes time and
        memory with its square.
    squared_error : float, default=0.1
        Rows of the embedding, which have unit length, are coded up to this mean squared error.
    temperature : float, default=0.175
        Entropic regularization of the membership, whose affinities are in [0, 1]. Smaller values give a row fewer
        companions.
    sparsity : float, default=0.05
        Weight of half the squared norm of the membership of a batch.
    neighbor_weight : float, default=20.0
        How strongly rows are held beside their ten nearest neighbors.
    n_sinkhorn : int, default=10
        Half-iterations, over rows or columns, by which the membership is made doubly stochastic while training; an odd
        number counts as the next even one.
    cluster_head : {"copied", "shared"}, default="copied"
        "copied": the membership is that of a second head, which the joint phase begins as a copy of the first [1]_.
        "shared": it is that of the embedding itself [2]_.
    encoder : None, "identity", NetworkSettings or torch.nn.Module subclass, default=None
        Network of the encoder. None for one hidden layer of 256 units with GELU; settings can be set as
        ``encoder__hidden`` and so on. "identity": a linear layer, for classes that are near linear or affine subspaces
        as they are. A class of your own is called with (n_features, embedding_size); models with one need torch to
        predict.
    optimizer : OptimizerSettings, default=None
        How weights are updated; None for Adam with a learning rate of 0.002. Settings can be set as ``optimizer__lr``
        and so on.
    max_pretrain_epochs : int, default=30
        Epochs of the warm-up.
    max_epochs : int, default=60
        Epochs of the joint phase.
    batch_size : int, default=256
        Rows of a training step, each of which has a class of its own in the loss.
    n_init : int, default=10
        Runs of k-means when classes are read.
    k_max : int, default=None
        Largest number of classes that ``n_clusters="auto"`` tries; None for ``max(30, 3 * n_known)``.
    checkpoint : str or path, default=None
        File that keeps the state after every epoch: a fit that was killed goes on from there, and ends with the same
        labels as one that was not. It is removed at the end. Needs a `random_state`.
    unlabeled_value : int, str, bool or None, default=-1
        Value of `y` that stands for "no label", besides None, NaN and ``pd.NA``.
    device : {"cpu", "cuda", "auto"}, default=None
        Of torch; None for the CPU. The fitted model predicts by numpy, wherever it was trained.
    random_state : int, RandomState instance or None, default=None
        Seed of weights, batches and k-means, and of the sample of a large table.

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
        With ``n_clusters="auto"``, minus the nats a row of the code of each number of classes tried.
    subspace_bases_ : list of ndarray of shape (embedding_size, rank)
        For each class an orthonormal basis of the smallest subspace of the embedding with 95 % of its energy.
    class_moments_ : ndarray of shape (n_clusters_, embedding_size, embedding_size)
        Sums of the outer products of the embedded rows of each class with themselves.
    class_weights_ : ndarray of shape (n_clusters_,)
        Rows of each class that these are sums of.
    rate_reduction_ : float
        Nats a row that are saved when the embedding is coded class by class.
    improved_ : bool
        Whether the classes at the end save more of the code of the standardized rows than those at the start of the
        joint phase, and are not fewer; the start is kept otherwise.
    modularity_ : float
        Of the classes kept, on the graph of the nearest neighbors of the rows.
    history_ : dict of str to list of dict
        For the phases "warm-up" and "joint" one entry an epoch with the loss.
    encoder_layers_ : list of dict
        Weights of the encoder, as numpy arrays.
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
    NeighborEmbeddingClustering : For classes that do not cross.
    sklearn_sslcluster.mixture.SemiSupervisedGaussianMixture : Linear subspaces as flat ellipses, without a network.

    Notes
    -----
    *Loss.* With the embedding :math:`Z`, `n` rows of `p` columns and unit length, and a membership :math:`\\Pi` whose
    column `j` is a soft class around row `j`,

    .. math::
        -R(Z) + R_c(Z, \\Pi) + \\tfrac{\\lambda}{2} \\lVert \\Pi \\rVert_F^2, \\qquad
        R(Z) = \\tfrac12 \\log\\det\\Bigl(I + \\tfrac{p}{n \\varepsilon^2} Z^\\top Z\\Bigr), \\\\
        R_c(Z, \\Pi) = \\sum_j \\frac{\\operatorname{tr} \\Pi_j}{2n} \\log\\det\\Bigl(I
        + \\frac{p}{\\operatorname{tr} \\Pi_j\\, \\varepsilon^2} Z^\\top \\operatorname{diag}(\\Pi_j) Z\\Bigr)

    as in [1]_, where :math:`\\varepsilon^2` is `squared_error` and :math:`\\lambda` is `sparsity`. :math:`\\Pi / n`
    maximizes :math:`\\langle \\Pi, |C C^\\top| \\rangle` plus `temperature` times the entropy among matrices with
    uniform marginals, with the rows :math:`C` of the cluster head. Gradients flow through Sinkhorn's iterations. The
    `n` determinants of a batch of `n` rows are one product of matrices and one batched factorization, in :math:`O(n^2
    p^2 + n p^3)` time and :math:`O(n p^2 + n^2)` memory, whatever the size of the table.

    *Warm-up.* First :math:`-R(Z)` is lowered alone, so that :math:`\\Pi` begins with something to tell apart, and then
    the head is copied.

    *Neighbors.* The papers begin with images whose views are known to belong together. A table has no views. In their
    place `neighbor_weight` times one minus the cosine between a row and a point on the way to one of its ten nearest
    neighbors is added to the loss, in both phases.

    *Reading.* Classes are read from at most 2,000 distinct rows: k-means among the leading eigenvectors of
    :math:`\\Pi`, and in the embedding; rows then move to the class whose coding length they add least to [3]_, and the
    result that saves more of the code of the standardized rows is taken. ``predict`` is this rule of the least length,
    and the probabilities are the softmax of minus these lengths.

    *Number of classes.* ``"auto"`` compares coding lengths [4]_ in the embedding after the warm-up, at a squared error
    five times as large: to a fine code the parts of a curved class are classes. If rows without a label lie outside the
    subspaces of the known classes, there is at least one novel class. Classes with few more rows than `embedding_size`
    are not worth a subspace of their own to the code.

    *Partial labels.* In :math:`\\Pi`, affinities of rows of one known class are 1, and rows of different known classes
    share no class.

    *Start and end.* Classes are read at the start of the joint phase and at its end, in the same number, and those with
    the larger rate reduction :math:`R - R_c` of the *standardized rows* (of mean square 1, up to `squared_error`) are
    kept: a criterion fixed beforehand that the network cannot shape, and that a collapsed solution, whose rate
    reduction is 0, cannot win. When a class has all but vanished, there is a warning, and the start is kept. The
    modularity that other estimators here go by looks at neighbors, and prefers wrong ends where classes cross.

    *When not to use it.* Where classes are linear subspaces and nothing else, a mixture finds them faster; where they
    do not touch, :class:`NeighborEmbeddingClustering` is simpler. Surfaces that are folded several times are not found.
    The joint phase may end at other classes than those of the warm-up, and the better ones are seen only if one of the
    two is right. ``"auto"`` counts best with ``encoder="identity"``: a hidden layer gives parts of curved classes
    subspaces of their own.

    *Departures from the papers.* Adam and a small network instead of descent with momentum and a large one; ten
    half-iterations instead of five; the part that holds neighbors together; classes are read by the least coding
    length, and counted by a coarser code.

    Rows are trained on in lexicographic order (shuffled by the seed), as often as they stand in the table, these
    numbers divided by their greatest common divisor.

    References
    ----------
    .. [1] T. Ding, S. Tong, K. H. R. Chan, X. Dai, Y. Ma, B. D. Haeffele, "Unsupervised manifold linearizing and
       clustering", ICCV 2023, arXiv 2301.01805.
    .. [2] T. Chu, S. Tong, T. Ding, X. Dai, B. D. Haeffele, R. Vidal, Y. Ma, "Image clustering via the principle of
       rate reduction in the age of pretrained models", ICLR 2024.
    .. [3] J. Wright, Y. Tao, Z. Lin, Y. Ma, H.-Y. Shum, "Classification via minimum incremental coding length", SIAM
       Journal on Imaging Sciences 2, 2009.
    .. [4] Y. Ma, H. Derksen, W. Hong, J. Wright, "Segmentation of multivariate mixed data via lossy data coding and
       compression", IEEE Transactions on Pattern Analysis and Machine Intelligence 29, 2007.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_sslcluster.deep import ManifoldLinearizingClustering
    >>> rng = np.random.RandomState(0)
    >>> planes = [rng.normal(size=(100, 2)) @ rng.normal(size=(2, 12)) for _ in range(2)]
    >>> model = ManifoldLinearizingClustering(2, encoder="identity", max_epochs=5, random_state=0)
    >>> labels = model.fit_predict(np.vstack(planes))
    >>> len(set(labels[:100])), len(set(labels[100:]))
    (1, 1)
    """

    _parameter_constraints: dict = {
        "n_clusters": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "squared_error": [Interval(Real, 0, None, closed="neither")],
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "sparsity": [Interval(Real, 0, None, closed="left")],
        "neighbor_weight": [Interval(Real, 0, None, closed="left")],
        "n_sinkhorn": [Interval(Integral, 1, None, closed="left")],
        "cluster_head": [StrOptions({"shared", "copied"})],
        **NeuralMixin._neural_constraints,
        # Of unit length, a single column could only be 1 or -1.
        "embedding_size": [Interval(Integral, 2, None, closed="left")],
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
        table = neural.table_in_memory(rows, labels)
        trained_on, scale, Z = table.rows, table.scale, table.whole
        drawn = draw_rows(RowBlocks(rows), labels, _MOST_READ, random_state)
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
        # Numbers of classes are chosen once: more of them save more.
        end = task.reader.read(self._directions(last, read), [start.n_classes])
        collapsed = self._has_collapsed(start, end)
        improved = bool(end.saved > start.saved and not collapsed and end.n_classes >= start.n_classes)
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
