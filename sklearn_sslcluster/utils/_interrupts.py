"""Interrupts at chosen lines of a fit, without the help of the estimator."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from sklearn.base import BaseEstimator


def _package(module: str) -> str:
    return module.partition(".")[0]


class Interrupter:
    """Runs ``fit`` and counts the lines executed in the package of the estimator; interrupts at one of them.

    Lines of the packages of all classes that the estimator derives from count, those of scikit-learn do not. The
    tracing function that was active before (of a debugger, of coverage) is back in place afterwards.

    Parameters
    ----------
    estimator : estimator

    Attributes
    ----------
    reached : str or None
        File and line at which the interrupt was raised.
    """

    def __init__(self, estimator: BaseEstimator) -> None:
        self.estimator = estimator
        self.reached: str | None = None
        modules = {_package(cls.__module__) for cls in type(estimator).__mro__}
        self._packages = modules - {"builtins", "sklearn"} or {_package(type(estimator).__module__)}

    def moments(self, X: Any, y: Any) -> dict[str, int]:
        """Lines worth an interrupt, found by one undisturbed fit: at entry, midway, around the changes of state."""
        seen = [self._state()]
        changes: list[int] = []
        n_lines = 0

        def watch(frame: FrameType) -> None:
            nonlocal n_lines
            n_lines += 1
            state = self._state()
            if state != seen[-1]:
                seen[:] = [state]
                changes.append(n_lines)

        self._traced_fit(watch, X, y)
        moments = {"at entry": 1, "midway": max(n_lines // 2, 1), "at the last line": n_lines}
        if changes:
            moments |= {
                "after the first assignment": changes[0],
                "before the last assignment": changes[-1] - 1,
                "after the last assignment": changes[-1],
            }
        return moments

    def interrupt(self, X: Any, y: Any, line: int) -> bool:
        """Fit, raise KeyboardInterrupt at the given line, and tell whether it came out of ``fit``."""
        n_lines = 0

        def raise_there(frame: FrameType) -> None:
            nonlocal n_lines
            n_lines += 1
            if n_lines == line:
                self.reached = f"{frame.f_globals.get('__name__')}, line {frame.f_lineno}"
                raise KeyboardInterrupt

        try:
            self._traced_fit(raise_there, X, y)
        except KeyboardInterrupt:
            if self.reached is None:
                raise
            return True
        return False

    def _state(self) -> dict[str, int]:
        return {name: id(value) for name, value in vars(self.estimator).items()}

    def _traced_fit(self, on_line: Callable[[FrameType], None], X: Any, y: Any) -> None:
        def trace_lines(frame: FrameType, event: str, argument: Any) -> Any:
            if event == "line":
                on_line(frame)
            return trace_lines

        def trace_calls(frame: FrameType, event: str, argument: Any) -> Any:
            if _package(str(frame.f_globals.get("__name__", ""))) in self._packages:
                on_line(frame)
                return trace_lines
            return None

        before = sys.gettrace()
        fit = self.estimator.fit
        sys.settrace(trace_calls)
        try:
            fit(X, y)
        finally:
            sys.settrace(before)
