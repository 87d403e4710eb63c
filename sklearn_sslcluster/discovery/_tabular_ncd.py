"""TabularNCD: an embedding, a classifier of the known classes and clusters of the novel ones, learned together."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from scipy.stats import randint, uniform
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from .. import neural
from ..base import MixedRowsMixin, TableKinds, fit_method, order_by_size
from ..engine import RowBlocks, fit_progress
from ..labels import PartialLabels, decode, warn_user
from ..neural import NetworkSettings
from ..numerics import LloydSettings, choose_n_clusters, pose_problem
from ._encoding import Encoding, find_categorical
from ._latent import BaseLatentDiscovery, adamw
from ._tabular_heads import Heads, HeadStart, better_heads

# Smaller tables get the network of one with 16 columns, the fewest of the paper.
_NARROWEST = 16
_PRETRAIN_LR, _PRETRAIN_BATCH = 1e-3, 128
_MASK_SHARE, _ALPHA = 0.3, 2.0
_MEMORY = 2000
# The number of a text that is missing or was not seen in training.
_NO_CATEGORY = -1.0
_MAX_ITER, _TOL, _SWEEP_STARTS = 300, 1e-4, 10

TABULAR_NCD_SEARCH_SPACE = {
    "optimizer__lr": uniform(1e-6, 1e-2),
    "clustering_lr": uniform(1e-6, 1e-2),
    "top_k": uniform(0.01, 0.39),
    "n_neighbors": randint(1, 51),
    "w1": uniform(0.1, 0.9),
    "w2": uniform(0.1, 0.9),
    "encoder__dropout": uniform(0, 0.6),
    "encoder__activation": ["relu", "sigmoid"],
}


def _encoder() -> NetworkSettings:
    return NetworkSettings(dropout=0.05)


class TabularNCD(MixedRowsMixin, BaseLatentDiscovery):
    """Novel class discovery that learns embedding and clusters together, for tables with numbers and categories.

    An encoder is first trained to tell which entries of a row were replaced, and what they were. Then two heads learn
    in turn: one tells the known classes from each other and from "novel", the other divides the unlabeled rows so that
    similar ones come together. Both are to say the same of a row and of a point on the way to a near row. The method
    assumes that no unlabeled row belongs to a known class; it warns when more than a tenth of them look like one.

    Parameters
    ----------
    n_clusters : int or "auto", default="auto"
        Number of classes, known and novel together. An int below the number of known classes is raised to it, with a
        warning. ``"auto"`` takes, before training, the number with the largest Calinski-Harabasz index of all rows, up
        to `k_max`; or no novel class at all, as :class:`NCDKMeans` does.
    w1 : float in [0, 1], default=0.8
        Weight of the classification beside the consistency of its head.
    w2 : float in [0, 1], default=0.8
        Weight of the pairs beside the consistency of the head of the clusters.
    top_k : float in (0, 1], default=0.1
        Share of the unlabeled rows of a batch, those most cosine-similar in the embedding, that a row is to be in one
        cluster with.
    n_neighbors : int, default=10
        Near rows (by cosine similarity, among the batch and the 2,000 latest rows) one of which a row is moved towards.
    categorical_features : array-like of int, bool or str, default=None
        Numbers of the columns that hold categories, a mask of them, or their names. Any numbers may stand for the
        categories. Columns of text, and those that pandas calls categories, are among them without being named. A
        category not seen in training, and a missing text, is none of them.
    clustering_lr : float, default=None
        Learning rate of the second optimizer; None for that of the first, ``optimizer__lr``.
    init : {"k-means", "random"}, default="k-means"
        How the heads start: at the means of the known classes and at clusters of the pretrained embedding, or at
        random, as in the paper.
    embedding_size : int or float in (0, 1], default=None
        Columns of the embedding, or their share of the columns that the network reads (at least 5); None for as many
        as those, and at least 16.
    encoder : NetworkSettings or torch.nn.Module subclass, default=None
        Network of the encoder. None for the paper's: one hidden layer as wide as the columns that it reads (at least
        16), with ReLU and dropout of 0.05; settings can be set as ``encoder__dropout`` and so on. A class of your own
        is called with (number of columns, embedding size); models with one need torch to predict.
    optimizer : OptimizerSettings, default=None
        How weights are updated; None for AdamW with a learning rate of 5e-3 and weight decay 0.01.
    max_pretrain_epochs : int, default=30
        Epochs of the first phase, whose learning rate is 1e-3 and whose batches hold at most 128 rows.
    max_epochs : int, default=30
        Epochs of the second phase.
    batch_size : int, default=512
        Rows of a training step.
    n_init : int, default=20
        Runs of k-means in the pretrained embedding.
    k_max : int, default=None
        Largest number of classes that ``n_clusters="auto"`` tries; None for ``max(30, 3 * n_known)``.
    checkpoint : str or path, default=None
        File that keeps the state after every epoch: a fit that was killed goes on from there.
    unlabeled_value : int, str, bool or None, default=-1
        Value of `y` that stands for "no label", besides None, NaN and ``pd.NA``.
    device : {"cpu", "cuda", "auto"}, default=None
        Of torch; None for the CPU. The fitted model predicts by numpy, wherever it was trained.
    random_state : int, RandomState instance or None, default=None
        Seed of weights, batches and clusters.

    Attributes
    ----------
    classes_ : ndarray of shape (n_clusters_,)
        Names of the classes: known ones in sorted order, then novel ones by decreasing size.
    novel_classes_ : ndarray of shape (n_novel,)
        Names of the novel classes.
    labels_ : ndarray of shape (n_samples,)
        Class of each training row: its label, or what ``predict`` says, which may be a known class.
    n_clusters_ : int
        Number of classes, known ones included.
    n_clusters_scores_ : dict of int to float
        With ``n_clusters="auto"``, the Calinski-Harabasz index of each number of classes with a novel one that was
        tried. Empty where the number was settled before.
    known_share_ : float
        Share of the unlabeled rows that ``predict`` takes for a known class.
    embedding_size_ : int
        Columns of the embedding.
    encoder_layers_, class_layers_, cluster_layers_ : list of dict
        Weights of the encoder and of the two heads; the last output of ``class_layers_`` is "novel".
    improved_ : bool
        Whether the clusters learned are kept, and not those of the start.
    categories_ : list of ndarray
        Categories of each categorical column, in the order of the columns; texts for a column of text.
    categorical_columns_ : ndarray
        Numbers of the categorical columns.
    mean_, scale_ : ndarray of shape (n_inputs,)
        What encoded rows are standardized by.
    class_means_ : ndarray of shape (n_clusters_, n_inputs)
        Mean of the standardized rows of each class.
    distance_quantiles_ : ndarray of shape (n_clusters_, 101)
        Percentiles of the distance of the standardized rows of each class to their mean, for
        ``predict(X, reject=...)``.
    history_ : dict of str to list of dict
        Loss of every epoch of the phases "pretrain" and "joint".
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, when all are strings.

    See Also
    --------
    ProjectionNCD : Clusters after training; unlabeled rows may belong to known classes.

    Notes
    -----
    The first phase lowers (VIME) the cross-entropy of the mask of replaced entries (a share of 0.3, each column from
    another row of the batch) plus twice the squared error of the rebuilt row. In the second phase every batch makes two
    steps, each by an optimizer of its own over all weights (section 3 of [1]_):

    .. math::
        w_1 \\, L_{class} + (1 - w_1) \\, L_{reg}, \\qquad w_2 \\, L_{clust} + (1 - w_2) \\, L'_{reg}.

    :math:`L_{class}` is the cross-entropy of the known classes and "novel"; :math:`L_{clust}` the binary cross-entropy
    between the pseudo-labels of the pairs of unlabeled rows (1 if one is among the `top_k` most similar ones of the
    other) and :math:`p_i^\\top p_j`, where :math:`p` are the probabilities of the second head; :math:`L_{reg}` the mean
    squared difference of the probabilities of a row and of its view, which is interpolated with a near row of the same
    class, or unlabeled like it; categories are those most frequent among the near rows (SMOTE-NC).

    Differences from [1]_: the heads start at k-means (`init`); the weight 2 of VIME is that of the rebuilt row (as in
    the code; the text has it on the mask); near rows of a labeled row are of its class, and consistency is measured on
    probabilities (as in the text; the code has neither); a replaced entry that has not changed is not counted as
    replaced. Columns of comparable width share one scale; put a :class:`~sklearn.preprocessing.StandardScaler` before
    for the paper's z-scores.

    ``predict`` is not in the paper, which scores novel rows only: a row is novel if the first head finds that more
    likely than each of the known classes; then the second head decides, as it does in ``predict_novel``.

    The clusters of the second head are kept if the graph of the ten nearest neighbors of the unlabeled rows has at
    least the modularity with them that it has with those of the start, k-means of the pretrained embedding, about
    their means in the learned one; otherwise these take their place. If they have a lower one because a cluster has
    lost nine tenths of the rows that the smallest of the start held, or more, training has collapsed: a warning says
    so, and without any label the pretrained network is kept as well. A cluster without rows is dropped, with a warning.

    Without any label only the second head learns. With a label on every row there is no novel class.

    Rows are trained on in lexicographic order (shuffled by the seed): the result does not depend on the order of the
    rows, nor on repeating them all. The paper's search space is ``TABULAR_NCD_SEARCH_SPACE``, for
    :class:`~sklearn_sslcluster.model_selection.HiddenClassSearchCV`.

    References
    ----------
    .. [1] C. Troisemaine, J. Flocon-Cholet, S. Gosselin, S. Vaton, A. Reiffers-Masson, V. Lemaire, "A Method for
       Discovering Novel Classes in Tabular Data", IEEE International Conference on Knowledge Graph, 2022.
    .. [2] J. Yoon, Y. Zhang, J. Jordon, M. van der Schaar, "VIME: Extending the Success of Self- and Semi-supervised
       Learning to Tabular Domain", NeurIPS 2020.

    Examples
    --------
    >>> from sklearn_sslcluster.datasets import make_partially_labeled_blobs
    >>> from sklearn_sslcluster.discovery import TabularNCD
    >>> X, y, _ = make_partially_labeled_blobs(n_known=3, n_novel=2, random_state=0)
    >>> model = TabularNCD(max_pretrain_epochs=10, random_state=0).fit(X, y)
    >>> model.novel_classes_
    array([3, 4])
    """

    _parameter_constraints: dict = {
        **BaseLatentDiscovery._parameter_constraints,
        "max_pretrain_epochs": [Interval(Integral, 0, None, closed="left")],
        "w1": [Interval(Real, 0, 1, closed="both")],
        "w2": [Interval(Real, 0, 1, closed="both")],
        "top_k": [Interval(Real, 0, 1, closed="right")],
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "categorical_features": ["array-like", None],
        "clustering_lr": [Interval(Real, 0, None, closed="neither"), None],
        "init": [StrOptions({"k-means", "random"})],
    }
    _nested: ClassVar[dict[str, Callable[[], Any]]] = {
        "encoder": _encoder,
        "optimizer": lambda: adamw().set_params(lr=5e-3),
    }
    _assumes_novel = True

    def __init__(
        self,
        n_clusters: Any = "auto",
        *,
        w1: float = 0.8,
        w2: float = 0.8,
        top_k: float = 0.1,
        n_neighbors: int = 10,
        categorical_features: Any = None,
        clustering_lr: float | None = None,
        init: str = "k-means",
        embedding_size: float | None = None,
        encoder: Any = None,
        optimizer: Any = None,
        max_pretrain_epochs: int = 30,
        max_epochs: int = 30,
        batch_size: int = 512,
        n_init: int = 20,
        k_max: int | None = None,
        checkpoint: Any = None,
        unlabeled_value: Any = -1,
        device: str | None = None,
        random_state: Any = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.w1 = w1
        self.w2 = w2
        self.top_k = top_k
        self.n_neighbors = n_neighbors
        self.categorical_features = categorical_features
        self.clustering_lr = clustering_lr
        self.init = init
        self.embedding_size = embedding_size
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
    def fit(self, X: Any, y: Any = None) -> TabularNCD:
        """Learn the embedding and the two heads.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows; numbers or text stand for categories.
        y : array-like of shape (n_samples,), default=None
            Partial labels: ints, strings, bools or categories, and -1, None, NaN or ``pd.NA`` for rows without one.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If `X` has NaN or infinite values, `y` has another length or holds floats that are not whole numbers, or
            `categorical_features` names a column that `X` does not have.
        TypeError
            If `y` holds values that are no labels, dates for example.
        """
        types = TableKinds.of(X)
        rows = self._validate_mixed_rows(X, types.texts, reset=True, missing=_NO_CATEGORY)
        labels = self._encode_labels(y, rows)
        random_state = check_random_state(self.random_state)
        seed = int(random_state.randint(np.iinfo(np.int32).max))
        n_novel = None if self.n_clusters == "auto" else self._n_novel_wanted(labels)
        trained_on = neural.training_rows(rows, labels.codes)
        categorical = find_categorical(
            self.categorical_features, rows.shape[1], getattr(self, "feature_names_in_", None)
        )
        categorical = np.union1d(categorical, types.categorical).astype(np.int64)
        encoding = Encoding.of(rows, categorical, types.texts)
        encoded = encoding.encode(rows)
        scale = self._measure_encoded(encoded[trained_on], encoding)
        S = neural.standardize(encoded, scale["mean_"], scale["scale_"])
        with fit_progress(self, X, y, max_steps=None, step_name="epoch") as step:
            n_novel, scores = self._choose_n_novel(S, labels, n_novel, random_state)
            n_heads = min(n_novel, _n_unlike(S, labels)) if n_novel else 0
            start = HeadStart(labels.codes[trained_on], labels.n_known, n_heads, self.n_init, seed)
            as_read = {
                **scale,
                **scores,
                "categories_": encoding.named_categories,
                "categorical_columns_": categorical,
            }

            def as_fitted(trained: Any) -> dict[str, Any] | None:
                # There are no clusters before the joint phase.
                found = "joint" in trained.starts and self._fitted_attributes(trained, S, trained_on, labels, start)
                return as_read | found[0] if found else None

            def on_epoch(now: Callable) -> bool:
                return step(lambda: now(as_fitted))

            trained = self._learn(S[trained_on], start, encoding, seed, on_epoch)
        fitted, collapsed = self._fitted_attributes(trained, S, trained_on, labels, start)
        if collapsed:
            warn_user(
                f"A cluster of {type(self).__name__} all but vanished while training, and the clusters of its start "
                "are kept; a smaller optimizer__lr or n_clusters, or another top_k?"
            )
        self._warn_if_fewer(labels.n_known + n_novel, fitted["n_clusters_"])
        self._set_fitted(**as_read, **fitted)
        self._warn_if_known()
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each class: by the first head, that of "novel" divided by the second.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_clusters_)
            Columns in the order of ``classes_``. The largest need not be that of ``predict``, which first asks whether
            a row is novel.
        """
        Z = self._represent(self._check_fitted_rows(X))
        return self._heads().probabilities(Z)

    def predict_novel(self, X: Any) -> np.ndarray:
        """Name the novel class of each row by the second head, whatever the known classes.

        The rule of the paper, for rows that are known to belong to no known class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            Names of ``novel_classes_``.

        Raises
        ------
        ValueError
            If no novel class was found.
        """
        X = self._check_fitted_rows(X)
        if not len(self.novel_classes_):
            raise ValueError(f"This {type(self).__name__} found no novel class, so that none can be predicted.")
        return self.novel_classes_[self._heads().cluster_codes(self._represent(X))]

    def novelty_score(self, X: Any) -> np.ndarray:
        """Probability that a row belongs to none of the known classes, by the first head.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        score : ndarray of shape (n_samples,)
            In [0, 1]; 0 everywhere if no novel class was found, 1 if no class is known.
        """
        proba = self.predict_proba(X)
        n_novel = len(self.novel_classes_)
        if n_novel in (0, len(self.classes_)):
            return np.full(len(proba), 1.0 if n_novel else 0.0)
        return proba[:, len(self.classes_) - n_novel :].sum(axis=1).clip(0, 1)

    def _default_hidden(self, n_features: int) -> list[int]:
        return [max(n_features, _NARROWEST)]

    def _n_outputs(self, n_features: int) -> int:
        return max(n_features, _NARROWEST) if self.embedding_size is None else super()._n_outputs(n_features)

    def _measure_encoded(self, encoded: np.ndarray, encoding: Encoding) -> dict[str, np.ndarray]:
        """Mean and scale of the numbers; the 0 and 1 of categories stay as they are."""
        numbers = list(encoding.columns[0])
        fitted = {"mean_": np.zeros(encoded.shape[1]), "scale_": np.ones(encoded.shape[1])}
        if numbers:
            for name, values in neural.measure(encoded[:, numbers]).items():
                fitted[name][numbers] = values
        return fitted

    def _network_rows(self, X: np.ndarray) -> np.ndarray:
        encoding = self._encoding()
        return neural.standardize(encoding.encode(X), self.mean_, self.scale_)

    def _encoding(self) -> Encoding:
        return Encoding.named(self.n_features_in_, self.categorical_columns_, self.categories_)

    def _check_rows(self, X: Any, *, reset: bool = False) -> np.ndarray:
        return self._validate_mixed_rows(X, self._encoding().texts, reset=reset, missing=_NO_CATEGORY)

    def _represent(self, X: np.ndarray) -> np.ndarray:
        return self._apply(self.encoder_layers_, self._network_rows(X))

    def _choose_n_novel(
        self, S: np.ndarray, labels: PartialLabels, n_novel: int | None, random_state: np.random.RandomState
    ) -> tuple[int, dict[str, Any]]:
        """The number of novel classes asked for, or the one chosen in the space of the rows."""
        if n_novel is not None:
            return n_novel, {}
        problem = pose_problem(RowBlocks(S, (_codes(labels), None)), labels.n_known, random_state)
        chosen, scores = choose_n_clusters(
            problem,
            self._candidates(labels.n_known),
            LloydSettings(_SWEEP_STARTS, _MAX_ITER, _TOL, 1, 1),
            random_state,
            move_known=False,
            criterion="calinski_harabasz",
        )
        return chosen - labels.n_known, {"n_clusters_scores_": scores}

    def _learn(self, S: np.ndarray, start: HeadStart, encoding: Encoding, seed: int, on_epoch: Callable) -> Any:
        """Run the two phases."""
        columns = neural.Columns(*encoding.columns)
        encoder, n_outputs = self._encoder_settings(S.shape[1]), self._n_outputs(S.shape[1])
        shape = (*S.shape, encoding.n_columns)
        network = neural.build_tabular(encoder, shape, n_outputs, start.n_known, start.n_novel, seed)

        def place_heads(embedding: Any) -> None:
            start.place(network, embedding)

        heads = neural.DiscoveryHeads(
            (self.w1, self.w2),
            self.top_k,
            neural.ConsistencySettings(columns, self.n_neighbors, _MEMORY),
            start.n_known,
            start.n_novel,
            place_heads if self.init == "k-means" else start.find,
        )
        optimizer = self.optimizer or self._nested["optimizer"]()
        rates = (optimizer.lr, self.clustering_lr or optimizer.lr)
        phases = [neural.Phase("joint", heads, self.max_epochs, lr=rates)]
        if self.max_pretrain_epochs:
            masked = neural.MaskedReconstruction(columns, _MASK_SHARE, _ALPHA)
            batch_size = min(self.batch_size, _PRETRAIN_BATCH)
            pretrain = neural.Phase(
                "pretrain", masked, self.max_pretrain_epochs, lr=_PRETRAIN_LR, batch_size=batch_size
            )
            phases.insert(0, pretrain)
        return self._train(S, start.codes, network, phases, seed, validation_share=0.0, on_epoch=on_epoch)

    def _fitted_attributes(
        self, trained: Any, S: np.ndarray, trained_on: np.ndarray, labels: PartialLabels, start: HeadStart
    ) -> tuple[dict[str, Any], bool]:
        """(fitted attributes, whether the training has collapsed)."""
        layers = self._weights(trained)
        heads = Heads(trained.layers("class_head"), trained.layers("cluster_head"), start.n_known, start.n_novel)
        heads, improved, collapsed = better_heads(heads, start, S[trained_on], self._apply(layers, S[trained_on]))
        if collapsed and not start.n_known:
            # Nothing but the pairs has shaped the network, and they have drawn it together.
            layers, heads = self._weights(trained, "joint"), start.heads()
        named = self._named(S, self._apply(layers, S), labels, heads)
        return named | {"encoder_layers_": layers, "improved_": improved, "history_": trained.history}, collapsed

    def _named(self, S: np.ndarray, Z: np.ndarray, labels: PartialLabels, heads: Heads) -> dict[str, Any]:
        """Names, labels and heads: clusters in the order of their names, without those that no row belongs to."""
        n_known, free = labels.n_known, labels.unlabeled
        if heads.n_novel:
            cluster, codes = heads.cluster_codes(Z), heads.codes(Z)
            kept = np.unique(cluster[free])
            sizes = np.array([(codes[free] == n_known + j).sum() for j in kept])
            means = np.array([S[free & (cluster == j)].mean(axis=0) for j in kept])
            heads = heads.ordered(kept[order_by_size(sizes, means)])
        codes = heads.codes(Z)
        known_share = float((codes[free] < n_known).mean()) if free.any() else 0.0
        np.copyto(codes, labels.codes, where=~free)
        names = self._name_classes(labels.classes, heads.n_novel)
        n_classes = n_known + heads.n_novel
        return {
            **names,
            **self._far_rows(S, codes, n_classes),
            "class_layers_": heads.known,
            "cluster_layers_": heads.clusters,
            "labels_": decode(codes, names["classes_"]),
            "n_clusters_": n_classes,
            "known_share_": known_share,
            "embedding_size_": Z.shape[1],
            "_n_features_out": Z.shape[1],
        }

    def _heads(self) -> Heads:
        n_novel = len(self.novel_classes_)
        return Heads(self.class_layers_, self.cluster_layers_, len(self.classes_) - n_novel, n_novel)

    def _assign(self, Z: np.ndarray) -> np.ndarray:
        return self._heads().codes(Z)


def _n_unlike(S: np.ndarray, labels: PartialLabels) -> int:
    """Distinct unlabeled rows that equal no labeled one."""
    inverse = np.unique(S, axis=0, return_inverse=True)[1].ravel()
    return len(np.setdiff1d(inverse[labels.unlabeled], inverse[~labels.unlabeled]))


def _codes(labels: PartialLabels) -> np.ndarray | None:
    return labels.codes if labels.n_known else None
