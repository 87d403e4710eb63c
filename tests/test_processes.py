"""Training by two processes of torch.distributed: the weights of one process, in both."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import make_blobs

from sklearn_sslcluster.deep import DeepEmbeddedClustering, NetworkSettings

SCRIPT = """
import sys
import numpy as np
from sklearn.datasets import make_blobs
from torch import distributed
from sklearn_sslcluster.deep import DeepEmbeddedClustering, NetworkSettings

rank, folder = int(sys.argv[1]), sys.argv[2]
distributed.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=2)
X, _ = make_blobs(203, n_features=5, centers=3, cluster_std=2.0, random_state=0)
model = DeepEmbeddedClustering(
    3, encoder=NetworkSettings([8]), n_init=2, max_pretrain_epochs=0, max_epochs=6, batch_size=40, tol=None,
    checkpoint=f"{folder}/checkpoint", random_state=0,
).fit(X)
np.savez(f"{folder}/{rank}.npz", Z=model.transform(X), centers=model.cluster_centers_, labels=model.labels_)
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
    return [np.load(folder / f"{rank}.npz") for rank in range(2)]


def test_both_processes_have_the_same_model(fits):
    for name in ("Z", "centers", "labels"):
        assert_array_equal(fits[0][name], fits[1][name])


def test_model_is_that_of_one_process(fits):
    X, _ = make_blobs(203, n_features=5, centers=3, cluster_std=2.0, random_state=0)
    model = DeepEmbeddedClustering(
        3, encoder=NetworkSettings([8]), n_init=2, max_pretrain_epochs=0, max_epochs=6, batch_size=40, tol=None,
        random_state=0,
    ).fit(X)  # fmt: skip
    assert model.improved_
    # Gradients of halves of a batch are summed in another order.
    assert_allclose(fits[0]["Z"], model.transform(X), rtol=1e-3, atol=1e-4)
    assert_allclose(fits[0]["centers"], model.cluster_centers_, rtol=1e-3, atol=1e-4)
