"""Whether the rounds of a plan have the updates that its aggregator and `min_clients` ask for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from flspec.errors import Problem, SpecError
from flspec.faults import Fault, Loss
from flspec.protocol.packing import bounds
from flspec.protocol.plan import Plan
from flspec.spec.rules.aggregation import too_few
from flspec.spec.spec import Spec

__all__ = ["check_enough_updates"]


def check_enough_updates(spec: Spec, plan: Plan) -> None:
    """Raise SpecError for a round that is left with too few updates to combine, or if no round combines any.

    A round with fewer than `min_clients` combines nothing, so an aggregator may have fewer than it needs there.
    """
    left = _num_left(plan, spec.faults)
    if not left.any():
        raise SpecError([_nothing_arrives(plan)])
    combined = np.flatnonzero(left >= spec.min_clients)
    if not len(combined):
        message = f"is {spec.min_clients}, but no round has more than {left.max()} updates that count; lower it"
        raise SpecError([Problem(message, "min_clients")])
    number = int(combined[np.argmin(left[combined])]) + 1
    num = int(left[number - 1])
    for one in too_few(spec.aggregator, num, _what_has(plan, spec.faults, number, num)):
        raise SpecError([Problem(one.message, ".".join(one.path))])


def _nothing_arrives(plan: Plan) -> Problem:
    if "fault_log" in plan.arrays:
        return Problem("lose every update of every round, so nothing would be learned; lower their rate", "faults")
    message = (
        f"no client is drawn in any of the {plan.num_rounds:,} rounds; raise cohort.size or rounds, or change seed"
    )
    return Problem(message, "cohort")


def _num_left(plan: Plan, faults: Sequence[Fault]) -> NDArray[np.int64]:
    """[num_rounds]: how many updates of each round count, as far as it is planned."""
    marks = plan.arrays.get("task_faults", np.zeros(len(plan.arrays["task_clients"]), np.int64))
    counts = np.ones(len(marks), bool)
    for number, fault in enumerate(faults):
        if fault.loses_update:
            counts &= marks >> number != 1  # the last fault that hits the task
    totals = np.append(0, np.cumsum(counts))[plan.arrays["round_task_ends"]]
    return np.asarray(np.diff(totals, prepend=0))


def _what_has(plan: Plan, faults: Sequence[Fault], number: int, left: int) -> str:
    """Return the words for what a round has: "round 3 has 5 of 9 (dropped out after training: 4)"."""
    reasons = [faults[n] for _, n in plan.faults_in(number).tolist() if faults[n].loses_update]
    if not reasons:
        return f"the smallest cohort has {left} (round {number})"
    before = sum(isinstance(fault, Loss) and fault.when == "before_training" for fault in reasons)
    start, end = bounds(plan.arrays["round_task_ends"], number - 1)
    counted = ", ".join(f"{title}: {num}" for title, num in Counter(fault.title for fault in reasons).items())
    return f"round {number} has {left} of {end - start + before} ({counted})"
