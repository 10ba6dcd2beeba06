"""What one training step is given, and the model as it is at that step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from flspec.core.randomness import Stream
from flspec.layers import Layer, draw_masks
from flspec.losses import Loss
from flspec_torch.losses import BatchLoss, count_correct, to_targets
from flspec_torch.model import Forward

__all__ = ["StepInputs", "StepParts"]


@dataclass(frozen=True, eq=False)
class StepParts:
    """What is the same for every step of a plan."""

    layers: tuple[Layer, ...]
    forward: Forward
    loss: Loss
    batch_loss: BatchLoss
    num_outputs: int
    is_multi_label: bool


@dataclass(frozen=True, eq=False)
class StepInputs:
    """One batch, and the model's tensors before the step that it is for."""

    parts: StepParts
    tensors: Mapping[str, Tensor]  # by name; those that are learned require gradients
    inputs: Tensor  # [batch, *input shape]
    labels: NDArray[Any]  # as stored: int64 [batch], or uint8 [batch, labels]
    stream: Stream  # of this step, for what is random in it

    def forward(self, inputs: Tensor) -> Tensor:
        """The model's outputs in training, [batch, outputs], under this step's planned dropout."""
        masks = draw_masks(self.parts.layers, tuple(inputs.shape[1:]), len(inputs), self.stream)
        return self.parts.forward(self.tensors, inputs, {name: torch.from_numpy(mask) for name, mask in masks.items()})

    def loss(self, outputs: Tensor) -> Tensor:
        """The mean of `client.loss` over the batch."""
        return self.parts.batch_loss(outputs, self.targets)

    def num_correct(self, outputs: Tensor) -> float:
        """How many of the batch's examples are right; of several labels, the share of each example's that are."""
        return count_correct(self.parts.loss, outputs.detach(), self.targets, self.parts.is_multi_label)

    @cached_property
    def targets(self) -> Tensor:
        """The labels as the loss takes them."""
        return to_targets(self.parts.loss, self.labels, self.parts.num_outputs)
