"""Certificates for anyone's k-means labels."""

from __future__ import annotations

import time
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions, validate_params
from sklearn.utils.validation import _check_sample_weight, column_or_1d

from ..base import check_range, check_table, check_weights
from ..engine import RowBlocks
from ..labels import encode_partial_labels
from ..numerics import pose_problem
from ._ladder import CertificateSettings, KMeansCertificate, Ladder, certificate_fields
from ._points import merge_rows
from ._rounding import fill_empty, polish, seat_known

METHODS = ("auto", "pca", "labels", "admm", "division", "sketch")


@validate_params(
    {
        "X": ["array-like", "sparse matrix"],
        "labels": ["array-like"],
        "method": [StrOptions(set(METHODS))],
        "y": ["array-like", None],
        "sample_weight": ["array-like", None],
        "n_clusters": [Interval(Integral, 1, None, closed="left"), None],
        "settings": [CertificateSettings, None],
        "budget": [Interval(Real, 0, None, closed="neither"), None],
    },
    prefer_skip_nested_validation=True,
)
def certify_kmeans(
    X: Any,
    labels: Any,
    *,
    method: str = "auto",
    y: Any = None,
    sample_weight: Any = None,
    n_clusters: int | None = None,
    budget: float | None = None,
    settings: CertificateSettings | None = None,
) -> KMeansCertificate:
    """Prove how much better than this clustering any other one can be.

    For the labels of any k-means (scikit-learn, faiss, your own): a rigorous lower bound on the inertia of every
    clustering into as many clusters. "No clustering is more than 0.4 % better" is a statement about the k-means
    problem itself, whatever method found the labels; it does not say that clusters are meaningful.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Rows, the table that was clustered. Sparse rows are made dense.
    labels : array-like of shape (n_samples,)
        Cluster of each row; any names. -1 is a cluster like any other: leave out the rows that DBSCAN calls noise.
    method : {"auto", "pca", "labels", "admm", "division", "sketch"}, default="auto"
        - "pca": the sum of the squared singular values after the first k - 1. Cheap and weak.
        - "labels": multipliers in closed form [1]_, with a few border rows given up. Cheap at any size; proves
          optimality of well separated clusters.
        - "admm": the dual of the semidefinite relaxation [2]_, up to a few thousand distinct rows.
        - "division": relaxations of parts of the rows [3]_, at any size.
        - "sketch": a bound that holds with probability `confidence` [4]_, by relaxations of random samples; it is
          kept apart as ``probable_bound``.
        - "auto": the first two, then "admm" up to 2,000 distinct rows, "division" above; stops as soon as the gap is
          closed.
    y : array-like of shape (n_samples,), default=None
        Partial labels. Only clusterings that keep each known class together, and known classes apart, are bounded;
        `labels` must be one of them.
    sample_weight : array-like of shape (n_samples,), default=None
        Weight of each row; 2 counts like the row twice.
    n_clusters : int, default=None
        Number of clusters that others may use; None for as many as occur in `labels`.
    budget : float, default=None
        Seconds after which no new step begins; the best bound so far is returned. None for no limit.
    settings : CertificateSettings, default=None
        Sizes, tolerances, parallel work and the seed; None for the defaults.

    Returns
    -------
    certificate : KMeansCertificate
        ``print(certificate)`` says in a sentence what was proven.

    Raises
    ------
    ValueError
        If `labels` has another length than `X`, holds missing values or more clusters than `n_clusters`, or does what
        `y` forbids.

    See Also
    --------
    SDPKMeans : Finds a clustering and certifies it.

    Notes
    -----
    All bounds are instances of one inequality that holds for any multipliers whatever, evaluated in float64, with the
    rounding of eigenvalues subtracted. Equal rows are one weighted point, and so are the rows of a known class.

    "labels" differs from [1]_ where some rows lie close to a border: there the certificate fails, while the multiplier
    of the trace may be raised further at the price of a few rows, which often leaves a bound within a few percent.

    "division" deals rows such that the clusters have the same means in all parts; against dealing at random, as in
    sampling, this takes away most of what division loses.

    References
    ----------
    .. [1] T. Iguchi, D. G. Mixon, J. Peterson, S. Villar, "Probably certifiably correct k-means clustering",
       Mathematical Programming 165, 2017.
    .. [2] J. Peng, Y. Wei, "Approximating k-means-type clustering via semidefinite programming", SIAM Journal on
       Optimization 18, 2007.
    .. [3] A. M. Croella, V. Piccialli, A. M. Sudoso, "Strong bounds for large-scale minimum sum-of-squares
       clustering", 2025, arXiv:2502.08397.
    .. [4] C. Clum, D. G. Mixon, S. Villar, K. Xie, "Sketch-and-solve approaches to k-means clustering by semidefinite
       programming", 2022, arXiv:2211.15744.

    Examples
    --------
    >>> from sklearn.cluster import KMeans
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_sslcluster.sdp import certify_kmeans
    >>> X = load_iris().data
    >>> labels = KMeans(3, n_init=10, random_state=0).fit(X).labels_
    >>> certificate = certify_kmeans(X, labels)
    >>> round(certificate.gap, 2), certificate.certified
    (0.04, False)
    """
    deadline = None if budget is None else time.time() + budget
    X = check_table(X, "certify_kmeans")
    clusters = _encode_clusters(labels, X.shape[0])
    n_found = int(clusters.max()) + 1
    k = n_found if n_clusters is None else int(n_clusters)
    if k < n_found:
        raise ValueError(f"n_clusters={k}, but labels holds {n_found} clusters.")
    if sample_weight is not None:
        sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    known = encode_partial_labels(y, X)
    blocks = RowBlocks(X, (known.codes if known.n_known else None, sample_weight))
    problem = pose_problem(blocks, known.n_known, np.random.RandomState(0), k, center=True)
    check_weights(problem, known)
    check_range(problem, X.dtype)
    _refuse_broken_labels(clusters, known.codes, known.classes.tolist())
    merged = merge_rows(problem, k)
    points = merged.points
    ladder = Ladder(method, settings or CertificateSettings(), deadline)
    inertia = merged.clustering_inertia(clusters, sample_weight)
    start = np.zeros(points.n_points, dtype=np.int32)
    if 1 < k < points.n_points:
        counted = np.flatnonzero(merged.point_of >= 0)
        start[merged.point_of[counted][::-1]] = clusters[counted][::-1]
        start = polish(points, seat_known(points, fill_empty(points, start)))
    return KMeansCertificate(**certificate_fields(merged, start, inertia, ladder))


def _encode_clusters(labels: Any, n_rows: int) -> np.ndarray:
    """Clusters as codes 0, 1, ..."""
    if np.shape(labels)[1:] not in ((), (1,)):
        raise ValueError(f"labels must be one column, got an array of shape {np.shape(labels)}.")
    labels = column_or_1d(labels, warn=True)
    if len(labels) != n_rows:
        raise ValueError(f"labels has {len(labels)} entries for the {n_rows} rows of X.")
    missing = [i for i, value in enumerate(labels.tolist()) if value is None or value != value]
    if missing:
        raise ValueError(f"labels must name a cluster for every row; the entry of row {missing[0]} is missing.")
    try:
        return np.unique(labels, return_inverse=True)[1].astype(np.int32)
    except TypeError:
        raise TypeError("labels must be of one kind, numbers or strings.") from None


def _refuse_broken_labels(clusters: np.ndarray, codes: np.ndarray, classes: list) -> None:
    """Refuse clusters that part a known class or join two."""
    labeled = np.flatnonzero(codes >= 0)
    first: dict[int, int] = {}
    home: dict[int, int] = {}
    for row in labeled.tolist():
        code, cluster = int(codes[row]), int(clusters[row])
        first.setdefault(code, row)
        if clusters[first[code]] != cluster:
            raise ValueError(
                f"labels puts rows {first[code]} and {row} into different clusters, but y says that both are "
                f"{classes[code]!r}."
            )
        other = home.setdefault(cluster, code)
        if other != code:
            raise ValueError(
                f"labels puts rows {first[other]} and {row} into one cluster, but y says that one is "
                f"{classes[other]!r} and the other {classes[code]!r}."
            )
