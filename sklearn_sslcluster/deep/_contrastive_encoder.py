"""An embedding in which two views of a row are alike."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from .. import neural
from ..base import EstimatorMixin, fit_method, lazily
from ..engine import fit_progress
from ..labels import warn_user
from ._batches import BatchwiseMixin
from ._pretraining import held_out_share, pretraining
from ._views import VIEWS, make_sampler, make_views


class ContrastiveEncoder(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, BatchwiseMixin, EstimatorMixin, BaseEstimator
):
    """Embedding learned by contrast: two views of a row are alike, those of other rows are not.

    A transformer: any clusterer or classifier comes after it in a pipeline. A projector on top of the encoder, which is
    dropped after training, takes the contrast.

    Parameters
    ----------
    embedding_size : int, default=64
        Columns of the embedding.
    views : {"corruption", "correlated-mask", "subset"} or callable, default="corruption"
        How two views of a row are made. "corruption" [1]_: the row itself, and one in which a share of the columns is
        drawn anew from all training rows. "correlated-mask" [2]_: a random column and those with the largest mutual
        information with it are masked in one view, all others in the other. "subset" [3]_: two of four overlapping sets
        of columns. A callable of your own gets (rows, random_state), rows in the units of `X`, and returns two arrays
        of their shape.
    objective : {"ntxent", "groco", "vicreg"}, default="ntxent"
        "ntxent" [4]_: the share of the other view among all rows of a batch. "groco" [5]_: positives come after the
        most similar negatives when similarities are sorted by a smooth network. "vicreg" [6]_: views agree, columns
        vary, and are uncorrelated; it needs no negatives.
    sampler : {"random", "one-per-cluster"}, default="random"
        "one-per-cluster" [7]_: before training, rows are divided into as many clusters of equal size as a batch has
        rows, and no batch holds two rows of one. They are found in the embedding of the autoencoder if
        `max_pretrain_epochs` is positive, else among the standardized rows.
    corruption_rate : float in (0, 1], default=0.3
        Share of the columns that "corruption" draws anew.
    temperature : float, default=0.2
        Divides the cosines of "ntxent" and "groco".
    n_negatives : int, default=10
        Negatives of a row in "groco"; time and memory of a step grow with their square. With one, rows may
        collapse to one place.
    projection_size : int, default=64
        Columns of the projection.
    encoder : None, "identity", NetworkSettings or torch.nn.Module subclass, default=None
        Network of the encoder. None for the default :class:`NetworkSettings`, whose settings can be set as
        ``encoder__hidden`` and so on. A class of your own is called with (n_features, embedding_size); models with one
        need torch to transform.
    optimizer : OptimizerSettings, default=None
        How weights are updated; settings can be set as ``optimizer__lr`` and so on.
    max_pretrain_epochs : int, default=0
        Epochs of a denoising autoencoder at most, before the contrast.
    max_epochs : int, default=200
        Epochs of the contrast at most; it stops when the loss of held-out rows (a tenth, of tables of at least 100
        rows) has not fallen for `patience` epochs, and goes back to the best.
    patience : int, default=20
        See `max_epochs`.
    batch_size : int, default=256
        Rows of a training step.
    checkpoint : str, path or None, default=None
        File that keeps the state after every epoch; a fit that was killed and is run again goes on from there. Removed
        at the end. Needs a `random_state`.
    unlabeled_value : int, str, bool or None, default=-1
        Label of rows without one, beside None and NaN.
    device : {"cpu", "cuda", "auto"} or None, default=None
        Where the network is trained; None is the CPU.
    random_state : int, RandomState instance or None, default=None
        Draws weights, batches and views.

    Attributes
    ----------
    encoder_layers_ : list of dict
        Layers of the encoder, for numpy.
    training_state_ : dict
        What ``partial_fit`` goes on from: weights of the whole network, and what optimizer and objective remember.
    mean_, scale_ : ndarray of shape (n_features_in_,)
        By which rows are standardized.
    effective_rank_ : float
        Exponential of the entropy of the variances along the principal axes of the embedding of the training rows: in
        how many directions it spreads.
    collision_rate_ : float
        Share of the batches of an epoch in which two rows have the same pseudo-cluster; only with
        ``sampler="one-per-cluster"``, for which it is 0.
    feature_information_ : ndarray of shape (n_features_in_, n_features_in_)
        Mutual information of the columns in nats; with ``views="correlated-mask"`` only.
    history_ : dict of str to list of dict
        Losses of each epoch, by phase.
    n_features_in_ : int
        Number of columns of `X`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, where all are strings.

    See Also
    --------
    PrototypeClustering : Clusters from two views.
    sklearn_sslcluster.model_selection.evaluate_representation : Whether an embedding is worth its name.

    Notes
    -----
    In all objectives rows of the same known class are positives of each other: all of them in "ntxent" (supervised
    contrastive learning [8]_), one drawn for each row in "groco", the mean of the class in "vicreg".

    Departures: [1]_ draws 0.6 of the columns anew, and has a temperature of 1 and one direction of the loss; [5]_
    compares with a steepness of 1, here the inverse of `temperature`, and takes negatives from the view of the anchor,
    here from the other, so that positives and negatives are seen through the same mask. Masks of "correlated-mask" and
    "subset" are drawn for a batch, since a network would know two views of a row by masks drawn for each; masked
    entries hold the mean of their column. Clusters of "one-per-cluster" have equal sizes, without which batches of
    [7]_ hold rows of the same cluster as soon as the small clusters have run out.

    An encoder whose projections lie all but in one place, and did not at the start, has collapsed: the weights of the
    start are kept, with a warning.

    References
    ----------
    .. [1] Bahri, D., Jiang, H., Tay, Y., Metzler, D. (2022). SCARF: self-supervised contrastive learning using random
       feature corruption. ICLR. arXiv:2106.15147.
    .. [2] Yao, T., et al. (2021). Self-supervised learning for large-scale item recommendations. CIKM.
       arXiv:2007.12865.
    .. [3] Ucar, T., Hajiramezanali, E., Edwards, L. (2021). SubTab: subsetting features of tabular data for
       self-supervised representation learning. NeurIPS.
    .. [4] Chen, T., Kornblith, S., Norouzi, M., Hinton, G. (2020). A simple framework for contrastive learning of
       visual representations. ICML.
    .. [5] Shvetsova, N., Petersen, F., Kukleva, A., Schiele, B., Kuehne, H. (2023). Learning by sorting:
       self-supervised learning with group ordering constraints. ICCV. arXiv:2301.02009.
    .. [6] Bardes, A., Ponce, J., LeCun, Y. (2022). VICReg: variance-invariance-covariance regularization for
       self-supervised learning. ICLR.
    .. [7] Chakraborty, S., Gosthipaty, A. R., Paul, S. (2020). G-SimCLR: self-supervised contrastive learning with
       guided projection via pseudo labelling. ICDM Workshops. arXiv:2009.12007.
    .. [8] Khosla, P., et al. (2020). Supervised contrastive learning. NeurIPS.

    Examples
    --------
    >>> from sklearn.cluster import KMeans
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn_sslcluster.deep import ContrastiveEncoder
    >>> X = load_iris().data
    >>> encoder = ContrastiveEncoder(8, max_epochs=5, random_state=0)
    >>> make_pipeline(encoder, KMeans(3, random_state=0)).fit_predict(X).shape
    (150,)
    """

    _accepts_dask = True
    _parameter_constraints: ClassVar[dict] = {
        **BatchwiseMixin._neural_constraints,
        # Of unit length, a single column could only be 1 or -1.
        "embedding_size": [Interval(Integral, 2, None, closed="left")],
        "encoder": "no_validation",
        "views": [StrOptions(set(VIEWS)), callable],
        "objective": [StrOptions({"ntxent", "groco", "vicreg"})],
        "sampler": [StrOptions({"random", "one-per-cluster"})],
        "corruption_rate": [Interval(Real, 0, 1, closed="right")],
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "n_negatives": [Interval(Integral, 1, None, closed="left")],
        "projection_size": [Interval(Integral, 2, None, closed="left")],
        "patience": [Interval(Integral, 1, None, closed="left")],
        "unlabeled_value": [Integral, str, "boolean", None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        embedding_size: int = 64,
        *,
        views: Any = "corruption",
        objective: str = "ntxent",
        sampler: str = "random",
        corruption_rate: float = 0.3,
        temperature: float = 0.2,
        n_negatives: int = 10,
        projection_size: int = 64,
        encoder: Any = None,
        optimizer: Any = None,
        max_pretrain_epochs: int = 0,
        max_epochs: int = 200,
        patience: int = 20,
        batch_size: int = 256,
        checkpoint: Any = None,
        unlabeled_value: Any = -1,
        device: str | None = None,
        random_state: Any = None,
    ) -> None:
        self.embedding_size = embedding_size
        self.views = views
        self.objective = objective
        self.sampler = sampler
        self.corruption_rate = corruption_rate
        self.temperature = temperature
        self.n_negatives = n_negatives
        self.projection_size = projection_size
        self.encoder = encoder
        self.optimizer = optimizer
        self.max_pretrain_epochs = max_pretrain_epochs
        self.max_epochs = max_epochs
        self.patience = patience
        self.batch_size = batch_size
        self.checkpoint = checkpoint
        self.unlabeled_value = unlabeled_value
        self.device = device
        self.random_state = random_state

    @fit_method
    def fit(self, X: Any, y: Any = None) -> ContrastiveEncoder:
        """Learn an embedding.

        Parameters
        ----------
        X : array-like or Dask collection of shape (n_samples, n_features)
            Training rows. Arrays of more than 1 GiB (as float64) and Dask arrays and DataFrames are not held in memory.
        y : array-like of shape (n_samples,), default=None
            Partial labels: ints, strings, bools or categories, and -1, None, NaN or ``pd.NA`` for rows without one.

        Returns
        -------
        self : object
            The fitted transformer.

        Raises
        ------
        ValueError
            If `X` has NaN or infinite values, `y` has another length or holds floats that are not whole numbers,
            `views` returns something else than two arrays, a setting of network or optimizer is out of its range, torch
            sees no such `device`, `checkpoint` belongs to another fit or comes without a `random_state`, or the loss is
            no longer finite.
        TypeError
            If `y` holds values that are no labels, dates for example.

        Warns
        -----
        UserWarning
            If the embedding has collapsed.
        """
        rows = self._check_rows(X, reset=True)
        labels = self._encode_labels(y, rows)
        seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        table = neural.training_table(rows, labels, seed)
        Z, scale = table.Z, table.scale
        if table.stream is not None and self.sampler != "random":
            raise ValueError(
                f"sampler={self.sampler!r} needs all rows in memory, and X is too large or a Dask collection; "
                "sampler='random' reads them as it goes."
            )
        views = make_views(self.views, self.corruption_rate, False, scale)
        sampler = make_sampler(self.sampler, self.batch_size, self.max_pretrain_epochs > 0, seed)
        with fit_progress(self, X, y, max_steps=None, step_name="epoch") as step:
            trained = self._train(
                Z,
                table.labels.codes,
                neural.build_projected(self.encoder, *Z.shape, (self.embedding_size, self.projection_size), seed),
                self._phases(self._objective(views, Z), sampler),
                seed,
                validation_share=held_out_share(len(Z)),
                on_epoch=lambda now: step(lambda: now(lambda reached: self._fitted(reached, Z)[0] | scale)),
                stream=table.stream,
            )
        fitted, collapsed = self._fitted(trained, Z)
        if collapsed:
            self._warn_of_collapse("start")
        if self.views == "correlated-mask":
            fitted["feature_information_"] = views.information
        if self.sampler != "random":
            fitted["collision_rate_"] = sampler.collision_rate(self.batch_size, seed)
        self._set_fitted(**fitted, **scale)
        return self

    def _follow(self, X: Any, y: Any) -> dict[str, Any]:
        rows, seed = self._next_rows(X), self._next_seed()
        codes = self._encode_labels(y, rows).codes
        # A single row comes twice, for batch normalization.
        Z, codes = (rows, codes) if len(rows) > 1 else (rows.repeat(2, axis=0), codes.repeat(2))
        information = getattr(self, "feature_information_", None)
        scale = {"mean_": self.mean_, "scale_": self.scale_}
        views = make_views(self.views, self.corruption_rate, False, scale, information)
        sampler = make_sampler(self.sampler, self.batch_size, False, seed)
        phase = neural.Phase("contrast", self._objective(views, Z), 1, hold_out=False, sampler=sampler)
        sizes, n_rows = (self.embedding_size, self.projection_size), self.training_state_["n_rows"]
        network = neural.build_projected(self.encoder, n_rows, Z.shape[1], sizes, seed)
        trained, kept = self._go_on(Z, codes, network, phase, seed)
        fitted, collapsed = self._fitted(trained, rows)
        if collapsed:
            self._warn_of_collapse("batch before")
            return {}
        return fitted | kept

    def _warn_of_collapse(self, before: str) -> None:
        warn_user(
            f"What ContrastiveEncoder had learned collapsed to all but one place, and the weights of the {before} are "
            "kept; another objective, or a smaller optimizer__lr?"
        )

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

    def _objective(self, views: Any, Z: np.ndarray) -> Any:
        if self.objective == "vicreg":
            return neural.VICReg(views, Z)
        if self.objective == "groco":
            return neural.GroupOrdering(views, Z, self.temperature, self.n_negatives)
        return neural.NTXent(views, Z, self.temperature)

    def _phases(self, objective: Any, sampler: Any) -> list:
        contrast = neural.Phase(
            "contrast", objective, self.max_epochs, patience=self.patience, restore_best=True, sampler=sampler
        )
        return [*pretraining(self.encoder, self.max_pretrain_epochs), contrast]

    def _check_rows(self, X: Any, *, reset: bool = False) -> np.ndarray:
        return self._validate_rows(X, reset=reset, dtype=[np.float64, np.float32])

    def _embed(self, X: np.ndarray) -> np.ndarray:
        # The contrast is one of angles: the lengths of outputs mean little.
        return neural.unit_rows(super()._embed(X))

    def _projected_spread(self, trained: Any, Z: np.ndarray, phase: str | None) -> float:
        """Spread of the projections, which collapse before the embedding does."""
        embedding = self._apply(self._weights(trained, phase), Z)
        return neural.spread(self._apply(trained.layers("projector", phase), embedding))

    def _fitted(self, trained: Any, Z: np.ndarray) -> tuple[dict[str, Any], bool]:
        """(fitted attributes, whether the embedding has collapsed)."""
        layers, collapsed = self._weights(trained), False
        if "contrast" in trained.starts:
            at_end, at_start = (self._projected_spread(trained, Z, phase) for phase in (None, "contrast"))
            collapsed = neural.has_lost_spread(at_start, at_end)
            if collapsed:
                layers = self._weights(trained, "contrast")
        embedding = neural.unit_rows(self._apply(layers, Z))
        return {
            "encoder_layers_": layers,
            "effective_rank_": neural.effective_rank(embedding),
            "history_": trained.history,
            "_n_features_out": embedding.shape[1],
            **self._begun(trained, "contrast" if collapsed else None, len(Z)),
        }, collapsed
