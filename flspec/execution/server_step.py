"""The server's half of a round, in numpy, for every backend whose engine does not do it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from flspec.aggregators import Aggregator, ServerSide
from flspec.client_algorithms import CohortWork
from flspec.core.randomness import Stream
from flspec.core.round_streams import RoundStreams
from flspec.errors import RunError
from flspec.execution.compression import initial_memory, restored
from flspec.execution.faults import attacked, lost_updates
from flspec.execution.masked_mean import masked_mean
from flspec.execution.part_checks import PartCall, stream_for
from flspec.execution.parts import (
    acts_without_updates,
    aggregator_of,
    client_algorithm_of,
    learned_weights,
    objective_of,
    postprocessors_of,
    server_optimizer_of,
)
from flspec.postprocessors import Combined, Postprocessor
from flspec.protocol.events import NOT_FINITE
from flspec.protocol.named_records import Records, Weights
from flspec.protocol.plan import Plan
from flspec.protocol.state import OptimizerState, ServerState
from flspec.protocol.updates import ClientUpdate, Delta, weighted_sum

__all__ = [
    "RoundOutcome",
    "finish_round",
    "initial_client_records",
    "initial_records",
    "learned_weights",
    "named_postprocessors",
    "sent_with_weights",
    "stream_of",
    "stream_of_update",
    "streams_of",
]

_AGGREGATOR = "aggregator"  # the name of its record


@dataclass(frozen=True, eq=False)
class RoundOutcome:
    """The server's result of one round."""

    state: ServerState
    train: dict[str, float]  # by metric: means over the examples of the clients whose update counts
    dropped: dict[int, str]  # by position in the cohort, which is in client order: why that update did not count
    sums: dict[str, int] = field(default_factory=dict)  # of masked sums: the values that were clipped and wrapped


def finish_round(plan: Plan, state: ServerState, updates: Sequence[ClientUpdate]) -> RoundOutcome:
    """Turn a cohort's updates into the next server state.

    An update that the plan loses, or with a value that is not finite, is dropped, with its part of the metrics and the
    client's new state. If fewer than the plan's `min_clients` are left, the server's weights, optimizer state and
    records stay as they are.
    """
    number = state.round + 1
    _check_metrics(plan, updates)
    _check_shares(plan, number, updates)
    updates = restored(plan, updates)
    every = attacked(plan, number, sorted(updates, key=lambda update: (update.client, update.repeat)))
    dropped = {place: NOT_FINITE for place, update in enumerate(every) if not _is_finite(update)}
    dropped |= lost_updates(plan, number, every)
    kept = [update for place, update in enumerate(every) if place not in dropped]
    if len(kept) < plan.settings.min_clients and not acts_without_updates(plan):
        why = f"the round has fewer updates than min_clients: {plan.settings.min_clients}"
        return RoundOutcome(replace(state, round=number), {}, dict.fromkeys(range(len(every)), why) | dropped)
    _check_enough(plan, number, len(kept), len(every))
    delta, records, sums = _combine(plan, state, kept)
    optimizer, weights = _step(plan, state, delta)
    clients = dict(state.clients) | {update.client: update.client_state for update in kept if update.client_state}
    after = ServerState(number, weights, optimizer, records, clients)
    return RoundOutcome(after, _train_metrics(kept), dropped, sums)


def _combine(plan: Plan, state: ServerState, updates: Sequence[ClientUpdate]) -> tuple[Delta, Records, dict[str, int]]:
    """Return the delta for the server optimizer, the server's new records, and how many values masked sums spoilt."""
    post = _Postprocessing(plan, state)
    processed = (post.on_each(update) for update in updates)
    before: Records = {name: record for name, record in state.records.items() if name == _AGGREGATOR}
    sums: dict[str, int] = {}
    if plan.settings.secure_aggregation and updates:
        (mean, sums), own = masked_mean(plan, state.round + 1, updates, processed), before
    else:
        mean, own = _aggregate(plan, state, updates, processed) if updates else (_nothing(plan), before)
    delta, carried = _combine_by_algorithm(plan, state, mean, updates)
    delta, remembered = post.on_combined(delta, updates)
    return delta, {**carried, **own, **remembered}, sums


def _nothing(plan: Plan) -> Delta:
    return {name: np.zeros(weight.shape) for name, weight in plan.weights.items()}


def _aggregate(
    plan: Plan, state: ServerState, updates: Sequence[ClientUpdate], processed: Iterable[ClientUpdate]
) -> tuple[Delta, Records]:
    """Return what the aggregator combines the processed updates into, an update of the same tensors, and its record.

    A plain mean takes one by one, as all in float64 may not fit into memory.
    """
    aggregator = aggregator_of(plan)
    if aggregator.is_plain_mean:
        return weighted_sum(processed, sum(update.weight for update in updates)), {}
    method = "combine" if type(aggregator).combine_with is Aggregator.combine_with else "combine_with"
    every, call = list(processed), PartCall("aggregator", aggregator, method)
    with call.guarded():
        given = aggregator.combine_with(every, ServerSide(state.records.get(_AGGREGATOR, {}), plan.statistics))
    combined, record = call.pair(given, "the combined update and the record")
    delta, record = call.tensors(combined, updates[0].delta, "update", np.float64), call.record(record)
    return delta, {_AGGREGATOR: record} if record else {}


def _check_enough(plan: Plan, round_number: int, num_updates: int, num_clients: int) -> None:
    """Raise RunError if a rule is not defined for so few updates. Another rule would be another experiment."""
    aggregator = aggregator_of(plan)
    if need := aggregator.unmet(num_updates):
        kind = plan.settings.aggregator["kind"]
        raise RunError(
            f"round {round_number}: aggregator.{need.field}: {kind} needs at least {need.least} updates "
            f"({need.formula}), but only {num_updates} of {num_clients} count; lower {need.field}, raise cohort.size, "
            f"or set min_clients: {need.least}, which leaves such rounds out"
        )


def _combine_by_algorithm(
    plan: Plan, state: ServerState, mean: Delta, updates: Sequence[ClientUpdate]
) -> tuple[Delta, dict[str, Weights]]:
    """Return what the client algorithm makes of the mean, and the server's records from now on."""
    if plan.settings.client_algorithm is None:
        return mean, {}
    if not updates:  # of a private round: no algorithm works on what is noise alone
        return mean, dict(sent_with_weights(plan, state))
    algorithm, total = client_algorithm_of(plan), sum(update.weight for update in updates)
    call, learned = PartCall("client.algorithm", algorithm, "combine"), learned_weights(plan)
    work = CohortWork(
        mean=mean,
        server=sent_with_weights(plan, state),
        sent=[update.sent for update in updates],
        numbers=[update.numbers for update in updates],
        shares=[update.weight / total for update in updates],
        num_clients=plan.num_clients,
        statistics=plan.statistics,
    )
    with call.guarded():
        given = algorithm.combine(work)
    delta, records = call.pair(given, "the update and the server's records")
    delta = call.tensors(delta, mean, "update", np.float64)
    records = call.records(records, algorithm.server_slots, learned)
    for name, tensors in {"update": delta, **{f"record {name}": record for name, record in records.items()}}.items():
        call.check_finite(tensors, name)
    return delta, records


def sent_with_weights(plan: Plan, state: ServerState) -> Records:
    """Return the records that the server sends to each client beside the weights: those of the client algorithm."""
    return {slot: state.records[slot] for slot in client_algorithm_of(plan).server_slots}


class _Postprocessing:
    """A plan's postprocessors in one round."""

    def __init__(self, plan: Plan, state: ServerState) -> None:
        self._plan, self._round = plan, state.round + 1
        self._parts: dict[str, Postprocessor] = named_postprocessors(plan)
        self._records = {name: state.records.get(name, {}) for name in self._parts}
        self._sums: dict[str, Counter[str]] = {name: Counter() for name in self._parts}

    def on_each(self, update: ClientUpdate) -> ClientUpdate:
        if not self._parts:
            return update
        delta: Delta = {name: value.astype(np.float64) for name, value in update.delta.items()}
        for name, part in self._parts.items():
            self._measure(name, part, delta)
            call = _call(name, part, "on_each")
            stream = stream_of_update(self._plan, self._round, update.client, name, update.repeat)
            with call.guarded():
                given = part.on_each(delta, self._records[name], stream_for(part.is_random, stream))
            delta = call.tensors(given, update.delta, "update", np.float64)
            call.check_finite(delta, "update")
        return replace(update, delta=delta)

    def _measure(self, name: str, part: Postprocessor, delta: Delta) -> None:
        call = _call(name, part, "measure")
        with call.guarded():
            given = part.measure(delta, self._records[name])
        self._sums[name].update(call.sums(given))

    def on_combined(self, delta: Delta, updates: Sequence[ClientUpdate]) -> tuple[Delta, Records]:
        total_weight, remembered = sum(update.weight for update in updates), dict[str, Weights]()
        for name, part in self._parts.items():
            streams = streams_of(self._plan, self._round, name)
            before = self._records[name], self._sums[name]
            combined = Combined(delta, len(updates), total_weight, *before, streams=streams)
            call = _call(name, part, "on_combined")
            with call.guarded():
                given = part.on_combined(combined, streams.current)
            after, record = call.pair(given, "the combined update and the record")
            delta = call.tensors(after, delta, "update", np.float64)
            call.check_finite(delta, "update")
            if record := call.record(record):
                remembered[name] = record
        return delta, remembered


def streams_of(plan: Plan, round_number: int, name: str) -> RoundStreams:
    """Return those streams of the rounds until this one; the part remembers what it drew as long as the plan lives."""
    is_random = named_postprocessors(plan)[name].is_random
    memory = _memories.setdefault(plan, {}).setdefault(name, {})
    return RoundStreams(round_number, lambda number: stream_for(is_random, stream_of(plan, number, name)), memory)


_memories: WeakKeyDictionary[Plan, dict[str, dict[Any, Any]]] = WeakKeyDictionary()


def stream_of(plan: Plan, round_number: int, name: str) -> Stream:
    """Return the stream from which the postprocessor `name` draws for the combined update of a round."""
    return _round_stream(plan, round_number).child("combined", name)


def stream_of_update(plan: Plan, round_number: int, client: int, name: str, repeat: int = 0) -> Stream:
    """Return the stream from which the postprocessor `name` draws for one update of a client in a round.

    Two updates of one client with the same noise would tell how they differ.
    """
    of_client = _round_stream(plan, round_number).child("update", client, name)
    return of_client.child("repeat", repeat) if repeat else of_client


def _round_stream(plan: Plan, round_number: int) -> Stream:
    return Stream(plan.round_seed(round_number), "postprocessors")


def _call(name: str, part: Postprocessor, method: str) -> PartCall:
    return PartCall(name.replace("/", "."), part, method)


def initial_records(plan: Plan) -> dict[str, Weights]:
    """Return the records that the server has before the first round."""
    algorithm, learned = client_algorithm_of(plan), learned_weights(plan)
    call = PartCall("client.algorithm", algorithm, "initial_server")
    with call.guarded():
        given = algorithm.initial_server(learned)
    records = call.records(given, algorithm.server_slots, learned)
    aggregator = aggregator_of(plan)
    call = PartCall("aggregator", aggregator, "initial_record")
    with call.guarded():
        own = aggregator.initial_record(learned)
    if own := call.record(own):
        records[_AGGREGATOR] = own
    for name, part in named_postprocessors(plan).items():
        call = _call(name, part, "initial_record")
        with call.guarded():
            record = part.initial_record()
        if record := call.record(record):
            records[name] = record
    return records


def initial_client_records(plan: Plan) -> dict[str, Weights]:
    """Return the records of the client algorithm and of error feedback that a client has before its first round."""
    algorithm, learned = client_algorithm_of(plan), learned_weights(plan)
    call = PartCall("client.algorithm", algorithm, "initial_client")
    with call.guarded():
        given = algorithm.initial_client(learned)
    return {**call.records(given, algorithm.client_slots, learned), **initial_memory(plan)}


def named_postprocessors(plan: Plan) -> dict[str, Postprocessor]:
    """Return a plan's postprocessors in order, by the names of their records."""
    return {f"postprocessors/{number}": part for number, part in enumerate(postprocessors_of(plan))}


def _step(plan: Plan, state: ServerState, delta: Delta) -> tuple[OptimizerState, dict[str, NDArray[np.float32]]]:
    """Apply the delta: return the new optimizer state and all weights. To statistics the delta is added directly."""
    learned = {name: weight for name, weight in state.weights.items() if name not in plan.statistics}
    rule = server_optimizer_of(plan)
    call = PartCall("aggregator.server_optimizer", rule, "apply")
    with call.guarded():
        given = rule.apply(state.optimizer, learned, delta, plan.server_rate(state.round + 1))
    optimizer, after = call.pair(given, "the optimizer's state and the weights")
    stepped = call.tensors(after, learned, "weights")
    slots = call.records(optimizer.slots, state.optimizer.slots, learned)
    optimizer = replace(optimizer, slots=slots)
    return optimizer, {
        name: stepped[name] if name in stepped else (weight + delta[name]).astype(np.float32)
        for name, weight in state.weights.items()
    }


def _check_metrics(plan: Plan, updates: Sequence[ClientUpdate]) -> None:
    """Raise RunError if clients measured different metrics: a mean over all examples would be of some alone."""
    first = updates[0] if updates else None
    for update in updates:
        if first and set(update.sums) != set(first.sums):
            names = [", ".join(sorted(one.sums)) or "none" for one in (first, update)]
            raise PartCall("client.objective", objective_of(plan), "torch").error(
                f"measured {names[0]} for client {first.client} and {names[1]} for client {update.client}"
            )


def _check_shares(plan: Plan, round_number: int, updates: Sequence[ClientUpdate]) -> None:
    """Raise RunError if an update of a private round counts otherwise than planned: noise covers no more than that."""
    if plan.settings.privacy is None:
        return
    planned = Counter((task.client, task.repeat, float(task.weight)) for task in plan.cohort(round_number))
    if others := Counter((update.client, update.repeat, float(update.weight)) for update in updates) - planned:
        client, _, weight = min(others)
        raise RunError(
            f"round {round_number}: the backend gave an update of client {client} with weight {weight:g} that the plan "
            "does not have; privacy holds for each planned update, once"
        )


def _train_metrics(updates: Sequence[ClientUpdate]) -> dict[str, float]:
    """Return the mean of each metric, without those that are not finite: a loss can overflow in a finite update."""
    num_trained, sums = sum(update.num_trained for update in updates), Counter[str]()
    if not num_trained:  # by chance every batch may be empty
        return {}
    for update in updates:
        sums.update(update.sums)
    return {name: value / num_trained for name, value in sums.items() if math.isfinite(value)}


def _is_finite(update: ClientUpdate) -> bool:
    tensors = [*update.delta.values()]
    for records in (update.client_state, update.sent):
        tensors += [value for record in records.values() for value in record.values()]
    numbers_are_finite = all(map(math.isfinite, update.numbers.values()))
    return numbers_are_finite and all(bool(np.isfinite(value).all()) for value in tensors)
