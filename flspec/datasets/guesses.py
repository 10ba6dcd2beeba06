"""What a table's columns probably are, by their names and values: as a start, for its owner to correct."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from flspec.core.text import in_flow
from flspec.data.cell_numbers import NO_VALUE, read_numbers
from flspec.data.csv_files import read_texts
from flspec.data.raw_columns import DECIMAL_COMMA
from flspec.data.readings import ColumnFacts

__all__ = ["Guess", "guess_client", "guess_column", "guess_groups", "guess_label", "guess_spelling", "guess_text"]

_LABELS = (
    *("label", "target", "class", "outcome", "diagnosis", "y", "died", "death", "event", "response", "readmitted"),
    *("sentiment", "stars", "rating", "topic", "category"),
)
_CLIENTS = (
    *("client", "hospital", "clinic", "site", "centre", "center", "ward", "institution", "user", "patient_id"),
    *("user_id", "reviewer", "author", "speaker", "customer"),
)
_GROUPS = ("sex", "gender", "race", "ethnicity", "age_group", "insurance")
_NUMBERING = re.compile(r"(.*[_ .-])?(id|no|nr|number|index|key|uuid|mrn|patient|name)", re.IGNORECASE)
_ALMOST = re.compile(r"row [0-9]+: '?([-+]?[0-9]|inf|nan)")  # why a cell is no number, though it looks like one
_MOST_CATEGORIES = 30
_LONG = 4  # words of a text that is more than a name, in the mean
_WORDS_A_COLUMN = 2  # texts are read alone if they have so many words for each column that is left out for them
_UNKNOWN = {"impute": "constant", "value": "unknown"}


class Guess(NamedTuple):
    """What becomes of a column as a feature, as a spec has it, and why; None: it is left out."""

    encoding: Any
    why: str


def _guess_named(names: Sequence[str], wanted: Sequence[str]) -> str | None:
    """Return the first column, in the order of `wanted`, whose name is one of these."""
    by_name = {name.strip().lower(): name for name in names}
    return next((by_name[name] for name in wanted if name in by_name), None)


def guess_column(column: ColumnFacts, num_rows: int) -> Guess:
    """Return what to do with a column that has no other role."""
    missing = column.missing or 0
    gaps = f"{missing:,} of {num_rows:,} missing" if missing else ""
    known = num_rows - missing
    is_text = column.holds not in ("numbers", "whole numbers", "true or false", "lists of numbers")
    if not known or column.num_values == 0:
        return Guess(None, "no row has a value")
    if column.num_values == 1 and not missing:
        return Guess(None, "the same in every row")
    if column.holds == "lists of numbers":
        return Guess("as_is", "lists of numbers")
    if column.holds in ("dates or times", "nothing") or column.holds.startswith(("struct", "binary", "list")):
        return Guess(None, f"{column.holds}, of which no encoding makes numbers")
    if _NUMBERING.fullmatch(column.name) and column.num_values in (None, known):
        return Guess(None, "another value in every row, as an identifier has")
    if is_text:
        return _guess_text(column, known, missing, gaps)
    return _guess_numbers(column, missing, gaps)


def is_long_text(column: ColumnFacts, num_rows: int) -> bool:
    """Return whether a column is texts that a model can read word by word."""
    known = num_rows - (column.missing or 0)
    num = column.num_values
    return (column.words or 0) >= _LONG and (num is None or num > _MOST_CATEGORIES or 2 * num > known)


def guess_text(columns: Sequence[ColumnFacts], num_rows: int) -> ColumnFacts | None:
    """Return the column of texts that a model had better read alone, of columns without another role; None: there is
    none, or the others tell more.
    """
    texts = [column for column in columns if is_long_text(column, num_rows)]
    others = [column for column in columns if guess_column(column, num_rows).encoding is not None]
    longest = max(texts, key=lambda column: column.words or 0, default=None)
    return longest if longest and (longest.words or 0) >= _WORDS_A_COLUMN * len(others) else None


def _guess_text(column: ColumnFacts, known: int, missing: int, gaps: str) -> Guess:
    num = column.num_values
    if num is None or num > _MOST_CATEGORIES or 2 * num > known:
        if (column.words or 0) >= _LONG:
            told = f"texts of about {column.words:,.0f} words, which are read alone"
            return Guess(None, f"{told}: features: {in_flow({column.name: 'words'})}")
        many = "more than 1,000" if num is None else f"{num:,}"
        wrong = f" ({column.why})" if _ALMOST.match(column.why) else ""  # perhaps one cell among numbers
        return Guess(None, f"text with {many} different values, too many for categories{wrong}")
    because = ", ".join(filter(None, (f"text with {num:,} values", gaps)))
    return Guess([_UNKNOWN, "one_hot"] if missing else "one_hot", because)


def _guess_numbers(column: ColumnFacts, missing: int, gaps: str) -> Guess:
    digits = ",.0f" if (column.size or 0) >= 10 else ".2g"
    size = f"numbers about {column.size:{digits}}" if column.size is not None else "numbers"
    if column.num_values == 2 and not missing and (column.size is None or column.size <= 1):
        return Guess("as_is", "two values, not larger than 1")
    because = ", ".join(filter(None, (size, gaps)))
    return Guess([{"impute": "median"}, "standardise"] if missing else "standardise", because)


def guess_label(columns: Sequence[ColumnFacts]) -> str | None:
    """Return the column of labels: by its name, or the last that has few values and no gap."""
    fit = [c.name for c in columns if c.num_values and 2 <= c.num_values <= _MOST_CATEGORIES and not c.missing]
    return _guess_named(fit, _LABELS) or (fit[-1] if fit else None)


def guess_client(columns: Sequence[ColumnFacts], num_rows: int) -> str | None:
    """Return the column of clients: by its name, if its values repeat and none is missing."""
    fit = [c.name for c in columns if c.num_values and 2 <= c.num_values <= num_rows // 2 and not c.missing]
    return _guess_named(fit, _CLIENTS)


def guess_groups(columns: Sequence[ColumnFacts], roles: Mapping[str, str]) -> list[str]:
    """Return columns by which people are usually compared."""
    fit = [c.name for c in columns if c.name not in roles.values() and c.num_values and 2 <= c.num_values <= 10]
    return [name for name in fit if name.strip().lower() in _GROUPS]


def guess_spelling(path: Path, separator: str) -> dict[str, Any]:
    """Return how numbers in a text table are spelt, as parameters: `decimal: comma`, and `missing`."""
    seen: list[_Spelt] = []
    for cells in read_texts(path, separator):
        seen = seen or [_Spelt() for _ in cells]
        for one, column in zip(seen, cells, strict=True):
            one.add(column)
    numbers = [one for one in seen if one.is_number and one.has_number]
    missing = sorted({mark for one in numbers for mark in one.marks})
    commas = separator != "," and any(one.has_comma for one in numbers)
    return ({"decimal": "comma"} if commas else {}) | ({"missing": missing} if missing else {})


class _Spelt:
    """What was seen of a column: whether all of it are numbers, however they are spelt."""

    def __init__(self) -> None:
        self.is_number, self.has_number, self.has_comma = True, False, False
        self.marks: set[str] = set()

    def add(self, cells: Sequence[str]) -> None:
        if not self.is_number:
            return
        for cell in set(filter(None, cells)):
            if cell.strip().lower() in NO_VALUE:
                self.marks.add(cell)
            elif DECIMAL_COMMA.fullmatch(cell):
                self.has_comma = self.has_number = True
            elif read_numbers([cell]) is not None:
                self.has_number = True
            else:
                self.is_number = False
                return
