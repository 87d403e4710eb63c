"""Classification of transformed rows by class and transformation: the network and what it lowers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from .networks import build_encoder, build_head
from .objectives import Batch, Objective

# A batch without labeled rows has no weight where unlabeled ones have none.
_LEAST_WEIGHT = 1e-12


@dataclass(frozen=True)
class AugmentationWeights:
    """What counts how much beside the cross-entropy of labeled rows.

    Attributes
    ----------
    unlabeled : float
        Weight of an unlabeled row; that of a labeled one is 1.
    temperature : float
        By which logits are divided where one head learns from the other.
    """

    unlabeled: float = 1.0
    temperature: float = 1.0


def build_classifier(encoder: Any, shape: tuple[int, int, int], heads: dict[str, int], seed: int) -> nn.ModuleDict:
    """Encoder and heads that read it, with weights drawn by a seed; the generator of torch is left as it was.

    Parameters
    ----------
    encoder : NetworkSettings or a subclass of torch.nn.Module
    shape : (int, int, int)
        Rows, columns, and outputs of the encoder.
    heads : dict of str to int
        Outputs of each head.
    seed : int
    """
    n_rows, n_features, n_outputs = shape
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network = {"encoder": build_encoder(encoder, n_rows, n_features, n_outputs)}
        # The encoder ends with a linear layer: without a bend, a head on it would add nothing.
        network |= {name: nn.Sequential(nn.ReLU(), build_head(n_outputs, n)) for name, n in heads.items()}
    return nn.ModuleDict(network)


class LabelAugmentation(Objective):
    """Cross-entropy of the joint label of class and transformation, the mean over all transformations of a row.

    Output ``class * n_transforms + transform`` of the part "joint_head" of the network is the logit of both. Of an
    unlabeled row the transformation is known all the same: its loss is that of the sum over classes.

    With a part "single_head" in the network, that head learns from the labels, and from the aggregate of the joint
    head over all transformations, which is held fixed.

    Parameters
    ----------
    views : ndarray of shape (n_transforms, n_rows, n_features)
        Standardized rows after each transformation; the first leaves them as they are.
    n_classes : int
    weights : AugmentationWeights
    """

    requires = ("encoder", "joint_head")

    def __init__(self, views: np.ndarray, n_classes: int, weights: AugmentationWeights) -> None:
        super().__init__()
        self.n_classes, self.weights = n_classes, weights
        rows = torch.as_tensor(np.ascontiguousarray(views, dtype=np.float32))
        # They are data, which a checkpoint need not hold.
        self.register_buffer("views", rows, persistent=False)

    @property
    def given(self) -> np.ndarray:
        """The views, which a checkpoint depends on."""
        return self.views.cpu().numpy()

    def loss(self, batch: Batch, network: nn.ModuleDict) -> torch.Tensor:
        views = self.views[:, batch.index]
        n_transforms, n_rows = views.shape[:2]
        embedding = network["encoder"](views.flatten(0, 1))
        log_joint = functional.log_softmax(network["joint_head"](embedding).float(), dim=1)
        # For each transformation, of its view of a row, the column of this transformation: (rows, classes, transforms).
        own = log_joint.view(n_transforms, n_rows, self.n_classes, n_transforms).diagonal(dim1=0, dim2=3)
        labeled, codes = batch.codes >= 0, batch.codes.clamp_min(0)
        of_class = own.gather(1, codes[:, None, None].expand(-1, 1, n_transforms))[:, 0]
        losses = -torch.where(labeled[:, None], of_class, own.logsumexp(dim=1)).mean(dim=1)
        weights = torch.where(labeled, 1.0, self.weights.unlabeled)
        if "single_head" in network:
            losses = losses + self._distillation(network["single_head"](embedding[:n_rows]).float(), own, batch.codes)
        return (weights * losses).sum() / weights.sum().clamp_min(_LEAST_WEIGHT)

    def _distillation(self, logits: torch.Tensor, own: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        temperature = self.weights.temperature
        log_p = functional.log_softmax(own.detach().mean(dim=2) / temperature, dim=1)
        log_q = functional.log_softmax(logits / temperature, dim=1)
        divergence = temperature**2 * (log_p.exp() * (log_p - log_q)).sum(dim=1)
        classified = functional.cross_entropy(logits, codes.clamp_min(0), reduction="none")
        return divergence + torch.where(codes >= 0, classified, torch.zeros_like(classified))
