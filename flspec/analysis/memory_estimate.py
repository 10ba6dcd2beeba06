"""How much memory a plan takes where one process trains and evaluates it with torch, as `local` does.

Counted from the arrays that a round holds, by their definitions in `server`, `updates` and the torch trainer, not
measured. What a round has freed is counted on, since the system's allocator seldom gives it back.
"""

from __future__ import annotations

import math
import os

import numpy as np

from flspec.execution.parts import aggregator_of, client_algorithm_of, client_optimizer_of, graph_of
from flspec.layers import count_values_at_once, count_values_made
from flspec.protocol.plan import Plan
from flspec.protocol.registry import REFERENCE, find_backend

__all__ = ["estimate_memory", "kept_bytes"]

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
    activations = _FLOAT32 * count_values_made(*graph_of(plan))
    return 2 * _model_bytes(plan) + _slots_bytes(plan) + 2 * largest_batch * activations


def _scoring_bytes(plan: Plan, cores: int) -> int:
    """The threads that score, each with what the layers make of its examples until nothing needs it any more."""
    at_once, num_test = find_backend(REFERENCE).scored_at_once(plan), plan.settings.data.num_test
    threads = min(cores, -(-num_test // at_once))
    return threads * min(at_once, num_test) * _FLOAT32 * count_values_at_once(*graph_of(plan))


def _largest_cohort(plan: Plan) -> int:
    return int(np.diff(plan.arrays["round_task_ends"], prepend=0).max())
