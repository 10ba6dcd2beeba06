"""A tracker, which follows a run: flspec run SPEC --tracker my_tracker. In a spec:

parts: [my_tracker.py]
"""

from pathlib import Path
from typing import ClassVar

from flspec.protocol.plan import Plan
from flspec.protocol.records import Result, RoundRecord
from flspec.trackers import Tracker


class MyTracker(Tracker):
    """Writes the training loss of each round into a file of the run's folder."""

    name: ClassVar[str] = "my_tracker"

    def start(self, plan: Plan, folder: Path) -> None:
        """Begin to follow a run; import here what is heavy. A run that goes on begins here again."""
        self._path = folder / "my_tracker.txt"
        self._path.write_text("")

    def round(self, record: RoundRecord) -> None:
        """Take the record of a round. What is raised here is told, and the run goes on without the tracker."""
        with self._path.open("a") as file:
            print(record.round, record.train["loss"], file=file)

    def finish(self, result: Result) -> None:
        """Take the result of the run, which has ended in any way."""
