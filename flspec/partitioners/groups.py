"""Examples grouped by their owner or origin: a patient, a user, an identity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.data.examples import Examples
from flspec.errors import InputError

__all__ = ["ValueGroups", "group_by", "group_column", "least_of"]


@dataclass(frozen=True, eq=False)
class ValueGroups:
    """Examples by their value of a column; groups are numbered in order of their values' first appearance."""

    of: NDArray[np.int64]  # [num_examples]: the group of each
    values: NDArray[Any]  # [num_groups]
    sizes: NDArray[np.int64]  # [num_groups]

    def __len__(self) -> int:
        return len(self.values)


def group_by(values: NDArray[Any]) -> ValueGroups:
    """Group examples by value; missing values (an empty text, NaN) form one group, as any other value does."""
    values = np.asarray(values)
    _, first, codes = np.unique(values, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    of = ranks[codes]
    return ValueGroups(of, values[first[order]], np.bincount(of, minlength=len(order)))


def group_column(examples: Examples, named: str | None) -> str:
    """Return the column that a spec names, or else the dataset's own column of owners.

    Raises InputError if there is none.
    """
    name = named or examples.client_column
    if name is None:
        columns = ", ".join(sorted(examples.columns)) or "it has none"
        raise InputError(f"partition.column: this dataset has no column of owners; name one of its columns ({columns})")
    examples.column(name, "partition.column")
    return name


def least_of(codes: NDArray[np.int64], of: NDArray[np.int64], num_groups: int) -> NDArray[np.int64]:
    """[num_groups]: the least code, 0 or more, of each group's examples, given the group of each."""
    least = np.full(num_groups, codes.max(initial=-1) + 1, np.int64)
    np.minimum.at(least, of, codes)
    return least
