"""Events that a backend reports while it runs. Each is a frozen document, written as one line of JSON."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from flspec.core.components import Document
from flspec.metrics import Confusion

__all__ = [
    "NOT_FINITE",
    "Deviation",
    "Event",
    "ImageFile",
    "NativeRound",
    "RoundEvaluated",
    "RoundFinished",
    "RunAttempted",
    "RunEnded",
    "RunFinished",
    "RunStarted",
    "Software",
    "Workers",
    "dump_event",
    "parse_event",
]


NOT_FINITE = "its update is not finite"  # why an update did not count that the engine cannot help


class Software(Document):
    """What carries out a run, as far as it can be known before the engine starts."""

    versions: dict[str, str]  # of flspec, Python, and the packages that the backend runs on
    sources: dict[str, str]  # by package: digest of the code of flspec and of the backend's own
    device: str | None = None  # that trains and evaluates, with its card: cpu, cuda:0 (NVIDIA H200)


class RunAttempted(Document):
    """A run begins or is resumed. Reported by flspec, before any event of the backend."""

    event: Literal["run_attempted"] = "run_attempted"
    backend: str  # as selected; of a certificate, all backends with commas between
    plan: str  # digest
    started: str  # ISO 8601, UTC
    software: Software
    extends: str | None = None  # digest of the shorter plan of whose run this was an attempt; None: of this plan's own


class RunStarted(Document):
    """The engine has started. The first round follows."""

    event: Literal["run_started"] = "run_started"
    versions: dict[str, str]  # of the engine's packages and its Python


class Workers(Document):
    """Who trains the clients, and why: how an engine works, which changes nothing that it computes."""

    kind: Literal["threads", "processes"]
    number: int  # of those who train; of processes, the one that began the run is one if it trains, too
    why: str

    @property
    def title(self) -> str:
        """`1 thread`, `2 processes`."""
        one = {"threads": "thread", "processes": "process"}[self.kind]
        return f"{self.number} {self.kind if self.number > 1 else one}"


class Deviation(Document):
    """How far an engine's own algorithm is from flspec's definition of it."""

    largest: float  # absolute difference of any weight
    relative: float  # the same, divided by the largest movement of any weight by the definition


class NativeRound(Document):
    """One round of an engine's own algorithm beside flspec's definition."""

    lockstep: Deviation  # both from the same state and updates; movements are the round's
    free_running: Deviation  # each from where it was after the round before; movements are from the initial weights


class RoundFinished(Document):
    """One round has ended and the server has new weights.

    Every field reports what happened, not what was planned. The reader of the event compares the two.
    """

    event: Literal["round_finished"] = "round_finished"
    round: int  # from 1
    cohort: tuple[int, ...]  # clients that trained, ascending, each once for every task
    num_trained: int  # examples trained on by the clients whose update counts; an example counts once per use
    train: dict[str, float]  # means over those examples, each measured before the step that uses it
    dropped: dict[int, str]  # by position in the cohort: why that update did not count
    seconds: dict[str, float]  # wall clock: train (clients, messages), and aggregate if it is measured separately
    clients_seconds: float | None = None  # wall clock: each client's training, added up; None if nobody measured it
    sums: dict[str, int] = {}  # noqa: RUF012  # with simulated secure aggregation: values that were clipped and wrapped
    workers: Workers | None = None  # at the end of the round, where an engine chooses
    native: NativeRound | None = None  # None: the server's step is flspec's definition
    # By position in the cohort: the examples that each client trained on, means of its training metrics over them, the
    # Euclidean norm of its update as it arrived, its seconds. None: unknown. Empty: not asked for, or not known.
    clients: dict[str, tuple[float | None, ...]] = {}  # noqa: RUF012
    not_finite: dict[int, str] = {}  # noqa: RUF012  # by position: the first tensor of an update that is not finite
    state: str | None = None  # file of the server state after the round, if it is saved


class ImageFile(Document):
    """A grid of pictures in a run's folder."""

    path: str  # relative to the folder
    sha256: str  # of its pixels: see `flspec.quality.grids`
    clients: tuple[int, ...] = ()  # whose model made each row; empty if one model made all


class RoundEvaluated(Document):
    """The weights after a round have been evaluated. Reported by flspec, not by a backend."""

    event: Literal["round_evaluated"] = "round_evaluated"
    round: int
    evaluation: dict[str, dict[str, float]]  # by set of examples, then by metric
    undefined: dict[str, dict[str, str]] = {}  # noqa: RUF012  # by set, then by metric: why it has no value
    confusion: dict[str, Confusion] = {}  # noqa: RUF012  # by set, of the last round and of each best so far
    images: dict[str, ImageFile] = {}  # noqa: RUF012  # by what they show: generated, real
    seconds: float


class RunFinished(Document):
    """The last event of every run that reaches its last round."""

    event: Literal["run_finished"] = "run_finished"


class RunEnded(Document):
    """The run has ended, however, and its result is about to be written. Reported by flspec."""

    event: Literal["run_ended"] = "run_ended"
    status: Literal["completed", "failed", "interrupted"]
    result: str  # SHA-256 of `result.json`


Event = RunAttempted | RunStarted | RoundFinished | RoundEvaluated | RunFinished | RunEnded


@cache
def _events() -> TypeAdapter[Event]:
    return TypeAdapter(Annotated[Event, Field(discriminator="event")])


def dump_event(event: Event) -> str:
    """Return the event as one line of JSON."""
    return event.model_dump_json()


def parse_event(line: str | bytes) -> Event:
    """Read an event that `dump_event` wrote. Raises pydantic's ValidationError for anything else."""
    return _events().validate_json(line)
