"""Variational deep embedding: the bound, columns of different kinds, missing values, and what is found in the end."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import logsumexp
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, make_blobs
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from sklearn_sslcluster import neural
from sklearn_sslcluster.deep import NetworkSettings, VariationalDeepEmbedding
from sklearn_sslcluster.deep._columns import Columns, Standard, fitted_columns
from sklearn_sslcluster.deep._variational_model import LatentMixture

QUICK = {"max_pretrain_epochs": 10, "max_epochs": 5, "n_init": 2, "random_state": 0}


def blobs(n_rows=150, seed=0, std=0.6):
    centers = np.array([[0.0, 0, 0], [9, 0, 2], [0, 9, -2]])
    return make_blobs(n_rows, centers=centers, cluster_std=std, random_state=seed)


def mixed_table(n_rows=240, seed=0):
    """Two classes: a number that tells little, a flag and a category that tell them apart."""
    rng = np.random.RandomState(seed)
    truth = np.arange(n_rows) % 2
    number = rng.normal(size=n_rows)
    flags = (rng.uniform(size=(n_rows, 4)) < np.where(truth, 0.95, 0.05)[:, None]).astype(float)
    category = np.where(rng.uniform(size=n_rows) < 0.9, 3 + 2 * truth, 9).astype(float)
    return np.column_stack([number, flags, category]), truth


MIXED_KINDS = ["gaussian", *["bernoulli"] * 4, "categorical"]


# The bound


@pytest.fixture
def objective():
    """Three components in two dimensions, and rows with their posteriors."""
    rng = np.random.RandomState(0)
    mixture = LatentMixture(np.array([0.2, 0.5, 0.3]), rng.normal(size=(3, 2)), rng.uniform(0.3, 2.0, size=(3, 2)))
    found = neural.VariationalMixture(None, lambda embedding, variances: mixture, torch.nn.Identity())
    found.start(torch.zeros(4, 2))
    mean, log_variance = rng.normal(size=(4, 2)), rng.normal(size=(4, 2))
    return found, mixture, mean, log_variance, mean + np.exp(log_variance / 2) * rng.normal(size=(4, 2))


def tensors(*arrays):
    return [torch.tensor(array, dtype=torch.float32) for array in arrays]


def test_divergence_is_the_formula_of_the_paper(objective):
    found, mixture, mean, log_variance, Z = objective
    codes = torch.full((4,), -1)
    got = found.divergence(*tensors(mean, log_variance, Z), codes).detach().numpy()
    for row in range(4):
        joint = [
            pi * np.prod(stats.norm.pdf(Z[row], mu, np.sqrt(var)))
            for pi, mu, var in zip(mixture.weights, mixture.means, mixture.covariances, strict=True)
        ]
        gamma = np.array(joint) / np.sum(joint)
        expected = 0.0
        for c in range(3):
            inside = 0.0
            for axis in range(2):
                var = mixture.covariances[c, axis]
                inside += np.log(var) + np.exp(log_variance[row, axis]) / var
                inside += (mean[row, axis] - mixture.means[c, axis]) ** 2 / var
            expected += gamma[c] * (inside / 2 - np.log(mixture.weights[c]) + np.log(gamma[c]))
        expected -= 0.5 * (1 + log_variance[row]).sum()
        assert got[row] == pytest.approx(expected, rel=1e-4)


def test_divergence_of_one_component_is_that_of_two_gaussians():
    rng = np.random.RandomState(1)
    mixture = LatentMixture(np.ones(1), rng.normal(size=(1, 3)), rng.uniform(0.5, 2, size=(1, 3)))
    found = neural.VariationalMixture(None, lambda embedding, variances: mixture, torch.nn.Identity())
    found.start(torch.zeros(5, 3))
    mean, log_variance = rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    Z = mean + np.exp(log_variance / 2) * rng.normal(size=(5, 3))
    got = found.divergence(*tensors(mean, log_variance, Z), torch.full((5,), -1)).detach().numpy()
    p, q = torch.distributions.Normal, torch.distributions.kl_divergence
    m, v, mu, var = tensors(mean, np.exp(log_variance), mixture.means, mixture.covariances)
    np.testing.assert_allclose(got, q(p(m, v.sqrt()), p(mu, var.sqrt())).sum(dim=1).numpy(), rtol=1e-4)


def test_divergence_bounds_that_from_the_whole_mixture(objective):
    found, mixture, mean, log_variance, _ = objective
    rng = np.random.RandomState(0)
    noise = rng.normal(size=(4000, 4, 2))
    draws = mean + np.exp(log_variance / 2) * noise
    log_q = stats.norm.logpdf(noise).sum(axis=2) - log_variance.sum(axis=1) / 2
    log_p = logsumexp(
        [
            np.log(pi) + stats.norm.logpdf(draws, mu, np.sqrt(var)).sum(axis=2)
            for pi, mu, var in zip(mixture.weights, mixture.means, mixture.covariances, strict=True)
        ],
        axis=0,
    )
    codes = torch.full((4,), -1)
    bound = np.mean(
        [found.divergence(*tensors(mean, log_variance, Z), codes).detach().numpy() for Z in draws[:400]], axis=0
    )
    assert (bound >= (log_q - log_p).mean(axis=0) - 0.1).all()


def test_component_of_a_labeled_row_is_its_class(objective):
    found, mixture, mean, log_variance, Z = objective
    codes = torch.tensor([2, 0, -1, 1])
    resp = found.log_responsibilities(*tensors(Z), codes).exp().detach().numpy()
    np.testing.assert_array_equal(resp[[0, 1, 3]], np.eye(3)[[2, 0, 1]])
    assert 0 < resp[2].min() < 1
    got = found.divergence(*tensors(mean, log_variance, Z), codes).detach().numpy()
    var, mu = mixture.covariances[2], mixture.means[2]
    kl = 0.5 * (np.log(var) - log_variance[0] + (np.exp(log_variance[0]) + (mean[0] - mu) ** 2) / var - 1).sum()
    assert got[0] == pytest.approx(kl - np.log(mixture.weights[2]), rel=1e-4)


def test_gradient_is_finite_with_labeled_rows_and_components_far_away(objective):
    found, _, mean, log_variance, Z = objective
    with torch.no_grad():
        found.means[1] += 1e4
    found.divergence(*tensors(mean, log_variance, Z), torch.tensor([2, 0, -1, 1])).sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in found.parameters())


# Columns


def columns_and_outputs(seed=0):
    """Columns of each kind, rows with a gap in each, outputs of a decoder, and how they are standardized."""
    rng = np.random.RandomState(seed)
    X, _ = mixed_table(30)
    X[0, 0] = X[1, 2] = X[2, 5] = np.nan
    columns = fitted_columns(MIXED_KINDS, X, None)
    standard = Standard(rng.normal(size=8), rng.uniform(0.5, 2, size=8), np.array([0.3]))
    return columns, X, rng.normal(size=(30, 8)), standard


def test_log_likelihood_is_the_sum_over_observed_columns():
    columns, X, outputs, standard = columns_and_outputs()
    got = columns.log_likelihood(outputs, columns.expand(X), standard)
    mean = standard.mean[0] + standard.scale[0] * outputs[:, 0]
    number = stats.norm.logpdf(X[:, 0], mean, standard.scale[0] * np.sqrt(0.3))
    flags = stats.bernoulli.logpmf(np.nan_to_num(X[:, 1:5]), 1 / (1 + np.exp(-outputs[:, 1:5])))
    share = np.exp(outputs[:, 5:]) / np.exp(outputs[:, 5:]).sum(axis=1, keepdims=True)
    position = np.searchsorted([3.0, 5.0, 9.0], np.nan_to_num(X[:, 5], nan=3.0))
    category = np.log(share[np.arange(30), position])
    parts = np.column_stack([number, flags, category])
    np.testing.assert_allclose(got, np.where(np.isnan(X), 0, parts).sum(axis=1), rtol=1e-9)


def torch_likelihood(columns, standard):
    kinds = neural.InputKinds(columns.positions("gaussian"), columns.positions("bernoulli"), columns.categorical_groups)
    found = neural.ColumnLikelihood(kinds, standard.mean, standard.scale, 0.01, shared_noise=False)
    found.noise.copy_(torch.tensor(standard.noise))
    return found


def test_likelihood_of_torch_is_that_of_numpy():
    columns, X, outputs, standard = columns_and_outputs()
    inputs = columns.expand(X)
    rows, observed = standard.apply(inputs), ~np.isnan(inputs)
    got = torch_likelihood(columns, standard)(*tensors(outputs, rows, observed)).numpy()
    # Torch sees standardized numbers.
    expected = columns.log_likelihood(outputs, inputs, standard) + observed[:, 0] * np.log(standard.scale[0])
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_what_stands_in_for_a_missing_entry_changes_nothing():
    columns, X, outputs, standard = columns_and_outputs()
    inputs = columns.expand(X)
    rows, observed = standard.apply(inputs), ~np.isnan(inputs)
    found = []
    for filling in (0.0, 17.0, -1e3):
        likelihood = torch_likelihood(columns, standard)
        filled = tensors(outputs, np.where(observed, rows, filling), observed)
        likelihood.follow(*filled)
        found.append((likelihood(*filled).numpy(), likelihood.noise.numpy().copy()))
    for values, noise in found[1:]:
        np.testing.assert_allclose(values, found[0][0], rtol=1e-5)
        np.testing.assert_allclose(noise, found[0][1], rtol=1e-5)


def test_noise_follows_the_squared_residuals_of_observed_entries():
    columns = Columns(["gaussian", "gaussian"], [np.empty(0)] * 2)
    likelihood = torch_likelihood(columns, Standard(np.zeros(2), np.ones(2), np.ones(2)))
    rows, observed = np.array([[1.0, 4.0], [3.0, 0.0]]), np.array([[1.0, 1.0], [1.0, 0.0]])
    likelihood.follow(*tensors(np.zeros((2, 2)), rows, observed))
    # A plain mean of the first batch: (1 + 9) / 2 and 16.
    np.testing.assert_allclose(likelihood.noise, [5.0, 16.0])


def test_squared_residuals_leave_the_constants_of_gaussians_out():
    columns, X, outputs, standard = columns_and_outputs()
    inputs = columns.expand(X)
    constant = ~np.isnan(X[:, 0]) * (np.log(2 * np.pi * 0.3) + 2 * np.log(standard.scale[0]))
    expected = -2 * columns.log_likelihood(outputs, inputs, standard) - constant
    np.testing.assert_allclose(columns.square_residuals(outputs, inputs, standard), expected, rtol=1e-9)


def test_drawn_columns_have_the_moments_of_their_likelihood():
    columns, _, outputs, standard = columns_and_outputs()
    drawn = columns.draw(np.repeat(outputs[:1], 20_000, axis=0), standard, np.random.RandomState(0))
    assert drawn[:, 0].mean() == pytest.approx(standard.mean[0] + standard.scale[0] * outputs[0, 0], abs=0.05)
    assert drawn[:, 0].var() == pytest.approx(0.3 * standard.scale[0] ** 2, rel=0.05)
    np.testing.assert_allclose(drawn[:, 1:5].mean(axis=0), 1 / (1 + np.exp(-outputs[0, 1:5])), atol=0.02)
    share = np.exp(outputs[0, 5:]) / np.exp(outputs[0, 5:]).sum()
    np.testing.assert_allclose([(drawn[:, 5] == value).mean() for value in (3, 5, 9)], share, atol=0.02)


@pytest.mark.parametrize(
    ("likelihood", "expected"),
    [
        ("bernoulli", ["bernoulli", "bernoulli"]),
        (["gaussian", "categorical"], ["gaussian", "categorical"]),
        ({1: "categorical"}, ["gaussian", "categorical"]),
        ({"b": "bernoulli"}, ["gaussian", "bernoulli"]),
    ],
)
def test_likelihood_names_columns_in_four_ways(likelihood, expected):
    assert fitted_columns(likelihood, np.array([[0.0, 1], [1, 0]]), ["a", "b"]).kinds == expected


# Fits


def test_classes_are_told_by_flags_and_categories():
    X, truth = mixed_table()
    model = VariationalDeepEmbedding(2, likelihood=MIXED_KINDS, embedding_size=3, **QUICK).fit(X)
    assert adjusted_rand_score(truth, model.labels_) > 0.8
    drawn, labels = model.sample(200)
    assert set(drawn[:, 5]) <= {3.0, 5.0, 9.0}
    assert set(drawn[:, 1:5].ravel()) <= {0.0, 1.0}
    assert set(labels) <= set(model.classes_)
    assert np.isfinite(model.score_samples(X)).all()


def test_rows_with_gaps_find_their_class():
    X, truth = blobs()
    gaps = np.random.RandomState(0).uniform(size=X.shape) < 0.15
    gaps[gaps.all(axis=1)] = False
    X = np.where(gaps, np.nan, X)
    model = VariationalDeepEmbedding(3, **{**QUICK, "max_pretrain_epochs": 40}).fit(
        X, np.where(np.arange(150) % 3, -1, truth)
    )
    assert (model.labels_ == truth).mean() > 0.85
    assert np.isfinite(model.score_samples(X)).all()
    assert np.isfinite(model.predict_proba(np.full((1, 3), np.nan))).all()


def test_density_of_an_identity_network_is_that_of_a_gaussian_mixture():
    X, _ = blobs(std=1.0)
    model = VariationalDeepEmbedding(3, encoder="identity", **{**QUICK, "max_pretrain_epochs": 60}).fit(X)
    variances = model.scale_**2 * (model.covariances_ + model.noise_variance_)
    expected = logsumexp(
        [
            np.log(weight) + stats.norm.logpdf(X, model.mean_ + model.scale_ * mean, np.sqrt(variance)).sum(axis=1)
            for weight, mean, variance in zip(model.weights_, model.means_, variances, strict=True)
        ],
        axis=0,
    )
    got = model.score_samples(X)
    assert expected.mean() - 0.5 <= got.mean() <= expected.mean() + 0.1
    assert np.corrcoef(got, expected)[0, 1] > 0.8


def test_probabilities_follow_from_embedding_and_mixture():
    X, _ = blobs(std=3.0)
    model = VariationalDeepEmbedding(3, **QUICK).fit(X)
    Z = model.transform(X)
    joint = np.column_stack(
        [
            np.log(weight) + stats.norm.logpdf(Z, mean, np.sqrt(variance)).sum(axis=1)
            for weight, mean, variance in zip(model.weights_, model.means_, model.covariances_, strict=True)
        ]
    )
    expected = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
    np.testing.assert_allclose(model.predict_proba(X), expected, rtol=1e-7, atol=1e-12)
    np.testing.assert_array_equal(model.predict(X), model.classes_[expected.argmax(axis=1)])


def test_drawn_rows_look_like_those_of_their_class():
    X, truth = blobs(300)
    model = VariationalDeepEmbedding(3, **{**QUICK, "max_pretrain_epochs": 60, "max_epochs": 40}).fit(
        X, np.where(np.arange(300) % 5, -1, truth)
    )
    drawn, labels = model.sample(3000)
    np.testing.assert_allclose(np.bincount(labels) / 3000, model.weights_, atol=0.04)
    for label in range(3):
        np.testing.assert_allclose(drawn[labels == label].mean(axis=0), X[truth == label].mean(axis=0), atol=1.5)


def test_rows_far_away_are_less_likely():
    X, _ = blobs()
    model = VariationalDeepEmbedding(3, **QUICK).fit(X)
    assert model.score_samples(X + 100).max() < model.score_samples(X).min()


def test_without_joint_epochs_the_start_is_the_result():
    X, truth = blobs()
    model = VariationalDeepEmbedding(3, **{**QUICK, "max_epochs": 0}).fit(X)
    assert model.history_["joint"] == []
    assert adjusted_rand_score(truth, model.labels_) == 1


def test_digits_are_found_better_than_by_the_start_or_as_well():
    X, truth = load_digits(return_X_y=True)
    X, truth = X[:900], truth[:900]
    settings = {"encoder": NetworkSettings((128,)), "max_pretrain_epochs": 25, "n_init": 3, "random_state": 0}
    start = VariationalDeepEmbedding(10, max_epochs=0, batch_size=64, **settings).fit(X)
    end = VariationalDeepEmbedding(10, max_epochs=10, batch_size=64, **settings).fit(X)
    assert end.modularity_ >= start.modularity_
    assert normalized_mutual_info_score(truth, end.labels_) > 0.7
    assert normalized_mutual_info_score(truth, end.labels_) > normalized_mutual_info_score(truth, start.labels_) - 0.05


def test_wide_class_that_k_means_halves_is_found_whole():
    rng = np.random.RandomState(0)
    truth = np.repeat([0, 1, 2], [120, 60, 60])
    centers, widths = np.array([[0.0, 0], [10, 1.5], [10, -1.5]]), np.array([2.5, 0.25, 0.25])
    X = centers[truth] + widths[truth][:, None] * rng.normal(size=(240, 2))
    settings = {"embedding_size": 2, "max_pretrain_epochs": 20, "max_epochs": 10, "batch_size": 32, "n_init": 4}
    model = VariationalDeepEmbedding(3, random_state=0, **settings).fit(X)
    halved = KMeans(3, n_init=10, random_state=0).fit_predict(model.transform(X))
    assert adjusted_rand_score(truth, halved) < 0.6
    assert adjusted_rand_score(truth, model.labels_) > 0.9


def test_auto_answers_one_class_and_many():
    X, truth = blobs()
    assert VariationalDeepEmbedding(**QUICK, k_max=6).fit(X).n_clusters_ == 3
    one = np.random.RandomState(0).normal(size=(150, 3))
    assert VariationalDeepEmbedding(**QUICK, k_max=6).fit(one).n_clusters_ == 1
    known = VariationalDeepEmbedding(**QUICK, k_max=6).fit(X, np.where(np.arange(150) % 2, -1, truth))
    assert len(known.novel_classes_) == 0


def test_an_end_that_lost_a_class_is_not_taken(monkeypatch):
    X, _ = blobs()

    def collapsed(self):
        weights, means, covariances = (
            self.start_mixture.weights,
            self.start_mixture.means,
            self.start_mixture.covariances,
        )
        return weights, np.repeat(means[:1], len(means), axis=0), covariances

    monkeypatch.setattr(neural.VariationalMixture, "final_mixture", collapsed)
    with pytest.warns(UserWarning, match="all but vanished"):
        model = VariationalDeepEmbedding(3, **QUICK).fit(X)
    assert not model.improved_
    assert model.n_clusters_ == 3


def test_joint_phase_stops_where_clusters_vanish_and_the_start_is_kept_with_a_warning(monkeypatch):
    X, truth = blobs()

    def pulled_together(self, batch, network):
        return 100 * (network["encoder"](batch.rows) ** 2).mean() + 0 * self.means.sum()

    monkeypatch.setattr(neural.VariationalMixture, "loss", pulled_together)
    with pytest.warns(UserWarning, match="all but vanished while training, .* a smaller optimizer__lr or n_clusters"):
        model = VariationalDeepEmbedding(3, batch_size=8, **QUICK | {"max_epochs": 90}).fit(X)
    shares = [entry["smallest_share"] for entry in model.history_["joint"] if "smallest_share" in entry]
    assert shares[-1] < 0.1 / 3 <= min(shares[:-1], default=1)
    assert len(model.history_["joint"]) < 90
    assert not model.improved_
    assert adjusted_rand_score(truth, model.labels_) == 1


class Listen:
    """Keeps the estimators that it is given, and asks to stop after some epochs."""

    def __init__(self, after=np.inf):
        self.after, self.given = after, []

    def setup(self, estimator, context):
        pass

    teardown = on_fit_task_begin = setup

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        if context.task_name == "epoch":
            self.given.append(fitted_estimator)
        return len(self.given) >= self.after


def test_callback_sees_the_estimator_that_a_stop_would_leave():
    X, _ = blobs(std=2.0)
    X[0, 0] = np.nan
    settings = QUICK | {"max_pretrain_epochs": 4, "max_epochs": 3}
    listen = Listen()
    whole = VariationalDeepEmbedding(3, **settings).set_callbacks(listen).fit(X)
    alone = VariationalDeepEmbedding(3, **settings).fit(X)
    np.testing.assert_array_equal(whole.means_, alone.means_)
    assert listen.given[:4] == [None] * 4, "there are no clusters before the joint phase"
    for after in (5, 6, 7):
        stopped = VariationalDeepEmbedding(3, **settings).set_callbacks(Listen(after)).fit(X)
        seen = listen.given[after - 1]
        for fitted in (seen, whole):
            assert {name for name in vars(fitted) if name.endswith("_")} >= {"means_", "labels_", "modularity_"}
        np.testing.assert_array_equal(seen.means_, stopped.means_)
        np.testing.assert_array_equal(seen.predict(X), stopped.labels_)
        assert seen.score(X) == stopped.score(X)


def test_table_repeated_is_the_table_and_rows_in_another_order_are_too():
    X, truth = blobs(std=2.0)
    y = np.where(np.arange(150) % 10 == 0, truth, -1)
    reference = VariationalDeepEmbedding(3, **QUICK).fit(X, y)
    order = np.random.RandomState(0).permutation(150)
    for rows in (order, np.repeat(order, 3)):
        other = VariationalDeepEmbedding(3, **QUICK).fit(X[rows], y[rows])
        np.testing.assert_array_equal(other.means_, reference.means_)
        np.testing.assert_array_equal(other.labels_, reference.labels_[rows])


def test_row_that_stands_more_often_weighs_more():
    X, truth = blobs()
    copies = np.where(truth == 0, 3, 1)
    model = VariationalDeepEmbedding(3, **QUICK | {"max_epochs": 0}).fit(np.repeat(X, copies, axis=0))
    share = copies[truth == 0].sum() / copies.sum()
    np.testing.assert_allclose(model.weights_[0], share, atol=0.01)


def test_killed_fit_resumes_to_the_same_labels(tmp_path):
    X, _ = blobs(std=3.0)
    X[3, 1] = np.nan
    whole = VariationalDeepEmbedding(3, **QUICK).fit(X)
    path = tmp_path / "state"

    def killed(at):
        epochs = []
        before = neural.Trainer._end_epoch

        def end_epoch(self, *args):
            before(self, *args)
            epochs.append(1)
            if len(epochs) == at:
                raise KeyboardInterrupt

        return end_epoch

    for at in (4, 12):
        model = VariationalDeepEmbedding(3, checkpoint=str(path), **QUICK)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(neural.Trainer, "_end_epoch", killed(at))
            with pytest.raises(KeyboardInterrupt):
                model.fit(X)
        assert path.exists()
        resumed = model.fit(X)
        np.testing.assert_array_equal(resumed.labels_, whole.labels_)
        np.testing.assert_allclose(resumed.means_, whole.means_, rtol=1e-6)
        assert not path.exists()


def test_same_seed_same_answer_and_generator_of_torch_untouched():
    X, _ = blobs(std=3.0)
    before = torch.get_rng_state()
    first, second = (VariationalDeepEmbedding(3, **QUICK).fit(X) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(first.means_, second.means_)
    np.testing.assert_array_equal(first.sample(5)[0], second.sample(5)[0])
    np.testing.assert_array_equal(first.score_samples(X), second.score_samples(X))


class Doubled(torch.nn.Module):
    """A user's own encoder."""

    def __init__(self, n_inputs, n_outputs):
        super().__init__()
        self.layer = torch.nn.Linear(n_inputs, n_outputs)

    def forward(self, X):
        return 2 * self.layer(X)


@pytest.mark.parametrize("encoder", [NetworkSettings((16,), batch_norm=True, dropout=0.1), Doubled, "identity"])
def test_other_encoders(encoder):
    X, truth = blobs()
    model = VariationalDeepEmbedding(3, encoder=encoder, embedding_size=4, **QUICK).fit(X)
    assert adjusted_rand_score(truth, model.labels_) > 0.9
    np.testing.assert_allclose(model.transform(X[:1]), model.transform(X)[:1], rtol=1e-5)


PREDICT = """
import pickle, sys
model, X = pickle.loads(sys.stdin.buffer.read())
for method in ("predict", "predict_proba", "transform", "score_samples", "score", "novelty_score"):
    getattr(model, method)(X)
model.predict(X, reject=0.9)
model.sample(3)
print(sorted({"torch", "skorch"} & set(sys.modules)))
"""


def test_a_fitted_model_answers_without_torch():
    X, _ = blobs()
    model = VariationalDeepEmbedding(3, **QUICK).fit(X)
    done = subprocess.run(
        [sys.executable, "-c", PREDICT], input=pickle.dumps((model, X)), capture_output=True, check=True
    )
    assert done.stdout.decode().strip() == "[]"


NUMBERS = np.array([[0.0, 1], [1, 0], [0.5, 1], [0.2, 3]])


@pytest.mark.parametrize(
    ("settings", "X", "message"),
    [
        ({"likelihood": "bernoulli"}, NUMBERS, r"Column 1 .* holds 3.0; expected values in \[0, 1\]"),
        ({"likelihood": "poisson"}, NUMBERS, "likelihood of column 0 must be one of gaussian, .* got 'poisson'"),
        ({"likelihood": ["gaussian"]}, NUMBERS, "likelihood names 1 columns, but X has 2 features"),
        ({"likelihood": {5: "gaussian"}}, NUMBERS, "likelihood names the column 5, which X does not have"),
        ({}, np.where([True, False], np.nan, NUMBERS), "Column 0 of X holds nothing but NaN"),
        ({}, np.where(NUMBERS == 3, np.inf, NUMBERS), "infinity"),
        ({}, NUMBERS * 1e200, "so large that their squares overflow"),
        ({"encoder": "identity", "likelihood": {1: "categorical"}}, NUMBERS, "encoder='identity' needs a Gaussian"),
        ({"encoder": "convolution"}, NUMBERS, "encoder must be None"),
        ({"encoder": NetworkSettings(dropout=2)}, NUMBERS, "encoder__dropout"),
        ({"n_clusters": 0}, NUMBERS, "n_clusters"),
        ({"device": "tpu"}, NUMBERS, "device must be"),
    ],
)
def test_what_does_not_fit_is_refused(settings, X, message):
    with pytest.raises(ValueError, match=message):
        VariationalDeepEmbedding(**{**QUICK, **settings}).fit(X)


def test_likelihood_of_another_type_is_refused():
    with pytest.raises(TypeError, match="likelihood must be a string, a list or a dict, got a int"):
        VariationalDeepEmbedding(likelihood=3).fit(NUMBERS)


def test_unknown_category_is_refused_and_a_missing_one_is_not():
    X, _ = mixed_table()
    model = VariationalDeepEmbedding(2, likelihood=MIXED_KINDS, **QUICK).fit(X)
    new = X[:1].copy()
    new[0, 5] = 4
    with pytest.raises(ValueError, match=r"Column 5 holds 4\.0, which is not among the 3 categories"):
        model.predict(new)
    new[0, 5] = np.nan
    assert model.predict(new)[0] in model.classes_


def test_no_rows_are_drawn_for_a_number_below_one():
    with pytest.raises(ValueError, match="n_samples must be at least 1, got 0"):
        VariationalDeepEmbedding(3, **QUICK).fit(blobs()[0]).sample(0)
