"""What a tracker is: a consumer of a run's records, beside those that every run has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from flspec.protocol.plan import Plan
from flspec.protocol.records import Result, RoundRecord

__all__ = ["Tracker"]


class Tracker(ABC):
    """Follows one run and keeps or sends what it is told, in that order: `start`, `round` for each round, `finish`.

    A run that is resumed tells the rounds before it again, after `start`. So a tracker that begins its file afresh in
    `start` ends with the file of an uninterrupted run. It changes nothing of what is computed: the plan's arrays are
    read-only. Where one of its methods raises, that is told, this tracker is told no more, and the run goes on.
    """

    name: ClassVar[str]  # what `--tracker` is given

    def start(self, plan: Plan, folder: Path) -> None:  # noqa: B027  # nothing to do is usual
        """The run of a plan begins, or goes on, in its folder."""

    @abstractmethod
    def round(self, record: RoundRecord) -> None:
        """A round is complete."""

    def finish(self, result: Result) -> None:  # noqa: B027
        """The run has ended, however it did; its result is written."""
