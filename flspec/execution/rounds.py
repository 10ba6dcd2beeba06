"""The loop over rounds that all backends share."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from flspec.compiler.acting_parts import check_code
from flspec.errors import RunError
from flspec.execution.client_state import first_client_state
from flspec.execution.ledger import note_end, note_release
from flspec.execution.native import deviation_between
from flspec.execution.parts import learned_weights, server_optimizer_of
from flspec.execution.server_step import RoundOutcome, initial_records
from flspec.privacy.spending import ending_budget
from flspec.protocol.backend import Job, kept_state
from flspec.protocol.events import Deviation, Event, NativeRound, RoundFinished, RunFinished, RunStarted, Workers
from flspec.protocol.native import is_native
from flspec.protocol.plan import Plan
from flspec.protocol.state import ServerState, load_state, save_state
from flspec.protocol.updates import ClientUpdate, all_finite

__all__ = ["RoundResult", "drive_rounds", "initial_state", "round_result", "timed"]


@dataclass(frozen=True, eq=False)
class RoundResult:
    """A backend's report of one round to `drive_rounds`."""

    state: ServerState
    cohort: tuple[int, ...]
    num_trained: int
    train: Mapping[str, float]
    seconds: Mapping[str, float]
    dropped: Mapping[int, str]  # by position in the cohort
    sums: Mapping[str, int] = field(default_factory=dict)
    workers: Workers | None = None
    clients_seconds: float | None = None  # as in `RoundFinished`
    deviation: Deviation | None = None  # of a native round, from the definition
    clients: Mapping[str, Sequence[float | None]] = field(default_factory=dict)  # as in `RoundFinished`
    not_finite: Mapping[int, str] = field(default_factory=dict)  # likewise


RunRound = Callable[[int, ServerState], RoundResult]


def drive_rounds(
    plan: Plan,
    job: Job,
    versions: Mapping[str, str],
    run_round: RunRound,
    run_definition: RunRound | None = None,
) -> Generator[Event, None, None]:
    """Run the rounds: give each its starting state, save the planned states, and yield the events.

    `run_round(number, state)` executes round `number` from `state`. Where the plan asks for the engine's own algorithm
    that is native, and `run_definition` executes the same round by flspec's definition (`native.definition_of`). Raises
    RunError if weights are not finite, InputError if a part's code is not what the plan was compiled with.
    """
    check_code(plan.settings, of_evaluation=False)
    state = load_state(job.start, plan.digest) if job.start else initial_state(plan)
    yield RunStarted(versions=dict(versions))
    for number in range(state.round + 1, plan.num_rounds + 1):
        if job.follow and number > 1:
            state = load_state(kept_state(job.follow, number - 1), plan.digest)
        if plan.settings.privacy:
            note_release(job.folder, number)
        result = run_round(number, state)
        kept, beside = None, None
        if is_native(plan):
            assert run_definition, "a backend that declares natives runs the definition, too"
            result, beside = _with_definition(plan, state, result, run_definition)
        state = result.state
        _check_finite(state)
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
            sums=dict(result.sums),
            native=beside,
            seconds=dict(result.seconds),
            clients_seconds=result.clients_seconds,
            workers=result.workers,
            clients={name: tuple(values) for name, values in result.clients.items()} if job.client_rows else {},
            not_finite=dict(result.not_finite),
            state=str(kept.relative_to(job.folder)) if kept else None,
        )
    if (budget := ending_budget(plan)) is not None:
        note_end(job.folder, plan.num_rounds, budget)
    yield RunFinished()


def _with_definition(
    plan: Plan, before: ServerState, result: RoundResult, run_definition: RunRound
) -> tuple[RoundResult, NativeRound]:
    """Have the definition's own run go on by a round; return the result with its state, and how far the two are."""
    assert before.definition, "a native run begins beside the definition"
    assert result.deviation, "a native round states its deviation"
    lap = timed()
    defined = run_definition(result.state.round, before.definition).state
    _check_finite(defined)
    free = deviation_between(plan, plan.weights, defined.weights, result.state.weights)
    seconds = {**result.seconds, "definition": lap()}
    beside = NativeRound(lockstep=result.deviation, free_running=free)
    return replace(result, state=replace(result.state, definition=defined), seconds=seconds), beside


def _check_finite(state: ServerState) -> None:
    for name, weight in state.weights.items():
        if not all_finite(weight):
            why = "the server's weights are not finite"
            raise RunError(f"round {state.round}: {why}, first {name}; lower aggregator.learning_rate")


def round_result(
    outcome: RoundOutcome,
    updates: Sequence[ClientUpdate],
    seconds: Mapping[str, float],
    workers: Workers | None = None,
) -> RoundResult:
    """Build the report of a round from what `finish_round` returned."""
    in_order = sorted(updates, key=lambda update: (update.client, update.repeat))
    trained = [update.seconds for update in in_order if update.seconds is not None]
    return RoundResult(
        state=outcome.state,
        cohort=tuple(update.client for update in in_order),
        num_trained=sum(one.num_trained for place, one in enumerate(in_order) if place not in outcome.dropped),
        train=outcome.train,
        seconds=seconds,
        dropped=outcome.dropped,
        sums=outcome.sums,
        workers=workers,
        clients_seconds=sum(trained) if len(trained) == len(in_order) else None,
        deviation=outcome.deviation,
        clients=_by_client(outcome, in_order),
        not_finite=outcome.not_finite,
    )


def _by_client(outcome: RoundOutcome, updates: Sequence[ClientUpdate]) -> dict[str, list[float | None]]:
    """Return what is known of each client, as in `RoundFinished`."""
    names = list(updates[0].sums) if updates else []
    values = {
        name: [one.sums[name] / one.num_trained if one.num_trained else None for one in updates] for name in names
    }
    values = {"trained": [float(one.num_trained) for one in updates], **values}
    values |= {"update_norm": list(outcome.norms), "seconds": [one.seconds for one in updates]}
    return {name: [_finite(value) for value in column] for name, column in values.items()}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def initial_state(plan: Plan) -> ServerState:
    """Return the server state before the first round, in which no client has taken part."""
    first_client_state(plan)  # a client algorithm's mistake is told before a round begins
    optimizer = server_optimizer_of(plan).initialize(learned_weights(plan))
    state = ServerState(0, plan.weights, optimizer, initial_records(plan))
    return replace(state, definition=state) if is_native(plan) else state


def timed() -> Callable[[], float]:
    """Start a stopwatch. Each call of it returns the seconds since the last call."""
    last = time.perf_counter()

    def lap() -> float:
        nonlocal last
        now = time.perf_counter()
        elapsed, last = now - last, now
        return elapsed

    return lap
