"""Names that classes take over from an earlier model."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np

from ..labels import join_names, novel_names, warn_user
from ..numerics import match_clusters

_ENOUGH_OVERLAP = 0.5


@dataclass(frozen=True)
class Earlier:
    """What an earlier model calls the rows of a table.

    Attributes
    ----------
    called : ndarray of shape (n_rows,)
        Name of each row, an array of objects; another value where the row is like none of its classes.
    classes : ndarray of shape (n_classes,)
        All names of the model.
    """

    called: np.ndarray
    classes: np.ndarray

    @classmethod
    def of(cls, model: Any, X: Any) -> Earlier:
        """Ask a model for its names.

        Raises
        ------
        ValueError
            If `model` is no fitted model with novel classes, or was not fitted to these columns.
        """
        wanted = "init_from must be a model with novel classes, fitted to the columns of X"
        if not hasattr(model, "novel_classes_") or not hasattr(model, "predict"):
            raise ValueError(f"{wanted}; got {model!r}.")
        try:
            # Rows unlike any that the model has seen are none of its classes, whichever comes next.
            knows = "reject" in signature(model.predict).parameters
            called = np.asarray(model.predict(X, **({"reject": 1.0} if knows else {}))).astype(object)
        except ValueError as error:
            raise ValueError(f"{wanted}; {model!r} says: {error}") from error
        return cls(called, np.asarray(model.classes_))

    def names(self, known: np.ndarray, codes: np.ndarray, n_novel: int, unlabeled_value: Any) -> np.ndarray:
        """Names of novel classes: that of the earlier class which shares most of their rows, or one that is new.

        Names follow the kind of those of the known classes, or where there are none of the earlier ones. No novel class
        gets a name of an earlier class that it does not continue.

        Parameters
        ----------
        known : ndarray of shape (n_known,)
            Names of the known classes.
        codes : ndarray of shape (n_rows,)
            Class of each row, novel ones from n_known on; negative for rows that do not count.
        n_novel : int
        unlabeled_value : int, str, bool or None
            No class can have this name.
        """
        numbers = (known if len(known) else self.classes).dtype.kind == "i"
        old = {name: _like(name, numbers) for name in self.classes.tolist()}
        lost = [name for name, new in old.items() if new is None]
        if lost:
            warn_user(
                f"init_from has names that are no whole numbers, {lost[0]!r} for one, and the labels of y are: novel "
                "classes cannot keep them."
            )
        taken = set(known.tolist()) | {unlabeled_value, None}
        kept: dict[Any, Any] = {}
        for name, new in old.items():
            if new not in taken:
                kept[name] = new
                taken.add(new)
        table = np.array(
            [[np.sum((self.called == name) & (codes == len(known) + i)) for i in range(n_novel)] for name in kept]
        ).reshape(len(kept), n_novel)
        sizes = np.array([(codes == len(known) + i).sum() for i in range(n_novel)])
        before = np.array([((self.called == name) & (codes >= 0)).sum() for name in kept])
        found: list[Any] = [None] * n_novel
        for row, column in zip(*match_clusters(table), strict=True):
            if table[row, column] > _ENOUGH_OVERLAP * min(sizes[column], before[row]):
                found[column] = list(kept.values())[row]
        avoided = np.array([name for name in old.values() if name is not None], dtype=np.int64 if numbers else object)
        fresh = iter(novel_names(join_names(known, avoided), n_novel, unlabeled_value=unlabeled_value).tolist())
        names = [next(fresh) if name is None else name for name in found]
        return np.array(names, dtype=np.int64 if numbers else object)


def _like(name: Any, numbers: bool) -> Any:
    """A name as one among whole numbers, or as one among texts; None if it cannot be one."""
    is_number = isinstance(name, int) and not isinstance(name, bool)
    if numbers:
        return name if is_number else None
    return str(name) if is_number else name
