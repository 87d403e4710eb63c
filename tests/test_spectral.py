"""Spectral embeddings, and the novel classes found in them."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.linalg import eigvalsh, subspace_angles
from scipy.sparse.csgraph import laplacian, minimum_spanning_tree
from scipy.spatial.distance import cdist, pdist, squareform
from sklearn.datasets import load_digits, make_moons
from sklearn.manifold import spectral_embedding
from sklearn.metrics.pairwise import rbf_kernel

from sklearn_sslcluster.datasets import hide_classes, make_partially_labeled_blobs
from sklearn_sslcluster.discovery import NCDKMeans, NCDSpectralClustering, _ncd_spectral
from sklearn_sslcluster.metrics import category_discovery_accuracy, clustering_accuracy
from sklearn_sslcluster.numerics import spectral


@pytest.fixture(scope="module")
def blobs():
    return make_partially_labeled_blobs(300, random_state=0)


@pytest.fixture(scope="module")
def moons():
    """(rows, partial labels, truth): two moons nobody has named, and a known ball above them."""
    X, moon = make_moons(300, noise=0.05, random_state=0)
    ball = np.random.RandomState(1).normal([0.5, 1.8], 0.2, size=(100, 2))
    return np.vstack([X, ball]), np.r_[np.full(300, -1), np.zeros(100, int)], np.r_[moon + 1, np.zeros(100, int)]


# The gap between the classes is the longest edge of the spanning tree: little similarity there keeps them apart.
FOR_MOONS = {"n_clusters": 3, "s_min": 0.1, "n_eigenvectors": 2, "random_state": 0}


@pytest.fixture(scope="module")
def scattered():
    return np.random.RandomState(0).normal(size=(80, 3))


def gaussian(X, sigma=0.7):
    return spectral.gaussian_affinity(spectral.dense_distances(X), sigma)


# Bandwidth


@pytest.mark.parametrize("s_min", [0.05, 0.6, 0.95])
@pytest.mark.parametrize(("convention", "power"), [("paper", 1), ("code", 0.5)])
def test_longest_edge_of_the_spanning_tree_gets_the_similarity_asked_for(scattered, s_min, convention, power):
    tree = minimum_spanning_tree(squareform(pdist(scattered))).tocoo()
    longest = tree.data.argmax()
    sigma = spectral.bandwidth(spectral.dense_longest_edge(scattered), s_min, convention)
    affinity = spectral.gaussian_affinity(spectral.dense_distances(scattered), sigma).matrix
    assert affinity[tree.row[longest], tree.col[longest]] == pytest.approx(s_min**power)


@pytest.mark.parametrize("sigma", ["paper", "code"])
def test_estimator_uses_the_bandwidth_of_its_convention(blobs, sigma):
    X, y, _ = blobs
    model = NCDSpectralClustering(5, s_min=0.3, sigma=sigma, random_state=0).fit(X, y)
    edge = minimum_spanning_tree(squareform(pdist(X))).data.max()
    assert np.exp(-((edge / model.sigma_) ** 2) / 2) == pytest.approx(0.3 if sigma == "paper" else 0.3**0.5)


@pytest.mark.parametrize("offset", [0, 1e6])
def test_longest_edge_is_that_of_scipy(scattered, offset):
    expected = minimum_spanning_tree(squareform(pdist(scattered))).data.max()
    assert spectral.dense_longest_edge(scattered + offset) == pytest.approx(expected, rel=1e-6)
    complete = spectral.neighbor_distances(scattered + offset, 79)
    assert spectral.graph_longest_edge(complete) == pytest.approx(expected, rel=1e-6)


def test_longest_edge_of_one_row_is_zero():
    assert spectral.dense_longest_edge(np.ones((1, 2))) == 0


# Affinities


def test_gaussian_affinity_is_the_kernel_with_a_zero_diagonal(scattered):
    expected = rbf_kernel(scattered, gamma=1 / (2 * 0.7**2))
    np.fill_diagonal(expected, 0)
    affinity = gaussian(scattered)
    assert_allclose(affinity.matrix, expected, atol=1e-12)
    assert_allclose(affinity.degrees, expected.sum(axis=1))


def test_complete_graph_has_the_affinity_of_all_pairs(scattered):
    graph = spectral.graph_affinity(spectral.neighbor_distances(scattered, 79), 0.7)
    assert_allclose(graph.matrix.toarray(), gaussian(scattered).matrix, atol=1e-12)
    assert_allclose(graph.degrees, gaussian(scattered).degrees)


def test_neighbor_graph_holds_the_distances_to_the_nearest_rows_both_ways(scattered):
    distances = cdist(scattered, scattered)
    nearest = distances <= np.sort(distances, axis=1)[:, [5]]
    expected = np.where(nearest | nearest.T, distances, 0)
    assert_allclose(spectral.neighbor_distances(scattered, 5).toarray(), expected)


def test_connectivity_is_the_mean_of_the_neighbor_relation_and_its_transpose(scattered):
    distances = cdist(scattered, scattered)
    nearest = (distances <= np.sort(distances, axis=1)[:, [5]]) & ~np.eye(80, dtype=bool)
    affinity = spectral.connectivity_affinity(scattered, 5)
    assert_allclose(affinity.matrix.toarray(), (nearest + nearest.T.astype(float)) / 2)


# Eigenvectors


def test_eigenvalues_are_one_minus_those_of_the_normalized_laplacian(scattered):
    affinity = gaussian(scattered)
    values = spectral.leading_eigenvectors(affinity, 80).values
    assert_allclose(1 - values, eigvalsh(laplacian(affinity.matrix, normed=True)), atol=1e-10)


def test_first_eigenvector_is_the_root_of_the_degrees(scattered):
    affinity = gaussian(scattered)
    first = spectral.leading_eigenvectors(affinity, 1).vectors[:, 0]
    assert_allclose(first, np.sqrt(affinity.degrees / affinity.degrees.sum()))


def test_eigenvectors_over_the_root_of_the_degrees_embed_as_scikit_learn_does(scattered):
    affinity = gaussian(scattered, 2.0)
    vectors = spectral.leading_eigenvectors(affinity, 4).vectors[:, 1:] / np.sqrt(affinity.degrees)[:, None]
    expected = spectral_embedding(affinity.matrix, n_components=3, drop_first=True, random_state=0)
    assert_allclose(np.abs(vectors), np.abs(expected), atol=1e-8)


@pytest.mark.parametrize("solver", ["arpack", "lobpcg", "auto"])
@pytest.mark.parametrize("graph", [False, True])
def test_solvers_span_the_same_space(solver, graph):
    X = np.random.RandomState(0).uniform(size=(700, 2)) * [4, 1]
    affinity = gaussian(X, 0.4)
    if graph:
        affinity = spectral.graph_affinity(spectral.neighbor_distances(X, 30), 0.4)
    dense = spectral.leading_eigenvectors(affinity, 6, "dense")
    other = spectral.leading_eigenvectors(affinity, 6, solver)
    assert_allclose(other.values, dense.values, atol=1e-6)
    assert subspace_angles(other.vectors, dense.vectors).max() < 1e-3
    if solver != "lobpcg":
        assert_allclose(other.vectors, dense.vectors, atol=1e-6)


def test_signs_make_the_largest_entry_positive(scattered):
    vectors = spectral.leading_eigenvectors(gaussian(scattered), 5).vectors
    assert (vectors[np.abs(vectors).argmax(axis=0), np.arange(5)] > 0).all()


# Nystrom


def test_nystrom_returns_the_training_embedding(scattered):
    affinity = gaussian(scattered)
    embedding = spectral.keep_extendable(spectral.leading_eigenvectors(affinity, 80))
    assert 1 < embedding.vectors.shape[1] < 80
    extended = spectral.nystrom(cdist(scattered, scattered), 0.7, affinity.degrees, embedding)
    assert_allclose(extended, embedding.vectors, atol=1e-10)


def test_nystrom_of_a_new_row_is_the_formula(scattered):
    affinity, new = gaussian(scattered), np.array([0.3, -0.2, 0.1])
    embedding = spectral.leading_eigenvectors(affinity, 3)
    similarity = np.exp(-((scattered - new) ** 2).sum(axis=1) / (2 * 0.7**2))
    for j in range(3):
        total = 0.0
        for i in range(80):
            normalized = similarity[i] / np.sqrt(similarity.sum() * affinity.degrees[i])
            total += normalized * embedding.vectors[i, j] / embedding.values[j]
        extended = spectral.nystrom(cdist([new], scattered), 0.7, affinity.degrees, embedding)
        assert extended[0, j] == pytest.approx(total)


def test_nystrom_is_nan_out_of_reach_of_all_rows(scattered):
    affinity = gaussian(scattered)
    embedding = spectral.leading_eigenvectors(affinity, 3)
    assert np.isnan(spectral.nystrom(np.full((1, 80), 1e3), 0.7, affinity.degrees, embedding)).all()


def test_only_eigenvectors_with_large_positive_eigenvalues_are_extended():
    embedding = spectral.Embedding(np.eye(5), np.array([0.9, 0.5, 0.0091, 0.0089, -0.9]))
    kept = spectral.keep_extendable(embedding)
    assert_array_equal(kept.values, [0.9, 0.5, 0.0091])
    assert_array_equal(kept.vectors, np.eye(5)[:, :3])


# The estimator


def test_two_moons_are_found_where_kmeans_fails(moons):
    X, y, truth = moons
    novel = y == -1
    spectral_labels = NCDSpectralClustering(**FOR_MOONS).fit(X, y).labels_
    kmeans_labels = NCDKMeans(3, random_state=0).fit(X, y).labels_
    assert clustering_accuracy(truth[novel], spectral_labels[novel]) == 1
    assert clustering_accuracy(truth[novel], kmeans_labels[novel]) < 0.9


@pytest.mark.parametrize("extension", ["nearest", "nystrom"])
def test_new_rows_of_the_moons_are_recognized(moons, extension):
    X, y, _ = moons
    model = NCDSpectralClustering(extension=extension, **FOR_MOONS).fit(X, y)
    new, moon = make_moons(200, noise=0.05, random_state=9)
    assert clustering_accuracy(moon, model.predict(new)) > 0.97
    assert clustering_accuracy(moon, model.predict_novel(new)) > 0.97
    assert model.predict([[0.5, 1.9]]) == [0]


MODES = {
    "dense": {},
    "code sigma": {"sigma": "code", "drop_first": False},
    "nystrom": {"extension": "nystrom"},
    "neighbors": {"affinity": "nearest_neighbors"},
    "tuned": {"tune": True, "n_tune": 3},
    "auto": {"n_clusters": "auto", "k_max": 8},
    "arpack": {"eigen_solver": "arpack"},
    "lobpcg": {"eigen_solver": "lobpcg"},
}


@pytest.mark.parametrize("n_features", [2, 20])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.filterwarnings("ignore:.*lie nearest to a known class", "ignore:Graph is not fully connected")
def test_labels_of_unlabeled_rows_are_what_predict_says(mode, dtype, n_features):
    X, y, _ = make_partially_labeled_blobs(150, n_features=n_features, class_sep=4, random_state=0)
    X = np.vstack([X, X[:20], X[20:40] * (1 + 1e-7)]).astype(dtype)
    y = np.r_[y, np.full(40, -1)]
    model = NCDSpectralClustering(**({"n_clusters": 5, "random_state": 0} | MODES[mode])).fit(X, y)
    assert_array_equal(model.labels_[y == -1], model.predict(X)[y == -1])
    assert_array_equal(model.labels_[y != -1], y[y != -1])


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode not in ("tuned", "neighbors")])
def test_separate_classes_are_found_in_every_mode(blobs, mode):
    X, y, truth = blobs
    model = NCDSpectralClustering(**({"n_clusters": 5, "random_state": 0} | MODES[mode])).fit(X, y)
    assert clustering_accuracy(truth, model.labels_) == 1


def test_known_centers_are_the_class_means_of_the_embedding(blobs):
    X, y, _ = blobs
    model = NCDSpectralClustering(5, random_state=0).fit(X, y)
    Z = model.embed(X)
    assert_allclose(model.cluster_centers_[:3], [Z[y == c].mean(axis=0) for c in range(3)])
    assert Z.shape == (300, model.n_eigenvectors_) == (300, 10)


@pytest.mark.parametrize("extension", ["nearest", "nystrom"])
def test_training_rows_are_embedded_where_training_put_them(blobs, extension):
    X, y, _ = blobs
    model = NCDSpectralClustering(5, extension=extension, random_state=0).fit(X, y)
    assert_array_equal(model.embed(model.X_fit_), model.embedding_)


def test_neighbor_graph_beyond_the_dense_limit_gives_the_same_labels(monkeypatch, blobs):
    X, y, _ = blobs
    dense = NCDSpectralClustering(5, n_eigenvectors=4, random_state=0).fit(X, y)
    monkeypatch.setattr(_ncd_spectral, "_DENSE_ROWS", 100)
    graph = NCDSpectralClustering(5, n_eigenvectors=4, n_neighbors=40, random_state=0).fit(X, y)
    assert (graph.degrees_ < 0.9 * dense.degrees_).all()
    assert clustering_accuracy(dense.labels_, graph.labels_) == 1
    assert_array_equal(graph.predict(X)[y == -1], graph.labels_[y == -1])


def test_equal_rows_count_once(blobs):
    X, y, _ = blobs
    once = NCDSpectralClustering(5, random_state=0).fit(X, y)
    often = NCDSpectralClustering(5, random_state=0).fit(np.repeat(X, 3, axis=0), np.repeat(y, 3))
    assert_allclose(often.eigenvalues_, once.eigenvalues_)
    assert_array_equal(often.labels_[::3], once.labels_)


def test_tuning_keeps_the_pair_that_recovers_the_known_classes_best(blobs):
    X, y, truth = (values[::2] for values in blobs)
    model = NCDSpectralClustering(5, tune=True, n_tune=12, random_state=0).fit(X, y)
    results = model.tuning_results_
    best = int(np.argmax(results["score"]))
    assert [len(values) for values in results.values()] == [12, 12, 12]
    assert (model.s_min_, model.n_eigenvectors_) == (results["s_min"][best], results["n_eigenvectors"][best])
    assert min(results["score"]) < 0.5 < 0.95 < results["score"][best]
    assert clustering_accuracy(truth[y == -1], model.labels_[y == -1]) > 0.9


def test_tuning_in_vain_warns():
    # Every row of one class has a row of the other beside it.
    X = np.random.RandomState(0).normal(size=(20, 2))
    X, y = np.vstack([X, X + 1e-9, X[:10] + 0.1]), np.repeat([0, 1, -1], [20, 20, 10])
    with pytest.warns(UserWarning, match="agrees with the known classes better than chance"):
        NCDSpectralClustering(3, tune=True, n_tune=2, random_state=0).fit(X, y)


@pytest.mark.parametrize("y", [None, [0] * 10 + [-1] * 290])
def test_tuning_with_fewer_than_two_known_classes_is_refused(blobs, y):
    with pytest.raises(ValueError, match="at least two classes"):
        NCDSpectralClustering(5, tune=True).fit(blobs[0], y)


def test_nystrom_of_a_graph_is_refused(monkeypatch, blobs):
    with pytest.raises(ValueError, match="extension='nystrom' needs affinity='rbf'"):
        NCDSpectralClustering(5, extension="nystrom", affinity="nearest_neighbors").fit(*blobs[:2])
    monkeypatch.setattr(_ncd_spectral, "_DENSE_ROWS", 100)
    with pytest.raises(ValueError, match="at most 100 distinct rows, got affinity='rbf' and 300 rows"):
        NCDSpectralClustering(5, extension="nystrom").fit(*blobs[:2])


@pytest.mark.parametrize("n_known", [2, 3, 4])
def test_auto_can_find_no_new_class(n_known):
    X, y, _ = make_partially_labeled_blobs(300, n_known=n_known, n_novel=0, labeled_fraction=0.5, random_state=1)
    model = NCDSpectralClustering(k_max=10, random_state=0).fit(X, y)
    assert len(model.novel_classes_) == 0
    assert_array_equal(model.predict(X), model.labels_)


# Splits of the digits, five hidden in each. Measured accuracy less five points: 0.686, 0.936, 0.866, 0.848, 0.872.
FLOORS = {0: 0.636, 1: 0.886, 2: 0.816, 3: 0.798, 4: 0.822}


@pytest.mark.parametrize("seed", FLOORS)
def test_hidden_digits_are_found(seed):
    X, truth = load_digits(return_X_y=True)
    y = hide_classes(truth, n_novel=5, random_state=seed)
    hidden = y == -1
    labels = NCDSpectralClustering(10, random_state=0).fit(X, y).labels_[hidden]
    assert category_discovery_accuracy(truth[hidden], labels, y).new > FLOORS[seed]


@pytest.mark.parametrize("n_novel", [0, 1, 2])
@pytest.mark.parametrize("seed", [0, 1])
def test_auto_counts_planted_new_classes(n_novel, seed):
    X, _, truth = make_partially_labeled_blobs(240, n_known=3, n_novel=2, random_state=seed)
    kept = truth < 3 + n_novel
    X, truth = X[kept], truth[kept]
    y = np.where(truth < 3, truth, -1)
    if n_novel == 0:
        y[::2] = -1
    assert len(NCDSpectralClustering(random_state=seed).fit(X, y).novel_classes_) == n_novel


def test_unlabeled_rows_of_known_classes_are_warned_about():
    X, _, truth = make_partially_labeled_blobs(200, random_state=0)
    y = np.where((truth < 3) & (np.arange(200) % 2 == 0), truth, -1)
    with pytest.warns(UserWarning, match="NCDSpectralClustering assumes"):
        NCDSpectralClustering(5, random_state=0).fit(X, y)


def test_warning_points_at_the_line_of_the_user():
    X, y, _ = make_partially_labeled_blobs(100, random_state=0)
    with pytest.warns(UserWarning, match="raised to") as caught:
        NCDKMeans(1, random_state=0).fit(X, y)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("settings", [{"affinity": "nearest_neighbors"}, {}])
def test_neighbor_graph_finds_and_counts_separate_classes_by_default(monkeypatch, settings):
    monkeypatch.setattr(_ncd_spectral, "_DENSE_ROWS", 100)
    X, y, truth = make_partially_labeled_blobs(400, random_state=0)
    given = NCDSpectralClustering(5, random_state=0, **settings).fit(X, y)
    assert clustering_accuracy(truth, given.labels_) == 1
    assert NCDSpectralClustering(random_state=0, **settings).fit(X, y).n_clusters_ == 5
