"""Arrays that every client of a round is sent, once in Ray's object store instead of in each client's message."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import ray
from flwr.app import ArrayRecord
from numpy.typing import NDArray

__all__ = ["StoredArrays", "in_store"]


class StoredArrays(ArrayRecord):
    """A record of which a message has the reference alone. Its arrays are read-only: all actors map the same memory."""

    def __init__(self, reference: Any) -> None:
        super().__init__()
        self._reference = reference

    def to_numpy_ndarrays(self, *, keep_input: bool = True) -> list[NDArray[Any]]:
        return _fetched(self._reference)


def in_store(arrays: list[NDArray[Any]]) -> ArrayRecord:
    """Put the arrays into the object store; return their record."""
    return StoredArrays(ray.put(arrays))


@lru_cache(maxsize=2)  # the weights of a round, and what is sent beside them
def _fetched(reference: Any) -> list[NDArray[Any]]:
    arrays: list[NDArray[Any]] = ray.get(reference)
    return arrays
