"""Protocols that hide classes, planted blobs, and the digits with unnamed classes."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy.spatial.distance import pdist
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestCentroid

from sklearn_sslcluster.datasets import hide_classes, load_novel_digits, make_partially_labeled_blobs


def kinds(values):
    return [(type(value), value) for value in values]


# hide_classes: which rows


def test_ncd_labels_every_row_of_known_classes_and_no_other():
    assert_array_equal(hide_classes([0, 3, 1, 3, 0, 2], novel_classes=[3, 2]), [0, -1, 1, -1, 0, -1])


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=40),
    st.floats(0, 1, exclude_min=True),
    st.integers(0, 99),
)
def test_gcd_labels_the_given_share_of_the_pooled_known_rows(y, labeled_fraction, seed):
    y = np.array(y)
    novel = np.unique(y)[::2]
    hidden = hide_classes(y, novel_classes=novel, labeled_fraction=labeled_fraction, random_state=seed)
    labeled = hidden != -1
    assert labeled.sum() == round(labeled_fraction * (~np.isin(y, novel)).sum())
    assert not np.isin(y[labeled], novel).any()
    assert_array_equal(hidden[labeled], y[labeled])


def test_gcd_draws_the_labeled_rows_without_regard_to_class():
    # Nine of ten known rows are of class 0: without stratification, class 1 now and then has no label at all.
    y = [0] * 18 + [1] * 2 + [2] * 5
    labeled = [
        (hide_classes(y, novel_classes=[2], labeled_fraction=0.5, random_state=seed) == 1).sum() for seed in range(60)
    ]
    assert set(labeled) == {0, 1, 2}
    assert np.mean(labeled) == pytest.approx(1, abs=0.3)


def test_n_novel_classes_are_drawn_at_random():
    y = np.repeat(np.arange(6), 3)
    novel = {tuple(np.unique(y[hide_classes(y, n_novel=2, random_state=seed) == -1])) for seed in range(20)}
    assert all(len(classes) == 2 for classes in novel)
    assert len(novel) > 5


@pytest.mark.parametrize("params", [{"n_novel": 0}, {"novel_classes": []}])
def test_hiding_no_class_keeps_the_labels(params):
    assert_array_equal(hide_classes([1, 0, 2], **params), [1, 0, 2])


def test_every_class_can_be_hidden():
    assert_array_equal(hide_classes([1, 0, 2], n_novel=3), [-1, -1, -1])


@pytest.mark.parametrize("random_state", [3, np.random.RandomState(3)])
def test_the_seed_decides(random_state):
    y = np.repeat(np.arange(6), 5)
    expected = hide_classes(y, n_novel=2, labeled_fraction=0.5, random_state=3)
    assert_array_equal(hide_classes(y, n_novel=2, labeled_fraction=0.5, random_state=random_state), expected)


def test_global_generator_and_input_are_left_alone():
    y = np.array([0, 1, 2, 2])
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    hide_classes(y, n_novel=1, labeled_fraction=0.5, random_state=0)
    assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    assert_array_equal(y, [0, 1, 2, 2])


# hide_classes: kinds of labels


@pytest.mark.parametrize(
    "y",
    [
        [4, 7, None, 4],
        np.array([4, 7, -1, 4], dtype=np.int8),
        np.array([4.0, 7.0, np.nan, 4.0]),
        pd.Series([4, 7, None, 4], dtype="Int64"),
        pd.Categorical([4, 7, None, 4]),
        pl.Series([4, 7, None, 4]),
    ],
    ids=lambda y: type(y).__module__.split(".")[0],
)
def test_integers_give_an_integer_array_and_unlabeled_rows_stay_so(y):
    hidden = hide_classes(y, novel_classes=[7])
    assert hidden.dtype == np.int64
    assert hidden.tolist() == [4, -1, -1, 4]


@pytest.mark.parametrize(
    ("y", "novel", "expected"),
    [
        (["a", "b", None, -1], ["b"], ["a", None, None, None]),
        (pd.Series(["a", "b", None, "c"], dtype="category"), ["b", "c"], ["a", None, None, None]),
        (np.array(["a", "b"]), ["a"], [None, "b"]),
        (np.array([True, False, True]), [False], [True, None, True]),
        ([True, 1, "1", 0], [1], [True, None, "1", 0]),
        (["a", "b"], [], ["a", "b"]),
    ],
)
def test_other_kinds_give_an_object_array_with_none(y, novel, expected):
    hidden = hide_classes(y, novel_classes=novel)
    assert hidden.dtype == object
    assert kinds(hidden) == kinds(expected)


@pytest.mark.parametrize("novel_classes", [(7,), {7}, np.array([7.0]), pd.Series([7]), range(7, 8)])
def test_novel_classes_may_come_in_any_collection(novel_classes):
    assert hide_classes([4, 7], novel_classes=novel_classes).tolist() == [4, -1]


def test_classes_named_like_missing_values_are_hidden_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert hide_classes(["-1", "nan", ""], novel_classes=["nan"]).tolist() == ["-1", None, ""]


# hide_classes: refusals


@pytest.mark.parametrize("params", [{}, {"novel_classes": [0], "n_novel": 1}])
def test_exactly_one_way_to_name_the_novel_classes(params):
    with pytest.raises(ValueError, match="either novel_classes"):
        hide_classes([0, 1], **params)


@pytest.mark.parametrize(("novel", "shown"), [(["c"], "'c'"), ([0], "0"), (["a", None], "None")])
def test_an_unknown_class_is_refused_with_the_list_of_classes(novel, shown):
    with pytest.raises(ValueError, match=rf"holds {shown}, which is not a class of y; the classes are \['a', 'b'\]"):
        hide_classes(["a", "b"], novel_classes=novel)


@pytest.mark.parametrize("novel", ["ab", 1, np.int64(1)])
def test_a_single_name_is_refused(novel):
    with pytest.raises(TypeError, match="must be a list of class names"):
        hide_classes(["ab", 1], novel_classes=novel)


@pytest.mark.parametrize("y", [np.array([-1, 1]), [-1.0, 1, None]])
def test_minus_one_and_one_are_refused_with_the_way_out(y):
    with pytest.raises(ValueError, match=r"-1 stands for 'no label'.*astype\(str\)"):
        hide_classes(y, n_novel=1)


def test_minus_one_as_a_novel_class_is_refused_with_the_way_out():
    with pytest.raises(ValueError, match=r"-1 stands for 'no label'.*astype\(str\)"):
        hide_classes([-1, 0, 1], novel_classes=[-1])


def test_the_way_out_for_minus_one_works():
    assert hide_classes(np.array([-1, 1, 1]).astype(str), novel_classes=["-1"]).tolist() == [None, "1", "1"]


@pytest.mark.parametrize("labeled_fraction", [0, -0.1, 1.1])
def test_labeled_fraction_out_of_range_is_refused(labeled_fraction):
    with pytest.raises(ValueError, match="labeled_fraction == "):
        hide_classes([0, 1], n_novel=1, labeled_fraction=labeled_fraction)


@pytest.mark.parametrize(("n_novel", "error"), [(-1, ValueError), (3, ValueError), (1.5, TypeError)])
def test_n_novel_out_of_range_is_refused(n_novel, error):
    with pytest.raises(error, match="n_novel"):
        hide_classes([0, 1], n_novel=n_novel)


# make_partially_labeled_blobs


def test_blobs_have_the_shapes_and_classes_asked_for():
    X, y_partial, y_true = make_partially_labeled_blobs(101, n_known=2, n_novel=3, n_features=4, random_state=0)
    assert X.shape == (101, 4)
    assert np.bincount(y_true).tolist() == [21, 20, 20, 20, 20]
    assert_array_equal(y_partial, np.where(y_true < 2, y_true, -1))


def test_blobs_label_the_share_asked_for():
    _, y_partial, y_true = make_partially_labeled_blobs(100, labeled_fraction=0.25, random_state=0)
    assert (y_partial != -1).sum() == 0.25 * 60
    assert (y_partial[y_partial != -1] == y_true[y_partial != -1]).all()


@pytest.mark.parametrize("n_features", [1, 2, 30])
@pytest.mark.parametrize("seed", range(3))
def test_blobs_do_not_overlap(n_features, seed):
    X, _, y_true = make_partially_labeled_blobs(
        400, n_known=4, n_novel=4, n_features=n_features, cluster_std=3, random_state=seed
    )
    assert NearestCentroid().fit(X, y_true).score(X, y_true) > 0.995


def test_class_sep_is_the_smallest_distance_of_two_centers():
    X, _, y_true = make_partially_labeled_blobs(50_000, cluster_std=2.0, class_sep=5.0, random_state=0)
    centers = [X[y_true == label].mean(axis=0) for label in range(5)]
    assert pdist(centers).min() == pytest.approx(10, abs=0.1)
    assert np.std(X[y_true == 0] - centers[0]) == pytest.approx(2, rel=0.02)


def test_blobs_are_shuffled():
    _, _, y_true = make_partially_labeled_blobs(100, random_state=0)
    assert len(np.unique(y_true[:20])) == 5


def test_blobs_repeat_with_the_seed():
    for first, second in zip(
        make_partially_labeled_blobs(30, labeled_fraction=0.5, random_state=1),
        make_partially_labeled_blobs(30, labeled_fraction=0.5, random_state=1),
        strict=True,
    ):
        assert_array_equal(first, second)


@pytest.mark.parametrize(("n_known", "n_novel"), [(3, 0), (0, 3), (1, 0), (0, 1), (1, 1)])
def test_either_kind_of_blobs_may_be_absent(n_known, n_novel):
    _, y_partial, y_true = make_partially_labeled_blobs(30, n_known=n_known, n_novel=n_novel, random_state=0)
    assert len(np.unique(y_true)) == n_known + n_novel
    assert len(np.unique(y_partial[y_partial != -1])) == n_known


def test_fewer_rows_than_blobs():
    _, y_partial, y_true = make_partially_labeled_blobs(4, n_known=3, n_novel=3, random_state=0)
    assert sorted(y_true) == [0, 1, 2, 3]
    assert sorted(y_partial) == [-1, 0, 1, 2]


@pytest.mark.parametrize(
    "params",
    [
        {"n_samples": 0},
        {"n_known": -1},
        {"n_novel": -1},
        {"n_features": 0},
        {"cluster_std": 0},
        {"class_sep": 0},
        {"labeled_fraction": 0},
    ],
    ids=str,
)
def test_blobs_refuse_numbers_out_of_range(params):
    with pytest.raises(ValueError, match=next(iter(params))):
        make_partially_labeled_blobs(**params)


def test_blobs_need_a_class():
    with pytest.raises(ValueError, match="at least one class"):
        make_partially_labeled_blobs(n_known=0, n_novel=0)


# load_novel_digits


def test_digits_are_those_of_scikit_learn_with_half_of_the_known_rows_labeled():
    digits, every = load_novel_digits(), load_digits()
    labeled = digits.target != -1
    assert_array_equal(digits.data, every.data)
    assert_array_equal(digits.target_true, every.target)
    assert_array_equal(digits.target[labeled], every.target[labeled])
    assert labeled.sum() == round((every.target < 5).sum() / 2)
    assert np.unique(digits.target).tolist() == [-1, 0, 1, 2, 3, 4]
    assert digits.novel_classes == [5, 6, 7, 8, 9]


def test_digits_describe_the_hidden_classes():
    digits = load_novel_digits(novel_classes=[9, 3], labeled_fraction=1.0)
    assert digits.novel_classes == [3, 9]
    assert_array_equal(digits.target == -1, np.isin(digits.target_true, [3, 9]))
    assert "Rows of the digits 3, 9 have no label" in digits.DESCR
    assert len(digits.feature_names) == 64
    assert digits.frame is None


def test_digits_can_be_named_by_an_iterator():
    digits = load_novel_digits(novel_classes=(digit for digit in [9, 3]))
    assert digits.novel_classes == [3, 9]
    assert not np.isin(digits.target, [3, 9]).any()
    assert "Rows of the digits 3, 9 have no label" in digits.DESCR


def test_digits_repeat_and_the_seed_draws_the_labeled_rows():
    first, same, other = load_novel_digits(), load_novel_digits(), load_novel_digits(random_state=1)
    assert_array_equal(first.target, same.target)
    assert (first.target != other.target).any()


def test_digits_as_x_and_y():
    digits = load_novel_digits()
    X, y = load_novel_digits(return_X_y=True)
    assert_array_equal(X, digits.data)
    assert_array_equal(y, digits.target)


def test_digits_as_frame():
    arrays, frames = load_novel_digits(), load_novel_digits(as_frame=True)
    assert isinstance(frames.data, pd.DataFrame)
    assert isinstance(frames.target, pd.Series)
    assert list(frames.data.columns) == frames.feature_names == arrays.feature_names
    assert list(frames.frame.columns) == [*frames.feature_names, "target"]
    assert_array_equal(frames.target, arrays.target)
    assert_array_equal(frames.frame["target"], arrays.target)
    assert_array_equal(frames.target_true, arrays.target_true)


def test_digits_as_frame_x_and_y():
    X, y = load_novel_digits(return_X_y=True, as_frame=True)
    assert isinstance(X, pd.DataFrame)
    assert isinstance(y, pd.Series)


def test_digits_refuse_other_classes():
    with pytest.raises(ValueError, match="10, which is not a class of y"):
        load_novel_digits(novel_classes=[10])
