"""Certificates of large tables, within budgets and by samples; and what certificates say."""

import re
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits

from sklearn_sslcluster.sdp import CertificateSettings, KMeansCertificate, certify_kmeans
from tests.sdp_tools import best_inertia, blobs, inertia_of


def k_means(X, n_clusters, sample_weight=None, n_init=5):
    return KMeans(n_clusters, n_init=n_init, random_state=0).fit(X, sample_weight=sample_weight).labels_


def fast(**settings):
    return CertificateSettings(**{"part_size": 10, "random_state": 0, **settings})


@pytest.fixture(scope="module")
def overlapping():
    """(rows, labels) that nothing proves."""
    X, _ = blobs(120, 3)
    return X, k_means(X, 4)


# Division, sketches, budgets and jobs


def test_division_of_overlapping_blobs_leaves_a_small_gap():
    X, _ = blobs(4000, 3)
    certificate = certify_kmeans(X, k_means(X, 4), method="division", settings=fast(part_size=400))
    assert 0 < certificate.gap < 0.025
    assert certificate.complete


def test_division_of_digits_leaves_a_small_gap():
    X = load_digits().data
    labels = k_means(X, 10)
    certificate = certify_kmeans(X, labels, method="division", settings=fast(part_size=600))
    assert certificate.inertia == pytest.approx(inertia_of(X, labels), rel=1e-9)
    assert 0 < certificate.gap < 0.04


def test_large_tables_are_divided():
    X, _ = blobs(2400, 3, n_features=2)
    certificate = certify_kmeans(X, k_means(X, 4), settings=fast(part_size=100, max_iter=1))
    assert list(certificate.bounds) == ["pca", "labels", "division"]


def test_division_with_known_classes_in_all_parts_is_valid_and_close():
    X, truth = blobs(400, 4)
    y = np.where(np.arange(400) < 60, truth, -1)
    y[:4] = y[[1, 0, 3, 2]]  # mislabeled rows
    labels = np.where(y >= 0, y, truth)
    divided, whole = (
        certify_kmeans(X, labels, y=y, method=method, settings=fast(part_size=200)) for method in ("division", "admm")
    )
    assert 0.95 * whole.lower_bound < divided.lower_bound <= divided.inertia


@pytest.mark.parametrize("method", ["division", "sketch"])
def test_jobs_do_not_change_the_bound(overlapping, method):
    one, two = (
        certify_kmeans(
            *overlapping,
            method=method,
            settings=fast(part_size=30, n_sketches=4, sketch_size=30, max_iter=40, n_jobs=n_jobs),
        )
        for n_jobs in (1, 2)
    )
    assert one == two


def test_sketch_is_kept_apart_from_what_is_certain(overlapping):
    settings = fast(n_sketches=40, sketch_size=60, confidence=0.95)
    certificate = certify_kmeans(*overlapping, method="sketch", settings=settings)
    assert certificate.lower_bound == 0
    assert certificate.method == "none"
    assert certificate.gap == 1
    assert not certificate.certified
    assert certificate.confidence == 0.95
    # Far from certain that it holds, but what it says is true of this table.
    best = certify_kmeans(*overlapping, method="admm")
    assert 0.3 * best.inertia < certificate.probable_bound <= best.inertia
    assert "With 95% confidence" in str(certificate)


def test_sketches_hold_as_often_as_they_say():
    X = np.random.default_rng(0).standard_normal((9, 2)) * 3
    best, labels = best_inertia(X, 3), k_means(X, 3)
    bounds = [
        certify_kmeans(
            X, labels, method="sketch", settings=fast(n_sketches=5, sketch_size=10, random_state=seed, confidence=0.5)
        ).probable_bound
        for seed in range(30)
    ]
    assert np.mean(np.array(bounds) > best) < 0.5
    assert max(bounds) > 0.2 * best


def test_sketch_with_weights_is_of_the_weighted_inertia():
    X, _ = blobs(200, 8)
    labels, weight = k_means(X, 4), np.random.default_rng(0).uniform(0.5, 3, 200)
    settings = fast(n_sketches=30, sketch_size=80)
    certificate = certify_kmeans(X, labels, method="sketch", sample_weight=weight, settings=settings)
    assert 0.4 * inertia_of(X, labels, weight) < certificate.probable_bound < inertia_of(X, labels, weight)


@pytest.mark.parametrize("method", ["auto", "division", "sketch"])
def test_budget_ends_the_search_and_the_text_says_so(method):
    X, _ = blobs(3000, 3)
    labels = k_means(X, 4, n_init=1)
    started = time.perf_counter()
    certificate = certify_kmeans(X, labels, method=method, budget=0.05, settings=fast(part_size=500, n_sketches=5))
    assert time.perf_counter() - started < 2.5
    assert not certificate.complete
    assert str(certificate).endswith("The budget ended the search for a better bound.")
    assert 0 <= certificate.lower_bound <= certificate.inertia


def test_a_generous_budget_changes_nothing(overlapping):
    assert certify_kmeans(*overlapping, budget=1000) == certify_kmeans(*overlapping)


def test_a_looser_tolerance_counts_as_proven(overlapping):
    gap = certify_kmeans(*overlapping).gap
    settings = CertificateSettings(tol=gap * 1.01)
    assert certify_kmeans(*overlapping, settings=settings).certified


# What is printed


def number(text):
    return float(text.replace(",", "").rstrip("."))


def assert_says_no_more_than(certificate):
    text = str(certificate)
    if certificate.certified:
        value = number(re.search(r"inertia below the (\S+) of this", text).group(1))
        share = re.search(r"a share of (\S+)\)", text)
        claims = [value * (1 - (number(share.group(1)) if share else 0))]
    elif certificate.lower_bound > 0:
        percent, value = re.search(r"more than (\S+) % below the (\S+) of this", text).groups()
        bound = re.search(r"at least (\S+) by", text).group(1)
        claims = [number(value) * (1 - number(percent) / 100), number(bound)]
    else:
        assert text.startswith("Nothing is proven")
        claims = []
    # Decimal numbers are read back with an error of half a unit in the last place.
    assert all(claim <= certificate.lower_bound * (1 + 1e-15) for claim in claims)
    if certificate.probable_bound is not None:
        probable = re.search(r"smallest inertia is at least (\S+)\.", text).group(1)
        assert number(probable) <= certificate.probable_bound * (1 + 1e-15)


@given(
    inertia=st.floats(1e-12, 1e15),
    gap=st.one_of(st.floats(0, 1), st.floats(0, 1e-6), st.sampled_from([0.0, 1.0, 0.1, 0.01, 1e-6])),
    probable=st.one_of(st.none(), st.floats(0, 1)),
)
def test_rounded_numbers_claim_no_more_than_was_proven(inertia, gap, probable):
    bound = inertia * (1 - gap)
    gap = (inertia - bound) / inertia
    certificate = KMeansCertificate(
        n_samples=12345,
        n_clusters=7,
        inertia=inertia,
        lower_bound=bound,
        gap=gap,
        certified=gap <= 1e-6,
        method="admm",
        bounds={"admm": bound},
        probable_bound=None if probable is None else probable * inertia,
        confidence=None if probable is None else 0.99,
    )
    assert_says_no_more_than(certificate)
    assert "12,345 rows into 7 clusters" in str(certificate)


@pytest.mark.parametrize("separation", [2, 6, 14])
@pytest.mark.parametrize("method", ["auto", "pca", "sketch"])
def test_printed_certificates_claim_no_more_than_was_proven(separation, method):
    X, codes = blobs(60, separation)
    settings = fast(n_sketches=3, sketch_size=30)
    certificate = certify_kmeans(X, codes, method=method, settings=settings)
    assert_says_no_more_than(certificate)


def test_text_of_a_proof_names_it_and_does_not_hedge():
    X, codes = blobs(60, 14)
    text = str(certify_kmeans(X, codes))
    assert text.startswith("Proven optimal by multipliers that the labels imply")
    assert "60 rows into 4 clusters" in text
    assert "not proven" not in text


def test_text_of_a_gap_says_that_optimality_is_open(overlapping):
    text = str(certify_kmeans(*overlapping))
    assert "the dual of the semidefinite relaxation" in text
    assert text.endswith("Whether this one is optimal is not proven.")


def test_text_where_nothing_is_to_choose_has_no_share_of_zero():
    text = str(certify_kmeans(np.ones((5, 2)), np.zeros(5)))
    assert text.endswith("no clustering of 5 rows into 1 cluster has an inertia below the 0 of this one.")
