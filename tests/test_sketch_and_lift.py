"""SketchAndLiftKMeans: samples, their strategies, and what is lifted from them."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score

from sklearn_sslcluster.sdp import SDPKMeans, SketchAndLiftKMeans
from sklearn_sslcluster.sdp._sketch_and_lift import _matched
from tests.sdp_tools import blobs, inertia_of

STRATEGIES = ["uniform", "bias-corrected", "weighted", "multi-epoch"]


def sketch(n_clusters=4, **parameters):
    return SketchAndLiftKMeans(n_clusters, random_state=0, **parameters)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_sketch_finds_the_blobs_of_a_large_table(strategy):
    X, codes = blobs(5000, 8)
    model = sketch(strategy=strategy, sketch_size=100, n_rounds=2).fit(X)
    assert adjusted_rand_score(codes, model.labels_) > 0.999
    assert model.inertia_ == pytest.approx(inertia_of(X, codes), rel=1e-3)
    assert model.n_iter_ >= 1


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_sketch_of_overlapping_blobs_is_nearly_as_good_as_k_means(strategy):
    X, _ = blobs(4000, 3)
    best = KMeans(4, n_init=5, random_state=0).fit(X).inertia_
    assert sketch(strategy=strategy, sketch_size=150, max_iter=100).fit(X).inertia_ <= 1.005 * best
    assert sketch(strategy=strategy, sketch_size=150, max_iter=100, polish=False).fit(X).inertia_ <= 1.06 * best


def test_sketch_of_digits_is_nearly_as_good_as_k_means():
    X = load_digits().data
    best = KMeans(10, n_init=10, random_state=0).fit(X).inertia_
    assert sketch(10, sketch_size=300, max_iter=100).fit(X).inertia_ <= 1.02 * best


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_polishing_never_raises_the_inertia(strategy):
    X, _ = blobs(1500, 3)
    rough, polished = (sketch(strategy=strategy, sketch_size=60, polish=polish).fit(X) for polish in (False, True))
    assert polished.inertia_ <= rough.inertia_


def test_inertia_of_a_sketch_is_that_of_its_centers():
    X, _ = blobs(1500, 3)
    weight = np.random.default_rng(0).uniform(0.5, 2, 1500)
    model = sketch(sketch_size=60, polish=False).fit(X, sample_weight=weight)
    squares = ((X[:, None] - model.cluster_centers_) ** 2).sum(axis=2)
    assert model.inertia_ == pytest.approx(weight @ squares.min(axis=1), rel=1e-9)
    assert_array_equal(model.labels_, model.classes_[squares.argmin(axis=1)])


def test_table_no_larger_than_the_sketch_is_solved_as_it_is():
    X, _ = blobs(60, 3)
    model, whole = sketch(sketch_size=60, max_iter=50).fit(X), SDPKMeans(4, max_iter=50, random_state=0).fit(X)
    assert model.inertia_ == pytest.approx(whole.inertia_, rel=5e-3)


def planted_tiny_cluster(seed):
    X, _ = blobs(3000, 12, n_clusters=3, n_features=3, seed=seed)
    tiny = np.random.default_rng(seed).standard_normal((20, 3)) - 12
    return np.vstack([X, tiny]), tiny.mean(axis=0)


def test_weighted_sketch_holds_small_clusters_that_others_miss():
    found = {"uniform": 0, "weighted": 0}
    for seed in range(5):
        X, center = planted_tiny_cluster(seed)
        for strategy in found:
            model = SketchAndLiftKMeans(4, strategy=strategy, sketch_size=60, polish=False, random_state=seed).fit(X)
            found[strategy] += np.linalg.norm(model.cluster_centers_ - center, axis=1).min() < 1
    assert found["weighted"] >= 4
    assert found["uniform"] <= found["weighted"] - 2


def error_of_centers(model, n_clusters=4):
    """Mean squared distance of the centers to the planted ones of `blobs`."""
    planted = np.eye(n_clusters, 10) * 8 / np.sqrt(2)
    return ((model.cluster_centers_[:, None] - planted) ** 2).sum(axis=2).min(axis=0).mean()


def test_centers_of_several_epochs_are_matched_and_averaged():
    X, _ = blobs(8000, 8)
    single, many = (
        sketch(strategy="multi-epoch", sketch_size=60, n_rounds=n_rounds, polish=False).fit(X) for n_rounds in (1, 10)
    )
    assert error_of_centers(many) < error_of_centers(single) / 3


def test_centers_of_known_classes_are_matched_with_themselves():
    first, other = np.array([[0.0], [1.0], [5.0], [9.0]]), np.array([[1.0], [0.0], [9.5], [5.5]])
    assert_array_equal(_matched(first, other, 2).ravel(), [1, 0, 5.5, 9.5])
    assert_array_equal(_matched(first, other, 0).ravel(), [0, 1, 5.5, 9.5])


def test_bias_corrected_centers_are_means_of_equally_many_rows():
    # One blob has four times the rows of the others: its center is averaged over as few rows as theirs.
    X, codes = blobs(4000, 8)
    keep = (codes == 0) | (np.arange(4000) % 16 < 4)
    errors = {}
    for strategy in ("uniform", "bias-corrected"):
        models = [
            SketchAndLiftKMeans(4, strategy=strategy, sketch_size=140, polish=False, random_state=seed).fit(X[keep])
            for seed in range(4)
        ]
        large = np.eye(4, 10)[0] * 8 / np.sqrt(2)
        errors[strategy] = np.mean([((m.cluster_centers_ - large) ** 2).sum(axis=1).min() for m in models])
    assert errors["bias-corrected"] > 1.5 * errors["uniform"]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("polish", [False, True])
def test_sketch_keeps_labels_and_finds_the_other_classes(strategy, polish):
    X, codes = blobs(1000, 8)
    y = np.where((np.arange(1000) < 60) & (codes < 2), np.array(["b", "a", "", ""])[codes], None)
    model = sketch(strategy=strategy, sketch_size=80, n_rounds=2, polish=polish).fit(X, y)
    assert_array_equal(model.classes_, ["a", "b", "novel_0", "novel_1"])
    assert_array_equal(model.labels_[codes == 0], "b")
    assert_array_equal(model.labels_[codes == 1], "a")
    assert adjusted_rand_score(codes, model.labels_) > 0.99


def test_sketch_of_a_memory_map_is_that_of_the_array(tmp_path):
    X, _ = blobs(3000, 4)
    on_disk = np.memmap(tmp_path / "rows", dtype=np.float64, mode="w+", shape=X.shape)
    on_disk[:] = X
    mapped, expected = sketch(sketch_size=100).fit(on_disk), sketch(sketch_size=100).fit(X)
    assert_array_equal(mapped.labels_, expected.labels_)
    assert_allclose(mapped.cluster_centers_, expected.cluster_centers_, rtol=1e-10)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_sketch_depends_on_neither_order_nor_repetition(strategy):
    X, _ = blobs(400, 5)
    order = np.random.default_rng(0).permutation(400)
    model = sketch(strategy=strategy, sketch_size=60).fit(X)
    permuted = sketch(strategy=strategy, sketch_size=60).fit(X[order])
    assert_array_equal(permuted.labels_, model.labels_[order])
    weight = 1 + np.arange(400) % 2
    heavy = sketch(strategy=strategy, sketch_size=60).fit(X, sample_weight=weight.astype(float))
    repeated = sketch(strategy=strategy, sketch_size=60).fit(np.repeat(X, weight, axis=0))
    assert_array_equal(repeated.labels_, np.repeat(heavy.labels_, weight))


@pytest.mark.parametrize("solver", ["low-rank", "cvxpy"])
def test_sketch_with_any_solver(solver):
    X, codes = blobs(1000, 6)
    model = sketch(solver=solver, sketch_size=50).fit(X)
    assert adjusted_rand_score(codes, model.labels_) > 0.97


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    ("X", "n_clusters"),
    [
        (np.full((30, 2), 0.1), 3),
        (np.arange(6.0)[:, None], 6),
        (np.arange(6.0)[:, None], 1),
        (np.repeat(np.eye(3), 9, axis=0), 5),
        (np.random.default_rng(0).standard_normal((12, 40)), 3),
        (csr_array(np.eye(40)), 4),
    ],
    ids=["equal", "all", "one", "duplicates", "wide", "sparse"],
)
def test_sketch_of_awkward_tables(strategy, X, n_clusters):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = sketch(n_clusters, strategy=strategy, sketch_size=10, n_rounds=2).fit(X)
    assert np.isfinite(model.cluster_centers_).all()
    assert 1 <= model.n_clusters_ <= n_clusters
    assert model.inertia_ >= 0
    assert_array_equal(model.predict(X), model.labels_)


@pytest.mark.parametrize(
    "parameters", [{"strategy": "best"}, {"sketch_size": 9}, {"n_rounds": 0}, {"solver": "simplex"}]
)
def test_bad_parameters_of_a_sketch_are_refused(parameters):
    with pytest.raises(ValueError, match=f"The '{next(iter(parameters))}' parameter of SketchAndLiftKMeans must be"):
        sketch(**parameters).fit(blobs(20, 3)[0])
