"""Hide labels by the protocols of the literature, and generate partially labeled rows."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.datasets import make_blobs
from sklearn.metrics import pairwise_distances
from sklearn.utils import check_random_state, check_scalar

from ..labels import UNLABELED, decode, encode_partial_labels, find_classes, hide

_N_CANDIDATES = 100
_MINUS_ONE = (
    "-1 stands for 'no label'. If it is a class, give it another name first, for example "
    "y = np.where(y == -1, 0, y), or y = y.astype(str)."
)


def hide_classes(
    y: Any,
    *,
    novel_classes: Any = None,
    n_novel: int | None = None,
    labeled_fraction: float = 1.0,
    random_state: Any = None,
) -> np.ndarray:
    """Hide whole classes, and if wanted a share of the other labels.

    Two protocols to measure how well hidden classes are found again:

    - *novel class discovery* (NCD) [1]_, ``labeled_fraction=1``: rows of known classes are labeled, rows of novel
      classes are not.
    - *generalized category discovery* (GCD) [2]_, ``labeled_fraction < 1``, there 0.5: the unlabeled rows hold
      known classes too.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Classes: ints, strings, bools, a categorical, or a mixture. Rows that are -1, None, NaN or ``pd.NA`` have no
        label and keep none.
    novel_classes : list of class names, default=None
        Classes to hide.
    n_novel : int, default=None
        Number of classes to hide, drawn at random. Give either this or `novel_classes`.
    labeled_fraction : float in (0, 1], default=1.0
        Share of the rows of known classes that keep their label, rounded to whole rows. Drawn from these rows pooled,
        without regard to class, so that a small class may lose all its labels.
    random_state : int, RandomState instance or None, default=None
        Draws the classes and the rows.

    Returns
    -------
    y_partial : ndarray of shape (n_samples,)
        For integer `y` an array of integers in which -1 stands for "no label", else an object array with None.

    Raises
    ------
    ValueError
        If both or none of `novel_classes` and `n_novel` are given, they name a class that does not occur or ask for
        more classes than there are, `labeled_fraction` is out of range, or -1 is itself a class.
    TypeError
        If `y` holds other values than those listed, or `novel_classes` is a single name.

    See Also
    --------
    make_partially_labeled_blobs : Planted clusters with hidden classes.
    load_novel_digits : Real digits with hidden classes.

    References
    ----------
    .. [1] Han, K., Vedaldi, A. and Zisserman, A. (2019). "Learning to discover novel visual categories via deep
       transfer clustering." International Conference on Computer Vision.
    .. [2] Vaze, S., Han, K., Vedaldi, A. and Zisserman, A. (2022). "Generalized category discovery." Conference on
       Computer Vision and Pattern Recognition.

    Examples
    --------
    >>> from sklearn_sslcluster.datasets import hide_classes
    >>> hide_classes([0, 0, 1, 1, 2, 2], novel_classes=[2])
    array([ 0,  0,  1,  1, -1, -1])
    >>> y = ["cat", "cat", "cat", "dog", "dog", "dog", "emu", "emu"]
    >>> hide_classes(y, novel_classes=["emu"], labeled_fraction=0.5, random_state=0).tolist()
    ['cat', None, None, 'dog', 'dog', None, None, None]
    """
    check_scalar(labeled_fraction, "labeled_fraction", Real, min_val=0, max_val=1, include_boundaries="right")
    if encode_partial_labels(y, unlabeled_value=None).classes.tolist() == [-1, 1]:
        raise ValueError(f"y holds exactly the two values -1 and 1, and {_MINUS_ONE}")
    rng = check_random_state(random_state)
    labels = encode_partial_labels(y, warn=False)
    codes = hide(labels.codes, _novel_codes(labels.classes, novel_classes, n_novel, rng))
    if labeled_fraction < 1:
        known_rows = np.flatnonzero(codes != UNLABELED)
        n_hidden = len(known_rows) - round(labeled_fraction * len(known_rows))
        codes[rng.choice(known_rows, n_hidden, replace=False)] = UNLABELED
    return decode(codes, labels.classes)


def _novel_codes(
    classes: np.ndarray, novel_classes: Any, n_novel: int | None, random_state: np.random.RandomState
) -> np.ndarray:
    if (novel_classes is None) == (n_novel is None):
        raise ValueError("Give either novel_classes, the names of the classes to hide, or n_novel, their number.")
    if novel_classes is None:
        check_scalar(n_novel, "n_novel", Integral, min_val=0, max_val=len(classes))
        return random_state.choice(len(classes), n_novel, replace=False)
    if isinstance(novel_classes, str) or not isinstance(novel_classes, Iterable):
        raise TypeError(f"novel_classes must be a list of class names, got {novel_classes!r}.")
    names = list(novel_classes)
    codes = find_classes(names, classes)
    for name, code in zip(names, codes, strict=True):
        if code == UNLABELED:
            remedy = f" {_MINUS_ONE}" if name == -1 else ""
            raise ValueError(
                f"novel_classes holds {name!r}, which is not a class of y; the classes are {classes.tolist()}.{remedy}"
            )
    return codes


def make_partially_labeled_blobs(
    n_samples: int = 500,
    *,
    n_known: int = 3,
    n_novel: int = 2,
    n_features: int = 2,
    labeled_fraction: float = 1.0,
    cluster_std: float = 1.0,
    class_sep: float = 8.0,
    random_state: Any = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Generate round Gaussian classes of which some are unlabeled.

    Parameters
    ----------
    n_samples : int, default=500
        Number of rows, spread evenly over the classes.
    n_known : int, default=3
        Number of classes with labels: 0 to ``n_known - 1``.
    n_novel : int, default=2
        Number of classes without, the integers that follow.
    n_features : int, default=2
        Number of columns.
    labeled_fraction : float in (0, 1], default=1.0
        Share of the rows of known classes that are labeled; see :func:`hide_classes`.
    cluster_std : float, default=1.0
        Standard deviation of a class in every direction.
    class_sep : float, default=8.0
        Distance of the two closest centers in units of `cluster_std`. At 8 the classes practically do not overlap,
        at 4 about one row in forty of the two closest classes lies nearer to the center of the other.
    random_state : int, RandomState instance or None, default=None
        Draws the centers, the rows, their order, and which rows are labeled.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
        The rows in random order.
    y_partial : ndarray of shape (n_samples,)
        Labels of the known classes, -1 elsewhere.
    y_true : ndarray of shape (n_samples,)
        True classes.

    Raises
    ------
    ValueError
        If a number is out of range, or there is no class at all.

    See Also
    --------
    hide_classes : The same for labels of your own.
    sklearn.datasets.make_blobs : Blobs with all labels.

    Notes
    -----
    Each center is, of 100 points drawn uniformly in the unit cube, the one farthest from the centers before it. All
    of them are then scaled to the wanted distance.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_sslcluster.datasets import make_partially_labeled_blobs
    >>> X, y_partial, y_true = make_partially_labeled_blobs(100, random_state=0)
    >>> X.shape
    (100, 2)
    >>> np.unique(y_partial), np.unique(y_true)
    (array([-1,  0,  1,  2]), array([0, 1, 2, 3, 4]))
    """
    for name, value, smallest in [("n_samples", n_samples, 1), ("n_known", n_known, 0), ("n_novel", n_novel, 0)]:
        check_scalar(value, name, Integral, min_val=smallest)
    check_scalar(n_features, "n_features", Integral, min_val=1)
    check_scalar(cluster_std, "cluster_std", Real, min_val=0, include_boundaries="neither")
    check_scalar(class_sep, "class_sep", Real, min_val=0, include_boundaries="neither")
    if n_known + n_novel == 0:
        raise ValueError("n_known and n_novel are both 0; at least one class is needed.")
    rng = check_random_state(random_state)
    centers = _separate_points(n_known + n_novel, n_features, rng) * (class_sep * cluster_std)
    X, y_true = make_blobs(n_samples, centers=centers, cluster_std=cluster_std, random_state=rng)
    novel_classes = np.unique(y_true[y_true >= n_known])
    y_partial = hide_classes(y_true, novel_classes=novel_classes, labeled_fraction=labeled_fraction, random_state=rng)
    return X, y_partial, y_true


def _separate_points(n_points: int, n_features: int, random_state: np.random.RandomState) -> np.ndarray:
    """Random points around the origin whose smallest distance is 1."""
    points = random_state.uniform(-0.5, 0.5, size=(1, n_features))
    nearest = np.inf
    for _ in range(n_points - 1):
        candidates = random_state.uniform(-0.5, 0.5, size=(_N_CANDIDATES, n_features))
        distances = pairwise_distances(candidates, points).min(axis=1)
        points = np.vstack([points, candidates[distances.argmax()]])
        nearest = min(nearest, distances.max())
    return points / nearest if n_points > 1 else points
