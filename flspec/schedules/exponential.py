"""A learning rate that falls by the same share every round."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from flspec.schedules.base import Schedule


class Exponential(Schedule):
    """The learning rate is multiplied by `decay` after every round.

    decay^t, where t rounds are done: torch's `ExponentialLR`.
    """

    kind: Literal["exponential"] = "exponential"
    decay: Annotated[
        float, Field(gt=0, le=1, description="what each round multiplies the learning rate by", examples=[0.99])
    ]

    def factor(self, number: int, total: int) -> float:
        return self.decay ** (number - 1)
