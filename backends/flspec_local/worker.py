"""A worker process of the local backend: trains the tasks that it is asked for, and ends with the process it serves.

    python -P -m flspec_local.worker CONNECTION PARENT SHARED SIZE OWN SIZE

The numbers are the descriptors and sizes of what it inherits: a socket, memory that all workers read (the plan, the
weights of a round) and its own, where updates are written. What cannot be trained here is trained again in the process
that asked, so an error of a part is raised there, as if no worker had been.
"""

from __future__ import annotations

import os
import select
import sys
import threading
from functools import lru_cache
from multiprocessing.connection import Connection

from flspec.protocol.named_records import Records, Weights
from flspec.protocol.plan import ClientTask, Plan
from flspec.protocol.updates import ClientUpdate
from flspec_local.messages import READY, Part, Sent, unpacked
from flspec_local.shared import SharedMemory, Stored

__all__ = ["end_with", "main"]

_TICK_SECONDS = 1.0


def main(connection: Connection, parent: int, shared: SharedMemory, own: SharedMemory) -> None:
    """Serve until the other end of the connection is closed."""
    threading.Thread(target=end_with, args=(connection.fileno(), parent), name="lifeline", daemon=True).start()
    worker = _Worker(unpacked(shared.load(connection.recv())), own)
    connection.send(READY)
    while True:
        match connection.recv():
            case Sent(stored):
                worker.weights, worker.server = shared.load(stored)
            case Part() as part:
                connection.send(worker.train(part))


class _Worker:
    def __init__(self, plan: Plan, own: SharedMemory) -> None:
        import torch

        from flspec_torch.private_steps import warm_up
        from flspec_torch.training import Trainer

        torch.set_num_threads(1)
        self._own, self._trainer, self._cohort = own, Trainer(plan), lru_cache(maxsize=1)(plan.cohort)
        _ = self._trainer.data, self._trainer.step
        if plan.settings.private_steps:
            warm_up()
        self.weights: Weights = {}
        self.server: Records = {}

    def train(self, part: Part) -> Stored | None:
        """Return where the updates are; None if a task cannot be trained, or its update does not fit."""
        tasks = self._cohort(part.round)[part.first : part.end]
        states: list[Records] = self._own.load(part.client_states) if part.client_states else [{}] * len(tasks)
        try:
            return self._own.store(list(map(self._update, tasks, states)), *part.room)
        except Exception:  # which comes again where the same tasks are trained again
            return None

    def _update(self, task: ClientTask, state: Records) -> ClientUpdate:
        return self._trainer.train(task, self.weights, state, self.server)


def end_with(descriptor: int, parent: int) -> None:
    """End this process when the other end of its connection is closed, in whatever way its parent ends.

    Another child of the parent may hold that end open, so the parent itself is looked for, too.
    """
    poll = select.poll()
    poll.register(descriptor, 0)  # a hang-up is always reported
    while os.getppid() == parent and not poll.poll(_TICK_SECONDS * 1000):
        pass
    os._exit(0)


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]]
    main(Connection(numbers[0]), numbers[1], SharedMemory(*numbers[2:4]), SharedMemory(*numbers[4:6]))
