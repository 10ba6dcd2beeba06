"""The server's half of a round, in numpy, for every backend whose engine does not do it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from flspec.core.randomness import Stream
from flspec.execution.parts import aggregator_of, client_algorithm_of, postprocessors_of
from flspec.postprocessors import Combined, Postprocessor
from flspec.protocol.named_records import Records, Weights, in_float32
from flspec.protocol.plan import Plan
from flspec.protocol.state import OptimizerState, ServerState
from flspec.protocol.updates import ClientUpdate, Delta

__all__ = ["RoundOutcome", "finish_round", "named_postprocessors", "sent_with_weights"]


@dataclass(frozen=True, eq=False)
class RoundOutcome:
    """The server's result of one round."""

    state: ServerState
    train: dict[str, float]  # by metric: means over the examples of the clients whose update counts
    dropped: dict[int, str]  # clients whose update did not count, and why


def finish_round(plan: Plan, state: ServerState, updates: Sequence[ClientUpdate]) -> RoundOutcome:
    """Turn a cohort's updates into the next server state.

    An update with a value that is not finite is dropped, with its part of the metrics and the client's new state. If no
    update is left, the server's weights, optimizer state and records stay as they are.
    """
    finite = [update for update in sorted(updates, key=lambda u: u.client) if _is_finite(update)]
    counted = {update.client for update in finite}
    dropped = {u.client: "its update is not finite" for u in updates if u.client not in counted}
    if not finite:
        return RoundOutcome(replace(state, round=state.round + 1), {}, dropped)
    delta, records = _combine(plan, state, finite)
    optimizer, weights = _step(plan, state, delta)
    clients = dict(state.clients) | {update.client: update.client_state for update in finite if update.client_state}
    after = ServerState(state.round + 1, weights, optimizer, records, clients)
    return RoundOutcome(after, _train_metrics(finite), dropped)


def _combine(plan: Plan, state: ServerState, updates: Sequence[ClientUpdate]) -> tuple[Delta, Records]:
    """Return the delta for the server optimizer, and the server's new records."""
    post, stream = _Postprocessing(plan, state), Stream(plan.round_seed(state.round + 1), "postprocessors")
    updates = [post.on_each(update, stream.child("update", update.client)) for update in updates]
    mean = aggregator_of(plan).combine(updates)
    sent = [update.sent for update in updates]
    delta, carried = client_algorithm_of(plan).combine(mean, sent_with_weights(plan, state), sent, plan.num_clients)
    delta, remembered = post.on_combined(delta, updates, stream.child("combined"))
    return delta, in_float32({**carried, **remembered})


def sent_with_weights(plan: Plan, state: ServerState) -> Records:
    """Return the records that the server sends to each client beside the weights: those of the client algorithm."""
    return {slot: state.records[slot] for slot in client_algorithm_of(plan).server_slots}


class _Postprocessing:
    """A plan's postprocessors in one round."""

    def __init__(self, plan: Plan, state: ServerState) -> None:
        self._parts: dict[str, Postprocessor] = named_postprocessors(plan)
        self._records = {name: state.records.get(name, {}) for name in self._parts}

    def on_each(self, update: ClientUpdate, stream: Stream) -> ClientUpdate:
        if not self._parts:
            return update
        delta: Delta = {name: value.astype(np.float64) for name, value in update.delta.items()}
        for name, part in self._parts.items():
            delta = part.on_each(delta, self._records[name], stream.child(name))
        return replace(update, delta=delta)

    def on_combined(self, delta: Delta, updates: Sequence[ClientUpdate], stream: Stream) -> tuple[Delta, Records]:
        total_weight, remembered = sum(update.weight for update in updates), dict[str, Weights]()
        for name, part in self._parts.items():
            combined = Combined(delta, len(updates), total_weight, self._records[name])
            delta, record = part.on_combined(combined, stream.child(name))
            if record:
                remembered[name] = record
        return delta, remembered


def named_postprocessors(plan: Plan) -> dict[str, Postprocessor]:
    """Return a plan's postprocessors in order, by the names of their records."""
    return {f"postprocessors/{number}": part for number, part in enumerate(postprocessors_of(plan))}


def _step(plan: Plan, state: ServerState, delta: Delta) -> tuple[OptimizerState, dict[str, NDArray[np.float32]]]:
    """Apply the delta: return the new optimizer state and all weights. To statistics the delta is added directly."""
    learned = {name: weight for name, weight in state.weights.items() if name not in plan.statistics}
    optimizer, stepped = aggregator_of(plan).server_optimizer.apply(
        state.optimizer, learned, delta, plan.server_rate(state.round + 1)
    )
    return optimizer, {
        name: stepped[name] if name in stepped else (weight + delta[name]).astype(np.float32)
        for name, weight in state.weights.items()
    }


def _train_metrics(updates: Sequence[ClientUpdate]) -> dict[str, float]:
    """Return the mean of each metric, without those that are not finite: a loss can overflow in a finite update."""
    num_trained, sums = sum(update.num_trained for update in updates), Counter[str]()
    for update in updates:
        sums.update(update.sums)
    return {name: value / num_trained for name, value in sums.items() if math.isfinite(value)}


def _is_finite(update: ClientUpdate) -> bool:
    tensors = [*update.delta.values()]
    for records in (update.client_state, update.sent):
        tensors += [value for record in records.values() for value in record.values()]
    return all(bool(np.isfinite(value).all()) for value in tensors)
