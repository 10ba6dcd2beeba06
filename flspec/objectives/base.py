"""The interface of an objective: the loss of one step, and the metrics of that step."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from typing import Any

from flspec.core.components import Component

__all__ = ["Objective"]


class Objective(Component, ABC):
    """A loss that a client minimises in each step.

    Engines that train with torch have a translation of each objective that comes with flspec. An objective from another
    package brings its own translation, `torch`. An engine without a translation refuses the plan by the objective's
    kind.
    """

    @property
    def is_generative(self) -> bool:
        """Whether the model makes pictures, to be compared with real ones; otherwise it gives scores of examples."""
        return False

    def torch(self, step: Any) -> tuple[Any, Mapping[str, float]]:
        """Return the loss of a step, a tensor of no dimensions, and sums over the batch's examples by name.

        `step` is a `flspec_torch.step.StepInputs`: `inputs`, `labels`, `stream`, and the functions `forward(inputs)`,
        `loss(outputs)` and `num_correct(outputs)`. The round's metrics are the sums over all steps, divided by the
        examples. Every step gives the same names.
        """
        raise NotImplementedError(f"{type(self).__name__} has no torch translation")
