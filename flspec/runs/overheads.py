"""What an engine takes beside its clients' training: to start, for a round, and for a client."""

from __future__ import annotations

from statistics import median

from flspec.protocol.events import RoundFinished
from flspec.protocol.records import Overhead

__all__ = ["Overheads"]

_STAGES = ("train", "aggregate")  # of a round's seconds, the engine's
_NOT_TOLD = "the engine does not tell how long its clients train, and how many at once"
_ONE_ROUND = "it takes two rounds: what the first takes is counted apart"


class Overheads:
    """The overheads of a run, from the events of its rounds.

    A round's is the seconds of its train and aggregate stages, less the seconds that its clients trained, divided among
    those who trained them: workers, but no more than clients. So it counts messages, the server's step, and workers
    that wait for the last one. In what a client trains, it may wait for a core or the interpreter's lock.
    """

    def __init__(self) -> None:
        self._first: float | None = None  # seconds of the round after the engine's last start
        self._later: list[float] = []
        self._beside: list[tuple[float, int]] = []  # of later rounds: the overhead, and the number of tasks
        self._starts = True

    def start(self) -> None:
        """Note that the engine has started: its next round is its first one."""
        self._starts = True

    def add(self, event: RoundFinished) -> None:
        """Note a round."""
        whole = sum(event.seconds.get(stage, 0.0) for stage in _STAGES)
        if self._starts:
            self._first, self._starts = whole, False
            return
        self._later.append(whole)
        if event.clients_seconds is not None and event.workers and event.cohort:
            at_once = min(event.workers.number, len(event.cohort))
            self._beside.append((whole - event.clients_seconds / at_once, len(event.cohort)))

    def record(self, startup: float | None) -> Overhead:
        """Return them of the rounds so far; `startup` is in seconds."""
        first = self._first - median(self._later) if self._first is not None and self._later else None
        unknown = None if self._beside else _NOT_TOLD if self._later else _ONE_ROUND
        return Overhead(
            startup=startup,
            first_round=first,
            round=median(seconds for seconds, _ in self._beside) if self._beside else None,
            client=median(seconds / number for seconds, number in self._beside) if self._beside else None,
            unknown=unknown,
        )
