"""Objectives that bring their own loss of a step in torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from flspec.execution.part_checks import PartCall
from flspec.objectives import Objective
from flspec_torch.losses import check_loss
from flspec_torch.step import StepInputs

__all__ = ["StepLoss", "build_step_loss"]

StepLoss = Callable[[StepInputs], tuple[Tensor, Mapping[str, float]]]


def build_step_loss(objective: Objective) -> StepLoss:
    """Return the function from a step's inputs to an objective's own loss and the sums of its metrics, both checked."""
    call = PartCall("client.objective", objective, "torch")

    def step_loss(step: StepInputs) -> tuple[Tensor, Mapping[str, float]]:
        with call.guarded():
            given = objective.torch(step)
        loss, sums = call.pair(given, "the loss and the sums by name")
        check_loss(call, loss)
        return loss, call.sums(sums)

    return step_loss
