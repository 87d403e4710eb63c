"""Models that were saved: those of earlier releases load, those of later ones are refused, bad files run nothing."""

import io
import json
import pickle
import zipfile
from pathlib import Path

import joblib
import numpy as np
import pytest
import skops.io
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import ClusterMixin
from skops.io.exceptions import UntrustedTypesFoundException

from sklearn_sslcluster import __version__
from sklearn_sslcluster.auto import LeaderboardDisplay
from sklearn_sslcluster.base import _persistence
from sklearn_sslcluster.cli import main
from sklearn_sslcluster.datasets import make_partially_labeled_blobs
from sklearn_sslcluster.discovery import KnownClassMetric, NCDKMeans, SemiSupervisedKMeans
from sklearn_sslcluster.utils import all_estimators, trusted_types
from tests.persistence_tools import DATA, rows, saved

FILES = sorted(DATA.glob("*/*.skops"))
ESTIMATORS = dict(all_estimators())
SAVERS = {
    "skops": (skops.io.dumps, lambda data: skops.io.loads(data, trusted=trusted_types())),
    "pickle": (pickle.dumps, pickle.loads),
    "joblib": (
        lambda model: (target := io.BytesIO(), joblib.dump(model, target))[0].getvalue(),
        lambda data: joblib.load(io.BytesIO(data)),
    ),
}
saver = pytest.mark.parametrize("saver", SAVERS)


def fitted():
    X, y, _ = make_partially_labeled_blobs(60, random_state=0)
    return NCDKMeans(n_init=1, random_state=0).fit(X, y)


# Files of earlier releases


@pytest.mark.parametrize("path", FILES, ids=[f"{path.parent.name}-{path.stem}" for path in FILES])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.InconsistentVersionWarning")
def test_files_of_every_release_load_and_answer_as_they_did(path):
    content = skops.io.load(path, trusted=trusted_types())
    answers = getattr(content["model"], content["method"])(content["rows"])
    if content["method"] == "predict":
        assert answers.tolist() == content["answers"].tolist()
        assert {"ash", "beech", "cedar"} <= set(content["model"][-1].classes_)
    else:
        assert_allclose(answers, content["answers"], rtol=1e-6, atol=1e-8)
    assert_array_equal(content["rows"], rows()[2])


@pytest.mark.parametrize("path", [path for path in FILES if path.stem == "NovelClassDiscovery"], ids=str)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.InconsistentVersionWarning")
def test_leaderboard_of_every_release_is_shown(path):
    model = skops.io.load(path, trusted=trusted_types())["model"][-1]
    assert model.leaderboard_["weight"].sum() == pytest.approx(1)
    assert len(LeaderboardDisplay.from_estimator(model).names) == len(model.leaderboard_)


def test_files_are_small_and_a_release_has_one_of_every_estimator():
    assert sum(path.stat().st_size for path in FILES) < 200_000 * len({path.parent for path in FILES})
    names = {path.stem for path in FILES if path.parent.name == __version__}
    assert len({path.stem for path in FILES}) >= 24
    if "dev" not in __version__:
        assert names == set(ESTIMATORS), "python -m tests.persistence_tools writes the files of a release"


# Clusterers are checked by check_skops_round_trip.
@pytest.mark.parametrize("name", [name for name, cls in ESTIMATORS.items() if not issubclass(cls, ClusterMixin)])
def test_other_estimators_come_back_trusting_our_names_alone(name):
    content = saved(name, ESTIMATORS[name])
    model = skops.io.loads(skops.io.dumps(content["model"]), trusted=trusted_types())
    assert_array_equal(getattr(model, content["method"])(content["rows"]), content["answers"])


# The format


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_carries_the_format_and_the_version(name):
    state = ESTIMATORS[name].__new__(ESTIMATORS[name]).__getstate__()
    assert state == {"_sslcluster_format": _persistence.FORMAT, "_sslcluster_version": __version__}


@saver
def test_stamp_is_no_attribute_of_what_is_loaded(saver):
    dump, load = SAVERS[saver]
    model = fitted()
    assert vars(load(dump(model))).keys() == vars(model).keys()


@saver
def test_newer_format_is_refused_naming_both_versions(saver, monkeypatch):
    dump, load = SAVERS[saver]
    with monkeypatch.context() as later:
        later.setattr(_persistence, "FORMAT", 7)
        later.setattr(_persistence, "__version__", "3.2.1")
        data = dump(fitted())
    with pytest.raises(ValueError, match=r"saved by sklearn-sslcluster 3\.2\.1 in format 7, and the .* 1;"):
        load(data)


@saver
def test_older_format_is_migrated_step_by_step(saver, monkeypatch):
    dump, load = SAVERS[saver]
    model = fitted()
    data = dump(model)
    monkeypatch.setattr(_persistence, "FORMAT", 3)
    steps = {1: lambda name, state: {**state, "a_": name}, 2: lambda name, state: {**state, "b_": state["a_"] + "!"}}
    monkeypatch.setattr(_persistence, "MIGRATIONS", steps)
    loaded = load(data)
    assert (loaded.a_, loaded.b_) == ("NCDKMeans", "NCDKMeans!")
    assert_array_equal(loaded.labels_, model.labels_)


def test_steps_without_a_change_are_passed(monkeypatch):
    data = pickle.dumps(fitted())
    monkeypatch.setattr(_persistence, "FORMAT", 9)
    assert hasattr(pickle.loads(data), "labels_")


def test_state_without_a_stamp_is_of_the_first_format():
    model = NCDKMeans.__new__(NCDKMeans)
    model.__setstate__(dict(vars(fitted())))
    assert len(model.predict(np.zeros((2, 2)))) == 2


def test_parameters_that_came_later_have_their_default():
    model = SemiSupervisedKMeans(3)
    state = model.__getstate__()
    del state["device"], state["n_clusters"]
    loaded = SemiSupervisedKMeans.__new__(SemiSupervisedKMeans)
    loaded.__setstate__(state)
    assert loaded.get_params() == SemiSupervisedKMeans().get_params()


@pytest.mark.parametrize("format_", ["1", 0, -1, 1.0, True, None])
def test_format_that_is_none_is_refused(format_):
    with pytest.raises(ValueError, match="the file is damaged or no model"):
        KnownClassMetric().__setstate__({"_sslcluster_format": format_})


def test_state_that_is_no_dict_is_refused():
    with pytest.raises(TypeError, match="state of a KnownClassMetric must be a dict, got a list"):
        KnownClassMetric().__setstate__([1])


# Hostile and broken files


class Harmful:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return eval, ("open('ran', 'w')",)


def rewrite(path, change=None, **files):
    """The file with some of its members replaced, and its schema changed in place."""
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()}
    schema = json.loads(members["schema.json"])
    if change:
        change(schema)
    with zipfile.ZipFile(path, "w") as new:
        for name, data in {**members, "schema.json": json.dumps(schema), **files}.items():
            new.writestr(name, data)


def save(content=None):
    model = fitted() if content is None else content
    whole = {"format": 1, "label": "y", "numbers": ["a"], "text": [], "pipeline": model}
    skops.io.dump(whole, "bad.skops")


def name_a_function():
    save()

    def change(schema):
        schema["content"]["pipeline"] = {
            "__class__": "system", "__module__": "os", "__loader__": "FunctionNode", "__id__": 1,
            "content": {"module_path": "os", "function": "system"},
        }  # fmt: skip

    rewrite("bad.skops", change)


def name_a_constructor():
    """A class that runs a command when it is made."""
    save()
    argument = {
        "__class__": "tuple", "__module__": "builtins", "__loader__": "TupleNode", "__id__": 2,
        "content": [
            {"__class__": "str", "__module__": "builtins", "__loader__": "JsonNode", "__id__": 3,
             "content": json.dumps("touch ran"), "is_json": True}
        ],
    }  # fmt: skip

    def change(schema):
        schema["content"]["pipeline"] = {
            "__class__": "Popen", "__module__": "subprocess", "__loader__": "ConstructorFromReduceNode", "__id__": 1,
            "content": argument,
        }  # fmt: skip

    rewrite("bad.skops", change)


def rename_the_class():
    save()

    def change(schema):
        schema["content"]["pipeline"] |= {"__class__": "Popen", "__module__": "subprocess"}

    rewrite("bad.skops", change)


def pickled_array():
    """An array that numpy would unpickle."""
    save()
    target = io.BytesIO()
    np.save(target, np.array([Harmful()], dtype=object), allow_pickle=True)
    with zipfile.ZipFile("bad.skops") as file:
        arrays = [name for name in file.namelist() if name.endswith(".npy")]
    rewrite("bad.skops", **dict.fromkeys(arrays, target.getvalue()))


def pickled_payload():
    Path("bad.skops").write_bytes(pickle.dumps(Harmful()))


def joblib_payload():
    joblib.dump(Harmful(), "bad.skops")


def truncated():
    save()
    data = Path("bad.skops").read_bytes()
    Path("bad.skops").write_bytes(data[: len(data) // 2])


def no_schema():
    with zipfile.ZipFile("bad.skops", "w") as file:
        file.writestr("other.json", "{}")


def schema_that_is_no_json():
    save()
    rewrite("bad.skops", **{"schema.json": "{"})


def schema_of_something_else():
    save()
    rewrite("bad.skops", **{"schema.json": "[1, 2]"})


def deep_schema():
    save()
    rewrite("bad.skops", **{"schema.json": "[" * 100_000 + "]" * 100_000})


def missing_member():
    save()
    rewrite("bad.skops", lambda schema: schema["content"].pop("pipeline"))


def bomb():
    """A small file of which a large one would be made in memory."""
    with zipfile.ZipFile("bad.skops", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("schema.json", " " * 20_000_000 + "{}")


HOSTILE = [name_a_function, name_a_constructor, rename_the_class]
BROKEN = [
    pickled_array,
    pickled_payload,
    joblib_payload,
    truncated,
    no_schema,
    schema_that_is_no_json,
    schema_of_something_else,
    deep_schema,
    missing_member,
    bomb,
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text("a\n1\n2\n")
    return tmp_path


@pytest.mark.parametrize("write", [*HOSTILE, *BROKEN], ids=lambda write: write.__name__)
def test_command_refuses_a_bad_file_in_one_line(folder, capsys, write):
    write()
    assert main(["predict", "t.csv", "--model", "bad.skops"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("sslcluster: error: bad.skops ")
    assert err.count("\n") == 1
    assert not Path("ran").exists()


@pytest.mark.parametrize("write", HOSTILE, ids=lambda write: write.__name__)
def test_trusting_our_names_trusts_no_other(folder, write):
    write()
    with pytest.raises(UntrustedTypesFoundException, match=r"os\.system|subprocess\.Popen"):
        skops.io.load("bad.skops", trusted=trusted_types())
    assert not Path("ran").exists()


def test_pickled_array_is_not_unpickled(folder):
    pickled_array()
    with pytest.raises(ValueError, match="allow_pickle"):
        skops.io.load("bad.skops", trusted=trusted_types())
    assert not Path("ran").exists()


def test_command_inflates_no_file(folder, capsys, monkeypatch):
    bomb()
    monkeypatch.setattr(skops.io, "load", None)
    assert main(["predict", "t.csv", "--model", "bad.skops"]) == 2
    assert "bad.skops holds compressed parts" in capsys.readouterr().err


def test_command_refuses_a_model_of_a_newer_format(folder, capsys, monkeypatch):
    with monkeypatch.context() as later:
        later.setattr(_persistence, "FORMAT", 7)
        later.setattr(_persistence, "__version__", "3.2.1")
        save()
    assert main(["predict", "t.csv", "--model", "bad.skops"]) == 2
    assert "install sklearn-sslcluster 3.2.1 or newer to load it" in capsys.readouterr().err
