"""Real rows with hidden classes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sklearn.datasets import load_digits
from sklearn.utils import Bunch

from ._partial_labels import hide_classes

_NOTE = """
Partial labels
--------------
Rows of the digits {novel} have no label. Of the rows of the other digits, a share of {labeled_fraction} is labeled,
drawn without regard to class. ``target`` holds the partial labels (-1: no label), ``target_true`` all classes.
"""


def load_novel_digits(
    *,
    novel_classes: Any = (5, 6, 7, 8, 9),
    labeled_fraction: float = 0.5,
    return_X_y: bool = False,
    as_frame: bool = False,
    random_state: Any = 0,
) -> Any:
    """Load scikit-learn's handwritten digits with some digits unnamed.

    1,797 images of 8 x 8 pixels, ten classes. With the defaults, the digits 0 to 4 are known and half of their rows
    are labeled; the other half, and the digits 5 to 9, are unlabeled: the protocol of generalized category discovery
    [1]_. Nothing is downloaded.

    Parameters
    ----------
    novel_classes : list of int, default=(5, 6, 7, 8, 9)
        Digits without a name.
    labeled_fraction : float in (0, 1], default=0.5
        Share of the rows of the other digits that are labeled. With 1, every unlabeled row is of a novel class.
    return_X_y : bool, default=False
        Return ``(data, target)`` in place of a Bunch.
    as_frame : bool, default=False
        Return a pandas DataFrame and Series. Needs pandas.
    random_state : int, RandomState instance or None, default=0
        Draws the labeled rows.

    Returns
    -------
    digits : :class:`~sklearn.utils.Bunch`
        Dictionary-like, with the attributes

        data : ndarray or DataFrame of shape (1797, 64)
            Pixels from 0 to 16.
        target : ndarray or Series of shape (1797,)
            Partial labels, -1 for a row without.
        target_true : ndarray or Series of shape (1797,)
            The digit of every row, to score with.
        novel_classes : list of int
            Digits without a name, in order.
        frame : DataFrame of shape (1797, 65) or None
            `data` and `target`, if `as_frame`.
        feature_names : list of str
            Names of the pixels.
        DESCR : str
            Description.

    (data, target) : tuple
        In place of the Bunch, if `return_X_y`.

    Raises
    ------
    ValueError
        If a class is not a digit, or `labeled_fraction` is out of range.

    See Also
    --------
    hide_classes : The same for other data.
    sklearn.datasets.load_digits : The digits with all labels.

    References
    ----------
    .. [1] Vaze, S., Han, K., Vedaldi, A. and Zisserman, A. (2022). "Generalized category discovery." Conference on
       Computer Vision and Pattern Recognition.

    Examples
    --------
    >>> from sklearn_sslcluster.datasets import load_novel_digits
    >>> digits = load_novel_digits()
    >>> digits.data.shape, digits.novel_classes
    ((1797, 64), [5, 6, 7, 8, 9])
    >>> int((digits.target == -1).sum())
    1347
    """
    if isinstance(novel_classes, Iterator):
        novel_classes = list(novel_classes)
    digits = load_digits(as_frame=as_frame)
    target = hide_classes(
        digits.target, novel_classes=novel_classes, labeled_fraction=labeled_fraction, random_state=random_state
    )
    novel = sorted({int(name) for name in novel_classes})
    frame = None
    if as_frame:
        frame = digits.frame.assign(target=target)
        target = frame["target"]
    if return_X_y:
        return digits.data, target
    note = _NOTE.format(novel=", ".join(map(str, novel)) or "(none)", labeled_fraction=labeled_fraction)
    return Bunch(
        data=digits.data,
        target=target,
        target_true=digits.target,
        novel_classes=novel,
        frame=frame,
        feature_names=list(digits.feature_names),
        DESCR=digits.DESCR + note,
    )
