"""Folds that hide known classes, as if nobody had named them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import comb
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.model_selection import BaseCrossValidator
from sklearn.model_selection._split import GroupsConsumerMixin
from sklearn.utils import check_random_state, indexable
from sklearn.utils.validation import column_or_1d

from ..labels import UNLABELED, PartialLabels, decode, encode_partial_labels, hidden_class_folds, hide
from ..numerics import match_clusters


@dataclass(frozen=True)
class _Fold:
    """One fold, in codes.

    Attributes
    ----------
    codes : ndarray of shape (n_rows,)
        What may be known in this fold: ``UNLABELED`` for the rows of hidden classes and of groups left out.
    hidden : ndarray of shape (n_hidden,)
        Codes of the classes without a label in `codes`.
    train, test : ndarray
        Numbers of the rows for a search that does not know of unlabeled rows, and of the rows to score.
    """

    codes: np.ndarray
    hidden: np.ndarray
    train: np.ndarray
    test: np.ndarray


class HiddenClassKFold(GroupsConsumerMixin, BaseCrossValidator):
    """Cross-validation in which every fold hides some of the known classes.

    A class that nobody has named cannot be scored. A known one can: take its labels away, let the estimator discover
    it among the unlabeled rows, and compare with the labels taken away. Every fold hides another combination of known
    classes.

    Parameters
    ----------
    n_splits : int, default=5
        Folds wanted. When there are fewer combinations of `n_hidden` classes, each gives one fold.
    n_hidden : int, default=None
        Classes hidden in a fold, at most one less than the known classes. ``None``: half of the known classes,
        rounded down.
    unlabeled_value : int, str, bool or None, default=-1
        Value of `y` that stands for "no label" besides None and NaN; None for no further value.
    random_state : int, RandomState instance or None, default=None
        Draws the combinations, and how groups are dealt to folds. Pass an int for the same folds in every call.

    See Also
    --------
    HiddenClassSearchCV : Search for hyperparameters that uses these folds.
    sklearn.model_selection.LeavePGroupsOut : With the classes as groups, all combinations, without unlabeled rows.

    Notes
    -----
    The folds are those of the search of Troisemaine et al. [1]_ (algorithm 1): distinct combinations of known classes,
    about half of them hidden, the same for all candidates of a search. Departures:

    - The combinations are drawn so that every class is hidden about equally often, where the paper draws them
      independently: with few folds one class would otherwise weigh several times as much as another.
    - ``n_splits`` larger than the number of combinations is no error.
    - ``groups`` (patients, sites, devices): the rows of one group resemble each other, so a hidden class is too easy
      to find when labeled rows of the same group stay in training. The groups are dealt to the folds, a group to one
      fold at most. In its fold no row of a group carries a label, and only rows of these groups are scored. Groups
      are dealt so that every fold has rows to score and visible classes keep labeled rows; a group that fits no fold
      stays in training throughout. A class whose labeled rows all lie in the groups of a fold counts as hidden there
      too.

    Fewer than three known classes are refused: with two, hiding one leaves nothing to tell a known class from.

    References
    ----------
    .. [1] Troisemaine, C., Lemaire, V., Gosselin, S., Reiffers-Masson, A., Flocon-Cholet, J. and Vaton, S. (2024).
       "A practical approach to novel class discovery in tabular data." Data Mining and Knowledge Discovery 38.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_sslcluster.model_selection import HiddenClassKFold
    >>> X = np.zeros((8, 1))
    >>> y = ["ash", "ash", "beech", "beech", "cedar", "cedar", None, None]
    >>> folds = HiddenClassKFold(n_splits=3, random_state=0)
    >>> for y_masked, test in folds.split_masked(X, y):
    ...     print(y_masked.tolist(), test)
    [None, None, 'beech', 'beech', 'cedar', 'cedar', None, None] [0 1]
    ['ash', 'ash', None, None, 'cedar', 'cedar', None, None] [2 3]
    ['ash', 'ash', 'beech', 'beech', None, None, None, None] [4 5]
    """

    def __init__(
        self, n_splits: int = 5, *, n_hidden: int | None = None, unlabeled_value: Any = -1, random_state: Any = None
    ) -> None:
        self.n_splits = n_splits
        self.n_hidden = n_hidden
        self.unlabeled_value = unlabeled_value
        self.random_state = random_state

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of folds.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), default=None
            Ignored, exists for API compatibility.
        y : array-like of shape (n_samples,), default=None
            Partial labels. Without them the answer is ``n_splits``, with them the number of combinations of classes
            if that is smaller.
        groups : array-like of shape (n_samples,), default=None
            Ignored, exists for API compatibility.

        Returns
        -------
        n_splits : int
            Number of folds.

        Raises
        ------
        ValueError
            If `y` is given and holds fewer than three classes, or too few for ``n_hidden``.
        """
        _check_at_least_one("n_splits", self.n_splits)
        if y is None:
            return int(self.n_splits)
        n_known = self._encode(y).n_known
        return min(int(self.n_splits), comb(n_known, self._count_hidden(n_known)))

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Generate numbers of training and test rows.

        The rows of the hidden classes are the test rows and are not in training, so that the split is safe in any
        search, :class:`~sklearn.model_selection.GridSearchCV` for example, whose estimator sees ``y[train]``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; only their number is used.
        y : array-like of shape (n_samples,)
            Partial labels.
        groups : array-like of shape (n_samples,), default=None
            Group of each row. A row of a group that is scored in a fold is left out of its training rows.

        Yields
        ------
        train : ndarray
            The labeled rows of visible classes, and the rows without a label.
        test : ndarray
            The labeled rows of hidden classes.

        Raises
        ------
        ValueError
            If `y` holds fewer than three classes, or too few for ``n_hidden``, or there are too few groups, or a row
            has none.
        """
        _, folds = self._make_folds(X, y, groups)
        for fold in folds:
            yield fold.train, fold.test

    def split_masked(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Generate labels to train with, hidden classes unlabeled, and numbers of test rows.

        All rows stay in training: a fold is the task of the whole table with fewer classes known.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; only their number is used.
        y : array-like of shape (n_samples,)
            Partial labels.
        groups : array-like of shape (n_samples,), default=None
            Group of each row. Rows of the groups scored in a fold carry no label there.

        Yields
        ------
        y_masked : ndarray of shape (n_samples,)
            `y` without the labels of the hidden classes. Integer classes come as an array of integers in which
            `unlabeled_value` stands for "no label"; other classes, and integers when `unlabeled_value` is none, as an
            object array with None. So does a class 1 that is visible alone: beside -1 it would look like a sign.
        test : ndarray
            Labeled rows of hidden classes (and of the groups of the fold).

        Raises
        ------
        ValueError
            If `y` holds fewer than three classes, or too few for ``n_hidden``, or there are too few groups, or a row
            has none.
        """
        labels, folds = self._make_folds(X, y, groups)
        classes = labels.classes
        if isinstance(self.unlabeled_value, bool) or not isinstance(self.unlabeled_value, Integral):
            # -1 may be a class here, so None stands for "no label" among integers as well.
            classes = classes.astype(object)
        for fold in folds:
            visible = labels.classes[np.unique(fold.codes[fold.codes != UNLABELED])]
            signs = classes.dtype.kind == "i" and visible.tolist() == [1] and self.unlabeled_value == -1
            names = classes.astype(object) if signs else classes
            yield decode(fold.codes, names, unlabeled_value=self.unlabeled_value), fold.test

    def hidden_classes(self, y: Any, groups: Any = None) -> list[np.ndarray]:
        """Names of the classes that each fold hides.

        Parameters
        ----------
        y : array-like of shape (n_samples,)
            Partial labels.
        groups : array-like of shape (n_samples,), default=None
            Group of each row.

        Returns
        -------
        hidden : list of ndarray
            For each fold of ``split`` and ``split_masked`` the names in sorted order. With ``random_state=None`` every
            call draws other folds.

        Raises
        ------
        ValueError
            If `y` holds fewer than three classes, or too few for ``n_hidden``, or there are too few groups, or a row
            has none.
        """
        labels, folds = self._make_folds(None, y, groups)
        return [labels.classes[fold.hidden] for fold in folds]

    def _encode(self, y: Any) -> PartialLabels:
        return encode_partial_labels(y, unlabeled_value=self.unlabeled_value)

    def _count_hidden(self, n_known: int) -> int:
        if n_known < 3:
            raise ValueError(f"{type(self).__name__} needs labels of at least three known classes, got {n_known}.")
        if self.n_hidden is None:
            return n_known // 2
        _check_at_least_one("n_hidden", self.n_hidden)
        if self.n_hidden >= n_known:
            raise ValueError(f"n_hidden={self.n_hidden} leaves none of the {n_known} known classes visible.")
        return int(self.n_hidden)

    def _make_folds(self, X: Any, y: Any, groups: Any) -> tuple[PartialLabels, list[_Fold]]:
        _check_at_least_one("n_splits", self.n_splits)
        if y is None:
            raise ValueError(f"{type(self).__name__} needs labels of at least three known classes, got y=None.")
        X, y, groups = indexable(X, y, groups)
        labels = self._encode(y)
        rng = check_random_state(self.random_state)
        hidden = hidden_class_folds(labels.codes, self._count_hidden(labels.n_known), self.n_splits, rng)
        if groups is None:
            left_out = np.zeros((len(hidden), len(labels.codes)), dtype=bool)
        else:
            left_out = _deal_groups(groups, labels, hidden, rng)
        return labels, [_make_fold(labels.codes, h, out, groups) for h, out in zip(hidden, left_out, strict=True)]


def _check_at_least_one(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{name} must be an integer of at least 1, got {value!r}.")


def _make_fold(codes: np.ndarray, hidden: np.ndarray, left_out: np.ndarray, groups: Any) -> _Fold:
    masked = hide(codes, hidden)
    masked[left_out] = UNLABELED
    labeled = codes != UNLABELED
    hidden = np.setdiff1d(codes[labeled], masked)
    is_hidden = labeled & np.isin(codes, hidden)
    test = is_hidden if groups is None else is_hidden & left_out
    if not (masked != UNLABELED).any():
        raise ValueError("groups leave a fold without a labeled row; take more folds (n_splits) or smaller groups.")
    return _Fold(masked, hidden, train=np.flatnonzero(~is_hidden & ~left_out), test=np.flatnonzero(test))


def _deal_groups(
    groups: Any, labels: PartialLabels, hidden: list[np.ndarray], random_state: np.random.RandomState
) -> np.ndarray:
    """Mask of shape (n_folds, n_rows) of the rows whose group is scored in a fold."""
    names, group_of_row = np.unique(_check_groups(groups), return_inverse=True)
    if len(names) < len(hidden):
        raise ValueError(f"{len(hidden)} folds (n_splits) need at least as many groups, got {len(names)}.")
    labeled = ~labels.unlabeled
    counts = np.zeros((len(names), labels.n_known), dtype=np.int64)
    np.add.at(counts, (group_of_row[labeled], labels.codes[labeled]), 1)
    is_hidden = np.zeros((len(hidden), labels.n_known), dtype=bool)
    for fold, classes in enumerate(hidden):
        is_hidden[fold, classes] = True
    order = random_state.permutation(len(names))
    fold_of_group = np.empty(len(names), dtype=np.intp)
    fold_of_group[order] = _deal(counts[order], is_hidden)
    fold_of_row = fold_of_group[group_of_row]
    left_out = fold_of_row == np.arange(len(hidden))[:, np.newaxis]
    _check_rows_to_score(labels, hidden, left_out)
    return left_out


def _check_groups(groups: Any) -> np.ndarray:
    """Groups as a column, without a missing value."""
    # Without a dtype of its own a list of strings and NaN would become one of strings.
    values = np.ravel(np.asarray(groups) if hasattr(groups, "dtype") else np.asarray(groups, dtype=object))
    if values.dtype.kind == "O":
        missing = np.array([_is_missing(value) for value in values.tolist()], dtype=bool)
    else:
        missing = values != values
    if missing.any():
        raise ValueError(f"groups has no value at row {np.flatnonzero(missing)[0]}; every row needs a group.")
    return column_or_1d(groups)


def _is_missing(value: Any) -> bool:
    return value is None or type(value).__name__ in ("NAType", "NaTType") or bool(value != value)


def _check_rows_to_score(labels: PartialLabels, hidden: list[np.ndarray], left_out: np.ndarray) -> None:
    for classes, rows in zip(hidden, left_out, strict=True):
        if not np.isin(labels.codes[rows], classes).any():
            raise ValueError(
                f"The fold that hides the classes {labels.classes[classes].tolist()} has no row to score: no group is "
                "left that holds one of them. Take fewer folds (n_splits), or hide more classes (n_hidden)."
            )


def _deal(counts: np.ndarray, is_hidden: np.ndarray) -> np.ndarray:
    """Fold that scores each group, -1 for none.

    Parameters
    ----------
    counts : ndarray of shape (n_groups, n_known)
        Labeled rows of each class in each group.
    is_hidden : ndarray of shape (n_folds, n_known)
        The classes that each fold hides.
    """
    totals = counts.sum(axis=0)
    gains = counts @ is_hidden.T
    takes_all = (counts > 0) & (counts == totals)
    blinds = takes_all.astype(np.int64) @ ~is_hidden.T > 0
    # One group to each fold first, by a matching, so that every fold gets rows to score if that is possible at all,
    # and if possible without taking the last label of a visible class.
    first, folds = match_clusters((gains > 0) * (len(is_hidden) + 1 + ~blinds))
    fold_of_group = np.full(len(counts), -1)
    fold_of_group[first] = folds
    scored, taken = np.zeros(len(is_hidden), dtype=np.int64), np.zeros(is_hidden.shape, dtype=np.int64)
    scored[folds] = gains[first, folds]
    taken[folds] = counts[first]
    for group in np.argsort(-counts.sum(axis=1), kind="stable"):
        if fold_of_group[group] >= 0:
            continue
        blind = ((taken + counts[group] == totals) & (counts[group] > 0) & ~is_hidden).any(axis=1)
        possible = np.flatnonzero((gains[group] > 0) & ~blind)
        if len(possible):
            fold = possible[np.argmin(scored[possible])]
            fold_of_group[group] = fold
            scored[fold] += gains[group, fold]
            taken[fold] += counts[group]
    return fold_of_group
