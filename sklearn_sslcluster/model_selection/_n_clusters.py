"""The number of classes in a partially labeled table."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions, validate_params

from ..base import check_table
from ..engine import RowBlocks
from ..labels import encode_partial_labels
from ..numerics import (
    CRITERIA,
    LloydSettings,
    choose_by_labels,
    choose_n_clusters,
    distinct_rows,
    pose_problem,
)


@validate_params(
    {
        "X": ["array-like", "sparse matrix"],
        "y": ["array-like", None],
        "k_max": [Interval(Integral, 1, None, closed="left"), None],
        "criterion": [StrOptions(set(CRITERIA)), callable],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "unlabeled_value": [Integral, str, "boolean", None],
        "random_state": ["random_state"],
        "return_scores": ["boolean"],
    },
    prefer_skip_nested_validation=True,
)
def estimate_n_clusters(
    X: Any,
    y: Any = None,
    *,
    k_max: int | None = None,
    criterion: Any = "silhouette",
    n_init: int = 10,
    unlabeled_value: Any = -1,
    random_state: Any = None,
    return_scores: bool = False,
) -> Any:
    """Estimate the number of classes, known and novel together.

    Rows are clustered by semi-supervised k-means into every number of classes from that of the known ones (no novel
    class) to `k_max`, and a criterion judges labeled and unlabeled rows together. This is what ``n_clusters="auto"``
    of :class:`~sklearn_sslcluster.discovery.SemiSupervisedKMeans` does with ``criterion="silhouette"``.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Rows.
    y : array-like of shape (n_samples,), default=None
        Partial labels: ints, strings, bools or categories, and -1, None, NaN or ``pd.NA`` for rows without one.
    k_max : int, default=None
        Largest number tried; None for ``max(30, 3 * n_known)``.
    criterion : {"silhouette", "calinski_harabasz", "davies_bouldin", "elbow", "labeled_accuracy"} or callable, \
            default="silhouette"
        What judges a clustering. ``"labeled_accuracy"`` clusters without labels and compares the clusters of the
        labeled rows with their classes. A callable ``criterion(X, codes)`` returns a number, larger is better; NaN is
        the worst.
    n_init : int, default=10
        Starts for each number.
    unlabeled_value : int, str, bool or None, default=-1
        Value of `y` that stands for "no label", besides None, NaN and ``pd.NA``.
    random_state : int, RandomState instance or None, default=None
        Seed of the starts and of the rows that are judged (at most 2,000).
    return_scores : bool, default=False
        Also return the scores of all numbers.

    Returns
    -------
    n_clusters : int
        The estimate.
    scores : dict of int to float
        Only if `return_scores`: the criterion for each number tried, larger is better. Empty where the number was
        settled before any was tried.

    Raises
    ------
    ValueError
        If `X` has NaN or infinite values, or ``criterion="labeled_accuracy"`` and no row is labeled, or a callable
        `criterion` returns NaN for every number.

    Notes
    -----
    Where at most one class is known, one cluster is possible, for which no index is defined: it is the answer when
    k-means splits the rows no better than it splits normal or uniform data of the same spread.

    ``"labeled_accuracy"`` answers with the number of known classes if there are fewer distinct rows than that.

    Davies-Bouldin runs away to `k_max` on many tables [1]_; the elbow needs a curve with a bend.

    References
    ----------
    .. [1] C. Troisemaine et al., "A practical approach to novel class discovery in tabular data", Data Mining and
       Knowledge Discovery, 2024, section 5 and appendix F.
    .. [2] S. Vaze, K. Han, A. Vedaldi, A. Zisserman, "Generalized Category Discovery", CVPR 2022 (accuracy on labeled
       rows).

    Examples
    --------
    >>> from sklearn_sslcluster.datasets import make_partially_labeled_blobs
    >>> from sklearn_sslcluster.model_selection import estimate_n_clusters
    >>> X, y, _ = make_partially_labeled_blobs(n_known=3, n_novel=2, random_state=0)
    >>> estimate_n_clusters(X, y, random_state=0)
    5
    """
    X = check_table(X, "estimate_n_clusters")
    labels = encode_partial_labels(y, X, unlabeled_value=unlabeled_value)
    random_state = check_random_state(random_state)
    if criterion == "labeled_accuracy" and not labels.n_known:
        raise ValueError("criterion='labeled_accuracy' needs labeled rows, but y has none.")
    if criterion == "labeled_accuracy" and _n_distinct(X, labels.n_known) < labels.n_known:
        return (labels.n_known, {}) if return_scores else labels.n_known
    problem = pose_problem(RowBlocks(X, (labels.codes if labels.n_known else None, None)), labels.n_known, random_state)
    last = max(k_max if k_max is not None else max(30, 3 * labels.n_known), labels.n_known, 1)
    ks = list(range(max(labels.n_known, 1), last + 1))
    settings = LloydSettings(n_init=n_init, seed_power=1, objective_power=1)
    if criterion == "labeled_accuracy":
        n_clusters, scores = choose_by_labels(problem, ks, settings, random_state)
    else:
        n_clusters, scores = choose_n_clusters(
            problem, ks, settings, random_state, move_known=True, criterion=criterion
        )
    return (n_clusters, scores) if return_scores else n_clusters


def _n_distinct(X: Any, enough: int) -> int:
    """Number of distinct rows; some number of at least `enough` if there are as many."""
    source = RowBlocks(X, (None, None))
    distinct = distinct_rows(source, source.row_data, max_rows=enough, random_state=np.random.RandomState(0))
    return distinct.X.shape[0]
