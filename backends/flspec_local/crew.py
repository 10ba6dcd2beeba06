"""Those who train a plan's clients: threads of this process, and where it pays other processes beside one thread.

Whoever is free is given the next tasks of a round, and updates come out in client order, so neither the number nor the
kind of workers can change a bit. A worker process that ends, or cannot train a task, costs no more than its tasks being
trained again here.
"""

from __future__ import annotations

import math
import selectors
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.errors import RunWarning
from flspec.protocol.backend import Job
from flspec.protocol.devices import CPU
from flspec.protocol.events import Workers
from flspec.protocol.named_records import Records
from flspec.protocol.plan import ClientTask, Plan
from flspec.protocol.state import ServerState
from flspec.protocol.updates import ClientUpdate
from flspec_local.choice import Pace, first_choice, next_choice, on_device, selected_processes
from flspec_local.process import WorkerProcess
from flspec_local.processes import Processes
from flspec_local.shared import Stored
from flspec_local.threads import Threads, Trained
from flspec_torch.training import Trainer

__all__ = ["Crew"]

_LEAST_SECONDS, _MOST_SECONDS = 0.0005, 0.05  # of training: what is given at once is between them, if tasks are shorter
_SHORT_SECONDS = 0.002  # of a task that is over sooner than others are told what comes next
_MOST_AHEAD = 4  # parts for each thread that are trained, or being trained, and whose updates have not come out


@dataclass(frozen=True, eq=False)
class _Part:
    """Neighbouring tasks of a round that have been trained."""

    end: int  # position in the cohort
    updates: Callable[[], Sequence[ClientUpdate]]  # raises what was raised
    release: Callable[[], None]
    is_shared: bool  # whether arrays are valid only until they are released


@dataclass(eq=False)
class _Round:
    state: ServerState
    tasks: tuple[ClientTask, ...]
    position: int = 0  # of the task whose update comes out next
    first: int = 0  # of those that nobody was given
    again: deque[tuple[int, int]] = field(default_factory=deque)  # that a process could not train
    trained: dict[int, _Part] = field(default_factory=dict)  # by position of their first task
    sent: Stored | None = None  # what all clients are sent, once it is in shared memory
    of_threads: int = 0  # parts that threads were given and that have not come out

    @property
    def is_left(self) -> bool:
        return self.first < len(self.tasks)


class Crew:
    """Threads to begin with; later perhaps processes. `close` ends all of them."""

    def __init__(self, plan: Plan, job: Job, variant: str | None, trainer: Trainer) -> None:
        largest = int(np.diff(plan.arrays["round_task_ends"], prepend=0).max(initial=1))
        self.workers = first_choice(plan, job.workers, job.num_workers, variant)
        self.num_tasks: Counter[str] = Counter()  # by who trained them: threads, processes
        self._plan, self._variant, self._is_settled = plan, variant, variant == "threads"
        if job.device != CPU:
            self.workers, self._is_settled = on_device(job.num_workers, str(job.device)), True
        self._most = max(1, min(job.num_workers, largest))
        self._pace, self._seconds_a_task = Pace(), math.inf
        self._threads = Threads(trainer, self.workers.number)
        self._processes: Processes | None = None
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._threads.descriptor, selectors.EVENT_READ)

    def updates(self, state: ServerState, lasting: bool) -> Iterator[ClientUpdate]:
        """Train the cohort of the round after `state`: yield its updates in client order, as soon as they are there.

        Their deltas are valid until the next one is asked for, unless they are to be `lasting`. Raises what was raised
        for the first client in order that failed.
        """
        work = _Round(state, self._plan.cohort(state.round + 1))
        while work.position < len(work.tasks):
            self._hand_out(work)
            while (part := work.trained.pop(work.position, None)) is None:
                self._wait(work)
                self._hand_out(work)
            updates = part.updates()
            if not self._is_settled:
                self._choose(work, updates[0])
            for update in updates:
                yield _kept(update, lasting) if part.is_shared else update
            part.release()
            work.position = part.end

    def close(self) -> None:
        """End everybody: threads at their next batch if the trainer was told to stop, processes at once."""
        if self._processes:
            self._processes.close()
        self._threads.close()
        self._selector.close()

    def _hand_out(self, work: _Round) -> None:
        """Give parts of a round to all who are free."""
        while work.again and self._is_thread_free:
            first, end = work.again.popleft()
            self._give_to_threads(work, first, end)
        for process in self._ready:
            while work.is_left and process.has_room and self._may_wait(len(process.asked)):
                self._give_to_process(work, process)
        while work.is_left and self._is_thread_free and not self._is_ahead(work):
            if self._trains_here and work.position in work.trained:
                return  # which frees a process's room
            first, work.first = work.first, work.first + self._size(work)
            self._give_to_threads(work, first, work.first)

    @property
    def _ready(self) -> Sequence[WorkerProcess]:
        return self._processes.ready if self._processes else ()

    @property
    def _num_threads(self) -> int:
        """How many threads train: where processes do, there is one for each that is not ready, and at least one."""
        return min(self._threads.number, max(1, self.workers.number - len(self._ready)))

    def _may_wait(self, num_given: int) -> bool:
        """Return whether a worker that was given so many parts may have one more: it waits only if tasks are short."""
        return num_given < (2 if self._are_tasks_short else 1)

    @property
    def _are_tasks_short(self) -> bool:
        return self._seconds_a_task < _SHORT_SECONDS

    @property
    def _trains_here(self) -> bool:
        """Whether this thread trains, not another: that one would have it wait for Python's lock at every kernel."""
        return self._are_tasks_short and bool(self._ready) and self._num_threads == 1

    @property
    def _is_thread_free(self) -> bool:
        if self._trains_here:
            return not self._threads.num_given
        return self._may_wait(self._threads.num_given // self._num_threads)

    def _is_ahead(self, work: _Round) -> bool:
        """Return whether threads have trained so much more than has come out that it would fill memory."""
        return work.of_threads >= _MOST_AHEAD * self._num_threads

    def _size(self, work: _Round) -> int:
        """Return how many tasks to give at once: few at the end of a round, so that all end at the same time."""
        left, workers = len(work.tasks) - work.first, self._num_threads + len(self._ready)
        least, most = (max(1, int(bound / self._seconds_a_task)) for bound in (_LEAST_SECONDS, _MOST_SECONDS))
        most = min(most, self._processes.most_tasks) if self._processes else most
        return min(left, most, max(least, left // (2 * workers)))

    def _give_to_threads(self, work: _Round, first: int, end: int) -> None:
        work.of_threads += 1
        self._threads.give(work.state, work.tasks[first:end], first, self._trains_here)

    def _give_to_process(self, work: _Round, process: WorkerProcess) -> None:
        assert self._processes
        work.sent = work.sent or self._processes.send(work.state)  # all have done with what was sent before
        first, work.first = work.first, work.first + self._size(work)
        states: list[Records] | None = None
        if work.state.clients:
            states = [work.state.clients.get(task.client, {}) for task in work.tasks[first : work.first]]
        if not process.ask(work.sent, work.state.round + 1, first, work.first, states):
            work.again.append((first, work.first))

    def _wait(self, work: _Round) -> None:
        """Return when somebody has answered."""
        for key, _ in self._selector.select():
            if key.data:
                self._take_from_process(work, key.data)
            else:
                self._take_from_threads(work)

    def _take_from_threads(self, work: _Round) -> None:
        for first, end, future in self._threads.take():

            def updates(future: Any = future) -> Sequence[ClientUpdate]:
                trained: Trained = future.result()
                return trained.updates

            def release() -> None:
                work.of_threads -= 1

            if not future.exception():
                self._measure(future.result(), end - first)
            work.trained[first] = _Part(end, updates, release, is_shared=False)

    def _measure(self, trained: Trained, num_tasks: int) -> None:
        """Note what training takes, but for the first tasks, with which torch chooses its algorithms."""
        if self.num_tasks["threads"] >= self._threads.number:
            self._pace.add(trained.steps, trained.seconds, trained.running)
            self._seconds_a_task = max(trained.seconds / num_tasks, 1e-9)
        self.num_tasks["threads"] += num_tasks

    def _take_from_process(self, work: _Round, process: WorkerProcess) -> None:
        assert self._processes
        try:
            answer = process.answer()
        except (EOFError, OSError):
            self._lose(work, process)
            return
        if answer is None:
            self._processes.note_ready()
            return
        part, updates = answer
        if updates is None:
            process.release(part)
            work.again.append((part.first, part.end))
        else:
            self.num_tasks["processes"] += len(updates)
            given: Sequence[ClientUpdate] = updates
            work.trained[part.first] = _Part(part.end, lambda: given, lambda: process.release(part), is_shared=True)

    def _lose(self, work: _Round, process: WorkerProcess) -> None:
        """Go on without a process that has ended."""
        assert self._processes
        self._selector.unregister(process.descriptor)
        self._processes.all.remove(process)
        work.again.extend((part.first, part.end) for part in process.asked)
        how, left = process.how_it_ended(), len(self._processes.all)
        process.close()
        why = f"a worker process ended ({how}), so its clients are trained without it"
        self.workers = Workers(kind="processes" if left else "threads", number=left + 1, why=why)
        warnings.warn(f"local: {why}", RunWarning, stacklevel=2)

    def _choose(self, work: _Round, update: ClientUpdate) -> None:
        """Start processes, if they pay."""
        if self._variant == "processes":
            self.workers = selected_processes(self._plan, self.workers, self._most)
        elif not self._pace.is_measured:
            return
        else:
            self.workers = next_choice(self._plan, self.workers, self._pace, self._steps_left(work), self._most)
        self._is_settled = True
        if self.workers.kind == "processes":
            self._start(work, update)

    def _start(self, work: _Round, update: ClientUpdate) -> None:
        """Start processes beside one thread. A run that has them selected waits for them, others go on."""
        try:
            self._processes = Processes(self._plan, work.state, update, self.workers.number - 1)
        except OSError as error:
            self.workers = Workers(
                kind="threads", number=self._threads.number, why=f"no process can be started: {error}"
            )
            return
        for process in self._processes.all:
            self._selector.register(process.descriptor, selectors.EVENT_READ, process)
        while self._variant == "processes" and len(self._ready) < len(self._processes.all):
            self._wait(work)

    def _steps_left(self, work: _Round) -> int:
        ends, batches = self._plan.arrays["round_task_ends"], self._plan.arrays["task_batch_ends"]
        done = int(ends[work.state.round]) - len(work.tasks) + work.position
        return int(batches[-1]) - (int(batches[done - 1]) if done else 0)


def _kept(update: ClientUpdate, lasting: bool) -> ClientUpdate:
    """Return an update of which what lasts is copied out of shared memory."""
    if not (lasting or update.client_state or update.sent):
        return update
    copied = replace(update, client_state=_copied(update.client_state), sent=_copied(update.sent))
    if not lasting:
        return copied
    return replace(copied, delta=_copy(update.delta), payload=_copy(update.payload))


def _copied(records: Records) -> dict[str, dict[str, NDArray[Any]]]:
    return {name: _copy(tensors) for name, tensors in records.items()}


def _copy(tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name: np.array(value) for name, value in tensors.items()}
