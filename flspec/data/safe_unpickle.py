"""Safe reading of arrays from pickles, without running the code in them.

A pickle is a program that may call anything. Its instructions are checked first. Allowed are only those with which
Python 2 wrote numbers, texts, lists, mappings and numpy arrays of bytes. Then the standard library's Unpickler executes
them, but for each name that it looks up it gets an object that only records its arguments.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["read_inert_pickle"]

_INSTRUCTIONS = {
    *("PROTO", "STOP", "MARK", "NONE", "NEWFALSE", "BININT", "BININT1", "BININT2", "BINUNICODE"),
    *("BINSTRING", "SHORT_BINSTRING", "EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_DICT", "SETITEM", "SETITEMS"),
    *("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"),
    *("GLOBAL", "REDUCE", "BUILD"),
}
_RECONSTRUCT = ("numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct")
_NAMES = (*_RECONSTRUCT, "numpy ndarray", "numpy dtype")
# A published batch has 30,000 instructions, of which eight make tuples. One byte of instruction can allocate a list of
# 56 bytes. Hashing tuples nested a million deep overflows the interpreter's stack.
_MOST_INSTRUCTIONS, _MOST_TUPLES, _MOST_AXES = 2**20, 100, 4


class _Noted:
    """A record of a name in a pickle, of the arguments it would be called with, and of its state. Nothing is called."""

    __slots__ = ("arguments", "name", "state")

    def __init__(self, name: str, arguments: tuple[Any, ...] | None = None) -> None:
        self.name = name
        self.arguments = arguments  # None if it is named but not called
        self.state: Any = None

    def __call__(self, *arguments: Any) -> _Noted:
        if self.arguments is not None:
            raise TypeError
        return _Noted(self.name, arguments)

    def __setstate__(self, state: Any) -> None:
        if self.arguments is None or self.state is not None:
            raise TypeError
        self.state = state


class _InertUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if f"{module} {name}" not in _NAMES:
            raise pickle.UnpicklingError
        return _Noted(f"{module} {name}")

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError


def read_inert_pickle(content: bytes) -> Any:
    """Read a pickle of numbers, bytes, lists, dicts and uint8 arrays. Raises ValueError if it has anything else."""
    _check(content)
    try:
        loaded = _InertUnpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # a damaged file can make its reader raise anything
        raise ValueError(f"the pickle is damaged ({type(error).__name__})") from None
    if not isinstance(loaded, dict):
        return loaded
    # Arrays deeper than in the outer mapping are not looked for.
    return {key: _array(item) if isinstance(item, _Noted) else item for key, item in loaded.items()}


def _check(content: bytes) -> None:
    """Raise ValueError for instructions, or numbers of them, that no batch of CIFAR-10 has."""
    tuples = 0
    for number, (opcode, argument, position) in enumerate(pickletools.genops(content)):
        if opcode.name not in _INSTRUCTIONS:
            raise ValueError(f"the pickle holds the instruction {opcode.name} at byte {position}, which is not allowed")
        if opcode.name == "GLOBAL" and argument not in _NAMES:
            raise ValueError(f"the pickle names {str(argument)[:80]!r} at byte {position}, which is not loaded")
        # The Unpickler's memo is allocated as long as the largest index in it.
        if opcode.name == "LONG_BINPUT" and int(argument or 0) > number:
            raise ValueError(f"the pickle stores a value at index {argument} at byte {position}, which is too large")
        tuples += opcode.name.startswith("TUPLE")
        if number >= _MOST_INSTRUCTIONS or tuples > _MOST_TUPLES:
            raise ValueError(f"the pickle is larger than is allowed, at byte {position}")


def _array(noted: _Noted) -> NDArray[np.uint8]:
    """Build the array that the pickle describes. It must be of unsigned bytes in C order."""
    match noted:
        case _Noted(
            name=name,
            arguments=(_Noted(name="numpy ndarray", arguments=None), (0,), bytes()),
            state=(1, tuple(shape), _Noted(name="numpy dtype", arguments=(b"u1", 0, 1)), False, bytes(content)),
        ) if name in _RECONSTRUCT:
            if len(shape) > _MOST_AXES or not all(isinstance(size, int) and size >= 0 for size in shape):
                raise ValueError("the pickle's array has an invalid shape")
            if math.prod(shape) != len(content):
                raise ValueError(f"the pickle promises an array of shape {list(shape)}, but holds {len(content)} bytes")
            return np.frombuffer(content, np.uint8).reshape(shape)
    raise ValueError("the pickle holds an object that is not an array of unsigned bytes")
