"""The interface of secure aggregation: what becomes of a mean of updates where the server is to see a sum alone.

All of it is a simulation. One process computes what clients and server would, so nothing is secret in it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from flspec.core.components import Component
from flspec.core.randomness import Stream
from flspec.protocol.updates import ClientUpdate, Delta

__all__ = ["MaskedMean", "SecureAggregation", "Sender"]

Sender = tuple[int, int]  # a task of a round: its client, and which of the client's tasks it is


@dataclass(frozen=True, eq=False)
class MaskedMean:
    """The weighted mean as the server decodes it, and what a simulation sees that no server could."""

    mean: Delta
    num_clipped: int  # values of single updates that were outside the range
    num_wrapped: int  # values of the sum that did not fit, so that those of the mean are wrong


class SecureAggregation(Component, ABC):
    """The arithmetic by which a server would learn a weighted sum of updates and no single one; simulated."""

    @abstractmethod
    def mean(self, updates: Iterable[ClientUpdate], senders: Sequence[Sender], stream: Stream) -> MaskedMean:
        """Return the weighted mean of the updates that arrive, at least one, each finite and with a whole weight.

        `senders` are all tasks whose clients agreed on masks, ascending, those whose update does not arrive included.
        """

    @property
    @abstractmethod
    def title(self) -> str:
        """What it is and how fine it is, in words that say that it is simulated."""

    @abstractmethod
    def num_bytes(self, num_values: int) -> int:
        """Return how many bytes a client sends for an update of so many values."""

    @abstractmethod
    def remarks(self, total_weight: int) -> Sequence[str]:
        """Say what can go wrong in a round whose weights sum to `total_weight`, with a way out."""
