"""How far an engine's own algorithm was from flspec's definition, over a run."""

from __future__ import annotations

from collections.abc import Sequence

from flspec.protocol.records import NativeRecord, RoundRecord

__all__ = ["native_record"]


def native_record(algorithm: str, rounds: Sequence[RoundRecord]) -> NativeRecord | None:
    """Return the summary of the rounds so far; None if there are none, or they were by flspec's definition."""
    stated = [(record.round, record.native) for record in rounds if record.native]
    if not stated:
        return None
    number, furthest = max(stated, key=lambda one: one[1].lockstep.relative)
    return NativeRecord(
        algorithm=algorithm, lockstep=furthest.lockstep, round=number, free_running=stated[-1][1].free_running
    )
