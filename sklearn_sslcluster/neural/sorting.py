"""A sorting network whose comparisons are smooth, so that gradients flow through what it sorts."""

from __future__ import annotations

from math import pi

import torch


def soft_permutation(values: torch.Tensor, steepness: float = 1.0, replacement: float = 0.25) -> torch.Tensor:
    """Permutation matrices, relaxed, that sort each row of `values` in increasing order.

    Odd-even transposition with the Cauchy distribution for comparisons, and activation replacement [1]_. Row r of a
    matrix holds the masses of the values at rank r; matrices are doubly stochastic, and with a high steepness those of
    a hard sort.

    Parameters
    ----------
    values : Tensor of shape (n_rows, n_values)
    steepness : float, default=1.0
        Of a comparison.
    replacement : float, default=0.25
        Exponent in [0, 1) by which differences are drawn away from zero: ``d / |d| ** replacement``.

    Returns
    -------
    permutation : Tensor of shape (n_rows, n_values, n_values)

    References
    ----------
    .. [1] Petersen, F., Borgelt, C., Kuehne, H., Deussen, O. (2021). Differentiable sorting networks for scalable
       sorting and ranking supervision. ICML.
    """
    n_rows, size = values.shape
    identity = torch.eye(size, dtype=values.dtype, device=values.device).expand(n_rows, size, size)
    return soft_sort(values, identity, steepness, replacement)[1]


def soft_sort(
    values: torch.Tensor, carried: torch.Tensor, steepness: float = 1.0, replacement: float = 0.25
) -> tuple[torch.Tensor, torch.Tensor]:
    """(values in order, what they carry in the same order): the permutation of `soft_permutation` times both.

    Time and memory grow with the square of the number of values, and with that of columns carried.

    Parameters
    ----------
    values : Tensor of shape (n_rows, n_values)
    carried : Tensor of shape (n_rows, n_values, n_columns)
    steepness, replacement : float
        See `soft_permutation`.
    """
    n_rows, size = values.shape
    state = torch.cat([values[:, :, None], carried], dim=2)
    for layer in range(size):
        start = layer % 2
        n_pairs = (size - start) // 2
        if not n_pairs:
            continue
        stop = start + 2 * n_pairs
        low, high = state[:, start:stop].reshape(n_rows, n_pairs, 2, -1).unbind(2)
        ordered = _in_order(high[:, :, :1] - low[:, :, :1], steepness, replacement)
        first = high + ordered * (low - high)
        pairs = torch.stack([first, low + high - first], dim=2).reshape(n_rows, 2 * n_pairs, -1)
        state = torch.cat([state[:, :start], pairs, state[:, stop:]], dim=1)
    return state[:, :, 0], state[:, :, 1:]


def _in_order(difference: torch.Tensor, steepness: float, replacement: float) -> torch.Tensor:
    """Degree to which the second value is the larger one."""
    # The power has no gradient at zero.
    replaced = difference / (difference.abs() + 1e-10) ** replacement
    return torch.atan(steepness * replaced) / pi + 0.5
