"""What a user writes, for a strict type checker (see .ci/run)."""

from typing import assert_type

import numpy as np
import numpy.typing as npt

from sklearn_sslcluster.auto import NovelClassDiscovery
from sklearn_sslcluster.datasets import make_partially_labeled_blobs
from sklearn_sslcluster.deep import NetworkSettings, VariationalDeepEmbedding
from sklearn_sslcluster.discovery import KnownClassMetric, SemiSupervisedKMeans, TabularNCD
from sklearn_sslcluster.inspection import ClusterReport
from sklearn_sslcluster.metrics import clustering_accuracy
from sklearn_sslcluster.mixture import SemiSupervisedGaussianMixture
from sklearn_sslcluster.model_selection import HiddenClassSearchCV, estimate_n_clusters
from sklearn_sslcluster.quantization import BalancedKMeans
from sklearn_sslcluster.sdp import SDPKMeans, certify_kmeans
from sklearn_sslcluster.utils import all_estimators, trusted_types

Rows = npt.NDArray[np.float64]


def name_rows(X: Rows, y: npt.NDArray[np.int64], new: Rows) -> npt.NDArray[np.int64]:
    model = SemiSupervisedKMeans("auto", random_state=0).fit(X, y)
    assert_type(model, SemiSupervisedKMeans)
    assert_type(model.score(X), float)
    ClusterReport(model, X, y).to_html("report.html")
    return model.predict(new, reject=0.99)


def choose(X: Rows, y: npt.NDArray[np.int64]) -> int:
    search = HiddenClassSearchCV(SemiSupervisedGaussianMixture(), {"n_init": [1, 2]}).fit(X, y)
    certificate = certify_kmeans(X, search.predict(X))
    print(certificate.gap, KnownClassMetric().fit(X, y).transform(X).shape)
    number: int = estimate_n_clusters(X, y)
    return number


def everything() -> None:
    X, y, truth = make_partially_labeled_blobs(60, random_state=0)
    names: list[str] = trusted_types()
    print(names)
    print(name_rows(X, y, X), choose(X, y), [name for name, _ in all_estimators()])
    assert_type(clustering_accuracy(truth, y), float)
    assert_type(NovelClassDiscovery().fit(X, y), NovelClassDiscovery)
    assert_type(SDPKMeans(3).fit(X, y), SDPKMeans)
    assert_type(BalancedKMeans(3).fit(X), BalancedKMeans)
    assert_type(TabularNCD(categorical_features=["city"]).fit(X, y), TabularNCD)
    assert_type(VariationalDeepEmbedding(encoder=NetworkSettings((8,))).fit(X, y), VariationalDeepEmbedding)
