"""How much a representation of the rows is worth where few of them have a label."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from scipy.sparse import issparse
from sklearn.base import clone, is_classifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer, get_scorer_names, roc_auc_score
from sklearn.model_selection import StratifiedKFold, check_cv
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from sklearn.preprocessing import StandardScaler
from sklearn.utils import _safe_indexing, check_array, check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions, validate_params
from sklearn.utils.validation import _num_samples, check_consistent_length

from ..labels import UNLABELED, encode_partial_labels

_NEIGHBORS = 5


@dataclass(frozen=True)
class RepresentationScores:
    """What :func:`evaluate_representation` has measured.

    Parameters
    ----------
    label_fractions : ndarray of shape (n_fractions,)
        Shares of the training rows whose labels the classifier was given.
    n_labeled : ndarray of shape (n_fractions,)
        Mean number of these rows.
    scores : ndarray of shape (n_fractions, n_folds, n_repeats)
        Score on the rows held out, for every fold and every draw of labels.
    ood_auroc : ndarray of shape (n_folds,), default=None
        Area under the curve by which the distance to training rows tells `X_ood` from the rows held out; None without
        `X_ood`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_sslcluster.model_selection import RepresentationScores
    >>> scores = np.array([[[0.5, 0.7]], [[0.8, 0.8]]])
    >>> RepresentationScores(np.array([0.1, 1.0]), np.array([10, 100]), scores).mean
    array([0.6, 0.8])
    """

    label_fractions: np.ndarray
    n_labeled: np.ndarray
    scores: np.ndarray
    ood_auroc: np.ndarray | None = None

    @property
    def mean(self) -> np.ndarray:
        """Mean score of each fraction."""
        return self.scores.mean(axis=(1, 2))

    @property
    def std(self) -> np.ndarray:
        """Standard deviation of the scores of each fraction, over folds and draws."""
        return self.scores.std(axis=(1, 2))

    @property
    def table(self) -> Any:
        """One row a fraction, as a pandas DataFrame."""
        import pandas as pd

        return pd.DataFrame(
            {"n_labeled": self.n_labeled, "mean": self.mean, "std": self.std},
            index=pd.Index(self.label_fractions, name="label_fraction"),
        )


@dataclass(frozen=True)
class _Protocol:
    """What is done with every fold."""

    encoder: Any
    probe: Any
    fractions: np.ndarray
    n_repeats: int
    scorer: Any


@validate_params(
    {
        "encoder": [HasMethods(["fit", "transform"]), StrOptions({"passthrough"}), None],
        "y": ["array-like"],
        "protocol": [StrOptions({"linear", "knn"}), HasMethods(["fit", "predict"])],
        "label_fractions": ["array-like"],
        "cv": ["cv_object"],
        "n_repeats": [Interval(Integral, 1, None, closed="left")],
        "scoring": [StrOptions(set(get_scorer_names())), callable],
        "unlabeled_value": [Integral, str, "boolean", None],
        "random_state": ["random_state"],
        "n_jobs": [Integral, None],
    },
    prefer_skip_nested_validation=True,
)
def evaluate_representation(
    encoder: Any,
    X: Any,
    y: Any,
    *,
    protocol: Any = "linear",
    label_fractions: Any = (0.01, 0.1, 1.0),
    cv: Any = 5,
    n_repeats: int = 3,
    scoring: Any = "accuracy",
    X_ood: Any = None,
    unlabeled_value: Any = -1,
    random_state: Any = None,
    n_jobs: int | None = None,
) -> RepresentationScores:
    """Score an encoder by a plain classifier on its output, for few labels and for many.

    In each fold the encoder is fitted to all training rows, without labels. A classifier is then fitted to what it
    makes of a part of these rows, and scored on the rows held out, which neither has seen. An encoder that has learned
    from rows without labels should be worth most where labels are few.

    Parameters
    ----------
    encoder : estimator with ``fit`` and ``transform``, "passthrough" or None
        Transformer, Pipeline, or clusterer with ``transform``; cloned. ``"passthrough"`` and None stand for the columns
        as they are, the representation to beat.
    X : array-like or sparse matrix of shape (n_samples, n_features)
        Rows, or whatever table `encoder` takes.
    y : array-like of shape (n_samples,)
        Labels. Rows without one (-1, None, NaN or ``pd.NA``) are training rows of the encoder in every fold.
    protocol : {"linear", "knn"} or classifier, default="linear"
        ``"linear"``: logistic regression with ``C=1`` on the representation scaled to unit variance, the same for all
        fractions, so that no label is spent on choosing it. ``"knn"``: five nearest neighbors (fewer where there are
        fewer labeled rows a class) weighted by inverse distance, on the representation as it is. A classifier of your
        own is cloned, and may be a search that spends labels of the fraction on its parameters.
    label_fractions : array-like of float in (0, 1], default=(0.01, 0.1, 1.0)
        Shares of the labeled training rows that the classifier gets, drawn class by class, at least one row of each.
        Within one draw smaller fractions are part of larger ones.
    cv : int, splitter or iterable, default=5
        Folds of the labeled rows; an int stands for shuffled, stratified folds.
    n_repeats : int, default=3
        Draws of labeled rows in each fold. The encoder is fitted once a fold.
    scoring : str or callable, default="accuracy"
        Scorer of scikit-learn, ``scorer(classifier, Z, y)``, for whom classes are the integers from 0 in sorted order.
    X_ood : array-like or sparse matrix of shape (n_ood, n_features), default=None
        Rows of another source. If given, it is measured how well the mean distance to the five nearest training rows,
        in the scaled representation, tells them from the rows held out.
    unlabeled_value : int, str, bool or None, default=-1
        Value of `y` that stands for "no label", besides None, NaN and ``pd.NA``.
    random_state : int, RandomState instance or None, default=None
        Seed of the folds and of the draws. The encoder has its own.
    n_jobs : int, default=None
        Folds worked on at a time.

    Returns
    -------
    scores : RepresentationScores
        Scores by fraction, fold and draw, with ``mean``, ``std`` and ``table``.

    Raises
    ------
    ValueError
        If a fraction is not in (0, 1], fewer than two classes have labels, or the encoder returns something else than
        one row of finite numbers a row.

    See Also
    --------
    HiddenClassSearchCV : Scores on classes that have no label at all.

    Notes
    -----
    The protocol is that of benchmarks of self-supervised learning for medical images [1]_, where encoders are compared
    at 1, 10 and 100 percent of the labels, by data from elsewhere, and on rows of other sources.

    References
    ----------
    .. [1] V. Bundele et al., "Evaluating Self-Supervised Learning in Medical Imaging: A Benchmark for Robustness,
       Generalizability, and Multi-Domain Impact", arXiv:2412.19124, 2024.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from sklearn_sslcluster.model_selection import evaluate_representation
    >>> X, y = load_digits(return_X_y=True)
    >>> result = evaluate_representation(PCA(16, random_state=0), X, y, cv=3, n_repeats=1, random_state=0)
    >>> result.n_labeled.round().tolist(), result.mean.round(1).tolist()
    ([10.0, 120.0, 1198.0], [0.5, 0.9, 0.9])
    """
    labels = encode_partial_labels(y, unlabeled_value=unlabeled_value)
    check_consistent_length(X, labels.codes)
    if labels.n_known < 2:
        raise ValueError(f"y must have labels of at least two classes, got {labels.n_known}.")
    random_state = check_random_state(random_state)
    seeds = random_state.randint(np.iinfo(np.int32).max, size=2)
    plan = _Protocol(
        None if isinstance(encoder, str) else encoder,
        protocol,
        _checked_fractions(label_fractions),
        n_repeats,
        get_scorer(scoring) if isinstance(scoring, str) else scoring,
    )
    if not isinstance(protocol, str) and not is_classifier(protocol):
        raise TypeError(f"protocol must be 'linear', 'knn' or a classifier, got {protocol!r}.")
    splits = _splits(labels.codes, cv, int(seeds[0]))
    fold_seeds = np.random.RandomState(seeds[1]).randint(np.iinfo(np.int32).max, size=len(splits))
    results = Parallel(n_jobs=n_jobs)(
        delayed(_evaluate_fold)(plan, X, X_ood, labels.codes, train, test, int(seed))
        for (train, test), seed in zip(splits, fold_seeds, strict=True)
    )
    scores, n_labeled, areas = zip(*results, strict=True)
    return RepresentationScores(
        plan.fractions,
        np.mean(n_labeled, axis=0),
        np.stack(scores, axis=1),
        None if X_ood is None else np.array(areas),
    )


def _checked_fractions(label_fractions: Any) -> np.ndarray:
    fractions = list(label_fractions)
    wrong = [value for value in fractions if not isinstance(value, Real) or not 0 < float(value) <= 1]
    if wrong or not fractions:
        raise ValueError(f"label_fractions must be numbers in (0, 1], got {wrong[0] if wrong else 'none'}.")
    return np.array(fractions, dtype=np.float64)


def _splits(codes: np.ndarray, cv: Any, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(training rows, test rows) of each fold; rows without a label are training rows of all."""
    labeled, unlabeled = np.flatnonzero(codes != UNLABELED), np.flatnonzero(codes == UNLABELED)
    if isinstance(cv, Integral):
        cv = StratifiedKFold(int(cv), shuffle=True, random_state=seed)
    folds = check_cv(cv, codes[labeled], classifier=True).split(np.zeros((len(labeled), 1)), codes[labeled])
    return [(np.sort(np.append(labeled[train], unlabeled)), labeled[test]) for train, test in folds]


def _evaluate_fold(
    plan: _Protocol, X: Any, X_ood: Any, codes: np.ndarray, train: np.ndarray, test: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """(scores of each fraction and draw, numbers of labels, area under the curve) of one fold."""
    encoder = None if plan.encoder is None else clone(plan.encoder).fit(_safe_indexing(X, train), None)
    Z_train, Z_test = _embed(encoder, _safe_indexing(X, train)), _embed(encoder, _safe_indexing(X, test))
    scaler = StandardScaler(with_mean=not issparse(Z_train)).fit(Z_train)
    area = np.nan
    if X_ood is not None:
        area = _ood_area(*(scaler.transform(Z) for Z in (Z_train, Z_test, _embed(encoder, X_ood))))
    if plan.probe == "linear":
        Z_train, Z_test = scaler.transform(Z_train), scaler.transform(Z_test)
    rng = np.random.RandomState(seed)
    scores, n_labeled = np.empty((len(plan.fractions), plan.n_repeats)), np.empty(len(plan.fractions))
    for repeat in range(plan.n_repeats):
        ranks = _ranks_in_class(codes[train], rng)
        for i, fraction in enumerate(plan.fractions):
            rows = _first_of_each_class(codes[train], ranks, fraction)
            probe = _probe(plan.probe, codes[train][rows]).fit(Z_train[rows], codes[train][rows])
            scores[i, repeat] = plan.scorer(probe, Z_test, codes[test])
            n_labeled[i] = len(rows)
    return scores, n_labeled, area


def _embed(encoder: Any, X: Any) -> Any:
    Z = X if encoder is None else encoder.transform(X)
    try:
        Z = check_array(Z, accept_sparse="csr", dtype=[np.float64, np.float32])
    except ValueError as error:
        raise ValueError(f"encoder must give rows of finite numbers: {error}") from None
    if Z.shape[0] != _num_samples(X):
        raise ValueError(f"encoder must give one row a row, got {Z.shape[0]} for {_num_samples(X)}.")
    return Z


def _ranks_in_class(codes: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Place of each row in a random order of the rows of its class."""
    order = rng.permutation(len(codes))
    by_class = order[np.argsort(codes[order], kind="stable")]
    first = np.searchsorted(codes[by_class], codes[by_class])
    ranks = np.empty(len(codes), dtype=np.int64)
    ranks[by_class] = np.arange(len(codes)) - first
    return ranks


def _first_of_each_class(codes: np.ndarray, ranks: np.ndarray, fraction: float) -> np.ndarray:
    """The labeled rows of a fraction: the first of each class, at least one."""
    labeled = codes != UNLABELED
    sizes = np.bincount(codes[labeled])
    wanted = np.maximum(np.round(fraction * sizes), 1)
    return np.flatnonzero(labeled & (ranks < wanted[np.maximum(codes, 0)]))


def _probe(protocol: Any, codes: np.ndarray) -> Any:
    if not isinstance(protocol, str):
        return clone(protocol)
    if protocol == "linear":
        return LogisticRegression(max_iter=1000)
    n_neighbors = max(1, min(_NEIGHBORS, len(codes) // len(np.unique(codes))))
    return KNeighborsClassifier(n_neighbors, weights="distance")


def _ood_area(Z_train: Any, Z_test: Any, Z_ood: Any) -> float:
    """How well the mean distance to the nearest training rows tells rows of another source from held-out ones."""
    neighbors = NearestNeighbors(n_neighbors=min(_NEIGHBORS, Z_train.shape[0])).fit(Z_train)
    inside, outside = (neighbors.kneighbors(Z)[0].mean(axis=1) for Z in (Z_test, Z_ood))
    return float(roc_auc_score(np.repeat([0, 1], [len(inside), len(outside)]), np.append(inside, outside)))
