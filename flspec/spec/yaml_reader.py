"""YAML as flspec reads it, strictly, with the position of every value.

PyYAML finds the structure and the positions. The meaning of a scalar is decided here by YAML 1.2's rules, more
strictly: `1e-3` is a number and `no` is text. `010`, `1:30`, `.nan`, duplicate keys, tags, aliases and merge keys are
refused, because each can make an experiment differ from the one that its author meant.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from flspec.errors import Problem, SpecError

__all__ = ["KeyPath", "LocatedDocument", "dotted", "is_number", "read_value", "read_yaml"]

KeyPath = tuple[str | int, ...]  # the keys and positions that lead to a value

_MAX_BYTES = 2**20
_MAX_DEPTH = 32
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SEXAGESIMAL = re.compile(r"[0-9]+(:[0-9]+)+(\.[0-9]*)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_NAMED = {"": None, "~": None, "null": None, "Null": None, "NULL": None} | {
    text: value for value in (True, False) for text in (str(value), str(value).lower(), str(value).upper())
}


@dataclass(frozen=True)
class LocatedDocument:
    """A mapping, and the line and column (from 1) at which the key, or list item, of each path stands."""

    value: dict[str, Any]
    places: dict[KeyPath, tuple[int, int]]
    file: str
    lines: tuple[str, ...] = field(repr=False, default=())


def dotted(path: KeyPath) -> str:
    """Return a path as messages show it: `client.optimizer.learning_rate`."""
    return ".".join(map(str, path))


def read_yaml(content: bytes, file: str) -> LocatedDocument:
    """Read one mapping; raises SpecError with every problem of the text."""
    if len(content) > _MAX_BYTES:
        raise SpecError([Problem(f"larger than 1 MiB ({len(content):,} bytes); is this a spec?", file=file)])
    try:
        text = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    except UnicodeDecodeError as error:
        raise SpecError([Problem(f"not valid UTF-8 at byte {error.start}; save it as UTF-8", file=file)]) from None
    reader = _Reader(file, tuple(text.splitlines()))
    value = reader.read(text)
    if value is None:
        raise SpecError([Problem("empty spec; expected a mapping that starts with 'flspec: 1'", file=file)])
    if not isinstance(value, dict):
        raise SpecError([Problem(f"expected a mapping at the top level, got {_describe(value)}", file=file)])
    return LocatedDocument(value, reader.places, file, reader.lines)


def read_value(text: str, source: str) -> Any:
    """Read one value as in a spec, from text that `source` names; raises SpecError."""
    return _Reader(source, ()).read(text)


def is_number(value: object) -> bool:
    """Return whether `value` is text that would be a number in a spec without quotes."""
    return isinstance(value, str) and bool(_INTEGER.fullmatch(value) or _FLOAT.fullmatch(value))


class _Reader:
    """A builder of values from PyYAML's events, which constructs nothing before it is checked."""

    def __init__(self, file: str, lines: tuple[str, ...]) -> None:
        self.file, self.lines = file, lines
        self.problems: list[Problem] = []
        self.places: dict[KeyPath, tuple[int, int]] = {}

    def refuse(self, mark: Any, message: str, path: KeyPath = ()) -> None:
        line, column = (mark.line + 1, mark.column + 1) if mark and self.lines else (None, None)
        source = self.lines[line - 1] if line and line <= len(self.lines) else ""
        self.problems.append(Problem(message, dotted(path), self.file, line, column, source))

    def read(self, text: str) -> Any:
        """Return the value of the text's one document; raises SpecError with all of its problems."""
        value = None
        try:
            value = self._document(text)
        except yaml.MarkedYAMLError as error:
            self.refuse(error.problem_mark or error.context_mark, _plain(error, text))
        except yaml.reader.ReaderError as error:
            self.refuse(None, f"character {error.character!r} at {error.position} is not allowed in YAML")
        if self.problems:
            raise SpecError(self.problems)
        return value

    def _document(self, text: str) -> Any:
        try:
            return self._read(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        except yaml.MarkedYAMLError as error:
            if "nesting depth" not in (error.problem or ""):
                raise
        # PyYAML's fast loader reads ahead to a limit of its own from 6.0.4 on; the other comes to ours, at its place.
        self.problems.clear()
        return self._read(text, yaml.SafeLoader)

    def _read(self, text: str, loader: Any) -> Any:
        events: Iterator[Any] = yaml.parse(text, Loader=loader)
        value, documents = None, 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents == 2:
                    self.refuse(event.start_mark, "one document expected, a second starts here")
                    return value
                value = self._value(next(events), events, ())
        return value

    def _value(self, event: Any, events: Iterator[Any], path: KeyPath, in_keys: int = 0) -> Any:
        if len(path) + in_keys > _MAX_DEPTH:
            self.refuse(event.start_mark, f"nested deeper than {_MAX_DEPTH} levels")
            raise SpecError(self.problems)
        if isinstance(event, yaml.AliasEvent):
            self.refuse(event.start_mark, "aliases are not allowed; write the value out", path)
            return None
        if getattr(event, "anchor", None) is not None:
            self.refuse(event.start_mark, "anchors are not allowed; write the value where it is used", path)
        if (tag := getattr(event, "tag", None)) is not None:
            self.refuse(event.start_mark, f"YAML tag {tag!r} is not allowed", path)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(events, path, in_keys)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(events, path, in_keys)
        return self._scalar(event, path)

    def _mapping(self, events: Iterator[Any], path: KeyPath, in_keys: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            key = self._key(event, events, path, in_keys)
            item_path = (*path, key)
            if key in values:
                first, second = self.places[item_path][0], event.start_mark.line + 1
                self.refuse(event.start_mark, f"given twice (lines {first} and {second}); remove one", item_path)
            else:
                self.places[item_path] = (event.start_mark.line + 1, event.start_mark.column + 1)
            values[key] = self._value(next(events), events, item_path, in_keys)
        return values

    def _key(self, event: Any, events: Iterator[Any], path: KeyPath, in_keys: int) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            self.refuse(event.start_mark, "keys must be text", path)
            self._value(event, events, path, in_keys + 1)  # skip it
            return ""
        if event.value == "<<" and event.implicit[0]:
            self.refuse(event.start_mark, "merge keys are not supported; use extends: or write the values out", path)
        elif event.implicit[0] and not isinstance(key := self._scalar(event, path), str):
            self.refuse(event.start_mark, f"keys must be text, got {json.dumps(key)}; quote it", path)
        return str(event.value)

    def _sequence(self, events: Iterator[Any], path: KeyPath, in_keys: int) -> list[Any]:
        values: list[Any] = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            item_path = (*path, len(values))
            self.places[item_path] = (event.start_mark.line + 1, event.start_mark.column + 1)
            values.append(self._value(event, events, item_path, in_keys))
        return values

    def _scalar(self, event: Any, path: KeyPath) -> Any:
        text = event.value
        if not event.implicit[0]:  # quoted or a block: always text
            return text
        if text in _NAMED:
            return _NAMED[text]
        if _LEADING_ZERO.fullmatch(text):
            digits = text.lstrip("+-").lstrip("0") or "0"
            self.refuse(event.start_mark, f"{text}: leading zeros are ambiguous; write {digits} or quote it", path)
        elif _SEXAGESIMAL.fullmatch(text):
            self.refuse(event.start_mark, f"{text}: write one number, e.g. of seconds, or quote it", path)
        elif _NOT_FINITE.fullmatch(text):
            self.refuse(event.start_mark, f"{text}: must be finite", path)
        elif _INTEGER.fullmatch(text) or _FLOAT.fullmatch(text):
            return self._number(event, path)
        return text

    def _number(self, event: Any, path: KeyPath) -> int | float | None:
        text = event.value
        if len(text) > 400:
            self.refuse(event.start_mark, f"number too large ({len(text)} characters)", path)
            return None
        value = int(text) if _INTEGER.fullmatch(text) else float(text)
        if abs(value) == float("inf") or (isinstance(value, int) and abs(value) >= 2**64):
            self.refuse(event.start_mark, "number too large", path)
            return None
        if isinstance(value, float) and value.is_integer() and "e" in text.lower() and abs(value) < 2**53:
            return int(value)  # 1e6 is valid for an integer, and pydantic takes an integer for a float
        return value


def _plain(error: yaml.MarkedYAMLError, text: str) -> str:
    mark = error.problem_mark
    lines = text.splitlines()
    if mark and mark.line < len(lines) and "\t" in lines[mark.line][: mark.column + 1]:
        return "tab used for indentation; use spaces"
    return f"not valid YAML: {error.problem or error.context}"


def _describe(value: Any) -> str:
    return {list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}[type(value)]
