"""How much memory a plan takes where one process trains and evaluates it with torch, as `local` does.

Counted from the arrays that a round holds, by their definitions in `server`, `updates` and the torch trainer, not
measured. What a round has freed is counted on, since the system's allocator seldom gives it back.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

import numpy as np

from flspec.execution.parts import aggregator_of, client_algorithm_of, client_optimizer_of, layers_of
from flspec.layers import INPUT, Flatten, Layer, Shape, trace
from flspec.protocol.plan import Plan

__all__ = ["estimate_memory", "examples_at_once", "kept_bytes"]

_MOST_SCORED = 500  # examples that the scorer passes through the model together,
_MOST_VALUES = 2**25  # unless what layers make of them is more than so many float32 values at once
_MIB = 2**20
_PROCESS = 290 * _MIB  # bytes of Python with torch, numpy, SciPy and pydantic before anything is held: measured
_COPIES_KEPT = 5  # of what clients keep: before and after a round, in a file's bytes, and what is checked of it
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
        + _scoring_bytes(plan, cores)
    )
    return -(-held // _MIB) * _MIB


def examples_at_once(layers: Sequence[Layer], input_shape: Shape) -> int:
    """How many examples the scorer passes through a model together: bounds its memory, changes nothing else."""
    return max(1, min(_MOST_SCORED, _MOST_VALUES // _values_at_once(layers, input_shape)))


def _data_bytes(plan: Plan) -> int:
    """All of the data: they are mapped, and read once to make sure of them."""
    data = plan.settings.data
    one = math.prod(data.input_shape) * np.dtype(data.feature_type).itemsize + _LABEL
    return (data.num_train + data.num_test) * one


def _server_bytes(plan: Plan) -> int:
    """The state before and after a round, every update of its cohort, and what their mean and the step take."""
    slots = len(aggregator_of(plan).server_optimizer.initial_slots()) + len(client_algorithm_of(plan).server_slots)
    sizes = [weight.size for weight in plan.weights.values()]
    states = 2 * (1 + slots) * _FLOAT32 * sum(sizes)
    updates = _largest_cohort(plan) * _FLOAT32 * sum(sizes) * (1 + len(client_algorithm_of(plan).sends))
    sums = _FLOAT64 * (sum(sizes) + (2 + slots) * max(sizes, default=0))  # the mean of all, the rest a tensor at a time
    return states + updates + sums + _COPIES_KEPT * len(plan.participants) * kept_bytes(plan)


def kept_bytes(plan: Plan) -> int:
    """What one client keeps to itself from round to round."""
    kept = sum(tensor.nbytes for tensor in plan.local.values())
    kept += len(client_algorithm_of(plan).client_slots) * sum(weight.nbytes for weight in plan.weights.values())
    return kept + (_slots_bytes(plan) if plan.settings.client_optimizer.get("state") == "kept" else 0)


def _slots_bytes(plan: Plan) -> int:
    """What a client's optimizer remembers."""
    slots = client_optimizer_of(plan).initial_slots()
    return len(slots) * _model_bytes(plan)


def _model_bytes(plan: Plan) -> int:
    """The tensors of a model that a client changes."""
    return sum(tensor.nbytes for tensor in (*plan.weights.values(), *plan.local.values()))


def _training_bytes(plan: Plan) -> int:
    """One client: weights, gradients, what its optimizer remembers, a batch's activations and their gradients."""
    largest_batch = int(np.diff(plan.arrays["batch_ends"], prepend=0).max())
    return 2 * _model_bytes(plan) + _slots_bytes(plan) + 2 * largest_batch * _activation_bytes(plan)


def _scoring_bytes(plan: Plan, cores: int) -> int:
    """The threads that score, each with what the layers make of its examples until nothing needs it any more."""
    layers, shape = _graph(plan)
    at_once, num_test = examples_at_once(layers, shape), plan.settings.data.num_test
    threads = min(cores, -(-num_test // at_once))
    return threads * min(at_once, num_test) * _FLOAT32 * _values_at_once(layers, shape)


def _activation_bytes(plan: Plan) -> int:
    """One example and what each layer makes of it; a flattened tensor is the same memory."""
    layers, shape = _graph(plan)
    shapes = trace(layers, shape)
    made = [INPUT, *(layer.name for layer in layers if not isinstance(layer, Flatten))]
    return _FLOAT32 * sum(math.prod(shapes[name]) for name in made)


def _values_at_once(layers: Sequence[Layer], input_shape: Shape) -> int:
    """The most values of one example that are needed at once: what a layer takes, makes, and what later ones take."""
    shapes = trace(layers, input_shape)
    last_use = {source: layer.name for layer in layers for source in layer.inputs}
    alive, most = {INPUT}, 0
    for layer in layers:
        alive.add(layer.name)
        most = max(most, sum(math.prod(shapes[name]) for name in alive))
        alive -= {source for source in layer.inputs if last_use[source] == layer.name}
    return most


def _graph(plan: Plan) -> tuple[tuple[Layer, ...], Shape]:
    return layers_of(plan), plan.settings.data.input_shape


def _largest_cohort(plan: Plan) -> int:
    return int(np.diff(plan.arrays["round_task_ends"], prepend=0).max())
