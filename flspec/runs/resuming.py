"""Going on with an interrupted run: its last usable state, what is kept of its record, and the states that it keeps."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from flspec.errors import InputError
from flspec.protocol.backend import kept_state
from flspec.protocol.events import Event, RoundEvaluated, RoundFinished, RunAttempted, RunEnded, RunFinished
from flspec.protocol.plan import Plan
from flspec.protocol.state import load_state
from flspec.runs.best_round import BestSoFar
from flspec.runs.event_log import read_events, rewrite_events

__all__ = ["forget_newer_states", "forget_old_states", "take_back"]


@dataclass(frozen=True)
class _Stored:
    """The rounds of which a state was stored, and how they were evaluated."""

    rounds: list[int]  # ascending
    evaluated: Mapping[int, Mapping[str, Mapping[str, float]]]


def take_back(folder: Path, plan: Plan, attempt: RunAttempted) -> Path | None:
    """Take an interrupted run's events back to its last usable state, and add the attempt; returns the state's file.

    None is the plan's initial state.
    """
    last, state = _last_state(folder, plan)
    rewrite_events(folder, _kept(folder, last, attempt))
    return state


def _kept(folder: Path, last: int, attempt: RunAttempted) -> Iterator[Event]:
    for event in read_events(folder):
        if getattr(event, "round", 0) <= last and not isinstance(event, RunFinished | RunEnded):
            yield event
    yield attempt


def _last_state(folder: Path, plan: Plan) -> tuple[int, Path | None]:
    """Return the last round whose state can be read, and its file; round 0 if there is none.

    A round whose planned evaluation is missing is trained again, so that no evaluation is lost. If the best round
    before a state cannot be read, an earlier state is taken, so that the best round is found again.
    """
    stored = _stored(folder)
    for number in reversed(stored.rounds):
        if number in stored.evaluated:
            path = kept_state(folder, number)
            with suppress(InputError):  # damaged or gone: the one before it is used
                state = load_state(path, plan.digest)
                for best in _best_until(plan, stored.evaluated, state.round):
                    load_state(kept_state(folder, best), plan.digest)
                return state.round, path
    return 0, None


def _stored(folder: Path) -> _Stored:
    rounds, evaluated = list[int](), dict[int, Mapping[str, Mapping[str, float]]]()
    for event in read_events(folder):
        match event:
            case RoundFinished(state=str()):
                rounds.append(event.round)
            case RoundEvaluated():
                evaluated[event.round] = event.evaluation
    return _Stored(rounds, evaluated)


def _best_until(plan: Plan, evaluated: Mapping[int, Mapping[str, Mapping[str, float]]], last: int) -> list[int]:
    """Return the best round up to `last`, if there is one."""
    best = BestSoFar(plan.settings.evaluation.best)
    for number in sorted(evaluated):
        if number <= last:
            best.see(number, evaluated[number])
    return best.rounds[-1:]


def forget_old_states(folder: Path, round_number: int, spared: Collection[int] = ()) -> None:
    """Delete stored states up to a round, except for the newest two: one to go on from, one as its replacement.

    The states after the rounds `spared` stay as well. Newer states stay too, because a backend in its own process may
    be some rounds ahead, and these states are still to be evaluated.
    """
    last = kept_state(folder, round_number)
    stored = sorted(path for path in last.parent.glob("*.safetensors") if path <= last)  # names sort as rounds do
    for old in set(stored[:-2]) - {kept_state(folder, number) for number in spared}:
        old.unlink()


def forget_newer_states(folder: Path, round_number: int) -> None:
    """Delete the states after a round at which a run has stopped, while its engine was ahead."""
    last = kept_state(folder, round_number)
    for newer in (path for path in last.parent.glob("*.safetensors") if path > last):
        newer.unlink()
