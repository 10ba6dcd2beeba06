"""What flspec makes of the files of a data set: each column or array, as what it is taken, and why."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flspec.core.components import Document
from flspec.data.cell_numbers import read_numbers, why_no_number
from flspec.data.column_types import Cells, type_cells, why_text
from flspec.data.examples import is_missing

__all__ = ["ColumnFacts", "ColumnProfile", "FileFacts", "Reading", "array_facts", "count_endings", "num_words"]

_MOST_VALUES = 1_000  # that are counted
_AT_ONCE = 64  # cells
_IN_WORDS = {"i": "whole numbers", "f": "numbers", "U": "text"}


class ColumnFacts(Document):
    """One column. What is None has not been counted."""

    name: str
    role: str  # label, feature, client, column, left out; or feature and one of client and column
    holds: str = ""  # text, numbers, whole numbers, …
    missing: int | None = None  # rows without a value
    num_values: int | None = None  # different values; None also if there are more than a thousand
    why: str = ""  # it is left out, it is text, or it cannot be used
    size: float | None = None  # root mean square, of a column of numbers that is counted
    words: float | None = None  # in the mean of the rows with a value, of a column of text that is counted


class Reading(Document):
    """The columns of a data set's training examples, and the files in its folder that are not read."""

    columns: tuple[ColumnFacts, ...] = ()
    files_left_out: dict[str, int] = Field(default_factory=dict)  # by the ending of their names

    def with_types(self, columns: Mapping[str, NDArray[Any]]) -> Reading:
        """Return this with what those columns hold that were read, by their arrays."""
        holds = {name: _IN_WORDS.get(values.dtype.kind, "") for name, values in columns.items()}
        known = [column.model_copy(update={"holds": holds.get(column.name, column.holds)}) for column in self.columns]
        return self.model_copy(update={"columns": tuple(known)})


class FileFacts(Document):
    """One file of examples, whether or not an experiment can use it as it is."""

    file: str
    kind: str
    num_rows: int
    columns: tuple[ColumnFacts, ...]
    classes: tuple[str, ...] = ()  # the names of the labels, in the order of the classes
    problems: tuple[str, ...] = ()  # to mend before an experiment can use it
    remarks: tuple[str, ...] = ()  # on what would spoil training


class ColumnProfile:
    """Counts of a column of text whose cells come in parts. `is_number`: it has to be a number in every row."""

    def __init__(self, is_number: bool) -> None:
        self._is_number = is_number
        self._seen: dict[str, None] = {}  # in the order of their rows
        self.num_rows = 0
        self._waiting: list[str] = []
        self._missing = 0
        self._first_empty = 0
        self._wrong = ""
        self._squares = 0.0
        self._num_words = 0

    def add(self, cells: Sequence[str]) -> None:
        """Take more cells. They are counted some at a time, because of a wide table a few rows come at once."""
        self._waiting += cells
        self.num_rows += len(cells)
        if len(self._waiting) >= _AT_ONCE:
            self._count()

    def _count(self) -> None:
        cells, first = self._waiting, self.num_rows - len(self._waiting) + 1
        self._waiting = []
        if missing := cells.count(""):
            self._first_empty = self._first_empty or first + cells.index("")
            self._missing += missing
        if not self._is_number or len(self._seen) <= _MOST_VALUES:
            self._seen.update(dict.fromkeys(cells))
        numbers = read_numbers(list(filter(None, cells))) if self._is_number and not self._wrong else None
        if numbers is not None:
            self._squares += float(np.square(numbers, dtype=np.float64).sum())
        elif self._is_number and not self._wrong:
            row, why = next((row, why) for row, cell in enumerate(cells) if cell and (why := why_no_number(cell)))
            self._wrong = f"row {first + row}: {why}"
        self._num_words += num_words(cells) if self._wrong or not self._is_number else len(cells) - missing

    def facts(self, name: str, role: str, why: str = "") -> ColumnFacts:
        """Return what was counted."""
        self._count()
        texts = [text for text in self._seen if text]
        holds, reason = ("text" if self._wrong else "numbers"), self._wrong
        if not self._is_number:
            holds, reason = _IN_WORDS[type_cells([Cells.of(texts)])[0].dtype.kind], why_text(texts) or ""
        elif self._missing and not self._wrong:
            reason = f"row {self._first_empty} is empty"
        known = max(1, self.num_rows - self._missing)
        size = math.sqrt(self._squares / known) if self._is_number and not self._wrong else None
        return ColumnFacts(
            name=name, role=role, holds=holds, missing=self._missing, why=why or reason, size=size,
            words=self._num_words / known if holds == "text" else None,
            num_values=None if self._is_number and len(self._seen) > _MOST_VALUES else len(texts),
        )  # fmt: skip


def num_words(texts: Iterable[str]) -> int:
    """Count the words of some texts, which spaces divide."""
    return sum(len(text.split()) for text in texts)


def array_facts(name: str, role: str, values: NDArray[Any], why: str = "") -> ColumnFacts:
    """Return the facts of a column that is read already: text, whole numbers or numbers, [num_rows, ...]."""
    missing = is_missing(values)
    return ColumnFacts(
        name=name,
        role=role,
        holds=_IN_WORDS.get(values.dtype.kind, str(values.dtype)),
        missing=int(missing.reshape(len(values), -1).any(axis=1).sum()),
        num_values=len(np.unique(values[~missing])) if values.ndim == 1 else None,
        why=why,
    )


def count_endings(files: Iterable[Path]) -> dict[str, int]:
    """Count files by the ending of their names, or by their name if it has none."""
    return dict(sorted(Counter(path.suffix.lower() or path.name for path in files).items()))
