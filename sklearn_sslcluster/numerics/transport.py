"""Optimal transport between rows and clusters of given masses: Sinkhorn's algorithm in the log domain.

Runs over the array namespace of its arguments, so that gradients flow through it where these are tensors of torch.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace

# Regularization in units of the mean spread of the costs of a row: where annealing begins, where it ends at the latest,
# and by what it is divided each time.
_FIRST_REGULARIZATION, _LAST_REGULARIZATION, _COOLING = 1.0, 1e-4, 4.0
# Deviation of the masses at which the next, smaller regularization takes over.
_STAGE_TOL = 1e-3
# Share of the rows that may be in excess when each row goes where most of it goes.
_EXCESS_SHARE = 5e-3


class TransportPlan(NamedTuple):
    """What Sinkhorn's algorithm has reached.

    Attributes
    ----------
    log_plan : array of shape (n_rows, n_columns)
        Logarithm of the plan, whose columns have the masses asked for, if `balance` is 1.
    n_iter : int
        Iterations, each of them once over rows and once over columns.
    error : float or None
        Absolute deviation of the masses of the rows, summed, over the total mass; None where it was not looked at.
    column_potentials : array of shape (n_columns,)
        What is added to the scores of each column.
    """

    log_plan: Any
    n_iter: int
    error: float | None
    column_potentials: Any


def log_sinkhorn(
    scores: Any,
    log_rows: Any,
    log_columns: Any,
    *,
    max_iter: int = 1000,
    tol: float | None = 1e-9,
    balance: float = 1.0,
) -> TransportPlan:
    """Plan ``exp(scores + f[:, None] + g)`` whose rows and columns have given masses.

    The maximizer of ``<P, scores> + entropy(P)`` among all plans P with these masses; scores are minus costs over the
    regularization. No exponential is taken of what could overflow.

    Parameters
    ----------
    scores : array of shape (n_rows, n_columns)
        -inf forbids a pair; every row and column needs one that is not forbidden.
    log_rows : array of shape (n_rows,)
        Logarithms of masses.
    log_columns : array of shape (n_columns,)
        Logarithms of masses of the same total.
    max_iter : int, default=1000
    tol : float or None, default=1e-9
        Stop when `TransportPlan.error` is no larger. None: run all iterations, without looking.
    balance : float in [0, 1], default=1.0
        Below 1 the masses of columns are free to differ from those asked for, at a cost: their relative entropy times
        ``balance / (1 - balance)``. At 0 each row goes where its scores say.
    """
    xp = array_namespace(scores, log_rows, log_columns)
    f, g = log_rows * 0, log_columns * 0
    sums, error, n_iter = log_sum_exp(scores, 1), None, 0
    for n_iter in range(1, max_iter + 1):
        f = log_rows - sums
        g = balance * (log_columns - log_sum_exp(scores + f[:, None], 0))
        sums = log_sum_exp(scores + g[None, :], 1)
        if tol is not None:
            wanted = xp.exp(log_rows)
            error = float(xp.sum(xp.abs(xp.exp(f + sums) - wanted)) / xp.sum(wanted))
            if error <= tol:
                break
    return TransportPlan(scores + f[:, None] + g[None, :], n_iter, error, g)


def log_sum_exp(values: Any, axis: int) -> Any:
    """Logarithm of the sum of exponentials along an axis on which some value is above -inf."""
    xp = array_namespace(values)
    largest = xp.max(values, axis=axis, keepdims=True)
    return xp.squeeze(largest, axis=axis) + xp.log(xp.sum(xp.exp(values - largest), axis=axis))


def annealed_potentials(costs: np.ndarray, masses: np.ndarray, *, max_iter: int = 1000) -> np.ndarray:
    """Potentials of clusters, such that rows in the cluster of smallest cost less potential nearly have given masses.

    Sinkhorn's algorithm for less and less regularization, each time until the masses of its plan are right, begun from
    the potentials before. It ends when rows that go where most of them goes exceed the masses by few.

    Parameters
    ----------
    costs : ndarray of shape (n_rows, n_clusters)
    masses : ndarray of shape (n_clusters,)
        Nonnegative, of the sum n_rows.
    max_iter : int, default=1000
        Iterations for one regularization.
    """
    n_rows, n_clusters = costs.shape
    potentials = np.zeros(n_clusters)
    scale = float(costs.std(axis=1).mean()) if n_rows else 0.0
    used = masses > 0
    if scale <= 0 or used.sum() < 2:
        return potentials
    log_rows, log_columns = np.zeros(n_rows), np.log(masses[used])
    regularization = _FIRST_REGULARIZATION * scale
    while regularization >= _LAST_REGULARIZATION * scale:
        scores = (potentials[used] - costs[:, used]) / regularization
        plan = log_sinkhorn(scores, log_rows, log_columns, max_iter=max_iter, tol=_STAGE_TOL)
        # What the plan adds to the scores of a row is the same for all clusters but for their potentials.
        added = plan.log_plan[0] - scores[0]
        potentials[used] += regularization * (added - added.mean())
        nearest = np.where(used, costs - potentials, np.inf).argmin(axis=1)
        excess = np.maximum(np.bincount(nearest, minlength=n_clusters) - masses, 0).sum()
        if excess <= _EXCESS_SHARE * n_rows:
            break
        regularization /= _COOLING
    # A cluster that gets nothing attracts no row.
    potentials[~used] = potentials[used].min() - (costs.max() - costs.min())
    return potentials
