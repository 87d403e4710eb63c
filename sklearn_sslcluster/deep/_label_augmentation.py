"""Self-supervised label augmentation: a classifier that learns to recognize transformations beside the classes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from scipy.special import log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import check_random_state, get_tags
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, _routing_enabled, process_routing
from sklearn.utils.validation import check_is_fitted

from .. import neural
from ..base import EstimatorMixin, fit_method, row_errors
from ..engine import fit_progress
from ..labels import UNLABELED, PartialLabels, find_classes, warn_user
from ..neural import NetworkSettings, NeuralMixin, OptimizerSettings
from ._augmented_labels import (
    Distillation,
    check_probabilistic,
    column_logits,
    fit_distilled,
    fit_joint,
    log_probabilities,
    probabilities,
    seeded_clone,
    with_joint_weights,
)
from ._transforms import (
    NamedTransforms,
    OwnTransforms,
    draw_transforms,
    refuse_equal_views,
    views_of,
)

_NAMED = ("permute-columns", "flip-signs")


def _wide_layer() -> NetworkSettings:
    return NetworkSettings((256,))


class LabelAugmentationClassifier(NeuralMixin, EstimatorMixin, ClassifierMixin, BaseEstimator):
    """Classifier that learns, beside the class of a row, which transformation it has gone through.

    Training rows are shown once as they are and once after each of some transformations, and the classifier learns the
    joint label (class, transformation). It need not treat a transformed row as the original, which hurts where a
    transformation takes away what tells classes apart; it gets more to learn from few labels, and a row is judged by
    all of its transformed copies.

    Parameters
    ----------
    estimator : classifier, default=None
        Any classifier with ``predict_proba``. It is given arrays. None for a small network.
    transforms : {"permute-columns", "flip-signs"} or list of callable, default="permute-columns"
        Transformations beside the identity, which always is the first. The named ones move values between columns, or
        mirror them at the mean, by a fixed random pattern, in standardized columns. A function takes an array of rows
        and returns one of the same shape, each row by itself. An empty list: the classifier as it is.
    n_transforms : int, default=4
        Number of named transformations, the identity included. Functions are not counted by it.
    inference : {"aggregate", "single", "distilled"}, default="aggregate"
        How a row is read. "aggregate": the mean over all transformations. "single": as it is, which takes one pass.
        "distilled": by a further model that has learned to say in one pass what the aggregate says. The first two can
        be exchanged after the fit.
    temperature : float, default=1.0
        By which logits are divided while a model is distilled. Above 1, small probabilities count more.
    unlabeled_weight : float, default=0.0
        Weight of an unlabeled row in the loss of the network and of a distilled clone, where a labeled one has 1. By
        default they are left out.
    embedding_size : int, default=64
        Columns of the embedding that the heads of the network read.
    encoder : NetworkSettings or torch.nn.Module subclass, default=None
        Network without its heads; None for ``NetworkSettings((256,))``, whose settings can be set as
        ``encoder__hidden`` and so on. A class of your own is called with (n_features, embedding_size); models with one
        need torch to predict.
    optimizer : OptimizerSettings, default=None
        How weights of the network are updated; settings can be set as ``optimizer__lr`` and so on.
    max_epochs : int, default=100
        Epochs of the network.
    batch_size : int, default=64
        Rows of a training step, each of which comes with all its transformed copies.
    checkpoint : str or path, default=None
        File that keeps the state of the network after every epoch: a fit that was killed goes on from there. It is
        removed at the end. Needs a `random_state`.
    unlabeled_value : int, str, bool or None, default=None
        Value of `y` that stands for "no label", besides None, NaN and ``pd.NA``. By default -1 is a class.
    device : {"cpu", "cuda", "auto"}, default=None
        Of torch; None for the CPU. The fitted model predicts by numpy, wherever it was trained.
    random_state : int, RandomState instance or None, default=None
        Seed of named transformations, weights and batches, and of `estimator` where that has none of its own.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Names of the classes, in sorted order.
    n_transforms_ : int
        Number of transformations, the identity included.
    estimator_ : classifier
        Fitted to the joint labels ``class * n_transforms_ + transformation``, if `estimator` is given.
    distilled_estimator_ : classifier
        Fitted to the classes, with ``inference="distilled"``.
    encoder_layers_, joint_layers_, distilled_layers_ : list of dict
        Weights of the network and its heads, as numpy arrays, if `estimator` is None; the last with
        ``inference="distilled"``.
    history_ : dict of str to list of dict
        For the phase "classify" of the network one entry an epoch.
    column_orders_, column_signs_ : ndarray of shape (n_transforms_, n_features)
        Of named transformations: the column that each column takes its values from, and -1 where they are mirrored.
    mean_, scale_ : ndarray of shape (n_features,)
        By which rows are standardized, for the network and for named transformations.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, when all are strings.

    See Also
    --------
    sklearn.semi_supervised.SelfTrainingClassifier : Learns from unlabeled rows by its own predictions.

    Notes
    -----
    With transformations :math:`t_0, \\dots, t_{m-1}`, of which :math:`t_0` is the identity, and joint probabilities
    :math:`p(y, j \\mid x)`, the loss of [1]_ is the mean over labeled rows of

    .. math::
        -\\frac1m \\sum_j \\log p(y, j \\mid t_j(x)) .

    The aggregate is the softmax over classes of :math:`\\frac1m \\sum_j \\log p(y, j \\mid t_j(x))`, which is the same
    with the logits of a network; the single readout is that of the first term alone. Probabilities of `estimator`
    below 1e-10 count as that.

    The network distills in the same training: a second head on the embedding, with probabilities :math:`q(y \\mid x)`,
    adds :math:`-\\log q(y \\mid x) + T^2 \\operatorname{KL}(a_T \\Vert q_T)`, where :math:`a` is the aggregate, held
    fixed, and :math:`T` the temperature of both. A clone of `estimator` is fitted to each row once for each class,
    weighted by the aggregate plus 1 at the label, which is the same for a log loss and :math:`T = 1`; other
    temperatures soften the aggregate alone. Its `fit` has to take `sample_weight`.

    Of a row without a label the transformation is known all the same. With an `unlabeled_weight` the network also
    raises :math:`\\frac1m \\sum_j \\log \\sum_y p(y, j \\mid t_j(x))` of such rows, an addition to the paper, and
    distilled models learn what the aggregate says of them. It is 0 by default, because they cost accuracy where that
    was measured (see the user guide). The joint labels of `estimator` are those of labeled rows alone.

    With the identity alone (``transforms=[]`` or ``n_transforms=1``) `estimator` is given the rows and their classes,
    and its answers are passed on, whatever `inference`.

    Transformations have to be recognizable. The named ones are drawn from what the columns allow; if two columns have
    only two orders, or a constant one cannot be seen to be mirrored, ``n_transforms_`` is smaller, and a warning says
    so. Functions are kept by the parameter `transforms`:
    pickling a model takes functions that can be pickled, those of a module, no lambda; with skops their names have
    to be trusted beside ``utils.trusted_types()``.

    References
    ----------
    .. [1] H. Lee, S. J. Hwang, J. Shin, "Self-supervised label augmentation via input transformations", ICML 2020.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_sslcluster.deep import LabelAugmentationClassifier
    >>> def turned(X):
    ...     return np.rot90(X.reshape(-1, 8, 8), axes=(1, 2)).reshape(X.shape)
    >>> images, digit = load_digits(n_class=3, return_X_y=True)
    >>> model = LabelAugmentationClassifier(LogisticRegression(C=0.01), transforms=[turned]).fit(images, digit)
    >>> model.n_transforms_, model.predict(images[:3])
    (2, array([0, 1, 2]))
    """

    _parameter_constraints: dict = {
        **{name: rule for name, rule in NeuralMixin._neural_constraints.items() if name != "max_pretrain_epochs"},
        "estimator": [HasMethods("fit"), None],
        "transforms": [StrOptions(set(_NAMED)), list, tuple],
        "n_transforms": [Interval(Integral, 1, None, closed="left")],
        "inference": [StrOptions({"aggregate", "single", "distilled"})],
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "unlabeled_weight": [Interval(Real, 0, None, closed="left")],
        "encoder": [NetworkSettings, type, None],
        "unlabeled_value": "no_validation",
        "random_state": ["random_state"],
    }
    _nested: ClassVar[dict[str, Callable[[], Any]]] = {"encoder": _wide_layer, "optimizer": OptimizerSettings}

    def __init__(
        self,
        estimator: Any = None,
        *,
        transforms: Any = "permute-columns",
        n_transforms: int = 4,
        inference: str = "aggregate",
        temperature: float = 1.0,
        unlabeled_weight: float = 0.0,
        embedding_size: int = 64,
        encoder: Any = None,
        optimizer: Any = None,
        max_epochs: int = 100,
        batch_size: int = 64,
        checkpoint: Any = None,
        unlabeled_value: Any = None,
        device: str | None = None,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.transforms = transforms
        self.n_transforms = n_transforms
        self.inference = inference
        self.temperature = temperature
        self.unlabeled_weight = unlabeled_weight
        self.embedding_size = embedding_size
        self.encoder = encoder
        self.optimizer = optimizer
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.checkpoint = checkpoint
        self.unlabeled_value = unlabeled_value
        self.device = device
        self.random_state = random_state

    @fit_method
    def fit(self, X: Any, y: Any, **params: Any) -> LabelAugmentationClassifier:
        """Learn classes and transformations from rows, some or all of which have a label.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows. NaN for entries that are missing, if `estimator` takes them.
        y : array-like of shape (n_samples,)
            Labels: ints, strings, bools or categories, and None, NaN or ``pd.NA`` for rows without one. -1 is a class
            unless ``unlabeled_value=-1``.
        **params : dict
            For the ``fit`` of `estimator`, `sample_weight` for example; arrays with an entry for each row are repeated
            with the rows. With metadata routing enabled, what `estimator` has requested.

        Returns
        -------
        self : object
            The fitted classifier.

        Raises
        ------
        ValueError
            If `X` has infinite values, or NaN where they are not taken, `y` has another length, no label at all, or
            floats that are not whole numbers, `estimator` has no probabilities or takes no weights to be distilled by,
            functions of `transforms` return rows of another shape or the same rows, or a setting of network or
            optimizer is out of its range.
        TypeError
            If `y` holds values that are no labels, `transforms` what cannot be called, or `params` are given without
            an `estimator`.
        """
        X = self._check_rows(X, reset=True)
        labels = self._known_classes(X, y)
        params = self._fit_params(params, len(X))
        random_state = check_random_state(self.random_state)
        seed = int(random_state.randint(np.iinfo(np.int32).max))
        rows = self._rows_to_fit(X, labels.codes)
        fitted: dict[str, Any]
        views, fitted = self._transformed(X[rows], random_state)
        fitted |= {"classes_": _plain_bools(labels.classes), "n_transforms_": len(views)}
        with fit_progress(self, X, y, max_steps=None, step_name="epoch") as step:
            if self.estimator is None:
                report = partial(_report, step, fitted)
                learned = self._fit_network(views, labels.codes[rows], labels.n_known, seed, report)
            else:
                learned = self._fit_estimator(views, labels.codes[rows], labels.classes, seed, params)
                step(lambda: fitted | learned)
        self._set_fitted(**fitted, **learned)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Name the class of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            Names of ``classes_``.
        """
        check_is_fitted(self)
        X = self._check_rows(X)
        if self.n_transforms_ == 1 and self.estimator is not None:
            # Its own word, which for some classifiers is not the largest of its probabilities.
            return self.classes_[self.estimator_.predict(X)]
        return self.classes_[self._class_logits(X).argmax(axis=1)]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of the classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.
        """
        check_is_fitted(self)
        X = self._check_rows(X)
        fitted = self._single_model()
        if fitted is not None:
            return probabilities(fitted, X, len(self.classes_))
        return softmax(self._class_logits(X), axis=1)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Logarithms of the probabilities of the classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        log_proba : ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.
        """
        check_is_fitted(self)
        X = self._check_rows(X)
        if self._single_model() is not None:
            with np.errstate(divide="ignore"):
                return np.log(self.predict_proba(X))
        return log_softmax(self._class_logits(X), axis=1)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy on the rows that have a label.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,)
            Labels, as in ``fit``; rows without one are left out.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        score : float
            Share of these rows that ``predict`` names rightly.

        Raises
        ------
        ValueError
            If no row has a label.
        """
        predicted = self.predict(X)
        labels = self._known_classes(predicted, y)
        kept = ~labels.unlabeled
        codes = find_classes(predicted, labels.classes)
        weight = None if sample_weight is None else np.asarray(sample_weight)[kept]
        return float(accuracy_score(labels.codes[kept], codes[kept], sample_weight=weight))

    def get_metadata_routing(self) -> MetadataRouter:
        """Where parameters of ``fit`` go when metadata routing is enabled.

        Returns
        -------
        routing : MetadataRouter
            To the ``fit`` of `estimator`.
        """
        router = MetadataRouter(owner=self)
        if self.estimator is not None:
            router.add(estimator=self.estimator, method_mapping=MethodMapping().add(caller="fit", callee="fit"))
        return router

    def _check_rows(self, X: Any, *, reset: bool = False) -> np.ndarray:
        finite = "allow-nan" if get_tags(self).input_tags.allow_nan else True
        rows = self._validate_rows(X, reset=reset, ensure_all_finite=finite)
        with row_errors(X, type(self).__name__):
            return rows.astype(np.float64) if rows.dtype.kind == "O" else rows

    def _known_classes(self, X: Any, y: Any) -> PartialLabels:
        name = type(self).__name__
        if y is None:
            raise ValueError(f"{name} requires y to be passed, but the target y is None.")
        labels = self._encode_labels(y, X)
        if not labels.n_known:
            raise ValueError(f"{name} learns classes from labels, and no row of y has one.")
        return labels

    def _fit_params(self, params: dict[str, Any], n_rows: int) -> dict[str, Any]:
        """Parameters for the fit of the estimator, those with an entry for each row as arrays."""
        if self.estimator is None:
            if params:
                raise TypeError(f"fit got {sorted(params)[0]!r}, which the network takes none of; give an estimator.")
            return {}
        # The identity alone is passed on as it is: there is nothing to distill.
        alone = self.n_transforms == 1 if isinstance(self.transforms, str) else not len(self.transforms)
        check_probabilistic(self.estimator, "single" if alone else self.inference)
        if _routing_enabled():
            params = process_routing(self, "fit", **params).estimator.fit
        by_row = {
            name: np.asarray(value)
            for name, value in params.items()
            if hasattr(value, "__len__") and not isinstance(value, str | dict) and len(value) == n_rows
        }
        return dict(params) | by_row

    def _rows_to_fit(self, X: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Numbers of the rows to train on; for the network, whatever their order in the table."""
        if self.estimator is not None:
            return np.arange(len(X))
        rows = np.arange(len(X)) if self.unlabeled_weight else np.flatnonzero(codes != UNLABELED)
        return rows[neural.training_rows(X[rows], codes[rows])]

    def _transformed(
        self, X: np.ndarray, random_state: np.random.RandomState
    ) -> tuple[list[np.ndarray], dict[str, Any]]:
        """(rows after each transformation, fitted attributes that describe the transformations)."""
        scale = (
            {} if self.estimator is not None and not isinstance(self.transforms, str) else neural.measure(_filled(X))
        )
        if isinstance(self.transforms, str):
            named, views = draw_transforms(self.transforms, self.n_transforms, X, scale, random_state)
            if len(views) < self.n_transforms:
                warn_user(
                    f"n_transforms={self.n_transforms}, but the {X.shape[1]} columns allow only {len(views)} that can "
                    f"be told apart for transforms={self.transforms!r}; n_transforms={len(views)} was taken."
                )
            return views, scale | {"column_orders_": named.orders, "column_signs_": named.signs}
        for number, function in enumerate(self.transforms):
            if not callable(function):
                raise TypeError(f"transforms[{number}] must be a function of rows, got {function!r}.")
        views = views_of(OwnTransforms(self.transforms), X)
        refuse_equal_views(views)
        return views, scale

    def _fit_network(
        self, views: list[np.ndarray], codes: np.ndarray, n_classes: int, seed: int, report: Callable
    ) -> dict[str, Any]:
        """Fitted attributes of the network."""
        scale = neural.measure(views[0])
        Z = np.stack([neural.standardize(view, scale["mean_"], scale["scale_"]) for view in views])
        heads = {"joint_head": n_classes * len(views)}
        if self.inference == "distilled" and len(views) > 1:
            heads["single_head"] = n_classes
        encoder = _wide_layer() if self.encoder is None else self.encoder
        network = neural.build_classifier(encoder, (*Z[0].shape, self.embedding_size), heads, seed)
        weights = neural.AugmentationWeights(float(self.unlabeled_weight), float(self.temperature))
        phase = neural.Phase("classify", neural.LabelAugmentation(Z, n_classes, weights), self.max_epochs)

        def attributes(trained: Any) -> dict[str, Any]:
            layers = {"encoder_layers_": self._weights(trained), "joint_layers_": trained.layers("joint_head")}
            if "single_head" in heads:
                layers["distilled_layers_"] = trained.layers("single_head")
            return layers | {"history_": trained.history}

        trained = self._train(
            Z[0],
            codes,
            network,
            [phase],
            seed,
            validation_share=0.0,
            on_epoch=lambda now: report(now, attributes),
        )
        return attributes(trained)

    def _fit_estimator(
        self, views: list[np.ndarray], codes: np.ndarray, classes: np.ndarray, seed: int, params: dict[str, Any]
    ) -> dict[str, Any]:
        """Fitted attributes of the classifier, and of the one distilled from it."""
        own_seed = None if self.random_state is None else seed
        base = with_joint_weights(seeded_clone(self.estimator, own_seed), classes, len(views))
        joint, n_classes = fit_joint(base, views, codes, params), len(classes)
        if self.inference != "distilled" or len(views) == 1:
            return {"estimator_": joint}
        logits = column_logits(partial(log_probabilities, joint, n_classes * len(views)), views, n_classes, len(views))
        settings = Distillation(float(self.temperature), float(self.unlabeled_weight))
        single = with_joint_weights(seeded_clone(self.estimator, own_seed), classes, 1)
        distilled = fit_distilled(single, views[0], codes, logits, settings, params)
        return {"estimator_": joint, "distilled_estimator_": distilled}

    def _described_params(self) -> dict[str, str]:
        # The repr of a function names a place in memory; the objective is given what it does to the rows.
        return {name: value for name, value in super()._described_params().items() if name != "transforms"}

    def _single_model(self) -> Any:
        """The estimator whose probabilities are the answer as they are, or None."""
        if self.estimator is None:
            return None
        if self.n_transforms_ == 1:
            return self.estimator_
        return self._distilled("distilled_estimator_") if self.inference == "distilled" else None

    def _distilled(self, name: str) -> Any:
        if not hasattr(self, name):
            raise ValueError("inference='distilled' needs a fit with it: a model is distilled while fitting.")
        return getattr(self, name)

    def _class_logits(self, X: np.ndarray) -> np.ndarray:
        """Logits of the classes, up to a constant for each row."""
        n_classes, n_transforms = len(self.classes_), self.n_transforms_
        fitted = self._single_model()
        if fitted is not None:
            return log_probabilities(fitted, n_classes, X)
        if self.inference == "distilled" and n_transforms > 1:
            return neural.apply_layers(self._distilled("distilled_layers_"), self._embed(X))
        transforms = self._fitted_transforms()
        views = [X] if self.inference == "single" else views_of(transforms, X)
        if self.estimator is None:
            outputs: Callable = self._joint_logits
        else:
            outputs = partial(log_probabilities, self.estimator_, n_classes * n_transforms)
        return column_logits(outputs, views, n_classes, n_transforms)

    def _joint_logits(self, X: np.ndarray) -> np.ndarray:
        return neural.apply_layers(self.joint_layers_, self._embed(X))

    def _fitted_transforms(self) -> NamedTransforms | OwnTransforms:
        if hasattr(self, "column_orders_"):
            return NamedTransforms(self.column_orders_, self.column_signs_, self.mean_, self.scale_)
        if len(self.transforms) + 1 != self.n_transforms_:
            raise ValueError(
                f"transforms has {len(self.transforms)} functions, and {self.n_transforms_ - 1} at the fit."
            )
        return OwnTransforms(self.transforms)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        if self.estimator is not None:
            tags.input_tags.allow_nan = get_tags(self.estimator).input_tags.allow_nan
        return tags


def _report(step: Callable, fitted: dict[str, Any], now: Callable, attributes: Callable) -> bool:
    """Tell callbacks what a stop after this epoch would leave."""
    return step(lambda: fitted | now(attributes))


def _filled(X: np.ndarray) -> np.ndarray:
    """Rows with means of their columns in place of NaN; what has no number at all is 0."""
    X = np.asarray(X, dtype=np.float64)
    missing = np.isnan(X)
    if not missing.any():
        return X
    counts = (~missing).sum(axis=0)
    means = np.where(missing, 0.0, X).sum(axis=0) / np.maximum(counts, 1)
    return np.where(missing, means, X)


def _plain_bools(classes: np.ndarray) -> np.ndarray:
    """Names of classes; bools as an array of such, which scores of scikit-learn compare with labels."""
    return classes.astype(bool) if all(isinstance(name, bool) for name in classes.tolist()) else classes
