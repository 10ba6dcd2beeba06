"""Locations of the files that a spec names, which may differ between machines.

A path that is not absolute is looked for below the data root, then in the folder of the spec that names it, then in
the folders of the files that this spec extends. The first that exists counts, and that there is another is told.

`${env:NAME}` stands for an environment variable. It is replaced only when the files are read: specs, plans and results
store the name, never the value.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from flspec.core.cache import cache_folder
from flspec.core.text import join_some
from flspec.errors import InputError, RunWarning, shorten

__all__ = [
    "Location",
    "candidates",
    "locate",
    "locate_file",
    "locate_known",
    "redact",
    "searching_below",
    "searching_beside",
]

_LONG = 8  # characters of a value that is hardly a word of a message
_beside: ContextVar[tuple[Path, ...]] = ContextVar("beside", default=())  # folders of the spec in work
_replaced: dict[str, str] = {}  # each value that this process has read, and its `${env:NAME}` in the spec
_CACHE = "${cache}/"  # begins the place of what flspec's cache holds, as data that were given from Python
_VARIABLE = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}")


def _is_readable(text: str) -> str:
    if "${" in _VARIABLE.sub("", text.removeprefix(_CACHE)):
        raise ValueError(f"{shorten(text)!r} is not understood; write ${{env:NAME}} for a variable of the environment")
    if "\0" in text:
        raise ValueError("a path cannot hold a NUL character; remove it")
    return text


Location = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_is_readable)]


@contextmanager
def searching_beside(folders: Sequence[Path]) -> Iterator[None]:
    """Have `locate` look for files in these folders, too: those of a spec and of the files that it extends."""
    # A context and not a parameter, because data sets of other packages read files without knowing of specs.
    token = _beside.set(tuple(folders))
    try:
        yield
    finally:
        _beside.reset(token)


def locate(location: str, root: Path, field: str) -> Path:
    """Return the path of `location`, the value of `field`: the first of its `candidates` that exists, or the first.

    Warns if another one exists as well. Raises InputError if it names a variable that is not set.
    """
    places = candidates(location, root, field)
    there = [place for place in places if place.exists()]
    if others := [str(place) for place in there[1:] if not place.samefile(there[0])]:
        which = f"{field}: {shorten(location)} is {there[0]}; {join_some(others)} is not read"
        warnings.warn(f"{which}, unless an absolute path or --data-root names it", RunWarning, stacklevel=2)
    return (there or places)[0]


def candidates(location: str, root: Path, field: str) -> list[Path]:
    """Return where `location` is looked for, in order. Raises as `locate` does."""

    def value(match: re.Match[str]) -> str:
        found = os.environ.get(match[1])
        if not found:
            raise InputError(f"{field}: {shorten(location)}: {match[1]} is not set in the environment; set it")
        _replaced[found] = match[0]
        return found

    if location.startswith(_CACHE):
        return [cache_folder() / location.removeprefix(_CACHE)]
    path = _VARIABLE.sub(value, location)
    return list(dict.fromkeys(folder / path for folder in (root, *_beside.get())))


@contextmanager
def searching_below(root: Path) -> Iterator[None]:
    """Have `locate_known` look below a data root first."""
    token = _beside.set(tuple(dict.fromkeys((root, *_beside.get()))))
    try:
        yield
    finally:
        _beside.reset(token)


def locate_known(location: str, field: str) -> Path:
    """Return the path of the regular file at `location`, looked for where the data set in work finds its files.

    For components that read files and are given no data root. Raises as `locate_file` does.
    """
    return locate_file(location, next(iter(_beside.get()), Path()), field)


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
    if path.is_file():
        return path
    if location.startswith(_CACHE):
        way_out = "call flspec.dataset_of with the same data again"
        raise InputError(f"{field}: {location} is gone, since flspec's cache was cleaned or is another; {way_out}")
    places = [path] if path.exists() else candidates(location, root, field)
    tried = " nor ".join(shorten(str(place), 300) for place in places)
    is_none = f"neither {tried} is a file" if len(places) > 1 else f"{tried} is not a file"
    raise InputError(f"{field}: {is_none}; name one below the data root, beside the spec, or absolute")
