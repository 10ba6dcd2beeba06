"""What a backend says while it runs: one frozen record each, one JSON line each."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from flspec.core.components import Document
from flspec.metrics import Confusion

__all__ = [
    "Event",
    "RoundEvaluated",
    "RoundFinished",
    "RunAttempted",
    "RunFinished",
    "RunStarted",
    "dump_event",
    "parse_event",
]


class RunAttempted(Document):
    """A run begins or goes on; flspec's own word, before any of a backend's."""

    event: Literal["run_attempted"] = "run_attempted"
    backend: str  # as selected
    started: str  # ISO 8601, UTC


class RunStarted(Document):
    """The engine is up; the first round follows."""

    event: Literal["run_started"] = "run_started"
    versions: dict[str, str]  # of the engine's packages and its Python


class RoundFinished(Document):
    """One round of training is over and the server holds new weights.

    Everything here is what happened, not what was planned; whoever reads it compares the two.
    """

    event: Literal["round_finished"] = "round_finished"
    round: int  # from 1
    cohort: tuple[int, ...]  # clients that trained, ascending
    num_trained: int  # examples trained on by the clients that count, each time counted
    train: dict[str, float]  # over those examples, each measured before the step it took part in
    dropped: dict[int, str]  # clients whose update did not count, and why
    seconds: dict[str, float]  # of the wall clock: train (clients, messages), and aggregate where it is told apart
    state: str | None = None  # file of the server state after the round, if it is kept


class RoundEvaluated(Document):
    """The weights after a round were measured; flspec's own word, not a backend's."""

    event: Literal["round_evaluated"] = "round_evaluated"
    round: int
    evaluation: dict[str, dict[str, float]]  # by set of examples, then by metric
    undefined: dict[str, dict[str, str]] = {}  # noqa: RUF012  # why a metric of a set has no value
    confusion: dict[str, Confusion] = {}  # noqa: RUF012  # by set, of the last round and of each best so far
    seconds: float


class RunFinished(Document):
    """Always the last event of a run that reached its last round."""

    event: Literal["run_finished"] = "run_finished"


Event = RunAttempted | RunStarted | RoundFinished | RoundEvaluated | RunFinished
_events: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])


def dump_event(event: Event) -> str:
    """The event as one line of JSON."""
    return event.model_dump_json()


def parse_event(line: str | bytes) -> Event:
    """The event that `dump_event` wrote; raises pydantic's ValidationError for anything else."""
    return _events.validate_json(line)
