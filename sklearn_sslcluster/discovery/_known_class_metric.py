"""A metric learned from the known classes, as a step before any clusterer."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy.linalg import eigh
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin, _fit_context
from sklearn.neighbors import NeighborhoodComponentsAnalysis
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.extmath import svd_flip
from sklearn.utils.validation import check_is_fitted, validate_data

from ..base import refuse_dask, restore_on_failure
from ..labels import PartialLabels, encode_partial_labels, warn_user
from ..numerics import between_scatter, choose_shrinkage, lexicographic_order, whitening, within_scatter

# Labeled rows in all that neighbors are looked up among, and that NCA is fitted to.
_MOST_ROWS, _FEWEST_OF_CLASS = 2000, 20


class KnownClassMetric(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Columns in which the known classes are compact, so that new classes are, too.

    What varies within the known classes (the slant of a digit, the size of a plant) mostly varies within new ones as
    well, and should not tell rows apart. The transformer learns from the labeled rows how much each direction varies
    within classes, and scales it accordingly. Unlabeled rows are transformed and not learned from.

    Parameters
    ----------
    method : {"whiten", "lda", "nca"}, default="whiten"
        ``"whiten"``: divide by the pooled covariance within the known classes. ``"lda"``: in addition keep only the
        directions in which the known classes differ, at most one less than there are classes; new classes may differ
        in others. ``"nca"``: neighborhood components analysis, for neighbors of one class.
    shrinkage : float in [0, 1] or "auto", default="auto"
        Weight of a multiple of the identity in the covariance; 1 whitens nothing. ``"auto"`` hides known classes in
        turn and takes the weight with which neighbors of rows of hidden classes are most often of their class. Not used
        by ``"nca"``.
    n_components : int, default=None
        Columns to keep: those with the largest ratio of the variance between to that within known classes, then of the
        labeled rows as a whole. None keeps all (``"lda"``: one less than there are known classes).
    unlabeled_value : int, str, bool or None, default=-1
        Value of `y` that stands for "no label", besides None, NaN and ``pd.NA``.
    random_state : int, RandomState instance or None, default=None
        Draws the classes to hide for ``shrinkage="auto"``, where there are many combinations.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        Directions; a row is transformed by ``(X - mean_) @ components_.T``.
    mean_ : ndarray of shape (n_features,)
        Mean of the labeled rows.
    shrinkage_ : float or None
        The shrinkage used; None for ``"nca"``, and where nothing was learned.
    shrinkage_scores_ : dict of float to float
        With ``shrinkage="auto"``, the mean share of neighbors of the same class among rows of hidden classes. Empty
        where nothing could be hidden.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, when all are strings.

    See Also
    --------
    ProjectionNCD : Learns a network from the known classes.
    sklearn.discriminant_analysis.LinearDiscriminantAnalysis : Needs all rows labeled.
    sklearn.neighbors.NeighborhoodComponentsAnalysis : Likewise.

    Notes
    -----
    With :math:`S_w` the pooled covariance of the labeled rows around their class means, :math:`d` features and
    shrinkage :math:`\\alpha`, rows are multiplied by

    .. math::
        \\left((1 - \\alpha) S_w + \\alpha \\tfrac{\\operatorname{tr} S_w}{d} I\\right)^{-1/2},

    the symmetric root, so that columns stay comparable to the features. Distances are then Mahalanobis distances within
    classes (relevant component analysis [1]_). Since a multiple of the identity depends on units, scale the columns
    first.

    Without a labeled row, or where no class has two different rows, there is nothing to learn: a warning is given and
    rows are only centered. Known classes that are alike only by accident mislead; compare with a pipeline without this
    step (:class:`~sklearn_sslcluster.model_selection.HiddenClassSearchCV`).

    References
    ----------
    .. [1] A. Bar-Hillel, T. Hertz, N. Shental, D. Weinshall, "Learning a Mahalanobis metric from equivalence
       constraints", Journal of Machine Learning Research 6, 2005.

    Examples
    --------
    The second column varies widely within classes, and hides a third class:

    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn_sslcluster.discovery import KnownClassMetric, SemiSupervisedKMeans
    >>> from sklearn_sslcluster.metrics import clustering_accuracy
    >>> rng = np.random.RandomState(0)
    >>> y_true = np.repeat([0, 1, 2, 3], 50)
    >>> X = np.column_stack([4 * y_true + rng.normal(size=200), 20 * rng.normal(size=200)])
    >>> y = np.where(y_true < 2, y_true, -1)
    >>> for metric in ["passthrough", KnownClassMetric()]:
    ...     model = make_pipeline(metric, SemiSupervisedKMeans(4, random_state=0)).fit(X, y)
    ...     print(clustering_accuracy(y_true[y < 0], model[-1].labels_[y < 0]) > 0.95)
    False
    True
    """

    _parameter_constraints: dict = {
        "method": [StrOptions({"whiten", "lda", "nca"})],
        "shrinkage": [Interval(Real, 0, 1, closed="both"), StrOptions({"auto"})],
        "n_components": [Interval(Integral, 1, None, closed="left"), None],
        "unlabeled_value": [Integral, str, "boolean", None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        method: str = "whiten",
        *,
        shrinkage: float | str = "auto",
        n_components: int | None = None,
        unlabeled_value: Any = -1,
        random_state: Any = None,
    ) -> None:
        self.method = method
        self.shrinkage = shrinkage
        self.n_components = n_components
        self.unlabeled_value = unlabeled_value
        self.random_state = random_state

    @restore_on_failure
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> KnownClassMetric:
        """Learn from the labeled rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows.
        y : array-like of shape (n_samples,), default=None
            Partial labels: ints, strings, bools or categories, and -1, None, NaN or ``pd.NA`` for rows without one.

        Returns
        -------
        self : object
            The fitted transformer.

        Raises
        ------
        ValueError
            If `X` has NaN or infinite values, `y` has another length or holds floats that are not whole numbers, or
            `n_components` is larger than the number of features.
        TypeError
            If `y` holds values that are no labels, dates for example.

        Warns
        -----
        UserWarning
            If no class has two different labeled rows, or only one class is known and `method` is not "whiten".
        """
        refuse_dask(self, X)
        X = validate_data(self, X, dtype=[np.float64, np.float32])
        labels = encode_partial_labels(y, X, unlabeled_value=self.unlabeled_value)
        n_features = X.shape[1]
        if self.n_components is not None and self.n_components > n_features:
            raise ValueError(f"n_components={self.n_components} is more than the {n_features} features of X.")
        rows, codes = _labeled_rows(X, labels)
        mean = (rows if len(rows) else X).mean(axis=0, dtype=np.float64)
        scatter = within_scatter(rows - mean, codes)
        method = self._possible_method(labels.n_known)
        shrinkage: float | None = None
        scores: dict[float, float] = {}
        if not np.trace(scatter) > 0:
            warn_user("No class has two labeled rows that differ: KnownClassMetric learns nothing, and only centers.")
            components = np.eye(n_features)[: self.n_components]
        elif method == "nca":
            components = self._neighborhood_components(rows - mean, codes)
        else:
            shrinkage, scores = self._shrinkage(rows - mean, codes)
            components = _discriminants(rows - mean, codes, whitening(scatter, shrinkage), self._size(method, codes))
        self.components_, self.mean_ = components, mean
        self.shrinkage_, self.shrinkage_scores_ = shrinkage, scores
        self._n_features_out = len(components)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Map rows to the columns learned.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        X_new : ndarray of shape (n_samples, n_components)
            Transformed rows, in the float type of `X`.
        """
        check_is_fitted(self)
        refuse_dask(self, X)
        X = validate_data(self, X, reset=False, dtype=[np.float64, np.float32])
        return (X - self.mean_.astype(X.dtype)) @ self.components_.T.astype(X.dtype)

    def _possible_method(self, n_known: int) -> str:
        if self.method != "whiten" and n_known == 1:
            warn_user(f"method={self.method!r} needs two known classes, got one; 'whiten' is used instead.")
            return "whiten"
        return self.method

    def _size(self, method: str, codes: np.ndarray) -> int | None:
        if method == "whiten":
            return self.n_components
        most = len(np.unique(codes)) - 1
        return most if self.n_components is None else min(self.n_components, most)

    def _shrinkage(self, rows: np.ndarray, codes: np.ndarray) -> tuple[float, dict]:
        if self.shrinkage != "auto":
            return float(self.shrinkage), {}
        random_state = check_random_state(self.random_state)
        few = _some_rows(codes)
        return choose_shrinkage(rows[few], codes[few], random_state)

    def _neighborhood_components(self, rows: np.ndarray, codes: np.ndarray) -> np.ndarray:
        few = _some_rows(codes)
        # Steps of its optimizer are not free of units.
        scale = np.sqrt(np.mean(rows**2))
        init = "pca" if len(few) >= rows.shape[1] else "identity"
        model = NeighborhoodComponentsAnalysis(self.n_components, init=init, random_state=0)
        return model.fit(rows[few] / scale, codes[few]).components_ / scale

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _labeled_rows(X: np.ndarray, labels: PartialLabels) -> tuple[np.ndarray, np.ndarray]:
    """(labeled rows, codes) by class, each in lexicographic order: the order of the table is no matter."""
    rows = np.flatnonzero(~labels.unlabeled)
    rows = rows[lexicographic_order(np.column_stack([labels.codes[rows], X[rows]]))]
    return X[rows].astype(np.float64), labels.codes[rows]


def _some_rows(codes: np.ndarray) -> np.ndarray:
    """Numbers of rows of each class, evenly spread: about `_MOST_ROWS` in all."""
    classes, kept = np.unique(codes), []
    most = max(_MOST_ROWS // len(classes), _FEWEST_OF_CLASS)
    for code in classes:
        rows = np.flatnonzero(codes == code)
        kept.append(rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(np.intp))])
    return np.concatenate(kept)


def _discriminants(X: np.ndarray, codes: np.ndarray, root: np.ndarray, n_components: int | None) -> np.ndarray:
    """Directions in the whitened space that tell classes apart, then those in which labeled rows vary most."""
    if n_components is None:
        return root
    Z = X @ root
    between = between_scatter(Z, codes)
    # The variance as a whole only orders the directions in which the classes do not differ.
    total = Z.T @ Z / len(Z)
    _, vectors = eigh(between + 1e-6 * np.trace(between) / max(np.trace(total), 1e-300) * total)
    chosen = vectors[:, ::-1][:, :n_components]
    chosen, _ = svd_flip(chosen, np.zeros((n_components, 0)))
    return chosen.T @ root
