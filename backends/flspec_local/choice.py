"""Who trains: one thread, a thread for each core, or processes. Chosen by what the first steps took.

Threads of one process share the interpreter's lock, which short steps wait for longer than they compute. Processes do
not, but each takes seconds of processor time to import torch before it helps. So they are started only where they save
more than that, and while training goes on without them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import ClassVar

from flspec.execution.parts import out_of_reach, step_multiply_adds
from flspec.protocol.events import Workers
from flspec.protocol.plan import Plan

__all__ = [
    "Pace",
    "Starting",
    "first_choice",
    "next_choice",
    "on_device",
    "selected_processes",
    "useful_threads",
    "useful_workers",
]

_WORTH_A_THREAD = 2_000_000  # multiplications in one step
_SELECTED, _NO_MORE = "as selected", "no more can be of use"
_MEASURED_SECONDS = 0.25  # of training, before it is judged
_SCALES = 0.85  # share of the time for which a thread that trains has to run, not to wait for the lock or a core


@dataclass
class Pace:
    """What training in threads took, without what each did first, when torch chooses its algorithms."""

    steps: int = 0
    seconds: float = 0.0  # of all threads together
    running: float = 0.0  # seconds of processor time of these threads

    def add(self, steps: int, seconds: float, running: float) -> None:
        self.steps, self.seconds, self.running = self.steps + steps, self.seconds + seconds, self.running + running

    @property
    def is_measured(self) -> bool:
        return self.seconds >= _MEASURED_SECONDS and self.steps > 0


class Starting:
    """The seconds from the start of a worker process until it is ready; measured once in a process."""

    seconds: ClassVar[float] = 3.0  # before that: two for torch, and one for the rest


def useful_threads(plan: Plan, cores: int) -> int:
    """Return the number of cores, or 1 if steps are so short that threads only wait for Python's global lock.

    Measured: with 0.5 million multiplications in a step, two threads take 1.7 times as long as one; with 8 million, 0.6
    times.
    """
    return cores if step_multiply_adds(plan) * plan.largest_batch >= _WORTH_A_THREAD else 1


def first_choice(plan: Plan, asked: int, cores: int, variant: str | None) -> Workers:
    """Return who begins: threads. `asked` is the number of workers that the user wants, 0 if it is left open."""
    number = asked or (cores if variant == "threads" else useful_threads(plan, cores))
    why = _SELECTED if variant == "threads" else "they trained too little to measure it"
    return Workers(kind="threads", number=number, why=why)


def on_device(number: int, device: str) -> Workers:
    """Return who trains on a device: threads, by default one, as all of them wait for it."""
    return Workers(kind="threads", number=number, why=f"they share {device}")


def next_choice(plan: Plan, now: Workers, pace: Pace, steps_left: int, number: int) -> Workers:
    """Return who goes on where threads have begun, after enough was measured; at most `number` may train.

    Of one thread that others join, processes save all but its share; of several threads, what they wait.
    """
    running = pace.running / pace.seconds
    if number < 2:
        return now.model_copy(update={"why": _NO_MORE})
    if now.number > 1 and running >= _SCALES:
        return now.model_copy(update={"why": f"they compute {running:.0%} of the time"})
    left = pace.seconds / pace.steps * steps_left / now.number
    saved = max(0.0, left * (1 - 1 / number if now.number == 1 else 1 - running))
    told = f"of {left:.1f} s left processes save {saved:.1f} s, and take {Starting.seconds:.1f} s to start"
    why = told if saved <= Starting.seconds else _why_no_processes(plan)
    return now.model_copy(update={"why": why}) if why else Workers(kind="processes", number=number, why=told)


def useful_workers(plan: Plan, threads: int, step_seconds: float, number: int) -> int:
    """Return how many train in most rounds of a run, where a step takes so long on one of so many threads."""
    pace = Pace(1, step_seconds, step_seconds)
    begun = Workers(kind="threads", number=threads, why="")
    return next_choice(plan, begun, pace, int(plan.arrays["task_batch_ends"][-1]), number).number


def selected_processes(plan: Plan, now: Workers, number: int) -> Workers:
    """Return as many processes where that is possible, else who trains now."""
    why = _NO_MORE if number < 2 else _why_no_processes(plan)
    return now.model_copy(update={"why": why}) if why else Workers(kind="processes", number=number, why=_SELECTED)


def _why_no_processes(plan: Plan) -> str | None:
    """Return why no process can help in this plan's training; None if one can."""
    if os.name != "posix":
        return "this system hands no open files on to a new process"
    return next(iter(out_of_reach(plan)), None)
