"""Adagrad on the server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from flspec.core.components import Document
from flspec.server_optimizers.base import Array, ServerOptimizer


class AdagradParameters(Document):
    """Parameters of the server's Adagrad, shared with `fedadagrad`."""

    learning_rate: Annotated[float, Field(gt=0, le=1e6, description="server step size, eta", examples=[0.03])]
    epsilon: Annotated[
        float, Field(gt=0, le=1e6, description="added to the root of the accumulator; tau in Reddi et al.")
    ] = 1e-3
    initial_accumulator: Annotated[
        float, Field(ge=0, le=1e6, description="where every entry of the accumulator starts")
    ] = 1e-6


class Adagrad(AdagradParameters, ServerOptimizer):
    """FedAdagrad of Reddi et al. 2021, Algorithm 2, with beta_1 = 0.

    v <- v + Delta^2;  w <- w + learning_rate * Delta / (sqrt(v) + epsilon), epsilon outside the root.
    """

    kind: Literal["adagrad"] = "adagrad"
    is_elementwise: ClassVar[bool] = True

    def initial_slots(self) -> dict[str, float]:
        return {"accumulator": self.initial_accumulator}

    def step(self, number: int, delta: Array, slots: Mapping[str, Array]) -> tuple[Array, dict[str, Array]]:
        accumulator = slots["accumulator"] + delta**2
        change = self.learning_rate * delta / (np.sqrt(accumulator) + self.epsilon)
        return change, {"accumulator": accumulator}
