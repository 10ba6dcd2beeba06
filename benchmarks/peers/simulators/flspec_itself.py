"""flspec's own local backend, beside the others in the same table."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from itertools import islice
from pathlib import Path

from benchmarks.peers.base import Simulator
from flspec.protocol.backend import Job
from flspec.protocol.events import RoundFinished
from flspec.protocol.plan import Plan
from flspec.protocol.registry import find_backend


class FlspecLocal(Simulator):
    """As `flspec run` has it, without evaluation."""

    name = "flspec"
    title = "flspec, `local`"
    settled = 6.0  # it starts workers meanwhile

    def python(self) -> Path:
        return Path(sys.executable)

    def run(self, plan: Plan, rounds: int, after_round: Callable[[], None]) -> None:
        with (
            tempfile.TemporaryDirectory() as folder,
            closing(find_backend("local").execute(plan, Job(Path(folder)))) as events,
        ):
            for _ in islice((event for event in events if isinstance(event, RoundFinished)), rounds):
                after_round()
