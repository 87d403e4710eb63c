"""Checks for clusterers that take partial labels, beside those of scikit-learn.

Each check is a function ``check(name, estimator)`` that fits clones of `estimator`, raises an AssertionError that says
what differed, and raises ``unittest.SkipTest`` where it does not apply: the estimator lacks the parameter or the method
it is about, or an optional package is not installed. Its first line of documentation is what it asserts.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from functools import partial
from typing import Any, Literal
from unittest import SkipTest

from sklearn.base import BaseEstimator
from sklearn.exceptions import SkipTestWarning

from ._check_tools import Check
from ._data_checks import DATA_CHECKS
from ._label_checks import LABEL_CHECKS
from ._state_checks import STATE_CHECKS

__all__ = ["check_partial_label_estimator", "parametrize_with_partial_label_checks", "partial_label_checks"]


def partial_label_checks() -> list[Check]:
    """List the checks for clusterers that take partial labels.

    Returns
    -------
    checks : list of callable
        Each is called as ``check(name, estimator)``.

    Examples
    --------
    >>> from sklearn_sslcluster.utils.estimator_checks import partial_label_checks
    >>> partial_label_checks()[0].__name__
    'check_labels_reach_fit_predict'
    """
    return [*LABEL_CHECKS, *DATA_CHECKS, *STATE_CHECKS]


def check_partial_label_estimator(
    estimator: BaseEstimator, *, on_skip: Literal["warn"] | None = "warn"
) -> list[dict[str, Any]]:
    """Run all checks for clusterers that take partial labels on one estimator.

    Parameters
    ----------
    estimator : estimator
        An instance with a ``fit(X, y=None)`` that takes partial labels. Give it few iterations: it is cloned and
        fitted some hundred times, on about a hundred rows. The checks set its `n_clusters` and seeds.
    on_skip : {"warn"} or None, default="warn"
        Whether a check that does not apply leaves a `SkipTestWarning`.

    Returns
    -------
    results : list of dict
        For each check its ``"check_name"``, ``"status"`` ("passed" or "skipped"), ``"exception"`` (the reason of a
        skip, or None) and the ``"estimator"``, as ``sklearn.utils.estimator_checks.check_estimator`` returns them.

    Raises
    ------
    AssertionError
        By the first check that fails; an error of the estimator itself comes through as it is.
    TypeError
        If `estimator` is a class.

    See Also
    --------
    parametrize_with_partial_label_checks : The same checks, each as a test of its own for pytest.
    sklearn.utils.estimator_checks.check_estimator : Checks of scikit-learn, which should pass as well.

    Examples
    --------
    Everything at once::

        check_partial_label_estimator(MyClusterer(max_iter=5))

    and a single check:

    >>> from sklearn_sslcluster.discovery import SemiSupervisedKMeans
    >>> from sklearn_sslcluster.utils.estimator_checks import partial_label_checks
    >>> checks = {check.__name__: check for check in partial_label_checks()}
    >>> checks["check_labeled_rows_keep_their_label"]("mine", SemiSupervisedKMeans(n_init=1))
    """
    _refuse_class(estimator)
    name = type(estimator).__name__
    results = []
    for check in partial_label_checks():
        reason = None
        try:
            check(name, estimator)
        except SkipTest as skip:
            reason = skip
            if on_skip == "warn":
                warnings.warn(f"{check.__name__} was skipped: {skip}", SkipTestWarning, stacklevel=2)
        results.append(
            {
                "estimator": estimator,
                "check_name": check.__name__,
                "status": "passed" if reason is None else "skipped",
                "exception": reason,
            }
        )
    return results


def parametrize_with_partial_label_checks(estimators: Iterable[BaseEstimator]) -> Any:
    """Parametrize a pytest test with the checks for clusterers that take partial labels.

    Parameters
    ----------
    estimators : iterable of estimators
        Instances to check.

    Returns
    -------
    decorator : pytest.mark.parametrize
        Of a test with the arguments ``estimator`` and ``check``; its ids are the name of the class and of the check.

    See Also
    --------
    sklearn.utils.estimator_checks.parametrize_with_checks : The same for scikit-learn's checks.

    Examples
    --------
    In a test module::

        @parametrize_with_partial_label_checks([MyClusterer(max_iter=5)])
        def test_partial_labels(estimator, check):
            check(estimator)
    """
    import pytest

    cases = []
    for estimator in estimators:
        _refuse_class(estimator)
        name = type(estimator).__name__
        for check in partial_label_checks():
            cases.append(pytest.param(estimator, partial(check, name), id=f"{name}-{check.__name__}"))
    return pytest.mark.parametrize(("estimator", "check"), cases)


def _refuse_class(estimator: Any) -> None:
    if isinstance(estimator, type):
        raise TypeError(f"An instance is expected, got the class {estimator.__name__}; pass {estimator.__name__}().")
