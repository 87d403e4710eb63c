"""Training by two processes of torch.distributed: the weights of one process, in both."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import make_blobs

from sklearn_sslcluster.deep import DeepEmbeddedClustering, DeepKMeans, NetworkSettings

SCRIPT = """
import sys
import numpy as np
from sklearn.datasets import make_blobs
from torch import distributed
from sklearn_sslcluster.deep import DeepEmbeddedClustering, DeepKMeans, NetworkSettings

rank, folder = int(sys.argv[1]), sys.argv[2]
distributed.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=2)
X, _ = make_blobs(203, n_features=5, centers=3, cluster_std=2.0, random_state=0)
for cls in (DeepEmbeddedClustering, DeepKMeans):
    model = cls(
        3, encoder=NetworkSettings([8]), n_init=2, max_pretrain_epochs=0, max_epochs=6, batch_size=29, tol=None,
        checkpoint=f"{folder}/checkpoint", random_state=0,
    ).fit(X)
    path = f"{folder}/{cls.__name__}{rank}.npz"
    losses = [entry["train_loss"] for entry in model.history_["joint"]]
    np.savez(path, Z=model.transform(X), centers=model.cluster_centers_, labels=model.labels_, losses=losses)
few = DeepKMeans(3, encoder="identity", n_init=2, max_epochs=1, random_state=0).fit(X).partial_fit(X[:3])
np.savez(f"{folder}/few{rank}.npz", counts=few.training_state_["objective"]["counts"])
noisy = DeepKMeans(
    3, encoder=NetworkSettings([8], batch_norm=True, dropout=0.2), n_init=2, max_pretrain_epochs=3, max_epochs=3,
    random_state=0,
).fit(X)
np.savez(f"{folder}/noisy{rank}.npz", Z=noisy.transform(X), centers=noisy.cluster_centers_, labels=noisy.labels_)
distributed.destroy_process_group()
"""


@pytest.fixture(scope="module")
def fits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    script = folder / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    started = [
        subprocess.Popen([sys.executable, script, str(rank), str(folder)], stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    try:
        errors = [process.communicate(timeout=240)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0], errors
    assert not (folder / "checkpoint").exists()
    return folder


def found(folder, name):
    return [np.load(folder / f"{name}{rank}.npz") for rank in range(2)]


@pytest.mark.parametrize("name", ["DeepEmbeddedClustering", "DeepKMeans", "noisy"])
def test_both_processes_have_the_same_model(fits, name):
    first, second = found(fits, name)
    for part in ("Z", "centers", "labels"):
        assert_array_equal(first[part], second[part])


def test_rows_that_all_processes_see_count_once(fits):
    for counts in found(fits, "few"):
        assert counts["counts"].sum() == 303


@pytest.mark.parametrize("cls", [DeepEmbeddedClustering, DeepKMeans])
def test_model_is_that_of_one_process(fits, cls):
    X, _ = make_blobs(203, n_features=5, centers=3, cluster_std=2.0, random_state=0)
    model = cls(
        3, encoder=NetworkSettings([8]), n_init=2, max_pretrain_epochs=0, max_epochs=6, batch_size=29, tol=None,
        random_state=0,
    ).fit(X)  # fmt: skip
    together, _ = found(fits, cls.__name__)
    losses = [entry["train_loss"] for entry in model.history_["joint"]]
    # Gradients of halves of a batch are summed in another order.
    assert_allclose(together["losses"], losses, rtol=1e-5)
    assert_allclose(together["Z"], model.transform(X), rtol=1e-3, atol=1e-4)
    assert_allclose(together["centers"], model.cluster_centers_, rtol=1e-3, atol=1e-4)
