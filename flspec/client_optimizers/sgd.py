"""Stochastic gradient descent."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from flspec.client_optimizers.base import ClientOptimizer


class Sgd(ClientOptimizer):
    """Stochastic gradient descent, with momentum and weight decay if asked for.

    w <- w - learning_rate * d, where g is the batch's mean gradient plus weight_decay * w. Without momentum d = g. With
    momentum v <- momentum * v + g and d = v, where v starts at 0 without dampening. With nesterov d = g + momentum * v.
    This is torch's definition; weight decay is coupled (an L2 penalty).
    """

    kind: Literal["sgd"] = "sgd"
    learning_rate: Annotated[float, Field(gt=0, le=1e6, description="step size", examples=[0.1])]
    momentum: Annotated[float, Field(ge=0, lt=1, description="share of the last velocity that is kept")] = 0.0
    nesterov: Annotated[bool, Field(description="look ahead along the velocity; needs momentum")] = False
    weight_decay: Annotated[float, Field(ge=0, le=1e6, description="L2 penalty on every weight")] = 0.0

    def initial_slots(self) -> dict[str, float]:
        return {"momentum": 0.0} if self.momentum else {}

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Sgd:
        if self.nesterov and self.momentum == 0.0:
            raise ValueError("nesterov is true, but momentum is 0; set momentum above 0 or remove nesterov")
        return self
