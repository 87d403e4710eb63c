"""Fits on a cluster of processes: what travels, a worker that dies in the middle, and searches by joblib."""

import os
import signal
import threading

import dask.array as da
import numpy as np
import pytest
from joblib import parallel_config
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from sklearn_sslcluster.datasets import make_partially_labeled_blobs
from sklearn_sslcluster.discovery import SemiSupervisedKMeans
from sklearn_sslcluster.mixture import SemiSupervisedGaussianMixture
from sklearn_sslcluster.model_selection import HiddenClassSearchCV

distributed = pytest.importorskip("distributed")

N_ROWS, CHUNK = 6000, 500
MODEL = SemiSupervisedKMeans(5, n_init=2, random_state=0)


@pytest.fixture(scope="module")
def client():
    options = {"threads_per_worker": 1, "memory_limit": 0, "dashboard_address": None}
    with distributed.LocalCluster(n_workers=2, **options) as cluster, distributed.Client(cluster) as client:
        yield client


@pytest.fixture(scope="module")
def blobs():
    return make_partially_labeled_blobs(N_ROWS, n_known=3, n_novel=2, n_features=4, random_state=0)[:2]


@pytest.fixture(scope="module")
def stack(blobs, tmp_path_factory):
    """The rows in files that the workers read."""
    folder = tmp_path_factory.mktemp("stack")
    da.to_npy_stack(folder, da.from_array(blobs[0], chunks=(CHUNK, -1)))
    return folder


def largest_results():
    """Plugin of workers that notes the size of the largest result that a task leaves behind."""

    class LargestResults(distributed.WorkerPlugin):
        name = "largest"

        def setup(self, worker):
            self.worker, self.nbytes = worker, 0

        def transition(self, key, start, finish, **kwargs):
            if finish == "memory":
                self.nbytes = max(self.nbytes, self.worker.state.tasks[key].nbytes or 0)

    return LargestResults()


@pytest.mark.parametrize("model", [MODEL, SemiSupervisedGaussianMixture(5, n_init=1, random_state=0)])
def test_no_chunk_is_the_result_of_a_task(client, blobs, stack, model):
    X, y = blobs
    labels = model.fit(X, y).labels_
    client.register_plugin(largest_results())
    found = model.fit(da.from_npy_stack(stack), y)
    seen = client.run(lambda dask_worker: dask_worker.plugins["largest"].nbytes)
    client.unregister_worker_plugin("largest")
    assert_array_equal(found.labels_, labels)
    assert 0 < max(seen.values()) < CHUNK * X.shape[1] * X.itemsize


def test_answers_of_the_cluster_are_those_of_threads(client, blobs, stack):
    X, y = blobs
    model = MODEL.fit(X, y)
    assert_allclose(model.transform(da.from_npy_stack(stack)).compute(), model.transform(X), atol=1e-12)


def test_rows_on_the_cluster_stay_where_they_are(client, blobs, stack):
    X, y = blobs
    there = da.from_npy_stack(stack).persist()
    distributed.wait(there)
    labels = MODEL.fit(there, y).labels_
    assert_array_equal(labels, MODEL.fit(X, y).labels_)


def deadly(folder, stack, deadly_read):
    """Rows of the files; a process that reads the fifth for the given time says who it is, and waits for its end."""

    def read(block, block_info=None):
        number = block_info[0]["chunk-location"][0]
        if number == 4:
            with open(f"{folder}/reads", "a+") as file:
                file.write(".")
                is_deadly = file.tell() == deadly_read
            if is_deadly:
                with open(f"{folder}/pipe", "w") as pipe:
                    pipe.write(str(os.getpid()))
                threading.Event().wait(60)
        return block

    return da.from_npy_stack(stack).map_blocks(read, dtype=np.float64, meta=np.empty((0, 0)))


@pytest.mark.parametrize("deadly_read", [2, 5])
def test_worker_that_dies_in_the_middle_costs_time_and_not_the_answer(client, blobs, stack, tmp_path, deadly_read):
    X, y = blobs
    expected = MODEL.fit(X, y)
    labels, centers = expected.labels_, expected.cluster_centers_
    os.mkfifo(tmp_path / "pipe")
    killed = []

    def kill():
        with open(tmp_path / "pipe") as pipe:
            killed.append(int(pipe.read()))
        os.kill(killed[0], signal.SIGKILL)

    processes = set(client.run(os.getpid).values())
    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    found = MODEL.fit(deadly(str(tmp_path), stack, deadly_read), y)
    killer.join(timeout=60)
    assert killed
    assert killed[0] in processes
    assert_array_equal(found.labels_, labels)
    assert_allclose(found.cluster_centers_, centers, rtol=1e-10)
    client.wait_for_workers(2)


# Tables in memory, searched on the cluster


@pytest.fixture
def scattered(monkeypatch):
    """Sizes of the arrays that are sent to the workers."""
    sizes = []
    scatter = distributed.Client.scatter

    def noting(self, data, *args, **kwargs):
        sizes.append(getattr(data, "nbytes", 0))
        return scatter(self, data, *args, **kwargs)

    monkeypatch.setattr(distributed.Client, "scatter", noting)
    return sizes


@pytest.mark.parametrize(
    "model",
    [SemiSupervisedKMeans(5, n_init=4, random_state=0), SemiSupervisedGaussianMixture(5, n_init=4, random_state=0)],
    ids=["k-means", "mixture"],
)
def test_starts_on_the_cluster_are_those_of_this_process_and_are_sent_once(client, blobs, scattered, model):
    X, y = blobs[0][:600], blobs[1][:600]
    expected = model.fit(X, y).labels_
    with parallel_config("dask", n_jobs=2):
        found = clone(model).fit(X, y).labels_
    assert_array_equal(found, expected)
    # The sample holds the unlabeled rows.
    sample = X[y == -1].nbytes
    assert sum(nbytes > sample for nbytes in scattered) == 1


@pytest.mark.parametrize(
    "search",
    [
        GridSearchCV(MODEL, {"n_clusters": [4, 5]}, cv=2),
        HiddenClassSearchCV(MODEL, {"n_clusters": [4, 5]}, random_state=0),
    ],
    ids=["GridSearchCV", "HiddenClassSearchCV"],
)
def test_searches_on_the_cluster_agree_with_serial_ones_and_send_the_table_once(client, blobs, scattered, search):
    X, y = blobs[0][:600], blobs[1][:600]
    expected = search.fit(X, y).cv_results_["mean_test_score"]
    with parallel_config("dask", n_jobs=2):
        found = search.fit(X, y).cv_results_["mean_test_score"]
    assert_allclose(found, expected, rtol=1e-12)
    assert scattered.count(X.nbytes) == 1
