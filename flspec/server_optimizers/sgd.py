"""Gradient descent on the server, with or without momentum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from flspec.core.components import Document
from flspec.server_optimizers.base import Array, ServerOptimizer


class SgdParameters(Document):
    """Parameters of the server's gradient descent, shared with `fedavgm`."""

    learning_rate: Annotated[float, Field(gt=0, le=1e6, description="server step size")] = 1.0
    momentum: Annotated[float, Field(ge=0, lt=1, description="share of the last velocity that is kept")] = 0.0


class Sgd(SgdParameters, ServerOptimizer):
    """v <- momentum * v + Delta; w <- w + learning_rate * v. Learning rate 1 without momentum is plain FedAvg."""

    kind: Literal["sgd"] = "sgd"
    is_elementwise: ClassVar[bool] = True

    def initial_slots(self) -> dict[str, float]:
        return {"momentum": 0.0} if self.momentum else {}

    def step(self, number: int, delta: Array, slots: Mapping[str, Array]) -> tuple[Array, dict[str, Array]]:
        if not self.momentum:
            return self.learning_rate * delta, {}
        velocity = self.momentum * slots["momentum"] + delta
        return self.learning_rate * velocity, {"momentum": velocity}
