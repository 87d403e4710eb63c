"""Objectives of deep embedded clustering and deep k-means: targets, losses and running means, by their formulas."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.distance import cdist

from sklearn_sslcluster import neural
from sklearn_sslcluster.deep import NetworkSettings
from tests.neural_tools import target_by_formula


@pytest.fixture
def embedded():
    """A network, rows, their embedding, centers, and codes of which the first four are known."""
    rng = np.random.RandomState(0)
    network = neural.build_autoencoder(NetworkSettings([6]), 30, 4, 2, seed=0)
    rows = torch.tensor(rng.randn(30, 4), dtype=torch.float32)
    with torch.no_grad():
        embedding = network["encoder"](rows)
    codes = np.r_[0, 1, 1, 0, np.full(26, -1)]
    return network, rows, embedding, rng.randn(3, 2), codes


def batch_of(rows, codes, index):
    return neural.Batch(rows[index], torch.as_tensor(index), torch.as_tensor(codes[index]))


@pytest.mark.parametrize("alpha", [1.0, 2.5])
def test_target_is_that_of_the_paper_on_all_rows_and_one_hot_for_labeled_ones(embedded, alpha):
    _, _, embedding, centers, codes = embedded
    objective = neural.DeepEmbedding(lambda Z: centers, codes, 1.0, 0.5, alpha=alpha)
    objective.start(embedding)
    clusters = objective.refresh(embedding)
    p, q = target_by_formula(embedding.numpy(), centers, codes, alpha)
    assert_allclose(objective.target.numpy(), p, atol=1e-5)
    assert_allclose(objective.soft(embedding).detach().exp().numpy(), q, atol=1e-5)
    assert_array_equal(clusters.numpy(), np.where(codes >= 0, codes, q.argmax(axis=1)))


@pytest.mark.parametrize(("reconstruction", "clustering"), [(1.0, 0.1), (0.0, 1.0)])
def test_loss_of_deep_embedding_is_reconstruction_and_divergence(embedded, reconstruction, clustering):
    network, rows, embedding, centers, codes = embedded
    objective = neural.DeepEmbedding(lambda Z: centers, codes, reconstruction, clustering)
    objective.start(embedding)
    objective.refresh(embedding)
    index = np.arange(2, 17)
    p, q = (values[index] for values in target_by_formula(embedding.numpy(), centers, codes))
    divergence = np.where(p > 0, p * np.log(np.maximum(p, 1e-300) / q), 0).sum(axis=1).mean()
    decoded = network["decoder"](embedding).detach().numpy()[index]
    error = ((decoded - rows.numpy()[index]) ** 2).mean()
    loss = objective.loss(batch_of(rows, codes, index), network).item()
    assert loss == pytest.approx(reconstruction * error + clustering * divergence, rel=1e-4)


def test_target_stays_as_it_is_between_refreshes(embedded):
    network, rows, embedding, centers, codes = embedded
    objective = neural.DeepEmbedding(lambda Z: centers, codes, 1.0, 0.1)
    objective.start(embedding)
    objective.refresh(embedding)
    before = objective.target.clone()
    objective.loss(batch_of(rows, codes, np.arange(10)), network).backward()
    assert torch.equal(objective.target, before)
    assert objective.centers.grad.abs().sum() > 0


def test_dec_needs_no_decoder_and_idec_does(embedded):
    _, _, _, centers, codes = embedded
    assert neural.DeepEmbedding(lambda Z: centers, codes, 0.0, 1.0).requires == ("encoder",)
    assert neural.DeepEmbedding(lambda Z: centers, codes, 1.0, 0.1).requires == ("encoder", "decoder")


def test_loss_of_deep_means_is_reconstruction_and_distance_to_the_own_center(embedded):
    network, rows, embedding, centers, codes = embedded
    objective = neural.DeepMeans(lambda Z: centers, codes, 0.3).eval()
    objective.start(embedding)
    index = np.arange(15)
    squares = cdist(embedding.numpy()[index], centers, "sqeuclidean")
    own = np.where(codes[index] >= 0, codes[index], squares.argmin(axis=1))
    error = ((network["decoder"](embedding).detach().numpy()[index] - rows.numpy()[index]) ** 2).mean()
    expected = error + 0.3 * squares[index, own].mean() / 2
    assert objective.loss(batch_of(rows, codes, index), network).item() == pytest.approx(expected, rel=1e-4)
    assert_allclose(objective.final_centers(), centers, rtol=1e-6)


def test_running_means_of_a_batch_are_those_of_its_rows_one_at_a_time(embedded):
    network, rows, embedding, centers, codes = embedded
    objective = neural.DeepMeans(lambda Z: centers, codes, 0.3).train()
    objective.start(embedding)
    expected, counts = centers.copy(), np.full(3, 100.0)
    for index in (np.arange(15), np.arange(15, 30)):
        Z = embedding.numpy()[index]
        own = np.where(codes[index] >= 0, codes[index], cdist(Z, expected).argmin(axis=1))
        for z, code in zip(Z, own, strict=True):
            counts[code] += 1
            expected[code] = (1 - 1 / counts[code]) * expected[code] + z / counts[code]
        objective.loss(batch_of(rows, codes, index), network)
    assert_allclose(objective.final_centers(), expected, rtol=1e-4)
    assert_allclose(objective.counts.numpy(), counts)
