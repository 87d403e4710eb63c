"""Finding the public estimators by walking the package, so that no list of them can go stale."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from inspect import isabstract, isclass
from types import ModuleType

from sklearn.base import BaseEstimator

_PACKAGE = __name__.partition(".")[0]
# Rooms of mechanisms: no estimator is exported there, and `neural` would import torch.
_WITHOUT_ESTIMATORS = ("base", "engine", "neural", "numerics", "utils")


def _public_rooms() -> Iterator[ModuleType]:
    for room in pkgutil.iter_modules(import_module(_PACKAGE).__path__):
        if room.ispkg and not room.name.startswith("_") and room.name not in _WITHOUT_ESTIMATORS:
            yield import_module(f"{_PACKAGE}.{room.name}")


def public_classes() -> Iterator[type]:
    """Classes of the package that its rooms export."""
    for room in _public_rooms():
        exported = (getattr(room, name) for name in room.__all__)
        yield from (member for member in exported if isclass(member) and member.__module__.startswith(_PACKAGE))


def _is_estimator(cls: type) -> bool:
    """Whether a class can be fitted: settings of networks have parameters only."""
    return issubclass(cls, BaseEstimator) and hasattr(cls, "fit") and not isabstract(cls)


def all_estimators() -> list[tuple[str, type[BaseEstimator]]]:
    """List the public estimators of the package.

    Returns
    -------
    estimators : list of (str, type)
        Name and class of every estimator that a room of the package exports, sorted by name.

    See Also
    --------
    sklearn.utils.discovery.all_estimators : The same for scikit-learn.

    Examples
    --------
    >>> from sklearn_sslcluster.utils import all_estimators
    >>> [name for name, _ in all_estimators() if name.startswith("NCDK")]
    ['NCDKMeans']
    """
    found = {cls.__name__: cls for cls in public_classes() if _is_estimator(cls)}
    return sorted(found.items())
