"""Arrays out of pickles, without unpickling.

A pickle is a program that may call anything. Here one is read and nothing in it is carried out: `pickletools` takes
it apart, and the few instructions with which Python 2 wrote numbers, texts, lists, mappings and numpy arrays of bytes
build just those. The three names with which numpy's arrays begin are compared as text and never imported; any other
name, and any other instruction, is refused.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["read_inert_pickle"]

_RECONSTRUCT = ("numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct")
_NAMES = (*_RECONSTRUCT, "numpy ndarray", "numpy dtype")
_LITERALS = ("BININT", "BININT1", "BININT2", "BINUNICODE")
_MARK = object()


@dataclass(frozen=True)
class _Name:
    """A global that a pickle names; never looked up."""

    name: str


@dataclass(frozen=True)
class _Call:
    """What a pickle would make by a call, and the state it would give it; never made."""

    name: str
    arguments: Any
    state: list[Any] = field(default_factory=list)


def read_inert_pickle(content: bytes) -> Any:
    """What a pickle holds: numbers, bytes, lists, dicts and arrays of uint8; raises ValueError if anything else."""
    reader = _Reader()
    try:
        for opcode, argument, position in pickletools.genops(content):
            if opcode.name == "STOP":
                break
            reader.step(opcode.name, argument, position)
        (result,) = reader.stack
    except (IndexError, KeyError, StopIteration, TypeError, UnicodeDecodeError) as error:
        raise ValueError(f"the pickle is damaged ({type(error).__name__})") from None
    return _finished(result)


class _Reader:
    """The stack and the memory of a pickle's program."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.opcodes: dict[str, Callable[[Any], None]] = {
            "PROTO": lambda _: None,
            "MARK": lambda _: self.stack.append(_MARK),
            "NONE": lambda _: self.stack.append(None),
            "NEWFALSE": lambda _: self.stack.append(False),
            "EMPTY_DICT": lambda _: self.stack.append({}),
            "EMPTY_LIST": lambda _: self.stack.append([]),
            "BINSTRING": self._text,
            "SHORT_BINSTRING": self._text,
            "BINPUT": self._put,
            "LONG_BINPUT": self._put,
            "BINGET": lambda number: self.stack.append(self.memo[number]),
            "LONG_BINGET": lambda number: self.stack.append(self.memo[number]),
            "TUPLE": lambda _: self.stack.append(tuple(self._since_mark())),
            "TUPLE1": lambda _: self._tuple(1),
            "TUPLE2": lambda _: self._tuple(2),
            "TUPLE3": lambda _: self._tuple(3),
            "APPEND": lambda _: self._append([self.stack.pop()]),
            "APPENDS": lambda _: self._append(self._since_mark()),
            "SETITEM": lambda _: self._set([self.stack.pop(-2), self.stack.pop()]),
            "SETITEMS": lambda _: self._set(self._since_mark()),
            "REDUCE": self._reduce,
            "BUILD": self._build,
        }

    def step(self, opcode: str, argument: Any, position: int | None) -> None:
        if opcode in _LITERALS:
            self.stack.append(argument)
        elif opcode == "GLOBAL":
            if argument not in _NAMES:
                raise ValueError(f"the pickle names {str(argument)[:80]!r} at byte {position}, which is not loaded")
            self.stack.append(_Name(argument))
        elif opcode in self.opcodes:
            self.opcodes[opcode](argument)
        else:
            raise ValueError(f"the pickle holds the instruction {opcode} at byte {position}, which is not carried out")

    def _text(self, text: str) -> None:
        self.stack.append(text.encode("latin-1"))  # Python 2's text is bytes

    def _put(self, number: int) -> None:
        self.memo[number] = self.stack[-1]

    def _since_mark(self) -> list[Any]:
        start = next(position for position in reversed(range(len(self.stack))) if self.stack[position] is _MARK)
        items = self.stack[start + 1 :]
        del self.stack[start:]
        return items

    def _tuple(self, size: int) -> None:
        self.stack[-size:] = [tuple(self.stack[-size:])]

    def _append(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise TypeError
        self.stack[-1].extend(items)

    def _set(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], dict) or len(items) % 2:
            raise TypeError
        self.stack[-1].update(zip(items[::2], items[1::2], strict=True))

    def _reduce(self, _: Any) -> None:
        arguments = self.stack.pop()
        self.stack[-1] = _Call(self.stack[-1].name if isinstance(self.stack[-1], _Name) else "", arguments)

    def _build(self, _: Any) -> None:
        state = self.stack.pop()
        if not isinstance(self.stack[-1], _Call):
            raise TypeError
        self.stack[-1].state.append(state)


def _finished(value: Any) -> Any:
    """A mapping with its arrays in place; what it holds is not searched deeper than that."""
    if not isinstance(value, dict):
        return value
    return {key: _array(item) if isinstance(item, _Call) else item for key, item in value.items()}


def _array(call: _Call) -> NDArray[np.uint8]:
    """The array that numpy would have been asked to make; only one of unsigned bytes in C order is known here."""
    match call:
        case _Call(
            name=name,
            arguments=(_Name(name="numpy ndarray"), (0,), bytes()),
            state=[(1, tuple(shape), _Call(name="numpy dtype", arguments=(b"u1", 0, 1)), False, bytes(content))],
        ) if name in _RECONSTRUCT:
            if not all(isinstance(size, int) and size >= 0 for size in shape):
                raise ValueError("the pickle's array has a shape that is none")
            size = 1
            for length in shape:
                size *= length
            if size != len(content):
                raise ValueError(f"the pickle promises an array of shape {list(shape)}, but holds {len(content)} bytes")
            return np.frombuffer(content, np.uint8).reshape(shape)
    raise ValueError("the pickle holds an object that is no array of unsigned bytes")
