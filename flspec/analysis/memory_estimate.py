"""The memory of a plan if one process trains and evaluates it with torch, as `local` does.

It is counted from the arrays of a round, by their definitions in `server_step`, `updates` and the torch trainer, and
not measured. Memory that a round has freed is counted on, since the system's allocator seldom gives it back.
"""

from __future__ import annotations

import math
import os

import numpy as np

from flspec.core.components import family_member
from flspec.datasets import Dataset
from flspec.execution.parts import (
    aggregator_of,
    client_algorithm_of,
    keeps_optimizer,
    networks_of,
    optimizers_of,
    players_of,
    postprocessors_of,
    remembers_updates,
    scored_networks,
    step_values,
)
from flspec.execution.server_step import takes_one_by_one
from flspec.layers import count_values_at_once
from flspec.protocol.native import is_native
from flspec.protocol.part_scope import using_its_parts
from flspec.protocol.plan import Plan
from flspec.protocol.registry import REFERENCE, find_backend

__all__ = ["MOST_GRADIENT_VALUES", "MOST_INPUT_VALUES", "estimate_device_memory", "estimate_memory", "kept_bytes"]

MOST_GRADIENT_VALUES = 2**26  # of single examples in a private step, at a time: 256 MiB, or those of one example
MOST_INPUT_VALUES = 2**26  # of a client's batches that are gathered at a time on a device other than the CPU

_MIB = 2**20
_PROCESS = 290 * _MIB  # bytes of Python with torch, numpy, SciPy and pydantic before any data: measured
_MOST_AHEAD = 4  # updates for each worker that a plain mean may hold: as `flspec_local.crew` has it
_COPIES_KEPT = 5  # of client state: before and after a round, in a file's bytes, and in its check
_MASKED = 8  # vectors of 8 bytes a value: an update, its numbers and words, masks, sums
_FLOAT32, _FLOAT64, _LABEL = 4, 8, 8  # bytes


@using_its_parts
def estimate_memory(plan: Plan, workers: int = 0) -> int:
    """Return the peak in bytes, in whole MiB; `workers` clients are trained at a time, by default one a core."""
    cores = os.cpu_count() or 1
    workers = min(workers or cores, _largest_cohort(plan))
    plan_bytes = sum(array.nbytes for array in plan.arrays.values())
    running = (
        _data_bytes(plan)
        + plan_bytes
        + _server_bytes(plan, workers)
        + workers * _training_bytes(plan)
        + _scoring_bytes(plan, cores)
    )
    num_bytes = _PROCESS + max(running, _reading_bytes(plan))
    return -(-num_bytes // _MIB) * _MIB


@using_its_parts
def estimate_device_memory(plan: Plan) -> int:
    """Return the peak on a device other than the CPU, in bytes, in whole MiB, if one client is trained there at a time.

    Examples stay there if nothing transforms them, the weights of a round beside a client's. What a driver takes for
    itself, some hundred MiB, is not counted.
    """
    data = plan.settings.data
    of_split = {"train": data.num_train, "test": data.num_test, "validation": data.num_validation}
    stored = sum(num for name, num in of_split.items() if name not in data.transforms)
    one = math.prod(data.input_shape)
    steps = int(np.diff(plan.arrays["task_batch_ends"], prepend=0).max(initial=1))
    gathered = min(max(MOST_INPUT_VALUES, plan.largest_batch * one), steps * plan.largest_batch * one)
    num_bytes = (
        stored * one * np.dtype(data.feature_type).itemsize
        + 2 * _FLOAT32 * gathered  # divided by the divisor, and normalised
        + _model_bytes(plan)
        + max(_training_bytes(plan), _scoring_bytes(plan, cores=1))
    )
    return -(-num_bytes // _MIB) * _MIB


def _data_bytes(plan: Plan) -> int:
    """Return the bytes of all data: they are mapped, and read once to verify them."""
    data = plan.settings.data
    one = math.prod(data.input_shape) * np.dtype(data.feature_type).itemsize + _LABEL
    return (data.num_train + data.num_test) * one


def _reading_bytes(plan: Plan) -> int:
    """Return the bytes of reading the data set's files, before anything runs."""
    kind = family_member(Dataset, plan.spec["dataset"]["kind"]) or Dataset
    is_encoded = any(step["kind"] != "as_is" for one in plan.settings.data.encodings for step in one["steps"])
    return int((kind.copies_while_encoded if is_encoded else kind.copies_while_read) * _data_bytes(plan))


def _server_bytes(plan: Plan, workers: int) -> int:
    """Return the bytes of the states before and after a round, its updates, their mean, the server's step, and what
    postprocessors remember of earlier rounds. A plain mean holds those that have not come in turn, other rules all.
    """
    rule = aggregator_of(plan).server_optimizer
    slots = len(rule.initial_slots()) + len(client_algorithm_of(plan).server_slots)
    sizes = [weight.size for weight in plan.weights.values()]
    runs = 2 if is_native(plan) else 1  # the definition's own goes on beside a native one
    states = 2 * runs * (1 + slots) * _FLOAT32 * sum(sizes)
    held = min(_largest_cohort(plan), _MOST_AHEAD * workers + 1) if takes_one_by_one(plan) else _largest_cohort(plan)
    updates = _FLOAT32 * sum(sizes) * (held + _largest_cohort(plan) * len(client_algorithm_of(plan).sends))
    at_a_time = 0 if rule.takes_pieces else (2 + slots) * max(sizes, default=0)  # else next to nothing
    sums = _FLOAT64 * (sum(sizes) + at_a_time)  # the mean whole
    remembered = _FLOAT64 * sum(sizes) * sum(part.num_remembered for part in postprocessors_of(plan))
    combined = _combining_bytes(plan) + (_MASKED * _FLOAT64 * sum(sizes) if plan.settings.secure_aggregation else 0)
    kept = runs * _COPIES_KEPT * len(plan.participants) * kept_bytes(plan)
    return states + updates + sums + remembered + combined + kept


def _combining_bytes(plan: Plan) -> int:
    """Return the bytes that a rule other than the mean needs: its record before and after, two float64 vectors beside
    the combined one, and all updates in float64 where postprocessors have made them so.
    """
    aggregator = aggregator_of(plan)
    if aggregator.is_plain_mean:
        return 0
    record = 2 * _FLOAT32 * sum(np.size(value) for value in aggregator.initial_record(plan.weights).values())
    processed = _largest_cohort(plan) if plan.settings.postprocessors else 0
    return record + _FLOAT64 * (2 + processed) * sum(weight.size for weight in plan.weights.values())


def kept_bytes(plan: Plan) -> int:
    """Return the bytes of one client's state between rounds."""
    kept = sum(tensor.nbytes for tensor in plan.local.values())
    records = len(client_algorithm_of(plan).client_slots) + remembers_updates(plan)
    kept += records * sum(weight.nbytes for weight in plan.weights.values())
    return kept + sum(_slots_bytes(plan, player) for player in optimizers_of(plan) if keeps_optimizer(plan, player))


def _slots_bytes(plan: Plan, player: str) -> int:
    """Return the bytes of the slots of a client's optimizer."""
    networks, slots = networks_of(plan), optimizers_of(plan)[player].initial_slots()
    prefixes = tuple(networks[name].prefix for name in players_of(plan)[player])
    changed = (tensor for name, tensor in (plan.weights | plan.local).items() if name.startswith(prefixes))
    return len(slots) * sum(tensor.nbytes for tensor in changed)


def _model_bytes(plan: Plan) -> int:
    """Return the bytes of the tensors that a client changes."""
    return sum(tensor.nbytes for tensor in (*plan.weights.values(), *plan.local.values()))


def _training_bytes(plan: Plan) -> int:
    """Return the bytes of one client: weights, gradients, optimizer slots, a batch's
    activations and their gradients.
    """
    activations = _FLOAT32 * step_values(plan)
    common = (
        2 * _model_bytes(plan)
        + sum(_slots_bytes(plan, player) for player in optimizers_of(plan))
        + 2 * plan.largest_batch * activations
    )
    return common + (_private_bytes(plan) if plan.settings.private_steps else 0)


def _private_bytes(plan: Plan) -> int:
    """Return the bytes of a private step: gradients of single examples, some at a time, and their sum in float64."""
    values = _model_bytes(plan) // _FLOAT32
    at_once = min(plan.largest_batch * values, max(values, MOST_GRADIENT_VALUES))
    return _FLOAT32 * at_once + 2 * _FLOAT64 * values


def _scoring_bytes(plan: Plan, cores: int) -> int:
    """Return the bytes of the scoring threads, each with the activations of its examples that are still needed."""
    at_once, num_test = find_backend(REFERENCE).scored_at_once(plan), plan.settings.data.num_test
    threads = min(cores, -(-num_test // at_once))
    return threads * min(at_once, num_test) * _FLOAT32 * max(map(count_values_at_once, scored_networks(plan)))


def _largest_cohort(plan: Plan) -> int:
    return int(np.diff(plan.arrays["round_task_ends"], prepend=0).max())
