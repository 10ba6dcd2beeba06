"""The mean of a round's updates where the server is to see a sum alone: what each sends is rounded and masked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from flspec.core.randomness import Stream
from flspec.execution.part_checks import PartCall
from flspec.execution.parts import secure_aggregation_of
from flspec.protocol.plan import Plan
from flspec.protocol.updates import ClientUpdate, Delta

__all__ = ["masked_mean"]


def masked_mean(
    plan: Plan, round_number: int, updates: Sequence[ClientUpdate], processed: Iterable[ClientUpdate]
) -> tuple[Delta, dict[str, int]]:
    """Return the mean of the processed updates, which are `updates` one by one, and the values clipped and wrapped.

    All tasks of the round agree on masks, those whose update is lost or not finite included.
    """
    part = secure_aggregation_of(plan)
    assert part, "a plan without secure aggregation has a plain mean"
    stream = Stream(plan.round_seed(round_number), "secure_aggregation")
    tasks = {(task.client, task.repeat) for task in plan.cohort(round_number)}
    senders = sorted(tasks | {(update.client, update.repeat) for update in updates})
    call = PartCall("secure_aggregation", part, "mean")
    with call.guarded():
        given = part.mean(processed, senders, stream)
    counts = {"clipped": given.num_clipped, "wrapped": given.num_wrapped}
    return call.tensors(given.mean, updates[0].delta, "update", np.float64), counts
