"""The interface of a postprocessor: an operation on each client's update, one on the combined update, and a record."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from flspec.core.components import Component
from flspec.core.randomness import Stream
from flspec.core.round_streams import RoundStreams
from flspec.protocol.named_records import Weights
from flspec.protocol.updates import Delta

__all__ = ["Combined", "Postprocessor"]


@dataclass(frozen=True, eq=False)
class Combined:
    """The combined update of a cohort."""

    delta: Delta  # float64; the aggregator's
    num_updates: int  # the updates that count
    total_weight: float  # of these updates; the mean times this is their weighted sum
    record: Weights = field(default_factory=dict)  # the postprocessor's record before this round
    sums: Mapping[str, float] = field(default_factory=dict)  # of what it measured of each update, by name
    streams: RoundStreams = field(kw_only=True)  # those of `on_combined` in this round and the ones before


class Postprocessor(Component, ABC):
    """An operation on updates. Several are applied in the order in which they are listed.

    It works in float64 on all tensors that clients send, statistics included. It runs with the server, for every engine
    alike.
    """

    is_random: ClassVar[bool] = False  # whether it draws; the plan then holds a seed for each round

    acts_without_updates: ClassVar[bool] = False  # whether a round without an update changes the weights, too

    needs_mean: ClassVar[bool] = False  # whether it counts on the combined update being the weighted mean

    @property
    def num_remembered(self) -> int:
        """How many float64 tensors of the size of each of an update's it keeps in `Combined.streams.memory`."""
        return 0

    def initial_record(self) -> Weights:
        """Return its record before the first round: float32 tensors by name."""
        return {}

    def measure(self, delta: Delta, record: Weights) -> Mapping[str, float]:
        """Return numbers about one client's update as it comes, of which `on_combined` is given the sums."""
        return {}

    def on_each(self, delta: Delta, record: Weights, stream: Stream) -> Delta:
        """Return one client's update as it is to be combined; `stream` belongs to that client and round alone."""
        return delta

    def on_combined(self, combined: Combined, stream: Stream) -> tuple[Delta, Weights]:
        """Return the combined update for the server optimizer, and the record from now on."""
        return combined.delta, combined.record
