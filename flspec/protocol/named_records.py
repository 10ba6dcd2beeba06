"""Named records: what the server and each client carry from round to round, or send beside the weights.

A record is tensors by name, such as one momentum for each weight; records have names of their own. Whoever writes or
compares them does so by these names alone, so a new algorithm's records need no code but the algorithm's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Records", "Weights", "flatten", "in_float32", "unflatten"]

Weights = Mapping[str, NDArray[np.float32]]  # tensor name -> values, in the plan's order, torch's layouts
Records = Mapping[str, Weights]  # record name -> its tensors; a slash groups records, e.g. `optimizer/momentum`


def flatten(records: Records) -> dict[str, NDArray[np.float32]]:
    """Every tensor by `RECORD/NAME`, for files and messages; a tensor's own name has no slash."""
    flat: dict[str, NDArray[np.float32]] = {}
    for record, tensors in records.items():
        for name, value in tensors.items():
            assert "/" not in name, f"tensor {name} of record {record} has a slash in its name"
            flat[f"{record}/{name}"] = value
    return flat


def in_float32(records: Mapping[str, Mapping[str, NDArray[np.floating[Any]]]]) -> dict[str, Weights]:
    """The records as they are sent and stored, whatever they were computed in."""
    return {
        record: {name: np.asarray(value, np.float32) for name, value in tensors.items()}
        for record, tensors in records.items()
    }


def unflatten(tensors: Weights) -> dict[str, dict[str, NDArray[np.float32]]]:
    """The records that `flatten` wrote."""
    records: dict[str, dict[str, NDArray[np.float32]]] = {}
    for path, value in tensors.items():
        record, _, name = path.rpartition("/")
        records.setdefault(record, {})[name] = value
    return records
