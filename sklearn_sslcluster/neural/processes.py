"""Training by several processes, each with a device of its own, that were started by torchrun or accelerate.

A process group of torch that is there is used: every process takes its share of each batch, and the gradients of the
shares are averaged before a step. What is decided (when to stop, which epoch was best) is decided by the first process.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import distributed, nn


def n_processes() -> int:
    """Processes that train together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """Number of this process."""
    return distributed.get_rank() if n_processes() > 1 else 0


def is_first() -> bool:
    """Whether this is the process that reads and writes files."""
    return rank() == 0


def share(n_rows: int) -> tuple[slice, float]:
    """(places of the rows of a batch that are this process's, weight of their mean loss in that of the batch).

    Batches too small to be shared are seen whole by every process.
    """
    n = n_processes()
    if n == 1 or n_rows < 2 * n:
        return slice(None), 1.0
    mine = slice(rank(), None, n)
    return mine, len(range(n_rows)[mine]) * n / n_rows


def counted(n_rows: int) -> float:
    """What each row of a share of a batch counts in sums over the processes: less where all of them see it."""
    n = n_processes()
    return 1 / n if n_rows < 2 * n else 1.0


def from_first(values: Any) -> Any:
    """What the first process has, in all of them: numbers and the like."""
    if n_processes() == 1:
        return values
    box = [values]
    distributed.broadcast_object_list(box)
    return box[0]


def averaged(value: float, n_rows: int) -> float:
    """Mean over the processes of a mean over the rows that each has seen."""
    if n_processes() == 1:
        return value
    gathered: list[Any] = [None] * n_processes()
    distributed.all_gather_object(gathered, (value, n_rows))
    values, weights = zip(*gathered, strict=True)
    return float(np.average(values, weights=weights))


def summed(values: torch.Tensor) -> torch.Tensor:
    """Sum over the processes."""
    if n_processes() > 1:
        distributed.all_reduce(values)
    return values


def agree(module: nn.Module) -> None:
    """Give all processes the weights and buffers of the first."""
    if n_processes() > 1:
        for tensor in module.state_dict().values():
            distributed.broadcast(tensor, 0)


class SharedGradients(Callback):
    """Averages gradients over the processes."""

    def on_grad_computed(self, net: Any, named_parameters: Any, **kwargs: Any) -> None:
        for _, weights in named_parameters:
            if weights.requires_grad and weights.numel():
                if weights.grad is None:
                    weights.grad = torch.zeros_like(weights)
                distributed.all_reduce(weights.grad)
                weights.grad /= n_processes()
