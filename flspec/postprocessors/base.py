"""What a postprocessor is: an operation on each client's update, one on the combined update, and what both remember."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass, field
from typing import ClassVar

from flspec.core.components import Component
from flspec.core.randomness import Stream
from flspec.protocol.named_records import Weights
from flspec.protocol.updates import Delta

__all__ = ["Combined", "Postprocessor"]


@dataclass(frozen=True, eq=False)
class Combined:
    """The updates of a cohort, combined."""

    delta: Delta  # float64; the aggregator's mean
    num_updates: int  # that count
    total_weight: float  # of them; the mean times this is their weighted sum
    record: Weights = field(default_factory=dict)  # what the postprocessor remembered before this round


class Postprocessor(Component, ABC):
    """An operation on updates. Several take place in the order in which they are listed.

    It works on all tensors that clients send, statistics included, in float64, with the server, for every engine alike.
    """

    is_random: ClassVar[bool] = False  # whether it draws; the plan then holds a seed for each round

    def initial_record(self) -> Weights:
        """What it remembers before the first round: float32 tensors by name."""
        return {}

    def on_each(self, delta: Delta, record: Weights, stream: Stream) -> Delta:
        """One client's update as it is combined; `stream` belongs to that client and round alone."""
        return delta

    def on_combined(self, combined: Combined, stream: Stream) -> tuple[Delta, Weights]:
        """The combined update as the server optimizer is given it, and what is remembered from now on."""
        return combined.delta, combined.record
