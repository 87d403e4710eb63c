"""Checkpoints of the training loop: what was killed goes on, and what is not its own file is refused."""

import os
import pickle
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_sslcluster import neural
from sklearn_sslcluster.deep import DeepKMeans
from tests.neural_tools import (
    N_ROWS,
    UNKNOWN,
    Log,
    Scripted,
    assert_equal_weights,
    make_network,
    make_trainer,
    weights_of,
)


@pytest.fixture(scope="module")
def rows():
    return np.random.RandomState(0).randn(N_ROWS, 5)


def find_centers(embedding):
    return embedding[[0, 20, 40]]


def joint_objective(kind):
    codes = UNKNOWN.copy()
    codes[:4] = [0, 1, 0, 1]
    if kind == "means":
        return neural.DeepMeans(find_centers, codes, 0.5)
    return neural.DeepEmbedding(find_centers, codes, 1.0, 1.0)


def course(rows, kind, checkpoint=None, on_epoch=None, **settings):
    """A training of two phases with all that has to be stored: batch statistics, moments, best weights, targets."""
    network = make_network(neural.NetworkSettings([8, 6], batch_norm=True, dropout=0.2))
    optimizer = neural.OptimizerSettings("adam", lr=np.float64(5e-3), schedule="cosine")
    given = {"optimizer": optimizer, "validation_share": 0.2, "checkpoint": checkpoint, "seed": 7, **settings}
    trainer = make_trainer(rows, network, on_epoch, codes=UNKNOWN, **given)
    objective = joint_objective(kind)
    phases = [
        neural.Phase("pretrain", neural.Reconstruction(0.3), 4, patience=3, restore_best=True),
        neural.Phase("joint", objective, 5, refresh_every=2, restore_best=kind == "means"),
    ]
    return trainer.train(phases), objective


class Killed(BaseException):
    pass


def kill_after(n_epochs):
    left = iter(range(n_epochs - 1))

    def on_epoch(now):
        if next(left, None) is None:
            raise Killed

    return on_epoch


@pytest.mark.parametrize("kind", ["embedding", "means"])
@pytest.mark.parametrize("kills", [(1,), (3,), (4,), (5,), (6,), (9,), (2, 3, 2)])
def test_training_that_was_killed_ends_as_one_that_was_not(rows, tmp_path, kind, kills):
    path = tmp_path / "fit.pt"
    expected, expected_objective = course(rows, kind)
    for n_epochs in kills:
        with pytest.raises(Killed):
            course(rows, kind, path, kill_after(n_epochs))
        assert path.exists()
    resumed, objective = course(rows, kind, path)
    assert_equal_weights(weights_of(resumed), weights_of(expected))
    assert resumed.history == expected.history
    assert_equal_weights(
        {name: values.numpy() for name, values in objective.state_dict().items()},
        {name: values.numpy() for name, values in expected_objective.state_dict().items()},
    )
    assert_array_equal(objective.start_centers, expected_objective.start_centers)
    for phase in ("pretrain", "joint"):
        for name, values in expected.starts[phase].items():
            assert torch.equal(resumed.starts[phase][name], values)
    assert list(tmp_path.iterdir()) == []


def test_resumed_training_does_not_repeat_epochs(rows, tmp_path):
    path = tmp_path / "fit.pt"
    with pytest.raises(Killed):
        course(rows, "means", path, kill_after(6))
    n_epochs = []
    course(rows, "means", path, lambda now: n_epochs.append(1))
    assert len(n_epochs) == 3


def test_early_stopping_counts_on_after_a_kill(tmp_path):
    class ByEpoch(Scripted):
        def loss(self, batch, network):
            return [5.0, 2.0, 3.0, 3.0, 3.0, 1.0][int(self.weight.item())] - (self.weight - self.weight.detach())

    def run(on_epoch=None):
        objective = ByEpoch()
        trainer = neural.Trainer(
            np.eye(4),
            np.full(4, -1),
            make_network(n_features=4),
            neural.TrainingSettings(
                neural.OptimizerSettings("sgd", lr=1.0, momentum=0.0), checkpoint=str(tmp_path / "fit.pt")
            ),
            on_epoch,
        )
        trained = trainer.train([neural.Phase("only", objective, 6, patience=2, restore_best=True)])
        return len(trained.history["only"]), objective.weight.item()

    with pytest.raises(Killed):
        run(kill_after(3))
    assert run() == (4, 2.0)


def test_file_half_written_does_no_harm(rows, tmp_path):
    path = tmp_path / "fit.pt"
    with pytest.raises(Killed):
        course(rows, "means", path, kill_after(9))
    (tmp_path / "fit.pt.part").write_bytes(b"half a file")
    resumed, _ = course(rows, "means", path)
    assert_equal_weights(weights_of(resumed), weights_of(course(rows, "means")[0]))
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
import numpy as np
from sklearn_sslcluster.deep import DeepKMeans

class Kill:
    left = 5

    def setup(self, estimator, context):
        pass

    teardown = on_fit_task_begin = setup

    def on_fit_task_end(self, estimator, context):
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)

model = eval(sys.argv[1]).set_params(checkpoint=sys.argv[2]).set_callbacks(Kill())
model.fit(np.load(sys.argv[3]))
"""


def test_process_killed_by_the_system_resumes_to_the_same_labels(tmp_path):
    X = np.random.RandomState(0).randn(120, 4) + 3 * (np.arange(120) % 3)[:, None]
    np.save(tmp_path / "rows.npy", X)
    path = tmp_path / "fit.pt"
    text = (
        "DeepKMeans(3, max_pretrain_epochs=3, max_epochs=4, tol=0.0, batch_size=32, n_init=2, "
        "random_state=np.random.RandomState(3))"
    )
    arguments = [sys.executable, "-c", KILLED, text, str(path), str(tmp_path / "rows.npy")]
    assert subprocess.run(arguments, check=False).returncode == -signal.SIGKILL
    assert path.exists()

    def model():
        return eval(text, {"DeepKMeans": DeepKMeans, "np": np})

    resumed, expected = model().set_params(checkpoint=path).fit(X), model().fit(X)
    assert resumed.history_ == expected.history_
    assert_array_equal(resumed.labels_, expected.labels_)
    assert_allclose(resumed.cluster_centers_, expected.cluster_centers_, rtol=1e-6)
    assert not path.exists()


@pytest.fixture
def stored(rows, tmp_path):
    """A checkpoint of a training that was killed."""
    path = tmp_path / "fit.pt"
    with pytest.raises(Killed):
        course(rows, "means", path, kill_after(2))
    return path


def test_checkpoint_of_another_fit_is_refused_and_kept(rows, stored):
    before = stored.read_bytes()
    with pytest.raises(ValueError, match=r"checkpoint='.*fit\.pt' belongs to a fit with other data or parameters"):
        course(rows, "means", stored, fingerprint="another fit")
    assert stored.read_bytes() == before


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_damaged_checkpoint_is_refused(rows, stored):
    whole = stored.read_bytes()
    scrambled = np.random.RandomState(0).bytes(300)
    parts = [whole[: len(whole) * share // 8] for share in range(8)]
    for content in [*parts, scrambled, b"some text", pickle.dumps({"format": 1})]:
        stored.write_bytes(content)
        with pytest.raises(ValueError, match=r"checkpoint='.*fit\.pt' is no checkpoint") as caught:
            course(rows, "means", stored)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [[1, 2], {"weights": torch.zeros(2)}, torch.zeros(3)])
def test_other_file_of_torch_is_refused(rows, stored, content):
    torch.save(content, stored)
    with pytest.raises(ValueError, match="is no checkpoint of this package"):
        course(rows, "means", stored)


class Hostile:
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_code_in_a_checkpoint_is_not_run(rows, stored, tmp_path):
    for save in (torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))):
        save({"format": 1, "fingerprint": Hostile(tmp_path / "taken over")}, stored)
        with pytest.raises(ValueError, match="is no checkpoint that can be read"):
            course(rows, "means", stored)
    assert not (tmp_path / "taken over").exists()


def test_place_where_no_checkpoint_can_be_written_is_refused_before_training(rows, tmp_path):
    for path in (tmp_path, tmp_path / "no such folder" / "fit.pt"):
        objective = Log()
        with pytest.raises(ValueError, match=r"checkpoint=.* must be a file in a folder that exists"):
            make_trainer(rows, checkpoint=path).train([neural.Phase("only", objective, 1)])
        assert objective.trained == []
