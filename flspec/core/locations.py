"""Where files are that a spec names, which may differ from one machine to the next.

`${env:NAME}` stands for a variable of the environment. It is replaced when the files are read and nowhere else: specs,
plans and results keep the name, never what the variable held.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from flspec.errors import InputError, shorten

__all__ = ["Location", "locate", "locate_file", "redact"]

_replaced: dict[str, str] = {}  # what this process has read from variables: the value, and how the spec has it
_VARIABLE = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}")


def _is_readable(text: str) -> str:
    if "${" in _VARIABLE.sub("", text):
        raise ValueError(f"{shorten(text)!r} is not understood; write ${{env:NAME}} for a variable of the environment")
    if "\0" in text:
        raise ValueError("a path cannot hold a NUL character; remove it")
    return text


Location = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_is_readable)]


def locate(location: str, root: Path, field: str) -> Path:
    """The path that `location`, the value of `field`, means below `root`; an absolute one means itself.

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
    """`text` with each value of a variable as the spec has it, for what is stored."""
    for value, name in sorted(_replaced.items(), key=lambda item: -len(item[0])):
        text = text.replace(value, name)
    return text


def locate_file(location: str, root: Path, field: str) -> Path:
    """The file that `location` means; raises InputError if there is none: a pipe could keep us reading for ever."""
    path = locate(location, root, field)
    if not path.is_file():
        raise InputError(f"{field}: {shorten(str(path), 300)} is no file; name one below the data root, or absolute")
    return path
