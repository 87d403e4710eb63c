"""Sums on a device: the same as by numpy, in blocks that fit."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn.base import clone

from sklearn_sslcluster.datasets import make_partially_labeled_blobs
from sklearn_sslcluster.discovery import NCDKMeans, SemiSupervisedKMeans
from sklearn_sslcluster.engine import DeviceBlocks, RowBlocks, array_backend
from sklearn_sslcluster.engine.device import TorchBackend
from sklearn_sslcluster.mixture import (
    ProbabilisticPartitivePartitioning,
    SemiSupervisedGaussianMixture,
    SplitMergeGaussianMixture,
)
from sklearn_sslcluster.numerics import COVARIANCE_TYPES, Mixture, evaluation_of, make_gaussians
from sklearn_sslcluster.numerics.centroids import lloyd_statistics, moment_statistics
from sklearn_sslcluster.numerics.mixture_steps import expectation_statistics

CPU = array_backend("cpu")


def rows_with_data(dtype=np.float64, n_rows=1000):
    rng = np.random.RandomState(0)
    X = rng.normal(size=(n_rows, 5)).astype(dtype)
    codes = np.where(rng.uniform(size=n_rows) < 0.3, rng.randint(2, size=n_rows), -1).astype(np.int32)
    return X, codes, rng.uniform(0.5, 2, size=n_rows)


def assert_same_sums(statistics, parameters, X, row_data, rtol, **settings):
    expected = RowBlocks(X, row_data).sum(statistics, parameters)
    found = DeviceBlocks(X, row_data, backend=CPU, **settings).sum(statistics, parameters)
    for a, b in zip(found, expected, strict=True):
        assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max())


def data_of(kind, codes, weight):
    return {"none": (None, None), "codes": (codes, None), "weight": (None, weight), "both": (codes, weight)}[kind]


@pytest.mark.parametrize("kind", ["none", "codes", "weight", "both"])
@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-12), (np.float32, 1e-5)])
@pytest.mark.parametrize("block_size", ["auto", 97])
def test_lloyd_sums_are_those_of_numpy(kind, dtype, rtol, block_size):
    X, codes, weight = rows_with_data(dtype)
    centers = X[:7].astype(np.float64)
    for shift in (None, X.mean(axis=0).astype(np.float64)):
        assert_same_sums(
            lloyd_statistics, (centers, shift), X, data_of(kind, codes, weight), rtol, block_size=block_size
        )


@pytest.mark.parametrize("covariance", sorted(COVARIANCE_TYPES))
@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-11), (np.float32, 2e-4)])
@pytest.mark.parametrize("kind", ["none", "both"])
def test_expectation_sums_are_those_of_numpy(covariance, dtype, rtol, kind):
    X, codes, weight = rows_with_data(dtype)
    rng = np.random.RandomState(1)
    factors = rng.normal(size=(3, 5, 5))
    full = factors @ factors.transpose(0, 2, 1) / 5 + np.eye(5)
    variances = np.diagonal(full, axis1=1, axis2=2)
    covariances = {"full": full, "tied": full[0], "diag": variances, "spherical": variances.mean(axis=1)}[covariance]
    gaussians, _ = make_gaussians(covariance, rng.normal(size=(3, 5)), covariances)
    evaluation = evaluation_of(Mixture(gaussians, np.array([0.2, 0.3, 0.5])), X.mean(axis=0), 40.0, X.dtype)
    assert evaluation.expansion is not None
    assert evaluation.dtype == dtype
    row_data = data_of(kind, codes, weight)
    expected = RowBlocks(X, row_data).sum(expectation_statistics, evaluation)
    found = DeviceBlocks(X, row_data, backend=CPU, block_size=300).sum(expectation_statistics, evaluation)
    for a, b in zip(found[:3], expected[:3], strict=True):
        assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max())
    if covariance != "tied":
        assert_allclose(found[3], expected[3], rtol=rtol, atol=rtol * np.abs(expected[3]).max())


def test_densities_by_differences_are_left_to_numpy():
    X, _, _ = rows_with_data()
    gaussians, _ = make_gaussians("full", X[:2], np.stack([np.eye(5)] * 2))
    evaluation = evaluation_of(Mixture(gaussians, np.array([0.5, 0.5])), None, np.inf, X.dtype)
    assert evaluation.expansion is None
    assert_same_sums(expectation_statistics, evaluation, X, (None, None), 1e-14)


def test_statistics_without_a_kernel_are_left_to_numpy():
    X, codes, weight = rows_with_data()
    assert_same_sums(moment_statistics, None, X, (codes, weight), 1e-14)


def test_memory_maps_are_read_and_not_written(tmp_path):
    X, codes, _ = rows_with_data()
    path = tmp_path / "X.npy"
    np.save(path, X)
    mapped = np.load(path, mmap_mode="r")
    assert_same_sums(lloyd_statistics, (X[:3], None), mapped, (codes, None), 1e-12, block_size=64)


class SmallDevice(TorchBackend):
    """A device on which 300 rows do not fit."""

    def free_bytes(self):
        return 10**6


class ColumnSums:
    """Kernel of a statistic that needs a device for at most `most` rows."""

    def __init__(self, most):
        self.most, self.tried = most, []

    def run(self, block, row_data, parameters):
        self.tried.append(len(block))
        if len(block) > self.most:
            raise torch.OutOfMemoryError("too many rows")
        return (block.sum(dim=0),)

    def row_bytes(self, n_features, itemsize, parameters):
        return n_features * itemsize


def statistic_of(kernel):
    def statistic(block, row_data, parameters):
        raise AssertionError("numpy was asked")

    statistic.on_device = kernel
    return statistic


def test_blocks_that_do_not_fit_are_halved_and_the_sum_goes_on():
    X, _, _ = rows_with_data()
    kernel = ColumnSums(300)
    blocks = DeviceBlocks(X, backend=SmallDevice(torch, "cpu"))
    (total,) = blocks.sum(statistic_of(kernel))
    assert_allclose(total, X.sum(axis=0))
    assert kernel.tried == [1000, 500, 256, 256, 256, 232]
    kernel.tried.clear()
    (again,) = blocks.sum(statistic_of(kernel))
    assert_array_equal(again, total)
    assert kernel.tried == [256, 256, 256, 232]


def test_rows_that_never_fit_are_an_error():
    with pytest.raises(torch.OutOfMemoryError):
        DeviceBlocks(rows_with_data()[0], backend=CPU).sum(statistic_of(ColumnSums(0)))


def test_other_rows_are_worked_on_by_numpy():
    X, codes, _ = rows_with_data()
    blocks = DeviceBlocks(X, (codes, None), backend=CPU)
    assert type(blocks.like(X[:10])) is RowBlocks
    assert type(blocks.like(X, (None, None))) is DeviceBlocks


ESTIMATORS = [
    SemiSupervisedKMeans(5, n_init=3, random_state=0),
    NCDKMeans(5, n_init=3, random_state=0),
    SemiSupervisedGaussianMixture(5, n_init=3, random_state=0),
    SplitMergeGaussianMixture(n_init=1, random_state=0),
    ProbabilisticPartitivePartitioning(random_state=0),
]


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: type(estimator).__name__)
def test_fits_on_a_device_give_the_same_classes(estimator):
    X, y, _ = make_partially_labeled_blobs(600, n_known=3, n_novel=2, random_state=0)
    expected = clone(estimator).fit(X, y)
    model = clone(estimator).set_params(device="cpu").fit(X, y)
    assert_array_equal(model.labels_, expected.labels_)
    assert_array_equal(model.predict(X[:50]), expected.predict(X[:50]))


def test_fit_over_all_rows_is_on_the_device(monkeypatch):
    X, y, _ = make_partially_labeled_blobs(40_000, n_known=3, n_novel=2, random_state=0)
    seen = []
    original = DeviceBlocks._sum_on_device

    def watched(self, kernel, parameters):
        seen.append(self.n_rows)
        return original(self, kernel, parameters)

    expected = SemiSupervisedKMeans(5, n_init=1, random_state=0).fit(X, y)
    monkeypatch.setattr(DeviceBlocks, "_sum_on_device", watched)
    model = SemiSupervisedKMeans(5, n_init=1, device="cpu", random_state=0).fit(X, y)
    assert set(seen) == {40_000}
    assert_allclose(model.cluster_centers_, expected.cluster_centers_, rtol=1e-10)
    assert_array_equal(model.labels_, expected.labels_)


def test_sparse_rows_are_left_to_numpy():
    X, y, _ = make_partially_labeled_blobs(200, n_known=3, n_novel=2, random_state=0)
    expected = SemiSupervisedKMeans(5, n_init=1, random_state=0).fit(csr_array(X), y)
    model = SemiSupervisedKMeans(5, n_init=1, device="cpu", random_state=0).fit(csr_array(X), y)
    assert_array_equal(model.labels_, expected.labels_)


def test_device_that_is_none_is_refused():
    with pytest.raises(ValueError, match="device must be None, 'cpu', 'cuda'"):
        SemiSupervisedKMeans(device="tpu").fit(np.eye(5))
