"""More rounds of a finished run: a run of a longer plan takes over the rounds in which the two plans are the same.

So does a run of the same plan, or of one with another rule to `stop`, from one that was stopped before its last round.

It has a folder of its own; the finished run stays as it is. What is taken over is the record of the rounds up to the
last one whose state is stored and that the longer plan stores, too, with that state and the best one before it. From
there it is resumed as any interrupted run, so it ends as a run of the longer plan that nothing interrupted: to the same
bits, and with the same digest.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flspec.errors import InputError
from flspec.execution.software import software_differences
from flspec.protocol.backend import kept_state
from flspec.protocol.events import Event, RoundEvaluated, RoundFinished, RunAttempted, RunStarted
from flspec.protocol.plan import Plan
from flspec.protocol.state import load_state, save_state
from flspec.runs.event_log import read_events, rewrite_events
from flspec.runs.image_files import IMAGES

__all__ = ["Beginning", "beginning_of"]

_OF_ROUNDS = {  # arrays that grow with the rounds, and what they hold
    "round_task_ends": "cohorts",
    "task_clients": "cohorts",
    "task_weights": "weights of clients",
    "task_seeds": "seeds of tasks",
    "task_faults": "faults",
    "task_batch_ends": "batches",
    "batch_ends": "batches",
    "batches": "batches",
    "client_rates": "learning rates of clients",
    "server_rates": "learning rates of the server",
    "round_seeds": "seeds of the server",
    "fault_log": "faults",
}


@dataclass(frozen=True)
class Beginning:
    """The rounds of a finished run that a run of a longer plan has as well."""

    run: Path
    shorter: Plan
    longer: Plan
    rounds: int  # so many of them

    def take_over(self, folder: Path) -> None:
        """Put them into the folder of a run of the longer plan that has begun and has no round yet."""
        for path in sorted(kept_state(self.run, 1).parent.glob("*.safetensors")):
            with suppress(InputError):  # damaged: the run goes on from another, or from the beginning
                state = load_state(path, self.shorter.digest)
                kept_state(folder, 1).parent.mkdir(exist_ok=True)
                if state.round <= self.rounds:
                    save_state(kept_state(folder, state.round), state, self.longer.digest)
        if (self.run / IMAGES).is_dir():
            shutil.copytree(self.run / IMAGES, folder / IMAGES, dirs_exist_ok=True)
        rewrite_events(folder, self._events())

    def _events(self) -> Iterator[Event]:
        for event in read_events(self.run):
            match event:
                case RunAttempted():
                    yield event.model_copy(update={"plan": self.longer.digest, "extends": self.shorter.digest})
                case RunStarted():
                    yield event
                case RoundFinished() | RoundEvaluated() if event.round <= self.rounds:
                    yield event


def beginning_of(run: Path, longer: Plan, attempt: RunAttempted, anyway: bool = False) -> Beginning:
    """Return what a run of a longer plan can take over from a finished run.

    Raises InputError if the plans differ in a round that both have, if the run is of another backend or, unless
    `anyway`, of other software, if it is private, or keeps no state to go on from.
    """
    shorter = Plan.load(run / "plan")
    if longer.settings.privacy:
        raise InputError(f"extend: {run} is private, and what it spent counts for its own plan; begin a new run")
    done = max((event.round for event in read_events(run) if isinstance(event, RoundFinished)), default=0)
    if done >= longer.num_rounds or shorter.num_rounds > longer.num_rounds:
        more = max(2 * done, shorter.num_rounds)
        raise InputError(f"extend: {run} has {done} rounds, and this spec no more; give more, e.g. --set rounds={more}")
    if what := _difference(shorter, longer):
        raise InputError(f"extend: {run} is the beginning of another experiment: {what}; begin a new run")
    _check_software(run, attempt, anyway)
    number = _last_common_state(run, shorter, longer)
    if not number:
        every = f"evaluation.every is {longer.settings.evaluation.every}"
        raise InputError(f"extend: {run} keeps no state that a longer run has, too ({every}); begin a new run")
    return Beginning(run, shorter, longer, number)


def _difference(shorter: Plan, longer: Plan) -> str | None:
    """Return what differs in the rounds that both have; None if nothing does."""
    ours, theirs = ({**plan.document, "stop": None} for plan in (shorter, longer))
    if keys := [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]:
        return f"its {keys[0]} differ"
    names = sorted({*shorter.arrays, *longer.arrays}, key=lambda name: (name in _OF_ROUNDS, name))
    differing = (name for name in names if not _agrees(name, shorter, longer))
    return next((f"its {_OF_ROUNDS.get(name, name)} differ" for name in differing), None)


def _agrees(name: str, shorter: Plan, longer: Plan) -> bool:
    first, second = shorter.arrays.get(name), longer.arrays.get(name)
    if second is None:
        return first is None
    if name == "fault_log":
        second = second[second[:, 0] <= shorter.num_rounds]
        return np.array_equal(second, np.empty((0, 3)) if first is None else first)
    if first is None:  # of tasks that have none so far
        return name in ("task_seeds", "task_faults") and not second[: len(shorter.arrays["task_clients"])].any()
    return np.array_equal(first, second[: len(first)] if name in _OF_ROUNDS else second)


def _check_software(run: Path, attempt: RunAttempted, anyway: bool) -> None:
    attempts = [event for event in read_events(run) if isinstance(event, RunAttempted)]
    if not attempts:
        raise InputError(f"extend: {run} holds no run; name the folder of a finished one")
    if (last := attempts[-1]).backend != attempt.backend:
        raise InputError(f"extend: {run} is a run on {last.backend}, not {attempt.backend}; extend it there")
    if (found := software_differences(last.software, attempt.software)) and not anyway:
        raise InputError(
            f"extend: {run} was carried out by other software, which may compute otherwise: {'; '.join(found)}; "
            "extend it with the same, or nevertheless with --anyway"
        )


def _last_common_state(run: Path, shorter: Plan, longer: Plan) -> int:
    """Return the last evaluated round that both plans keep and whose state can be read; 0 if there is none."""
    evaluated = [event.round for event in read_events(run) if isinstance(event, RoundEvaluated)]
    for number in reversed(evaluated):
        if longer.keeps(number):
            with suppress(InputError):
                return load_state(kept_state(run, number), shorter.digest).round
    return 0
