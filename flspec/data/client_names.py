"""What clients are called: by their names in the data, or by their numbers where there are none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.data.examples import Data, is_missing
from flspec.errors import printable
from flspec.protocol.plan import Plan

__all__ = ["client_names", "names_of_clients", "natural_name"]


def names_of_clients(plan: Plan, data: Data) -> tuple[str, ...]:
    """Return the name of each client, if each holds the examples of one value of the natural clients' column alone.

    Empty where that is not so: the partition has clients of its own, or one client has the examples of several.
    """
    partition = plan.spec.get("partition", {})
    own = [
        np.concatenate([plan.client_examples(client), *plan.holdout[client : client + 1]]).astype(np.int64)
        for client in range(plan.num_clients)
    ]
    names = [natural_name(partition, data.train.columns, data.client_column, examples) for examples in own]
    known = tuple(name for name in names if name is not None)
    return known if len(set(known)) == len(names) else ()


def natural_name(
    partition: Mapping[str, Any], columns: Mapping[str, NDArray[Any]], client_column: str | None, own: NDArray[Any]
) -> str | None:
    """Return the value that all examples of a client have in the column by which a natural partition splits."""
    column = str(partition.get("column") or client_column)
    if "natural" not in str(partition.get("kind")) or column not in columns or not len(own):
        return None
    values = columns[column][own]
    return None if (values != values[0]).any() or is_missing(values[:1])[0] else str(values[0])


def client_names(plan: Plan, data: Data) -> list[str]:
    """Return what each client is called in a message: its name, or its number from 0."""
    return [printable(name) for name in names_of_clients(plan, data)] or list(map(str, range(plan.num_clients)))
