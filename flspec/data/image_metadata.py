"""Metadata files of picture data sets: where they are, their tables, and the file names in them.

Every error names its line. No file name can lead out of the folder in which it is looked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flspec.core.text import join_some
from flspec.data.csv_files import read_rows
from flspec.errors import InputError, shorten

__all__ = ["Row", "find", "plain_name", "read_table"]

_PLAIN = re.compile(r"[^/\\\0]{1,255}")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table."""

    place: str  # file and line, the beginning of an error
    cells: Mapping[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells[column]


def find(places: Sequence[Path], names: Sequence[str], what: str) -> Path:
    """Return the first of `names` in one of `places`. Raises InputError, which says where `what` was looked for."""
    for place in places:
        for name in names:
            if (path := place / name).exists():
                return path
    raise InputError(
        f"dataset: {what} is not in {' or '.join(map(str, places))}; put it there, or name the folder with "
        "dataset.folder, --data-root or FLSPEC_DATA"
    )


def read_table(path: Path, required: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of a CSV file below its header. Raises InputError if the header lacks a required column."""
    header: list[str] = []
    for line, cells in read_rows(path):
        place = f"{path}:{line}"
        if not cells:
            continue
        if not header:
            header = _checked_header(cells, required, place)
            continue
        if len(cells) != len(header):
            raise InputError(f"{place}: {len(cells)} cells, but the header names {len(header)} columns")
        yield Row(place, dict(zip(header, cells, strict=True)))
    if not header:
        raise InputError(f"{path}: empty; its first line should name {', '.join(required) or 'file'}")


def plain_name(name: str, place: str) -> str:
    """Return a file name that has no folders in it. Raises InputError for any other name."""
    if not _PLAIN.fullmatch(name) or not name.isprintable() or name in (".", ".."):
        raise InputError(f"{place}: {shorten(name)!r} is not the name of a picture; remove folders from it")
    return name


def _checked_header(cells: list[str], required: Sequence[str], place: str) -> list[str]:
    if missing := [name for name in required if name not in cells]:
        raise InputError(f"{place}: no column {', '.join(missing)}; the header names {join_some(cells, 12)}")
    if twice := [name for number, name in enumerate(cells) if name in cells[:number]]:
        raise InputError(f"{place}: the header names {shorten(twice[0])!r} twice")
    return cells
