"""The one question a schedule answers: what is the learning rate multiplied by in a round?

Rounds are counted from 1, and t = number - 1 of them are done when round `number` begins. So torch counts, whose
`scheduler.step()` after each `optimizer.step()`, a round here, adds one to t. A schedule that ends at T = total would
thus reach its end in the round after the last.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from flspec.core.components import Component

__all__ = ["Schedule", "rise"]


class Schedule(Component, ABC):
    """The factor of a learning rate in each round."""

    is_planned: ClassVar[bool] = True  # or the factors follow from what is measured while training

    @abstractmethod
    def factor(self, number: int, total: int) -> float:
        """The factor in round `number`, from 1, of `total`: 0 or more, and 1 for the learning rate as it is."""


def rise(done: int, rounds: int, start: float = 0.0) -> float:
    """A warm-up's factor after `done` of its `rounds`: from `start` to 1 in equal steps."""
    return start + (1.0 - start) * done / rounds
