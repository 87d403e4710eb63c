"""Label augmentation as an estimator: transformations, labels, copies, interrupts, and the ordering of the paper."""

import json
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import skops.io
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits, make_blobs
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier

from sklearn_sslcluster.deep import LabelAugmentationClassifier, NetworkSettings
from sklearn_sslcluster.utils import trusted_types
from sklearn_sslcluster.utils._interrupts import Interrupter


def quarter_turn(X):
    return np.rot90(X.reshape(-1, 8, 8), axes=(1, 2)).reshape(X.shape)


def half_turn(X):
    return quarter_turn(quarter_turn(X))


def three_quarter_turn(X):
    return quarter_turn(half_turn(X))


def negated(X):
    return -X


ROTATIONS = [quarter_turn, half_turn, three_quarter_turn]


@pytest.fixture(scope="module")
def blobs():
    return make_blobs(120, centers=3, n_features=4, cluster_std=2.0, random_state=0)


@pytest.fixture
def quick():
    return LabelAugmentationClassifier(max_epochs=5, encoder=NetworkSettings((16,)), random_state=0)


# Transformations


@pytest.mark.parametrize("kind", ["permute-columns", "flip-signs"])
def test_named_transformations_differ_and_begin_with_the_identity(quick, blobs, kind):
    model = quick.set_params(estimator=GaussianNB(), transforms=kind, n_transforms=6).fit(*blobs)
    both = np.hstack([model.column_orders_, model.column_signs_])
    assert model.n_transforms_ == len(np.unique(both, axis=0)) == 6
    assert both[0].tolist() == [0, 1, 2, 3, 1, 1, 1, 1]
    moved, signs = (model.column_orders_ != np.arange(4)).any(), (model.column_signs_ < 0).any()
    assert (moved, signs) == ((True, False) if kind == "permute-columns" else (False, True))


@pytest.mark.parametrize("kind", ["permute-columns", "flip-signs"])
def test_named_transformations_do_not_depend_on_units(quick, blobs, kind):
    X, y = blobs
    X = (X - X.mean(axis=0)) / X.std(axis=0) * [1.0, 50.0, 1.0, 2000.0]
    other = X * [3.0, 0.1, 100.0, 10.0] + [5.0, 0.0, -7.0, 0.0]
    model = clone(quick).set_params(estimator=GaussianNB(var_smoothing=0), transforms=kind)
    first, second = clone(model).fit(X, y), clone(model).fit(other, y)
    np.testing.assert_allclose(first.predict_proba(X), second.predict_proba(other), rtol=1e-6)


@pytest.mark.parametrize(("kind", "n_possible"), [("permute-columns", 2), ("flip-signs", 4)])
def test_more_transformations_than_there_are_give_a_warning(quick, blobs, kind, n_possible):
    X, y = blobs
    model = quick.set_params(estimator=GaussianNB(), transforms=kind, n_transforms=9)
    with pytest.warns(UserWarning, match=f"2 columns allow only {n_possible} .* n_transforms={n_possible} was taken"):
        assert model.fit(X[:, :2], y).n_transforms_ == n_possible


@pytest.mark.parametrize(
    ("kind", "second", "n_expected"),
    [
        ("flip-signs", np.ones(40), 2),
        ("flip-signs", np.r_[np.full(5, np.nan), np.ones(35)], 2),
        ("permute-columns", None, 3),
    ],
)
def test_named_transforms_that_rows_cannot_tell_apart_are_left_out(kind, second, n_expected):
    """A constant column is its own mirror image, and two equal ones may change places."""
    first = np.random.RandomState(0).normal(size=40)
    X = np.column_stack([first, second] if second is not None else [first, first, first**2])
    model = LabelAugmentationClassifier(HistGradientBoostingClassifier(max_iter=2), transforms=kind, n_transforms=6)
    with pytest.warns(UserWarning, match=f"allow only {n_expected} that can be told apart"):
        model.set_params(random_state=0).fit(X, first > 0)
    assert model.n_transforms_ == len(model.column_orders_) == len(model.column_signs_) == n_expected


def misshaped(X):
    return X[:, :2]


def infinite(X):
    return X / 0.0


def words(X):
    return np.full(X.shape, "word")


def in_place(X):
    X *= -1
    return X


def unchanged(X):
    return X + 0.0


@pytest.mark.parametrize(
    ("transforms", "error", "message"),
    [
        ([negated, misshaped], ValueError, r"transforms\[1\] returned shape \(120, 2\) for rows of shape \(120, 4\)"),
        ([infinite], ValueError, r"transforms\[0\] returned NaN or infinite values"),
        ([words], ValueError, r"transforms\[0\] returned an array of dtype <U4; numbers"),
        ([negated, 3], TypeError, r"transforms\[1\] must be a function of rows, got 3"),
        ([unchanged], ValueError, r"transforms\[0\] leaves all rows of X as they are"),
        ([negated, in_place], ValueError, r"transforms\[1\] gives the same rows as transforms\[0\]; leave it out"),
        ("rotate", ValueError, "The 'transforms' parameter"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_transformation_that_breaks_the_contract_is_named(quick, blobs, transforms, error, message):
    with pytest.raises(error, match=message):
        quick.set_params(transforms=transforms).fit(*blobs)


def test_function_that_works_in_place_leaves_the_rows_as_they_were(quick, blobs):
    X, y = blobs[0].copy(), blobs[1]
    model = quick.set_params(estimator=GaussianNB())
    answers = [clone(model).set_params(transforms=[each]).fit(X, y).predict_proba(X) for each in (in_place, negated)]
    np.testing.assert_array_equal(*answers)
    np.testing.assert_array_equal(X, blobs[0])


def test_number_of_functions_that_differs_from_the_fit_is_refused(quick, blobs):
    model = quick.set_params(transforms=[negated]).fit(*blobs).set_params(transforms=[])
    with pytest.raises(ValueError, match="transforms has 0 functions, and 1 at the fit"):
        model.predict(blobs[0])


@pytest.mark.parametrize("kind", ["permute-columns", "flip-signs"])
def test_missing_entries_are_taken_where_the_classifier_takes_them(quick, blobs, kind):
    X, y = blobs[0].copy(), blobs[1]
    X[::5, 1] = np.nan
    base = HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=5)
    assert np.mean(clone(quick).set_params(estimator=base, transforms=kind).fit(X, y).predict(X) == y) > 0.8
    for model in (quick, clone(quick).set_params(estimator=GaussianNB())):
        with pytest.raises(ValueError, match="contains NaN"):
            model.fit(X, y)


# Labels


@pytest.mark.parametrize("base", [None, GaussianNB()], ids=["network", "GaussianNB"])
@pytest.mark.parametrize(
    "y",
    [
        np.array(["ash", "beech", "cedar"], dtype=object),
        np.array([True, False, True]),
        pd.Categorical(["low", "high", "low"]),
        np.array([1.0, 2.0, 3.0]),
    ],
    ids=["strings", "bools", "categories", "whole floats"],
)
def test_names_of_classes_come_back(quick, blobs, base, y):
    X, codes = blobs
    names = y[codes]
    model = quick.set_params(estimator=base, max_epochs=40).fit(X, names)
    assert set(model.predict(X).tolist()) <= set(np.asarray(names).tolist())
    assert model.score(X, names) > 0.8
    search = GridSearchCV(model, {"inference": ["single", "aggregate"]}, cv=2, error_score="raise").fit(X, names)
    assert search.best_score_ > 0.7


@pytest.mark.parametrize("missing", [None, np.nan, -1])
def test_rows_without_a_label_are_left_out_of_the_score(quick, blobs, missing):
    X, y = blobs
    partial = np.where(np.arange(120) % 3 == 0, missing, y.astype(object))
    model = quick.set_params(estimator=GaussianNB(), unlabeled_value=-1).fit(X, partial)
    kept = np.arange(120) % 3 != 0
    assert model.classes_.tolist() == [0, 1, 2]
    assert model.score(X, partial) == model.score(X[kept], y[kept])
    weight = np.arange(120.0)
    assert model.score(X, partial, weight) == pytest.approx(np.average(model.predict(X) == y, weights=weight * kept))
    assert np.isfinite(GridSearchCV(model, {}, cv=3, error_score="raise").fit(X, partial).best_score_)


@pytest.mark.parametrize("base", [None, GaussianNB()], ids=["network", "GaussianNB"])
@pytest.mark.parametrize("inference", ["aggregate", "single", "distilled"])
def test_one_class_is_learned_and_said(quick, blobs, base, inference):
    X, _ = blobs
    model = quick.set_params(estimator=base, inference=inference).fit(X, np.full(120, "only"))
    assert set(model.predict(X)) == {"only"}
    np.testing.assert_allclose(model.predict_proba(X), 1)


@pytest.mark.parametrize(("y", "message"), [(None, "requires y"), ([None] * 120, "no row of y has one")])
def test_without_any_label_there_is_nothing_to_learn(quick, blobs, y, message):
    with pytest.raises(ValueError, match=message):
        quick.fit(blobs[0], y)


@pytest.mark.parametrize("inference", ["aggregate", "distilled"])
def test_unlabeled_rows_count_for_the_network_by_their_weight(quick, blobs, inference):
    X, y = blobs
    quick.set_params(inference=inference)
    partial = np.where(np.arange(120) % 3 > 0, None, y.astype(object))
    labeled = np.arange(120) % 3 == 0
    without, zero, one = (clone(quick).set_params(unlabeled_weight=weight) for weight in (0.0, 0.0, 1.0))
    expected = without.fit(X[labeled], y[labeled]).predict_proba(X)
    np.testing.assert_array_equal(zero.fit(X, partial).predict_proba(X), expected)
    assert not np.allclose(one.fit(X, partial).predict_proba(X), expected)


# The estimator as an object


def test_answers_depend_on_the_seed_and_not_on_the_order_of_the_rows(quick, blobs):
    X, y = blobs
    order = np.random.RandomState(0).permutation(120)
    proba = clone(quick).fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(clone(quick).fit(X[order], y[order]).predict_proba(X), proba)
    assert not np.allclose(clone(quick).set_params(random_state=1).fit(X, y).predict_proba(X), proba)


@pytest.mark.parametrize("base", [None, MLPClassifier((4,), max_iter=3)], ids=["network", "MLPClassifier"])
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_seed_reaches_weights_and_global_generators_stay(quick, blobs, base):
    X, y = blobs
    state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    answers = [clone(quick).set_params(estimator=base).fit(X, y).predict_proba(X) for _ in range(2)]
    np.testing.assert_array_equal(*answers)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_state)


@pytest.mark.parametrize("base", [None, GaussianNB()], ids=["network", "GaussianNB"])
@pytest.mark.parametrize("inference", ["aggregate", "distilled"])
def test_copies_give_the_same_answers(quick, blobs, base, inference):
    X, y = blobs
    model = quick.set_params(estimator=base, inference=inference).fit(X, np.array(["a", "b", "c"])[y])
    restored = skops.io.loads(skops.io.dumps(model), trusted=trusted_types())
    for copy in (restored, pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(copy.predict_proba(X), model.predict_proba(X))
        assert copy.predict(X).tolist() == model.predict(X).tolist()


def test_skops_trusts_own_functions_by_name(quick, blobs):
    stored = skops.io.dumps(quick.set_params(transforms=[negated]).fit(*blobs))
    extra = set(skops.io.get_untrusted_types(data=stored)) - set(trusted_types())
    assert [name.rpartition(".")[2] for name in extra] == ["negated"]


PREDICT_IN_A_FRESH_PROCESS = """
import json, pickle, sys
import numpy as np
model = pickle.loads(sys.stdin.buffer.read())
proba = model.predict_proba(np.zeros((2, 4)))
print(json.dumps([sorted({"torch", "skorch"} & set(sys.modules)), proba.tolist()]))
"""


@pytest.mark.parametrize("inference", ["aggregate", "single", "distilled"])
def test_network_predicts_without_torch(quick, blobs, inference):
    model = quick.set_params(inference=inference).fit(*blobs)
    done = subprocess.run(
        [sys.executable, "-c", PREDICT_IN_A_FRESH_PROCESS], input=pickle.dumps(model), capture_output=True, check=True
    )
    imported, proba = json.loads(done.stdout)
    assert imported == []
    np.testing.assert_allclose(proba, model.predict_proba(np.zeros((2, 4))))


def test_own_module_is_the_encoder(blobs):
    class Encoder(torch.nn.Module):
        def __init__(self, n_features, n_outputs):
            super().__init__()
            self.layer = torch.nn.Linear(n_features, n_outputs)

        def forward(self, X):
            return torch.sin(self.layer(X))

    model = LabelAugmentationClassifier(encoder=Encoder, embedding_size=32, max_epochs=60, random_state=0)
    model = model.set_params(transforms=[negated]).fit(*blobs)
    assert model.encoder_layers_[0]["kind"] == "module"
    assert model.score(*blobs) > 0.8


def test_nested_parameters_are_searched(quick, blobs):
    grid = {"encoder__hidden": [(4,), (8,)], "optimizer__lr": [1e-2]}
    search = GridSearchCV(quick, grid, cv=2, error_score="raise").fit(*blobs)
    assert search.best_estimator_.encoder_layers_[0]["weight"].shape[0] in (4, 8)
    assert clone(quick).set_params(encoder=None).get_params()["encoder__hidden"] == (256,)


@pytest.mark.parametrize("base", [None, GaussianNB()], ids=["network", "GaussianNB"])
def test_interrupt_leaves_the_earlier_fit(quick, blobs, base):
    X, y = blobs
    model = quick.set_params(estimator=base, max_epochs=2).fit(X[:, :3], np.array(["a", "b", "c"])[y])
    model.fit(X, y)
    model.fit(X[:, :3], np.array(["a", "b", "c"])[y])
    before = dict(vars(model))
    for line in Interrupter(clone(model)).moments(X, y).values():
        assert Interrupter(model).interrupt(X, y, line)
        assert vars(model).keys() == before.keys()
        assert all(vars(model)[name] is value for name, value in before.items())


def test_columns_out_of_place_are_named(quick, blobs):
    X, y = blobs
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = quick.fit(frame, y)
    assert model.feature_names_in_.tolist() == list("abcd")
    for method in (model.predict, model.predict_proba, model.predict_log_proba, lambda rows: model.score(rows, y)):
        with pytest.raises(ValueError, match="position 2 holds 'd', expected 'c'"):
            method(frame[["a", "b", "d", "c"]])


def test_killed_fit_resumes_with_functions_of_another_process(quick, blobs, tmp_path):
    def moved(by):
        return lambda X: X * by

    def model(by, **settings):
        return clone(quick).set_params(transforms=[moved(by)], checkpoint=tmp_path / "state", **settings)

    expected = model(-1.0).fit(*blobs).predict_proba(blobs[0])

    class Killed(Exception):
        pass

    class KillAfter:
        n_epochs = 0

        def setup(self, estimator, context):
            pass

        def on_fit_task_begin(self, *args, **params):
            pass

        def on_fit_task_end(self, *args, **params):
            self.n_epochs += 1
            if self.n_epochs == 3:
                raise Killed

        def teardown(self, estimator, context):
            pass

    with pytest.raises(Killed):
        model(-1.0).set_callbacks(KillAfter()).fit(*blobs)
    assert (tmp_path / "state").exists()
    with pytest.raises(ValueError, match="belongs to a fit with other data"):
        model(-2.0).fit(*blobs)
    np.testing.assert_array_equal(model(-1.0).fit(*blobs).predict_proba(blobs[0]), expected)


def test_callbacks_are_given_the_classifier_that_a_stop_would_leave(quick, blobs):
    class StopAfterTwo:
        def __init__(self):
            self.seen = []

        def setup(self, estimator, context):
            pass

        def on_fit_task_begin(self, *args, **params):
            pass

        def on_fit_task_end(self, estimator, context, *, fitted_estimator):
            self.seen.append(fitted_estimator)
            return len(self.seen) == 2

        def teardown(self, estimator, context):
            pass

    callback = StopAfterTwo()
    model = quick.set_callbacks(callback).fit(*blobs)
    assert len(model.history_["classify"]) == 2
    expected = model.predict_proba(blobs[0])
    first, last = (seen.predict_proba(blobs[0]) for seen in callback.seen[:2])
    np.testing.assert_array_equal(last, expected)
    assert not np.allclose(first, expected)


# The paper's ordering


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_digits_and_rotations_are_ordered_as_in_the_paper():
    X, y = load_digits(return_X_y=True)
    scores = []
    for seed in range(3):
        order = np.random.RandomState(seed).permutation(len(X))
        (rows, labels), (others, truth) = ((X[part] / 16, y[part]) for part in (order[:300], order[300:]))
        base = MLPClassifier((64,), max_iter=60, random_state=seed)
        turned = np.concatenate([rows, *(turn(rows) for turn in ROTATIONS)])
        naive = clone(base).fit(turned, np.tile(labels, 4)).score(others, truth)
        model = LabelAugmentationClassifier(base, transforms=ROTATIONS).fit(rows, labels)
        joint = [model.set_params(inference=each).score(others, truth) for each in ("single", "aggregate")]
        scores.append([naive, clone(base).fit(rows, labels).score(others, truth), *joint])
    naive, alone, single, aggregate = np.mean(scores, axis=0)
    assert naive < alone < single < aggregate
