"""The public estimator checks pass on a sound clusterer, and each catches the fault it is meant for."""

import importlib
import sys
import warnings
from unittest import SkipTest

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import SkipTestWarning
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import check_is_fitted

from sklearn_sslcluster.base import PartialLabelMixin, fit_method, order_by_size
from sklearn_sslcluster.labels import UNLABELED, decode
from sklearn_sslcluster.utils.estimator_checks import (
    check_partial_label_estimator,
    parametrize_with_partial_label_checks,
    partial_label_checks,
)

CHECKS = {check.__name__: check for check in partial_label_checks()}


class SoundClusterer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, PartialLabelMixin, BaseEstimator):
    """K-means on distinct rows, seeded by the known means and then by the farthest rows: the least that passes."""

    _parameter_constraints: dict = {}

    def __init__(self, n_clusters="auto", *, block_size=None, max_iter=20, unlabeled_value=-1, random_state=None):
        self.n_clusters = n_clusters
        self.block_size = block_size
        self.max_iter = max_iter
        self.unlabeled_value = unlabeled_value
        self.random_state = random_state

    @fit_method
    def fit(self, X, y=None, sample_weight=None):
        X = self._validate_rows(X, reset=True, dtype=np.float64)
        labels = self._encode_labels(y, X)
        weight = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
        if weight.shape != (len(X),) or not weight.any():
            raise ValueError(f"sample_weight has the shape {weight.shape} for {len(X)} rows, or is zero everywhere.")
        kept = weight > 0
        table, row = np.unique(np.column_stack([labels.codes, X])[kept], axis=0, return_inverse=True)
        codes, distinct = table[:, 0].astype(int), table[:, 1:]
        weights = np.bincount(row.ravel(), weight[kept], len(table))
        centers = self._select(distinct, codes, weights, labels.n_known)
        found = np.where(labels.unlabeled, self._nearest(X, centers), labels.codes)
        n_known = labels.n_known
        sizes = np.bincount(found, weight, len(centers))[n_known:]
        order = np.r_[np.arange(n_known), n_known + order_by_size(sizes, centers[n_known:])]
        names = self._name_classes(labels.classes, len(sizes))
        self._set_fitted(
            **names,
            cluster_centers_=centers[order],
            labels_=decode(np.argsort(order)[found], names["classes_"]),
            n_clusters_=len(centers),
            n_iter_=self.max_iter,
            _n_features_out=len(centers),
        )
        return self

    def predict(self, X, *, reject=None):
        distances = self.transform(X)
        codes = distances.argmin(axis=1)
        if reject is not None:
            codes = np.where(distances.min(axis=1) > 100 / reject, UNLABELED, codes)
        return decode(codes, self.classes_)

    def transform(self, X):
        check_is_fitted(self)
        X = self._validate_rows(X, reset=False, dtype=np.float64)
        return np.linalg.norm(X[:, None] - self.cluster_centers_, axis=2)

    def novelty_score(self, X):
        n_known = len(self.classes_) - len(self.novel_classes_)
        return self.transform(X)[:, :n_known].min(axis=1, initial=1e9)

    def score(self, X, y=None):
        codes = self.predict(X)
        return float(silhouette_score(X, codes)) if 1 < len(np.unique(codes)) < len(codes) else 0.0

    def _select(self, X, codes, weights, n_known):
        """Centers, their number chosen by the silhouette of the distinct rows."""
        if not (codes == UNLABELED).any():
            return self._cluster(X, codes, weights, n_known, n_known)
        if self.n_clusters != "auto":
            wanted = max(self.n_clusters, n_known)
            if wanted > self.n_clusters:
                warnings.warn(f"n_clusters={self.n_clusters} was raised to the {n_known} known classes.", stacklevel=3)
            centers = self._cluster(X, codes, weights, n_known, wanted)
            if len(centers) < wanted:
                warnings.warn(f"Only {len(centers)} of {wanted} clusters: too few distinct rows.", stacklevel=3)
            return centers
        candidates = [self._cluster(X, codes, weights, n_known, k) for k in range(max(n_known, 1), n_known + 7)]
        quality = []
        for centers in candidates:
            found = np.where(codes == UNLABELED, self._nearest(X, centers), codes)
            enough = 1 < len(np.unique(found)) < len(found)
            quality.append(silhouette_score(X, found) if enough else 0)
        return candidates[int(np.argmax(quality))]

    def _cluster(self, X, codes, weights, n_known, k):
        free = codes == UNLABELED
        centers = [np.average(X[codes == code], axis=0, weights=weights[codes == code]) for code in range(n_known)]
        while len(centers) < k and free.any():
            gap = self._gap(X[free], centers)
            if centers and gap.max() == 0:
                break
            centers.append(X[free][gap.argmax()])
        centers = np.array(centers)
        for _ in range(self.max_iter):
            found = np.where(free, self._nearest(X, centers), codes)
            for code in np.unique(found):
                centers[code] = self._mean(X[found == code], weights[found == code])
        return centers

    def _gap(self, X, centers):
        return self._distances(X, centers).min(axis=1) if centers else np.ones(len(X))

    def _mean(self, X, weights):
        step = self.block_size or len(X)
        starts = range(0, len(X), step)
        return sum(weights[i : i + step] @ X[i : i + step] for i in starts) / weights.sum()

    def _distances(self, X, centers):
        return np.linalg.norm(X[:, None] - np.asarray(centers), axis=2)

    def _nearest(self, X, centers):
        return self._distances(X, centers).argmin(axis=1)


@parametrize_with_checks([SoundClusterer(max_iter=3)])
def test_sound_clusterer_passes_the_checks_of_scikit_learn(estimator, check):
    """Each check that check_estimator would run."""
    check(estimator)


@parametrize_with_partial_label_checks([SoundClusterer(max_iter=3)])
def test_sound_clusterer_passes(estimator, check):
    """Each check that check_partial_label_estimator would run."""
    check(estimator)


class DropsLabelsInFitPredict(SoundClusterer):
    def fit_predict(self, X, y=None):
        return self.fit(X).labels_


class OverwritesLabels(SoundClusterer):
    def fit(self, X, y=None, sample_weight=None):
        super().fit(X, y, sample_weight)
        self.labels_ = self.predict(X)
        return self


class SortsAllNames(SoundClusterer):
    def fit(self, X, y=None, sample_weight=None):
        super().fit(X, y, sample_weight)
        self.classes_ = self.classes_[::-1]
        return self


class TakesMissingForAClass(SoundClusterer):
    def _encode_labels(self, y, X):
        return super()._encode_labels(None if y is None else np.asarray(y).astype(str), X)


class SpeaksStrings(SoundClusterer):
    def predict(self, X, *, reject=None):
        return super().predict(X, reject=reject).astype(str)


class ReadsFractions(SoundClusterer):
    def _encode_labels(self, y, X):
        return super()._encode_labels(None if y is None else np.trunc(np.nan_to_num(y, posinf=9)), X)


class PredictsOtherwise(SoundClusterer):
    def transform(self, X):
        # Prefers the first class where two are about as near.
        return super().transform(X) - np.r_[1.5, np.zeros(len(self.classes_) - 1)]


class RenamesHalf(SoundClusterer):
    def rename_classes(self, mapping):
        labels = self.labels_
        super().rename_classes(mapping)
        self.labels_ = labels
        return self


class AlwaysDiscovers(SoundClusterer):
    def _select(self, X, codes, weights, n_known):
        k = n_known + 2 if self.n_clusters == "auto" else max(self.n_clusters, n_known)
        return self._cluster(X, codes, weights, n_known, k)


class NamesOneClassMore(SoundClusterer):
    def _name_classes(self, known, n_novel):
        return super()._name_classes(known, n_novel + 1)


class NeverDiscovers(SoundClusterer):
    def _select(self, X, codes, weights, n_known):
        return self._cluster(X, codes, weights, n_known, max(n_known, 1))


class RefusesManyClasses(SoundClusterer):
    def _encode_labels(self, y, X):
        labels = super()._encode_labels(y, X)
        if self.n_clusters != "auto" and self.n_clusters < labels.n_known:
            raise ValueError("n_clusters is less than the number of classes.")
        return labels


class NeedsTwoRowsAClass(SoundClusterer):
    def _encode_labels(self, y, X):
        labels = super()._encode_labels(y, X)
        if labels.n_known and np.bincount(labels.codes[~labels.unlabeled]).min() < 2:
            raise ValueError("The least populated class in y has only 1 member.")
        return labels


class RejectsNothing(SoundClusterer):
    def predict(self, X, *, reject=None):
        return super().predict(X)


class UnknownIsInfinitelyNovel(SoundClusterer):
    def novelty_score(self, X):
        n_known = len(self.classes_) - len(self.novel_classes_)
        return self.transform(X)[:, :n_known].min(axis=1, initial=np.inf)


class SeedsWithTheFirstRows(SoundClusterer):
    def fit(self, X, y=None, sample_weight=None):
        self._first = np.asarray(X)[0]
        return super().fit(X, y, sample_weight)

    def _gap(self, X, centers):
        return np.linalg.norm(X - self._first, axis=1) if len(centers) < 4 else super()._gap(X, centers)


class SeedsByTheNumberOfRows(SoundClusterer):
    def fit(self, X, y=None, sample_weight=None):
        self._n_rows = len(X)
        return super().fit(X, y, sample_weight)

    def _gap(self, X, centers):
        return np.random.RandomState(self._n_rows).uniform(size=len(X))


class IgnoresTheLastBlock(SoundClusterer):
    def _mean(self, X, weights):
        step = self.block_size or len(X)
        whole = max(len(X) // step * step, min(step, len(X)))
        return super()._mean(X[:whole], weights[:whole])


class DropsSampleWeight(SoundClusterer):
    def fit(self, X, y=None, sample_weight=None):
        return super().fit(X, y)


class AddsAbsoluteNoiseFloor(SoundClusterer):
    def _distances(self, X, centers):
        return np.maximum(super()._distances(X, centers), 1e-6)


class LosesDigits(SoundClusterer):
    def _distances(self, X, centers):
        X, centers = X.astype(np.float32), np.asarray(centers, dtype=np.float32)
        return (X**2).sum(axis=1)[:, None] - 2 * X @ centers.T + (centers**2).sum(axis=1)


class DividesByTheSpread(SoundClusterer):
    def _validate_rows(self, X, *, reset, **check_params):
        X = super()._validate_rows(X, reset=reset, **check_params)
        if reset:
            with np.errstate(invalid="ignore"):
                self.spread_ = (X - X.min(axis=0)) / np.ptp(X, axis=0)
        return X

    def _set_fitted(self, **attributes):
        super()._set_fitted(**attributes, spread_=self.spread_)


class CrashesOnOneRow(SoundClusterer):
    def _select(self, X, codes, weights, n_known):
        np.linalg.norm(np.diff(X, axis=0), axis=1).max()
        return super()._select(X, codes, weights, n_known)


class WantsAllClusters(SoundClusterer):
    def _select(self, X, codes, weights, n_known):
        centers = super()._select(X, codes, weights, n_known)
        k = len(centers) if self.n_clusters == "auto" else max(self.n_clusters, n_known)
        return np.vstack([centers, *[centers[-1:]] * (k - len(centers))])


class SplitsEqualRows(SoundClusterer):
    def _set_fitted(self, **attributes):
        labels = attributes["labels_"].copy()
        labels[-1] = attributes["classes_"][0] if labels[0] == labels[-1] else labels[-1]
        labels[-2:] = attributes["classes_"][[0, -1]]
        super()._set_fitted(**attributes | {"labels_": labels})


class ChangesItsParameter(SoundClusterer):
    def fit(self, X, y=None, sample_weight=None):
        super().fit(X, y, sample_weight)
        self.max_iter += 1
        return self


class Keeps(SoundClusterer):
    thing = None

    def _set_fitted(self, **attributes):
        super()._set_fitted(**attributes, thing_=type(self).thing)


class KeepsSparse(Keeps):
    thing = csr_array(np.eye(3))


class KeepsGenerator(Keeps):
    thing = {"deep": [np.random.RandomState(0)]}


class KeepsFunction(Keeps):
    thing = staticmethod(order_by_size)


class KeepsObjectsInArray(Keeps):
    thing = np.array([np.random.RandomState(0), None], dtype=object)


class KeepsTree(Keeps):
    thing = make_pipeline(NearestNeighbors(algorithm="kd_tree"))
    thing[0].fit(np.eye(3))


class KeepsSparseInNested(Keeps):
    thing = {"model": make_pipeline(KeepsSparse(2, max_iter=1).fit(np.eye(3)))}


class ForgetsWhenPickled(SoundClusterer):
    def __getstate__(self):
        state = super().__getstate__()
        if "cluster_centers_" in state:
            state = state | {"cluster_centers_": state["cluster_centers_"].round(1)}
        return state


class Foreign:
    pass


class KeepsForeignClass(Keeps):
    thing = Foreign()


class HasNoSeed(SoundClusterer):
    def _mean(self, X, weights):
        return super()._mean(X, weights) + np.random.default_rng().uniform(size=X.shape[1]) / 100


class UsesTheGlobalGenerator(SoundClusterer):
    def fit(self, X, y=None, sample_weight=None):
        np.random.uniform()  # noqa: NPY002
        return super().fit(X, y, sample_weight)


class ScoresWithTheGlobalGenerator(SoundClusterer):
    def score(self, X, y=None):
        np.random.uniform()  # noqa: NPY002
        return super().score(X, y)


class TransformsDifferentlyEachTime(SoundClusterer):
    def transform(self, X):
        return np.asarray(super().transform(X)) + np.random.default_rng().uniform()


class IgnoresColumnNames(SoundClusterer):
    def _validate_rows(self, X, *, reset, **check_params):
        return super()._validate_rows(X if reset else np.asarray(X), reset=reset, **check_params)


class NamesNoColumn(SoundClusterer):
    def _first_misplaced_column(self, X):
        return None


class BreaksInAPipeline(SoundClusterer):
    def score(self, X, y=None):
        return float("nan")


class ScoresMinusInertia(SoundClusterer):
    def score(self, X, y=None):
        return -float((self.transform(X).min(axis=1) ** 2).sum())


class HasNoGuard(SoundClusterer):
    def fit(self, X, y=None, sample_weight=None):
        fitted = SoundClusterer(**self.get_params()).fit(X, y, sample_weight)
        self.labels_ = fitted.labels_
        self.classes_ = fitted.classes_
        self.novel_classes_ = fitted.novel_classes_
        return self


class WritesIntoItsCenters(SoundClusterer):
    def fit(self, X, y=None, sample_weight=None):
        if hasattr(self, "cluster_centers_"):
            self.cluster_centers_[:] = 0
        return super().fit(X, y, sample_weight)


class SwallowsInterrupts(SoundClusterer):
    def fit(self, X, y=None, sample_weight=None):
        try:
            return super().fit(X, y, sample_weight)
        except KeyboardInterrupt:
            return self


FAULTS = [
    (DropsLabelsInFitPredict, "check_labels_reach_fit_predict", "fit_predict"),
    (OverwritesLabels, "check_labeled_rows_keep_their_label", "labels_ of the labeled rows"),
    (SortsAllNames, "check_classes_known_first", "classes_"),
    (TakesMissingForAClass, "check_label_kinds_round_trip", "integers and -1"),
    (TakesMissingForAClass, "check_pandas_labels_round_trip", "pandas"),
    (TakesMissingForAClass, "check_polars_labels_round_trip", "polars"),
    (SpeaksStrings, "check_label_kinds_round_trip", "predict"),
    (ReadsFractions, "check_unreadable_labels_refused", "fraction"),
    (PredictsOtherwise, "check_predict_agrees_with_labels", "overlapping"),
    (RenamesHalf, "check_rename_classes", "labels_"),
    (NamesOneClassMore, "check_all_labeled", "discovered"),
    (TakesMissingForAClass, "check_none_labeled", "labels_"),
    (NeedsTwoRowsAClass, "check_class_with_one_row", "only 1 member"),
    (AlwaysDiscovers, "check_auto_finds_no_new_class", "2 new classes"),
    (AlwaysDiscovers, "check_auto_finds_one_new_class", "2 new classes"),
    (NeverDiscovers, "check_auto_finds_one_new_class", "0 new classes"),
    (RefusesManyClasses, "check_n_clusters_raised_to_known", "n_clusters"),
    (AlwaysDiscovers, "check_n_clusters_raised_to_known", "no warning"),
    (RejectsNothing, "check_reject_leaves_far_rows_unassigned", "far"),
    (UnknownIsInfinitelyNovel, "check_novelty_score", "finite"),
    (SeedsWithTheFirstRows, "check_row_order_changes_nothing", "permuted"),
    (SeedsByTheNumberOfRows, "check_repeated_rows_change_nothing", "every row twice"),
    (IgnoresTheLastBlock, "check_block_size_changes_nothing", "block_size"),
    (DropsSampleWeight, "check_sample_weight_repeats_rows", "weights"),
    (AddsAbsoluteNoiseFloor, "check_scale_and_offset_change_nothing", "1e-12"),
    (LosesDigits, "check_scale_and_offset_change_nothing", "moved by 1e6"),
    (DividesByTheSpread, "check_constant_and_duplicate_columns", "spread_ are NaN"),
    (CrashesOnOneRow, "check_one_row", "zero-size array"),
    (WantsAllClusters, "check_fewer_rows_than_clusters", "n_clusters_ is 8"),
    (AlwaysDiscovers, "check_fewer_rows_than_clusters", "without a warning"),
    (WantsAllClusters, "check_few_distinct_rows", "n_clusters_ is 5"),
    (SplitsEqualRows, "check_identical_rows", "labels_"),
    (ChangesItsParameter, "check_clone_and_params", "max_iter"),
    (KeepsSparse, "check_fitted_state_is_plain", "csr_array"),
    (KeepsGenerator, "check_fitted_state_is_plain", "RandomState"),
    (KeepsFunction, "check_fitted_state_is_plain", "order_by_size"),
    (KeepsObjectsInArray, "check_fitted_state_is_plain", "RandomState"),
    (KeepsTree, "check_fitted_state_is_plain", "KDTree"),
    (KeepsSparseInNested, "check_fitted_state_is_plain", r"thing_\['model'\].*csr_array"),
    (ForgetsWhenPickled, "check_pickle_round_trip", "transform gives other numbers"),
    (KeepsForeignClass, "check_skops_round_trip", "Foreign"),
    (HasNoSeed, "check_same_seed_same_answer", "one seed"),
    (UsesTheGlobalGenerator, "check_global_generators_untouched", "fit moved"),
    (ScoresWithTheGlobalGenerator, "check_global_generators_untouched", "score moved"),
    (TransformsDifferentlyEachTime, "check_set_output_pandas", "other numbers"),
    (TransformsDifferentlyEachTime, "check_set_output_polars", "other numbers"),
    (IgnoresColumnNames, "check_misplaced_columns_refused", "re-ordered"),
    (NamesNoColumn, "check_misplaced_columns_refused", "First column that differs"),
    (BreaksInAPipeline, "check_pipeline_in_grid_search", "score"),
    (ScoresMinusInertia, "check_score_finds_number_of_clusters", "picked 1"),
    (HasNoGuard, "check_interrupted_fit_changes_nothing", "labels_"),
    (WritesIntoItsCenters, "check_interrupted_fit_changes_nothing", "in place"),
    (SwallowsInterrupts, "check_interrupted_fit_changes_nothing", "swallowed"),
]


@pytest.mark.parametrize(("faulty", "check", "said"), FAULTS, ids=lambda value: getattr(value, "__name__", None))
def test_fault_is_caught(faulty, check, said):
    with pytest.raises((AssertionError, ValueError), match=said):
        CHECKS[check]("faulty", faulty(max_iter=3))


def test_every_check_is_shown_to_fail():
    assert {check for _, check, _ in FAULTS} == set(CHECKS)


@pytest.mark.parametrize("check", partial_label_checks(), ids=lambda check: check.__name__)
def test_every_check_says_in_one_line_what_it_asserts(check):
    (line,) = check.__doc__.strip().splitlines()
    assert line.endswith(".")


class WithoutTransform(PartialLabelMixin, BaseEstimator):
    """A clusterer with the bare necessities, around one that has everything."""

    def __init__(self, *, unlabeled_value=-1):
        self.unlabeled_value = unlabeled_value

    def fit(self, X, y=None):
        self.inner_ = SoundClusterer(5, max_iter=1).fit(X, y)
        self.labels_, self.classes_ = self.inner_.labels_, self.inner_.classes_
        return self


def test_missing_parameters_and_methods_skip_a_check():
    for check, missing in (
        ("check_set_output_pandas", "transform"),
        ("check_set_output_polars", "transform"),
        ("check_novelty_score", "novelty_score"),
        ("check_block_size_changes_nothing", "block_size"),
        ("check_score_finds_number_of_clusters", "n_clusters"),
        ("check_sample_weight_repeats_rows", "sample_weight"),
    ):
        with pytest.raises(SkipTest, match=missing):
            CHECKS[check]("bare", WithoutTransform())


def hide_polars(monkeypatch):
    def import_module(name):
        if name == "polars":
            raise ModuleNotFoundError("hidden")
        return importlib.import_module(name)

    monkeypatch.setattr("sklearn_sslcluster.utils._check_tools.import_module", import_module)


def test_missing_package_skips_a_check(monkeypatch):
    hide_polars(monkeypatch)
    with pytest.raises(SkipTest, match="polars is not installed"):
        CHECKS["check_polars_labels_round_trip"]("sound", SoundClusterer())


def test_all_at_once_reports_each_check(monkeypatch):
    hide_polars(monkeypatch)
    with pytest.warns(SkipTestWarning, match="polars is not installed"):
        results = check_partial_label_estimator(SoundClusterer(max_iter=3))
    assert [result["check_name"] for result in results] == list(CHECKS)
    skipped = {result["check_name"] for result in results if result["status"] == "skipped"}
    assert skipped == {"check_polars_labels_round_trip", "check_set_output_polars"}
    assert all((result["exception"] is None) == (result["status"] == "passed") for result in results)


def test_all_at_once_raises_the_first_failure():
    with pytest.raises(AssertionError, match="OverwritesLabels: labels_ of the labeled rows"):
        check_partial_label_estimator(OverwritesLabels(max_iter=3))


def test_classes_are_refused():
    with pytest.raises(TypeError, match="instance"):
        check_partial_label_estimator(SoundClusterer)
    with pytest.raises(TypeError, match="instance"):
        parametrize_with_partial_label_checks([SoundClusterer])


def test_ids_name_the_class_and_the_check():
    mark = parametrize_with_partial_label_checks([SoundClusterer()]).mark
    assert [case.id for case in mark.args[1]] == [f"SoundClusterer-{name}" for name in CHECKS]


def test_interrupt_check_restores_the_tracer():
    def tracer(frame, event, argument):
        return None

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        CHECKS["check_interrupted_fit_changes_nothing"]("sound", SoundClusterer(max_iter=1))
        during = sys.gettrace()
    finally:
        sys.settrace(before)
    assert during is tracer


def test_checks_leave_the_estimator_alone():
    estimator = SoundClusterer(max_iter=3)
    before = dict(vars(estimator))
    check_partial_label_estimator(estimator, on_skip=None)
    assert vars(estimator) == before
