"""flspec's own local backend, beside the others in the same table."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
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

    def python(self) -> Path:
        return Path(sys.executable)

    def run(self, plan: Plan, after_round: Callable[[], None]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for event in find_backend("local").execute(plan, Job(Path(folder))):
                if isinstance(event, RoundFinished):
                    after_round()
