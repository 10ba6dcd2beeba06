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

__all__ = ["Location", "locate"]

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
        return found

    return root / _VARIABLE.sub(value, location)
