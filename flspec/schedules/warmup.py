"""A learning rate that rises to its value and then falls, both in equal steps."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from flspec.schedules.base import Schedule, rise


class Warmup(Schedule):
    """A linear warm-up, then a linear decay towards a share of the learning rate.

    start + (1 - start) t / rounds while t < rounds, then 1 - (1 - final) (t - rounds) / (T - rounds), where t of T
    rounds are done. So the first round has the factor `start`, which may be 0, and `final` would be reached after the
    last round. This is the server's schedule in pfl's FLAIR benchmark (`get_polynomial_decay_schedule_with_warmup` of
    power 1): rounds 30, and final 0.2 for its rates of 0.1 and, at the end of 5,000 rounds, 0.02.
    """

    kind: Literal["warmup"] = "warmup"
    rounds: Annotated[int, Field(ge=1, le=1_000_000, description="rounds that it rises for", examples=[30])]
    start: Annotated[float, Field(ge=0, le=1, description="share of the learning rate in the first round")] = 0.0
    final: Annotated[float, Field(ge=0, le=1, description="share that it falls to afterwards; 1: stay")] = 1.0

    def factor(self, number: int, total: int) -> float:
        done = number - 1
        if done < self.rounds:
            return rise(done, self.rounds, self.start)
        return 1.0 - (1.0 - self.final) * (done - self.rounds) / (total - self.rounds)
