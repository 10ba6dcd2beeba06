"""Memory that processes share: a file without a name, which ends with the last process that has it open.

So nothing of it can be left, however a process ends. Objects are pickled without their arrays (protocol 5), whose bytes
are copied into the memory once, and are read where they lie.
"""

from __future__ import annotations

import mmap
import os
import pickle
import tempfile
from typing import Any, NamedTuple

import numpy as np

__all__ = ["SharedMemory", "Stored", "num_bytes"]

_ALIGNMENT = 64  # bytes: torch and numpy read aligned arrays faster


class Stored(NamedTuple):
    """An object in shared memory: what the other process needs to read it."""

    start: int
    sizes: tuple[int, ...]  # in bytes: of its pickle, which lacks its arrays, and of each array


class SharedMemory:
    """A mapped file without a name. A process that is given its descriptor has the same bytes."""

    def __init__(self, descriptor: int, size: int) -> None:
        self.descriptor, self.size = descriptor, size
        self._view = memoryview(mmap.mmap(descriptor, size))

    @classmethod
    def create(cls, size: int) -> SharedMemory:
        """Return memory of which only what is written takes room."""
        descriptor = _file_without_name()
        os.ftruncate(descriptor, size)
        return cls(descriptor, size)

    def store(self, value: Any, start: int, end: int) -> Stored | None:
        """Write an object between two places; None if it does not fit."""
        contents = _contents(value)
        stored = Stored(start, tuple(content.nbytes for content in contents))
        if start + _room(stored.sizes) > end:
            return None
        for place, content in zip(_places(stored), contents, strict=True):
            np.frombuffer(self._view[place], np.uint8)[:] = np.frombuffer(content, np.uint8)
        return stored

    def load(self, stored: Stored) -> Any:
        """Return an object whose arrays are the bytes of this memory: valid until others are written there."""
        pickled, *arrays = (self._view[place] for place in _places(stored))
        return pickle.loads(pickled, buffers=arrays)

    def close(self) -> None:
        """Close the file. The memory is given back when nothing reads it any more."""
        os.close(self.descriptor)


def num_bytes(value: Any) -> int:
    """Return how much room an object takes."""
    return _room(tuple(content.nbytes for content in _contents(value)))


def _contents(value: Any) -> list[memoryview]:
    buffers: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    return [memoryview(pickled), *(buffer.raw() for buffer in buffers)]


def _places(stored: Stored) -> list[slice]:
    places, start = [], stored.start
    for size in stored.sizes:
        places.append(slice(start, start + size))
        start += _aligned(size)
    return places


def _room(sizes: tuple[int, ...]) -> int:
    return sum(map(_aligned, sizes))


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _file_without_name() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("flspec")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
