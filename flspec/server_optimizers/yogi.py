"""Yogi on the server."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from flspec.server_optimizers.adam import AdamParameters, MomentOptimizer
from flspec.server_optimizers.base import Array


class YogiParameters(AdamParameters):
    """Parameters of the server's Yogi, shared with `fedyogi`.

    There is no bias correction by default, and v starts at 1e-6, the square of the default epsilon.
    """

    initial_accumulator: Annotated[
        float, Field(ge=0, le=1e6, description="where every entry of the second moment starts")
    ] = 1e-6
    bias_correction: Annotated[
        bool, Field(description="divide each moment by 1 - beta^t, t the number of the update")
    ] = False


class Yogi(YogiParameters, MomentOptimizer):
    """Zaheer et al., NeurIPS 2018, and FedYogi of Reddi et al. 2021, Algorithm 2.

    v <- v - (1 - beta_2) Delta^2 sign(v - Delta^2); the rest as `MomentOptimizer`.
    """

    kind: Literal["yogi"] = "yogi"
    is_elementwise: ClassVar[bool] = True

    def next_second(self, second: Array, square: Array) -> Array:
        return second - (1 - self.beta_2) * square * np.sign(second - square)
