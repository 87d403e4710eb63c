"""The bridge to ``sklearn.callback``: all that the package knows of that young interface is in this file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sklearn.callback import CallbackSupportMixin, with_callbacks

__all__ = ["CallbackSupportMixin", "fit_progress", "with_callbacks"]

Step = Callable[..., bool]


@contextmanager
def fit_progress(estimator: Any, X: Any, y: Any = None, *, max_steps: int | None, step_name: str) -> Iterator[Step]:
    """Report a fit and its steps to the callbacks of `estimator`.

    Parameters
    ----------
    estimator : estimator
        Has `CallbackSupportMixin` among its bases, and a ``fit`` run inside ``with_callbacks``.
    X, y : array-like
        Passed on to the callbacks.
    max_steps : int or None
        Steps at most; None if unknown.
    step_name : str
        What one step is called, "iteration" for example.

    Yields
    ------
    step : callable
        To call after each step, with ``attributes=`` a callable that returns the attributes of a fitted estimator as
        if the fit had stopped here. Returns True when a callback asks to stop.
    """
    context = estimator._init_callback_context(max_subtasks=max_steps)
    context.call_on_fit_task_begin(estimator=estimator, X=X, y=y)

    def step(attributes: Callable[[], dict] | None = None) -> bool:
        task = context.subcontext(task_name=step_name)
        task.call_on_fit_task_begin(estimator=estimator, X=X, y=y)
        return bool(task.call_on_fit_task_end(estimator=estimator, X=X, y=y, reconstruction_attributes=attributes))

    yield step
    context.call_on_fit_task_end(estimator=estimator, X=X, y=y)
