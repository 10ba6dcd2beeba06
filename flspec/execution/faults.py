"""What becomes of a round's updates by the plan's faults, before the server sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from flspec.core.randomness import Stream
from flspec.execution.part_checks import PartCall, stream_for
from flspec.execution.parts import faults_of
from flspec.faults import Loss, UpdateFault
from flspec.protocol.plan import Plan
from flspec.protocol.updates import ClientUpdate, Delta

__all__ = ["attacked", "lost_updates"]


def lost_updates(plan: Plan, round_number: int, updates: Sequence[ClientUpdate] | None = None) -> dict[int, str]:
    """Return by position why an update does not arrive: of these, in client order, or of a round's cohort."""
    losses = {number: fault.title for number, fault in enumerate(faults_of(plan)) if isinstance(fault, Loss)}
    marks = _marks(plan, round_number) if losses else {}
    keys = list(marks) if updates is None else [(update.client, update.repeat) for update in updates]
    return {
        place: title
        for place, key in enumerate(keys)
        for number, title in losses.items()
        if marks.get(key, 0) >> number & 1
    }


def attacked(plan: Plan, round_number: int, updates: Sequence[ClientUpdate]) -> list[ClientUpdate]:
    """Return a cohort's updates, in client order, as they arrive: attacked ones have another delta, in float32.

    Attacks act one after the other, in the spec's order. Those that know all are shown the updates that arrive and that
    no attack hits, so that a round is the same whether a task was lost or never in the cohort.
    """
    arrived = list(updates)
    attacks = {number: fault for number, fault in enumerate(faults_of(plan)) if isinstance(fault, UpdateFault)}
    if not attacks or not (of_task := _marks(plan, round_number)):
        return arrived
    marks = [of_task.get((update.client, update.repeat), 0) for update in updates]
    honest = [place for place, mark in enumerate(marks) if not mark]  # neither attacked nor lost
    for number, fault in attacks.items():
        if hit := [place for place, mark in enumerate(marks) if mark >> number & 1]:
            for place, delta in zip(hit, _attack(plan, round_number, number, fault, arrived, hit, honest), strict=True):
                arrived[place] = replace(arrived[place], delta=delta)
    return arrived


def _attack(
    plan: Plan,
    round_number: int,
    number: int,
    fault: UpdateFault,
    updates: Sequence[ClientUpdate],
    hit: Sequence[int],
    honest: Sequence[int],
) -> list[dict[str, NDArray[np.float32]]]:
    own, others = ([_in_float64(updates[place]) for place in places] for places in (hit, honest))
    of_round = Stream(plan.round_seed(round_number), "faults", number)
    tasks = [of_round.child(updates[place].client, updates[place].repeat) for place in hit]
    streams = [stream_for(fault.is_random, stream) for stream in tasks]
    call = PartCall(f"faults.{number}", fault, "updates")
    with call.guarded():
        given = fault.updates(own, others if fault.knows_all else [], streams)
    if len(given) != len(hit):
        raise call.error(f"gave {len(given)} updates for {len(hit)} tasks")
    with np.errstate(over="ignore"):  # what float32 cannot hold arrives as infinity
        return [
            {name: value.astype(np.float32) for name, value in call.tensors(one, mine, "update", np.float64).items()}
            for one, mine in zip(given, own, strict=True)
        ]


def _in_float64(update: ClientUpdate) -> Delta:
    return {name: value.astype(np.float64) for name, value in update.delta.items()}


def _marks(plan: Plan, round_number: int) -> dict[tuple[int, int], int]:
    """Return the faults of each of a round's tasks, as sets, by client and repeat; empty if nothing happens at all."""
    if "task_faults" not in plan.arrays:
        return {}
    return {(task.client, task.repeat): task.faults for task in plan.cohort(round_number)}
