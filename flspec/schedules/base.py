"""The interface of a schedule: the factor that multiplies the learning rate in a round.

Rounds are counted from 1, and t = number - 1 rounds are done when round `number` begins. Torch counts the same way if
`scheduler.step()` is called after each round. A schedule that ends at t = total therefore reaches its end in the round
after the last.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from flspec.core.components import Component

__all__ = ["Schedule", "rise"]


class Schedule(Component, ABC):
    """The factor of a learning rate in each round."""

    is_planned: ClassVar[bool] = True  # False: the factors depend on measurements during training

    @abstractmethod
    def factor(self, number: int, total: int) -> float:
        """Return the factor in round `number`, from 1, of `total`: 0 or more; 1 leaves the learning rate as it is."""


def rise(done: int, rounds: int, start: float = 0.0) -> float:
    """Return a warm-up's factor after `done` of its `rounds`: from `start` to 1 in equal steps."""
    return start + (1.0 - start) * done / rounds
