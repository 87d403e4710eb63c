"""A quick clusterer, planted blobs and a small search for the tests of HiddenClassSearchCV."""

import os

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.metrics import silhouette_score
from sklearn.utils.validation import check_is_fitted

from sklearn_sslcluster.base import PartialLabelMixin, fit_method
from sklearn_sslcluster.labels import decode
from sklearn_sslcluster.model_selection import HiddenClassSearchCV


class SeededKMeans(PartialLabelMixin, BaseEstimator):
    """Nearest of the means of the known classes and of rows far from them; quick, exact on separated blobs."""

    _parameter_constraints = {}

    def __init__(self, n_clusters=5, *, unlabeled_value=-1, fail_above=None, callback=None):
        self.n_clusters = n_clusters
        self.unlabeled_value = unlabeled_value
        self.fail_above = fail_above
        self.callback = callback

    @fit_method
    def fit(self, X, y=None, sample_weight=None):
        if self.callback is not None:
            self.callback(X, y, sample_weight)
        if self.fail_above is not None and self.n_clusters > self.fail_above:
            raise TypeError("too many clusters for this test")
        table, X = X, self._validate_rows(X, reset=True)
        labels = self._encode_labels(y, X)
        n_clusters = min(max(self.n_clusters, labels.n_known), len(X))
        centers = [X[labels.codes == code].mean(axis=0) for code in range(labels.n_known)] or [X[0]]
        while len(centers) < n_clusters:
            nearest = np.min([np.square(X - center).sum(axis=1) for center in centers], axis=0)
            centers.append(X[np.argmax(nearest)])
        centers = KMeans(n_clusters, init=np.array(centers), n_init=1).fit(X).cluster_centers_
        names = self._name_classes(labels.classes, n_clusters - labels.n_known)
        nearest = np.square(X[:, np.newaxis] - centers).sum(axis=-1).argmin(axis=1)
        self._set_fitted(
            **names,
            cluster_centers_=centers,
            n_clusters_=n_clusters,
            labels_=decode(np.where(labels.unlabeled, nearest, labels.codes), names["classes_"]),
            was_mapped_=isinstance(table, np.memmap),
            file_=float(os.stat(table.filename).st_ino) if isinstance(table, np.memmap) else 0.0,
        )
        return self

    def predict(self, X, shift=0):
        check_is_fitted(self)
        X = self._validate_rows(X, reset=False)
        nearest = np.square(X[:, np.newaxis] - self.cluster_centers_).sum(axis=-1).argmin(axis=1)
        return self.classes_[(nearest + shift) % len(self.classes_)]

    def transform(self, X):
        check_is_fitted(self)
        return np.square(self._validate_rows(X, reset=False)[:, np.newaxis] - self.cluster_centers_).sum(axis=-1)

    def novelty_score(self, X):
        return self.transform(X).min(axis=1)

    def score(self, X, y=None):
        found = np.unique(self.predict(X), return_inverse=True)[1]
        return silhouette_score(X, found) if 1 < len(np.unique(found)) < len(X) else -1.0


class Spy(TransformerMixin, BaseEstimator):
    """Step that writes down what it is given."""

    seen: list = []

    def fit(self, X, y=None):
        self.seen.append((X, y))
        return self

    def transform(self, X):
        return X


CENTERS = np.array([[0, 0], [10, 0], [0, 10], [10, 10], [5, 20], [20, 5], [-10, 5]])


def blobs(n_known=4, n_classes=5, n_rows=105, std=0.5, unlabeled_known=True):
    X, truth = make_blobs(n_rows, centers=CENTERS[:n_classes], cluster_std=std, random_state=0)
    named = truth < n_known
    if unlabeled_known:
        named &= np.arange(n_rows) % 4 != 0
    return X, np.where(named, truth, -1), truth


def search_of(estimator=None, grid=None, **settings):
    grid = {"n_clusters": [4, 5, 6]} if grid is None else grid
    settings = {"cv": 3, "random_state": 0, **settings}
    return HiddenClassSearchCV(SeededKMeans() if estimator is None else estimator, grid, **settings)


def objects(y, names):
    return np.array([*names, None], dtype=object)[y]


def nothing(estimator, X, y):
    return 0.0


def fewest_clusters(estimator, X, y):
    return -float(estimator.n_clusters)


def two_scores(estimator, X, y):
    return {"few": fewest_clusters(estimator, X, y), "zero": 0.0}
