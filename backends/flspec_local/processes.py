"""The worker processes of a run: their start, and the memory that they share."""

from __future__ import annotations

import time
from collections.abc import Sequence

from flspec.execution.server_step import sent_with_weights
from flspec.protocol.plan import Plan
from flspec.protocol.state import ServerState
from flspec.protocol.updates import ClientUpdate
from flspec_local.choice import Starting
from flspec_local.messages import packed
from flspec_local.process import WorkerProcess
from flspec_local.shared import SharedMemory, Stored, num_bytes

__all__ = ["Processes"]

_MOST_ROOM, _MOST_TASKS = 2**25, 256  # bytes and tasks that are given to a process at once, but at least one task
_MARGIN = 4096  # bytes by which the pickle of one update may be longer than another's


class Processes:
    """Worker processes that have a plan, and in each round what the server sends."""

    def __init__(self, plan: Plan, state: ServerState, update: ClientUpdate, number: int) -> None:
        """Start them. Their rooms are for updates like this one. Raises OSError if that cannot be."""
        of_plan, of_sent = num_bytes(packed(plan)), num_bytes(_sent(plan, state)) + _MARGIN
        one = num_bytes([update]) + _MARGIN
        self.most_tasks = max(1, min(_MOST_TASKS, _MOST_ROOM // one))
        self._plan, self._began = plan, time.perf_counter()
        self._shared = SharedMemory.create(of_plan + of_sent)
        self._of_sent = of_plan, of_plan + of_sent
        stored = self._shared.store(packed(plan), 0, of_plan)
        assert stored
        self.all: list[WorkerProcess] = []
        try:
            for _ in range(number):
                self.all.append(WorkerProcess(self._shared, stored, self.most_tasks * one))
        except BaseException:
            self.close()
            raise

    @property
    def ready(self) -> Sequence[WorkerProcess]:
        return [process for process in self.all if process.is_ready]

    def send(self, state: ServerState) -> Stored:
        """Put what the server sends to all clients where processes read it. None of them may train meanwhile."""
        stored = self._shared.store(_sent(self._plan, state), *self._of_sent)
        assert stored, "weights and records keep their size"
        return stored

    def note_ready(self) -> None:
        """Measure the start, when a process is ready."""
        Starting.seconds = time.perf_counter() - self._began

    def close(self) -> None:
        """End all of them at once."""
        for process in self.all:
            process.close()
        self._shared.close()


def _sent(plan: Plan, state: ServerState) -> object:
    return dict(state.weights), sent_with_weights(plan, state)
