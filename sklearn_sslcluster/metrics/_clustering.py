"""Accuracy of clusters under the best one-to-one matching with classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics.cluster import contingency_matrix
from sklearn.utils import Bunch
from sklearn.utils.validation import check_consistent_length

from ..labels import UNLABELED, PartialLabels, encode_partial_labels, find_classes
from ..numerics import match_clusters


def clustering_accuracy(y_true: Any, y_pred: Any) -> float:
    r"""Share of rows in the right class under the best one-to-one matching of clusters with classes.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True classes: ints, strings, bools, a categorical, or a mixture.
    y_pred : array-like of shape (n_samples,)
        Predicted classes or clusters. Only which rows share a name matters, not the name. Rows without a cluster
        (-1, None, NaN) are one more group, as in the other clustering scores of scikit-learn.

    Returns
    -------
    accuracy : float
        Between 0 and 1, 1 for the same partition.

    Raises
    ------
    ValueError
        If the lengths differ, there are no rows, or `y_true` has a missing value.
    TypeError
        If a value is neither int, whole float, string, bool nor missing.

    See Also
    --------
    category_discovery_accuracy : The same for known and novel classes apart.
    sklearn.metrics.adjusted_rand_score : Needs no matching and is corrected for chance.

    Notes
    -----
    With :math:`n_{ck}` the number of rows of class :math:`c` in cluster :math:`k`, the score is

    .. math:: \max_\pi \frac{1}{n} \sum_c n_{c \pi(c)}

    over the one-to-one maps :math:`\pi` [1]_. When there are more clusters than classes or fewer, the table is
    padded with zeros: the rows of a cluster, or class, that is left over count as errors.

    References
    ----------
    .. [1] Yang, Y., Xu, D., Nie, F., Yan, S. and Zhuang, Y. (2010). "Image clustering using local discriminant
       models and global integration." IEEE Transactions on Image Processing 19(10).

    Examples
    --------
    >>> from sklearn_sslcluster.metrics import clustering_accuracy
    >>> clustering_accuracy(["cat", "cat", "dog", "dog"], [1, 1, 0, 2])
    0.75
    """
    true, groups = _check_labels(y_true, y_pred)
    table = contingency_matrix(true.codes, groups)
    return float(table[match_clusters(table)].sum() / len(groups))


def category_discovery_accuracy(y_true: Any, y_pred: Any, known_classes: Any) -> Bunch:
    """Clustering accuracy on all rows, on those of known classes, and on those of novel classes.

    This is the second version ("v2") of the protocol of generalized category discovery [1]_: clusters are matched
    with classes once, over all rows given, and the hits are then counted by the *true* class of a row. Matching the
    two kinds of rows apart (the first version) gives higher numbers that must not be compared with these.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True classes. The protocol scores the rows that were unlabeled in training and only them.
    y_pred : array-like of shape (n_samples,)
        Predicted classes or clusters. Names are not compared, not even those of known classes.
    known_classes : array-like
        Names of the classes that had labels in training. The partial labels themselves will do: repeated,
        unlabeled and absent names change nothing.

    Returns
    -------
    accuracy : :class:`~sklearn.utils.Bunch`
        Dictionary-like, with the attributes

        all : float
            Share of all rows that are matched; the ``clustering_accuracy``.
        old : float
            The same among the rows of known classes; NaN if there are none.
        new : float
            The same among the rows of other classes; NaN if there are none.

    Raises
    ------
    ValueError
        If the lengths differ, there are no rows, or `y_true` has a missing value.
    TypeError
        If a value is neither int, whole float, string, bool nor missing.

    See Also
    --------
    clustering_accuracy : Without the distinction.
    sklearn_sslcluster.datasets.hide_classes : The partial labels of the protocol.

    Notes
    -----
    Departure from the published evaluation: several matchings may have the same number of hits, and which of them an
    assignment solver finds depends on how classes and clusters happen to be numbered. Among them, the one with most
    hits in known classes counts here, so that `old` and `new` do not depend on names.

    References
    ----------
    .. [1] Vaze, S., Han, K., Vedaldi, A. and Zisserman, A. (2022). "Generalized category discovery." Conference on
       Computer Vision and Pattern Recognition.

    Examples
    --------
    >>> from sklearn_sslcluster.metrics import category_discovery_accuracy
    >>> y_true = ["cat", "cat", "dog", "dog", "emu", "emu", "emu", "emu"]
    >>> y_pred = ["cat", "cat", "dog", "cat", "novel_0", "novel_0", "novel_0", "dog"]
    >>> category_discovery_accuracy(y_true, y_pred, known_classes=["cat", "dog"])
    {'all': 0.75, 'old': 0.75, 'new': 0.75}
    """
    true, groups = _check_labels(y_true, y_pred)
    table = contingency_matrix(true.codes, groups)
    old = np.isin(np.arange(true.n_known), find_classes(known_classes, true.classes))
    # Whole numbers, exact in float64 up to 9e7 rows: hits first, then hits in known classes.
    rows, columns = match_clusters(table * (len(groups) + old[:, np.newaxis]))
    hits = np.zeros(true.n_known)
    hits[rows] = table[rows, columns]
    sizes = table.sum(axis=1)
    return Bunch(all=_share(hits, sizes), old=_share(hits[old], sizes[old]), new=_share(hits[~old], sizes[~old]))


def hidden_class_accuracy(
    y_true: Any, y_pred: Any, *, visible_classes: Any = (), unassigned: Any = -1, sample_weight: Any = None
) -> float:
    r"""Share of rows that are in the right class, where new clusters may bear any name.

    A row of a visible class is right if it is predicted to be in this class. A row of another class is right if its
    class is matched with the cluster it is in, by the best one-to-one matching of the classes that are not visible
    with the clusters that are not.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True classes. Rows where it is None or NaN do not count.
    y_pred : array-like of shape (n_samples,)
        Predicted classes.
    visible_classes : array-like, default=()
        Classes that had labels in training.
    unassigned : int, str, bool or None, default=-1
        Prediction for a row without a class, besides -1, None and NaN. Such a row is wrong.
    sample_weight : array-like of shape (n_samples,), default=None
        Weight of each row.

    Returns
    -------
    accuracy : float
        Between 0 and 1.

    Raises
    ------
    ValueError
        If no row has a true class and a positive weight.

    See Also
    --------
    clustering_accuracy : All clusters are matched with all classes, whatever their names.
    sklearn_sslcluster.model_selection.HiddenClassSearchCV : Searches with this score.

    Notes
    -----
    With :math:`n_{ck}` the weight of the rows of class :math:`c` in cluster :math:`k`, :math:`V` the visible classes
    and :math:`n` the weight of all rows, the score is

    .. math:: \frac{1}{n} \Big( \sum_{c \in V} n_{cc} + \max_\pi \sum_{c \notin V} n_{c \pi(c)} \Big)

    over the one-to-one maps :math:`\pi` of the other classes to clusters outside :math:`V`.

    Examples
    --------
    The emus are found, under a name of their own; a dog is taken for a cat:

    >>> from sklearn_sslcluster.metrics import hidden_class_accuracy
    >>> y_true = ["cat", "dog", "dog", "emu", "emu"]
    >>> y_pred = ["cat", "dog", "cat", "novel_0", "novel_0"]
    >>> hidden_class_accuracy(y_true, y_pred, visible_classes=["cat", "dog"])
    0.8
    """
    true = encode_partial_labels(y_true, unlabeled_value=None)
    pred = encode_partial_labels(y_pred, unlabeled_value=None)
    weight = np.ones(len(true.codes)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    counted = ~true.unlabeled
    total = weight[counted].sum()
    if not total > 0:
        raise ValueError("hidden_class_accuracy needs a row with a true class and a positive weight, got none.")
    # The last column belongs to rows without a prediction.
    table = np.zeros((true.n_known, pred.n_known + 1))
    np.add.at(table, (true.codes[counted], pred.codes[counted]), weight[counted])
    visible = encode_partial_labels(visible_classes, unlabeled_value=None).classes
    row, column = find_classes(true.classes, visible), find_classes(pred.classes, visible)
    same_name = (row[:, np.newaxis] == column) & (row[:, np.newaxis] != UNLABELED)
    no_class = find_classes([-1, unassigned], pred.classes)
    novel = np.setdiff1d(np.flatnonzero(column == UNLABELED), no_class)
    among_novel = table[row == UNLABELED][:, novel]
    hits = table[:, :-1][same_name].sum() + among_novel[match_clusters(among_novel)].sum()
    return float(hits / total)


def _check_labels(y_true: Any, y_pred: Any) -> tuple[PartialLabels, np.ndarray]:
    """Encoded true classes, and the cluster numbers."""
    true = encode_partial_labels(y_true, unlabeled_value=None)
    pred = encode_partial_labels(y_pred, unlabeled_value=None)
    check_consistent_length(true.codes, pred.codes)
    if len(true.codes) == 0:
        raise ValueError("y_true and y_pred are empty; an accuracy needs at least one row.")
    if true.unlabeled.any():
        raise ValueError(
            f"y_true has a missing value at row {np.flatnonzero(true.unlabeled)[0]}; score only rows whose class is "
            "known (make_partial_label_scorer leaves the others out)."
        )
    return true, np.where(pred.codes == UNLABELED, pred.n_known, pred.codes)


def _share(hits: np.ndarray, sizes: np.ndarray) -> float:
    return float(hits.sum() / sizes.sum()) if sizes.any() else float("nan")
