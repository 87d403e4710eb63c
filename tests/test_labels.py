"""Partial labels: what a user's y may look like, and what comes back."""

import warnings
from itertools import combinations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy.sparse import csr_array
from sklearn.exceptions import DataConversionWarning

from sklearn_sslcluster.labels import (
    UNLABELED,
    decode,
    encode_partial_labels,
    find_classes,
    hidden_class_folds,
    hide,
    join_names,
    novel_names,
)

BIG = 2**53 + 1  # the first integer that a float cannot hold
INT64_MAX = np.iinfo(np.int64).max


def assert_encoded(y, codes, classes, **params):
    """`y` gives these codes and classes; classes are compared with their types."""
    labels = encode_partial_labels(y, **params)
    assert labels.codes.dtype == np.int32
    assert labels.codes.tolist() == codes
    names = labels.classes.tolist()
    assert [(type(name), name) for name in names] == [(type(name), name) for name in classes]
    assert labels.classes.dtype == (np.int64 if all(type(name) is int for name in classes) else object)


# What y may be


@pytest.mark.parametrize(
    "y",
    [
        np.array([7, -1, 3, 7]),
        np.array([7, -1, 3, 7], dtype=np.int8),
        np.array([7, -1, 3, 7], dtype=">i4"),
        np.array([7.0, np.nan, 3.0, 7.0]),
        np.array([7.0, -1.0, 3.0, 7.0], dtype=np.float32),
        np.array([7.0, np.nan, 3.0, 7.0], dtype=np.float16),
        np.array([7, None, 3.0, 7], dtype=object),
        np.ma.array([7, 5, 3, 7], mask=[False, True, False, False]),
        [7, None, 3, 7],
        (7, -1, np.int16(3), 7.0),
        [7, float("nan"), 3, 7],
        pd.Series([7, -1, 3, 7]),
        pd.Series([7, None, 3, 7]),
        pd.Series([7, None, 3, 7], dtype="Int64"),
        pd.Series([7, -1, 3, 7], dtype="Int8"),
        pd.Series([7, pd.NA, 3, 7], dtype=object),
        pd.Series([7, None, 3, 7], dtype="Float64"),
        pd.Series([7, None, 3, 7], dtype="category"),
        pd.Categorical([7, None, 3, 7]),
        pd.CategoricalIndex([7, -1, 3, 7]),
        pd.array([7, None, 3, 7], dtype="Int64"),
        pl.Series([7, None, 3, 7]),
        pl.Series([7.0, float("nan"), 3.0, 7.0]),
        pl.Series([7, -1, 3, 7]),
    ],
    ids=lambda y: f"{type(y).__module__.split('.')[0]}-{type(y).__name__}-{getattr(y, 'dtype', '')}",
)
def test_whole_numbers_are_integers_in_every_container(y):
    assert_encoded(y, [1, UNLABELED, 0, 1], [3, 7])


@pytest.mark.parametrize(
    "y",
    [
        ["b", None, "a", "b"],
        ["b", -1, "a", "b"],
        np.array(["b", -1, "a", "b"], dtype=object),
        np.array(["b", np.nan, "a", "b"], dtype=object),
        pd.Series(["b", None, "a", "b"]),
        pd.Series(["b", None, "a", "b"], dtype="string"),
        pd.Series(["b", -1, "a", "b"], dtype=object),
        pd.Series(["b", pd.NA, "a", "b"], dtype=object),
        pd.Series(["b", pd.NaT, "a", "b"], dtype=object),
        pd.Series(["b", None, "a", "b"], dtype="category"),
        pd.Categorical(["b", -1, "a", "b"]),
        pl.Series(["b", None, "a", "b"]),
        pl.Series(["b", None, "a", "b"], dtype=pl.Categorical),
        pl.Series(["b", None, "a", "b"], dtype=pl.Enum(["b", "a"])),
    ],
    ids=lambda y: f"{type(y).__module__.split('.')[0]}-{type(y).__name__}-{getattr(y, 'dtype', '')}",
)
def test_strings_stay_strings_in_every_container(y):
    assert_encoded(y, [1, UNLABELED, 0, 1], ["a", "b"])


@pytest.mark.parametrize(
    "y",
    [
        [True, None, False, True],
        np.array([True, None, False, True], dtype=object),
        pd.Series([True, None, False, True]),
        pd.Series([True, None, False, True], dtype="boolean"),
        pd.Categorical([True, None, False, True]),
        pl.Series([True, None, False, True]),
    ],
    ids=lambda y: f"{type(y).__module__.split('.')[0]}-{type(y).__name__}-{getattr(y, 'dtype', '')}",
)
def test_bools_stay_bools_in_every_container(y):
    assert_encoded(y, [1, UNLABELED, 0, 1], [False, True])


@pytest.mark.parametrize("dtype", [str, np.dtypes.StringDType()])
def test_numpy_string_arrays_become_object_classes(dtype):
    assert_encoded(np.array(["b", "a"], dtype=dtype), [1, 0], ["a", "b"])


def test_numpy_bool_array_has_no_unlabeled_row():
    assert_encoded(np.array([True, False]), [1, 0], [False, True])


def test_bools_integers_and_strings_are_different_classes():
    assert_encoded([True, 1, "1", False, 0, "True"], [1, 3, 4, 0, 2, 5], [False, True, 0, 1, "1", "True"])


def test_equal_integers_and_whole_floats_are_one_class():
    assert_encoded([1, 1.0, np.int8(1), np.float32(1), "a"], [0, 0, 0, 0, 1], [1, "a"])


def test_text_that_looks_like_a_missing_value_is_a_class():
    y = ["NA", "None", "nan", "-1", "", None]
    assert_encoded(y, [2, 3, 4, 1, 0, UNLABELED], ["", "-1", "NA", "None", "nan"])


@pytest.mark.parametrize(
    "y",
    [
        np.array([BIG, BIG - 1, -1]),
        [BIG, BIG - 1, None],
        pd.Series([BIG, BIG - 1, None], dtype="Int64"),
        pd.Categorical([BIG, BIG - 1, None]),
        pd.Series([BIG, BIG - 1, None], dtype="category"),
        pl.Series([BIG, BIG - 1, None]),
    ],
    ids=lambda y: f"{type(y).__module__.split('.')[0]}-{type(y).__name__}",
)
def test_large_integers_never_pass_through_float(y):
    assert_encoded(y, [1, 0, UNLABELED], [BIG - 1, BIG])


def test_unsigned_integers_beyond_int64_are_refused():
    with pytest.raises(ValueError, match="18446744073709551615, which does not fit"):
        encode_partial_labels(np.array([1, 2**64 - 1], dtype=np.uint64))


def test_python_integers_beyond_int64_are_refused():
    with pytest.raises(ValueError, match="does not fit a 64-bit signed integer"):
        encode_partial_labels([1, 2**63])


def test_smallest_and_largest_integer_are_kept():
    assert_encoded(np.array([INT64_MAX, -INT64_MAX - 1]), [1, 0], [-INT64_MAX - 1, INT64_MAX])


def test_without_y_no_row_is_labeled():
    labels = encode_partial_labels(None, np.zeros((3, 2)))
    assert_array_equal(labels.codes, [UNLABELED] * 3)
    assert labels.n_known == 0


def test_without_y_and_without_rows_is_an_error():
    with pytest.raises(ValueError, match="got None"):
        encode_partial_labels(None)


@pytest.mark.parametrize("y", [[None, None], [-1, -1], np.array([np.nan, np.nan]), np.array([-1, -1])])
def test_only_unlabeled_rows_give_no_class(y):
    assert_encoded(y, [UNLABELED, UNLABELED], [])


def test_no_rows_give_no_class():
    assert_encoded([], [], [])


def test_unlabeled_is_the_mask_of_the_rows_without_a_label():
    assert_array_equal(encode_partial_labels(["a", None, "b"]).unlabeled, [False, True, False])


@given(st.lists(st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.text(max_size=2)), max_size=30))
def test_decoding_gives_back_the_names(y):
    labels = encode_partial_labels(y, unlabeled_value=None)
    names = decode(labels.codes, labels.classes, unlabeled_value=None).tolist()
    if any(isinstance(name, bool | str) for name in y) or None not in y:
        assert [(type(a), a) for a in names] == [(type(b), b) for b in y]
    else:
        assert [b for a, b in zip(y, names, strict=True) if a is not None] == [a for a in y if a is not None]


# Values that are refused


@pytest.mark.parametrize(
    "y",
    [
        np.array([0.0, np.nan, 1.5]),
        [0, None, 1.5],
        ["a", None, 1.5],
        pd.Series([0, None, 1.5]),
        pd.Series([0, None, 1.5], dtype="Float64"),
        pd.Categorical([0.0, None, 1.5]),
        pl.Series([0.0, None, 1.5]),
    ],
    ids=lambda y: f"{type(y).__module__.split('.')[0]}-{type(y).__name__}",
)
def test_fractions_are_refused_by_row(y):
    with pytest.raises(ValueError, match=r"at row 2, the float 1\.5;"):
        encode_partial_labels(y)


@pytest.mark.parametrize("value", [np.inf, -np.inf])
@pytest.mark.parametrize("container", [np.array, list, pd.Series, pl.Series])
def test_infinite_values_are_refused_by_row(container, value):
    with pytest.raises(ValueError, match=rf"at row 1, the float {value};"):
        encode_partial_labels(container([0.0, value]))


def test_whole_floats_beyond_int64_are_refused():
    with pytest.raises(ValueError, match=r"at row 1, the float 1e\+300"):
        encode_partial_labels(np.array([0.0, 1e300]))


@pytest.mark.parametrize(
    ("value", "type_name"),
    [
        ((1, 2), "tuple"),
        (b"a", "bytes"),
        ([1], "list"),
        (pd.Timestamp("2020-01-01"), "Timestamp"),
        (1j, "complex"),
    ],
)
def test_other_types_are_refused_by_row_and_type(value, type_name):
    y = np.array(["a", "b", None], dtype=object)
    y[2] = value
    with pytest.raises(TypeError, match=f"at row 2, a {type_name};"):
        encode_partial_labels(y)


@pytest.mark.parametrize(
    "y",
    [
        np.array(["2020-01-01"], dtype="datetime64[D]"),
        pd.Series(pd.to_datetime(["2020-01-01"])),
        np.array([b"a"]),
        np.array([1j]),
    ],
    ids=["datetime64", "pandas-datetime", "bytes", "complex"],
)
def test_arrays_of_other_types_are_refused_by_dtype(y):
    with pytest.raises(TypeError, match=r"got an array of dtype (datetime64|\|S1|complex128)"):
        encode_partial_labels(y)


def test_categories_of_another_type_are_refused():
    with pytest.raises(TypeError, match="at row 0, a Timestamp"):
        encode_partial_labels(pd.Categorical(pd.to_datetime(["2020-01-01"])))


def test_sparse_y_is_refused():
    with pytest.raises(TypeError, match="got a csr_array"):
        encode_partial_labels(csr_array([[1], [0]]))


@pytest.mark.parametrize(
    "y", [np.array([[1], [0]]), [["b"], ["a"]], pd.DataFrame({"y": [1, 0]}), pl.DataFrame({"y": [1, 0]})]
)
def test_a_column_vector_is_read_with_a_warning(y):
    with pytest.warns(DataConversionWarning, match="column-vector"):
        labels = encode_partial_labels(y)
    assert_array_equal(labels.codes, [1, 0])


@pytest.mark.parametrize("y", [np.zeros((3, 2)), [[1, 2], [3, 4]], "abc", 5, {1, 2}])
def test_other_shapes_are_refused(y):
    with pytest.raises(ValueError, match="should be a 1d array"):
        encode_partial_labels(y)


def test_lengths_must_agree():
    with pytest.raises(ValueError, match=r"inconsistent numbers of samples: \[3, 2\]"):
        encode_partial_labels([0, 1], np.zeros((3, 1)))


def test_name_of_a_column_is_not_the_column():
    with pytest.raises(ValueError, match=r"got the text 'segment': pass the column, as in table\['segment'\]"):
        encode_partial_labels("segment", np.zeros((3, 1)))


# unlabeled_value


@pytest.mark.parametrize("y", [np.array([-1, 1]), [-1, 1], [1.0, None, -1.0], pd.Series([1, -1, None], dtype="Int8")])
def test_only_minus_one_and_one_warn_and_name_the_way_out(y):
    with pytest.warns(UserWarning, match="set unlabeled_value=None"):
        labels = encode_partial_labels(y)
    assert labels.classes.tolist() == [1]


@pytest.mark.parametrize(
    "y",
    [[1, None], np.array([1.0, np.nan]), [-1, 0, 1], [-1, 2], ["1", -1], [True, -1], [1, 1], [-1, -1]],
    ids=str,
)
def test_other_labels_do_not_warn(y):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        labels = encode_partial_labels(y)
    assert len(labels.codes) == len(y)


@pytest.mark.parametrize("text", ["-1", "-1.0", "nan", "NaN", "None", "<NA>", "", "N/A", "unknown", "Unlabeled "])
@pytest.mark.parametrize("container", [list, np.array, pd.Series, pd.Categorical, pl.Series])
def test_text_of_a_missing_value_warns_where_every_row_has_a_label(container, text):
    with pytest.warns(UserWarning, match=f"set unlabeled_value='{text}'") as caught:
        labels = encode_partial_labels(container(["a", text]))
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert set(labels.classes.tolist()) == {"a", text}


@pytest.mark.parametrize("unlabeled_value", [0, "?"])
def test_text_of_a_missing_value_warns_whatever_the_unlabeled_value(unlabeled_value):
    with pytest.warns(UserWarning, match="set unlabeled_value='nan'"):
        encode_partial_labels(np.array([0, 1, np.nan]).astype(str), unlabeled_value=unlabeled_value)


@pytest.mark.parametrize(
    ("y", "params"),
    [
        (["a", "-1", None], {}),
        (["a", "nan", -1], {}),
        (["a", "nan", "?"], {"unlabeled_value": "?"}),
        (["a", "nan"], {"unlabeled_value": "nan"}),
        (["a", "nan"], {"unlabeled_value": None}),
        (["a", "nan"], {"warn": False}),
        (["a", "nano", "NA"], {}),
        ([0, 1], {}),
    ],
    ids=str,
)
def test_text_of_a_missing_value_does_not_warn_where_it_is_meant(y, params):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        labels = encode_partial_labels(y, **params)
    assert len(labels.codes) == len(y)


@pytest.mark.parametrize("y", [np.array([-1, 1]), np.array([-1.0, 1.0]), [-1, 1]])
def test_without_unlabeled_value_minus_one_is_a_class(y):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_encoded(y, [0, 1], [-1, 1], unlabeled_value=None)


@pytest.mark.parametrize("y", [["a", None, "-1"], pd.Series(["a", np.nan, "-1"])])
def test_missing_values_are_unlabeled_without_unlabeled_value(y):
    assert_encoded(y, [1, UNLABELED, 0], ["-1", "a"], unlabeled_value=None)


@pytest.mark.parametrize("unlabeled_value", ["", "?", np.str_("?")])
def test_text_can_stand_for_no_label(unlabeled_value):
    assert_encoded(["a", str(unlabeled_value), None], [0, UNLABELED, UNLABELED], ["a"], unlabeled_value=unlabeled_value)


def test_with_another_unlabeled_value_minus_one_is_a_class():
    assert_encoded(["a", "?", -1], [1, UNLABELED, 0], [-1, "a"], unlabeled_value="?")


@pytest.mark.parametrize("y", [np.array([0, 1, 2]), np.array([0.0, 1.0, 2.0]), [0, 1, 2]])
@pytest.mark.parametrize("unlabeled_value", [0, 0.0, np.int8(0)])
def test_any_integer_can_stand_for_no_label(y, unlabeled_value):
    assert_encoded(y, [UNLABELED, 0, 1], [1, 2], unlabeled_value=unlabeled_value)


def test_integer_zero_as_unlabeled_value_leaves_false_a_class():
    assert_encoded([False, True, 0], [0, 1, UNLABELED], [False, True], unlabeled_value=0)


def test_bool_as_unlabeled_value_leaves_zero_a_class():
    assert_encoded([False, 0, 1], [UNLABELED, 0, 1], [0, 1], unlabeled_value=False)
    assert_encoded(np.array([0, 1]), [0, 1], [0, 1], unlabeled_value=False)


@pytest.mark.parametrize("y", [np.array([0, 1]), ["a", "b"]])
def test_unlabeled_value_of_another_type_is_refused_by_name(y):
    with pytest.raises(TypeError, match="unlabeled_value is a tuple"):
        encode_partial_labels(y, unlabeled_value=(0,))


# Names of discovered classes


@pytest.mark.parametrize(
    ("classes", "expected"),
    [([0, 1], [2, 3]), ([2, 7], [8, 9]), ([-5, -3], [0, 1]), ([-1], [0, 1]), ([], [0, 1]), ([BIG], [BIG + 1, BIG + 2])],
)
def test_novel_integers_follow_the_largest_and_are_never_negative(classes, expected):
    names = novel_names(np.array(classes, dtype=np.int64), 2)
    assert names.dtype == np.int64
    assert names.tolist() == expected


def test_novel_integers_skip_the_unlabeled_value():
    assert novel_names(np.array([0, 1]), 2, unlabeled_value=2).tolist() == [3, 4]


@pytest.mark.parametrize("largest", [INT64_MAX, INT64_MAX - 1, INT64_MAX - 3])
def test_novel_integers_near_the_limit_are_the_smallest_free_ones(largest):
    assert novel_names(np.array([0, 2, largest]), 3).tolist() == [1, 3, 4]


def test_novel_strings_skip_names_in_use():
    classes = np.array(["novel_1", "a"], dtype=object)
    assert novel_names(classes, 3, unlabeled_value="novel_2").tolist() == ["novel_0", "novel_3", "novel_4"]


@pytest.mark.parametrize("classes", [[False, True], ["a", 1]])
def test_classes_that_are_not_all_integers_get_novel_strings(classes):
    assert novel_names(np.array(classes, dtype=object), 1).tolist() == ["novel_0"]


@pytest.mark.parametrize("classes", [np.array([3, 4]), np.array(["a"], dtype=object)])
def test_no_novel_class_gives_no_name(classes):
    assert len(novel_names(classes, 0)) == 0


@given(st.sets(st.integers(-3, 12)), st.integers(0, 6), st.integers(-1, 12))
def test_novel_integers_are_new_and_distinct(classes, n_novel, unlabeled_value):
    known = np.array(sorted(classes - {unlabeled_value}), dtype=np.int64)
    names = novel_names(known, n_novel, unlabeled_value=unlabeled_value).tolist()
    assert len(set(names)) == n_novel
    assert not set(names) & (set(known.tolist()) | {unlabeled_value, -1})


def test_join_names_keeps_integers():
    names = join_names(np.array([0, 4]), np.array([5]))
    assert names.dtype == np.int64
    assert names.tolist() == [0, 4, 5]


def test_join_names_of_objects_keeps_their_types():
    names = join_names(np.array([False, 1], dtype=object), np.array(["novel_0"], dtype=object)).tolist()
    assert [(type(name), name) for name in names] == [(bool, False), (int, 1), (str, "novel_0")]


# decode


@pytest.mark.parametrize(
    ("classes", "unlabeled_value", "expected"),
    [
        ([3, 4], -1, [4, -1, 3]),
        ([3, 4], 0, [4, 0, 3]),
        ([3, 4], np.int64(0), [4, 0, 3]),
        ([3, 4], None, [4, -1, 3]),
        ([3, 4], True, [4, -1, 3]),
    ],
)
def test_decode_writes_an_integer_for_an_unassigned_row(classes, unlabeled_value, expected):
    names = decode(np.array([1, UNLABELED, 0]), np.array(classes), unlabeled_value=unlabeled_value)
    assert names.dtype == np.int64
    assert names.tolist() == expected


def test_decode_writes_none_for_an_unassigned_row_among_objects():
    assert decode(np.array([1, UNLABELED]), np.array(["a", "b"], dtype=object)).tolist() == ["b", None]


def test_decode_never_gives_an_unassigned_row_the_name_of_a_class():
    assert decode(np.array([0, UNLABELED, 1]), np.array([-1, 1]), unlabeled_value=None).tolist() == [-1, None, 1]


def test_decode_without_unassigned_rows_indexes_the_classes():
    assert decode(np.array([1, 0, 1]), np.array([3, 4])).tolist() == [4, 3, 4]


def test_decode_without_classes():
    assert decode(np.array([UNLABELED, UNLABELED]), np.empty(0, dtype=np.int64)).tolist() == [-1, -1]


# find_classes


@pytest.mark.parametrize("names", [[True, 1.0, "a", 2, None], pd.Series([True, 1.0, "a", 2, None], dtype=object)])
def test_find_classes_gives_codes_by_kind_and_value(names):
    classes = np.array([True, 1, "a"], dtype=object)
    assert find_classes(names, classes).tolist() == [0, 1, 2, UNLABELED, UNLABELED]


def test_find_classes_of_no_names():
    assert find_classes([], np.array([1, 2])).tolist() == []


# Hidden classes


def test_hide_unlabels_rows_of_the_given_classes_in_a_copy():
    codes = np.array([0, 1, UNLABELED, 2, 1], dtype=np.int32)
    hidden = hide(codes, np.array([1, 2]))
    assert hidden.dtype == np.int32
    assert hidden.tolist() == [0, UNLABELED, UNLABELED, UNLABELED, UNLABELED]
    assert codes.tolist() == [0, 1, UNLABELED, 2, 1]


def folds_as_tuples(n_known, n_hidden, n_folds, seed):
    codes = np.r_[UNLABELED, np.repeat(np.arange(n_known), 2)]
    folds = hidden_class_folds(codes, n_hidden, n_folds, np.random.RandomState(seed))
    return [tuple(fold.tolist()) for fold in folds]


@given(st.integers(2, 8), st.data())
def test_folds_are_distinct_sorted_sets_of_known_classes(n_known, data):
    n_hidden = data.draw(st.integers(1, n_known - 1))
    n_folds = data.draw(st.integers(1, 12))
    every = set(combinations(range(n_known), n_hidden))
    folds = folds_as_tuples(n_known, n_hidden, n_folds, data.draw(st.integers(0, 99)))
    assert len(folds) == len(set(folds)) == min(n_folds, len(every))
    assert set(folds) <= every


@given(st.integers(3, 8), st.data())
def test_folds_hide_every_class_about_equally_often(n_known, data):
    n_hidden = data.draw(st.integers(1, n_known - 1))
    folds = folds_as_tuples(n_known, n_hidden, data.draw(st.integers(1, 14)), data.draw(st.integers(0, 99)))
    times_hidden = np.bincount(np.concatenate(folds), minlength=n_known)
    assert np.ptp(times_hidden) <= 2


def test_folds_are_all_combinations_when_these_are_few():
    assert folds_as_tuples(4, 2, 6, seed=0) == list(combinations(range(4), 2))


def test_folds_use_only_classes_that_have_rows():
    folds = hidden_class_folds(np.array([5, 2, 9, UNLABELED]), 1, 3, np.random.RandomState(0))
    assert [fold.tolist() for fold in folds] == [[2], [5], [9]]


def test_folds_repeat_with_the_seed_and_differ_between_seeds():
    assert folds_as_tuples(8, 4, 5, seed=1) == folds_as_tuples(8, 4, 5, seed=1)
    assert folds_as_tuples(8, 4, 5, seed=1) != folds_as_tuples(8, 4, 5, seed=2)
