"""What a training step is given and gives: one batch, the model at that step, and the gradients that follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from flspec.core.randomness import Stream
from flspec.layers import Network, draw_masks
from flspec.losses import Loss
from flspec_torch.devices import TorchDevice
from flspec_torch.losses import TorchLoss, count_correct, to_targets
from flspec_torch.model import Forward

__all__ = ["Learned", "StepInputs", "StepParts", "Turn", "draw_factors"]

Learned = Mapping[str, Mapping[str, Tensor]]  # by optimizer, the tensors that it changes, by name
Turn = tuple[str, Sequence[Tensor]]  # an optimizer that is to step, and the gradient of each tensor that it changes


@dataclass(frozen=True, eq=False)
class StepParts:
    """The parts that are the same for every step of a plan."""

    network: Network
    forward: Forward
    loss: Loss
    batch_loss: TorchLoss
    num_outputs: int
    is_multi_label: bool
    device: TorchDevice

    def targets(self, labels: NDArray[Any]) -> Tensor:
        """Return labels in the form that the loss takes."""
        return to_targets(self.loss, labels, self.num_outputs, self.device)


@dataclass(frozen=True, eq=False)
class StepInputs:
    """One batch, and the model's tensors before its step."""

    parts: StepParts
    tensors: Mapping[str, Tensor]  # by name; learned ones require gradients
    inputs: Tensor  # [batch, *input shape]
    labels: NDArray[Any]  # as stored: int64 [batch], or uint8 [batch, labels]
    stream: Stream  # for the random draws of this step

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the model's outputs in training, [batch, outputs], with this step's planned dropout."""
        return self.parts.forward(self.tensors, inputs, draw_factors(self.parts, len(inputs), self.stream))

    def loss(self, outputs: Tensor) -> Tensor:
        """Return the mean of `client.loss` over the batch."""
        return self.parts.batch_loss(outputs, self.targets)

    def num_correct(self, outputs: Tensor) -> float:
        """Count the correct predictions in the batch. With several labels, sum each example's share of correct ones."""
        return count_correct(self.parts.loss, outputs.detach(), self.targets, self.parts.is_multi_label)

    @cached_property
    def masks(self) -> dict[str, Tensor]:
        """This step's planned dropout for the batch: the factors of each dropout layer."""
        return draw_factors(self.parts, len(self.inputs), self.stream)

    @cached_property
    def targets(self) -> Tensor:
        """The labels in the form that the loss takes."""
        return self.parts.targets(self.labels)


def draw_factors(parts: StepParts, num_examples: int, stream: Stream) -> dict[str, Tensor]:
    """Draw what chance does to a batch in one step, by the layer's name: `flspec.layers.draw_masks` as tensors."""
    return {name: parts.device.put(mask) for name, mask in draw_masks(parts.network, num_examples, stream).items()}
