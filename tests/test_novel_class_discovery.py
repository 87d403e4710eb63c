"""A portfolio chosen by hiding known classes: trials, choice, count, consensus, and the estimator."""

import warnings
from itertools import permutations

import matplotlib as mpl
import numpy as np
import pytest
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.datasets import load_digits, make_moons
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_sslcluster.auto import LeaderboardDisplay, NovelClassDiscovery, default_candidates
from sklearn_sslcluster.auto._choice import Evidence, choose
from sklearn_sslcluster.auto._count import calibrate, vote
from sklearn_sslcluster.auto._search import estimate_known_share, row_sample
from sklearn_sslcluster.datasets import hide_classes, make_partially_labeled_blobs
from sklearn_sslcluster.discovery import NCDKMeans, NovelRowsClustering, SemiSupervisedKMeans
from sklearn_sslcluster.metrics import clustering_accuracy
from sklearn_sslcluster.numerics import agree, share_of_known

mpl.use("Agg")
QUICK = [("k-means", NCDKMeans(n_init=2)), ("ward", NovelRowsClustering())]


@pytest.fixture(scope="module")
def blobs():
    return make_partially_labeled_blobs(200, n_known=4, n_novel=2, n_features=3, random_state=0)


class Picky(KMeans):
    """Fails on few rows, as trials have."""

    def fit_predict(self, X, y=None, sample_weight=None):
        if len(X) < 60:
            raise ValueError("too few rows for me")
        return super().fit_predict(X)


class Broken(KMeans):
    """Fails."""

    def fit_predict(self, X, y=None, sample_weight=None):
        raise ValueError("no clusters today")


def quick(**params):
    return NovelClassDiscovery(**{"candidates": QUICK, "n_splits": 2, "random_state": 0} | params)


# Shares of known rows


@pytest.mark.parametrize("labeled_fraction", [1.0, 0.8, 0.5])
def test_share_of_known_rows_is_found(labeled_fraction):
    X, y, y_true = make_partially_labeled_blobs(
        900, n_known=3, n_novel=3, n_features=4, class_sep=6, labeled_fraction=labeled_fraction, random_state=0
    )
    expected = np.mean(y_true[y < 0] < 3)
    assert share_of_known(X, y >= 0) == pytest.approx(expected, abs=0.1)
    assert estimate_known_share(X, y) == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize("truth", [0.2, 0.5])
def test_share_is_an_upper_bound_where_classes_overlap(truth):
    """The novel class lies amid the known one as far as half of its rows: a bound, and not the trivial one."""
    rng, n_known = np.random.RandomState(0), round(400 * truth)
    labeled, known = rng.normal(size=(400, 2)), rng.normal(size=(n_known, 2))
    novel = rng.normal([2, 0], 1, size=(400 - n_known, 2))
    share = share_of_known(np.vstack([labeled, known, novel]), np.arange(800) < 400)
    assert truth - 0.05 < share < truth + 0.5 * (1 - truth)


def test_the_case_is_told_from_the_rows(blobs):
    X, y, y_true = blobs
    assert quick(n_clusters=6).fit(X, y).unlabeled_ == "novel"
    mixed = np.where(np.arange(len(y)) % 3 == 0, -1, y)
    model = quick(n_clusters=6, candidates=[("k-means", SemiSupervisedKMeans(n_init=5))]).fit(X, mixed)
    assert model.unlabeled_ == "mixed"
    assert clustering_accuracy(y_true, model.labels_) == 1
    assert quick(n_clusters=6, unlabeled="mixed").fit(X, y).unlabeled_ == "mixed"


# Count


def test_half_of_the_bias_is_taken_from_an_answer():
    answers = np.array([12, 4, 7])
    told = np.array([[6, 6], [2, 2], [np.nan, np.nan]])
    corrected, errors = calibrate(answers, told, np.array([2.0, 2.0]))
    # Three times too many: divided by two; no bias: as it is; nothing seen: as it is.
    assert corrected.tolist() == [6, 4, 7]
    np.testing.assert_allclose(errors[:2], [0.5, 0.0])
    assert np.isnan(errors[2])


def test_the_counter_that_was_right_outvotes_those_that_were_not():
    counted = vote(["a", "b", "c"], np.array([5, 9, 9]), np.array([0.0, 1.0, 1.0]))
    assert counted.n_novel == 5
    assert counted.votes.sum() == pytest.approx(1)
    counted = vote(["a", "b", "c"], np.array([5, 9, 9]), np.array([np.nan, np.nan, np.nan]))
    assert (counted.low, counted.n_novel, counted.high) == (5, 9, 9)


# Consensus


def test_partitions_are_translated_so_that_most_rows_agree():
    rng = np.random.RandomState(0)
    base = rng.randint(6, size=200)
    partitions = []
    for permutation in ([2, 3, 4, 5], [5, 4, 3, 2], [3, 2, 5, 4]):
        renamed = np.r_[0, 1, permutation][base]
        noise = rng.uniform(size=200) < 0.1
        partitions.append(np.where(noise, rng.randint(6, size=200), renamed))
    found = agree(partitions, np.array([0.4, 0.3, 0.3]), 2, 6)
    best = 0
    for first in permutations(range(2, 6)):
        for second in permutations(range(2, 6)):
            codes = [partitions[0], np.r_[0, 1, first][partitions[1]], np.r_[0, 1, second][partitions[2]]]
            pairs = (codes[0] == codes[1]).sum() + (codes[0] == codes[2]).sum() + (codes[1] == codes[2]).sum()
            best = max(best, pairs)
    ours = [translation[part] for translation, part in zip(found, partitions, strict=True)]
    assert (ours[0] == ours[1]).sum() + (ours[0] == ours[2]).sum() + (ours[1] == ours[2]).sum() == best
    assert all(translation[:2].tolist() == [0, 1] for translation in found)


def test_sample_is_distinct_and_keeps_every_class():
    X = np.repeat(np.arange(50.0)[:, None], 2, axis=0)
    codes = np.full(100, -1)
    codes[:2] = 0
    rows = row_sample(X, codes, 10, np.random.RandomState(0))
    assert len(np.unique(X[rows])) == len(rows) <= 12
    assert (codes[rows] == 0).sum() == 1
    assert len(row_sample(X, codes, 200, np.random.RandomState(0))) == 50


# The estimator


def test_planted_classes_are_found_and_counted(blobs):
    X, y, y_true = blobs
    model = NovelClassDiscovery(n_splits=2, random_state=0).fit(X, y)
    assert model.novel_classes_.tolist() == [4, 5]
    assert clustering_accuracy(y_true, model.labels_) == 1
    low, high = model.n_clusters_interval_
    assert low <= 6 <= high
    np.testing.assert_array_equal(model.predict_novel(X[y < 0]), model.labels_[y < 0])
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1)


def test_a_number_that_would_be_estimated_changes_nothing_when_given(blobs):
    X, y, _ = blobs
    estimated, given = quick().fit(X, y), quick(n_clusters=6).fit(X, y)
    assert estimated.n_clusters_ == 6
    np.testing.assert_array_equal(estimated.labels_, given.labels_)
    assert estimated.trial_scores_ == given.trial_scores_


def test_jobs_change_nothing(blobs):
    X, y, _ = blobs
    alone, beside = quick(n_clusters=6, n_jobs=1).fit(X, y), quick(n_clusters=6, n_jobs=2).fit(X, y)
    np.testing.assert_array_equal(alone.labels_, beside.labels_)
    assert alone.trial_scores_ == beside.trial_scores_


def test_curved_classes_are_left_to_what_follows_neighbors():
    parts = [make_moons(100, noise=0.05, random_state=seed) for seed in range(3)]
    X = np.vstack([rows + np.array([4 * i, 0]) for i, (rows, _) in enumerate(parts)])
    truth = np.concatenate([2 * i + moon for i, (_, moon) in enumerate(parts)])
    y = np.where(truth < 4, truth, -1)
    candidates = [entry for entry in default_candidates("novel") if entry[0] in ("k-means", "spectral")]
    model = NovelClassDiscovery(6, candidates=candidates, n_splits=4, random_state=0).fit(X, y)
    assert model.leaderboard_data_["candidate"][0] == "spectral"
    k_means = KMeans(2, n_init=10, random_state=0).fit_predict(X[y < 0])
    found = clustering_accuracy(truth[y < 0], model.predict_novel(X[y < 0]))
    assert found > clustering_accuracy(truth[y < 0], k_means) + 0.05


def test_known_classes_that_mislead_do_little_harm():
    """The known classes vary widely in what tells the new ones apart: their metric hides these, and trials like it."""
    losses = []
    for seed in range(3):
        rng = np.random.RandomState(seed)
        truth = np.repeat(np.arange(6), 40)
        X = np.column_stack(
            [
                np.where(truth < 3, 10 * truth, 30) + rng.normal(size=240),
                np.where(truth < 3, 25 * rng.normal(size=240), 9 * (truth - 3) + rng.normal(size=240)),
            ]
        )
        X, y = StandardScaler().fit_transform(X), np.where(truth < 3, truth, -1)
        free = y < 0
        candidates = [entry for entry in default_candidates("novel") if entry[0] in ("k-means", "ward", "spectral")]
        model = NovelClassDiscovery(6, candidates=candidates, n_splits=3, random_state=seed).fit(X, y)
        plain = clustering_accuracy(truth[free], KMeans(3, n_init=10, random_state=seed).fit_predict(X[free]))
        assert plain > 0.95
        losses.append(plain - clustering_accuracy(truth[free], model.predict_novel(X[free])))
    assert np.mean(losses) < 0.05


def test_new_digits_are_found():
    digits = load_digits()
    rows = np.random.RandomState(0).permutation(len(digits.target))[:600]
    X, truth = StandardScaler().fit_transform(digits.data[rows]), digits.target[rows]
    y = hide_classes(truth, n_novel=4, random_state=1)
    candidates = [entry for entry in default_candidates("novel") if entry[0] in ("k-means", "ward", "neighbors")]
    model = NovelClassDiscovery(10, candidates=candidates, n_splits=2, random_state=0).fit(X, y)
    free = y < 0
    accuracy = clustering_accuracy(truth[free], model.predict_novel(X[free]))
    plain = clustering_accuracy(truth[free], KMeans(4, n_init=10, random_state=0).fit_predict(X[free]))
    assert accuracy > 0.85
    assert accuracy > plain - 0.02


def test_works_at_the_end_of_a_pipeline_without_labels(blobs):
    X, _, y_true = blobs
    model = make_pipeline(StandardScaler(), NovelClassDiscovery(6, random_state=0)).fit(X)
    assert clustering_accuracy(y_true, model[-1].labels_) == 1
    assert len(model[-1].hidden_classes_) == 0


def test_without_a_consensus_the_simplest_of_near_ties_is_kept():
    """The paired differences of the second to the best are 0.03, -0.01, 0: 0.007 in the mean, standard error 0.012."""
    best = np.array([0.9, 0.8, 0.7])
    scores = np.array([best - [0.04, 0.03, 0.05], best - [0.03, -0.01, 0], best, best - [0.0, 0.01, 0]])
    evidence = Evidence(scores, np.zeros(4), np.zeros(4))
    kept, weights = choose(evidence, np.arange(4), "robust", consensus=False)
    assert (kept.tolist(), weights.tolist()) == ([1], [1.0])
    # The same difference in every trial is no accident, and a large one is not excused by an error as large.
    for off in (best - 0.005, best - [0.2, 0, 0]):
        evidence = Evidence(np.array([off, best]), np.zeros(2), np.zeros(2))
        assert choose(evidence, np.arange(2), "robust", consensus=False)[0].tolist() == [1]


def test_without_trials_agreement_decides_whatever_is_asked():
    evidence = Evidence(np.empty((3, 0)), np.array([0.2, 0.29, 0.3]), np.zeros(3))
    assert choose(evidence, np.arange(3), "hidden-classes", consensus=True)[0].tolist() == [2, 1]


@pytest.mark.parametrize("n_known", [1, 2])
def test_few_known_classes_are_warned_of(blobs, n_known):
    X, _, y_true = blobs
    rests = "rests on 1 trial with hidden classes, and on how far" if n_known == 2 else "rests on how far"
    with pytest.warns(UserWarning, match=f"too little to hide classes .* {rests}"):
        model = quick(n_clusters=6, unlabeled="novel").fit(X, np.where(y_true < n_known, y_true, -1))
    assert len(model.hidden_classes_) == (1 if n_known == 2 else 0)
    assert (model.trials_among_, model.leaderboard_["stability"].notna().all()) == ("labeled", True)
    assert model.n_clusters_ == 6


def test_time_budget_leaves_an_answer(blobs):
    X, y, _ = blobs
    with pytest.warns(UserWarning, match="time_budget=1e-06 left no time to hide known classes"):
        model = quick(n_clusters=6, time_budget=1e-6).fit(X, y)
    assert (model.hidden_classes_, model.trial_scores_) == ([], [[], []])
    assert model.leaderboard_data_["weight"].tolist() == [1.0, 0.0]
    assert model.leaderboard_data_["trials"].tolist() == [0, 0]
    assert len(model.labels_) == len(X)


def test_a_budget_leaves_the_count_to_k_means(blobs):
    X, y, _ = blobs
    model = quick(time_budget=20).fit(X, y)
    assert set(model.n_clusters_votes_) == {"silhouette in columns", "silhouette in metric"}
    assert model.n_clusters_ == 6


def test_trials_end_with_the_budget(blobs, monkeypatch):
    """With a clock that says how much time each round takes."""
    X, y, _ = blobs
    ticks = iter(range(10_000))
    monkeypatch.setattr("sklearn_sslcluster.auto._search.time.perf_counter", lambda: next(ticks))
    model = quick(n_clusters=6, n_splits=6, time_budget=20).fit(X, y)
    assert 0 < max(model.leaderboard_data_["trials"]) < 6


@pytest.mark.parametrize("clusterer", [KMeans(n_init=3), GaussianMixture(n_init=2), AgglomerativeClustering()])
def test_clusterers_of_scikit_learn_may_be_candidates(blobs, clusterer):
    X, y, y_true = blobs
    for candidate in (clusterer, make_pipeline(StandardScaler(), clusterer)):
        model = quick(n_clusters=6, candidates=[("theirs", candidate)]).fit(X, y)
        assert clustering_accuracy(y_true, model.labels_) == 1
        np.testing.assert_array_equal(model.predict(X[y >= 0]), y[y >= 0])


def test_one_column_is_enough():
    rng = np.random.RandomState(0)
    truth = np.repeat(np.arange(5), 60)
    X = (10 * truth + rng.normal(size=300))[:, None]
    model = quick().fit(X, np.where(truth < 3, truth, -1))
    assert clustering_accuracy(truth, model.labels_) == 1


@pytest.mark.parametrize(("n_labeled", "expected"), [(60, 60), (1900, 75), (1960, 110)])
def test_what_there_is_less_of_stays_in_the_sample(n_labeled, expected):
    X = np.random.RandomState(0).normal(size=(2000, 2))
    codes = np.full(2000, -1)
    codes[:n_labeled] = np.arange(n_labeled) % 3
    rows = row_sample(X, codes, 150, np.random.RandomState(0))
    assert len(rows) <= 155
    assert (codes[rows] >= 0).sum() == pytest.approx(expected, abs=3)
    assert (codes[rows] < 0).sum() == pytest.approx(150 - expected, abs=3)


def test_order_of_the_rows_changes_no_trial(blobs):
    X, y, _ = blobs
    order = np.random.RandomState(1).permutation(len(X))
    # Equal rows of two classes: whichever stands first.
    X = X.copy()
    X[np.flatnonzero(y == 1)[:3]] = X[np.flatnonzero(y == 0)[:3]]
    straight, shuffled = quick(n_clusters=6).fit(X, y), quick(n_clusters=6).fit(X[order], y[order])
    assert straight.trial_scores_ == shuffled.trial_scores_
    np.testing.assert_array_equal(straight.labels_[order], shuffled.labels_)


def test_a_failed_trial_counts_as_nothing_found(blobs):
    X, y, _ = blobs
    candidates = [*QUICK, ("picky", NovelRowsClustering(clusterer=Picky()))]
    kept = (y < 0) | (np.arange(len(y)) % 2 == 0)
    model = quick(n_clusters=6, candidates=candidates).fit(X[kept], y[kept])
    board = model.leaderboard_.set_index("candidate")
    assert board.loc["picky", "hidden_accuracy"] == 0
    assert board.loc["picky", "weight"] == 0


def test_no_trials_are_warned_of_though_many_classes_are_known(blobs):
    X, y, y_true = blobs
    few = np.full(len(y), -1)
    for code in range(4):
        few[np.flatnonzero(y_true == code)[:2]] = code
    with pytest.warns(UserWarning, match="8 labeled rows, known classes: 4"):
        model = quick(n_clusters=6).fit(X, few)
    assert model.hidden_classes_ == []


def test_a_candidate_that_fails_is_left_out(blobs):
    X, y, _ = blobs
    broken = NovelRowsClustering(clusterer=Broken())
    model = quick(n_clusters=6, candidates=[*QUICK, ("broken", broken)]).fit(X, y)
    board = model.leaderboard_
    assert board["candidate"].iloc[-1] == "broken"
    assert np.isnan(board["hidden_accuracy"].iloc[-1])
    with pytest.raises(ValueError, match=r"No candidate could be fitted.*no clusters today"):
        quick(n_clusters=6, candidates=[("broken", broken)]).fit(X, y)


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        ([], "candidates is empty"),
        ([NCDKMeans()], "must hold"),
        ([("a", 3)], "must hold a name and an estimator"),
        ([("a", NCDKMeans()), ("a", NCDKMeans())], "'a' twice"),
    ],
)
def test_malformed_candidates_are_refused(blobs, candidates, message):
    X, y, _ = blobs
    with pytest.raises(ValueError, match=message):
        quick(candidates=candidates).fit(X, y)


def test_hiding_all_classes_is_refused(blobs):
    X, y, _ = blobs
    with pytest.raises(ValueError, match="n_hidden=4 leaves none of the 4 known classes visible"):
        quick(n_hidden=4).fit(X, y)


def test_without_a_last_fit_there_is_a_leaderboard_only(blobs):
    X, y, _ = blobs
    model = quick(n_clusters=6, refit=False).fit(X, y)
    assert set(model.leaderboard_["candidate"]) == {"k-means", "ward"}
    for call in (model.predict, model.rename_classes):
        with pytest.raises(NotFittedError):
            call(X)


class Slow(KMeans):
    """Takes three seconds, says the clock."""

    clock = 0.0

    def fit_predict(self, X, y=None, sample_weight=None):
        Slow.clock += 3
        return super().fit_predict(X)


def test_what_does_not_fit_the_budget_is_left_to_the_quickest(blobs, monkeypatch):
    """Both are equally good; the first of the list would be fitted once more to all rows, in three seconds."""
    X, y, _ = blobs
    candidates = [
        ("slow", NovelRowsClustering(clusterer=Slow(n_init=1, random_state=0))),
        ("ward", NovelRowsClustering()),
    ]
    monkeypatch.setattr("sklearn_sslcluster.auto._search.time.perf_counter", lambda: Slow.clock)
    monkeypatch.setattr(Slow, "clock", 0.0)
    model = quick(n_clusters=6, candidates=candidates, consensus=False, n_splits=1, time_budget=7).fit(X, y)
    assert Slow.clock == 6
    assert model.leaderboard_["candidate"].tolist() == ["ward", "slow"]
    assert model.leaderboard_["chosen"].tolist() == [True, False]
    assert model.leaderboard_["trials"].tolist() == [1, 1]
    assert (model.leaderboard_["strength"] == model.leaderboard_["strength"][0]).all()


class FailsOnAll(KMeans):
    """Fails on the whole table, and not on the rows that candidates are compared on."""

    def fit_predict(self, X, y=None, sample_weight=None):
        if len(X) > 40:
            raise ValueError("too many rows for me")
        return super().fit_predict(X)


def test_leaderboard_tells_who_votes_in_the_end(blobs):
    X, y, _ = blobs
    failing = NovelRowsClustering(clusterer=FailsOnAll(n_init=1, random_state=0))
    model = quick(n_clusters=6, candidates=[("failing", failing), *QUICK], max_rows=80).fit(X, y)
    board = model.leaderboard_.set_index("candidate")
    assert board.index[-1] == "failing"
    assert not board.loc["failing", "chosen"]
    np.testing.assert_allclose(board["weight"][board["chosen"]], model.weights_)
    assert board["weight"].sum() == pytest.approx(1)
    assert board.loc["failing", "strength"] > 1
    only = quick(n_clusters=6, candidates=[("failing", failing), *QUICK], max_rows=80, consensus=False).fit(X, y)
    assert only.leaderboard_["candidate"].tolist() == ["k-means", "failing", "ward"]
    assert only.weights_.tolist() == [1.0]


def test_leaderboard_has_the_scores_of_each_trial(blobs):
    X, y, _ = blobs
    model = quick(n_clusters=6, n_splits=3).fit(X, y)
    board = model.leaderboard_
    trials = board[["trial0_score", "trial1_score", "trial2_score"]].to_numpy()
    np.testing.assert_array_equal(trials, model.trial_scores_)
    np.testing.assert_allclose(trials.mean(axis=1), board["hidden_accuracy"])
    np.testing.assert_allclose(trials.std(axis=1, ddof=1) / np.sqrt(3), board["se"])


@pytest.mark.parametrize("n_novel", [0, 1])
def test_no_new_class_and_a_single_one_are_possible_answers(n_novel):
    X, y, y_true = make_partially_labeled_blobs(
        200, n_known=4, n_novel=n_novel, labeled_fraction=0.5, n_features=3, random_state=0
    )
    model = quick(candidates=[("k-means", SemiSupervisedKMeans(n_init=2))]).fit(X, y)
    assert len(model.novel_classes_) == n_novel
    assert clustering_accuracy(y_true, model.labels_) > 0.95


def test_best_estimator_is_a_pipeline_of_its_own(blobs):
    X, y, y_true = blobs
    model = quick(n_clusters=6, consensus=False).fit(X, y)
    assert len(model.estimators_) == 1
    assert clustering_accuracy(y_true, model.best_estimator_.predict(X)) == 1


def test_suggested_rows_name_the_classes_first(blobs):
    X, y, y_true = blobs
    model = quick(n_clusters=6).fit(X, y)
    rows = model.suggest_rows(8)
    assert len(set(rows.tolist())) == 8
    assert (y[rows] < 0).all()
    assert set(model.labels_[rows[:2]]) == set(model.novel_classes_)
    assert len(set(y_true[rows[:2]])) == 2
    with pytest.raises(ValueError, match="n must be an integer of at least 1"):
        model.suggest_rows(0)


def test_leaderboard_is_drawn(blobs):
    X, y, _ = blobs
    model = quick(n_clusters=6).fit(X, y)
    display = LeaderboardDisplay.from_estimator(model)
    assert [text.get_text() for text in display.ax_.get_yticklabels()] == ["k-means", "ward"]
    assert display.figure_ is display.ax_.figure
    assert LeaderboardDisplay.from_estimator(model, ax=display.ax_).ax_ is display.ax_


def test_default_candidates_depend_on_the_case():
    names = [name for name, _, _ in default_candidates("novel")]
    assert names == ["k-means", "ward", "spectral", "mixture", "neighbors", "projection"]
    assert [name for name, _, _ in default_candidates("mixed", n_unlabeled=20)] == ["k-means", "mixture"]
    grids = [grid for _, _, grid in default_candidates("novel", n_known=0)]
    assert all(grid == {"metric": ["passthrough"]} for grid in grids)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        default_candidates("mixed", n_features=100)
    with pytest.raises(ValueError, match="unlabeled must be 'mixed' or 'novel', got 'auto'"):
        default_candidates("auto")
