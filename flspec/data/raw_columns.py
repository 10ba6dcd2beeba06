"""Columns of a text table before they are encoded: numbers with gaps, or categories as they are spelt."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from flspec.data.cell_numbers import why_no_number
from flspec.data.column_types import Cells
from flspec.data.csv_files import CellCoder, read_header, read_texts
from flspec.data.tables import LONGEST_TEXT, MOST_TEXT, MOST_VALUES, check_text
from flspec.errors import InputError

__all__ = ["DECIMAL_COMMA", "RawColumns", "Spelling", "read_raw_columns"]

DECIMAL_COMMA = re.compile(r"[+-]?[0-9]*,[0-9]+([eE][+-]?[0-9]+)?")


@dataclass(frozen=True)
class Spelling:
    """How cells of a text table are spelt beyond what Python reads."""

    missing: frozenset[str] = frozenset()  # texts that mean that there is no value
    decimal_comma: bool = False

    def plain(self, cell: str) -> str:
        """Return a cell as Python reads it, empty if it is missing."""
        if cell in self.missing:
            return ""
        return cell.replace(",", ".") if self.decimal_comma and DECIMAL_COMMA.fullmatch(cell) else cell

    def cells(self, cells: Cells) -> Cells:
        """Return a column with its cells as Python reads them."""
        number: dict[str, int] = {}
        place = [number.setdefault(self.plain(text), len(number)) for text in cells.distinct]
        return Cells(list(number), np.array(place or [0], np.int64)[cells.codes])


@dataclass(frozen=True, eq=False)
class RawColumns:
    """Columns of a file, in file order of their rows."""

    num_rows: int
    values: dict[str, NDArray[np.float64] | Cells]  # numbers [num_rows, 1], NaN where there is no value; or categories
    wrong: dict[str, tuple[int, str, str]] = field(default_factory=dict)  # by column: row from 0, why, the cell


def read_raw_columns(
    path: Path, separator: str, takes: Mapping[str, Literal["numbers", "categories", "texts"]], spelling: Spelling
) -> RawColumns:
    """Read the columns that `takes` names. What is no number among numbers is returned, not raised."""
    header = read_header(path, separator)
    readers = {name: _READERS[kind](spelling) for name, kind in takes.items()}
    place, num_rows = {name: header.index(name) for name in takes}, 0
    for cells in read_texts(path, separator):
        num_rows += len(cells[0])
        if num_rows * len(takes) > MOST_VALUES:
            raise InputError(f"{path}: more than {MOST_VALUES:,} values; name fewer columns in dataset.features")
        for name, reader in readers.items():
            reader.add(cells[place[name]])
    if not num_rows:
        raise InputError(f"{path}: no rows below its header")
    wrong = {name: reader.wrong for name, reader in readers.items() if reader.wrong}
    values = {name: reader.values(f"{path}: column {name}") for name, reader in readers.items()}
    return RawColumns(num_rows, {name: found for name, found in values.items() if name not in wrong}, wrong)


class _Numbers:
    """A column of numbers that comes in parts."""

    def __init__(self, spelling: Spelling) -> None:
        self.wrong: tuple[int, str, str] | None = None
        self._spelling, self._num_rows, self._parts = spelling, 0, list[NDArray[np.float64]]()

    def add(self, cells: Sequence[str]) -> None:
        if self.wrong is None:
            self._parts.append(np.fromiter(map(self._number, cells), np.float64, len(cells)))
        self._num_rows += len(cells)
        if self.wrong is None and self._parts and np.isinf(self._parts[-1]).any():
            row = int(np.isinf(self._parts[-1]).argmax())
            plain = self._spelling.plain(cells[row])
            why = why_no_number(plain) or f"{cells[row]!r} is no number"
            self.wrong = (self._num_rows - len(cells) + row, why, cells[row])

    def values(self, source: str) -> NDArray[np.float64]:
        parts, self._parts = self._parts, []  # so that only one column is in memory twice
        return np.concatenate(parts)[:, np.newaxis]

    def _number(self, cell: str) -> float:
        """Return a cell's number, NaN if it has no value, infinity if it is no number."""
        try:
            number = float(plain) if (plain := self._spelling.plain(cell)) else math.nan
        except ValueError:
            return math.inf
        return math.inf if plain and (math.isnan(number) or not cell.isascii() or "_" in cell) else number


class _Categories:
    """A column of categories that comes in parts."""

    wrong = None
    longest = MOST_TEXT  # characters

    def __init__(self, spelling: Spelling) -> None:
        self._spelling, self._coder = spelling, CellCoder()

    def add(self, cells: Sequence[str]) -> None:
        self._coder.add(cells)

    def values(self, source: str) -> Cells:
        found = self._spelling.cells(self._coder.cells())
        for text in found.distinct:
            check_text(text, source, self.longest)
        return found


class _Texts(_Categories):
    """A column of texts of any length that comes in parts."""

    longest = LONGEST_TEXT


_READERS: dict[str, type[_Numbers] | type[_Categories]] = {
    "numbers": _Numbers,
    "categories": _Categories,
    "texts": _Texts,
}
