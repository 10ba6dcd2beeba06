"""The server's half of a round, in numpy, for every backend whose engine does not do it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.aggregators import Aggregator, ServerSide
from flspec.client_algorithms import CohortWork
from flspec.core.threads import map_on_cores
from flspec.errors import RunError
from flspec.execution.compression import initial_memory, restored
from flspec.execution.faults import attacked, lost_updates
from flspec.execution.masked_mean import masked_mean
from flspec.execution.native import NativeStep, deviation_between
from flspec.execution.part_checks import PartCall
from flspec.execution.parts import (
    acts_without_updates,
    aggregator_of,
    client_algorithm_of,
    faults_of,
    learned_weights,
    objective_of,
    server_optimizer_of,
)
from flspec.execution.postprocessing import Postprocessing, initial_postprocessor_records
from flspec.faults import UpdateFault
from flspec.protocol.events import NOT_FINITE, Deviation
from flspec.protocol.named_records import Records, Weights
from flspec.protocol.plan import Plan
from flspec.protocol.state import OptimizerState, ServerState
from flspec.protocol.updates import ClientUpdate, Delta, WeightedSum, all_finite, norm_of, weighted_mean, weighted_sum

__all__ = [
    "RoundOutcome",
    "finish_round",
    "finish_round_of",
    "initial_client_records",
    "initial_records",
    "learned_weights",
    "sent_with_weights",
    "takes_one_by_one",
]

_AGGREGATOR = "aggregator"  # the name of its record


@dataclass(frozen=True, eq=False)
class RoundOutcome:
    """The server's result of one round."""

    state: ServerState
    train: dict[str, float]  # by metric: means over the examples of the clients whose update counts
    dropped: dict[int, str]  # by position in the cohort, which is in client order: why that update did not count
    sums: dict[str, int] = field(default_factory=dict)  # of masked sums: the values that were clipped and wrapped
    deviation: Deviation | None = None  # of the engine's own algorithm from the definition, in this round
    norms: tuple[float | None, ...] = ()  # of each update as it arrived, by position; None: it was lost
    not_finite: dict[int, str] = field(default_factory=dict)  # by position: the first tensor or number that is not


def finish_round(
    plan: Plan, state: ServerState, updates: Sequence[ClientUpdate], native: NativeStep | None = None
) -> RoundOutcome:
    """Turn a cohort's updates into the next server state, by flspec's definition or the engine's own algorithm.

    An update that the plan loses, or with a value that is not finite, is dropped, with its part of the metrics and the
    client's new state. If fewer than the plan's `min_clients` are left, the server's weights, optimizer state and
    records stay as they are.
    """
    number = state.round + 1
    _check_reports(plan, number, updates)
    updates = restored(plan, updates)
    every = attacked(plan, number, sorted(updates, key=lambda update: (update.client, update.repeat)))
    lost = lost_updates(plan, number, every)
    norms = tuple(None if place in lost else _norm_of(update) for place, update in enumerate(every))
    if summed := _summed(plan, state, [update for place, update in enumerate(every) if place not in lost]):
        return replace(_conclude(plan, state, every, lost, summed, native), norms=norms)
    first = map_on_cores(_not_finite, every, sum(value.size for update in every for value in update.delta.values()))
    wrong = {place: name for place, name in enumerate(first) if name}
    outcome = _conclude(plan, state, every, dict.fromkeys(wrong, NOT_FINITE) | lost, native=native)
    return replace(outcome, norms=norms, not_finite=wrong)


def finish_round_of(
    plan: Plan, state: ServerState, updates: Iterable[ClientUpdate]
) -> tuple[RoundOutcome | None, list[ClientUpdate]]:
    """Do as `finish_round` with updates that come one by one, in client order, and hold the deltas of none.

    For a plan that `takes_one_by_one`. The updates are returned without their deltas. There is no outcome if one that
    the plan counts on is not finite: the shares of those before it would have been others.
    """
    number, cohort = state.round + 1, plan.cohort(state.round + 1)
    lost, post, every = lost_updates(plan, number), Postprocessing(plan, state), list[ClientUpdate]()
    mean = WeightedSum(sum(task.weight for place, task in enumerate(cohort) if place not in lost))
    is_whole, norms = True, list[float | None]()
    for place, update in enumerate(updates):
        every.append(replace(update, delta={}, payload={}))
        if place in lost or not is_whole:
            norms.append(None)
            continue
        (arrived,) = restored(plan, [update])
        norms.append(_norm_of(arrived))
        if is_whole := _not_finite(arrived, of_delta=post.acts) is None:
            mean.add(post.on_each(arrived))
    if not (is_whole and all(map(all_finite, mean.values.values()))):
        return None, every
    _check_reports(plan, number, every)
    return replace(_conclude(plan, state, every, lost, _Summed(mean.values, post)), norms=tuple(norms)), every


def takes_one_by_one(plan: Plan) -> bool:
    """Return whether each update of a round may go as soon as it has been added to a mean."""
    settings, faults = plan.settings, faults_of(plan)
    attacks = any(isinstance(fault, UpdateFault) for fault in faults)
    return aggregator_of(plan).is_plain_mean and not settings.secure_aggregation and not attacks


@dataclass(frozen=True, eq=False)
class _Summed:
    """The mean of updates that have gone, and the postprocessors that worked on each."""

    mean: Delta
    post: Postprocessing


def _summed(plan: Plan, state: ServerState, updates: Sequence[ClientUpdate]) -> _Summed | None:
    """Return the mean of updates that need nothing else; None if they do, or if one is not finite.

    A mean is finite only if all that it is of is so, and to look at the mean is one look instead of one at each.
    """
    post = Postprocessing(plan, state)
    if post.acts or not updates or not takes_one_by_one(plan):
        return None
    if any(_not_finite(update, of_delta=False) for update in updates):
        return None
    mean = weighted_mean(updates)
    return _Summed(mean, post) if all(map(all_finite, mean.values())) else None


def _check_reports(plan: Plan, round_number: int, updates: Sequence[ClientUpdate]) -> None:
    _check_metrics(plan, updates)
    _check_shares(plan, round_number, updates)


def _conclude(
    plan: Plan,
    state: ServerState,
    every: Sequence[ClientUpdate],
    dropped: dict[int, str],
    summed: _Summed | None = None,
    native: NativeStep | None = None,
) -> RoundOutcome:
    """Return the round's outcome of all updates, in client order."""
    number = state.round + 1
    kept = [update for place, update in enumerate(every) if place not in dropped]
    if len(kept) < plan.settings.min_clients and not acts_without_updates(plan):
        why = f"the round has fewer updates than min_clients: {plan.settings.min_clients}"
        unmet, still = dict.fromkeys(range(len(every)), why) | dropped, Deviation(largest=0.0, relative=0.0)
        return RoundOutcome(replace(state, round=number), {}, unmet, deviation=still if native else None)
    _check_enough(plan, number, len(kept), len(every))
    delta, records, sums = _combine(plan, state, kept, summed)
    optimizer, weights = _step(plan, state, delta)
    deviation = None
    if native:
        defined, (optimizer, weights) = weights, native(state, kept)
        deviation = deviation_between(plan, state.weights, defined, weights)
    clients = {**state.clients, **{update.client: update.client_state for update in kept if update.client_state}}
    after = ServerState(number, weights, optimizer, records, clients)
    return RoundOutcome(after, _train_metrics(kept), dropped, sums, deviation)


def _combine(
    plan: Plan, state: ServerState, updates: Sequence[ClientUpdate], summed: _Summed | None
) -> tuple[Delta, Records, dict[str, int]]:
    """Return the delta for the server optimizer, the server's new records, and how many values masked sums spoilt."""
    post = summed.post if summed else Postprocessing(plan, state)
    before: Records = {name: record for name, record in state.records.items() if name == _AGGREGATOR}
    mean, own, sums = _nothing(plan), before, dict[str, int]()
    if summed and updates:
        mean, own = summed.mean, {}
    elif plan.settings.secure_aggregation and updates:
        mean, sums = masked_mean(plan, state.round + 1, updates, map(post.on_each, updates))
    elif updates:
        mean, own = _aggregate(plan, state, updates, post)
    delta, carried = _combine_by_algorithm(plan, state, mean, updates)
    delta, remembered = post.on_combined(delta, updates)
    return delta, {**carried, **own, **remembered}, sums


def _nothing(plan: Plan) -> Delta:
    return {name: np.zeros(weight.shape) for name, weight in plan.weights.items()}


def _aggregate(
    plan: Plan, state: ServerState, updates: Sequence[ClientUpdate], post: Postprocessing
) -> tuple[Delta, Records]:
    """Return what the aggregator combines the processed updates into, an update of the same tensors, and its record.

    A plain mean takes those that postprocessors made one by one, as all in float64 may not fit into memory.
    """
    aggregator, processed = aggregator_of(plan), map(post.on_each, updates)
    if aggregator.is_plain_mean and not post.acts:
        return weighted_mean(updates), {}
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
    return records | initial_postprocessor_records(plan)


def initial_client_records(plan: Plan) -> dict[str, Weights]:
    """Return the records of the client algorithm and of error feedback that a client has before its first round."""
    algorithm, learned = client_algorithm_of(plan), learned_weights(plan)
    call = PartCall("client.algorithm", algorithm, "initial_client")
    with call.guarded():
        given = algorithm.initial_client(learned)
    return {**call.records(given, algorithm.client_slots, learned), **initial_memory(plan)}


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


def _norm_of(update: ClientUpdate) -> float:
    with np.errstate(over="ignore"):  # of an update that diverges
        return norm_of(update.delta)


def _not_finite(update: ClientUpdate, of_delta: bool = True) -> str | None:
    """Return the name of the first tensor or number of an update that is not finite; None if all are."""
    tensors: list[tuple[str, NDArray[np.floating[Any]]]] = [*update.delta.items()] if of_delta else []
    for records in (update.client_state, update.sent):
        tensors += [(f"{of}/{name}", value) for of, record in records.items() for name, value in record.items()]
    wrong = (name for name, number in update.numbers.items() if not math.isfinite(number))
    return next(wrong, None) or next((name for name, value in tensors if not all_finite(value)), None)
