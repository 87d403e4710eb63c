"""The number of clusters: criteria, the sweep over candidates, and the estimate for partially labeled tables."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy.sparse import csr_array
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score, silhouette_score
from sklearn.metrics.pairwise import euclidean_distances

from sklearn_sslcluster.datasets import make_partially_labeled_blobs
from sklearn_sslcluster.discovery import NCDKMeans, SemiSupervisedKMeans
from sklearn_sslcluster.metrics import clustering_accuracy
from sklearn_sslcluster.model_selection import estimate_n_clusters
from sklearn_sslcluster.numerics import model_order
from sklearn_sslcluster.numerics.model_order import CRITERIA, is_one_cluster, pairwise_distances, select_k, silhouette


@pytest.fixture(scope="module")
def four_blobs():
    return make_blobs(200, centers=[[0, 0], [8, 0], [0, 8], [8, 8]], random_state=0)


def kmeans_codes(X):
    return lambda k: KMeans(k, n_init=3, random_state=0).fit(X).labels_


# Criteria


@given(seed=st.integers(0, 10**6), k=st.integers(2, 6))
def test_silhouette_is_that_of_scikit_learn(seed, k):
    rng = np.random.RandomState(seed)
    X, codes = rng.normal(size=(25, 3)), np.r_[np.arange(k), rng.randint(k, size=25 - k)]
    assert silhouette(euclidean_distances(X), codes) == pytest.approx(silhouette_score(X, codes))
    assert silhouette(pairwise_distances(X), 3 * codes + 5) == pytest.approx(silhouette_score(X, codes), abs=1e-5)


def test_silhouette_of_one_cluster_and_of_rows_alone_is_zero():
    distances = euclidean_distances(np.arange(4.0)[:, None])
    assert silhouette(distances, np.zeros(4)) == 0
    assert silhouette(distances, np.arange(4)) == 0


def test_silhouette_of_equal_rows_is_zero():
    assert silhouette(np.zeros((4, 4)), np.array([0, 0, 1, 1])) == 0


@pytest.mark.parametrize("scale", [1e-12, 1, 1e12])
def test_pairwise_distances_are_in_units_of_the_largest_far_from_the_origin_too(scale):
    X = np.random.RandomState(0).normal(size=(20, 3)) * scale
    expected = euclidean_distances(X) / euclidean_distances(X).max()
    np.testing.assert_allclose(pairwise_distances(X + 1e6 * scale), expected, atol=1e-5)
    np.testing.assert_allclose(pairwise_distances(csr_array(X)), expected, atol=1e-5)


def test_inertia_is_that_of_kmeans(four_blobs):
    X, _ = four_blobs
    fitted = KMeans(4, n_init=1, random_state=0).fit(X)
    assert model_order.inertia(X, fitted.labels_) == pytest.approx(fitted.inertia_)


@given(seed=st.integers(0, 10**6))
def test_labeled_accuracy_is_the_clustering_accuracy_of_the_labeled_rows(seed):
    rng = np.random.RandomState(seed)
    known, codes = rng.randint(-1, 3, size=30), rng.randint(5, size=30)
    known[0] = 0
    labeled = known >= 0
    expected = clustering_accuracy(known[labeled], codes[labeled])
    assert model_order.labeled_accuracy(known, codes) == pytest.approx(expected)


def test_elbow_is_the_distance_below_the_chord():
    ks, values = np.array([2, 3, 4, 6]), np.array([10.0, 4.0, 3.0, 2.0])
    # Chord from (2, 10) to (6, 2), in units of its extent: at k the fall so far less the share of the way.
    np.testing.assert_allclose(model_order.elbow(ks, values), [0, 6 / 8 - 1 / 4, 7 / 8 - 2 / 4, 0])


@pytest.mark.parametrize("values", [[3.0, 3.0, 3.0], [4.0, 1.0]])
def test_elbow_of_a_curve_without_a_bend_is_zero(values):
    assert model_order.elbow(np.arange(len(values)), np.array(values)).tolist() == [0] * len(values)


# The sweep


@pytest.mark.parametrize("criterion", [name for name in CRITERIA if name != "labeled_accuracy"])
def test_each_criterion_finds_four_separate_blobs(four_blobs, criterion):
    X, _ = four_blobs
    k, scores = select_k(kmeans_codes(X), X, range(2, 9), criterion)
    assert k == 4
    assert list(scores) == list(range(2, 9))
    assert max(scores, key=scores.get) == 4


def test_labeled_accuracy_finds_the_number_at_which_clusters_are_classes(four_blobs):
    X, truth = four_blobs
    known = np.where(np.arange(200) % 2, truth, -1)
    k, scores = select_k(kmeans_codes(X), X, range(2, 9), "labeled_accuracy", known)
    assert k == 4
    assert scores[4] == 1


@pytest.mark.parametrize(
    ("criterion", "metric", "sign"),
    [
        ("silhouette", silhouette_score, 1),
        ("calinski_harabasz", calinski_harabasz_score, 1),
        ("davies_bouldin", davies_bouldin_score, -1),
    ],
)
def test_scores_are_those_of_scikit_learn_and_larger_is_better(four_blobs, criterion, metric, sign):
    X, _ = four_blobs
    cluster = kmeans_codes(X)
    _, scores = select_k(cluster, X, [2, 5], criterion)
    assert scores == pytest.approx({k: sign * metric(X, cluster(k)) for k in (2, 5)}, rel=1e-4)


def test_criterion_may_be_a_function_of_rows_and_codes(four_blobs):
    X, _ = four_blobs
    assert select_k(kmeans_codes(X), X, [2, 3, 4], lambda X, codes: -abs(len(np.unique(codes)) - 3))[0] == 3


def best_at_three(X, codes):
    return {2: np.nan, 3: 1.0, 4: 0.5}[len(np.unique(codes))]


def test_a_criterion_without_a_value_is_the_worst(four_blobs):
    best, scores = select_k(lambda k: np.arange(8) % k, np.zeros((8, 1)), [2, 3, 4], best_at_three)
    assert best == 3
    assert np.isnan(scores[2])


def test_a_criterion_without_any_value_is_an_error(four_blobs):
    with pytest.raises(ValueError, match="criterion returned NaN for every number of clusters"):
        estimate_n_clusters(four_blobs[0], k_max=4, criterion=lambda X, codes: float("nan"), random_state=0)


@pytest.mark.parametrize("container", [np.asarray, csr_array])
def test_labeled_accuracy_of_equal_rows_is_the_number_of_known_classes(container):
    X, y = container(np.ones((6, 2))), [0, 0, 1, 1, -1, -1]
    result = estimate_n_clusters(X, y, criterion="labeled_accuracy", random_state=0, return_scores=True)
    assert result == (2, {})


def test_the_smaller_number_wins_a_tie():
    assert select_k(lambda k: np.arange(6) % k, np.eye(6), [2, 3, 4], lambda X, codes: 1.0)[0] == 2


def test_sweep_ends_where_there_are_not_so_many_clusters(four_blobs):
    X, _ = four_blobs
    cluster = kmeans_codes(X)
    _, scores = select_k(lambda k: cluster(k) if k < 4 else None, X, range(2, 9))
    assert list(scores) == [2, 3]


def test_nothing_to_score_is_an_error():
    with pytest.raises(ValueError, match="too few distinct rows"):
        select_k(lambda k: None, np.eye(3), [2, 3])


@pytest.mark.parametrize("criterion", ["dunn", "labeled_accuracy"])
def test_unknown_criterion_and_missing_codes_are_errors(criterion):
    with pytest.raises(ValueError, match="criterion must be one of"):
        select_k(lambda k: np.zeros(3), np.eye(3), [2], criterion)


@pytest.mark.parametrize("criterion", ["calinski_harabasz", "davies_bouldin"])
def test_an_index_undefined_for_one_cluster_never_prefers_it(criterion, four_blobs):
    X, _ = four_blobs
    cluster = kmeans_codes(X)
    assert select_k(cluster, X, [1, 4], criterion)[0] == 4


# One cluster or more

SHAPES = {
    "normal": lambda rng: rng.normal(size=(300, 3)),
    "stretched normal": lambda rng: rng.normal(size=(300, 3)) * [10, 1, 0.1],
    "uniform square": lambda rng: rng.uniform(size=(300, 2)),
    "normal in 20 dimensions": lambda rng: rng.normal(size=(300, 20)),
    "three rows": lambda rng: rng.normal(size=(3, 2)),
    "equal rows": lambda rng: np.ones((20, 2)),
}


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(3))
def test_rows_without_groups_are_one_cluster(shape, seed):
    rng = np.random.RandomState(seed)
    assert is_one_cluster(1e6 + SHAPES[shape](rng), rng)


@pytest.mark.parametrize("n_features", [1, 2, 10])
@pytest.mark.parametrize("seed", range(3))
def test_two_separate_blobs_are_not_one_cluster(n_features, seed):
    X, _ = make_partially_labeled_blobs(300, n_known=0, n_novel=2, n_features=n_features, random_state=seed)[::2]
    assert not is_one_cluster(X, np.random.RandomState(0))


# The estimate


@pytest.mark.parametrize("criterion", ["silhouette", "calinski_harabasz", "davies_bouldin"])
@pytest.mark.parametrize("container", [np.asarray, csr_array])
def test_estimate_counts_known_and_novel_classes(criterion, container):
    X, y, _ = make_partially_labeled_blobs(300, labeled_fraction=0.5, random_state=0)
    assert estimate_n_clusters(container(X), y, k_max=9, criterion=criterion, random_state=0) == 5


@pytest.mark.parametrize("container", [np.asarray, csr_array])
def test_labeled_rows_agree_best_with_blind_clusters_at_the_planted_number(container):
    X, y, _ = make_partially_labeled_blobs(300, labeled_fraction=0.5, random_state=0)
    n_clusters, scores = estimate_n_clusters(
        container(X), y, k_max=9, criterion="labeled_accuracy", random_state=0, return_scores=True
    )
    assert list(scores) == list(range(3, 10))
    assert scores[n_clusters] == scores[5] == 1
    assert scores[9] < 1


def test_estimate_by_the_elbow_of_a_sharp_bend():
    X, y, _ = make_partially_labeled_blobs(
        300, n_known=1, n_novel=3, labeled_fraction=0.5, class_sep=30, random_state=0
    )
    assert estimate_n_clusters(X, y, k_max=12, criterion="elbow", random_state=0) == 4


@pytest.mark.parametrize("n_novel", [0, 1, 2])
@pytest.mark.parametrize("n_known", [1, 2, 4])
def test_estimate_answers_zero_one_and_two_new_classes(n_novel, n_known):
    X, y, _ = make_partially_labeled_blobs(
        400, n_known=n_known, n_novel=n_novel, labeled_fraction=0.5, n_features=3, random_state=1
    )
    assert estimate_n_clusters(X, y, k_max=8, random_state=0) == n_known + n_novel


def test_estimate_without_labels_can_be_one():
    X = np.random.RandomState(0).normal(size=(200, 2))
    assert estimate_n_clusters(X, random_state=0) == 1


def test_estimate_without_labels_is_the_number_of_blobs(four_blobs):
    assert estimate_n_clusters(four_blobs[0], random_state=0) == 4


def test_estimate_where_every_row_is_labeled_is_the_number_of_classes(four_blobs):
    assert estimate_n_clusters(*four_blobs, random_state=0, return_scores=True) == (4, {})


def test_return_scores_gives_the_score_of_each_number_tried():
    X, y, _ = make_partially_labeled_blobs(300, labeled_fraction=0.5, random_state=0)
    n_clusters, scores = estimate_n_clusters(X, y, k_max=7, random_state=0, return_scores=True)
    assert set(scores) <= {3, 4, 5, 6, 7}
    assert max(scores, key=scores.get) == n_clusters == 5


def test_auto_of_the_estimator_is_the_estimate():
    X, y, _ = make_partially_labeled_blobs(300, labeled_fraction=0.5, cluster_std=2, class_sep=3, random_state=3)
    n_clusters, scores = estimate_n_clusters(X, y, k_max=8, random_state=0, return_scores=True)
    model = SemiSupervisedKMeans(k_max=8, random_state=0).fit(X, y)
    assert model.n_clusters_scores_ == pytest.approx(scores)
    assert model.n_clusters_ == n_clusters


def test_estimate_ignores_row_order_and_repetition():
    X, y, _ = make_partially_labeled_blobs(200, labeled_fraction=0.5, class_sep=4, random_state=0)
    order = np.random.RandomState(0).permutation(200)
    expected = estimate_n_clusters(X, y, k_max=8, random_state=0, return_scores=True)
    for rows in (order, np.repeat(order, 3)):
        n_clusters, scores = estimate_n_clusters(X[rows], y[rows], k_max=8, random_state=0, return_scores=True)
        assert n_clusters == expected[0]
        assert scores == pytest.approx(expected[1])


def test_estimate_takes_missing_labels_in_any_form():
    X, y, _ = make_partially_labeled_blobs(200, labeled_fraction=0.5, random_state=0)
    names = np.array(["ash", "beech", "cedar", None], dtype=object)[y]
    assert estimate_n_clusters(X, names, k_max=8, random_state=0) == 5
    assert estimate_n_clusters(X, y + 5, unlabeled_value=4, k_max=8, random_state=0) == 5


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"criterion": "labeled_accuracy"}, "needs labeled rows"),
        ({"criterion": "gap"}, "criterion"),
        ({"k_max": 0}, "k_max"),
        ({"n_init": 0}, "n_init"),
        ({"y": [0, 1]}, "inconsistent numbers of samples|length"),
    ],
)
def test_bad_arguments_are_named(arguments, error):
    with pytest.raises(ValueError, match=error):
        estimate_n_clusters(np.random.RandomState(0).normal(size=(20, 2)), **arguments)


def test_missing_values_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        estimate_n_clusters(np.array([[1.0], [np.nan]]))


def test_codes_of_the_sweep_are_not_changed():
    codes = np.array([4, 4, 7, 7])
    select_k(lambda k: codes, np.eye(4), [2])
    assert_array_equal(codes, [4, 4, 7, 7])


def test_sweep_reports_only_novel_centers_where_known_ones_do_not_move():
    X, _, truth = make_partially_labeled_blobs(240, n_known=3, n_novel=0, random_state=0)
    y = np.where(np.arange(240) % 2, truth, -1)
    reported = []

    class Watch:
        def setup(self, estimator, context): ...
        def teardown(self, estimator, context): ...
        def on_fit_task_begin(self, estimator, context): ...
        def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
            if fitted_estimator is not None:
                reported.append(
                    (fitted_estimator.n_clusters_, len(np.unique(fitted_estimator.cluster_centers_, axis=0)))
                )

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        NCDKMeans(k_max=6, random_state=0).set_callbacks(Watch()).fit(X, y)
    assert 3 in [n_clusters for n_clusters, _ in reported]
    assert all(n_clusters == n_distinct for n_clusters, n_distinct in reported)
