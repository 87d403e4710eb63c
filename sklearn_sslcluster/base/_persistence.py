"""The version that a saved estimator carries, and what becomes of one that another version has saved."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from .. import __version__

# The number of the layout of fitted attributes. A release that renames or reinterprets one raises it, and says in
# `MIGRATIONS` how the state of the format before becomes one of the next.
FORMAT = 1
# By the format that is read: (name of the class, its state) -> state of the next format.
MIGRATIONS: dict[int, Callable[[str, dict[str, Any]], dict[str, Any]]] = {}

_FORMAT_KEY, _VERSION_KEY = "_sslcluster_format", "_sslcluster_version"


class VersionedStateMixin:
    """Mixin that puts a format and a version in what pickle, joblib and skops save, and looks at them when loading."""

    def __getstate__(self) -> dict[str, Any]:
        state: Any = super().__getstate__()
        return {**(state or {}), _FORMAT_KEY: FORMAT, _VERSION_KEY: __version__}

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise TypeError(f"The state of a {type(self).__name__} must be a dict, got a {type(state).__name__}.")
        # Parameters that came with a later version have their default.
        state = _defaults(type(self)) | _current(type(self).__name__, dict(state))
        super().__setstate__(state)  # type: ignore[misc]


def _defaults(cls: type) -> dict[str, Any]:
    parameters = inspect.signature(cls).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters if parameter.default is not parameter.empty}


def _current(name: str, state: dict[str, Any]) -> dict[str, Any]:
    """State without its stamp, in the format of this version; without a stamp it is of the first format."""
    format_ = state.pop(_FORMAT_KEY, 1)
    version = state.pop(_VERSION_KEY, "unknown")
    if type(format_) is not int or format_ < 1:
        raise ValueError(f"A saved {name} has the format {format_!r}, which is none: the file is damaged or no model.")
    if format_ > FORMAT:
        raise ValueError(
            f"This {name} was saved by sklearn-sslcluster {version} in format {format_}, and the installed version "
            f"{__version__} reads formats up to {FORMAT}; install sklearn-sslcluster {version} or newer to load it."
        )
    for older in range(format_, FORMAT):
        if older in MIGRATIONS:
            state = MIGRATIONS[older](name, state)
    return state
