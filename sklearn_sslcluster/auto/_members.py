"""The fitted pipelines that are kept, and how they vote on rows."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ..labels import UNLABELED
from ..numerics import agree
from ._candidates import before_last, last_step, prepared


def fit_member(pipeline: Any, X: np.ndarray, codes: np.ndarray, n_clusters: int, seed: int) -> Any:
    """A pipeline fitted to rows with codes for names; warnings of single members are not for the user."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return prepared(pipeline, n_clusters, seed).fit(X, codes)


def member_codes(member: Any, X: np.ndarray) -> np.ndarray:
    """Class of each row, known classes first, as a member sees it."""
    return np.asarray(member.predict(X), dtype=np.int64)


def member_novel_codes(member: Any, X: np.ndarray, n_known: int) -> np.ndarray | None:
    """Novel class of each row whatever the known ones; None if the member has found none."""
    clusterer, Z = last_step(member), before_last(member, X)
    if not len(getattr(clusterer, "novel_classes_", [0])):
        return None
    if hasattr(clusterer, "predict_novel"):
        return np.asarray(clusterer.predict_novel(Z), dtype=np.int64)
    if hasattr(clusterer, "predict_proba"):
        return n_known + clusterer.predict_proba(Z)[:, n_known:].argmax(axis=1)
    return np.asarray(clusterer.predict(Z), dtype=np.int64)


def translations(
    members: list[Any], weights: np.ndarray, X: np.ndarray, codes: np.ndarray, n_classes: int
) -> list[np.ndarray]:
    """Common code of each class of each member, by a vote on the unlabeled rows.

    Novel classes come by decreasing size; those that no unlabeled row is voted into get the code ``UNLABELED``.
    """
    n_known = int(codes.max(initial=-1)) + 1
    free = codes == UNLABELED
    rows = X[free] if free.any() else X
    partitions = [member_codes(member, rows) for member in members]
    most = max(n_classes, *(int(found.max(initial=-1)) + 1 for found in partitions))
    found = agree(partitions, weights, n_known, most)
    voted = votes(partitions, found, weights, most).argmax(axis=1)
    sizes = np.bincount(voted, minlength=most)[n_known:] if free.any() else np.zeros(most - n_known)
    means = [rows[voted == n_known + i].mean(axis=0) if sizes[i] else np.zeros(X.shape[1]) for i in range(len(sizes))]
    order = np.lexsort((*np.reshape(means, (-1, X.shape[1])).T[::-1], -sizes))
    place = np.full(most, UNLABELED)
    place[:n_known] = np.arange(n_known)
    place[n_known + order] = n_known + np.arange(len(order))
    place[n_known:][sizes == 0] = UNLABELED
    return [place[translation] for translation in found]


def votes(
    partitions: list[np.ndarray], translations_: list[np.ndarray], weights: np.ndarray, n_classes: int
) -> np.ndarray:
    """Share of the votes that each class of each row has, (n_rows, n_classes)."""
    out = np.zeros((len(partitions[0]), n_classes))
    rows = np.arange(len(out))
    for found, translation, weight in zip(partitions, translations_, weights, strict=True):
        common = translation[found]
        valid = common >= 0
        out[rows[valid], common[valid]] += weight
    return out
