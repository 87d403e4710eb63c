"""The order in which rows are trained on, which depends neither on their order in the table nor on its repetition."""

from __future__ import annotations

import numpy as np

from ..numerics import lexicographic_order


def training_rows(X: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Numbers of the rows to train on, in lexicographic order, equal rows by their codes.

    Where every row (with its code) stands several times, the numbers of its copies are divided by what they have in
    common: a table repeated is trained on as the table itself. A single row comes twice, for batch normalization.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
    codes : ndarray of shape (n_rows,)

    Returns
    -------
    rows : ndarray
    """
    X, codes = np.asarray(X), np.asarray(codes)
    order = lexicographic_order(np.column_stack([X, codes]))
    same = (X[order[1:]] == X[order[:-1]]).all(axis=1) & (codes[order[1:]] == codes[order[:-1]])
    starts = np.flatnonzero(np.r_[True, ~same])
    copies = np.diff(np.r_[starts, len(order)])
    kept = copies // np.gcd.reduce(copies)
    place = np.arange(len(order)) - np.repeat(starts, copies)
    rows = order[place < np.repeat(kept, copies)]
    return rows if len(rows) > 1 else np.repeat(rows, 2)
