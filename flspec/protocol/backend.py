"""The one interface a backend implements, the loop that all of them share, and how backends are found."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from flspec.aggregators import Aggregator
from flspec.core.components import parse_component
from flspec.errors import InputError, RunError, choose
from flspec.execution.server_step import RoundOutcome
from flspec.protocol.events import Event, RoundFinished, RunFinished, RunStarted
from flspec.protocol.plan import FEATURES, Plan
from flspec.protocol.state import ServerState, load_state, save_state, state_file
from flspec.protocol.updates import ClientUpdate

__all__ = [
    "CHECKPOINTS",
    "Backend",
    "Job",
    "Rehearsal",
    "RoundResult",
    "drive_rounds",
    "find_backend",
    "initial_state",
    "installed_backends",
    "kept_state",
    "round_result",
    "timed",
]

GROUP = "flspec.backends"
CHECKPOINTS = "checkpoints"  # folder, in a run's, of the states it keeps


@dataclass(frozen=True)
class Job:
    """How one execution is carried out; nothing here may change what is computed."""

    folder: Path  # absolute; the only place the backend may write to
    start: Path | None = None  # a kept state to go on from, instead of the plan's start
    follow: Path | None = None  # lockstep: another run's folder; round r starts from its state after round r - 1
    keep: Literal["planned", "all"] = "planned"  # rounds whose state is written to the folder
    workers: int = 0  # clients trained at once; 0 leaves it to the backend
    cores: int = 0  # that the backend may count on where others run beside it; 0: all

    @property
    def num_workers(self) -> int:
        return self.workers or self.cores or os.cpu_count() or 1


@dataclass(frozen=True)
class Rehearsal:
    """How long a plan's rounds take here, scaled up from a few steps."""

    seconds_a_round: float  # on average: training, aggregation, and evaluation as often as it is planned
    num_steps: int  # training steps that were measured


class Backend(ABC):
    """Executes plans on one engine. Construct it with a variant of itself, or none for the usual one."""

    name: ClassVar[str]
    variants: ClassVar[tuple[str, ...]] = ()  # e.g. ("ray", "inprocess"), asked for as `flower:inprocess`
    isolated: ClassVar[bool] = False  # runs in a process of its own
    environment: ClassVar[str | None] = None  # the Python environment it needs, if not this one
    reads: ClassVar[frozenset[str]] = (
        frozenset()
    )  # of `plan.FEATURES`, to obey them or to refuse them itself

    def __init__(self, variant: str | None = None) -> None:
        self.variant = variant

    @abstractmethod
    def unsupported(self, plan: Plan) -> list[str]:
        """Name what the plan asks for that this backend cannot do, field first; empty means it can run.

        Neither trains, draws, nor imports the engine, so it can be asked before anything starts.
        """

    def refusals(self, plan: Plan) -> list[str]:
        """All that stands in the way of a plan, field first: features this backend does not read, and `unsupported`.

        So a backend that was written before a feature existed refuses it, instead of passing it over.
        """
        unread = dict.fromkeys(FEATURES[key] for key in plan.features if key not in self.reads)
        why = f"{self.name} does not read this; remove it, or choose another backend"
        return [*(f"{field}: {why}" for field in unread), *self.unsupported(plan)]

    @abstractmethod
    def execute(self, plan: Plan, job: Job) -> Generator[Event, None, None]:
        """Run the plan's rounds, yielding each event as soon as it is known.

        Closing the iterator stops the run and leaves nothing of it behind.
        """

    def rehearse(self, plan: Plan) -> Rehearsal | None:
        """Measure a second or less of the plan's training, keeping nothing of it; None if it cannot tell.

        Asked only of what `unsupported` lets through, whose data are in the store.
        """
        return None


@dataclass(frozen=True, eq=False)
class RoundResult:
    """What a backend reports of one round to `drive_rounds`."""

    state: ServerState
    cohort: tuple[int, ...]
    num_trained: int
    train: Mapping[str, float]
    seconds: Mapping[str, float]
    dropped: Mapping[int, str]


def drive_rounds(
    plan: Plan, job: Job, versions: Mapping[str, str], run_round: Callable[[int, ServerState], RoundResult]
) -> Generator[Event, None, None]:
    """The loop of every backend: hand each round its starting state, keep what is planned, report.

    `run_round(number, state)` trains round `number` from `state`.
    """
    state = load_state(job.start, plan.digest) if job.start else initial_state(plan)
    yield RunStarted(versions=dict(versions))
    for number in range(state.round + 1, plan.num_rounds + 1):
        if job.follow and number > 1:
            state = load_state(kept_state(job.follow, number - 1), plan.digest)
        result = run_round(number, state)
        state, kept = result.state, None
        if not all(np.isfinite(weight).all() for weight in state.weights.values()):
            raise RunError(f"round {number}: the server's weights are not finite; lower aggregator.learning_rate")
        if job.keep == "all" or plan.keeps(number):
            kept = kept_state(job.folder, number)
            kept.parent.mkdir(parents=True, exist_ok=True)
            save_state(kept, state, plan.digest)
        yield RoundFinished(
            round=number,
            cohort=result.cohort,
            num_trained=result.num_trained,
            train=dict(result.train),
            dropped=dict(result.dropped),
            seconds=dict(result.seconds),
            state=str(kept.relative_to(job.folder)) if kept else None,
        )
    yield RunFinished()


def round_result(outcome: RoundOutcome, updates: Sequence[ClientUpdate], seconds: Mapping[str, float]) -> RoundResult:
    """The report of a round that `finish_round` finished."""
    return RoundResult(
        state=outcome.state,
        cohort=tuple(sorted(update.client for update in updates)),
        num_trained=sum(update.num_trained for update in updates if update.client not in outcome.dropped),
        train=outcome.train,
        seconds=seconds,
        dropped=outcome.dropped,
    )


def kept_state(folder: Path, round_number: int) -> Path:
    """Where a run in `folder` keeps its state after a round."""
    return state_file(folder / CHECKPOINTS, round_number)


def initial_state(plan: Plan) -> ServerState:
    """The server before the first round, and what each client that takes part keeps to itself."""
    optimizer = parse_component(Aggregator, plan.settings["aggregator"]).server_optimizer
    learned = {name: weight for name, weight in plan.weights.items() if name not in plan.statistics}
    kept = {f"weights/{name}": value for name, value in plan.local.items()}
    clients = dict.fromkeys(plan.participants, kept) if kept else {}
    return ServerState(0, plan.weights, optimizer.initialize(learned), clients)


def installed_backends() -> dict[str, EntryPoint]:
    """The backends that installed packages offer, by name."""
    return {entry.name: entry for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)}


def find_backend(selection: str) -> Backend:
    """The backend that `NAME` or `NAME:VARIANT` asks for; raises InputError with the known ones."""
    name, _, variant = selection.partition(":")
    known = installed_backends()
    if name not in known:
        raise InputError(f"backend: {choose(name, known)}")
    try:
        backend_class: type[Backend] = known[name].load()
    except Exception as error:  # whatever an installed package does when it is imported
        raise InputError(f"backend: {name!r} is installed but cannot be loaded: {error!r}") from error
    if variant and variant not in backend_class.variants:
        choices = ", ".join(f"{name}:{choice}" for choice in backend_class.variants) or f"{name} alone"
        raise InputError(f"backend: {name!r} has no variant {variant!r}; choose {choices}")
    return backend_class(variant or None)


def timed() -> Callable[[], float]:
    """A stopwatch: each call gives the seconds since the last."""
    last = time.perf_counter()

    def lap() -> float:
        nonlocal last
        now = time.perf_counter()
        elapsed, last = now - last, now
        return elapsed

    return lap
