"""What a training leaves for the next batch of rows, as numpy arrays: ``partial_fit`` goes on from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class RunningState:
    """Weights, and what optimizer and objective remember.

    Attributes
    ----------
    network : dict of str to ndarray
    objective : dict of str to ndarray
        What `Objective.running` names.
    optimizers : list of list of dict
        For each optimizer, and in it for each tensor of weights, what it remembers of the gradients.
    """

    network: Arrays
    objective: Arrays
    optimizers: list[list[Arrays]]

    @classmethod
    def of(cls, network: nn.Module, objective: Any, optimizers: list[torch.optim.Optimizer]) -> RunningState:
        """Of a training that is over."""
        remembered = []
        for optimizer in optimizers:
            state = optimizer.state_dict()["state"]
            n_tensors = sum(len(group["params"]) for group in optimizer.param_groups)
            remembered.append([_arrays(state.get(number, {})) for number in range(n_tensors)])
        return cls(_arrays(network.state_dict()), _arrays(objective.running()), remembered)

    def fill(self, network: nn.Module) -> None:
        """Give a network these weights.

        Raises
        ------
        ValueError
            If it has another shape.
        """
        shapes = {name: tuple(values.shape) for name, values in network.state_dict().items()}
        if shapes != {name: values.shape for name, values in self.network.items()}:
            raise ValueError(
                "The network has another shape than that of the first batch: encoder and embedding_size have to stay "
                "as they were; fit begins anew."
            )
        network.load_state_dict(_tensors(self.network))

    def of_objective(self, device: str) -> dict[str, torch.Tensor]:
        return {name: values.to(device) for name, values in _tensors(self.objective).items()}

    def fill_optimizers(self, optimizers: list[torch.optim.Optimizer]) -> None:
        """Let optimizers remember; those of a training that has none of these begin anew."""
        for optimizer, remembered in zip(optimizers, self.optimizers, strict=False):
            state = optimizer.state_dict()
            state["state"] = {number: _tensors(one) for number, one in enumerate(remembered) if one}
            optimizer.load_state_dict(state)


def _arrays(tensors: dict[str, torch.Tensor]) -> Arrays:
    return {name: values.detach().cpu().numpy().copy() for name, values in tensors.items()}


def _tensors(arrays: Arrays) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(values) for name, values in arrays.items()}
