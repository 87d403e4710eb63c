"""Deep embedded clustering: DEC and IDEC."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from .. import neural
from ..base import fit_method
from ._base import BaseDeepClustering


class DeepEmbeddedClustering(BaseDeepClustering):
    """Deep embedded clustering: an autoencoder whose embedding is drawn together around centers.

    Parameters
    ----------
    n_clusters : int or "auto", default=8
        Number of classes, known and novel together. ``"auto"`` takes the number with the largest mean silhouette in the
        embedding of the autoencoder.
    objective : {"idec", "dec"}, default="idec"
        "idec" [2]_ keeps the decoder and its reconstruction; "dec" [1]_ drops it.
    clustering_weight : float, default=1.0
        Weight of the clustering loss beside the reconstruction of "idec".
    embedding_size : int, default=10
        Columns of the embedding.
    encoder : None, "identity", NetworkSettings or torch.nn.Module subclass, default=None
        Network of the encoder; the decoder mirrors it. None for the default :class:`NetworkSettings`, whose settings
        can be set as ``encoder__hidden`` and so on. "identity": the embedding is the standardized rows. A class of your
        own is called with (n_features, embedding_size); models with one need torch to predict.
    optimizer : OptimizerSettings, default=None
        How weights are updated; settings can be set as ``optimizer__lr`` and so on.
    max_pretrain_epochs : int, default=100
        Epochs of the autoencoder at most; it stops when the reconstruction of held-out rows (a tenth) has not improved
        for ten epochs, and goes back to the best.
    max_epochs : int, default=150
        Epochs of the joint phase at most.
    batch_size : int, default=256
        Rows of a training step.
    tol : float or None, default=1e-3
        The joint phase ends when no larger share of the rows changes its cluster between two looks. None: it runs for
        all its epochs. Clusters may stay as they are for a while and move later, when the embedding has changed enough.
    n_init : int, default=20
        Runs of k-means in the embedding.
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
        Seed of weights, batches and k-means.

    Attributes
    ----------
    classes_ : ndarray of shape (n_clusters_,)
        Names of the classes: known ones in sorted order, then novel ones by decreasing size.
    novel_classes_ : ndarray of shape (n_novel,)
        Names of the novel classes.
    labels_ : ndarray of shape (n_samples,)
        Class of each training row: its label, or what ``predict`` says.
    cluster_centers_ : ndarray of shape (n_clusters_, embedding_size)
        Center of each class in the embedding, in the order of ``classes_``.
    n_clusters_ : int
        Number of classes found.
    n_clusters_scores_ : dict of int to float
        With ``n_clusters="auto"``, the mean silhouette in the embedding of each number of classes tried.
    known_share_ : float
        Share of the unlabeled rows that lie nearest to a known class.
    improved_ : bool
        Whether the clusters at the end have a higher modularity than those at the start, and are not fewer; the start
        is kept otherwise.
    modularity_ : float
        Of the clusters kept, on the graph of the nearest neighbors of the rows.
    history_ : dict of str to list of dict
        For the phases "pretrain" and "joint" one entry an epoch: losses, and after a look at the clusters the share of
        rows that changed theirs and the share of the smallest cluster.
    encoder_layers_ : list of dict
        Weights of the encoder, as numpy arrays.
    training_state_ : dict
        What ``partial_fit`` goes on from: weights of the whole network, and what optimizer and objective remember.
    mean_, scale_ : ndarray of shape (n_features,)
        By which rows are standardized.
    distance_quantiles_ : ndarray of shape (n_clusters_, 101)
        Percentiles of the distance of the training rows of each class to its center, for ``predict(X, reject=...)``.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, when all are strings.

    See Also
    --------
    DeepKMeans : Hard assignments instead of soft ones.
    NeighborEmbeddingClustering : Follows neighbors instead of centers; often better on curved data.

    Notes
    -----
    With embedding :math:`z_i`, centers :math:`\\mu_j` and reconstruction :math:`\\hat x_i` the loss is

    .. math::
        \\lVert x_i - \\hat x_i \\rVert^2 / d + \\gamma \\sum_j p_{ij} \\log \\frac{p_{ij}}{q_{ij}}, \\qquad
        q_{ij} \\propto \\frac{1}{1 + \\lVert z_i - \\mu_j \\rVert^2}, \\qquad
        p_{ij} \\propto \\frac{q_{ij}^2}{\\sum_i q_{ij}},

    with the target `p` computed on all rows about every 30 steps, but at most once an epoch, as in the papers (eq. 1 to
    3 of [1]_; some implementations take it from the batch). For labeled rows `p` is their class.

    Differences from the papers: a smaller network, sized by the table; Adam; early stopping of the autoencoder instead
    of a fixed number of epochs.

    The autoencoder sees rows with noise, and the start is the best by the modularity below of Ward's clusters (without
    labels) and several runs of k-means in its embedding, where the papers take one k-means of a plain autoencoder.
    `clustering_weight` is 1 instead of 0.1 of [2]_: clusters then have a higher modularity on digits.

    The better of start and end is kept, by the modularity of the clusters on the graph of the ten nearest neighbors of
    the rows (at most 5,000 of them): a criterion fixed beforehand that a collapsed solution cannot win. An end
    with fewer clusters than the start is not kept either. Labeled rows are held in their class.

    The joint phase stops, with a warning, when its smallest cluster holds less than a tenth of the rows that the
    smallest one of the start held; the start is kept then, whatever its modularity. Clusters that are small from the
    start are no such collapse. Without pretraining clusters may vanish and come back, and only start and end are
    compared.

    *When not to use it.* The target sharpens the clusters there are, so that a wrong start is mostly confirmed: k-means
    of a bad embedding stays what it is. Only where reconstruction outweighs the clusters (`clustering_weight` of 0.01
    or less, an encoder that is not pretrained, ``tol=None``), or labels of some rows say otherwise, have clearly wrong
    starts been seen to end right. :class:`DeepKMeans` moves more easily.

    Rows are trained on in lexicographic order (shuffled by the seed), as often as they stand in the table, these
    numbers divided by their greatest common divisor: the result does not depend on the order of the rows, nor on
    repeating them all, while a row that stands twice as often as the others counts twice. The modularity looks at
    distinct rows.

    References
    ----------
    .. [1] J. Xie, R. Girshick, A. Farhadi, "Unsupervised deep embedding for clustering analysis", ICML 2016.
    .. [2] X. Guo, L. Gao, X. Liu, J. Yin, "Improved deep embedded clustering with local structure preservation",
       IJCAI 2017.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from sklearn_sslcluster.deep import DeepEmbeddedClustering
    >>> X, _ = make_blobs(150, n_features=6, centers=3, random_state=0)
    >>> model = DeepEmbeddedClustering(3, max_pretrain_epochs=5, max_epochs=5, random_state=0).fit(X)
    >>> model.transform(X).shape
    (150, 10)
    """

    _parameter_constraints: dict = {
        **BaseDeepClustering._parameter_constraints,
        "objective": [StrOptions({"dec", "idec"})],
        "clustering_weight": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        n_clusters: Any = 8,
        *,
        objective: str = "idec",
        clustering_weight: float = 1.0,
        embedding_size: int = 10,
        encoder: Any = None,
        optimizer: Any = None,
        max_pretrain_epochs: int = 100,
        max_epochs: int = 150,
        batch_size: int = 256,
        tol: float | None = 1e-3,
        n_init: int = 20,
        k_max: int | None = None,
        checkpoint: Any = None,
        unlabeled_value: Any = -1,
        device: str | None = None,
        random_state: Any = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.objective = objective
        self.clustering_weight = clustering_weight
        self.embedding_size = embedding_size
        self.encoder = encoder
        self.optimizer = optimizer
        self.max_pretrain_epochs = max_pretrain_epochs
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.tol = tol
        self.n_init = n_init
        self.k_max = k_max
        self.checkpoint = checkpoint
        self.unlabeled_value = unlabeled_value
        self.device = device
        self.random_state = random_state

    @fit_method
    def fit(self, X: Any, y: Any = None) -> DeepEmbeddedClustering:
        """Learn an embedding and the classes in it.

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
            If `X` has NaN or infinite values, `y` has another length or holds floats that are not whole numbers, a
            setting of network or optimizer is out of its range, torch sees no such `device`, `checkpoint` belongs to
            another fit or comes without a `random_state`, or the loss is no longer finite.
        TypeError
            If `y` holds values that are no labels, dates for example.
        """
        return self._fit(X, y)

    def _objective(self, find_centers: Callable, codes: np.ndarray) -> Any:
        if self.objective == "dec":
            return neural.DeepEmbedding(find_centers, codes, 0.0, 1.0)
        return neural.DeepEmbedding(find_centers, codes, 1.0, self.clustering_weight)
