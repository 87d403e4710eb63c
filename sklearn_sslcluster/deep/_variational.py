"""Variational deep embedding: a variational autoencoder whose prior is a mixture of Gaussians."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ..base import MixedRowsMixin, PartialLabelMixin, TableKinds, fit_method
from ..engine import fit_progress
from ..labels import decode, warn_user
from ..neural import NeuralMixin
from ._variational_fit import VariationalFit
from ._variational_model import VariationalModel


class VariationalDeepEmbedding(
    NeuralMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, MixedRowsMixin, PartialLabelMixin, BaseEstimator
):
    """Clusters as the components of the prior of a variational autoencoder (VaDE).

    A row comes about in three steps: a class is drawn, a point of its Gaussian in a space of few dimensions, and the
    row given that point by a network. Fitting learns this model together with a second network that finds the point
    of a row, so that there are densities, samples, and columns of different kinds, and missing values need no filling
    in.

    Parameters
    ----------
    n_clusters : int or "auto", default="auto"
        Total number of classes, known and novel. ``"auto"`` chooses it in the pretrained embedding, by the silhouette
        times the agreement of clusters of two halves of the rows.
    likelihood : {"gaussian", "bernoulli", "categorical"}, list of them, or dict, default="gaussian"
        What the columns hold: numbers; probabilities in [0, 1], or 0 and 1; or numbers of categories. One kind for all,
        a list of one a column, or a dict of names or positions of columns to kinds, others being Gaussian. Columns of
        text, and those that pandas calls categories, are categorical without being named.
    embedding_size : int, default=10
        Dimensions of the embedding.
    encoder : None, NetworkSettings, "identity" or subclass of torch.nn.Module, default=None
        The network from rows to embedding, of which the decoder is the mirror image; ``encoder__hidden`` and the like
        can be set. A class is called with ``(n_inputs, embedding_size)``. ``"identity"``: a mixture in the space of
        (Gaussian) rows.
    optimizer : None or OptimizerSettings, default=None
        How weights are updated; ``optimizer__lr`` and the like can be set.
    max_pretrain_epochs : int, default=100
        Epochs of the autoencoder alone.
    max_epochs : int, default=100
        Epochs of the whole model. 0: the mixture in the pretrained embedding is the result.
    batch_size : int, default=256
        Rows of one step.
    n_init : int, default=20
        Starts of the mixture in the pretrained embedding.
    k_max : int, default=None
        Largest number of clusters that ``"auto"`` tries; None for ``max(30, 3 * n_known)``.
    checkpoint : str or path, default=None
        File that keeps the state after each epoch, from which a fit that was killed resumes.
    unlabeled_value : int, str, bool or None, default=-1
        Value of `y` that stands for "no label", besides None, NaN and ``pd.NA``.
    device : {None, "cpu", "cuda", "auto"}, default=None
        Where the networks are trained; None for the CPU.
    random_state : int, RandomState instance or None, default=None
        Seed of weights, batches and starts.

    Attributes
    ----------
    classes_ : ndarray of shape (n_clusters_,)
        Names of the classes: known ones in sorted order, then novel ones by decreasing size.
    novel_classes_ : ndarray of shape (n_novel,)
        Names of the novel classes.
    labels_ : ndarray of shape (n_samples,)
        Class of each training row: its label, or what ``predict`` says.
    n_clusters_ : int
        Number of classes.
    n_clusters_scores_ : dict of int to float
        With ``n_clusters="auto"``, silhouette times agreement of each number tried.
    weights_ : ndarray of shape (n_clusters_,)
        Share of each class.
    means_, covariances_ : ndarray of shape (n_clusters_, embedding_size)
        Means and variances of the components in the embedding, in the order of ``classes_``.
    improved_ : bool
        Whether the modularity of the classes is at least what it was at the start of the joint training, the end being
        kept; else the start is.
    modularity_ : float
        That of the classes; see Notes.
    history_ : dict of str to list of dict
        Losses of each epoch of the phases "pretrain" and "joint", per row and column; of the latter, after a look at
        the clusters (every five epochs), the share of rows that changed theirs and the share of the smallest one.
    encoder_layers_, decoder_layers_, spread_layers_ : list of dict
        Weights of the networks. The last one gives the log variances of an embedding.
    noise_variance_ : ndarray of shape (n_gaussian,)
        Variance of each Gaussian column given the embedding, in units of its squared scale.
    mean_, scale_ : ndarray of shape (n_inputs,)
        By which inputs are standardized. A categorical column is one input a category.
    likelihood_ : list of str
        Kind of each column.
    categories_ : list of ndarray
        Sorted values of each categorical column, texts for a column of text; empty for the others.
    distance_quantiles_ : ndarray of shape (n_clusters_, 101)
        Percentiles of the distance of the training rows of each class, for ``predict(X, reject=...)``.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, when all are strings.

    See Also
    --------
    DeepEmbeddedClustering : Learns an embedding around centers, and no densities.
    sklearn_sslcluster.mixture.SemiSupervisedGaussianMixture : A mixture in the space of the rows.

    Notes
    -----
    The fit maximizes the evidence lower bound ([1]_, equations 9 and 12), for a row :math:`x` with
    :math:`q(z | x) = \\mathcal N(m, \\operatorname{diag} s^2)` and one draw :math:`z` of it,

    .. math::
        \\log p(x | z) - \\sum_c \\gamma_c \\Bigl[\\tfrac12 \\sum_l \\Bigl(\\log \\sigma_{cl}^2
        + \\frac{s_l^2 + (m_l - \\mu_{cl})^2}{\\sigma_{cl}^2}\\Bigr) - \\log \\pi_c + \\log \\gamma_c \\Bigr]
        + \\tfrac12 \\sum_l (1 + \\log s_l^2), \\qquad \\gamma_c = p(c | z).

    Of a labeled row :math:`\\gamma` is its class. A missing entry has no likelihood, and the encoder gets the mean in
    its place. Start and end of the joint training are compared by the modularity of the classes on the graph of ten
    nearest neighbors of the rows. The joint training stops, with a warning, when the smallest class holds less than a
    tenth of the rows that the smallest one of the start held; the start is kept then.

    Rows are trained on in lexicographic order (shuffled by the seed), as often as they stand in the table, these
    numbers divided by their greatest common divisor: the result does not depend on the order of the rows, nor on
    repeating them all, while a row that stands twice as often as the others counts twice.

    *Number of classes.* The pretrained embedding keeps parts of classes apart, writing styles of a digit for example,
    and the silhouette of k-means hardly falls when they are told apart: its maximum is a matter of chance. So it is
    multiplied by how far k-means of two random halves of the rows agree on all rows (the adjusted Rand index, mean of
    five pairs, of at most 2,000 rows); clusters that depend on the half have little of it.

    *Start.* The mixture in the pretrained embedding begins as moments of partitions, or as the most likely mixture
    found by splitting and merging. Partitions are those of k-means (the best of `n_init` starts, and each of `n_init`
    more) and, without labels, of Ward, both of the embedding and of the rows; expectation-maximization goes on from the
    three best. Modularity decides here too.

    Departures from the paper: the variance of Gaussian columns is estimated rather than fixed (at least a hundredth of
    that of a column), so that the bound is that of a density and needs no factor between its parts; :math:`s^2` is a
    function of :math:`m`; the encoder is trained on rows with noise (an eighth of the width of a column times the root
    of the number of columns, at most its width); pretraining has the noise of the embedding and a normal prior of
    weight 0.1 in it, so that :math:`s^2` fits to the mixture at the start; training stops when held-out rows gain
    nothing. The published figures are of runs chosen by the labels.

    References
    ----------
    .. [1] Z. Jiang, Y. Zheng, H. Tan, B. Tang, H. Zhou, "Variational deep embedding: an unsupervised and generative
       approach to clustering", IJCAI 2017.
    .. [2] Y. Burda, R. Grosse, R. Salakhutdinov, "Importance weighted autoencoders", ICLR 2016.

    Examples
    --------
    >>> from sklearn_sslcluster.datasets import make_partially_labeled_blobs
    >>> from sklearn_sslcluster.deep import VariationalDeepEmbedding
    >>> X, y, _ = make_partially_labeled_blobs(90, n_known=2, n_novel=1, random_state=0)
    >>> model = VariationalDeepEmbedding(3, max_pretrain_epochs=5, max_epochs=2, random_state=0).fit(X, y)
    >>> model.classes_, model.novel_classes_
    (array([0, 1, 2]), array([2]))
    """

    _parameter_constraints: dict = {
        "n_clusters": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        **NeuralMixin._neural_constraints,
        "likelihood": "no_validation",
        "encoder": "no_validation",
        "max_epochs": [Interval(Integral, 0, None, closed="left")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "k_max": [Interval(Integral, 1, None, closed="left"), None],
        "unlabeled_value": [Integral, str, "boolean", None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_clusters: Any = "auto",
        *,
        likelihood: Any = "gaussian",
        embedding_size: int = 10,
        encoder: Any = None,
        optimizer: Any = None,
        max_pretrain_epochs: int = 100,
        max_epochs: int = 100,
        batch_size: int = 256,
        n_init: int = 20,
        k_max: int | None = None,
        checkpoint: Any = None,
        unlabeled_value: Any = -1,
        device: str | None = None,
        random_state: Any = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.likelihood = likelihood
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
    def fit(self, X: Any, y: Any = None) -> VariationalDeepEmbedding:
        """Learn the networks and the classes of partially labeled rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows; NaN for entries that are missing. A table may have columns of text, whose entries are
            missing where they are None or NaN.
        y : array-like of shape (n_samples,), default=None
            Partial labels: ints, strings, bools or categories, and -1, None, NaN or ``pd.NA`` for rows without one.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If `X` has infinite values or a column of nothing but NaN, values do not fit to `likelihood`, or `y` has
            another length or holds floats that are not whole numbers.
        TypeError
            If `y` holds values that are no labels, dates for example.
        """
        types = TableKinds.of(X)
        rows = self._check_rows(X, types.texts, reset=True)
        labels = self._encode_labels(y, rows)
        seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        task = VariationalFit(self, rows, types, labels, seed)
        with fit_progress(self, X, y, max_steps=None, step_name="epoch") as step:
            trained = task.learn(step)
        fitted, collapsed = task.attributes(trained)
        if collapsed:
            warn_user(
                f"A cluster of {type(self).__name__} all but vanished while training, and the clusters of its start "
                "are kept; a smaller optimizer__lr or n_clusters?"
            )
        self._warn_if_fewer(task.start.n_wanted, fitted["n_clusters_"])
        self._set_fitted(**fitted)
        return self

    def predict(self, X: Any, *, reject: float | None = None) -> np.ndarray:
        """Name the most likely class of each row, known or novel.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; NaN for entries that are missing.
        reject : float in (0, 1], default=None
            Leave a row unassigned (-1, or None where names are not integers) when it lies farther from its class than
            this quantile of the training rows of that class; 0.99 for example. The squared distance is that of the
            embedding from the component, by Mahalanobis, plus that of the row from its reconstruction in units of
            the noise.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            Names of ``classes_``.
        """
        inputs, embedding, model = self._seen(X)
        codes = model.log_joint(embedding).argmax(axis=1)
        if reject is not None:
            codes = self._reject(codes, model.distances(embedding, inputs, codes), reject)
        return decode(codes, self.classes_, unlabeled_value=self.unlabeled_value)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Posterior probability of each class given the embedding of a row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; NaN for entries that are missing.

        Returns
        -------
        resp : ndarray of shape (n_samples, n_clusters_)
            Columns in the order of ``classes_``; rows sum to 1.
        """
        _, embedding, model = self._seen(X)
        return softmax(model.log_joint(embedding), axis=1)

    def transform(self, X: Any) -> np.ndarray:
        """Embedding of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; NaN for entries that are missing.

        Returns
        -------
        embedding : ndarray of shape (n_samples, embedding_size)
            Means of the posterior.
        """
        return self._seen(X)[1]

    def score_samples(self, X: Any) -> np.ndarray:
        """Lower bound of the log density of each row, of the entries that are there.

        The importance weighted bound with 16 draws from the posterior, the same ones at every call and for every
        row: between the evidence lower bound and the log density. Of Bernoulli and categorical columns it is a
        probability.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; NaN for entries that are missing.

        Returns
        -------
        log_prob : ndarray of shape (n_samples,)
            In nats.
        """
        inputs, embedding, model = self._seen(X)
        return model.log_density(embedding, inputs)

    def score(self, X: Any, y: Any = None) -> float:
        """Mean of ``score_samples``; uses no labels, and can be compared between numbers of clusters.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; NaN for entries that are missing.
        y : None
            Ignored.

        Returns
        -------
        score : float
            In nats; higher is better.
        """
        return float(self.score_samples(X).mean())

    def novelty_score(self, X: Any) -> np.ndarray:
        """How much a row looks like a novel rather than a known class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; NaN for entries that are missing.

        Returns
        -------
        score : ndarray of shape (n_samples,)
            The largest posterior of a novel class over the sum of the largest of a novel and of a known one: above one
            half exactly where ``predict`` names a novel class. 0 everywhere if no novel class was found, 1 if no class
            is known.
        """
        _, embedding, model = self._seen(X)
        joint = model.log_joint(embedding)
        n_known = len(self.classes_) - len(self.novel_classes_)
        if n_known in (0, joint.shape[1]):
            return np.full(len(joint), 0.0 if n_known else 1.0)
        known, novel = joint[:, :n_known].max(axis=1), joint[:, n_known:].max(axis=1)
        return 1 / (1 + np.exp(np.clip(known - novel, -700, 700)))

    def sample(self, n_samples: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Draw rows from the model.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Rows, grouped by class; of dtype object where a column is text.
        labels : ndarray of shape (n_samples,)
            Their classes.

        Raises
        ------
        ValueError
            If `n_samples` is less than 1.
        """
        check_is_fitted(self)
        if n_samples < 1:
            raise ValueError(f"n_samples must be at least 1, got {n_samples!r}.")
        random_state = check_random_state(self.random_state)
        counts = random_state.multinomial(n_samples, self.weights_)
        codes = np.repeat(np.arange(self.n_clusters_), counts)
        model = VariationalModel.of(self)
        return model.columns.as_in_table(model.draw(codes, random_state)), self.classes_[codes]

    def _check_rows(self, X: Any, texts: dict[int, np.ndarray], *, reset: bool = False) -> np.ndarray:
        rows = self._validate_mixed_rows(X, texts, reset=reset, missing=np.nan, ensure_all_finite="allow-nan")
        return rows.astype(np.float64, copy=False)

    def _check_unknown_text(self, column: Any, text: str, known: np.ndarray) -> None:
        raise ValueError(
            f"Column {column!r} holds {text!r}, which is not among the {len(known)} categories of the training rows; "
            "None or NaN stands for a value that is not known."
        )

    def _seen(self, X: Any) -> tuple[np.ndarray, np.ndarray, VariationalModel]:
        """(inputs, embedding, model) of rows."""
        check_is_fitted(self)
        model = VariationalModel.of(self)
        inputs = model.columns.expand(self._check_rows(X, model.columns.texts))
        return inputs, self._apply(model.encoder, model.standard.apply(inputs)), model

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags
