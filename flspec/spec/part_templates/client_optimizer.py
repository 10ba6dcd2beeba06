"""An optimizer of a client's steps. In a spec:

parts: [my_client_optimizer.py]
client: {optimizer: {kind: my_client_optimizer, learning_rate: 0.01}}
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from flspec.client_optimizers import ClientOptimizer


class MyClientOptimizer(ClientOptimizer):
    """Steps of one size along the sign of a running mean: m <- b m + (1 - b) g; w <- w - rate sign(m)."""

    kind: Literal["my_client_optimizer"] = "my_client_optimizer"
    learning_rate: Annotated[float, Field(gt=0, le=1e6, description="step size", examples=[0.01])]
    decay: Annotated[float, Field(ge=0, lt=1, description="share of the mean that is kept")] = 0.9

    def initial_slots(self) -> dict[str, float]:
        return {"mean": 0.0}  # a tensor like each weight, and the value that it starts with

    def torch(self, number: int, gradient: Any, weight: Any, slots: Mapping[str, Any], rate: float) -> Any:
        """Return what step `number`, from 1, adds to one weight; tensors in `slots` are updated in place.

        `rate` is the learning rate of this step, schedules included.
        """
        mean = slots["mean"].mul_(self.decay).add_(gradient, alpha=1 - self.decay)
        return -rate * mean.sign()
