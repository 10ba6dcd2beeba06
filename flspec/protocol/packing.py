"""How a plan's ragged lists lie in arrays: one array of all values, and the position at which each list ends."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from flspec.core.ragged import Ragged
from flspec.protocol.batch_rule import BatchRule

__all__ = ["Indices", "bounds", "check_ends", "num_used", "pack", "pack_rounds", "part"]

Indices = NDArray[np.int32]


class PackedTask(Protocol):
    """What is packed of a client task."""

    @property
    def client(self) -> int: ...
    @property
    def weight(self) -> int: ...
    @property
    def batches(self) -> Sequence[NDArray[np.integer[Any]]]: ...
    @property
    def seed(self) -> int: ...
    @property
    def faults(self) -> int: ...


def pack(parts: Sequence[NDArray[np.integer[Any]]]) -> tuple[Indices, NDArray[np.int64]]:
    """Return arrays of different lengths as one array, and the position at which each ends."""
    every = Ragged.of(parts)
    return every.values.astype(np.int32), every.ends


def pack_rounds(rounds: Iterable[Sequence[PackedTask]], holds_batches: bool) -> dict[str, NDArray[Any]]:
    """Return the arrays of all tasks, with `task_seeds` and `task_faults` only if a task has one."""
    batches, clients = array("i"), array("i")
    weights, seeds, faults, batch_sizes, nums_batches, cohort_sizes = (array("q") for _ in range(6))
    for cohort in rounds:
        cohort_sizes.append(len(cohort))
        for task in cohort:
            clients.append(task.client)
            weights.append(task.weight)
            seeds.append(task.seed)
            faults.append(task.faults)
            nums_batches.append(len(task.batches))
            if not holds_batches:
                continue
            batch_sizes.extend(map(len, task.batches))
            for batch in task.batches:
                batches.frombytes(batch.astype(np.int32).tobytes())
    held = {"batches": np.asarray(batches), "batch_ends": np.cumsum(batch_sizes, dtype=np.int64)}
    return {
        **(held if holds_batches else {}),
        "task_batch_ends": np.cumsum(nums_batches, dtype=np.int64),
        "task_clients": np.asarray(clients),
        "task_weights": np.asarray(weights),
        "round_task_ends": np.cumsum(cohort_sizes, dtype=np.int64),
        **({"task_seeds": np.asarray(seeds)} if any(seeds) else {}),
        **({"task_faults": np.asarray(faults)} if any(faults) else {}),
    }


def check_ends(arrays: Mapping[str, NDArray[Any]], rule: BatchRule | None) -> None:
    """Raise ValueError unless each array of ends divides the one that it is about, so that reading a round ends.

    With a rule batches are in no array, and of tasks it is checked that they have as many as the rule gives them.
    """
    divided = {"client_ends": "client_examples", "round_task_ends": "task_clients"}
    divided |= {"batch_ends": "batches", "task_batch_ends": "batch_ends"} if rule is None else {}
    divided |= {"held_out_ends": "held_out_examples"} if "held_out_ends" in arrays else {}
    divided |= {"pooled_ends": "client_examples"} if "pooled_ends" in arrays else {}
    for name, of in divided.items():
        ends, num = arrays[name], len(arrays[of])
        if (
            ends.ndim != 1
            or ends.dtype.kind != "i"
            or not len(ends)
            or (np.diff(ends, prepend=0) < 0).any()
            or ends[-1] != num
        ):
            raise ValueError(f"{name} does not divide {of}")
    if not len(arrays["task_clients"]) == len(arrays["task_weights"]) == len(arrays["task_batch_ends"]):
        raise ValueError("its arrays are of different numbers of tasks")
    if rule is not None:
        used = num_used(arrays, rule)
        if not np.array_equal(arrays["task_batch_ends"], np.cumsum(rule.num_steps(used)[arrays["task_clients"]])):
            raise ValueError("task_batch_ends are not those of its batch_rule")


def num_used(arrays: Mapping[str, NDArray[Any]], rule: BatchRule) -> NDArray[np.int64]:
    """[clients]: how many of its examples a task of each uses by a rule."""
    if "pooled_ends" not in arrays:
        return rule.num_used(np.diff(arrays["client_ends"], prepend=0))
    parts = rule.num_used(np.diff(arrays["pooled_ends"], prepend=0))
    return np.array([parts.sum()])


def bounds(ends: NDArray[np.int64], position: int) -> tuple[int, int]:
    """Return where the list at `position` starts, and where it ends."""
    return (int(ends[position - 1]) if position else 0), int(ends[position])


def part(values: Indices, ends: NDArray[np.int64], position: int) -> Indices:
    """Return the list at `position`."""
    start, end = bounds(ends, position)
    return values[start:end]
