"""A learning rate that falls in steps."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from flspec.schedules.base import Schedule


class Step(Schedule):
    """The learning rate is multiplied by `decay` after every so many rounds.

    decay^floor(t / every), where t rounds are done: torch's `StepLR`.
    """

    kind: Literal["step"] = "step"
    every: Annotated[int, Field(ge=1, le=1_000_000, description="rounds from one step to the next", examples=[10])]
    decay: Annotated[float, Field(gt=0, le=1, description="what each step multiplies the learning rate by")] = 0.1

    def factor(self, number: int, total: int) -> float:
        return self.decay ** ((number - 1) // self.every)
