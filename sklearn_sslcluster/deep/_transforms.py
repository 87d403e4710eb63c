"""Transformations of rows that a classifier can recognize: named ones for tables, and those of a user."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import factorial
from typing import Any

import numpy as np

# More columns than this have more permutations, and more patterns of signs, than anyone asks for.
_MANY_COLUMNS = 20


@dataclass(frozen=True)
class NamedTransforms:
    """Permutations of columns and flips of signs, in standardized columns; the first leaves rows as they are.

    Attributes
    ----------
    orders : ndarray of shape (n_transforms, n_features)
        The column that each column takes its values from.
    signs : ndarray of shape (n_transforms, n_features)
        1, or -1 where values are mirrored at the mean.
    mean, scale : ndarray of shape (n_features,)
        By which columns are standardized.
    """

    orders: np.ndarray
    signs: np.ndarray
    mean: np.ndarray
    scale: np.ndarray

    def __len__(self) -> int:
        return len(self.orders)

    def apply(self, X: np.ndarray, number: int) -> np.ndarray:
        """Rows after a transformation, in their own units."""
        if number == 0:
            return X
        Z = (np.asarray(X, dtype=np.float64) - self.mean) / self.scale
        moved = self.mean + self.scale * self.signs[number] * Z[:, self.orders[number]]
        return moved.astype(X.dtype) if X.dtype.kind == "f" else moved


@dataclass(frozen=True)
class OwnTransforms:
    """The identity, then functions of a user.

    Attributes
    ----------
    functions : sequence of callable
        Each takes rows and returns as many rows with as many columns.
    """

    functions: Sequence[Callable]

    def __len__(self) -> int:
        return 1 + len(self.functions)

    def apply(self, X: np.ndarray, number: int) -> np.ndarray:
        """Rows after a transformation.

        Raises
        ------
        ValueError
            If the function returns another shape, or numbers that are not finite where those of `X` are.
        """
        if number == 0:
            return X
        where = f"transforms[{number - 1}]"
        # A copy: what a function does to its argument in place is not to reach the next one.
        moved = np.asarray(self.functions[number - 1](X.copy()))
        if moved.shape != X.shape:
            raise ValueError(f"{where} returned shape {moved.shape} for rows of shape {X.shape}; they must agree.")
        if moved.dtype.kind not in "biuf":
            raise ValueError(f"{where} returned an array of dtype {moved.dtype}; numbers are expected.")
        if np.isfinite(X).all() and not np.isfinite(moved).all():
            raise ValueError(f"{where} returned NaN or infinite values for rows that have none.")
        return moved


def views_of(transforms: NamedTransforms | OwnTransforms, X: np.ndarray) -> list[np.ndarray]:
    """Rows after each transformation, the first of which leaves them as they are."""
    return [transforms.apply(X, number) for number in range(len(transforms))]


def refuse_equal_views(views: list[np.ndarray]) -> None:
    """Refuse functions that no classifier could tell apart.

    Raises
    ------
    ValueError
        If two of them give the same rows, or one leaves all rows as they are.
    """
    for number, view in enumerate(views):
        for earlier in range(number):
            if np.array_equal(view, views[earlier], equal_nan=True):
                what = (
                    "leaves all rows of X as they are; the identity is there already"
                    if earlier == 0
                    else f"gives the same rows as transforms[{earlier - 1}]"
                )
                raise ValueError(f"transforms[{number - 1}] {what}; leave it out.")


def possible_transforms(kind: str, n_wanted: int, n_features: int) -> int:
    """Number of different transformations that so many columns have, at most `n_wanted`."""
    if n_features > _MANY_COLUMNS:
        return n_wanted
    return min(n_wanted, factorial(n_features) if kind == "permute-columns" else 2**n_features)


def draw_transforms(
    kind: str, n_transforms: int, scale: dict[str, np.ndarray], random_state: np.random.RandomState
) -> NamedTransforms:
    """Draw different transformations of a kind, the first of which leaves rows as they are.

    Parameters
    ----------
    kind : {"permute-columns", "flip-signs"}
    n_transforms : int
        At most as many as there are: `possible_transforms`.
    scale : dict of str to ndarray
        "mean_" and "scale_" of the columns.
    random_state : RandomState
    """
    n_features = len(scale["mean_"])
    columns, ones = np.arange(n_features), np.ones(n_features)
    drawn = [tuple(columns if kind == "permute-columns" else ones)]
    while len(drawn) < n_transforms:
        new: Any
        if kind == "permute-columns":
            new = random_state.permutation(n_features)
        else:
            new = random_state.choice([-1.0, 1.0], size=n_features)
        if tuple(new) not in drawn:
            drawn.append(tuple(new))
    rows = np.array(drawn)
    if kind == "permute-columns":
        return NamedTransforms(rows, np.ones(rows.shape), scale["mean_"], scale["scale_"])
    return NamedTransforms(np.tile(columns, (len(rows), 1)), rows, scale["mean_"], scale["scale_"])
