"""The interface of a tracker: a consumer of a run's records, beside the built-in ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from flspec.protocol.requirements import Requirement

if TYPE_CHECKING:
    from flspec.protocol.plan import Plan
    from flspec.protocol.records import Result, RoundRecord

__all__ = ["Tracker"]


class Tracker(ABC):
    """A follower of one run, called in this order: `start`, `round` for each round, `finish`.

    A resumed run reports the earlier rounds again, after `start`. So a tracker that begins its file afresh in `start`
    ends with the file of an uninterrupted run. A tracker cannot change the results: the plan's arrays are read-only. If
    one of its methods raises, a warning says so, the tracker is called no more, and the run goes on.
    """

    name: ClassVar[str]  # what `track` and `--tracker` are given
    requirements: ClassVar[tuple[Requirement, ...]] = ()  # packages; a run that chooses it is refused without them

    def start(self, plan: Plan, folder: Path) -> None:  # noqa: B027  # nothing to do is usual
        """Begin to follow the run of a plan, new or resumed, in its folder."""

    @abstractmethod
    def round(self, record: RoundRecord) -> None:
        """Take the record of a completed round."""

    def finish(self, result: Result) -> None:  # noqa: B027
        """Take the result of the run, which has ended in any way; it is written already."""
