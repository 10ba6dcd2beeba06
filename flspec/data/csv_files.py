"""Text files of comma-separated values: one grammar for every table that flspec reads.

A row is a line, or several where a quoted cell has line ends in it. A quote is doubled within quotes (RFC 4180).
Python's csv module decides. numpy reads rows whose cells need no quotes, which are most rows of most files, in a
fraction of the time and to the same values.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import chain, groupby
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from flspec.data.cell_numbers import read_numbers, way_out, why_no_number
from flspec.data.column_types import Cells
from flspec.data.tables import MOST_VALUES, check_text
from flspec.data.text_files import opened_text
from flspec.errors import InputError, shorten

__all__ = ["CellCoder", "CsvColumns", "read_columns", "read_header", "read_rows", "read_texts"]

_MOST_CHARACTERS = 2**24  # of one row
_MOST_COLUMNS = 100_000
_MOST_MISTAKES, _ROWS_LOOKED_AT = 20, 100_000  # that are told at once, and rows below the first of them
_CHARACTERS_AT_ONCE = 2**19  # and not rows, so that reading a wide table takes no more memory

# What numpy takes for a space around a number but Python does not, and the end of a text in C.
_NOT_PLAIN = "\0\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
_ADVICE = {
    "unexpected end of data": "a cell begins with a quote and never ends with one",
    "field larger than field limit (131072)": "a cell of more than 131,072 characters; is a quote missing at its end?",
}

Row = tuple[int, list[str]]  # the line on which it begins, from 1, and its cells; none for an empty line


@dataclass(frozen=True, eq=False)
class CsvColumns:
    """Columns of a file, in file order of their rows."""

    features: NDArray[np.float32]  # [num_rows, num_features]
    texts: dict[str, Cells]


def read_header(path: Path, separator: str) -> list[str]:
    """Read the names of a table's columns."""
    _, header = next(read_rows(path, separator), (1, []))
    if not header:
        raise InputError(f"{path}: empty; the first row names the columns")
    if len(header) > _MOST_COLUMNS:
        raise InputError(f"{path}: more than {_MOST_COLUMNS:,} columns; is it a table?")
    first: dict[str, int] = {}
    for number, name in enumerate(header, start=1):
        if not name.strip():
            pandas = "; pandas writes its index so, unless to_csv gets index=False" if number == 1 else ""
            raise InputError(f"{path}: column {number} has no name in the header; give it one, or leave it out{pandas}")
        if first.setdefault(name, number) != number:
            raise InputError(f"{path}: the header names {shorten(name)!r} twice, columns {first[name]} and {number}")
        check_text(name, f"{path}: column {number}")
    return header


def read_texts(path: Path, separator: str) -> Iterator[list[Sequence[str]]]:
    """Yield the cells of each column, of some rows at a time."""
    for _, cells, _ in _chunks(_Layout(path, separator, (), read_header(path, separator))):
        yield cells


def read_columns(path: Path, separator: str, features: Sequence[str], texts: Sequence[str]) -> CsvColumns:
    """Read columns of a table: features as numbers, others as text; a column may be both.

    Raises InputError, which names the row, for another number of cells or for a feature that is not a finite number.
    """
    layout = _Layout(path, separator, features, texts)
    columns: dict[str, CellCoder] = {name: CellCoder() for name in texts}
    table = _Table(len(features))
    for values, cells, share in _chunks(layout):
        table.add(values, share)
        if table.num_rows * len(features) > MOST_VALUES:
            raise InputError(f"{path}: more than {MOST_VALUES:,} numbers; name fewer columns with dataset.features")
        for coder, column in zip(columns.values(), cells, strict=True):
            coder.add(column)
    if not table.num_rows:
        raise InputError(f"{path}: no rows below its header")
    found = {name: coder.cells() for name, coder in columns.items()}
    for name, one in found.items():
        for text in one.distinct:
            check_text(text, f"{path}: column {name}")
    return CsvColumns(table.values, found)


def read_rows(path: Path, separator: str = ",") -> Iterator[Row]:
    """Yield the rows of a file, its header first. Raises InputError, which names the line, if it is not valid."""
    with opened_text(path) as text:
        reader = csv.reader(_lines(path, text), delimiter=separator, strict=True)
        line = 1
        try:
            for cells in reader:
                yield line, cells
                line = reader.line_num + 1
        except csv.Error as error:
            raise InputError(f"{path}:{line}: not CSV ({_ADVICE.get(str(error), error)})") from None


class _Layout:
    """The columns of a file, and which of them are read as what."""

    def __init__(self, path: Path, separator: str, features: Sequence[str], texts: Sequence[str]) -> None:
        self.path, self.separator, self.header = path, separator, read_header(path, separator)
        place = {name: number for number, name in enumerate(self.header)}
        self.names, self.features, self.texts = features, [place[n] for n in features], [place[n] for n in texts]
        as_text, as_number = set(self.texts), set(self.features)
        kinds = ["O" if n in as_text else "f4" if n in as_number else "U1" for n in range(len(self.header))]
        runs = [(kind, len(list(run))) for kind, run in groupby(kinds)]
        # Of a row in numpy: neighbours of one kind are one field, and of cells that nobody reads a character is kept.
        self.dtype = np.dtype([(str(number), kind, (length,)) for number, (kind, length) in enumerate(runs)])
        self.blocks = {
            kind: [str(number) for number, (one, _) in enumerate(runs) if one == kind] for kind in ("O", "f4")
        }
        self.columns = {kind: [n for n, one in enumerate(kinds) if one == kind] for kind in ("O", "f4")}
        self.both = [place for place in self.features if place in as_text]  # features that are texts, too
        come = [*self.columns["f4"], *self.both]  # in this order
        number = {place: n for n, place in enumerate(come)}
        self.order = None if come == self.features else [number[place] for place in self.features]


def _chunks(layout: _Layout) -> Iterator[tuple[NDArray[np.float32], list[Sequence[str]], float]]:
    """Yield the features of some rows, their cells in each column of text, and the share of the file that is read."""
    size, num_read = layout.path.stat().st_size, 0
    with opened_text(layout.path) as text:
        lines = _lines(layout.path, text)
        next(csv.reader(lines, delimiter=layout.separator, strict=True))  # the header
        is_at_end = False  # after an empty line there are only others
        while block := text.read(_CHARACTERS_AT_ONCE):
            block += next(lines, "")
            num_read += len(block)
            share = min(1.0, num_read / size)
            plain = None if is_at_end else _without_quotes(block, layout.separator)
            some = StringIO(block if plain is None else plain, newline="").readlines()
            if plain is not None and len(table := _parsed(layout, some)) == len(some):
                yield *_plain_columns(layout, table), share
                continue
            some = StringIO(block, newline="").readlines()
            rows, is_at_end = _quoted_rows(layout, some, lines, is_at_end)  # or an empty line is among them
            if rows:
                yield _numbers(layout, rows), [[row[place] for row in rows] for place in layout.texts], share


def _without_quotes(block: str, separator: str) -> str | None:
    """Return rows without their quotes, if all of these are around cells that do not need them, else None."""
    if block.isspace() or any(mark in block for mark in _NOT_PLAIN):
        return None
    if '"' not in block:
        return block
    inside = rf'[^"{separator}\r\n]*'
    needless = rf'"(?<![^{separator}\r\n]"){inside}"(?![^{separator}\r\n])'
    return block.replace('"', "") if 2 * len(re.findall(needless, block)) == block.count('"') else None


def _parsed(layout: _Layout, lines: list[str]) -> NDArray[Any]:
    """Read lines without a quote, each of which is a row, by numpy, which skips empty ones."""
    how: dict[str, Any] = {"comments": None, "quotechar": None, "encoding": "utf-8", "ndmin": 1}
    try:
        with np.errstate(over="ignore"):
            return np.loadtxt(lines, layout.dtype, delimiter=layout.separator, **how)
    except ValueError:
        raise _first_mistake(layout) from None


def _plain_columns(layout: _Layout, table: NDArray[Any]) -> tuple[NDArray[np.float32], list[Sequence[str]]]:
    """Return the features in a parsed table, and the cells of its columns of text."""
    blocks = {kind: [table[name] for name in names] for kind, names in layout.blocks.items()}
    texts = [column for block in blocks["O"] for column in block.T.tolist()]
    found = dict(zip(layout.columns["O"], texts, strict=True))
    numbers = [*blocks["f4"], *(_floats(layout, found[place])[:, np.newaxis] for place in layout.both)]
    values = numbers[0] if len(numbers) == 1 else np.concatenate([np.empty((len(table), 0), np.float32), *numbers], 1)
    if layout.order is not None:
        values = values[:, layout.order]
    if not np.isfinite(values).all():
        raise _first_mistake(layout)
    return values, [found[place] for place in layout.texts]


def _quoted_rows(
    layout: _Layout, some: list[str], lines: Iterator[str], is_at_end: bool
) -> tuple[list[list[str]], bool]:
    """Return the rows that begin on some lines, and whether an empty line was among them."""
    rows: list[list[str]] = []
    reader = csv.reader(chain(some, lines), delimiter=layout.separator, strict=True)
    try:
        for row in reader:
            if row and (is_at_end or len(row) != len(layout.header)):
                raise _first_mistake(layout)
            is_at_end = not row
            if row:
                rows.append(row)
            if reader.line_num >= len(some):
                break
    except csv.Error:
        raise _first_mistake(layout) from None
    return rows, is_at_end


def _numbers(layout: _Layout, rows: Sequence[Sequence[str]]) -> NDArray[np.float32]:
    cells = [row[place] for row in rows for place in layout.features]
    return _floats(layout, cells).reshape(len(rows), len(layout.features))


def _floats(layout: _Layout, cells: Sequence[str]) -> NDArray[np.float32]:
    if (values := read_numbers(cells)) is None:
        raise _first_mistake(layout)
    return values


def _first_mistake(layout: _Layout) -> InputError:
    """Return the error for the first cell of each column that cannot be read, and for the first row.

    They are looked for from the beginning, so that the first reading need not know rows.
    """
    found: dict[str, str] = {}
    try:
        for name, mistake in _mistakes(layout):
            found.setdefault(name, mistake)
            if len(found) == _MOST_MISTAKES:
                break
    except InputError as error:
        found[""] = str(error)
    return InputError("\n".join(found.values()) or f"{layout.path}: cannot be read a second time; did it change?")


def _mistakes(layout: _Layout) -> Iterator[tuple[str, str]]:
    """Yield wrong cells by their column, and at last a wrong row."""
    rows = read_rows(layout.path, layout.separator)
    next(rows)
    empty, first = 0, 0
    for number, (line, row) in enumerate(rows, start=1):
        place = f"{layout.path}:{line}: row {number}"
        if not row:
            empty = empty or number
            continue
        if empty:
            yield "", f"{layout.path}: row {empty}: empty, with rows below it; remove it"
            return
        if len(row) != len(layout.header):
            yield "", f"{place}: {len(row)} cells, but the header names {len(layout.header)}"
            return
        for name, position in zip(layout.names, layout.features, strict=True):
            if problem := why_no_number(row[position]):
                first = first or number
                yield name, f"{place}: column {shorten(name)}: {problem}; {way_out(row[position], name)}"
        if first and number - first >= _ROWS_LOOKED_AT:
            return


def _lines(path: Path, text: TextIO) -> Iterator[str]:
    while line := text.readline(_MOST_CHARACTERS + 1):
        if len(line) > _MOST_CHARACTERS:
            raise InputError(f"{path}: a row is longer than {_MOST_CHARACTERS:,} characters; is it a table?")
        yield line


class CellCoder:
    """A column of text whose rows come in parts."""

    def __init__(self) -> None:
        self._number: dict[str, int] = {}
        self._parts: list[NDArray[np.int64]] = []

    def add(self, cells: Sequence[str]) -> None:
        number = self._number
        for cell in dict.fromkeys(cells):
            number.setdefault(cell, len(number))
        self._parts.append(np.fromiter(map(number.__getitem__, cells), np.int64, len(cells)))

    def cells(self) -> Cells:
        return Cells(list(self._number), np.concatenate(self._parts))


class _Table:
    """Rows of numbers that come in parts, in one array, whose end is not in memory before it is filled."""

    def __init__(self, width: int) -> None:
        self.num_rows = 0
        self._array = np.empty((0, width), np.float32)

    @property
    def values(self) -> NDArray[np.float32]:
        return self._array[: self.num_rows]

    def add(self, rows: NDArray[np.float32], share: float) -> None:
        """Append rows; with them about this share of all has come."""
        end = self.num_rows + len(rows)
        if end > len(self._array):
            grown = np.empty((max(int(1.1 * end / share), end + end // 2), self._array.shape[1]), np.float32)
            grown[: self.num_rows] = self.values
            self._array = grown
        self._array[self.num_rows : end] = rows
        self.num_rows = end
