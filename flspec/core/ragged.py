"""Many arrays in one: what a list of arrays would be, without an object for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

__all__ = ["Ragged"]

Integers = NDArray[np.int64]
Array = NDArray[Any]


class Ragged(Sequence[Array]):
    """A sequence of arrays that lie one behind the other in `values`, and end at `ends`. Items are views.

    A million clients of three examples are two arrays so. As a list they are a million arrays of 100 bytes more each,
    and everything that is asked of all of them takes a second.
    """

    def __init__(self, values: Array, ends: Integers) -> None:
        self.values, self.ends = values, ends  # [sum of sizes], [number of arrays]

    @classmethod
    def of(cls, arrays: Sequence[Array]) -> Ragged:
        """Return the arrays of any sequence as one."""
        if isinstance(arrays, Ragged):
            return arrays
        return cls.cut(np.concatenate([*arrays, np.empty(0, np.int64)]), np.array([len(one) for one in arrays], int))

    @classmethod
    def cut(cls, values: Array, sizes: Integers) -> Ragged:
        """Cut an array into consecutive ones of these sizes; what is left over is in none."""
        ends = np.cumsum(sizes, dtype=np.int64)
        return cls(values[: int(ends[-1]) if len(ends) else 0], ends)

    @property
    def sizes(self) -> Integers:
        """[number of arrays]"""
        return np.diff(self.ends, prepend=np.int64(0))

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, place: int) -> Array: ...
    @overload
    def __getitem__(self, place: slice) -> list[Array]: ...
    def __getitem__(self, place: int | slice) -> Array | list[Array]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        at = range(len(self))[place]
        return self.values[int(self.ends[at - 1]) if at else 0 : int(self.ends[at])]

    def __iter__(self) -> Iterator[Array]:
        start = 0
        for end in self.ends.tolist():
            yield self.values[start:end]
            start = end
