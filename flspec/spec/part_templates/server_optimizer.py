"""A server optimizer, and the aggregator that uses it. In a spec:

parts: [my_server_optimizer.py]
aggregator: {kind: my_server_optimizer, learning_rate: 0.1}
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from flspec.aggregators import MeanAggregator
from flspec.server_optimizers import ServerOptimizer
from flspec.server_optimizers.base import Array


class MyServerOptimizerRule(ServerOptimizer):
    """m <- decay m + (1 - decay) Delta; w <- w + learning_rate sign(m)."""

    kind: Literal["my_server_optimizer_rule"] = "my_server_optimizer_rule"
    learning_rate: float
    decay: float

    def initial_slots(self) -> dict[str, float]:
        return {"mean": 0.0}  # an array like each weight, and the value that it starts with

    def step(self, number: int, delta: Array, slots: Mapping[str, Array]) -> tuple[Array, dict[str, Array]]:
        """Return what update `number`, from 1, adds to one weight, and its slots from now on."""
        mean = self.decay * slots["mean"] + (1 - self.decay) * delta
        return self.learning_rate * np.sign(mean), {"mean": mean}


class MyServerOptimizer(MeanAggregator):
    """The mean of the updates, followed by steps along the sign of its running mean."""

    kind: Literal["my_server_optimizer"] = "my_server_optimizer"
    learning_rate: Annotated[float, Field(gt=0, le=1e6, description="step size", examples=[0.1])]
    decay: Annotated[float, Field(ge=0, lt=1, description="share of the mean that is kept")] = 0.9

    @property
    def server_optimizer(self) -> ServerOptimizer:
        return MyServerOptimizerRule(learning_rate=self.learning_rate, decay=self.decay)
