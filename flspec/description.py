"""What a plan will do, in numbers, before anything trains."""

from __future__ import annotations

from typing import Any

import numpy as np

from flspec.backend import find_backend, installed_backends
from flspec.errors import InputError
from flspec.plan import Plan

__all__ = ["describe_plan"]


def describe_plan(plan: Plan) -> dict[str, Any]:
    """The facts of a plan as text, and for each installed backend what stands in its way."""
    return {
        "plan_digest": plan.digest,
        "facts": _facts(plan),
        "backends": {name: _problems(name, plan) for name in installed_backends()},
    }


def _facts(plan: Plan) -> dict[str, str]:
    sizes = np.diff(plan.arrays["client_ends"], prepend=0)
    cohorts = np.diff(plan.arrays["round_task_ends"], prepend=0)
    steps = np.diff(plan.arrays["task_batch_ends"], prepend=0)
    parameters = sum(weight.size for weight in plan.weights.values())
    sent = sum(weight.nbytes for weight in plan.weights.values()) * int(cohorts.sum())
    data = plan.settings["data"]
    return {
        "name": str(plan.spec["name"]),
        "data": f"{data['num_train']:,} examples to train on, {data['num_test']:,} to evaluate on, "
        f"{data['num_classes']} classes, shape {data['input_shape']}",
        "clients": f"{plan.num_clients:,}, holding {sizes.min():,} / {np.median(sizes):,.0f} / {sizes.max():,} "
        "examples (least / median / most)",
        "rounds": f"{plan.num_rounds:,} of {_span(cohorts)} clients, {_span(steps)} steps a client",
        "model": f"{parameters:,} parameters in {len(plan.weights)} tensors",
        "bytes": f"{sent:,} down and as many up, over all rounds",
    }


def _problems(name: str, plan: Plan) -> list[str]:
    try:
        return find_backend(name).unsupported(plan)
    except InputError as error:
        return [str(error)]


def _span(values: np.ndarray[Any, Any]) -> str:
    low, high = int(values.min()), int(values.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
