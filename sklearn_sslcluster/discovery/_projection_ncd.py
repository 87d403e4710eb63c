"""Projection-based novel class discovery (PBN): clusters in a space that the known classes have shaped."""

from __future__ import annotations

import copy
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from scipy.stats import loguniform, uniform
from sklearn.base import clone
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from .. import neural
from ..base import PartialLabelMixin, count_parameter, fit_method
from ..engine import RowBlocks, fit_progress
from ..labels import UNLABELED, PartialLabels
from ..neural import NetworkSettings
from ..numerics import LloydSettings, choose_n_clusters, match_clusters, nearest_centers, pose_problem, solve
from ._latent import BaseLatentDiscovery, adamw

# Smaller tables get the network of one with 16 columns, the fewest of the paper.
_NARROWEST = (12, 8)
_MAX_ITER, _TOL = 300, 1e-4
# Steps of an epoch at least, in batches neither too small for batch normalization nor larger than those of the paper.
_STEPS_PER_EPOCH, _SMALLEST_BATCH, _LARGEST_BATCH = 8, 32, 512

PROJECTION_NCD_SEARCH_SPACE = {
    "optimizer__lr": loguniform(1e-4, 1e-1),
    "encoder__dropout": uniform(0, 0.6),
    "embedding_size": uniform(0.05, 0.95),
    "w": uniform(0, 1),
}


def _encoder() -> NetworkSettings:
    return NetworkSettings(batch_norm=True, dropout=0.1)


class ProjectionNCD(BaseLatentDiscovery):
    """Novel class discovery by projection: a network learns from the known classes where the new ones are to be seen.

    An encoder is trained to tell the known classes apart (by the labeled rows) and to let a decoder rebuild all rows.
    In its embedding the unlabeled rows are clustered. What separates the known classes so has a say in what counts as
    near, while the reconstruction keeps what only the new ones need.

    Parameters
    ----------
    n_clusters : int or "auto", default="auto"
        Number of classes, known and novel together. An int below the number of known classes is raised to it, with a
        warning. ``"auto"`` takes the number with the largest mean silhouette in the embedding, among the number of
        known classes (no novel class, unless many unlabeled rows are unlike all labeled ones) up to `k_max`.
    w : float in [0, 1], default=0.5
        Weight of the classification; that of the reconstruction is 1 - w.
    reconstruction : {"sum", "mean"}, default="sum"
        The squared error of a row is summed over its columns (the paper's code and its published weights), or averaged
        (its text). ``w`` with "sum" is ``w / (w + d * (1 - w))`` with "mean", for `d` columns.
    normalize : bool, default=True
        Rows of the embedding have unit length.
    unlabeled : {"mixed", "novel"}, default="mixed"
        Whether unlabeled rows may belong to known classes. "novel": none does, as in the paper; their clusters are
        found apart from the known classes, which stay the means of their labeled rows.
    clusterer : estimator, default=None
        Divides the rows in the embedding: any clusterer of this package or of scikit-learn. Classes are then the means
        of its parts. None for k-means, in which labeled rows keep their class.
    embedding_size : int or float in (0, 1], default=0.7
        Columns of the embedding, or their share of the columns of `X` (at least 5).
    encoder : NetworkSettings or torch.nn.Module subclass, default=None
        Network of the encoder, which the decoder mirrors. None for the paper's: hidden layers of 3/4 and 1/2 of the
        columns (as for 16 columns if there are fewer), each with ReLU, batch normalization and dropout of 0.1; settings
        can be set as ``encoder__dropout`` and so on. A class of your own is called with (n_features, embedding size);
        models with one need torch to predict.
    n_networks : int, default=1
        Networks that are trained from different weights, and whose embeddings are clustered side by side. What they
        make of the novel classes differs more than anything else between seeds; several steady it, and take as many
        times as long.
    optimizer : OptimizerSettings, default=None
        How weights are updated; None for AdamW with weight decay 0.01. Settings can be set as ``optimizer__lr``.
    max_epochs : int, default=200
        Epochs of training.
    batch_size : int or "auto", default="auto"
        Rows of a training step. ``"auto"``: an eighth of the rows, at least 32 and at most the 512 of the paper, so
        that small tables are trained in as many steps an epoch as large ones are at least.
    n_init : int, default=20
        Runs of k-means in the embedding.
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
        Class of each training row: its label, or what ``predict`` says.
    cluster_centers_ : ndarray of shape (n_clusters_, embedding_size_)
        Center of each class in the embedding, in the order of ``classes_``.
    n_clusters_ : int
        Number of classes found.
    n_clusters_scores_ : dict of int to float
        With ``n_clusters="auto"``, the mean silhouette of each number of classes tried. Empty where the number was
        settled before.
    known_share_ : float
        Share of the unlabeled rows that lie nearest to a known class, in the embedding.
    embedding_size_ : int
        Columns of the embedding, of all networks together.
    encoder_layers_ : list of dict
        Weights of the encoder.
    mean_, scale_ : ndarray of shape (n_features_in_,)
        What rows are standardized by before the encoder.
    class_means_ : ndarray of shape (n_clusters_, n_features_in_)
        Mean of the standardized rows of each class.
    distance_quantiles_ : ndarray of shape (n_clusters_, 101)
        Percentiles of the distance of the standardized rows of each class to their mean, for
        ``predict(X, reject=...)``.
    history_ : dict of str to list of dict
        Loss of every epoch.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, when all are strings.

    See Also
    --------
    TabularNCD : Learns clusters and embedding together; assumes that no unlabeled row belongs to a known class.
    SemiSupervisedKMeans : The same clusters in the space of the rows, without a network.

    Notes
    -----
    With encoder :math:`\\phi`, decoder :math:`\\psi` and a linear head :math:`\\eta` followed by softmax, each step
    lowers

    .. math::
        w \\, \\operatorname{mean}_{i \\in L} \\bigl( -\\log \\eta_{y_i}(\\phi(x_i)) \\bigr)
        + (1 - w) \\, \\operatorname{mean}_i \\lVert x_i - \\psi(\\phi(x_i)) \\rVert^2

    over a batch of labeled (:math:`L`) and unlabeled rows (section 3.4 of [1]_).

    Differences from [1]_: unlabeled rows may belong to known classes (`unlabeled`). Clusters are found in the
    embedding as it was trained, of unit length, where the code drops the length and clusters the rows that are scored.
    Several networks (`n_networks`) have embeddings of unit length each, which are divided by the root of their number.
    ``"auto"`` compares silhouettes of all rows, labeled ones in their classes, instead of those of the unlabeled rows
    alone, so that no novel class is a possible answer. Columns of comparable width share one scale; put a
    :class:`~sklearn.preprocessing.StandardScaler` before for the paper's z-scores. Batches are drawn anew in every
    epoch, and are smaller for small tables (`batch_size`): 512 rows, as published, are a handful of steps there.

    Without any label the encoder is that of an autoencoder, and its embedding is clustered. With a label on every row
    no novel class is sought. Training has no start to fall back to: the loss, not the clusters, is what is lowered.

    Rows are trained on in lexicographic order (shuffled by the seed): the result does not depend on the order of the
    rows, nor on repeating them all.

    ``predict`` and ``labels_`` take the nearest of all centers; the rule of the paper, for rows that are known to be
    novel, is ``predict_novel``. The paper's search space is ``PROJECTION_NCD_SEARCH_SPACE``, for
    :class:`~sklearn_sslcluster.model_selection.HiddenClassSearchCV`.

    References
    ----------
    .. [1] C. Troisemaine, A. Reiffers-Masson, S. Gosselin, V. Lemaire, S. Vaton, "A practical approach to novel class
       discovery in tabular data", Data Mining and Knowledge Discovery, 2024, section 3.4.

    Examples
    --------
    >>> from sklearn_sslcluster.datasets import make_partially_labeled_blobs
    >>> from sklearn_sslcluster.discovery import ProjectionNCD
    >>> X, y, _ = make_partially_labeled_blobs(300, n_known=3, n_novel=2, n_features=6, random_state=0)
    >>> model = ProjectionNCD(max_epochs=50, random_state=0).fit(X, y)
    >>> model.novel_classes_
    array([3, 4])
    """

    _parameter_constraints: dict = {
        **BaseLatentDiscovery._parameter_constraints,
        "w": [Interval(Real, 0, 1, closed="both")],
        "reconstruction": [StrOptions({"sum", "mean"})],
        "normalize": ["boolean"],
        "unlabeled": [StrOptions({"mixed", "novel"})],
        "clusterer": [HasMethods(["fit"]), None],
        "n_networks": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 2, None, closed="left"), StrOptions({"auto"})],
    }
    _nested: ClassVar[dict[str, Callable[[], Any]]] = {"encoder": _encoder, "optimizer": adamw}

    def __init__(
        self,
        n_clusters: Any = "auto",
        *,
        w: float = 0.5,
        reconstruction: str = "sum",
        normalize: bool = True,
        unlabeled: str = "mixed",
        clusterer: Any = None,
        embedding_size: float = 0.7,
        encoder: Any = None,
        n_networks: int = 1,
        optimizer: Any = None,
        max_epochs: int = 200,
        batch_size: Any = "auto",
        n_init: int = 20,
        k_max: int | None = None,
        checkpoint: Any = None,
        unlabeled_value: Any = -1,
        device: str | None = None,
        random_state: Any = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.w = w
        self.reconstruction = reconstruction
        self.normalize = normalize
        self.unlabeled = unlabeled
        self.clusterer = clusterer
        self.embedding_size = embedding_size
        self.encoder = encoder
        self.n_networks = n_networks
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
    def fit(self, X: Any, y: Any = None) -> ProjectionNCD:
        """Learn the projection, and find the classes in it.

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
            If `X` has NaN or infinite values, or `y` has another length or holds floats that are not whole numbers.
        TypeError
            If `y` holds values that are no labels, dates for example.
        """
        rows = self._check_rows(X, reset=True)
        labels = self._encode_labels(y, rows)
        random_state = check_random_state(self.random_state)
        seed = int(random_state.randint(np.iinfo(np.int32).max))
        n_wanted = None if self.n_clusters == "auto" else labels.n_known + self._n_novel_wanted(labels)
        table = neural.table_in_memory(rows, labels)
        trained_on, scale, S = table.rows, table.scale, table.whole

        def as_fitted(trained: Any) -> tuple[dict[str, Any], int]:
            # A copy of the generator, since callbacks may ask for the attributes of each epoch.
            found = self._fitted_attributes(trained, S, labels, n_wanted, copy.deepcopy(random_state))
            return found[0] | scale, found[1]

        def on_epoch(now: Callable) -> bool:
            return step(lambda: now(as_fitted)[0])

        with fit_progress(self, X, y, max_steps=self.max_epochs, step_name="epoch") as step:
            trained = self._project(S[trained_on], labels.codes[trained_on], labels.n_known, seed, on_epoch)
            fitted, n_wanted = as_fitted(trained)
        self._warn_if_fewer(n_wanted, fitted["n_clusters_"])
        self._set_fitted(**fitted)
        if self._assumes_novel:
            self._warn_if_known()
        return self

    def _fitted_attributes(
        self,
        trained: Any,
        S: np.ndarray,
        labels: PartialLabels,
        n_wanted: int | None,
        random_state: np.random.RandomState,
    ) -> tuple[dict[str, Any], int]:
        """(fitted attributes, number of classes wanted): classes in the embedding of the trained network."""
        layers = self._weights(trained)
        placed = RowBlocks(self._placed(layers, S), (labels.codes if labels.n_known else None, None))
        problem = pose_problem(placed, labels.n_known, random_state)
        n_wanted, scores = self._choose_n_clusters(problem, labels, n_wanted, random_state)
        known, novel = self._find_classes(problem, labels, n_wanted, random_state)
        fitted = self._class_attributes(problem, labels, known, novel)
        codes = self._map(nearest_centers, placed.X, fitted["cluster_centers_"])[0]
        np.copyto(codes, labels.codes, where=~labels.unlabeled)
        return {
            **fitted,
            **self._far_rows(S, codes, fitted["n_clusters_"]),
            **scores,
            "_n_features_out": placed.X.shape[1],
            "encoder_layers_": layers,
            "embedding_size_": placed.X.shape[1],
            "history_": trained.history,
        }, n_wanted or 0

    @property
    def _assumes_novel(self) -> bool:  # type: ignore[override]
        return self.unlabeled == "novel"

    def _rows_of_a_step(self, n_rows: int) -> int:
        if self.batch_size != "auto":
            return self.batch_size
        return int(np.clip(n_rows // _STEPS_PER_EPOCH, _SMALLEST_BATCH, _LARGEST_BATCH))

    def _default_hidden(self, n_features: int) -> list[int]:
        return [max(3 * n_features // 4, _NARROWEST[0]), max(n_features // 2, _NARROWEST[1])]

    def _project(self, S: np.ndarray, codes: np.ndarray, n_known: int, seed: int, on_epoch: Callable) -> Any:
        """Train the network."""
        encoder = self._encoder_settings(S.shape[1])
        mirrored = encoder
        if not isinstance(encoder, NetworkSettings):
            if self.n_networks > 1:
                raise ValueError(f"n_networks={self.n_networks} needs NetworkSettings as encoder, got {encoder!r}.")
            mirrored = _encoder().set_params(hidden=self._default_hidden(S.shape[1]))
        n_outputs = self._n_outputs(S.shape[1])
        network = neural.build_projection(encoder, mirrored, S.shape, n_outputs, n_known, seed, self.n_networks)
        summed = self.reconstruction == "sum"
        objective = neural.ClassifiedReconstruction(self.w if n_known else 0.0, summed=summed, normalize=self.normalize)
        phases = [neural.Phase("projection", objective, self.max_epochs)]
        return self._train(S, codes, network, phases, seed, validation_share=0.0, on_epoch=on_epoch)

    def _placed(self, layers: list[dict[str, Any]], S: np.ndarray) -> np.ndarray:
        """Standardized rows in the embedding."""
        Z = self._apply(layers, S)
        if not self.normalize:
            return Z
        parts = [neural.apply_layers([{"kind": "normalize"}], part) for part in np.hsplit(Z, self.n_networks)]
        return np.hstack(parts) / np.sqrt(self.n_networks)

    def _represent(self, X: np.ndarray) -> np.ndarray:
        return self._placed(self.encoder_layers_, self._network_rows(X))

    def _choose_n_clusters(
        self, problem: Any, labels: PartialLabels, n_wanted: int | None, random_state: np.random.RandomState
    ) -> tuple[int | None, dict[str, Any]]:
        """The number asked for, or the one chosen; None where the clusterer finds it itself."""
        if n_wanted is not None:
            return n_wanted, {}
        if self.clusterer is not None and count_parameter(self.clusterer) is None:
            return None, {"n_clusters_scores_": {}}
        chosen, scores = choose_n_clusters(
            problem,
            self._candidates(labels.n_known),
            LloydSettings(self.n_init, _MAX_ITER, _TOL),
            random_state,
            move_known=not self._assumes_novel,
        )
        return chosen, {"n_clusters_scores_": scores}

    def _find_classes(
        self, problem: Any, labels: PartialLabels, n_wanted: int | None, random_state: np.random.RandomState
    ) -> tuple[np.ndarray, np.ndarray]:
        """Centers of known and of novel classes in the embedding."""
        if self.clusterer is None or not labels.unlabeled.any() or n_wanted == labels.n_known:
            n_novel = (n_wanted or labels.n_known) - labels.n_known
            settings = LloydSettings(self.n_init, _MAX_ITER, _TOL)
            centers = solve(problem, n_novel, settings, random_state, move_known=not self._assumes_novel)
            return centers.known, centers.novel
        Z = problem.source.X
        model = clone(self.clusterer)
        if model.get_params().get("random_state", 0) is None:
            model.set_params(random_state=int(random_state.randint(np.iinfo(np.int32).max)))
        codes = divide(model, Z, labels, n_wanted, assume_novel=self._assumes_novel)
        known = [
            Z[(labels.codes == c) if self._assumes_novel else (codes == c)].mean(axis=0) for c in range(labels.n_known)
        ]
        novel = [Z[(codes == c) & labels.unlabeled].mean(axis=0) for c in np.unique(codes[codes >= labels.n_known])]
        return np.reshape(known, (-1, Z.shape[1])), np.reshape(novel, (-1, Z.shape[1]))


def divide(
    clusterer: Any, Z: np.ndarray, labels: PartialLabels, n_clusters: int | None, *, assume_novel: bool
) -> np.ndarray:
    """Codes of the rows by a clusterer: known classes first; -1 for rows it leaves out.

    A clusterer of this package is given the labels. One of scikit-learn divides the unlabeled rows, or, where these may
    belong to known classes, all rows; parts are then matched with the known classes whose labeled rows they hold.

    Parameters
    ----------
    clusterer : estimator
        Is fitted.
    Z : ndarray of shape (n_rows, n_columns)
    labels : PartialLabels
    n_clusters : int or None
        Known and novel classes; None to leave it to the clusterer.
    assume_novel : bool
        No unlabeled row belongs to a known class.

    Returns
    -------
    codes : ndarray of shape (n_rows,)
    """
    n_known, count = labels.n_known, count_parameter(clusterer)
    takes_labels = isinstance(clusterer, PartialLabelMixin)
    used = np.flatnonzero(labels.unlabeled) if assume_novel and not takes_labels else np.arange(len(Z))
    if n_clusters is not None and count is not None:
        n_parts = n_clusters - n_known if len(used) < len(Z) else n_clusters
        clusterer.set_params(**{count: min(n_parts, len(used))})
    codes = labels.codes.astype(np.int64)
    if takes_labels:
        clusterer.set_params(unlabeled_value=UNLABELED)
        found = np.asarray(clusterer.fit(Z, labels.codes).labels_)
        codes[labels.unlabeled] = found[labels.unlabeled]
        return codes
    parts = np.asarray(clusterer.fit_predict(Z[used]))
    n_parts = int(parts.max(initial=-1)) + 1
    code_of_part = np.arange(n_parts) + n_known
    if not assume_novel and n_known:
        table = np.zeros((n_known, n_parts))
        both = (codes >= 0) & (parts >= 0)
        np.add.at(table, (codes[both], parts[both]), 1)
        classes, matched = match_clusters(table)
        code_of_part[matched] = np.where(table[classes, matched] > 0, classes, code_of_part[matched])
    found = np.where(parts >= 0, code_of_part[parts], UNLABELED)
    free = labels.unlabeled[used]
    codes[used[free]] = found[free]
    return codes
