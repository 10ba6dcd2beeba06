"""Named records: the tensors that the server and each client carry between rounds, or send beside the weights.

A record is a set of named tensors, such as a momentum for each weight. Records have names too. Code that stores, sends
or compares records needs these names alone, so a new algorithm's records need no code outside the algorithm.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

__all__ = ["RESERVED", "Records", "Weights", "flatten", "unflatten"]

Weights = Mapping[str, NDArray[np.float32]]  # tensor name -> values, in the plan's order, torch's layouts
Records = Mapping[str, Weights]  # record name -> its tensors; a slash groups records, e.g. `optimizer/momentum`
# Names of records, and first parts of names, that flspec itself uses; a client algorithm's records have others.
RESERVED = ("weights", "optimizer", "schedule", "clients", "postprocessors", "aggregator", "compression", "definition")


def flatten(records: Records) -> dict[str, NDArray[np.float32]]:
    """Return every tensor by `RECORD/NAME`, for files and messages. A tensor's own name has no slash."""
    flat: dict[str, NDArray[np.float32]] = {}
    for record, tensors in records.items():
        for name, value in tensors.items():
            assert "/" not in name, f"tensor {name} of record {record} has a slash in its name"
            flat[f"{record}/{name}"] = value
    return flat


def unflatten(tensors: Weights) -> dict[str, dict[str, NDArray[np.float32]]]:
    """Return the records that `flatten` flattened."""
    records: dict[str, dict[str, NDArray[np.float32]]] = {}
    for path, value in tensors.items():
        record, _, name = path.rpartition("/")
        records.setdefault(record, {})[name] = value
    return records
