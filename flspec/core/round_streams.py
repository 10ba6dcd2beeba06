"""Random streams of the rounds of a run, for what a round draws that depends on what earlier ones drew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flspec.core.randomness import Stream

__all__ = ["RoundStreams"]


@dataclass(frozen=True, eq=False)
class RoundStreams:
    """The stream of each round of a run until now: what was drawn in an earlier one can be drawn again."""

    number: int  # of this round, from 1
    of: Callable[[int], Stream]  # by the number of a round, fresh each time
    # What this process has drawn of this run. It saves time alone: whoever reads it draws again what it lacks.
    memory: dict[Any, Any] = field(default_factory=dict)

    @property
    def current(self) -> Stream:
        """This round's stream."""
        return self.of(self.number)
