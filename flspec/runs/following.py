"""A run's trackers, none of which can harm the run."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from flspec.core.locations import redact
from flspec.core.tracebacks import place_of, raised_in
from flspec.errors import TrackerWarning, printable
from flspec.protocol.plan import Plan
from flspec.protocol.records import Result, RoundRecord
from flspec.trackers import Chosen, Tracker

__all__ = ["Followers"]


class Followers:
    """The trackers of a run; one that raises is called no more, and a TrackerWarning says so."""

    def __init__(self, trackers: Sequence[Chosen], folder: Path) -> None:
        self._folder = folder
        self._trackers: list[Tracker] = []
        for tracker in trackers:
            try:
                self._trackers.append(tracker() if isinstance(tracker, type) else tracker)
            except Exception as error:
                self._warn(tracker.name, error)

    def start(self, plan: Plan, rounds: Iterable[RoundRecord]) -> None:
        """Begin the run, after these rounds if it is resumed."""
        if not self._trackers:
            return
        plan = _read_only(plan)
        self._tell(lambda tracker: tracker.start(plan, self._folder))
        for record in rounds:
            self.round(record)

    def round(self, record: RoundRecord) -> None:
        """Pass on the record of a completed round."""
        self._tell(lambda tracker: tracker.round(record.model_copy(deep=True)))

    def finish(self, result: Result) -> None:
        """Pass on the result of the run."""
        self._tell(lambda tracker: tracker.finish(result.model_copy(deep=True)))

    def _tell(self, what: Callable[[Tracker], None]) -> None:
        for tracker in list(self._trackers):
            try:
                what(tracker)
            except (Exception, SystemExit) as error:  # a tracker may raise anything
                package = type(tracker).__module__.partition(".")[0]
                if isinstance(error, SystemExit) and not raised_in(error, package):
                    raise  # a signal, which may arrive at any moment
                self._trackers.remove(tracker)
                self._warn(tracker.name, error, package)

    def _warn(self, name: str, error: BaseException, package: str = "flspec") -> None:
        what, place = " ".join(f"{type(error).__name__}: {error}".split())[:300], place_of(error, package)
        why = f"{what}{f' in {place}' if place else ''}"
        message = printable(redact(f"tracker {name}: {why}; the run in {self._folder} goes on without it"))
        try:
            warnings.warn(message, TrackerWarning, stacklevel=2)
        except TrackerWarning:  # where warnings are errors, this one must not end the run
            print(f"flspec: {message}", file=sys.stderr)


def _read_only(plan: Plan) -> Plan:
    """Return the same plan with read-only arrays."""
    arrays = {name: array.view() for name, array in plan.arrays.items()}
    for array in arrays.values():
        array.flags.writeable = False
    return replace(plan, arrays=arrays)
