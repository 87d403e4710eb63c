"""Any clusterer on the rows without a label; neighbors tell known rows from novel ones."""

import numpy as np
import pytest
from sklearn.cluster import DBSCAN, AgglomerativeClustering, KMeans
from sklearn.datasets import make_moons
from sklearn.neighbors import KNeighborsClassifier

from sklearn_sslcluster.datasets import make_partially_labeled_blobs
from sklearn_sslcluster.discovery import NovelRowsClustering, SemiSupervisedKMeans
from sklearn_sslcluster.metrics import clustering_accuracy


@pytest.fixture(scope="module")
def blobs():
    return make_partially_labeled_blobs(240, n_known=3, n_novel=3, n_features=4, random_state=0)


@pytest.mark.parametrize("clusterer", [None, KMeans(n_init=3), DBSCAN(eps=2.5), SemiSupervisedKMeans(n_init=3)])
def test_clusters_are_those_of_the_clusterer_on_the_unlabeled_rows(blobs, clusterer):
    X, y, y_true = blobs
    model = NovelRowsClustering(6, clusterer=clusterer, random_state=0).fit(X, y)
    assert model.novel_classes_.tolist() == [3, 4, 5]
    assert clustering_accuracy(y_true, model.labels_) == 1
    assert clustering_accuracy(y_true[y < 0], model.predict_novel(X[y < 0])) == 1


def test_default_is_ward(blobs):
    X, y, _ = blobs
    noisy = X + 3 * np.random.RandomState(0).normal(size=X.shape)
    model = NovelRowsClustering(6, random_state=0).fit(noisy, y)
    free = noisy[y < 0]
    ward = AgglomerativeClustering(3).fit(free[np.lexsort(free.T[::-1])]).labels_
    assert clustering_accuracy(ward, model.clusterer_.labels_) == 1


def test_known_rows_are_told_by_their_neighbors():
    X, y, _ = make_partially_labeled_blobs(300, n_known=3, n_novel=2, class_sep=3, random_state=1)
    model = NovelRowsClustering(5, n_neighbors=5, random_state=0).fit(X, y)
    new = make_partially_labeled_blobs(300, n_known=3, n_novel=2, class_sep=3, random_state=2)[0]
    neighbors = KNeighborsClassifier(5).fit(X, y >= 0)
    is_known = neighbors.predict(new)
    np.testing.assert_array_equal(model.predict(new) < 3, is_known)
    np.testing.assert_allclose(model.novelty_score(new), 1 - neighbors.predict_proba(new)[:, 1])


def test_shape_of_the_clusters_is_that_of_the_clusterer():
    X, moon = make_moons(200, noise=0.05, random_state=0)
    ball = np.random.RandomState(1).normal([0.5, 1.8], 0.2, size=(100, 2))
    y = np.r_[np.full(200, -1), np.zeros(100, dtype=int)]
    single = AgglomerativeClustering(linkage="single")
    model = NovelRowsClustering(3, clusterer=single, random_state=0).fit(np.vstack([X, ball]), y)
    assert clustering_accuracy(moon, model.labels_[:200]) == 1


def test_rows_that_the_clusterer_leaves_out_follow_their_neighbors():
    X, y, _ = make_partially_labeled_blobs(200, n_known=2, n_novel=2, random_state=0)
    far = np.vstack([X, X[y < 0][0] + 6])
    model = NovelRowsClustering(clusterer=DBSCAN(eps=1.5)).fit(far, np.r_[y, -1])
    assert model.clusterer_.labels_.min() == -1
    assert model.labels_[-1] in model.novel_classes_


def test_a_part_amid_known_rows_is_no_class():
    X, y, _ = make_partially_labeled_blobs(200, n_known=2, n_novel=1, random_state=0)
    amid = np.vstack([X, X[y == 0].mean(axis=0)])
    with pytest.warns(UserWarning, match="clusters were found"):
        model = NovelRowsClustering(4, clusterer=AgglomerativeClustering(linkage="single")).fit(amid, np.r_[y, -1])
    assert model.labels_[-1] == 0
    assert model.novel_classes_.tolist() == [2]


def test_large_tables_are_sampled():
    X, y, y_true = make_partially_labeled_blobs(2000, n_known=3, n_novel=2, random_state=0)
    model = NovelRowsClustering(5, max_rows=100, random_state=0).fit(X, y)
    assert len(model.reference_rows_) == 200
    assert clustering_accuracy(y_true, model.labels_) == 1


def test_warns_where_unlabeled_rows_look_known():
    X, y, _ = make_partially_labeled_blobs(300, n_known=3, n_novel=2, labeled_fraction=0.7, random_state=0)
    with pytest.warns(UserWarning, match="mostly labeled neighbors"):
        NovelRowsClustering(5, random_state=0).fit(X, y)


def test_no_novel_class_is_refused_by_predict_novel():
    X, _, y_true = make_partially_labeled_blobs(100, random_state=0)
    model = NovelRowsClustering(random_state=0).fit(X, y_true)
    with pytest.raises(ValueError, match="found no novel class"):
        model.predict_novel(X)
