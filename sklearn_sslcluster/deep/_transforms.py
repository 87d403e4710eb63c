"""Transformations of rows that a classifier can recognize: named ones for tables, and those of a user."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import factorial

import numpy as np

# More columns than this have more permutations, and more patterns of signs, than anyone asks for.
_MANY_COLUMNS = 20
# Standard deviations by which equal values may differ in rounding.
_SAME = 1e-6


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


def draw_transforms(
    kind: str, n_wanted: int, X: np.ndarray, scale: dict[str, np.ndarray], random_state: np.random.RandomState
) -> tuple[NamedTransforms, list[np.ndarray]]:
    """Draw transformations of a kind that these rows tell apart, the first of which leaves them as they are.

    Parameters
    ----------
    kind : {"permute-columns", "flip-signs"}
    n_wanted : int
        There are fewer where columns are few, constant or equal.
    X : ndarray of shape (n_rows, n_features)
    scale : dict of str to ndarray
        "mean_" and "scale_" of the columns.
    random_state : RandomState

    Returns
    -------
    transforms : NamedTransforms
    views : list of ndarray of shape (n_rows, n_features)
        Rows after each of them.
    """
    n_features = X.shape[1]
    columns = np.arange(n_features)
    # A constant column is its own mirror image.
    varying = columns if kind == "permute-columns" else np.flatnonzero(~(X[:1] == X).all(axis=0))
    n_possible = n_wanted
    if len(varying) <= _MANY_COLUMNS:
        n_possible = min(n_wanted, factorial(n_features) if kind == "permute-columns" else 2 ** len(varying))
    orders, signs = [columns], [np.ones(n_features)]
    while len(orders) < n_possible:
        order, sign = columns, np.ones(n_features)
        if kind == "permute-columns":
            order = random_state.permutation(n_features)
        else:
            sign[varying] = random_state.choice([-1.0, 1.0], size=len(varying))
        if not any((order == old).all() and (sign == other).all() for old, other in zip(orders, signs, strict=True)):
            orders.append(order)
            signs.append(sign)
    drawn = NamedTransforms(np.array(orders), np.array(signs), scale["mean_"], scale["scale_"])
    views = views_of(drawn, X)
    kept: list[int] = []
    for i, view in enumerate(views):
        away = (np.abs(view - views[old]) / drawn.scale for old in kept)
        if all(np.nanmax(distance, initial=0.0) > _SAME for distance in away):
            kept.append(i)
    return NamedTransforms(drawn.orders[kept], drawn.signs[kept], drawn.mean, drawn.scale), [views[i] for i in kept]
