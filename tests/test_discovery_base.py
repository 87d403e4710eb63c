"""What estimators with centers answer once fitted."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.distance import cdist
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import silhouette_score
from sklearn.metrics.pairwise import euclidean_distances

from sklearn_sslcluster.datasets import make_partially_labeled_blobs
from sklearn_sslcluster.discovery import NCDKMeans, NCDSpectralClustering, SemiSupervisedKMeans

BOTH = pytest.mark.parametrize("estimator", [NCDKMeans, SemiSupervisedKMeans])


@pytest.fixture(scope="module")
def blobs():
    """Three known and two novel classes, every unlabeled row novel."""
    return make_partially_labeled_blobs(300, n_features=3, random_state=0)


@pytest.fixture(scope="module")
def overlapping():
    return make_partially_labeled_blobs(300, n_features=3, class_sep=3, random_state=0)


def fitted(estimator, X, y, n_clusters=5, **params):
    """Fitted estimator; that some rows of overlapping classes look known is not what these tests are about."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*lie nearest to a known class")
        return estimator(n_clusters, random_state=0, **params).fit(X, y)


@BOTH
def test_transform_gives_the_distances_to_all_centers(overlapping, estimator):
    X, y, _ = overlapping
    model = fitted(estimator, X, y)
    assert_allclose(model.transform(X), euclidean_distances(X, model.cluster_centers_), atol=1e-10)


@BOTH
def test_predict_names_the_nearest_center_of_all_and_predict_novel_that_of_the_novel(overlapping, estimator):
    X, y, _ = overlapping
    model = fitted(estimator, X, y)
    new = np.random.RandomState(1).uniform(X.min(), X.max(), size=(200, 3))
    distances = cdist(new, model.cluster_centers_)
    assert_array_equal(model.predict(new), model.classes_[distances.argmin(axis=1)])
    assert_array_equal(model.predict_novel(new), model.classes_[3 + distances[:, 3:].argmin(axis=1)])


@BOTH
def test_predict_novel_without_novel_classes_is_refused(blobs, estimator):
    X, y, _ = blobs
    model = fitted(estimator, X[y >= 0], y[y >= 0], "auto")
    with pytest.raises(ValueError, match=f"{estimator.__name__} found no novel class"):
        model.predict_novel(X)


@BOTH
def test_score_is_the_silhouette_of_scikit_learn(overlapping, estimator):
    X, y, _ = overlapping
    model = fitted(estimator, X, y)
    new = make_partially_labeled_blobs(200, n_features=3, class_sep=3, random_state=9)[0]
    assert model.score(new) == pytest.approx(silhouette_score(new, model.predict(new)), abs=1e-5)
    assert model.score(np.repeat(new, 3, axis=0)) == pytest.approx(model.score(new))


@BOTH
def test_reject_leaves_out_the_rows_beyond_the_quantile_of_their_class(overlapping, estimator):
    X, y, _ = overlapping
    model = fitted(estimator, X, y)
    novel = model.labels_ == 3
    distances = cdist(X, model.cluster_centers_)
    limit = np.quantile(distances[novel, 3], 0.9, method="inverted_cdf")
    nearest = distances.argmin(axis=1) == 3
    assert_array_equal(model.predict(X, reject=0.9)[nearest] == -1, distances[nearest, 3] > limit)


@BOTH
def test_reject_of_one_keeps_every_training_row(blobs, estimator):
    X, y, _ = blobs
    model = fitted(estimator, X, y)
    assert_array_equal(model.predict(X, reject=1.0), model.labels_)
    assert model.predict(X + 1e6, reject=1.0).tolist() == [-1] * len(X)


@BOTH
@pytest.mark.parametrize("reject", [0, 1.5, -0.1, "all", True])
def test_reject_must_be_a_quantile(blobs, estimator, reject):
    with pytest.raises(ValueError, match="reject must be a quantile"):
        fitted(estimator, *blobs[:2]).predict(blobs[0], reject=reject)


@BOTH
@given(seed=st.integers(0, 10**6))
def test_novelty_score_exceeds_one_half_exactly_where_a_novel_class_is_predicted(estimator, seed):
    # Whole numbers make ties, which two ways to compute a distance may break differently.
    rng = np.random.RandomState(seed)
    X, y = rng.randint(0, 5, size=(20, 2)).astype(float), np.r_[0, 0, 1, 1, np.full(16, -1)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = fitted(estimator, X, y, n_init=1)
    grid = np.stack(np.meshgrid(np.arange(0, 5, 0.5), np.arange(0, 5, 0.5)), axis=-1).reshape(-1, 2)
    score = model.novelty_score(grid)
    assert_array_equal(score > 0.5, np.isin(model.predict(grid), model.novel_classes_))
    assert ((score >= 0) & (score <= 1)).all()


@BOTH
def test_novelty_score_is_the_share_of_the_known_distance(overlapping, estimator):
    X, y, _ = overlapping
    model = fitted(estimator, X, y)
    distances = cdist(X, model.cluster_centers_)
    known, novel = distances[:, :3].min(axis=1), distances[:, 3:].min(axis=1)
    assert_allclose(model.novelty_score(X), known / (known + novel))
    assert_allclose(model.set_output(transform="pandas").novelty_score(X), known / (known + novel))


@BOTH
def test_novelty_score_without_known_or_novel_classes_is_one_or_zero(blobs, estimator):
    X, y, _ = blobs
    assert set(fitted(estimator, X, None).novelty_score(X)) == {1}
    assert set(fitted(estimator, X[y >= 0], y[y >= 0], "auto").novelty_score(X)) == {0}


@BOTH
@pytest.mark.parametrize("method", ["predict", "predict_novel", "transform", "novelty_score", "score"])
def test_methods_before_fit_are_refused(estimator, method):
    with pytest.raises(NotFittedError):
        getattr(estimator(), method)(np.ones((2, 2)))


@pytest.mark.parametrize("estimator", [SemiSupervisedKMeans, NCDKMeans])
def test_weights_count_for_reject_like_repeated_rows(estimator):
    X, y, _ = make_partially_labeled_blobs(200, random_state=0)
    weight = np.random.RandomState(0).randint(0, 3, size=200)
    weighted = estimator(5, random_state=0).fit(X, y, sample_weight=weight)
    repeated = estimator(5, random_state=0).fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    assert_allclose(weighted.distance_quantiles_, repeated.distance_quantiles_)


def test_rejection_sees_a_rare_class_of_a_large_table(monkeypatch):
    monkeypatch.setattr("sklearn_sslcluster.numerics.center_fit._MOST_SAMPLE_ROWS", 50)
    monkeypatch.setattr("sklearn_sslcluster.numerics.center_fit._FEWEST_SAMPLE_ROWS", 50)
    X, _, truth = make_partially_labeled_blobs(1000, random_state=0)
    y = np.where(truth < 3, 0, -1)
    y[np.flatnonzero(truth == 1)[:2]] = 1
    model = SemiSupervisedKMeans(4, n_init=2, random_state=0).fit(X, y)
    assert np.isfinite(model.distance_quantiles_).all()


@pytest.mark.parametrize("estimator", [SemiSupervisedKMeans, NCDKMeans, NCDSpectralClustering])
def test_auto_with_a_single_unlabeled_row_far_away_answers_one_new_class(estimator):
    X, _, truth = make_partially_labeled_blobs(200, random_state=0)
    model = estimator(random_state=0).fit(np.vstack([X, [[200.0, 200.0]]]), np.r_[truth, -1])
    assert model.novel_classes_.tolist() == [5]


@pytest.mark.parametrize(("scale", "dtype", "match"), [(1e20, "f4", "overflow"), (1e-200, "f8", "vanish")])
def test_values_out_of_the_range_of_squares_are_refused(scale, dtype, match):
    X = (np.random.RandomState(0).normal(size=(50, 2)) * scale).astype(dtype)
    with pytest.raises(ValueError, match=match):
        SemiSupervisedKMeans(3).fit(X)
