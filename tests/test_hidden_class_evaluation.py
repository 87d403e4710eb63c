"""HiddenClassSearchCV: what candidates are scored on, and how."""

from itertools import permutations

import numpy as np
import pytest
import sklearn
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import BaseEstimator
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import KFold, cross_val_score

from sklearn_sslcluster.metrics import hidden_class_accuracy
from sklearn_sslcluster.model_selection import HiddenClassKFold, HiddenClassSearchCV
from sklearn_sslcluster.model_selection._hidden_class_evaluation import HiddenClassScorer
from tests.hidden_class_search_tools import SeededKMeans, blobs, fewest_clusters, objects, search_of, two_scores


def brute_force_accuracy(truth, predicted, visible):
    """Best share of hits over all namings of the new clusters after the classes that are not visible."""
    classes = sorted(set(truth) - set(visible))
    novel = sorted(set(predicted) - set(visible) - {-1})
    padded = [*novel, *["nothing"] * len(classes)]
    best = 0
    for naming in permutations(padded, len(classes)):
        name_of = dict(zip(classes, naming, strict=True))
        best = max(best, sum(name_of.get(t, t) == p for t, p in zip(truth, predicted, strict=True)))
    return best / len(truth)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-1, 6)), min_size=1, max_size=12), st.integers(0, 3))
def test_hidden_class_accuracy_is_the_best_over_all_namings(rows, n_visible):
    truth, predicted = (list(column) for column in zip(*rows, strict=True))
    visible = list(range(n_visible))
    expected = brute_force_accuracy(truth, predicted, visible)
    assert hidden_class_accuracy(truth, predicted, visible_classes=visible) == pytest.approx(expected)


def test_a_hidden_row_in_a_visible_class_is_wrong():
    # Hand-worked: class "c" is hidden, 2 of its 4 rows were taken for "a".
    assert hidden_class_accuracy(["c"] * 4, ["a", "a", "new", "new"], visible_classes=["a", "b"]) == 0.5
    assert hidden_class_accuracy(["c"] * 4, ["c"] * 4, visible_classes=["a", "b"]) == 1.0


def test_rows_left_unassigned_are_wrong():
    assert hidden_class_accuracy([1, 1], [-1, -1]) == 0
    assert hidden_class_accuracy([1, 1], [9, 9], unassigned=9) == 0
    assert hidden_class_accuracy(["a", "a"], ["b", None]) == 0.5


def test_weights_count_like_repetition():
    truth, predicted, weight = np.array([0, 0, 1, 1, 2]), np.array([5, 6, 6, 6, 7]), np.array([3, 1, 2, 1, 4])
    repeated = hidden_class_accuracy(truth.repeat(weight), predicted.repeat(weight))
    assert hidden_class_accuracy(truth, predicted, sample_weight=weight) == pytest.approx(repeated)


def test_accuracy_of_no_row_is_refused():
    with pytest.raises(ValueError, match="needs a row with a true class"):
        hidden_class_accuracy([None, None], [0, 1])


def test_scores_are_those_of_fits_by_hand():
    X, y, _ = blobs(std=3.0)
    splitter = HiddenClassKFold(4, random_state=1)
    search = search_of(cv=splitter).fit(X, y)
    for fold, (masked, test) in enumerate(splitter.split_masked(X, y)):
        for number, n_clusters in enumerate([4, 5, 6]):
            model = SeededKMeans(n_clusters).fit(X, masked)
            expected = brute_force_accuracy(y[test].tolist(), model.predict(X[test]).tolist(), set(masked) - {-1})
            assert search.cv_results_[f"split{fold}_test_score"][number] == pytest.approx(expected)


def test_the_truth_of_unlabeled_rows_changes_nothing():
    # The same table with other rows in the place of those of hidden truth: only labeled rows are scored.
    X, y, _ = blobs(unlabeled_known=False)
    scored = []

    def spy_scorer(estimator, X, y):
        scored.append((X.copy(), y.copy()))
        return 0.0

    search_of(scoring=spy_scorer, refit=False).fit(X, y)
    for rows, names in scored:
        at = [int(np.flatnonzero((row == X).all(axis=1))[0]) for row in rows]
        assert y[at].tolist() == names.tolist()
        assert (names >= 0).all()


def test_named_scorers_compare_with_the_true_labels():
    X, y, _ = blobs(std=3.0)
    splitter = HiddenClassKFold(2, random_state=1)
    search = search_of(cv=splitter, scoring="adjusted_rand_score").fit(X, y)
    masked, test = next(splitter.split_masked(X, y))
    expected = adjusted_rand_score(y[test], SeededKMeans(5).fit(X, masked).predict(X[test]))
    assert search.cv_results_["split0_test_score"][1] == pytest.approx(expected)


@pytest.mark.parametrize("names", ["abcd", ["a", 1, True, "b"], [True, False, 0, 2]])
@pytest.mark.parametrize("several", [False, True])
def test_named_scorers_do_not_depend_on_the_kind_of_names(names, several):
    X, y, _ = blobs(std=3.0)
    order = np.argsort([str({bool: 0, int: 1, str: 2}[type(n)]) + str(n) for n in names])
    codes = np.append(np.argsort(order), -1)[y]
    scoring = ["adjusted_rand_score", "hidden_class_accuracy"] if several else "adjusted_rand_score"
    settings = {"scoring": scoring, "refit": "adjusted_rand_score" if several else True}
    expected = search_of(**settings).fit(X, codes)
    search = search_of(**settings).fit(X, objects(y, names))
    for key in expected.cv_results_:
        if "_test_" in key:
            assert search.cv_results_[key].tolist() == expected.cv_results_[key].tolist()
    assert search.score(X, objects(y, names)) == pytest.approx(expected.score(X, codes))


def test_several_scores_and_the_one_that_decides():
    X, y, _ = blobs()
    scoring = {"own": "hidden_class_accuracy", "ari": "adjusted_rand_score", "few": fewest_clusters}
    search = search_of(scoring=scoring, refit="few").fit(X, y)
    assert search.multimetric_
    assert search.best_params_ == {"n_clusters": 4}
    assert set(search.scorer_) == set(scoring)
    assert search.cv_results_["rank_test_own"].argmin() == 1
    alone = search_of().fit(X, y)
    assert search.cv_results_["mean_test_own"].tolist() == alone.cv_results_["mean_test_score"].tolist()


def test_a_callable_may_return_several_scores():
    search = search_of(scoring=two_scores, refit="few").fit(*blobs()[:2])
    assert search.best_params_ == {"n_clusters": 4}
    with pytest.raises(ValueError, match="refit must be set to a scorer key"):
        search_of(scoring=two_scores).fit(*blobs()[:2])


def test_several_scores_need_a_refit_that_names_one():
    with pytest.raises(ValueError, match="refit must be set to a scorer key"):
        search_of(scoring=["hidden_class_accuracy", "adjusted_rand_score"]).fit(*blobs()[:2])


def first_candidate(results):
    return 0


def at_most_five(estimator, X, y):
    return float(estimator.n_clusters <= 5)


def test_a_tie_is_settled_by_the_estimators_own_score_with_all_labels():
    X, y, _ = blobs()
    search = search_of(scoring=at_most_five).fit(X, y)
    assert search.cv_results_["rank_test_score"].tolist() == [1, 1, 3]
    own = [SeededKMeans(n_clusters).fit(X, y).score(X) for n_clusters in (4, 5)]
    settled = search.cv_results_["tie_break_score"]
    assert settled.mask.tolist() == [False, False, True]
    assert settled.compressed().tolist() == pytest.approx(own)
    assert own[0] < own[1]
    assert search.best_params_ == {"n_clusters": 5}
    assert search.best_score_ == 1


@pytest.mark.parametrize("settings", [{"refit": first_candidate}, {"grid": {"n_clusters": [4]}}])
def test_no_tie_is_settled_where_none_is_left_to_settle(settings):
    search = search_of(scoring=at_most_five, **settings).fit(*blobs()[:2])
    assert search.best_index_ == 0
    assert "tie_break_score" not in search.cv_results_


def last_candidate(results):
    return len(results["params"]) - 1


def test_refit_may_choose_the_candidate():
    search = search_of(refit=last_candidate).fit(*blobs()[:2])
    assert search.best_params_ == {"n_clusters": 6}
    assert not hasattr(search, "best_score_")


def test_clusterers_that_know_no_names_are_searched_by_all_their_clusters():
    X, y, _ = blobs()
    search = search_of(KMeans(n_init=5, random_state=0), {"n_clusters": [1, 5, 25]}).fit(X, y)
    assert search.best_params_ == {"n_clusters": 5}
    assert search.best_score_ == 1
    assert len(np.unique(search.labels_)) == 5


def test_weights_reach_a_scorer_that_takes_them():
    X, y, _ = blobs(std=3.0)
    weight = np.random.RandomState(0).uniform(size=len(X))
    splitter = HiddenClassKFold(2, random_state=1)
    search = search_of(cv=splitter).fit(X, y, sample_weight=weight)
    masked, test = next(splitter.split_masked(X, y))
    model = SeededKMeans(4).fit(X, masked)
    expected = hidden_class_accuracy(
        y[test], model.predict(X[test]), visible_classes=sorted(set(masked) - {-1}), sample_weight=weight[test]
    )
    assert search.cv_results_["split0_test_score"][0] == pytest.approx(expected)


def test_score_without_labels_is_the_estimators_own():
    X, y, _ = blobs()
    search = search_of().fit(X, y)
    own = search.best_estimator_.score(X)
    assert search.score(X) == search.score(X, np.full(len(X), -1)) == own


def test_score_with_labels_leaves_unlabeled_rows_out():
    X, y, _ = blobs(std=3.0)
    search = search_of().fit(X, y)
    labeled = y >= 0
    expected = (search.predict(X[labeled]) == y[labeled]).mean()
    assert search.score(X, y) == pytest.approx(expected)
    assert search.score(X, y) == search.score(X[labeled], y[labeled])


def test_score_matches_new_classes_with_novel_clusters():
    X, y, truth = blobs()
    search = search_of().fit(X, y)
    renamed = np.where(truth == 4, 17, truth)
    assert search.score(X, renamed) == 1
    assert search.score(X, (truth + 1) % 4) < 0.1


def test_nested_in_a_cross_validation():
    X, _, truth = blobs()
    scores = cross_val_score(search_of(), X, np.where(truth < 4, truth, -1), cv=KFold(2, shuffle=True, random_state=0))
    assert scores.tolist() == [1, 1]


def test_nested_in_another_search():
    X, y, truth = blobs(n_known=6, n_classes=7, n_rows=210)
    inner = search_of(grid={"n_clusters": [7]}, cv=2)
    search = search_of(inner, {"cv": [2, 3]}, cv=2).fit(X, y)
    assert search.labels_.tolist() == truth.tolist()
    assert search.best_score_ == 1


def test_the_own_scorer_takes_routed_weights():
    X, y, _ = blobs(std=3.0)
    weight = np.random.RandomState(0).uniform(size=len(X))
    expected = search_of().fit(X, y, sample_weight=weight)
    with sklearn.config_context(enable_metadata_routing=True):
        scorer = HiddenClassScorer().set_score_request(sample_weight=True)
        model = SeededKMeans().set_fit_request(sample_weight=True)
        search = search_of(model, scoring=scorer).fit(X, y, sample_weight=weight)
    assert search.cv_results_["mean_test_score"].tolist() == expected.cv_results_["mean_test_score"].tolist()


# Too little to hide


@pytest.mark.parametrize("n_known", [0, 1, 2, None])
def test_too_few_classes_are_compared_by_the_estimators_own_score(n_known):
    X, y, truth = blobs(n_known=n_known or 0)
    search = search_of()
    with pytest.warns(UserWarning, match=rf"y holds {n_known or 0} known classes, too few to hide one"):
        search.fit(X, None if n_known is None else y)
    scores = [SeededKMeans(k).fit(X, None if n_known is None else y).score(X) for k in (4, 5, 6)]
    assert search.cv_results_["mean_test_score"].tolist() == pytest.approx(scores)
    assert search.best_params_ == {"n_clusters": 5}
    assert search.n_splits_ == 1
    assert [h.tolist() for h in search.hidden_classes_] == [[]]
    assert adjusted_rand_score(search.labels_, truth) == 1
    assert search.score(X) == search.best_estimator_.score(X)


def test_the_warning_points_at_the_call():
    X, y, _ = blobs(n_known=2)
    with pytest.warns(UserWarning, match="too few to hide") as caught:
        search_of().fit(X, y)
    assert caught[0].filename == __file__


def test_several_scores_give_way_to_the_estimators_own():
    X, y, _ = blobs(n_known=2)
    search = search_of(scoring=["adjusted_rand_score", "hidden_class_accuracy"], refit="adjusted_rand_score")
    with pytest.warns(UserWarning, match="too few to hide one"):
        search.fit(X, y)
    assert search.best_params_ == {"n_clusters": 5}


class Scoreless(BaseEstimator):
    def fit(self, X, y=None):
        return self

    def predict(self, X):
        return np.zeros(len(X), dtype=int)


def test_too_few_classes_and_no_score_is_an_error():
    with pytest.raises(TypeError, match="Scoreless has no score without labels"):
        HiddenClassSearchCV(Scoreless(), {}).fit(*blobs(n_known=2)[:2])


def test_an_estimator_without_a_score_is_searched_by_hidden_classes():
    search = HiddenClassSearchCV(Scoreless(), {}, cv=2).fit(*blobs()[:2])
    assert search.n_splits_ == 2


def test_all_rows_labeled():
    X, y, truth = blobs(n_known=5, unlabeled_known=False)
    search = search_of().fit(X, y)
    assert search.best_score_ == 1
    assert search.labels_.tolist() == truth.tolist()
