"""Encoders scored by plain classifiers on their output, for few labels and for many."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GroupKFold, PredefinedSplit, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from sklearn_sslcluster.model_selection import evaluate_representation
from sklearn_sslcluster.model_selection._representation import _first_of_each_class, _ranks_in_class
from sklearn_sslcluster.quantization import BalancedKMeans

X, Y = load_digits(return_X_y=True)
X, Y = X[:600], Y[:600]
# The last column tells which row it is.
NUMBERED = np.column_stack([X, np.arange(len(X))])


class Lookup(TransformerMixin, BaseEstimator):
    """Gives each row what a table says of it, and notes the rows and the labels that it was fitted to."""

    seen: list = []

    def __init__(self, table):
        self.table = table

    def fit(self, X, y=None):
        Lookup.seen.append((np.asarray(X)[:, -1].astype(int), y))
        return self

    def transform(self, X):
        return self.table[np.asarray(X)[:, -1].astype(int)]


@pytest.fixture(autouse=True)
def nothing_seen():
    Lookup.seen = []


def evaluate(encoder, X=X, y=Y, **parameters):
    return evaluate_representation(encoder, X, y, **({"cv": 3, "n_repeats": 2, "random_state": 0} | parameters))


@pytest.mark.parametrize("protocol", ["linear", "knn"])
def test_noise_is_worth_chance(protocol):
    noise = np.random.RandomState(0).normal(size=(len(X), 8))
    result = evaluate(Lookup(noise), NUMBERED, protocol=protocol, label_fractions=[0.1, 1.0], n_repeats=4)
    assert_allclose(result.mean, 0.1, atol=0.04)


@pytest.mark.parametrize("protocol", ["linear", "knn"])
def test_truth_is_worth_everything(protocol):
    result = evaluate(Lookup(np.eye(10)[Y]), NUMBERED, protocol=protocol)
    assert_array_equal(result.scores, np.ones((3, 3, 2)))


@pytest.mark.parametrize("protocol", ["linear", "knn"])
def test_more_labels_are_worth_more(protocol):
    result = evaluate(PCA(16, random_state=0), protocol=protocol, label_fractions=[0.02, 0.1, 0.3, 1.0])
    assert (np.diff(result.mean) > 0).all()
    assert_allclose(result.n_labeled, [10, 40, 120, 400], atol=3)


def test_encoder_sees_neither_labels_nor_rows_held_out():
    folds = list(StratifiedKFold(4).split(X, Y))
    evaluate(Lookup(X), NUMBERED, cv=folds)
    assert len(Lookup.seen) == 4
    for (rows, labels), (train, _) in zip(Lookup.seen, folds, strict=True):
        assert labels is None
        assert_array_equal(rows, np.sort(train))


def test_rows_without_a_label_are_training_rows_of_every_fold():
    y = np.where(np.arange(len(Y)) % 2, Y, -1)
    result = evaluate(Lookup(X), NUMBERED, y)
    for rows, _ in Lookup.seen:
        assert set(np.flatnonzero(y == -1)) <= set(rows)
    assert_allclose(result.n_labeled[-1], 200)


def test_columns_as_they_are_stand_for_no_encoder():
    none, words, scaled = (evaluate(encoder).scores for encoder in (None, "passthrough", StandardScaler()))
    assert_array_equal(none, words)
    assert_allclose(none, scaled, atol=0.02)


def test_scores_repeat_with_the_seed_and_with_workers():
    first = evaluate(PCA(8, random_state=0)).scores
    assert_array_equal(evaluate(PCA(8, random_state=0), n_jobs=2).scores, first)
    assert (evaluate(PCA(8, random_state=0), random_state=1).scores != first).any()


def test_global_generator_is_left_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    evaluate(None)
    assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_every_class_has_a_label_and_smaller_fractions_are_nested():
    codes = np.repeat([0, 1, 2, -1], [200, 30, 2, 50])
    ranks = _ranks_in_class(codes, np.random.RandomState(0))
    rows = [_first_of_each_class(codes, ranks, fraction) for fraction in (0.01, 0.1, 1.0)]
    assert [np.bincount(codes[chosen]).tolist() for chosen in rows] == [[2, 1, 1], [20, 3, 1], [200, 30, 2]]
    assert set(rows[0]) < set(rows[1]) < set(rows[2])


def test_rows_of_the_same_source_are_not_told_apart_and_others_are():
    rng = np.random.RandomState(0)
    digits = load_digits().data[rng.permutation(1797)]
    other = rng.uniform(0, 16, size=(300, 64))
    assert_allclose(evaluate(None, digits[:600], X_ood=digits[600:]).ood_auroc, 0.5, atol=0.06)
    assert_allclose(evaluate(None, digits[:600], X_ood=other).ood_auroc, 1.0, atol=0.01)
    assert evaluate(None).ood_auroc is None


def test_tables_strings_pipelines_and_clusterers_are_taken():
    table = pd.DataFrame(X).add_prefix("pixel_")
    names = np.array([f"digit {code}" for code in Y])
    pipeline = make_pipeline(StandardScaler(), PCA(8, random_state=0))
    assert_allclose(evaluate(pipeline, table, names).scores, evaluate(pipeline).scores, atol=1e-12)
    clusterer = BalancedKMeans(20, n_init=1, random_state=0)
    assert evaluate(clusterer, table, names, n_repeats=1).mean[-1] > 0.7


def test_other_classifiers_scorers_and_splitters_are_taken():
    tree = evaluate(None, protocol=DecisionTreeClassifier(random_state=0), label_fractions=[1.0], scoring="f1_macro")
    assert 0.5 < tree.mean[0] < 0.9
    fixed = PredefinedSplit(np.arange(len(Y)) % 2)
    assert evaluate(None, cv=fixed).scores.shape == (3, 2, 2)


def test_table_has_one_row_a_fraction():
    result = evaluate(None, label_fractions=[0.1, 0.5])
    assert result.table.index.tolist() == [0.1, 0.5]
    assert_allclose(result.table["mean"], result.scores.mean(axis=(1, 2)))
    assert_allclose(result.table["std"], result.std)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"label_fractions": [0.1, 1.5]}, "label_fractions must be numbers in .0, 1., got 1.5"),
        ({"label_fractions": []}, "label_fractions must be"),
        ({"protocol": "quadratic"}, "protocol"),
        ({"scoring": "beauty"}, "scoring"),
        ({"n_repeats": 0}, "n_repeats"),
        ({"y": np.zeros(600, dtype=int)}, "at least two classes, got 1"),
        ({"y": Y[1:]}, "inconsistent numbers of samples"),
        ({"encoder": Lookup(np.full((600, 2), np.nan)), "X": NUMBERED}, "encoder must give rows of finite numbers"),
    ],
)
def test_wrong_arguments_are_named(parameters, message):
    with pytest.raises(ValueError, match=message):
        evaluate(**({"encoder": None} | parameters))


def test_what_is_no_encoder_or_classifier_is_refused():
    with pytest.raises(ValueError, match="encoder"):
        evaluate(DecisionTreeClassifier())
    with pytest.raises(TypeError, match="protocol must be"):
        evaluate(None, protocol=BalancedKMeans(3))


def test_groups_can_be_kept_together_by_folds_made_before():
    groups = np.arange(len(Y)) // 20
    folds = list(GroupKFold(3).split(X, Y, groups))
    assert evaluate(None, cv=folds).scores.shape == (3, 3, 2)


def test_encoder_that_is_fitted_already_stays_as_it_is():
    frozen = FrozenEstimator(PCA(8, random_state=0).fit(X[:200]))
    result = evaluate_representation(frozen, X, Y, label_fractions=[0.1], cv=2, n_repeats=1, random_state=0)
    assert result.mean[0] > 0.7
