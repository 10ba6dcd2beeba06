"""A worker process as the process sees it that asks it to train."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Pipe
from pathlib import Path

from flspec.execution.remote import worker_environment
from flspec.protocol.named_records import Records
from flspec.protocol.updates import ClientUpdate
from flspec_local.messages import READY, Part, Sent
from flspec_local.shared import SharedMemory, Stored

__all__ = ["WorkerProcess"]


class WorkerProcess:
    """A process with two rooms for updates, so that it fills one while the other is read."""

    def __init__(self, shared: SharedMemory, plan: Stored, room: int) -> None:
        """Start it: it is ready some seconds later. `room` is the bytes of a part's client states, and of its updates.

        Raises OSError if no process can be started.
        """
        self.is_ready = False
        self.asked: deque[Part] = deque()  # parts that are not answered, in order
        self._shared, self._own, self._half = shared, SharedMemory.create(4 * room), 2 * room
        self._free = [0, self._half]  # where its rooms begin that are not in use
        self._sent: Stored | None = None
        self._connection, theirs = Pipe()
        numbers = [theirs.fileno(), os.getpid(), shared.descriptor, shared.size, self._own.descriptor, self._own.size]
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "flspec_local.worker", *map(str, numbers)],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), shared.descriptor, self._own.descriptor),
                env=worker_environment(Path(sys.executable)),
                start_new_session=True,  # Ctrl-C in the terminal is for this process alone
            )
        except BaseException:
            self._connection.close()
            self._own.close()
            raise
        finally:
            theirs.close()
        self._connection.send(plan)

    @property
    def descriptor(self) -> int:
        """What becomes readable when it has answered or has ended."""
        return self._connection.fileno()

    @property
    def has_room(self) -> bool:
        return bool(self._free)

    def ask(
        self, sent: Stored, number: int, first: int, end: int, client_states: Sequence[Records] | None
    ) -> Part | None:
        """Ask for the tasks from `first` to `end` of a round; None if what their clients keep does not fit."""
        start, stored = self._free[-1], None
        middle = start + self._half // 2
        if client_states and not (stored := self._own.store(client_states, start, middle)):
            return None
        self._free.pop()
        part = Part(number, first, end, stored, (middle, start + self._half))
        self.asked.append(part)
        with suppress(OSError):  # it has ended, which shows where its answer is read
            if self._sent is not sent:
                self._connection.send(Sent(sent))
                self._sent = sent
            self._connection.send(part)
        return part

    def answer(self) -> tuple[Part, Sequence[ClientUpdate] | None] | None:
        """Read what it says: that it is ready, or the updates of the part asked for first, None if it has none.

        They are valid until `release`. Raises EOFError or OSError if it has ended.
        """
        said = self._connection.recv()
        if said == READY:
            self.is_ready = True
            return None
        part = self.asked.popleft()
        return part, self._own.load(said) if said else None

    def release(self, part: Part) -> None:
        """Let the room of a part's updates be used again."""
        self._free.append(part.room[0] - self._half // 2)

    def how_it_ended(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        self._process.kill()
        status = self._process.wait()
        return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit code {status}"

    def close(self) -> None:
        """End it at once: it has nothing to save."""
        self._process.kill()
        self._process.wait()
        self._connection.close()
        self._own.close()
