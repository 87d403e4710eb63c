"""Known classes hidden in trials, and the choice that trials lead to."""

from itertools import permutations

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, f1_score
from sklearn.mixture import GaussianMixture

from sklearn_sslcluster.auto import LeaderboardDisplay, NovelClassDiscovery
from sklearn_sslcluster.auto._choice import Evidence, choose, survivors
from sklearn_sslcluster.auto._search import Sample, harder
from sklearn_sslcluster.auto._trials import Outcome, agreement, among_all, make_trials, numbers_hidden
from sklearn_sslcluster.cli._report import _choice_lines
from sklearn_sslcluster.datasets import make_partially_labeled_blobs
from sklearn_sslcluster.discovery import NCDKMeans, NovelRowsClustering
from sklearn_sslcluster.metrics import clustering_accuracy

# Trials


def test_trials_hide_classes_of_labeled_rows_only():
    codes = np.repeat([0, 1, 2, 3, -1], 10)
    trials = make_trials(codes, [2], 6, 0.0, np.random.RandomState(0))
    assert len({tuple(trial.hidden) for trial in trials}) == 6
    for trial in trials:
        assert (codes[trial.rows] >= 0).all()
        assert len(trial.rows) == 40
        np.testing.assert_array_equal(trial.codes < 0, np.isin(codes[trial.rows], trial.hidden))
        assert (trial.n_visible, trial.n_classes) == (2, 4)
        visible = trial.codes >= 0
        np.testing.assert_array_equal(trial.codes[visible], trial.truth[visible])


def test_trials_mask_rows_of_visible_classes_in_the_proportion_of_the_table():
    codes = np.repeat([0, 1, 2, -1], 20)
    (trial, *_) = make_trials(codes, [2], 3, 0.25, np.random.RandomState(0))
    assert (trial.codes == 0).sum() == 15
    # One row of a class stays labeled however many are masked.
    (trial, *_) = make_trials(codes, [2], 3, 0.99, np.random.RandomState(0))
    assert (trial.codes == 0).sum() == 1


@pytest.mark.parametrize(
    ("n_known", "expected"), [(1, [1]), (2, [2]), (3, [2]), (4, [2, 3]), (5, [3, 4]), (10, [5, 9])]
)
def test_half_of_the_classes_but_two_and_all_but_one_are_hidden(n_known, expected):
    assert numbers_hidden(n_known, None) == expected


@pytest.mark.parametrize(("n_trials", "sizes"), [(3, [2, 3, 2]), (8, 4 * [2, 3]), (20, [*(4 * [2, 3]), 2, 2])])
def test_numbers_of_hidden_classes_come_in_turn_as_long_as_there_are_combinations(n_trials, sizes):
    codes = np.repeat([0, 1, 2, 3, -1], 10)
    trials = make_trials(codes, [2, 3], n_trials, 0.0, np.random.RandomState(0))
    assert [len(trial.hidden) for trial in trials] == sizes
    assert len({tuple(trial.hidden) for trial in trials}) == len(trials)


def test_score_counts_masked_rows_and_no_names_of_hidden_classes():
    codes = np.repeat([0, 1, 2], 4)
    (trial,) = [trial for trial in make_trials(codes, [2], 3, 0.0, np.random.RandomState(0)) if trial.hidden[0] == 1]
    swapped = np.array([0, 0, 0, 0, 2, 2, 2, 2, 1, 1, 1, 1])
    assert Outcome(swapped, 0.0).score(trial) == 1
    taken_for_known = np.array([0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 2, 2])
    assert Outcome(taken_for_known, 0.0).score(trial) == 6 / 8
    assert Outcome(None, 0.0).score(trial) == 0


def test_agreement_is_the_mean_rand_index_with_the_others():
    rng = np.random.RandomState(0)
    parts = [rng.randint(3, size=30) for _ in range(3)]
    outcomes = [*(Outcome(part, 0.0) for part in parts), Outcome(None, 0.0)]
    found = agreement(outcomes, np.ones(30, dtype=bool))
    expected = np.mean([adjusted_rand_score(parts[0], parts[1]), adjusted_rand_score(parts[0], parts[2])])
    assert found[0] == pytest.approx(expected)
    assert np.isnan(found[3])


# Choice


def test_ties_go_to_the_first_and_failed_candidates_nowhere():
    scores = np.array([[0.8, 0.8], [0.8, 0.8], [np.nan, np.nan], [0.5, 0.6]])
    evidence = Evidence(scores, np.array([0.5, 0.5, np.nan, 0.5]), np.zeros(4))
    alive = np.array([0, 1, 3])
    kept, weights = choose(evidence, alive, "robust", consensus=True)
    assert kept.tolist() == [0, 1]
    assert weights[0] > weights[1] > 0
    assert weights.sum() == pytest.approx(1)
    assert choose(evidence, alive, "robust", consensus=False)[0].tolist() == [0]
    assert survivors(evidence, alive, 2, "robust").tolist() == [0, 1]


def test_votes_fall_with_strength_and_end_at_a_fifth_of_the_best():
    scores = np.array([[0.90], [0.93], [0.87], [0.93], [0.87]])
    evidence = Evidence(scores, np.array([0.5, 0.5, 0.5, 0.5, 0.59]), np.zeros(5))
    kept, weights = choose(evidence, np.arange(5), "hidden-classes", consensus=True)
    # Two steps of 0.03 leave a share of exp(-2) of the votes, which is below a fifth.
    assert kept.tolist() == [1, 3, 0]
    np.testing.assert_allclose(weights / weights[0], [1, 0.99, 0.98 * np.exp(-1)])
    # The agreement lifts the last one by 0.3 * 0.09.
    assert choose(evidence, np.arange(5), "robust", consensus=True)[0].tolist() == [1, 3, 0, 4]
    many = Evidence(np.full((9, 1), 0.9), np.full(9, 0.5), np.zeros(9))
    assert choose(many, np.arange(9), "robust", consensus=True)[0].tolist() == list(range(7))


def test_agreement_weighs_less_the_more_trials_there_are():
    agreements = np.array([0.9, 0.3])
    one, nine = (Evidence(np.full((2, n), 0.8), agreements, np.zeros(2)).strengths("robust") for n in (1, 9))
    np.testing.assert_allclose([one[0] - one[1], nine[0] - nine[1]], [0.3 * 0.6, 0.1 * 0.6])


def test_agreement_decides_only_where_asked():
    evidence = Evidence(np.array([[0.80], [0.82]]), np.array([0.9, 0.3]), np.zeros(2))
    assert choose(evidence, np.arange(2), "robust", consensus=False)[0].tolist() == [0]
    assert choose(evidence, np.arange(2), "hidden-classes", consensus=False)[0].tolist() == [1]


# Trials among all rows


def test_classes_hidden_among_all_rows_keep_their_numbers():
    codes = np.array([0, 1, 2, -1, 0, 1, 2, -1])
    for trial in make_trials(codes, [2], 3, 0.0, np.random.RandomState(0)):
        wide = among_all(trial, codes, 4)
        assert wide.rows.tolist() == list(range(8))
        np.testing.assert_array_equal(wide.codes[trial.rows], trial.codes)
        np.testing.assert_array_equal(wide.truth[trial.rows], trial.truth)
        assert (wide.codes[codes < 0] == -1).all()
        assert (wide.truth[codes < 0] == -1).all()
        assert (wide.n_visible, wide.n_classes) == (1, 1 + 2 + 4)


@pytest.mark.parametrize("n_clusters", [3, 5])
@pytest.mark.parametrize("seed", range(20))
def test_score_among_all_rows_is_the_best_f1_of_a_matching(n_clusters, seed):
    rng = np.random.RandomState(seed)
    codes = np.r_[np.repeat([0, 1, 2], [10, 20, 30]), np.full(40, -1)]
    (trial,) = [trial for trial in make_trials(codes, [2], 3, 0.0, rng) if trial.hidden.tolist() == [1, 2]]
    trial = among_all(trial, codes, 2)
    found = rng.randint(n_clusters, size=100)
    free, sizes = trial.codes < 0, [20, 30]
    of_pair = {
        (hidden, cluster): f1_score(trial.truth[free] == hidden, found[free] == cluster)
        for hidden in (1, 2)
        for cluster in range(1, n_clusters)
    }
    best = max(
        np.average([of_pair[1, first], of_pair[2, second]], weights=sizes)
        for first, second in permutations(range(1, n_clusters), 2)
    )
    assert Outcome(found, 0.0).score(trial) == pytest.approx(best)


def test_score_among_all_rows_is_one_for_the_truth_and_falls_with_every_mixture():
    codes = np.repeat([0, 1, 2, -1], 10)
    (trial,) = [t for t in make_trials(codes, [2], 3, 0.0, np.random.RandomState(0)) if t.hidden.tolist() == [1, 2]]
    trial = among_all(trial, codes, 1)
    assert Outcome(np.repeat([0, 3, 2, 1], 10), 0.0).score(trial) == 1
    # A hidden class that is one cluster with the unlabeled rows, one that was taken for a visible class, no cluster.
    assert Outcome(np.repeat([0, 1, 2, 2], 10), 0.0).score(trial) == pytest.approx((1 + 2 / 3) / 2)
    assert Outcome(np.repeat([0, 0, 1, 2], 10), 0.0).score(trial) == pytest.approx(1 / 2)
    assert Outcome(np.repeat([0, 1, 1, 1], 10), 0.0).score(trial) == pytest.approx(1 / 4)
    assert Outcome(np.zeros(40, dtype=int), 0.0).score(trial) == 0


@pytest.mark.parametrize(
    ("n_known", "n_hidden", "unlabeled", "n_clusters", "n_free", "expected"),
    [
        (3, None, "novel", 5, 20, 2),
        (3, 1, "novel", 5, 20, 2),
        (2, None, "novel", 3, 20, 0),
        (2, 1, "novel", 3, 20, 1),
        (3, None, "novel", 3, 20, 0),
        (3, None, "mixed", 5, 20, 0),
        (4, None, "novel", 6, 20, 0),
        # Ten rows of each known class among new ones of 30 and of 31.
        (3, None, "novel", 5, 60, 2),
        (3, None, "novel", 5, 62, 0),
    ],
)
def test_classes_are_hidden_among_all_rows_where_few_are_known_and_the_others_new(
    n_known, n_hidden, unlabeled, n_clusters, n_free, expected
):
    codes = np.r_[np.repeat(np.arange(n_known), 10), np.full(n_free, -1)]
    trials = make_trials(codes, numbers_hidden(n_known, n_hidden), 8, 0.0, np.random.RandomState(0))
    sample = Sample(np.zeros((len(codes), 1)), codes, unlabeled, 0.0, n_free, 10 * n_known)
    assert {trial.n_other for trial in harder(trials, sample, n_clusters)} == {expected}


def test_stability_breaks_near_ties_of_trials_among_all_rows():
    scores, agreements, stability = np.array([[0.80], [0.82]]), np.array([0.5, 0.3]), np.array([0.9, 0.6])
    evidence = Evidence(scores, agreements, stability, among_all=True)
    np.testing.assert_allclose(evidence.strengths("robust"), scores[:, 0] + 0.1 * agreements + 0.1 * stability)
    assert evidence.strengths("hidden-classes").tolist() == [0.80, 0.82]
    untried = Evidence(np.full((2, 1), np.nan), agreements, stability, among_all=True)
    for selection in ("robust", "hidden-classes"):
        np.testing.assert_allclose(untried.strengths(selection), agreements + 0.1 * stability)


def test_what_all_find_among_labeled_rows_is_told_apart_among_all_rows():
    """Thin ellipses: the known ones are far from each other, so that any clusterer finds them; the new ones are not."""
    rng = np.random.RandomState(3)
    y_true = np.repeat(np.arange(6), 50)
    turns = np.stack([np.linalg.qr(rng.normal(size=(2, 2)))[0] for _ in range(6)])
    centers = np.array([[0, 0], [24, 0], [0, 24], [8, 8], [16, 16], [8, 20]])
    X = centers[y_true] + np.einsum("ij,ijk->ik", rng.normal(size=(300, 2)) * [4, 0.4], turns[y_true])
    y = np.where(y_true < 3, y_true, -1)
    mixture = NovelRowsClustering(clusterer=GaussianMixture(n_init=10))
    candidates = [("k-means", NCDKMeans(n_init=2)), ("mixture", mixture)]
    model = NovelClassDiscovery(6, candidates=candidates, unlabeled="novel", consensus=False, random_state=0).fit(X, y)
    assert model.leaderboard_["candidate"][0] == "mixture"
    assert model.trials_among_ == "all"
    free = y < 0
    k_means = NCDKMeans(6, random_state=0).fit(X, y)
    gain = clustering_accuracy(y_true[free], model.labels_[free]) - clustering_accuracy(
        y_true[free], k_means.labels_[free]
    )
    assert gain > 0.1
    board = model.leaderboard_
    assert board["stability"].between(0, 1).all()
    np.testing.assert_allclose(
        board["strength"],
        board["hidden_accuracy"] + 0.1 / np.sqrt(3) * board["agreement"] + 0.1 * board["stability"],
    )
    display = LeaderboardDisplay.from_estimator(model)
    assert display.ax_.get_xlabel() == "F1 score on hidden known classes"
    told = " ".join(" ".join(_choice_lines(model)).split())
    assert "hidden classes: F1 score where known classes were hidden" in told
    assert "best first by both and how stable the partition is" in told


def test_accuracy_is_called_so():
    X, y, _ = make_partially_labeled_blobs(120, n_known=4, n_novel=2, random_state=0)
    model = NovelClassDiscovery(6, candidates=[("ward", NovelRowsClustering())], random_state=0).fit(X, y)
    assert model.trials_among_ == "labeled"
    assert LeaderboardDisplay.from_estimator(model).ax_.get_xlabel() == "accuracy on hidden known classes"
    told = " ".join(" ".join(_choice_lines(model)).split())
    assert "hidden classes: share of rows named rightly where" in told
    assert "stable" not in told


class Slow(KMeans):
    """Takes some seconds of a clock of its own."""

    clock, costs = 0.0, 1.0

    def fit_predict(self, X, y=None, sample_weight=None):
        Slow.clock += self.costs
        return super().fit_predict(X)


class Slower(Slow):
    costs = 3.0


def slow_model(monkeypatch, **params):
    monkeypatch.setattr("sklearn_sslcluster.auto._search.time.perf_counter", lambda: Slow.clock)
    monkeypatch.setattr(Slow, "clock", 0.0)
    X, y, _ = make_partially_labeled_blobs(120, n_known=3, n_novel=2, random_state=0)
    candidates = [
        (kind.__name__, NovelRowsClustering(clusterer=kind(n_init=1, random_state=0))) for kind in (Slow, Slower)
    ]
    model = NovelClassDiscovery(5, candidates=candidates, unlabeled="novel", refit=False, random_state=0, **params)
    return model.fit(X, y)


def test_time_goes_to_trials_before_stability(monkeypatch):
    """The first fits, three trials and the look at the stability take four seconds each."""
    board = slow_model(monkeypatch, time_budget=17).leaderboard_
    assert (board["trials"].tolist(), Slow.clock) == ([3, 3], 16)
    assert board["stability"].isna().all()
    board = slow_model(monkeypatch, time_budget=20).leaderboard_
    assert (board["trials"].tolist(), Slow.clock) == ([3, 3], 20)
    assert board["stability"].notna().all()


def test_stability_is_looked_at_where_it_counts_only(monkeypatch):
    assert slow_model(monkeypatch, selection="hidden-classes").leaderboard_["stability"].isna().all()
    assert Slow.clock == 16


class Failing(Slow):
    def fit_predict(self, X, y=None, sample_weight=None):
        super().fit_predict(X)
        raise ValueError("no clusters today")


def test_what_failed_is_not_fitted_for_its_stability(monkeypatch):
    monkeypatch.setattr(Slow, "clock", 0.0)
    failing = NovelRowsClustering(clusterer=Failing(n_init=1, random_state=0))
    X, y, _ = make_partially_labeled_blobs(120, n_known=3, n_novel=2, random_state=0)
    candidates = [("ward", NovelRowsClustering()), ("failing", failing)]
    model = NovelClassDiscovery(5, candidates=candidates, unlabeled="novel", random_state=0).fit(X, y)
    assert Slow.clock == 1
    assert model.leaderboard_["candidate"].tolist() == ["ward", "failing"]
    assert model.leaderboard_["stability"].notna().tolist() == [True, False]
