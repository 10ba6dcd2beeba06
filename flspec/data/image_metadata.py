"""Metadata files of picture data sets: text, tables, and the file names in them.

Every error names its line. No file name can lead out of the folder in which it is looked for.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flspec.core.text import join_some
from flspec.errors import InputError, shorten

__all__ = ["Row", "find", "plain_name", "read_rows", "read_text"]

_MOST_BYTES = 2**30
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


def read_text(path: Path) -> str:
    """Read a file in UTF-8, with or without a byte order mark. Raises InputError, which names a line that is not."""
    try:
        if not path.is_file():  # a pipe could block for ever
            raise InputError(f"{path}: is not a file")
        if path.stat().st_size > _MOST_BYTES:
            raise InputError(f"{path}: larger than {_MOST_BYTES >> 20} MiB; no such file is that large")
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}:{line}: not UTF-8 (byte {content[error.start]:#04x}); save it as UTF-8") from None


def read_rows(path: Path, required: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of a CSV file below its header. Raises InputError if the header lacks a required column."""
    reader = csv.reader(read_text(path).splitlines(keepends=True), strict=True)
    header: list[str] = []
    try:
        for cells in reader:
            place = f"{path}:{reader.line_num}"
            if not cells:
                continue
            if not header:
                header = _checked_header(cells, required, place)
                continue
            if len(cells) != len(header):
                raise InputError(f"{place}: {len(cells)} cells, but the header names {len(header)} columns")
            yield Row(place, dict(zip(header, cells, strict=True)))
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num}: not CSV ({error})") from None
    if not header:
        raise InputError(f"{path}: empty; its first line should name {', '.join(required)}")


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
