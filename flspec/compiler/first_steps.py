"""A plan cut short: of each client task its first steps, which are few enough for rounding not to grow in them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from flspec.errors import InputError
from flspec.protocol.plan import Plan

__all__ = ["first_steps_of"]


def first_steps_of(plan: Plan, steps: int) -> Plan:
    """Return the plan with each task cut to its first `steps` steps, or to all where it has fewer.

    All else stays as planned: cohorts, the tasks' weights in the mean, seeds, rates and privacy's noise. What is
    counted is what is left: examples trained on, and steps that privacy of examples pays for. Raises InputError if no
    task is so long, or if the clients' schedule depends on steps that would be cut.
    """
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise InputError(f"first steps: {steps!r} is not a number of steps; give 1 or more")
    ends = plan.arrays["task_batch_ends"]
    lengths = np.diff(ends, prepend=0)
    if steps > (longest := int(lengths.max())):
        raise InputError(f"first steps: {steps:,} are more than any task has; give 1 to {longest:,}, or leave it out")
    if plan.settings.epochs:
        raise InputError(
            "client.optimizer.schedule: plateau measures after each epoch of a task, and first steps cut epochs; "
            "choose a schedule by rounds, or leave first steps out"
        )
    left = np.cumsum(np.minimum(lengths, steps), dtype=np.int64)
    if (rule := plan.settings.batch_rule) is not None:
        shorter = replace(rule, steps=steps if rule.steps is None else min(rule.steps, steps))
        settings = replace(plan.settings, first_steps=steps, batch_rule=shorter)
        return replace(plan, settings=settings, arrays={**plan.arrays, "task_batch_ends": left}).with_first_batches()
    is_left = np.arange(lengths.sum()) - np.repeat(ends - lengths, lengths) < steps  # bool [batches]
    sizes = np.diff(plan.arrays["batch_ends"], prepend=0)
    cut = {
        "batches": plan.arrays["batches"][np.repeat(is_left, sizes)],
        "batch_ends": np.cumsum(sizes[is_left], dtype=np.int64),
        "task_batch_ends": left,
    }
    return replace(plan, settings=replace(plan.settings, first_steps=steps), arrays={**plan.arrays, **cut})
