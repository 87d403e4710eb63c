"""Names that the classes of `NovelClassDiscovery` take over from an earlier model."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans

from sklearn_sslcluster.auto import NovelClassDiscovery
from sklearn_sslcluster.auto._earlier import Earlier
from sklearn_sslcluster.datasets import make_partially_labeled_blobs
from sklearn_sslcluster.discovery import NCDKMeans, NovelRowsClustering
from sklearn_sslcluster.metrics import clustering_accuracy

QUICK = [("k-means", NCDKMeans(n_init=2)), ("ward", NovelRowsClustering())]
WORDS = np.array(["ant", "bee", "cat", "dog"])


@pytest.fixture(scope="module")
def blobs():
    return make_partially_labeled_blobs(200, n_known=4, n_novel=2, n_features=3, random_state=0)


def quick(**params):
    return NovelClassDiscovery(**{"n_clusters": 6, "candidates": QUICK, "n_splits": 2, "random_state": 0} | params)


@pytest.fixture
def first(blobs):
    """A model whose novel classes have names of their own, the larger one the larger number."""
    return quick().fit(blobs[0], blobs[1]).rename_classes({4: 50, 5: 40})


def test_names_are_kept_though_sizes_have_changed_sides(blobs, first):
    X, y, y_true = blobs
    largest = np.flatnonzero(first.labels_ == 50)
    rows = np.setdiff1d(np.arange(len(X)), largest[: len(largest) // 2 + 3])
    second = quick().fit(X[rows], y[rows], init_from=first)
    np.testing.assert_array_equal(second.labels_, first.labels_[rows])
    assert second.novel_classes_.tolist() == [40, 50]
    assert clustering_accuracy(y_true[rows], second.labels_) == 1


def test_a_model_may_go_on_from_itself(blobs, first):
    names = first.labels_.copy()
    np.testing.assert_array_equal(first.fit(blobs[0], blobs[1], init_from=first).labels_, names)


def test_frames_keep_their_names_and_reordered_columns_are_refused(blobs):
    X, y, _ = blobs
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    first = quick().fit(frame, y).rename_classes({4: 50, 5: 40})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second = quick().fit(frame, y, init_from=first)
    np.testing.assert_array_equal(second.labels_, first.labels_)
    with pytest.raises(ValueError, match=r"(?s)init_from must be a model.* same order"):
        quick().fit(frame[["c", "b", "a"]], y, init_from=first)


def test_a_class_that_continues_none_gets_a_name_nobody_had(blobs, first):
    """The class called 50 is gone, and one far away has come."""
    X, y, _ = blobs
    stay = first.labels_ != 50
    far = X[first.labels_ == 50] + 200
    rows, labels = np.vstack([X[stay], far]), np.r_[y[stay], np.full(len(far), -1)]
    second = quick().fit(rows, labels, init_from=first)
    assert set(second.novel_classes_.tolist()) == {40, 51}
    assert set(second.labels_[stay.sum() :]) == {51}


def test_a_class_that_has_lost_its_labels_keeps_its_name(blobs):
    X, y, _ = blobs
    first = quick().fit(X, y)
    second = quick().fit(X, np.where(y == 1, -1, y), init_from=first)
    assert 1 in second.novel_classes_
    assert (second.labels_[y == 1] == 1).all()


def test_names_follow_the_kind_of_the_labels(blobs):
    X, y, _ = blobs
    words = np.where(y < 0, None, WORDS[y])
    numbered = quick().fit(X)
    second = quick().fit(X, words, init_from=numbered)
    assert [type(name) for name in second.classes_] == [str] * 6
    old_names = [str(name) for name in np.unique(numbered.labels_[y < 0])]
    assert sorted(second.novel_classes_) == sorted(old_names)
    worded = quick().fit(X, words)
    with pytest.warns(UserWarning, match="init_from has names that are no whole numbers, 'ant'"):
        third = quick().fit(X, y, init_from=worded)
    assert third.novel_classes_.tolist() == [4, 5]


def test_without_labels_names_are_those_of_before(blobs):
    X, y, _ = blobs
    worded = quick().fit(X, np.where(y < 0, None, WORDS[y])).rename_classes({"novel_0": "eel"})
    second = quick().fit(X, init_from=worded)
    assert set(second.classes_) == {*WORDS, "eel", "novel_1"}
    assert np.mean(second.labels_ == worded.labels_) == 1


@pytest.mark.parametrize(
    ("called", "expected"),
    [
        # The earlier 5 is what would be 4 now, and the earlier 4 is gone.
        ([5, 5, 0, 0], [5, 6]),
        # A class that is half and half of two earlier ones continues the one, and the other the other.
        ([4, 5, 5, 5], [4, 5]),
        # Known today: no name for a novel class.
        ([0, 0, 1, 1], [6, 7]),
    ],
)
def test_names_never_collide(called, expected):
    earlier = Earlier(np.array([0, 1, *called], dtype=object), np.array([0, 1, 4, 5]))
    names = earlier.names(np.array([0, 1]), np.array([-1, -1, 2, 2, 3, 3]), 2, -1)
    assert names.tolist() == expected


def test_a_name_that_stands_for_no_label_is_not_taken_over():
    earlier = Earlier(np.array([7, 7], dtype=object), np.array([7]))
    assert earlier.names(np.array([0]), np.array([1, 1]), 1, 7).tolist() == [8]


def test_a_model_that_is_none_is_refused_before_the_search(blobs):
    X, y, _ = blobs
    for earlier in (KMeans(2, n_init=1).fit(X), quick(), quick().fit(X[:, :2], y)):
        with pytest.raises(ValueError, match="init_from must be a model"):
            quick().fit(X, y, init_from=earlier)
