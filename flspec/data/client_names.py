"""What clients are called: by their names in the data, or by their numbers where there are none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.core.ragged import Ragged
from flspec.data.examples import Data, is_missing
from flspec.errors import printable
from flspec.protocol.plan import Plan

__all__ = ["client_names", "names_of_clients", "natural_name"]


def names_of_clients(plan: Plan, data: Data) -> tuple[str, ...]:
    """Return the name of each client, if each holds the examples of one value of the natural clients' column alone.

    Empty where that is not so: the partition has clients of its own, or one client has the examples of several.
    """
    values = _natural_values(plan.spec.get("partition", {}), data.train.columns, data.client_column)
    if values is None:
        return ()
    first = values[plan.clients.values[plan.clients.ends - plan.clients.sizes]]
    for own in (plan.clients, Ragged.of(plan.holdout[: plan.num_clients])):
        if (values[own.values] != np.repeat(first[: len(own)], own.sizes)).any():
            return ()
    names = tuple(map(str, first))
    return names if len(set(names)) == len(names) and not is_missing(first).any() else ()


def natural_name(
    partition: Mapping[str, Any], columns: Mapping[str, NDArray[Any]], client_column: str | None, own: NDArray[Any]
) -> str | None:
    """Return the value that all examples of a client have in the column by which a natural partition splits."""
    column = _natural_values(partition, columns, client_column)
    if column is None or not len(own):
        return None
    values = column[own]
    return None if (values != values[0]).any() or is_missing(values[:1])[0] else str(values[0])


def _natural_values(
    partition: Mapping[str, Any], columns: Mapping[str, NDArray[Any]], client_column: str | None
) -> NDArray[Any] | None:
    """Return the column by which a natural partition splits; None for another partition."""
    column = str(partition.get("column") or client_column)
    return columns.get(column) if "natural" in str(partition.get("kind")) else None


def client_names(plan: Plan, data: Data) -> list[str]:
    """Return what each client is called in a message: its name, or its number from 0."""
    return [printable(name) for name in names_of_clients(plan, data)] or list(map(str, range(plan.num_clients)))
