"""Certificates of anyone's labels: valid by enumeration, for any names, in any units."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.sparse import csr_array
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris

from sklearn_sslcluster.sdp import CertificateSettings, KMeansCertificate, certify_kmeans
from tests.sdp_tools import best_inertia, blobs, inertia_of, partitions

METHODS = ["pca", "labels", "admm", "division"]
# Rounding of inertias that are sums of differences, not of bounds.
EXACT = 1 + 1e-12


def k_means(X, n_clusters, sample_weight=None, n_init=5):
    return KMeans(n_clusters, n_init=n_init, random_state=0).fit(X, sample_weight=sample_weight).labels_


def fast(**settings):
    return CertificateSettings(**{"part_size": 10, "random_state": 0, **settings})


@pytest.fixture(scope="module")
def overlapping():
    """(rows, labels) that nothing proves."""
    X, _ = blobs(120, 3)
    return X, k_means(X, 4)


# What it is good for


def test_labels_of_k_means_on_separated_blobs_are_proven_optimal():
    X, _ = blobs(500, 12)
    model = KMeans(4, n_init=3, random_state=0).fit(X)
    certificate = certify_kmeans(X, model.labels_)
    assert isinstance(certificate, KMeansCertificate)
    assert certificate.certified
    assert certificate.method == "labels"
    assert certificate.inertia == pytest.approx(model.inertia_, rel=1e-9)
    assert certificate.gap == pytest.approx(0, abs=1e-6)
    assert (certificate.n_samples, certificate.n_clusters) == (500, 4)
    assert certificate.complete
    assert certificate.probable_bound is certificate.confidence is None


def test_iris_is_certified_to_about_four_percent():
    X = load_iris().data
    certificate = certify_kmeans(X, k_means(X, 3))
    assert certificate.method == "admm"
    assert 75.2 < certificate.lower_bound < 75.57
    assert certificate.inertia == pytest.approx(78.8514, rel=1e-4)
    assert not certificate.certified


def test_gap_is_the_share_by_which_the_bound_falls_short(overlapping):
    certificate = certify_kmeans(*overlapping)
    assert certificate.gap == pytest.approx((certificate.inertia - certificate.lower_bound) / certificate.inertia)
    assert certificate.lower_bound == max(certificate.bounds.values())
    assert certificate.bounds[certificate.method] == certificate.lower_bound
    assert list(certificate.bounds) == ["pca", "labels", "admm"]


def test_rungs_after_a_proof_are_left_out():
    X, codes = blobs(100, 14)
    assert "admm" not in certify_kmeans(X, codes).bounds


@pytest.mark.parametrize("method", METHODS)
def test_one_method_is_tried_alone(overlapping, method):
    certificate = certify_kmeans(*overlapping, method=method, settings=fast(part_size=60))
    assert list(certificate.bounds) == [method]
    assert certificate.method == method


def test_methods_are_ordered_from_weak_to_strong(overlapping):
    pca, labels, admm, division = (
        certify_kmeans(*overlapping, method=method, settings=fast(part_size=60)).lower_bound for method in METHODS
    )
    assert pca < labels < admm
    assert pca < division < admm


# Against enumeration


def instance(seed):
    """(rows, number of clusters, weights or None, partial labels or None), few enough to enumerate."""
    rng = np.random.default_rng(seed)
    k, n = int(rng.integers(2, 4)), int(rng.integers(5, 10))
    X = rng.standard_normal((n, int(rng.integers(1, 12)))) * 10.0 ** rng.integers(-3, 4)
    X += 4 * np.abs(X).max() * rng.random() * np.eye(k, X.shape[1])[np.arange(n) % k]
    weight = rng.uniform(0.2, 4, n) if seed % 3 == 1 else None
    y = None
    if seed % 4 >= 2:
        y = np.full(n, -1)
        y[rng.choice(n, 3, replace=False)] = [0, 0, 1]
    if seed % 5 == 4:
        X[1] = X[0]
    return X, k, weight, y


def labels_that_obey(rng, n, k, y):
    """Any clusters that do what `y` asks for."""
    labels = rng.integers(k, size=n)
    labels[-k:] = np.arange(k)
    if y is not None:
        labels = np.where(y >= 0, y, labels)
    return labels


@pytest.mark.parametrize("method", ["auto", "pca", "labels", "admm"])
def test_bounds_of_any_labels_never_exceed_the_optimum(method):
    violations = []
    for seed in range(60):
        X, k, weight, y = instance(seed)
        labels = labels_that_obey(np.random.default_rng(seed), len(X), k, y)
        best = best_inertia(X, k, y, weight)
        certificate = certify_kmeans(X, labels, y=y, sample_weight=weight, n_clusters=k, method=method)
        wrong = certificate.lower_bound > best * EXACT or certificate.inertia < best / EXACT
        violations += [seed] if wrong else []
        if certificate.certified:
            assert inertia_of(X, labels, weight) <= best * (1 + 2e-6)
    assert violations == []


def test_every_partition_of_a_few_rows_gets_a_valid_bound():
    X = np.random.default_rng(0).standard_normal((6, 2))
    best = best_inertia(X, 3)
    for labels in partitions(6, 3):
        certificate = certify_kmeans(X, labels, method="labels")
        assert certificate.lower_bound <= best * EXACT
        assert certificate.inertia == pytest.approx(inertia_of(X, labels))
        assert not certificate.certified or inertia_of(X, labels) <= best * (1 + 2e-6)


@pytest.mark.parametrize("known", [False, True])
def test_bounds_of_division_never_exceed_the_optimum(known):
    violations = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((11, 2)) + 3 * np.eye(3, 2)[np.arange(11) % 3]
        y = np.r_[0, 1, np.full(9, -1)] if known else None
        best = best_inertia(X, 3, y)
        labels = labels_that_obey(rng, 11, 3, y)
        certificate = certify_kmeans(X, labels, y=y, method="division", settings=fast())
        violations += [seed] if not 0 < certificate.lower_bound <= best else []
    assert violations == []


@pytest.mark.parametrize("seed", range(4))
def test_division_of_thirty_rows_stays_below_the_best_of_many_starts(seed):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((30, 2)) + 4 * rng.standard_normal((3, 2))[np.arange(30) % 3]
    best = KMeans(3, n_init=300, random_state=0).fit(X)
    certificate = certify_kmeans(X, best.labels_, method="division", settings=fast())
    assert 0.2 * best.inertia_ < certificate.lower_bound <= best.inertia_


def test_bound_of_constrained_clusters_may_exceed_the_unconstrained_optimum():
    # Two rows side by side that must be apart, and two far apart that must be together.
    X = np.array([[0.0], [0.1], [5.0], [5.2], [9.0], [9.1], [9.3]])
    y = np.array([0, 1, -1, -1, 2, -1, 2])
    labels = np.array([0, 1, 3, 3, 2, 2, 2])
    certificate = certify_kmeans(X, labels, y=y)
    assert best_inertia(X, 4) < certificate.lower_bound <= best_inertia(X, 4, y)
    assert certificate.constrained
    assert "that respects the labels" in str(certificate)


def test_rows_of_one_class_alone_already_constrain_the_statement():
    X, codes = blobs(40, 6)
    y = np.where(np.arange(40) == 0, 0, -1)
    y[4] = 0
    assert certify_kmeans(X, codes, y=y).constrained
    assert not certify_kmeans(X, codes).constrained
    assert not certify_kmeans(X, codes, y=np.full(40, -1)).constrained


# Labels of any kind


@pytest.mark.parametrize(
    "rename",
    [
        lambda codes: np.array(["d", "b", "a", "c"])[codes],
        lambda codes: np.array([0.5, -3.25, 7.0, 1e9])[codes],
        lambda codes: np.array([-1, 10, 3, 7])[codes],
        lambda codes: list(np.array(["d", "b", "a", "c"])[codes]),
        lambda codes: pd.Series(np.array(["d", "b", "a", "c"], dtype=object)[codes], index=np.arange(len(codes))[::-1]),
        lambda codes: pd.Categorical.from_codes(codes, ["d", "b", "a", "c"]),
        lambda codes: pd.array(codes, dtype="Int64"),
    ],
    ids=["strings", "floats", "integers", "list", "series", "categorical", "nullable"],
)
def test_names_of_clusters_do_not_matter(overlapping, rename):
    X, labels = overlapping
    expected = certify_kmeans(X, labels, method="labels")
    found = certify_kmeans(X, rename(labels), method="labels")
    assert found.inertia == pytest.approx(expected.inertia, rel=1e-12)
    assert found.lower_bound == pytest.approx(expected.lower_bound, rel=1e-9)


def test_bools_are_names():
    X = np.array([[0.0], [1.0], [10.0], [11.0]])
    assert certify_kmeans(X, X[:, 0] > 5).certified


@given(seed=st.integers(0, 10**6))
def test_order_of_rows_does_not_matter(seed):
    X, codes = blobs(60, 4)
    order = np.random.default_rng(seed).permutation(60)
    expected, found = (
        certify_kmeans(X, codes, method="labels"),
        certify_kmeans(X[order], codes[order], method="labels"),
    )
    assert found.lower_bound == pytest.approx(expected.lower_bound, rel=1e-9)
    assert found.inertia == pytest.approx(expected.inertia, rel=1e-12)


def test_labels_that_are_no_fixed_point_of_lloyd_get_the_bound_of_better_ones(overlapping):
    X, labels = overlapping
    wrong = labels.copy()
    wrong[:10] = (wrong[:10] + 1) % 4
    good, bad = certify_kmeans(X, labels), certify_kmeans(X, wrong)
    assert bad.inertia == pytest.approx(inertia_of(X, wrong))
    assert bad.inertia > good.inertia
    assert bad.lower_bound == pytest.approx(good.lower_bound, rel=1e-2)
    assert bad.gap > good.gap


def test_random_labels_are_shown_to_be_poor():
    X, _ = blobs(100, 12)
    certificate = certify_kmeans(X, np.random.default_rng(0).integers(4, size=100))
    assert not certificate.certified
    assert certificate.gap > 0.5
    assert certificate.lower_bound > 0


def test_equal_rows_may_be_in_different_clusters():
    X = np.array([[0.0], [0.0], [1.0], [5.0], [6.0]])
    labels = np.array([0, 1, 0, 1, 1])
    certificate = certify_kmeans(X, labels)
    assert certificate.inertia == pytest.approx(inertia_of(X, labels))
    assert certificate.lower_bound <= best_inertia(X, 2) * EXACT
    assert not certificate.certified


def test_more_clusters_than_were_found_lower_the_bound(overlapping):
    X, labels = overlapping
    four, six = (certify_kmeans(X, labels, n_clusters=k) for k in (4, 6))
    assert six.n_clusters == 6
    assert six.lower_bound < four.lower_bound
    assert six.inertia == four.inertia
    best = KMeans(6, n_init=20, random_state=0).fit(X).inertia_
    assert six.lower_bound < best


# Bad input


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"labels": [0, 1]}, ValueError, "labels has 2 entries for the 6 rows of X"),
        ({"labels": np.zeros((6, 2))}, ValueError, r"labels must be one column, got an array of shape \(6, 2\)"),
        ({"labels": [0, 0, np.nan, 1, 1, 1]}, ValueError, "every row; the entry of row 2 is missing"),
        ({"labels": [0, 0, 0, 1, None, 1]}, ValueError, "every row; the entry of row 4 is missing"),
        ({"labels": ["a", None, "a", "b", "b", "b"]}, ValueError, "every row; the entry of row 1 is missing"),
        ({"labels": pd.array([0, 0, 0, 1, 1, pd.NA])}, ValueError, "every row; the entry of row 5 is missing"),
        ({"labels": np.array([0, "a"] * 3, dtype=object)}, TypeError, "labels must be of one kind, numbers or strings"),
        ({"n_clusters": 1}, ValueError, "n_clusters=1, but labels holds 2 clusters"),
        ({"n_clusters": 0}, ValueError, "n_clusters"),
        ({"y": [7, -1, -1, -1, -1, 7]}, ValueError, "rows 0 and 5 into different clusters, .* both are 7"),
        ({"y": ["a", "b", None, None, None, None]}, ValueError, "rows 0 and 1 into one cluster, .* 'a' and .* 'b'"),
        ({"y": [0, 1]}, ValueError, "inconsistent"),
        ({"X": np.full((6, 1), np.nan)}, ValueError, "NaN"),
        ({"X": np.full((6, 1), np.inf)}, ValueError, "infinity"),
        ({"X": np.arange(6.0)}, ValueError, "2D array"),
        ({"X": np.arange(6.0)[:, None] * 1e-200}, ValueError, "X holds values so close"),
        ({"X": np.arange(6.0)[:, None] * 1e200}, ValueError, "X holds values"),
        ({"sample_weight": [1, 2]}, ValueError, "sample_weight"),
        ({"sample_weight": [1, 2, 3, 4, 5, -1]}, ValueError, "Negative values"),
        ({"sample_weight": np.zeros(6)}, ValueError, "weight"),
        ({"method": "magic"}, ValueError, "method"),
        ({"budget": 0}, ValueError, "budget"),
        ({"settings": {"tol": 1}}, ValueError, "settings"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
def test_bad_input_is_refused(change, error, message):
    # InvalidParameterError is a ValueError.
    arguments = {"X": np.arange(6.0)[:, None], "labels": [0, 0, 0, 1, 1, 1], **change}
    with pytest.raises(error, match=message):
        certify_kmeans(**arguments)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"part_size": 9}, ValueError, "part_size must be at least 10, got 9"),
        ({"part_size": 50.0}, TypeError, "part_size must be an integer, got 50.0"),
        ({"n_sketches": 1}, ValueError, "n_sketches must be at least 2"),
        ({"sketch_size": "big"}, TypeError, "sketch_size must be an integer"),
        ({"max_iter": 0}, ValueError, "max_iter must be at least 1"),
        ({"tol": -1e-9}, ValueError, r"tol must be in \[0, 1\)"),
        ({"tol": float("nan")}, ValueError, r"tol must be in \[0, 1\)"),
        ({"confidence": 1}, ValueError, r"confidence must be in \(0, 1\)"),
        ({"confidence": "high"}, ValueError, r"confidence must be in \(0, 1\)"),
    ],
)
def test_settings_out_of_range_are_refused(settings, error, message):
    with pytest.raises(error, match=message):
        CertificateSettings(**settings)


def test_unknown_device_is_refused(overlapping):
    with pytest.raises(ValueError, match=r"device must be .* got 'gpuu'"):
        certify_kmeans(*overlapping, method="admm", settings=CertificateSettings(device="gpuu"))


# Awkward tables


@pytest.mark.parametrize("n_clusters", [1, 6])
def test_there_is_nothing_to_prove_where_all_clusterings_are_alike(n_clusters):
    X = np.random.default_rng(0).standard_normal((6, 3))
    labels = np.arange(6) % n_clusters
    certificate = certify_kmeans(X, labels)
    assert certificate.certified
    assert certificate.method == "exact"
    assert certificate.inertia == pytest.approx(inertia_of(X, labels), abs=1e-12)


@pytest.mark.parametrize("offset", [0.1, 1e9])
def test_as_many_clusters_as_distinct_rows_are_proven_though_rounding_leaves_dust(offset):
    X = np.repeat(np.random.default_rng(0).standard_normal((4, 2)) + offset, 3, axis=0)
    certificate = certify_kmeans(X, np.repeat(np.arange(4), 3))
    assert certificate.inertia == certificate.lower_bound == 0
    assert certificate.certified


def test_as_many_clusters_as_rows_do_not_excuse_poor_labels():
    X = np.arange(6.0)[:, None]
    certificate = certify_kmeans(X, [0, 0, 1, 1, 2, 2], n_clusters=6)
    assert certificate.inertia == pytest.approx(1.5)
    assert certificate.gap == 1
    assert not certificate.certified
    assert str(certificate).startswith("Nothing is proven")


def test_all_rows_equal():
    certificate = certify_kmeans(np.full((5, 2), 0.1), [0, 0, 1, 1, 1])
    assert certificate.inertia == 0
    assert certificate.certified


def test_all_rows_labeled_leave_one_clustering():
    X, codes = blobs(30, 2)
    certificate = certify_kmeans(X, codes, y=codes)
    assert certificate.certified
    assert certificate.lower_bound == pytest.approx(inertia_of(X, codes), rel=1e-9)


def test_one_of_several_equally_good_clusterings():
    # Three rows at the corners of an equilateral triangle: any two of them may share a cluster.
    X = np.array([[0.0, 0], [1, 0], [0.5, np.sqrt(0.75)]])
    for labels in ([0, 0, 1], [0, 1, 0], [1, 0, 0]):
        certificate = certify_kmeans(X, labels)
        assert 0 < certificate.lower_bound <= 0.5 * EXACT
        assert certificate.inertia == pytest.approx(0.5)


def test_more_features_than_rows():
    X = np.random.default_rng(0).standard_normal((8, 50)) + 20 * np.eye(2, 50)[np.arange(8) % 2]
    certificate = certify_kmeans(X, np.arange(8) % 2)
    assert certificate.certified
    assert certificate.inertia == pytest.approx(best_inertia(X, 2))


def test_sparse_rows_are_those_of_the_dense_table(overlapping):
    X, labels = overlapping
    X = np.where(np.abs(X) > 1, X, 0)
    dense, sparse = (certify_kmeans(Z, labels, method="labels") for Z in (X, csr_array(X)))
    assert sparse.inertia == pytest.approx(dense.inertia, rel=1e-12)
    assert sparse.lower_bound == pytest.approx(dense.lower_bound, rel=1e-9)


def test_single_precision_is_certified_in_double(overlapping):
    X, labels = overlapping
    X = (X + 100).astype(np.float32)
    single, double = (certify_kmeans(Z, labels, method="labels") for Z in (X, X.astype(np.float64)))
    assert single.inertia == pytest.approx(double.inertia, rel=1e-12)
    assert single.lower_bound == pytest.approx(double.lower_bound, rel=1e-12)


# Invariance


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("scale", "offset"), [(1e6, 0), (1e-6, 0), (1, 1e6), (1e-3, -1e3)])
def test_bounds_follow_the_units_of_the_table(overlapping, method, scale, offset):
    X, labels = overlapping
    settings = fast(part_size=60)
    here, there = (certify_kmeans(Z, labels, method=method, settings=settings) for Z in (X, X * scale + offset))
    assert_allclose(
        [there.inertia / scale**2, there.lower_bound / scale**2], [here.inertia, here.lower_bound], rtol=1e-5
    )


@pytest.mark.parametrize("method", METHODS)
def test_weight_two_is_the_row_twice(overlapping, method):
    X, labels = overlapping
    weight = 1 + np.arange(len(X)) % 3
    settings = fast(part_size=60)
    heavy = certify_kmeans(X, labels, sample_weight=weight, method=method, settings=settings)
    repeated = certify_kmeans(np.repeat(X, weight, axis=0), np.repeat(labels, weight), method=method, settings=settings)
    assert repeated.inertia == pytest.approx(heavy.inertia, rel=1e-10)
    assert repeated.lower_bound == pytest.approx(heavy.lower_bound, rel=1e-6)


def test_weight_zero_is_no_row(overlapping):
    X, labels = overlapping
    weight = (np.arange(len(X)) % 4 > 0).astype(float)
    kept = weight > 0
    found = certify_kmeans(X, labels, sample_weight=weight, method="labels")
    expected = certify_kmeans(X[kept], labels[kept], method="labels")
    assert found.inertia == pytest.approx(expected.inertia, rel=1e-12)
    assert found.lower_bound == pytest.approx(expected.lower_bound, rel=1e-9)
    assert found.n_samples == kept.sum()
