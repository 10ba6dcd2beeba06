"""Clients that are too slow for a round."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from flspec.core.randomness import Stream
from flspec.faults.base import Loss
from flspec.protocol.plan import ClientTask


class Straggler(Loss):
    """An update arrives after the deadline and is not used: steps * seconds_a_step * exp(spread * N(0, 1)) > deadline.

    The normal value is the client's, the same in every round, so that slow clients stay slow. The seconds are planned
    ones: no clock is read, and every backend loses the same clients.
    """

    kind: Literal["straggler"] = "straggler"
    hits_all: ClassVar[bool] = True
    deadline: Annotated[float, Field(gt=0, le=1e12, description="seconds from the start of a round", examples=[60.0])]
    seconds_a_step: Annotated[float, Field(gt=0, le=1e12, description="of a client of middle speed")] = 1.0
    spread: Annotated[
        float, Field(ge=0, le=10, description="deviation of the logarithm of clients' speeds; 0: all are alike")
    ] = 0.5

    def loses(self, task: ClientTask, stream: Stream) -> bool:
        slowness = math.exp(self.spread * float(stream.normal(1)[0])) if self.spread else 1.0
        return len(task.batches) * self.seconds_a_step * slowness > self.deadline

    @property
    def title(self) -> str:
        return f"late: after {self.deadline:g} s"
