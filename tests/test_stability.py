"""The silhouette times the agreement of halves."""

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score, silhouette_score

from sklearn_sslcluster.numerics import StableSilhouette
from sklearn_sslcluster.numerics.stability import half_agreement


def test_halves_of_separate_groups_agree_and_those_of_one_group_do_not():
    X, _ = make_blobs(200, centers=[[0, 0], [20, 0], [0, 20]], random_state=0)
    assert half_agreement(X, 3, np.random.RandomState(0)) == pytest.approx(1)
    one = np.random.RandomState(0).normal(size=(200, 8))
    assert half_agreement(one, 6, np.random.RandomState(0)) < 0.4


def test_agreement_is_the_adjusted_rand_index_of_clusters_of_halves():
    X = np.random.RandomState(0).normal(size=(60, 3))
    rng = np.random.RandomState(7)
    values = []
    for _ in range(5):
        order = rng.permutation(60)
        fits = [KMeans(4, n_init=3, random_state=rng).fit(X[half]) for half in (order[:30], order[30:])]
        values.append(adjusted_rand_score(*(fit.predict(X) for fit in fits)))
    assert half_agreement(X, 4, np.random.RandomState(7)) == pytest.approx(np.mean(values))


def test_no_more_clusters_than_half_of_the_rows_have_an_agreement():
    X = np.random.RandomState(0).normal(size=(10, 2))
    assert half_agreement(X, 6, np.random.RandomState(0)) == 0


def test_criterion_is_the_product_and_the_silhouette_where_that_is_negative():
    X, truth = make_blobs(90, centers=3, random_state=0)
    width = silhouette_score(X, truth)
    agreement = half_agreement(X, 3, np.random.RandomState(0))
    assert StableSilhouette()(X, truth) == pytest.approx(width * agreement, rel=1e-4)
    wrong = np.random.RandomState(0).randint(3, size=90)
    assert StableSilhouette()(X, wrong) == pytest.approx(silhouette_score(X, wrong), rel=1e-3)
    assert silhouette_score(X, wrong) < 0
