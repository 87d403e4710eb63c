"""Classes get other names, which are classes' names: no two the same, none that stands for "no label"."""

import numpy as np
import pytest

from sklearn_sslcluster.discovery import SemiSupervisedKMeans
from sklearn_sslcluster.labels import renamed


def test_renamed_replaces_names_and_keeps_the_order():
    classes = np.array(["a", "novel_0", "novel_1"], dtype=object)
    assert renamed(classes, {"novel_0": "leak"}).tolist() == ["a", "leak", "novel_1"]


def test_renamed_can_swap_names():
    names = renamed(np.array([0, 1, 2]), {0: 1, 1: 0})
    assert names.dtype == np.int64
    assert names.tolist() == [1, 0, 2]


def test_renamed_integers_may_become_strings():
    names = renamed(np.array([0, 1]), {1: "leak"})
    assert names.dtype == object
    assert names.tolist() == [0, "leak"]


def test_renamed_keeps_one_and_true_apart():
    names = renamed(np.array([True, 1], dtype=object), {1: "one"}).tolist()
    assert [(type(name), name) for name in names] == [(bool, True), (str, "one")]


@pytest.mark.parametrize(
    ("mapping", "error", "message"),
    [
        ({"c": "x"}, ValueError, r"'c', which is not a class; the classes are \['a', 'b'\]"),
        ({"a": "b"}, ValueError, "two classes the name 'b'"),
        ({"a": "x", "b": "x"}, ValueError, "two classes the name 'x'"),
        ({"a": None}, ValueError, "missing value"),
        ({"a": float("nan")}, ValueError, "missing value"),
        ({"a": 1.5}, ValueError, r"rename_classes got, as a new name, the float 1\.5"),
        ({"a": ("x",)}, TypeError, "rename_classes got, as a new name, a tuple"),
        ({("a",): "x"}, TypeError, "rename_classes got a tuple"),
    ],
)
def test_renamed_refuses(mapping, error, message):
    with pytest.raises(error, match=message):
        renamed(np.array(["a", "b"], dtype=object), mapping)


@pytest.mark.parametrize("mapping", ["leak", ["leak"], None])
def test_renamed_takes_a_dict_only(mapping):
    with pytest.raises(TypeError, match="rename_classes takes a dict of old names to new names, got a"):
        renamed(np.array(["novel_0"], dtype=object), mapping)


@pytest.mark.parametrize(
    ("unlabeled_value", "new"), [(-1, -1), (-1, -1.0), (-1, np.int64(-1)), (0, 0), ("?", "?"), (True, True)]
)
def test_renamed_refuses_the_name_for_no_label(unlabeled_value, new):
    with pytest.raises(ValueError, match="as a new name, which stands for 'no label'"):
        renamed(np.array([2, 3]), {3: new}, unlabeled_value=unlabeled_value)


@pytest.mark.parametrize(("unlabeled_value", "new"), [(None, -1), ("?", -1), (0, -1), (-1, "-1"), (1, True)])
def test_renamed_takes_a_name_that_stands_for_a_class(unlabeled_value, new):
    assert renamed(np.array([2, 3]), {3: new}, unlabeled_value=unlabeled_value).tolist() == [2, new]


@pytest.mark.parametrize(("unlabeled_value", "old"), [(-1, 3), ("?", "novel_0")])
def test_a_class_cannot_be_renamed_to_the_unlabeled_value(unlabeled_value, old):
    y = [old if unlabeled_value == -1 else "a", unlabeled_value] * 2
    model = SemiSupervisedKMeans(2, unlabeled_value=unlabeled_value, random_state=0).fit([[0], [9], [1], [8]], y)
    labels = model.labels_.tolist()
    with pytest.raises(ValueError, match="which stands for 'no label'"):
        model.rename_classes({old: unlabeled_value})
    assert model.labels_.tolist() == labels
