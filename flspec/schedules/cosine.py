"""A learning rate that falls along half a cosine: Loshchilov and Hutter, SGDR, ICLR 2017, Eq. (5)."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from flspec.schedules.base import Schedule, rise


class Cosine(Schedule):
    """The learning rate follows half a cosine down to a share of itself, after a linear warm-up if asked for.

    final + (1 - final) (1 + cos(pi (t - warmup) / (T - warmup))) / 2, where t of T rounds are done, and t / warmup
    while t < warmup. Without warm-up this is torch's `CosineAnnealingLR` with T_max = T.
    """

    kind: Literal["cosine"] = "cosine"
    final: Annotated[float, Field(ge=0, le=1, description="share of the learning rate that it ends at")] = 0.0
    warmup: Annotated[int, Field(ge=0, le=1_000_000, description="rounds that it first rises for, from 0")] = 0

    def factor(self, number: int, total: int) -> float:
        done = number - 1
        if done < self.warmup:
            return rise(done, self.warmup)
        angle = math.pi * (done - self.warmup) / (total - self.warmup)
        return self.final + (1.0 - self.final) * (1.0 + math.cos(angle)) / 2.0
