"""How much memory a plan takes where one process trains and evaluates it with torch, as `local` does.

Counted from the arrays that a round holds, by their definitions in `server`, `updates` and the torch trainer, not
measured. What a round has freed is counted on, since the system's allocator seldom gives it back.
"""

from __future__ import annotations

import math
import os

import numpy as np

from flspec.aggregators import Aggregator
from flspec.components import parse_component
from flspec.layers import INPUT, Flatten, parse_layers, trace
from flspec.plan import Plan

__all__ = ["SCORED_AT_ONCE", "estimate_memory"]

SCORED_AT_ONCE = 500  # examples that the scorer passes through the model together
_MIB = 2**20
_PROCESS = 290 * _MIB  # bytes of Python with torch, numpy, SciPy and pydantic before anything is held: measured
_FLOAT32, _FLOAT64, _LABEL = 4, 8, 8  # bytes


def estimate_memory(plan: Plan, workers: int = 0) -> int:
    """The most bytes held at once, in whole MiB; `workers` clients are trained at a time, by default one a core."""
    cores = os.cpu_count() or 1
    workers = min(workers or cores, _largest_cohort(plan))
    plan_bytes = sum(array.nbytes for array in plan.arrays.values())
    held = (
        _PROCESS
        + _data_bytes(plan)
        + plan_bytes
        + _server_bytes(plan)
        + workers * _training_bytes(plan)
        + min(cores, -(-int(plan.settings["data"]["num_test"]) // SCORED_AT_ONCE)) * _scoring_bytes(plan)
    )
    return -(-held // _MIB) * _MIB


def _data_bytes(plan: Plan) -> int:
    """All of the data: they are mapped, and read once to make sure of them."""
    data = plan.settings["data"]
    one = math.prod(data["input_shape"]) * np.dtype(data["feature_type"]).itemsize + _LABEL
    return int((data["num_train"] + data["num_test"]) * one)


def _server_bytes(plan: Plan) -> int:
    """The state before and after a round, every update of its cohort, and what their mean and the step take."""
    slots = len(parse_component(Aggregator, plan.settings["aggregator"]).server_optimizer.initial_slots())
    sizes = [weight.size for weight in plan.weights.values()]
    states = 2 * (1 + slots) * _FLOAT32 * sum(sizes)
    updates = _largest_cohort(plan) * _FLOAT32 * sum(sizes)
    sums = _FLOAT64 * (sum(sizes) + (2 + slots) * max(sizes))  # the mean of all, the rest a tensor at a time
    return states + updates + sums


def _training_bytes(plan: Plan) -> int:
    """One client: weights, gradients, velocity, and a batch's activations with the gradient of each."""
    copies = 3 if plan.settings["client_optimizer"].get("momentum") else 2
    largest_batch = int(np.diff(plan.arrays["batch_ends"], prepend=0).max())
    weights = _FLOAT32 * sum(weight.size for weight in plan.weights.values())
    return copies * weights + 2 * largest_batch * _activation_bytes(plan)


def _scoring_bytes(plan: Plan) -> int:
    """One thread that scores: the activations of all layers are held until the last is known."""
    return min(SCORED_AT_ONCE, int(plan.settings["data"]["num_test"])) * _activation_bytes(plan)


def _activation_bytes(plan: Plan) -> int:
    """One example and what each layer makes of it; a flattened tensor is the same memory."""
    layers = parse_layers(plan.settings["layers"])
    shapes = trace(layers, tuple(plan.settings["data"]["input_shape"]))
    made = [INPUT, *(layer.name for layer in layers if not isinstance(layer, Flatten))]
    return _FLOAT32 * sum(math.prod(shapes[name]) for name in made)


def _largest_cohort(plan: Plan) -> int:
    return int(np.diff(plan.arrays["round_task_ends"], prepend=0).max())
