"""Restarts by several processes: the same answers, in order."""

import pytest
from joblib import parallel_config
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import make_blobs

from sklearn_sslcluster.discovery import NCDKMeans, SemiSupervisedKMeans
from sklearn_sslcluster.mixture import SemiSupervisedGaussianMixture
from sklearn_sslcluster.numerics import run_starts


def noted(shared, number, seed):
    shared.append(number)
    return number, seed


def test_starts_are_run_as_they_are_asked_for():
    made = []
    starts = run_starts(noted, made, [5, 6, 7])
    assert next(starts) == (0, 5)
    assert next(starts) == (1, 6)
    assert made == [0, 1]


def test_results_of_others_come_in_order():
    made = []
    with parallel_config("threading", n_jobs=2):
        found = list(run_starts(noted, made, [5, 6, 7, 8]))
    assert found == [(0, 5), (1, 6), (2, 7), (3, 8)]
    # What they were sent is a copy.
    assert made == []


@pytest.mark.parametrize(
    "model",
    [
        SemiSupervisedKMeans(4, n_init=5, random_state=0),
        NCDKMeans(4, n_init=5, random_state=0),
        SemiSupervisedGaussianMixture(4, n_init=5, random_state=0),
        SemiSupervisedGaussianMixture(4, covariance_type="diag", init="random", n_init=5, random_state=0),
    ],
    ids=lambda model: type(model).__name__,
)
@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_fit_does_not_depend_on_who_runs_its_starts(model, backend):
    X, y = make_blobs(200, centers=4, cluster_std=2.0, random_state=0)
    y[40:] = -1
    y[y > 1] = -1
    serial = model.fit(X, y)
    with parallel_config(backend, n_jobs=2):
        parallel = clone(model).fit(X, y)
    assert_array_equal(serial.labels_, parallel.labels_)
    assert_allclose(serial.transform(X) if hasattr(serial, "transform") else serial.means_,
                    parallel.transform(X) if hasattr(parallel, "transform") else parallel.means_)  # fmt: skip
