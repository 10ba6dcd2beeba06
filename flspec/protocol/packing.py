"""How a plan's ragged lists lie in arrays: one array of all values, and the position at which each list ends."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Indices", "bounds", "check_ends", "pack", "pack_rounds", "part"]

Indices = NDArray[np.int32]


class PackedTask(Protocol):
    """What is packed of a client task."""

    @property
    def client(self) -> int: ...
    @property
    def weight(self) -> int: ...
    @property
    def batches(self) -> tuple[NDArray[np.integer[Any]], ...]: ...
    @property
    def seed(self) -> int: ...
    @property
    def faults(self) -> int: ...


def pack(parts: Sequence[NDArray[np.integer[Any]]]) -> tuple[Indices, NDArray[np.int64]]:
    """Return arrays of different lengths as one array, and the position at which each ends."""
    ends = np.cumsum([len(one) for one in parts], dtype=np.int64)
    return np.concatenate(parts).astype(np.int32), ends


def pack_rounds(rounds: Iterable[Sequence[PackedTask]]) -> dict[str, NDArray[Any]]:
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
            batch_sizes.extend(map(len, task.batches))
            for batch in task.batches:
                batches.frombytes(batch.astype(np.int32).tobytes())
    return {
        "batches": np.asarray(batches),
        "batch_ends": np.cumsum(batch_sizes, dtype=np.int64),
        "task_batch_ends": np.cumsum(nums_batches, dtype=np.int64),
        "task_clients": np.asarray(clients),
        "task_weights": np.asarray(weights),
        "round_task_ends": np.cumsum(cohort_sizes, dtype=np.int64),
        **({"task_seeds": np.asarray(seeds)} if any(seeds) else {}),
        **({"task_faults": np.asarray(faults)} if any(faults) else {}),
    }


def check_ends(arrays: Mapping[str, NDArray[Any]]) -> None:
    """Raise ValueError unless each array of ends divides the one that it is about, so that reading a round ends."""
    divided = {"client_ends": "client_examples", "batch_ends": "batches", "task_batch_ends": "batch_ends"}
    divided |= {"round_task_ends": "task_clients"} | (
        {"held_out_ends": "held_out_examples"} if "held_out_ends" in arrays else {}
    )
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


def bounds(ends: NDArray[np.int64], position: int) -> tuple[int, int]:
    """Return where the list at `position` starts, and where it ends."""
    return (int(ends[position - 1]) if position else 0), int(ends[position])


def part(values: Indices, ends: NDArray[np.int64], position: int) -> Indices:
    """Return the list at `position`."""
    start, end = bounds(ends, position)
    return values[start:end]
