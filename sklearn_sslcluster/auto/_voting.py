"""What a fitted `NovelClassDiscovery` does with rows: votes, names, and rows worth a label."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ..base import PartialLabelMixin, mean_silhouette
from ..engine import RowBlocks
from ..labels import UNLABELED, PartialLabels, decode, join_names
from ..numerics import distinct_rows, nearest_references, quantiles_by_class
from ._earlier import Earlier
from ._members import member_codes, member_novel_codes, translations, votes

_MOST_REFERENCES = 2000
_NEIGHBORS = 10
_MOST_SUGGESTED = 1000


class VotingMixin(PartialLabelMixin):
    """Mixin of estimators whose classes are what several fitted pipelines, ``estimators_``, vote for."""

    def predict(self, X: Any, *, reject: float | None = None) -> np.ndarray:
        """Name the class of each row, by the votes of what was kept.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        reject : float in (0, 1], default=None
            Leave a row unassigned (-1, or None where names are not integers) when it lies farther from the nearest
            reference row than this quantile of the training rows of its class; 0.99 for example.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            Names of ``classes_``.
        """
        check_is_fitted(self, "estimators_")
        X = self._check_rows(X)
        codes = self._votes(X).argmax(axis=1)
        if reject is not None:
            codes = self._reject(codes, nearest_references(self.reference_rows_, X, 1)[0][:, 0], reject)
        return decode(codes, self.classes_, unlabeled_value=self.unlabeled_value)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Share of the votes that each class has.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_clusters_)
            Columns in the order of ``classes_``; rows sum to 1. With one voter, zeros and ones.
        """
        check_is_fitted(self, "estimators_")
        return self._votes(self._check_rows(X))

    def predict_novel(self, X: Any) -> np.ndarray:
        """Name the novel class of each row, whatever the known classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows that are known to belong to no known class.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            Names of ``novel_classes_``.

        Raises
        ------
        ValueError
            If no novel class was found.
        """
        check_is_fitted(self, "estimators_")
        X = self._check_rows(X)
        if not len(self.novel_classes_):
            raise ValueError("This NovelClassDiscovery found no novel class, so that none can be predicted.")
        n_known = len(self.classes_) - len(self.novel_classes_)
        out = np.zeros((len(X), len(self.classes_)))
        for member, translation, weight in zip(self.estimators_, self.translations_, self.weights_, strict=True):
            found = member_novel_codes(member, X, n_known)
            if found is not None:
                out += weight * votes([found], [translation], np.ones(1), len(self.classes_))
        nowhere = np.flatnonzero(out[:, n_known:].sum(axis=1) == 0)
        novel = self.reference_codes_ >= n_known
        if len(nowhere) and novel.any():
            nearest = nearest_references(self.reference_rows_[novel], X[nowhere], 1)[1][:, 0]
            out[nowhere, self.reference_codes_[novel][nearest]] = 1.0
        return self.novel_classes_[out[:, n_known:].argmax(axis=1)]

    def novelty_score(self, X: Any) -> np.ndarray:
        """How much a row looks like a novel rather than a known class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        score : ndarray of shape (n_samples,)
            Votes for the novel class with the most of them, over the sum of these and those for the known class with
            the most: at least one half where ``predict`` names a novel class, at most one half elsewhere. 0 everywhere
            if no novel class was found, 1 if no class is known.
        """
        check_is_fitted(self, "estimators_")
        share = self._votes(self._check_rows(X))
        n_known = len(self.classes_) - len(self.novel_classes_)
        if n_known in (0, share.shape[1]):
            return np.full(len(share), 0.0 if n_known else 1.0)
        known, novel = share[:, :n_known].max(axis=1), share[:, n_known:].max(axis=1)
        return novel / (known + novel)

    def score(self, X: Any, y: Any = None) -> float:
        """Mean silhouette width of the predicted classes, on at most 5,000 fixed distinct rows of `X`.

        Uses no labels, and can be compared between numbers of clusters.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        y : None
            Ignored.

        Returns
        -------
        score : float
            In [-1, 1], higher is better; 0 where all rows fall in one class.
        """
        check_is_fitted(self, "estimators_")
        X = self._check_rows(X)
        return mean_silhouette(X, self._votes(X).argmax(axis=1))

    def suggest_rows(self, n: int = 10) -> np.ndarray:
        """Unlabeled training rows that are most worth a label.

        First one row amid each novel class, the largest class first: a label names the class. Then rows in doubt, a
        class at a time: those whose votes are divided, or whose neighbors are of other classes.

        Parameters
        ----------
        n : int, default=10
            Number of rows.

        Returns
        -------
        rows : ndarray of shape (n,)
            Numbers of rows of the training table, the most telling first; fewer if fewer have no label, and at most
            1,000.

        Raises
        ------
        ValueError
            If `n` is less than 1.
        """
        check_is_fitted(self, "estimators_")
        if not isinstance(n, Integral) or n < 1:
            raise ValueError(f"n must be an integer of at least 1, got {n!r}.")
        return self.suggested_rows_[:n].copy()

    def _check_rows(self, X: Any, *, reset: bool = False) -> np.ndarray:
        return self._validate_rows(X, reset=reset, dtype=[np.float64, np.float32])

    def _attributes(
        self,
        members: list[Any],
        weights: np.ndarray,
        X: np.ndarray,
        labels: PartialLabels,
        n_wanted: int,
        earlier: Earlier | None,
    ) -> dict[str, Any]:
        """Names, labels and the like, which follow from the votes."""
        n_known = labels.n_known
        weights = weights / weights.sum()
        found = translations(members, weights, X, labels.codes.astype(np.int64), n_wanted)
        n_classes = max(n_known, int(max(translation.max() for translation in found)) + 1)
        share = votes([member_codes(member, X) for member in members], found, weights, n_classes)
        codes = share.argmax(axis=1)
        np.copyto(codes, labels.codes, where=~labels.unlabeled)
        names = self._name_classes(labels.classes, n_classes - n_known)
        if earlier is not None and n_classes > n_known:
            free_codes = np.where(labels.unlabeled, codes, UNLABELED)
            novel = earlier.names(labels.classes, free_codes, n_classes - n_known, self.unlabeled_value)
            names = {"classes_": join_names(labels.classes, novel), "novel_classes_": novel}
        total = share.sum(axis=1)
        told = np.divide(share.max(axis=1), total, out=np.zeros(len(X)), where=total > 0)
        confidence = np.where(labels.unlabeled, told, 1.0)
        references = distinct_rows(
            RowBlocks(X, (None, None)), (None, None), max_rows=_MOST_REFERENCES, random_state=np.random.RandomState(0)
        )
        rows = references.rows[:_MOST_REFERENCES]
        nearest = nearest_references(X[rows], X[rows], 2)[0][:, -1]
        return {
            **names,
            "labels_": decode(codes, names["classes_"]),
            "confidence_": confidence,
            "n_clusters_": n_classes,
            "estimators_": members,
            "weights_": weights,
            "translations_": found,
            "reference_rows_": X[rows],
            "reference_codes_": codes[rows],
            "distance_quantiles_": quantiles_by_class(nearest, codes[rows], np.ones(len(rows)), n_classes),
            "suggested_rows_": _suggested(X, codes, labels, confidence, rows),
        }

    def _votes(self, X: np.ndarray) -> np.ndarray:
        partitions = [member_codes(member, X) for member in self.estimators_]
        share = votes(partitions, self.translations_, self.weights_, len(self.classes_))
        # Classes that no training row was voted into do not count. Rows with no other votes are like the next one.
        nowhere = np.flatnonzero(share.sum(axis=1) == 0)
        if len(nowhere):
            nearest = nearest_references(self.reference_rows_, X[nowhere], 1)[1][:, 0]
            share[nowhere, self.reference_codes_[nearest]] = 1.0
        return share / share.sum(axis=1, keepdims=True)


def _suggested(
    X: np.ndarray, codes: np.ndarray, labels: PartialLabels, confidence: np.ndarray, references: np.ndarray
) -> np.ndarray:
    """Unlabeled rows in the order in which a label tells most."""
    free = np.flatnonzero(labels.unlabeled)
    if not len(free):
        return free
    neighbors = references[nearest_references(X[references], X[free], _NEIGHBORS)[1]]
    divided = (codes[neighbors] != codes[free][:, None]).mean(axis=1)
    doubt = divided + 1 - confidence[free]
    first = []
    for code in range(labels.n_known, int(codes.max()) + 1):
        own = free[codes[free] == code]
        if len(own):
            away = X[own] - X[own].mean(axis=0, dtype=np.float64)
            first.append(own[(away**2).sum(axis=1).argmin()])
    order = np.argsort(-doubt, kind="stable")
    rank_in_class = np.zeros(len(free), dtype=np.intp)
    for code in np.unique(codes[free]):
        own = order[codes[free][order] == code]
        rank_in_class[own] = np.arange(len(own))
    rest = free[order[np.argsort(rank_in_class[order], kind="stable")]]
    return np.concatenate([np.array(first, dtype=np.intp), rest[~np.isin(rest, first)]])[:_MOST_SUGGESTED]
