"""Adam with decoupled weight decay: Loshchilov and Hutter, ICLR 2019, https://arxiv.org/abs/1711.05101, Algorithm 2."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from flspec.client_optimizers.adam import MomentRule


class AdamW(MomentRule):
    """Adam whose weight decay does not pass through its moments.

    w <- (1 - learning_rate * weight_decay) w before each step of `adam`, g being the batch's mean gradient alone.
    Torch's definition: the decay is scaled by the learning rate, and by its schedule.
    """

    kind: Literal["adamw"] = "adamw"
    weight_decay: Annotated[
        float, Field(ge=0, le=1e6, description="share of every weight taken off in a step, times the learning rate")
    ] = 0.01
