"""Adam with decoupled weight decay: Loshchilov and Hutter, ICLR 2019, https://arxiv.org/abs/1711.05101, Algorithm 2."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from flspec.client_optimizers.adam import MomentRule


class AdamW(MomentRule):
    """Adam with a weight decay that bypasses its moments.

    w <- (1 - learning_rate * weight_decay) w before each step of `adam`, where g is the batch's mean gradient alone.
    This is torch's definition: the decay is scaled by the learning rate, and by its schedule.
    """

    kind: Literal["adamw"] = "adamw"
    weight_decay: Annotated[
        float, Field(ge=0, le=1e6, description="share of every weight that a step removes, times the learning rate")
    ] = 0.01
