"""Backends of dense linear algebra: which one a device means, and that they agree."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from sklearn_sslcluster.engine import NumpyBackend, TorchBackend, array_backend


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_no_device_is_numpy():
    assert isinstance(array_backend(None), NumpyBackend)


def test_cpu_is_torch():
    backend = array_backend("cpu")
    assert isinstance(backend, TorchBackend)
    assert backend.asarray(np.eye(2)).device.type == "cpu"


def test_auto_without_a_gpu_is_numpy(no_gpu):
    assert isinstance(array_backend("auto"), NumpyBackend)


def test_auto_with_a_gpu_is_torch_on_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert array_backend("auto") == TorchBackend(torch, "cuda")


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_cuda_without_a_gpu_is_refused(no_gpu, device):
    with pytest.raises(ValueError, match=f"device='{device}', but torch sees no CUDA device; device='auto' takes one"):
        array_backend(device)


@pytest.mark.parametrize("device", ["gpu", "", "cdua", "cpu:x"])
def test_unknown_device_is_refused_with_the_ones_there_are(device):
    with pytest.raises(ValueError, match=rf"device must be None, 'cpu', 'cuda', .*'auto', got '{device}'"):
        array_backend(device)


@pytest.mark.parametrize("device", [None, "cpu"])
def test_arrays_are_copies_of_the_type_asked_for(device):
    backend = array_backend(device)
    values = np.arange(6.0).reshape(2, 3)
    array = backend.asarray(values, "float32")
    array += 1
    assert str(array.dtype).endswith("float32")
    assert_allclose(values, np.arange(6.0).reshape(2, 3))
    assert backend.numpy(array).dtype == np.float64
    assert_allclose(backend.numpy(array), values + 1)


@pytest.mark.parametrize("device", [None, "cpu"])
@pytest.mark.parametrize("n_pairs", [1, 5, 11, 20])
def test_top_eigenpairs_come_in_increasing_order(device, n_pairs):
    backend = array_backend(device)
    matrix = np.random.default_rng(0).standard_normal((20, 20))
    matrix += matrix.T
    values, vectors = (backend.numpy(array) for array in backend.top_eigh(backend.asarray(matrix), n_pairs))
    assert_allclose(values, np.linalg.eigvalsh(matrix)[20 - n_pairs :], atol=1e-12)
    assert_allclose(matrix @ vectors, vectors * values, atol=1e-12)
