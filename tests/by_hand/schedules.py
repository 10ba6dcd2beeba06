"""Learning rates: of a round by its number, and of a client by what it measures after each pass."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Document = Mapping[str, Any] | None


def factor(schedule: Document, number: int, total: int) -> Any:
    """What multiplies the learning rate in round `number` of `total`, from 1: `number - 1` rounds are done."""
    done = number - 1
    match schedule:
        case {"kind": "step", "every": every, "decay": decay}:
            return float(decay ** math.floor(done / every))
        case {"kind": "exponential", "decay": decay}:
            return float(decay**done)
        case {"kind": "cosine", "final": final, "warmup": warmup}:
            if done < warmup:
                return done / warmup
            return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * (done - warmup) / (total - warmup)))
        case {"kind": "warmup", "rounds": rounds, "start": start, "final": final}:
            if done < rounds:
                return start + (1 - start) * done / rounds
            return 1 - (1 - final) * (done - rounds) / (total - rounds)
    return 1.0


@dataclass
class Plateau:
    """torch's ReduceLROnPlateau in relative mode; its three numbers are float32, because clients keep them so."""

    schedule: Mapping[str, Any]
    best: float = 0.0
    waited: int = -1  # passes since the best; -1: nothing was measured yet
    falls: int = 0

    @property
    def factor(self) -> float:
        return float(self.schedule["decay"] ** self.falls)

    def after_pass(self, value: float) -> None:
        value = float(np.float32(value))
        sign = 1.0 if self.schedule["metric"] == "loss" else -1.0
        if self.waited < 0 or sign * value < sign * self.best * (1 - sign * self.schedule["threshold"]):
            self.best, self.waited = value, 0
            return
        self.waited += 1
        if self.waited > self.schedule["patience"]:
            self.waited, self.falls = 0, self.falls + 1

    def numbers(self) -> list[float]:
        return [self.best, float(self.waited), float(self.falls)]
