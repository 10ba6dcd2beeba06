"""Locations of the files that a spec names, which may differ between machines.

`${env:NAME}` stands for an environment variable. It is replaced only when the files are read: specs, plans and results
store the name, never the value.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from flspec.errors import InputError, shorten

__all__ = ["Location", "locate", "locate_file", "redact"]

_LONG = 8  # characters of a value that is hardly a word of a message
_replaced: dict[str, str] = {}  # each value that this process has read, and its `${env:NAME}` in the spec
_VARIABLE = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}")


def _is_readable(text: str) -> str:
    if "${" in _VARIABLE.sub("", text):
        raise ValueError(f"{shorten(text)!r} is not understood; write ${{env:NAME}} for a variable of the environment")
    if "\0" in text:
        raise ValueError("a path cannot hold a NUL character; remove it")
    return text


Location = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_is_readable)]


def locate(location: str, root: Path, field: str) -> Path:
    """Return the path of `location`, the value of `field`: below `root`, unless it is absolute.

    Raises InputError if it names a variable that is not set.
    """

    def value(match: re.Match[str]) -> str:
        found = os.environ.get(match[1])
        if not found:
            raise InputError(f"{field}: {shorten(location)}: {match[1]} is not set in the environment; set it")
        _replaced[found] = match[0]
        return found

    return root / _VARIABLE.sub(value, location)


def redact(text: str) -> str:
    """Put each variable's name back in the place of its value, in text that will be stored.

    A value is replaced where it stands by itself and not inside of a longer name: a path or a long value anywhere, a
    short name as a component of a path alone, because elsewhere it may be a word of the sentence.
    """
    for value, name in sorted(_replaced.items(), key=lambda item: -len(item[0])):
        if value.strip("./\\"):  # else it says nothing of this machine
            text = _by_itself(value.rstrip("/\\")).sub(name, text)
    return text


def _by_itself(value: str) -> re.Pattern[str]:
    """Return the pattern of a value where `redact` replaces it."""
    before, after = r"(?<![\w.-])", r"(?![\w-]|\.\w)"
    if len(value) >= _LONG or "/" in value or "\\" in value:
        return re.compile(before + re.escape(value) + after)
    return re.compile(rf"(?<=/){re.escape(value)}{after}|{before}{re.escape(value)}(?=/)")


def locate_file(location: str, root: Path, field: str) -> Path:
    """Return the path of the regular file at `location`, as `locate` does.

    Raises InputError for anything else, such as a pipe, which could block for ever.
    """
    path = locate(location, root, field)
    if not path.is_file():
        raise InputError(f"{field}: {shorten(str(path), 300)} is not a file; name one below the data root, or absolute")
    return path
