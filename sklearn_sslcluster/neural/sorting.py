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
    permutation = torch.eye(size, dtype=values.dtype, device=values.device).expand(n_rows, size, size)
    for layer in range(size):
        first = torch.arange(layer % 2, size - 1, 2, device=values.device)
        if not len(first):
            continue
        low, high = values[:, first], values[:, first + 1]
        ordered = _in_order(high - low, steepness, replacement)
        new_values = values.clone()
        new_values[:, first] = ordered * low + (1 - ordered) * high
        new_values[:, first + 1] = (1 - ordered) * low + ordered * high
        share = ordered[:, :, None]
        below, above = permutation[:, first], permutation[:, first + 1]
        moved = permutation.clone()
        moved[:, first] = share * below + (1 - share) * above
        moved[:, first + 1] = (1 - share) * below + share * above
        values, permutation = new_values, moved
    return permutation


def _in_order(difference: torch.Tensor, steepness: float, replacement: float) -> torch.Tensor:
    """Degree to which the second value is the larger one."""
    # The power has no gradient at zero.
    replaced = difference / (difference.abs() + 1e-10) ** replacement
    return torch.atan(steepness * replaced) / pi + 0.5
