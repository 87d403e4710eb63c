"""Networks, trainers and objectives that the tests of the neural engine share."""

import numpy as np
import torch
from numpy.testing import assert_array_equal
from scipy.spatial.distance import cdist
from torch import nn

from sklearn_sslcluster import neural

N_ROWS, N_FEATURES = 48, 5
UNKNOWN = np.full(N_ROWS, -1)


def make_network(settings=None, n_features=N_FEATURES):
    return neural.build_autoencoder(settings, N_ROWS, n_features, 3, seed=0)


def make_trainer(rows, network=None, on_epoch=None, codes=UNKNOWN, **settings):
    given = neural.TrainingSettings(**{"batch_size": 16, "fingerprint": "this fit", **settings})
    return neural.Trainer(rows, codes, network or make_network(), given, on_epoch)


def weights_of(trained):
    return {name: values.numpy() for name, values in trained.network.state_dict().items()}


def assert_equal_weights(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert_array_equal(first[name], second[name], err_msg=name)


class Scripted(neural.Objective):
    """Loss by script in each epoch, clusters by script at each refresh; its one weight rises by `pull` times the rate.

    With batches as large as the table and plain descent at rate 1 the weight counts epochs.
    """

    def __init__(self, losses=(), clusters=(), pull=1.0):
        super().__init__()
        self.losses, self.clusters, self.pull = losses, list(clusters), pull
        self.weight = nn.Parameter(torch.zeros(()))
        self.weights, self.n_refreshed = [], 0

    def refresh(self, embedding):
        self.n_refreshed += 1
        self.weights.append(self.weight.item())
        return torch.tensor(self.clusters.pop(0)) if self.clusters else None

    def loss(self, batch, network):
        value = self.losses[self.n_refreshed - 1] if self.losses else 1.0
        return value - self.pull * (self.weight - self.weight.detach())


class Log(neural.Reconstruction):
    """Reconstruction that notes the rows it is asked about."""

    def __init__(self, name="log", heard=None):
        super().__init__()
        self.name, self.heard = name, heard if heard is not None else []
        self.trained, self.monitored = [], []

    def start(self, embedding):
        self.heard.append(f"start {self.name}")
        self.embedding = embedding

    def loss(self, batch, network):
        if self.training:
            self.heard.append(f"train {self.name}")
        (self.trained if self.training else self.monitored).append(batch.index.tolist())
        return super().loss(batch, network)


def target_by_formula(Z, centers, codes, alpha=1.0):
    """(target, soft assignment) of rows of an embedding, the target one-hot where the code is known."""
    q = (1 + cdist(Z, centers, "sqeuclidean") / alpha) ** (-(alpha + 1) / 2)
    q /= q.sum(axis=1, keepdims=True)
    p = q**2 / q.sum(axis=0)
    p /= p.sum(axis=1, keepdims=True)
    p[codes >= 0] = np.eye(len(centers))[codes[codes >= 0]]
    return p, q
