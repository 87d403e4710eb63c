"""The number of novel classes, by criteria whose errors are seen where known classes are hidden."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.cluster import KMeans
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score
from sklearn.mixture import GaussianMixture
from sklearn.utils.parallel import Parallel, delayed

from ..discovery import KnownClassMetric, NCDKMeans, SemiSupervisedKMeans
from ..labels import UNLABELED
from ._trials import Trial

_METRICS: dict[str, float | None] = {"columns": None, "metric": 0.4}
_CRITERIA = ("bic", "silhouette")
# Rows below which a neighbor embedding shows nothing.
_FEWEST_EMBEDDED = 60
_PERPLEXITY, _ROWS_PER_PERPLEXITY = 20.0, 8.0
_REGULARIZATION = 1e-3
# No number is tried with fewer rows a cluster.
_ROWS_PER_CLUSTER = 8
# A cluster is of a known class if it holds labeled rows as often as half of what known classes do.
_KNOWN = 0.5
# Relative errors are counted as if each counter had made this one, too; votes fall with their square.
_PRIOR_ERROR = 0.1
# Share of the bias seen where classes were hidden that is taken from an answer: few trials tell it roughly.
_CORRECTED = 0.5
# Where classes are hidden no counter tries more than so many times their number.
_MOST_TIMES = 4
# Shares of the votes between which the interval reaches.
_INTERVAL = (0.1, 0.9)


@dataclass(frozen=True)
class CountSettings:
    """How is counted.

    Attributes
    ----------
    unlabeled : {"mixed", "novel"}
    most : int
        Novel classes at most.
    seed : int
    quick : bool
        K-means alone counts.
    """

    unlabeled: str
    most: int
    seed: int
    quick: bool = False


@dataclass(frozen=True)
class Counted:
    """Answers of the counters.

    Attributes
    ----------
    names : list of str
    answers : ndarray of shape (n_counters,)
        Novel classes that each counts among the unlabeled rows.
    errors : ndarray of shape (n_counters,)
        Mean relative error where classes were hidden; NaN where none could be.
    votes : ndarray of shape (n_counters,)
        Weights, which sum to 1.
    n_novel, low, high : int
        Weighted median, and the interval.
    """

    names: list[str]
    answers: np.ndarray
    errors: np.ndarray
    votes: np.ndarray
    n_novel: int
    low: int
    high: int


def count_novel(
    X: np.ndarray,
    codes: np.ndarray,
    trials: list[Trial],
    settings: CountSettings,
    n_jobs: int | None,
    has_time: Callable[[], bool] | None = None,
) -> Counted:
    """Count the novel classes.

    Every counter is tried where classes are hidden. Half of the bias that it shows there is taken from its answer, and
    it votes the more the smaller its errors were. The result is the median of the votes.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
    codes : ndarray of shape (n_rows,)
        Known classes, ``UNLABELED`` elsewhere.
    trials : list of Trial
    settings : CountSettings
    n_jobs : int or None
    has_time : callable, optional
        Whether there is time for one more look; without it all are taken.
    """
    looks = [(X, codes, settings)]
    for trial in trials:
        few = min(settings.most, _MOST_TIMES * len(trial.hidden))
        looks.append((X[trial.rows], trial.codes, replace(settings, most=few)))
    spaces = _METRICS if codes.max(initial=-1) >= 0 else {"columns": None}
    tasks = [(*look, shrinkage) for look in looks for shrinkage in spaces.values()]
    if has_time is None:
        found = list(Parallel(n_jobs=n_jobs)(delayed(_count_in)(*task) for task in tasks))
    else:
        found = [_count_in(*task) if number == 0 or has_time() else {} for number, task in enumerate(tasks)]
    hidden = np.array([len(trial.hidden) for trial in trials], dtype=np.float64)
    names, answers, told = [], [], []
    for number, space in enumerate(spaces):
        whole, *of_trials = found[number :: len(spaces)]
        for criterion, answer in whole.items():
            names.append(f"{criterion} in {space}")
            answers.append(answer)
            told.append([other.get(criterion, np.nan) for other in of_trials])
    corrected, errors = calibrate(np.array(answers), np.reshape(told, (len(names), len(hidden))), hidden)
    return vote(names, np.minimum(corrected, settings.most), errors)


def calibrate(answers: np.ndarray, told: np.ndarray, hidden: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Answers less half of the bias, and the mean relative errors that are left; NaN where nothing was hidden.

    Parameters
    ----------
    answers : ndarray of shape (n_counters,)
    told : ndarray of shape (n_counters, n_trials)
        Answers where classes were hidden; NaN where a counter had too few rows.
    hidden : ndarray of shape (n_trials,)
        Classes that were hidden.
    """
    factors, errors = np.ones(len(answers)), np.full(len(answers), np.nan)
    for i, row in enumerate(told):
        seen = np.isfinite(row)
        if seen.any():
            factors[i] = 1 / (1 + _CORRECTED * (row[seen].sum() / hidden[seen].sum() - 1))
            errors[i] = np.mean(np.abs(factors[i] * row[seen] - hidden[seen]) / hidden[seen])
    return np.rint(factors * answers).astype(np.int64), errors


def vote(names: list[str], answers: np.ndarray, errors: np.ndarray) -> Counted:
    """Median of the answers, weighted by the errors made before."""
    usual = np.nanmean(errors) if np.isfinite(errors).any() else 0.0
    weights = 1 / (np.where(np.isfinite(errors), errors, usual) + _PRIOR_ERROR) ** 2
    order = np.argsort(answers, kind="stable")
    votes = np.cumsum(weights[order]) / weights.sum()
    low, middle, high = (
        int(answers[order][min(int(np.searchsorted(votes, share)), len(order) - 1)])
        for share in (_INTERVAL[0], 0.5, _INTERVAL[1])
    )
    return Counted(names, answers, errors, weights / weights.sum(), middle, low, high)


def _count_in(X: np.ndarray, codes: np.ndarray, settings: CountSettings, shrinkage: float | None) -> dict[str, int]:
    """Novel classes by each criterion, in the columns or in the metric of the visible classes."""
    free = codes == UNLABELED
    if not free.any():
        return dict.fromkeys(_CRITERIA, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Z = X if shrinkage is None else KnownClassMetric(shrinkage=shrinkage).fit(X, codes).transform(X)
        used = free if settings.unlabeled == "novel" else np.ones(len(Z), dtype=bool)
        if settings.quick or used.sum() < _FEWEST_EMBEDDED:
            return {"silhouette": _by_k_means(Z, codes, settings)}
        embedding = _embedded(Z[used], settings.seed)
        n_known = 0 if settings.unlabeled == "novel" else len(np.unique(codes[~free]))
        ks = range(1, max(min(n_known + settings.most, len(embedding) // _ROWS_PER_CLUSTER), 1) + 1)
        by_criterion = _partitions(embedding, list(ks), settings.seed)
    return {name: _n_novel(parts, codes[used]) for name, parts in by_criterion.items()}


def _by_k_means(Z: np.ndarray, codes: np.ndarray, settings: CountSettings) -> int:
    k_max, seed = int(codes.max(initial=UNLABELED)) + 1 + settings.most, settings.seed
    counter: Any = NCDKMeans(k_max=k_max, random_state=seed)
    if settings.unlabeled == "mixed":
        counter = SemiSupervisedKMeans(n_init=10, k_max=k_max, random_state=seed)
    return len(counter.fit(Z, codes).novel_classes_)


def _embedded(Z: np.ndarray, seed: int) -> np.ndarray:
    perplexity = min(_PERPLEXITY, len(Z) / _ROWS_PER_PERPLEXITY)
    scale = np.sqrt(np.mean((Z - Z.mean(axis=0)) ** 2))
    init = "pca" if Z.shape[1] > 1 else "random"
    model = TSNE(2, perplexity=perplexity, init=init, random_state=seed)
    embedding = model.fit_transform(((Z - Z.mean(axis=0)) / (scale if scale > 0 else 1.0)).astype(np.float32))
    embedding = embedding.astype(np.float64) - embedding.mean(axis=0)
    return embedding / np.sqrt(np.mean(embedding**2))


def _partitions(embedding: np.ndarray, ks: list[int], seed: int) -> dict[str, np.ndarray]:
    """Partition with the best number of clusters, by each criterion."""
    mixtures = [GaussianMixture(k, n_init=2, reg_covar=_REGULARIZATION, random_state=seed).fit(embedding) for k in ks]
    best = mixtures[int(np.argmin([mixture.bic(embedding) for mixture in mixtures]))]
    parts = {k: KMeans(k, n_init=3, random_state=seed).fit_predict(embedding) for k in ks if k > 1}
    widths = {k: silhouette_score(embedding, codes) for k, codes in parts.items()}
    compact = parts[max(widths, key=widths.__getitem__)] if widths else np.zeros(len(embedding), dtype=int)
    return {"bic": best.predict(embedding), "silhouette": compact}


def _n_novel(parts: np.ndarray, codes: np.ndarray) -> int:
    """Clusters that hold labeled rows less often than known classes do."""
    labeled = codes != UNLABELED
    if not labeled.any():
        return len(np.unique(parts))
    shares = np.array([labeled[parts == part].mean() for part in np.unique(parts)])
    sizes = np.array([(parts == part).sum() for part in np.unique(parts)])
    # What a labeled row sees in its own cluster.
    usual = np.average(shares, weights=shares * sizes)
    return int((shares < _KNOWN * usual).sum())
