"""The threads of this process that train clients, each with one intra-op thread of torch."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import NamedTuple

import torch

from flspec.protocol.plan import ClientTask
from flspec.protocol.state import ServerState
from flspec.protocol.updates import ClientUpdate
from flspec_torch.training import Trainer

__all__ = ["Threads", "Trained"]


class Trained(NamedTuple):
    """The updates of some tasks, and what they took."""

    updates: list[ClientUpdate]
    steps: int
    seconds: float
    running: float  # seconds of the thread's processor time; the rest it waited for the interpreter's lock, or a core


class Threads:
    """A pool whose results another thread waits for at a descriptor, among others."""

    def __init__(self, trainer: Trainer, number: int) -> None:
        self.number, self.num_given = number, 0
        self._trainer = trainer
        self._pool = ThreadPoolExecutor(
            number, thread_name_prefix="client", initializer=torch.set_num_threads, initargs=(1,)
        )
        self._finished: deque[tuple[int, int, Future[Trained]]] = deque()
        self.descriptor, self._wake = os.pipe()  # readable when something has finished
        os.set_blocking(self._wake, False)

    def give(self, state: ServerState, tasks: Sequence[ClientTask], first: int, here: bool) -> None:
        """Have tasks trained, the first of which is at position `first` of its round's cohort.

        By one of the threads, or `here`: by the calling thread, before this returns.
        """
        self.num_given += 1
        future = self._trained_here(state, tasks) if here else self._pool.submit(self._train, state, tasks)
        future.add_done_callback(lambda done: self._tell(first, first + len(tasks), done))

    def take(self) -> list[tuple[int, int, Future[Trained]]]:
        """Return what has finished since the last time: from which position to which, and what came of it."""
        os.read(self.descriptor, 4096)
        taken = [self._finished.popleft() for _ in range(len(self._finished))]
        self.num_given -= len(taken)
        return taken

    def close(self) -> None:
        """Return when no thread trains any more: at the next batch, if the trainer was told to stop."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        os.close(self.descriptor)
        os.close(self._wake)

    def _tell(self, first: int, end: int, done: Future[Trained]) -> None:
        self._finished.append((first, end, done))
        with suppress(BlockingIOError):  # the pipe is full, so whoever waits is awake
            os.write(self._wake, b".")

    def _trained_here(self, state: ServerState, tasks: Sequence[ClientTask]) -> Future[Trained]:
        future, before = Future[Trained](), torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            future.set_result(self._train(state, tasks))
        except Exception as error:  # told when the update is asked for, as that of a thread
            future.set_exception(error)
        finally:
            torch.set_num_threads(before)
        return future

    def _train(self, state: ServerState, tasks: Sequence[ClientTask]) -> Trained:
        began, ran = time.perf_counter(), time.thread_time()
        updates = [self._trainer.train_from(state, task) for task in tasks]
        steps = sum(len(task.batches) for task in tasks)
        return Trained(updates, steps, time.perf_counter() - began, time.thread_time() - ran)
