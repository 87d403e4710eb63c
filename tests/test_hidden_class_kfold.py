"""HiddenClassKFold: which classes and rows a fold hides, trains on and scores."""

import warnings
from itertools import combinations
from math import comb

import numpy as np
import pytest
import sklearn
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.model_selection import BaseCrossValidator, GridSearchCV, cross_validate

from sklearn_sslcluster.discovery import SemiSupervisedKMeans
from sklearn_sslcluster.model_selection import HiddenClassKFold


def rows_of(y):
    return np.zeros((len(y), 1))


def labels(n_known, *, n_rows=60, unlabeled=0.3, seed=0):
    """Integer labels with -1, every class present."""
    rng = np.random.RandomState(seed)
    y = np.concatenate([np.arange(n_known), rng.randint(n_known, size=n_rows - n_known)])
    y[n_known:][rng.uniform(size=n_rows - n_known) < unlabeled] = -1
    return rng.permutation(y)


def test_a_fold_hides_half_of_the_classes_rounded_down():
    for n_known, n_hidden in ((3, 1), (4, 2), (5, 2), (7, 3)):
        hidden = HiddenClassKFold(3, random_state=0).hidden_classes(labels(n_known))
        assert {len(classes) for classes in hidden} == {n_hidden}


def test_n_hidden_sets_the_number_of_hidden_classes():
    assert {len(h) for h in HiddenClassKFold(3, n_hidden=4, random_state=0).hidden_classes(labels(5))} == {4}


@given(n_known=st.integers(3, 9), n_splits=st.integers(1, 12), seed=st.integers(0, 99), data=st.data())
def test_combinations_are_distinct_and_classes_hidden_about_equally_often(n_known, n_splits, seed, data):
    n_hidden = data.draw(st.integers(1, n_known - 1))
    splitter = HiddenClassKFold(n_splits, n_hidden=n_hidden, random_state=seed)
    hidden = splitter.hidden_classes(np.arange(n_known))
    assert len({tuple(h) for h in hidden}) == len(hidden) == min(n_splits, comb(n_known, n_hidden))
    times = np.bincount(np.concatenate(hidden), minlength=n_known)
    if n_splits * n_hidden <= n_known or len(hidden) == comb(n_known, n_hidden):
        assert np.ptp(times) <= 1


def test_all_combinations_when_fewer_than_the_folds_wanted():
    y = np.array(["c", "a", "b", "d", None], dtype=object)
    splitter = HiddenClassKFold(50)
    found = [tuple(h) for h in splitter.hidden_classes(y)]
    assert sorted(found) == sorted(combinations("abcd", 2))
    assert splitter.get_n_splits(rows_of(y), y) == len(list(splitter.split(rows_of(y), y))) == 6


def test_get_n_splits_without_labels_is_the_number_wanted():
    assert HiddenClassKFold(7).get_n_splits() == 7


def test_test_rows_are_the_labeled_rows_of_hidden_classes_and_train_rows_are_the_others():
    y = labels(6)
    splitter = HiddenClassKFold(4, random_state=0)
    for (train, test), hidden in zip(splitter.split(rows_of(y), y), splitter.hidden_classes(y), strict=True):
        assert test.tolist() == np.flatnonzero(np.isin(y, hidden)).tolist()
        assert train.tolist() == np.flatnonzero(~np.isin(y, hidden)).tolist()
        assert set(np.flatnonzero(y == -1)) <= set(train)


def test_masked_labels_lack_the_hidden_classes_and_nothing_else():
    y = labels(6)
    splitter = HiddenClassKFold(4, random_state=0)
    folds = list(splitter.split_masked(rows_of(y), y))
    for (masked, test), hidden in zip(folds, splitter.hidden_classes(y), strict=True):
        assert masked.tolist() == np.where(np.isin(y, hidden), -1, y).tolist()
        assert test.tolist() == np.flatnonzero(np.isin(y, hidden)).tolist()


@pytest.mark.parametrize(
    ("y", "unlabeled_value", "dtype", "unlabeled"),
    [
        ([3, 5, 7, -1], -1, np.int64, -1),
        ([3.0, 5.0, 7.0, float("nan")], -1, np.int64, -1),
        ([3, 5, 7, 0], 0, np.int64, 0),
        ([-1, 5, 7, None], None, object, None),
        ([-1, 5, 7, "?"], "?", object, None),
        (["a", "b", "c", None], -1, object, None),
        (["a", 2, True, -1], -1, object, None),
    ],
)
def test_masked_labels_keep_their_kind(y, unlabeled_value, dtype, unlabeled):
    splitter = HiddenClassKFold(3, unlabeled_value=unlabeled_value, random_state=0)
    for masked, test in splitter.split_masked(rows_of(y), y):
        assert masked.dtype == dtype
        assert masked[3] == unlabeled
        assert [masked[i] for i in test] == [unlabeled]
        assert [masked[i] for i in range(3) if i not in test] == [y[i] for i in range(3) if i not in test]


def test_class_one_visible_alone_is_not_masked_by_minus_one():
    y = np.array([1, 1, 2, 2, 3, 3, -1])
    folds = HiddenClassKFold(3, n_hidden=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        masked = [
            SemiSupervisedKMeans(3, n_init=1).fit(y[:, np.newaxis], labels) and labels.tolist()
            for labels, _ in folds.split_masked(y, y)
        ]
    assert sorted(masked, key=str) == [
        [-1, -1, -1, -1, 3, 3, -1],
        [-1, -1, 2, 2, -1, -1, -1],
        [1, 1, None, None, None, None, None],
    ]


def test_pandas_labels_are_read():
    pandas = pytest.importorskip("pandas")
    y = pandas.Series(["a", "b", "c", pandas.NA], dtype="string", index=[9, 8, 7, 6])
    masked, test = next(HiddenClassKFold(1, random_state=0).split_masked(rows_of(y), y))
    assert [name for name in masked if name is not None] == [n for n in "abc" if n != y.iloc[test[0]]]


@pytest.mark.parametrize(("y", "count"), [([0, 1, 1, -1], "got 2"), ([-1, -1], "got 0"), (None, "got y=None")])
def test_fewer_than_three_classes_are_refused_by_number(y, count):
    X = np.zeros((4 if y is None else len(y), 1))
    with pytest.raises(ValueError, match=f"three known classes, {count}"):
        next(HiddenClassKFold().split(X, y))
    with pytest.raises(ValueError, match=f"three known classes, {count}"):
        next(HiddenClassKFold().split_masked(X, y))


def test_hiding_all_classes_is_refused():
    with pytest.raises(ValueError, match="n_hidden=3 leaves none of the 3 known classes"):
        HiddenClassKFold(n_hidden=3).get_n_splits(y=[0, 1, 2])


@pytest.mark.parametrize("wrong", [0, -1, 2.5, True, "3", None])
def test_number_of_folds_must_be_a_positive_integer(wrong):
    with pytest.raises(ValueError, match="n_splits must be an integer of at least 1"):
        HiddenClassKFold(wrong).get_n_splits(y=[0, 1, 2])


@pytest.mark.parametrize("wrong", [0, 1.0, False, "1"])
def test_number_of_hidden_classes_must_be_a_positive_integer(wrong):
    with pytest.raises(ValueError, match="n_hidden must be an integer of at least 1"):
        HiddenClassKFold(n_hidden=wrong).get_n_splits(y=[0, 1, 2])


def test_lengths_that_differ_are_refused():
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        next(HiddenClassKFold().split(np.zeros((5, 1)), [0, 1, 2]))


@given(seed=st.integers(0, 999))
def test_hidden_classes_do_not_depend_on_the_order_of_rows_nor_on_names(seed):
    y = labels(7)
    order = np.random.RandomState(seed).permutation(len(y))
    names = np.array([*(chr(97 + i) for i in range(7)), None], dtype=object)
    splitter = HiddenClassKFold(4, random_state=seed)
    expected = [h.tolist() for h in splitter.hidden_classes(y)]
    assert [h.tolist() for h in splitter.hidden_classes(y[order])] == expected
    assert [[ord(n) - 97 for n in h] for h in splitter.hidden_classes(names[y])] == expected


def test_a_seed_gives_the_same_folds_and_leaves_the_global_generator_alone():
    y = labels(8)
    splitter = HiddenClassKFold(3, random_state=4)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = ([t.tolist() for _, t in splitter.split(rows_of(y), y)] for _ in range(2))
    assert first == second
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_repr_shows_the_parameters():
    expected = "HiddenClassKFold(n_hidden=2, n_splits=3, random_state=None, unlabeled_value=-1)"
    assert " ".join(repr(HiddenClassKFold(3, n_hidden=2)).split()) == expected
    assert isinstance(HiddenClassKFold(), BaseCrossValidator)


def grouped(seed, n_known=5, n_groups=12, n_rows=80):
    rng = np.random.RandomState(seed)
    return labels(n_known, n_rows=n_rows, seed=seed), rng.randint(n_groups, size=n_rows)


@given(seed=st.integers(0, 999), n_splits=st.integers(2, 5))
def test_a_group_is_scored_in_one_fold_at_most_and_has_no_label_there(seed, n_splits):
    y, groups = grouped(seed)
    splitter = HiddenClassKFold(n_splits, random_state=seed)
    scored = []
    for masked, test in splitter.split_masked(rows_of(y), y, groups):
        mine = np.unique(groups[test])
        assert len(mine)
        assert (masked[np.isin(groups, mine)] == -1).all()
        assert not set(y[test]) & set(masked)
        scored += mine.tolist()
    assert len(scored) == len(set(scored))


@given(seed=st.integers(0, 999))
def test_split_trains_on_no_row_of_a_group_it_scores(seed):
    y, groups = grouped(seed)
    splitter = HiddenClassKFold(3, random_state=seed)
    masked_folds = splitter.split_masked(rows_of(y), y, groups)
    for (train, test), (masked, test_masked) in zip(splitter.split(rows_of(y), y, groups), masked_folds, strict=True):
        assert test.tolist() == test_masked.tolist()
        assert not set(groups[train]) & set(groups[test])
        assert set(np.flatnonzero(masked != -1)) <= set(train)
        assert not set(y[train]) & set(y[test])


@given(seed=st.integers(0, 999))
def test_visible_classes_keep_a_label_where_groups_hold_several_classes(seed):
    y, groups = grouped(seed, n_known=5, n_groups=30, n_rows=300)
    splitter = HiddenClassKFold(5, n_hidden=2, random_state=seed)
    assert {len(h) for h in splitter.hidden_classes(y, groups)} == {2}


def test_groups_are_dealt_evenly():
    rng = np.random.RandomState(0)
    y, groups = rng.randint(6, size=3000), rng.randint(60, size=3000)
    sizes = [len(test) for _, test in HiddenClassKFold(4, random_state=0).split(rows_of(y), y, groups)]
    assert max(sizes) < 1.3 * min(sizes)


def test_groups_that_are_classes_are_scored_where_they_are_hidden():
    y = np.repeat(np.arange(6), 5)
    splitter = HiddenClassKFold(4, random_state=0)
    plain = [set(h) for h in splitter.hidden_classes(y)]
    for (_, test), hidden in zip(splitter.split(rows_of(y), y, y), plain, strict=True):
        assert set(y[test]) <= hidden


def test_a_class_that_lies_in_the_groups_of_a_fold_counts_as_hidden():
    # Two groups, two folds: whichever way they are dealt, one fold loses all labels of classes 2 and 3.
    y = np.array([0, 1, 2, 3, 0, 1])
    groups = np.array([0, 0, 0, 0, 1, 1])
    splitter = HiddenClassKFold(2, n_hidden=1, random_state=0)
    for (masked, test), hidden in zip(
        splitter.split_masked(rows_of(y), y, groups), splitter.hidden_classes(y, groups), strict=True
    ):
        assert set(hidden) == {0, 1, 2, 3} - set(masked)
        assert set(y[test]) <= set(hidden)


@pytest.mark.parametrize("missing", [None, np.nan, "NA", "NaT"])
@pytest.mark.parametrize("container", [list, "object", "Int64", "float64", "category", "datetime64[ns]"])
def test_a_row_without_a_group_is_named(missing, container):
    pandas = pytest.importorskip("pandas")
    missing = getattr(pandas, missing) if isinstance(missing, str) else missing
    groups = [0, 1, 2, 0, missing, 2, 0, missing]
    if container is not list:
        groups = pandas.Series([None if g is missing else g for g in groups], dtype="object").astype(container)
    y = [0, 0, 1, 1, 2, 2, -1, -1]
    with pytest.raises(ValueError, match="groups has no value at row 4"):
        next(HiddenClassKFold(2).split_masked(y, y, groups))


def test_fewer_groups_than_folds_are_refused():
    y, _ = grouped(0)
    with pytest.raises(ValueError, match=r"5 folds .* need at least as many groups, got 2"):
        next(HiddenClassKFold(5).split(rows_of(y), y, np.arange(len(y)) % 2))


def test_a_fold_without_rows_to_score_is_refused():
    y, groups = np.array([0, 1, 2, -1]), np.array([0, 0, 0, 1])
    with pytest.raises(ValueError, match="no row to score"):
        list(HiddenClassKFold(2, n_hidden=1, random_state=0).split(rows_of(y), y, groups))


def test_group_names_may_be_strings():
    y, groups = grouped(0)
    splitter = HiddenClassKFold(3, random_state=0)
    names = np.array([f"g{g:02d}" for g in groups])
    expected = [t.tolist() for _, t in splitter.split(rows_of(y), y, groups)]
    assert [t.tolist() for _, t in splitter.split(rows_of(y), y, names)] == expected


class Recorder(KMeans):
    """KMeans that writes down the labels it is given."""

    seen: list = []

    def fit(self, X, y=None, sample_weight=None):
        self.seen.append(y)
        return super().fit(X)


def test_grid_search_sees_no_hidden_class_in_training():
    y = labels(5)
    X = np.random.RandomState(0).normal(size=(len(y), 2))
    splitter = HiddenClassKFold(3, random_state=0)
    Recorder.seen.clear()
    search = GridSearchCV(
        Recorder(n_init=1, random_state=0), {"n_clusters": [3]}, cv=splitter, scoring="adjusted_rand_score", refit=False
    )
    search.fit(X, y)
    for seen, hidden in zip(Recorder.seen, splitter.hidden_classes(y), strict=True):
        assert set(seen) == {*range(5), -1} - set(hidden)


@pytest.mark.parametrize("routing", [False, True])
def test_groups_reach_the_splitter_with_and_without_metadata_routing(routing):
    y, groups = grouped(0)
    X = np.random.RandomState(0).normal(size=(len(y), 2))
    splitter = HiddenClassKFold(3, random_state=0)
    passed = {"params": {"groups": groups}} if routing else {"groups": groups}
    with sklearn.config_context(enable_metadata_routing=routing), warnings.catch_warnings():
        warnings.simplefilter("error")
        done = cross_validate(
            KMeans(3, n_init=1), X, y, cv=splitter, scoring="adjusted_rand_score", return_indices=True, **passed
        )
    expected = [t.tolist() for _, t in splitter.split(X, y, groups)]
    assert [t.tolist() for t in done["indices"]["test"]] == expected
