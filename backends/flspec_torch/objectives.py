"""The objectives of `flspec.objectives` in torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from flspec.objectives import Objective
from flspec.objectives.supervised import Supervised
from flspec_torch.step import StepInputs

__all__ = ["StepLoss", "build_step_loss"]

StepLoss = Callable[[StepInputs], tuple[Tensor, Mapping[str, float]]]


def build_step_loss(objective: Objective) -> StepLoss:
    """Return the function from a step's inputs to its loss and to the sums of its metrics."""
    return _supervised if isinstance(objective, Supervised) else objective.torch


def _supervised(step: StepInputs) -> tuple[Tensor, Mapping[str, float]]:
    outputs = step.forward(step.inputs)
    loss = step.loss(outputs)
    return loss, {"loss": loss.item() * len(step.labels), "accuracy": step.num_correct(outputs)}
