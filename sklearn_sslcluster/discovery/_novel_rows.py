"""Any clusterer on the rows without a label, and neighbors that tell known rows from novel ones."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.cluster import AgglomerativeClustering
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from .. import neural
from ..base import PartialLabelMixin, check_range, count_parameter, fit_method, mean_silhouette, order_by_size
from ..engine import RowBlocks, fit_progress
from ..labels import PartialLabels, decode, warn_user
from ..numerics import LloydSettings, choose_n_clusters, nearest_references, pose_problem, quantiles_by_class
from ._base import LARGEST_KNOWN_SHARE

_SWEEP_STARTS = 10
# Weight that a neighbor has less than the one before it, so that ties go to nearer ones.
_RANK = 1e-3


class NovelRowsClustering(PartialLabelMixin, BaseEstimator):
    """Any clusterer on the rows without a label, for tables in which none of them belongs to a known class.

    Clusterers that know nothing of labels, Ward's for example, become estimators of novel classes: the rows without a
    label are clustered apart, and a row is known or novel as most of its nearest training rows are.

    Parameters
    ----------
    n_clusters : int or "auto", default="auto"
        Number of classes, known and novel together. An int below the number of known classes is raised to it, with a
        warning. ``"auto"`` takes the number with the largest mean silhouette of k-means on the unlabeled rows, labeled
        rows in their classes; or no novel class at all, if the unlabeled rows look like labeled ones and the mean
        silhouette is larger so. Clusterers without a number of clusters find it themselves.
    clusterer : estimator, default=None
        Clusterer of scikit-learn or of this package. Its number of clusters and, if it has none, its seed are set. None
        for :class:`~sklearn.cluster.AgglomerativeClustering` with Ward's linkage.
    n_neighbors : int, default=5
        Training rows by which a row is told to be known or novel.
    max_rows : int or None, default=10000
        Of larger tables, so many unlabeled and as many labeled rows, at most, are clustered and remembered.
    k_max : int, default=None
        Largest number of classes that ``n_clusters="auto"`` tries; None for ``max(30, 3 * n_known)``.
    unlabeled_value : int, str, bool or None, default=-1
        Value of `y` that stands for "no label", besides None, NaN and ``pd.NA``.
    random_state : int, RandomState instance or None, default=None
        Seed of the sample of a large table, of the sweep and of the clusterer.

    Attributes
    ----------
    classes_ : ndarray of shape (n_clusters_,)
        Names of the classes: known ones in sorted order, then novel ones by decreasing size.
    novel_classes_ : ndarray of shape (n_novel,)
        Names of the novel classes.
    labels_ : ndarray of shape (n_samples,)
        Class of each training row: its label, or what ``predict`` says.
    n_clusters_ : int
        Number of classes, known ones included.
    n_clusters_scores_ : dict of int to float
        With ``n_clusters="auto"``, the mean silhouette of each number of classes tried. Empty where the number was
        settled before.
    known_share_ : float
        Share of the unlabeled rows that ``predict`` gives a known class.
    clusterer_ : estimator or None
        Fitted to the unlabeled rows; None where no novel class was found.
    part_names_, part_codes_ : ndarray of shape (n_novel,)
        Clusters as ``clusterer_`` numbers them, and the positions in ``classes_`` of the classes that they are.
    reference_rows_ : ndarray of shape (n_references, n_features)
        Distinct training rows that neighbors are looked up among.
    reference_codes_ : ndarray of shape (n_references,)
        Their classes, as positions in ``classes_``.
    distance_quantiles_ : ndarray of shape (n_clusters_, 101)
        Percentiles of the distance of the reference rows of each class to the nearest other one, for
        ``predict(X, reject=...)``.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, when all are strings.

    Warns
    -----
    UserWarning
        By ``fit``, if more than a tenth of the unlabeled rows have mostly labeled neighbors.

    See Also
    --------
    NCDKMeans : K-means under the same assumption; for large tables.
    SemiSupervisedKMeans : When unlabeled rows may belong to known classes.
    KnownClassMetric : A step before, so that distances mean what they mean within known classes.

    Notes
    -----
    Labels have no part in the clustering; they tell which rows to leave out, and by a step before
    (:class:`KnownClassMetric`) what distances mean. New rows that are novel get their class from the clusterer's
    ``predict``, or, where it has none, from most of their nearest unlabeled training rows. So an unlabeled training row
    may have another class in ``labels_`` than the clusterer gave it.

    Equal rows count once for the neighbors. The clusterer sees them as often as they stand in the table, divided by
    what these numbers have in common.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.cluster import SpectralClustering
    >>> from sklearn.datasets import make_moons
    >>> from sklearn_sslcluster.discovery import NovelRowsClustering
    >>> from sklearn_sslcluster.metrics import clustering_accuracy
    >>> X, moon = make_moons(200, noise=0.05, random_state=0)
    >>> ball = np.random.RandomState(1).normal([0.5, 1.8], 0.2, size=(100, 2))
    >>> y = np.r_[np.full(200, -1), np.zeros(100, dtype=int)]
    >>> spectral = SpectralClustering(affinity="nearest_neighbors")
    >>> model = NovelRowsClustering(3, clusterer=spectral, random_state=0).fit(np.vstack([X, ball]), y)
    >>> model.novel_classes_, clustering_accuracy(moon, model.labels_[:200])
    (array([1, 2]), 1.0)
    """

    _parameter_constraints: dict = {
        "n_clusters": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "clusterer": [HasMethods(["fit_predict"]), None],
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "max_rows": [Interval(Integral, 2, None, closed="left"), None],
        "k_max": [Interval(Integral, 1, None, closed="left"), None],
        "unlabeled_value": [Integral, str, "boolean", None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_clusters: Any = "auto",
        *,
        clusterer: Any = None,
        n_neighbors: int = 5,
        max_rows: int | None = 10_000,
        k_max: int | None = None,
        unlabeled_value: Any = -1,
        random_state: Any = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.clusterer = clusterer
        self.n_neighbors = n_neighbors
        self.max_rows = max_rows
        self.k_max = k_max
        self.unlabeled_value = unlabeled_value
        self.random_state = random_state

    @fit_method
    def fit(self, X: Any, y: Any = None) -> NovelRowsClustering:
        """Cluster the rows without a label.

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
        X = self._check_rows(X, reset=True)
        labels = self._encode_labels(y, X)
        random_state = check_random_state(self.random_state)
        with fit_progress(self, X, y, max_steps=1, step_name="clusters") as step:
            rows = self._rows_to_keep(X, labels.codes, random_state)
            n_wanted, scores = self._choose_n_clusters(X, labels, random_state)
            clusterer, parts = self._cluster(X[rows[labels.codes[rows] < 0]], labels, n_wanted, random_state)
            fitted = self._attributes(X, labels, rows, clusterer, parts)
            step(lambda: fitted)
        if n_wanted is not None:
            self._warn_if_fewer(n_wanted, fitted["n_clusters_"])
        self._set_fitted(**fitted, **scores)
        if labels.n_known and len(self.novel_classes_) and self.known_share_ > LARGEST_KNOWN_SHARE:
            warn_user(
                f"{self.known_share_:.0%} of the unlabeled rows have mostly labeled neighbors, but "
                "NovelRowsClustering assumes that none belongs to a known class. SemiSupervisedKMeans makes no such "
                "assumption."
            )
        return self

    def predict(self, X: Any, *, reject: float | None = None) -> np.ndarray:
        """Name the class of each row: a known one if most of its nearest training rows have a label.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        reject : float in (0, 1], default=None
            Leave a row unassigned (-1, or None where names are not integers) when it lies farther from the nearest
            reference row than this quantile of the reference rows of its class do from others; 0.99 for example.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            Names of ``classes_``.
        """
        check_is_fitted(self)
        X = self._check_rows(X)
        codes, distances = self._assigned(X)
        if reject is not None:
            codes = self._reject(codes, distances, reject)
        return decode(codes, self.classes_, unlabeled_value=self.unlabeled_value)

    def predict_novel(self, X: Any) -> np.ndarray:
        """Name the novel class of each row, whatever the known classes.

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
        check_is_fitted(self)
        X = self._check_rows(X)
        if not len(self.novel_classes_):
            raise ValueError("This NovelRowsClustering found no novel class, so that none can be predicted.")
        n_known = len(self.classes_) - len(self.novel_classes_)
        return self.classes_[_novel_codes(vars(self), n_known, X, self.n_neighbors)]

    def novelty_score(self, X: Any) -> np.ndarray:
        """How much a row looks like a novel rather than a known class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        score : ndarray of shape (n_samples,)
            Share of the nearest training rows that have no label: above one half exactly where ``predict`` names a
            novel class. 0 everywhere if no novel class was found, 1 if no class is known.
        """
        check_is_fitted(self)
        X = self._check_rows(X)
        neighbors = nearest_references(self.reference_rows_, X, self.n_neighbors)[1]
        n_known = len(self.classes_) - len(self.novel_classes_)
        return (self.reference_codes_[neighbors] >= n_known).mean(axis=1)

    def score(self, X: Any, y: Any = None) -> float:
        """Mean silhouette width of the predicted classes, on at most 5,000 fixed distinct rows of `X`.

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
        X = self._check_rows(X)
        return mean_silhouette(X, self._assigned(X)[0])

    def _check_rows(self, X: Any, *, reset: bool = False) -> np.ndarray:
        return self._validate_rows(X, reset=reset, dtype=[np.float64, np.float32])

    def _rows_to_keep(self, X: np.ndarray, codes: np.ndarray, random_state: np.random.RandomState) -> np.ndarray:
        """Numbers of the training rows in lexicographic order, at most `max_rows` with and without a label each."""
        rows = neural.training_rows(X, codes)
        kept = []
        for some in (rows[codes[rows] >= 0], rows[codes[rows] < 0]):
            if self.max_rows is not None and len(some) > self.max_rows:
                some = some[np.sort(random_state.permutation(len(some))[: self.max_rows])]
            kept.append(some)
        return np.concatenate(kept)

    def _choose_n_clusters(
        self, X: np.ndarray, labels: PartialLabels, random_state: np.random.RandomState
    ) -> tuple[int | None, dict[str, Any]]:
        """The number asked for, or the one chosen; None where the clusterer finds it itself."""
        if self.n_clusters != "auto":
            return labels.n_known + self._n_novel_wanted(labels), {}
        problem = pose_problem(
            RowBlocks(X, (labels.codes if labels.n_known else None, None)), labels.n_known, random_state
        )
        check_range(problem, X.dtype)
        chosen, scores = choose_n_clusters(
            problem, self._candidates(labels.n_known), LloydSettings(_SWEEP_STARTS), random_state, move_known=False
        )
        if chosen > labels.n_known and self.clusterer is not None and count_parameter(self.clusterer) is None:
            return None, {"n_clusters_scores_": {}}
        return chosen, {"n_clusters_scores_": scores}

    def _cluster(
        self, X: np.ndarray, labels: PartialLabels, n_wanted: int | None, random_state: np.random.RandomState
    ) -> tuple[Any, np.ndarray]:
        """(clusterer fitted to the unlabeled rows, or None; part of each of them, -1 for none)."""
        if not len(X) or n_wanted == labels.n_known:
            return None, np.full(len(X), -1)
        n_distinct = len(np.unique(X, axis=0))
        n_parts = n_distinct if n_wanted is None else min(n_wanted - labels.n_known, n_distinct)
        if n_parts == 1:
            return None, np.zeros(len(X), dtype=np.int64)
        clusterer = AgglomerativeClustering() if self.clusterer is None else clone(self.clusterer)
        params = clusterer.get_params(deep=False)
        count = count_parameter(clusterer)
        if n_wanted is not None and count is not None:
            clusterer.set_params(**{count: n_parts})
        if params.get("random_state", 0) is None:
            clusterer.set_params(random_state=int(random_state.randint(np.iinfo(np.int32).max)))
        parts = np.asarray(clusterer.fit_predict(X)).astype(np.int64)
        # One that leaves out every row has found one class.
        return clusterer, parts if (parts >= 0).any() else np.zeros(len(X), dtype=np.int64)

    def _attributes(
        self, X: np.ndarray, labels: PartialLabels, rows: np.ndarray, clusterer: Any, parts: np.ndarray
    ) -> dict[str, Any]:
        n_known, codes = labels.n_known, labels.codes[rows].astype(np.int64)
        names_of_parts = np.unique(parts[parts >= 0])
        codes[codes < 0] = np.where(parts >= 0, n_known + np.searchsorted(names_of_parts, parts), -1)
        assigned = np.flatnonzero(codes >= 0)
        # Of equal rows one, with the class of the first; rows that the clusterer left out tell nothing.
        _, first = np.unique(np.column_stack([X[rows[assigned]], codes[assigned]]), axis=0, return_index=True)
        first = assigned[first]
        state = {
            "clusterer_": clusterer,
            "reference_rows_": X[rows[first]],
            "reference_codes_": codes[first],
            "part_names_": names_of_parts,
            "part_codes_": n_known + np.arange(len(names_of_parts)),
        }
        found, _ = self._assign(state, n_known, X)
        free = found[labels.unlabeled]
        sizes = np.bincount(free, minlength=n_known + len(names_of_parts))[n_known:]
        if (sizes == 0).any():
            # Parts amid known rows, which no row is told to belong to, are no classes.
            kept = np.isin(parts, names_of_parts[sizes > 0])
            return self._attributes(X, labels, rows, clusterer if kept.any() else None, np.where(kept, parts, -1))
        means = [
            state["reference_rows_"][state["reference_codes_"] == code].mean(axis=0) for code in state["part_codes_"]
        ]
        order = order_by_size(sizes, np.reshape(means, (-1, X.shape[1])))
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.arange(len(order))
        renumbered = np.concatenate([np.arange(n_known), n_known + place]).astype(np.int64)
        state |= {
            "reference_codes_": renumbered[state["reference_codes_"]],
            "part_codes_": n_known + place,
        }
        found = renumbered[found]
        np.copyto(found, labels.codes, where=~labels.unlabeled)
        names = self._name_classes(labels.classes, len(names_of_parts))
        nearest = nearest_references(state["reference_rows_"], state["reference_rows_"], 2)[0][:, -1]
        return state | {
            **names,
            "labels_": decode(found, names["classes_"]),
            "n_clusters_": len(names["classes_"]),
            "known_share_": float((free < n_known).mean()) if len(free) else 0.0,
            "distance_quantiles_": quantiles_by_class(
                nearest, state["reference_codes_"], np.ones(len(nearest)), len(names["classes_"])
            ),
        }

    def _assigned(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._assign(vars(self), len(self.classes_) - len(self.novel_classes_), X)

    def _assign(self, state: Mapping[str, Any], n_known: int, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(class of each row, distance to the nearest reference row)."""
        distances, neighbors = nearest_references(state["reference_rows_"], X, self.n_neighbors)
        codes = state["reference_codes_"][neighbors]
        is_known = 2 * (codes < n_known).sum(axis=1) >= codes.shape[1]
        out = _most_common(np.where(codes < n_known, codes, -1))
        novel = np.flatnonzero(~is_known)
        if len(novel):
            out[novel] = _novel_codes(state, n_known, X[novel], self.n_neighbors)
        return out, distances[:, 0]


def _most_common(codes: np.ndarray) -> np.ndarray:
    """Most common code of each row of codes, ties to the one that comes first; -1 is no code."""
    votes = np.zeros((len(codes), int(codes.max(initial=0)) + 1))
    for rank, column in enumerate(codes.T):
        valid = np.flatnonzero(column >= 0)
        votes[valid, column[valid]] += 1 - _RANK * rank / codes.shape[1]
    return votes.argmax(axis=1)


def _novel_codes(state: Mapping[str, Any], n_known: int, X: np.ndarray, n_neighbors: int) -> np.ndarray:
    """Novel class of each row: by the clusterer, or by the nearest reference rows of novel classes."""
    novel = state["reference_codes_"] >= n_known
    neighbors = nearest_references(state["reference_rows_"][novel], X, n_neighbors)[1]
    codes = _most_common(state["reference_codes_"][novel][neighbors])
    if hasattr(state["clusterer_"], "predict"):
        parts, names = np.asarray(state["clusterer_"].predict(X)).astype(np.int64), state["part_names_"]
        place = np.minimum(np.searchsorted(names, parts), len(names) - 1)
        codes = np.where(names[place] == parts, state["part_codes_"][place], codes)
    return codes
