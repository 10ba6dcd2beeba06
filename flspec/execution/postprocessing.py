"""A plan's postprocessors in a round: what each is given, what it draws from, and what it must return."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from flspec.core.randomness import Stream
from flspec.core.round_streams import RoundStreams
from flspec.execution.part_checks import PartCall, stream_for
from flspec.execution.parts import postprocessors_of
from flspec.postprocessors import Combined, Postprocessor
from flspec.protocol.named_records import Records, Weights
from flspec.protocol.plan import Plan
from flspec.protocol.state import ServerState
from flspec.protocol.updates import ClientUpdate, Delta

__all__ = [
    "Postprocessing",
    "initial_postprocessor_records",
    "named_postprocessors",
    "stream_of",
    "stream_of_update",
    "streams_of",
]


class Postprocessing:
    """A plan's postprocessors in one round."""

    def __init__(self, plan: Plan, state: ServerState) -> None:
        self._plan, self._round = plan, state.round + 1
        self._parts: dict[str, Postprocessor] = named_postprocessors(plan)
        self._records = {name: state.records.get(name, {}) for name in self._parts}
        self._sums: dict[str, Counter[str]] = {name: Counter() for name in self._parts}

    @property
    def acts(self) -> bool:
        return bool(self._parts)

    def on_each(self, update: ClientUpdate) -> ClientUpdate:
        if not self.acts:
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


def initial_postprocessor_records(plan: Plan) -> dict[str, Weights]:
    """Return the records of those postprocessors that have one, before the first round."""
    records: dict[str, Weights] = {}
    for name, part in named_postprocessors(plan).items():
        call = _call(name, part, "initial_record")
        with call.guarded():
            record = part.initial_record()
        if record := call.record(record):
            records[name] = record
    return records


def named_postprocessors(plan: Plan) -> dict[str, Postprocessor]:
    """Return a plan's postprocessors in order, by the names of their records."""
    return {f"postprocessors/{number}": part for number, part in enumerate(postprocessors_of(plan))}
