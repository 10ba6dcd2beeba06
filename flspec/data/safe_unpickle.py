"""Arrays out of pickles, without running what is in them.

A pickle is a program that may call anything. Here its instructions are looked at first, and any but those with which
Python 2 wrote numbers, texts, lists, mappings and numpy arrays of bytes is refused. The standard library's Unpickler
then carries them out, and whatever it is to find by name is an object that writes down what it is given.
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
# A published batch has 30,000 instructions, eight of which make tuples. An instruction of one byte can make a list of
# 56, and to hash a tuple in a tuple a million deep overflows the interpreter's stack.
_MOST_INSTRUCTIONS, _MOST_TUPLES, _MOST_AXES = 2**20, 100, 4


class _Noted:
    """What a pickle names, or would call with some arguments, and the state it would give that; nothing is done."""

    __slots__ = ("arguments", "name", "state")

    def __init__(self, name: str, arguments: tuple[Any, ...] | None = None) -> None:
        self.name = name
        self.arguments = arguments  # None where it is only named
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
    """What a pickle holds: numbers, bytes, lists, dicts and arrays of uint8; raises ValueError if anything else."""
    _check(content)
    try:
        loaded = _InertUnpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # a damaged file can make its reader raise anything
        raise ValueError(f"the pickle is damaged ({type(error).__name__})") from None
    if not isinstance(loaded, dict):
        return loaded
    # What a mapping holds is not searched deeper than that.
    return {key: _array(item) if isinstance(item, _Noted) else item for key, item in loaded.items()}


def _check(content: bytes) -> None:
    """Raise ValueError for an instruction that a batch of CIFAR-10 does not have, or for more of them than it has."""
    tuples = 0
    for number, (opcode, argument, position) in enumerate(pickletools.genops(content)):
        if opcode.name not in _INSTRUCTIONS:
            raise ValueError(
                f"the pickle holds the instruction {opcode.name} at byte {position}, which is not carried out"
            )
        if opcode.name == "GLOBAL" and argument not in _NAMES:
            raise ValueError(f"the pickle names {str(argument)[:80]!r} at byte {position}, which is not loaded")
        # The Unpickler allocates a memory as long as the largest number in it.
        if opcode.name == "LONG_BINPUT" and int(argument or 0) > number:
            raise ValueError(f"the pickle puts something in place {argument} at byte {position}, which it has not")
        tuples += opcode.name.startswith("TUPLE")
        if number >= _MOST_INSTRUCTIONS or tuples > _MOST_TUPLES:
            raise ValueError(f"the pickle holds more than is loaded, by byte {position}")


def _array(noted: _Noted) -> NDArray[np.uint8]:
    """The array that numpy would have been asked to make; only one of unsigned bytes in C order is known here."""
    match noted:
        case _Noted(
            name=name,
            arguments=(_Noted(name="numpy ndarray", arguments=None), (0,), bytes()),
            state=(1, tuple(shape), _Noted(name="numpy dtype", arguments=(b"u1", 0, 1)), False, bytes(content)),
        ) if name in _RECONSTRUCT:
            if len(shape) > _MOST_AXES or not all(isinstance(size, int) and size >= 0 for size in shape):
                raise ValueError("the pickle's array has a shape that is none")
            if math.prod(shape) != len(content):
                raise ValueError(f"the pickle promises an array of shape {list(shape)}, but holds {len(content)} bytes")
            return np.frombuffer(content, np.uint8).reshape(shape)
    raise ValueError("the pickle holds an object that is no array of unsigned bytes")
