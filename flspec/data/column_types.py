"""What the cells of a text table mean: whole numbers, numbers or text.

A column is numbers only if every cell survives being read and written again, unchanged. `01`, `1.50`, `1e5`, `+1`,
`nan` and whole numbers beyond 64 bits do not, so a column with one of them is text, and what differs in the file stays
apart. An empty cell is missing. It decides nothing: the column has the type of its other cells.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.data.examples import MISSING_INTEGER, as_numbers
from flspec.errors import shorten

__all__ = ["Cells", "as_integers", "common_type", "is_whole", "type_cells", "why_text"]

_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,18}")


@dataclass(frozen=True, eq=False)
class Cells:
    """A column of text, each different text once."""

    distinct: Sequence[str]
    codes: NDArray[np.int64]  # [num_rows], the position of each row's text

    def __len__(self) -> int:
        return len(self.codes)

    def counts(self) -> list[int]:
        """Return in how many rows each text is."""
        return [int(num) for num in np.bincount(self.codes, minlength=len(self.distinct))]

    def first_row(self, text: str) -> int | None:
        """Return the first row with this text, from 0, or None."""
        if text not in self.distinct:
            return None
        return int((self.codes == self.distinct.index(text)).argmax())

    @classmethod
    def of(cls, values: NDArray[Any] | Iterable[str]) -> Cells:
        """Return texts as cells; numbers are written as Python writes them, and missing ones as empty."""
        if isinstance(values, np.ndarray) and values.dtype.kind != "O":
            distinct, codes = np.unique(values, return_inverse=True)
            return cls([_written(value) for value in distinct.tolist()], codes.reshape(-1).astype(np.int64))
        number: dict[str, int] = {}
        codes = np.array([number.setdefault(text, len(number)) for text in values], np.int64)
        return cls(list(number), codes)


def type_cells(files: Sequence[Cells]) -> list[NDArray[Any]]:
    """Convert one column of several files to one type: int64, float64 or text. See the module.

    A missing cell is `MISSING_INTEGER`, NaN or an empty text.
    """
    known = {text for cells in files for text in cells.distinct} - {""}
    if known and all(map(is_whole, known)):
        return [_converted(cells, int, MISSING_INTEGER, np.int64) for cells in files]
    if known and all(map(_is_float, known)):
        return [_converted(cells, float, np.nan, np.float64) for cells in files]
    return [np.array(cells.distinct or [""], np.str_)[cells.codes] for cells in files]


def as_integers(values: NDArray[Any]) -> NDArray[Any]:
    """Return whole numbers as int64; or as text if one of them is too large, as it would be in a text table."""
    if len(values) and int(values.max()) >= MISSING_INTEGER:
        return values.astype(np.str_)
    return values.astype(np.int64)


def common_type(arrays: Sequence[NDArray[Any]]) -> list[NDArray[Any]] | None:
    """Return one column of several files in one type, or None if it is text in some of them and numbers in others.

    Whole numbers are text where another file has text. Those that one file stores as floating point, as pandas does
    where one is missing, are whole numbers.
    """
    kinds = {values.dtype.kind for values in arrays}
    if len(kinds) == 1:
        return list(arrays)
    if "U" in kinds:
        return None if "f" in kinds else [_as_text(values) for values in arrays]
    whole = [values if values.dtype.kind == "i" else _as_whole(values) for values in arrays]
    if all(values is not None for values in whole):
        return [values for values in whole if values is not None]
    return [as_numbers(values) for values in arrays]


def why_text(texts: Iterable[str]) -> str | None:
    """Return why a column with these cells is text, or None if it is numbers."""
    known = [text for text in texts if text]
    if not known:
        return "every cell is empty"
    if all(map(is_whole, known)) or all(map(_is_float, known)):
        return None
    for text in known:
        if not is_whole(text) and not _is_float(text):
            return f"{_quoted(text)} {_not_a_number(text)}"
    whole, fraction = (next(filter(of, known)) for of in (is_whole, _is_float))
    return f"{_quoted(whole)} has no decimal point, but {_quoted(fraction)} has one"


def is_whole(text: str) -> bool:
    """Return whether a text is a whole number of 64 bits that is written again in the same way."""
    return bool(_WHOLE.fullmatch(text)) and -MISSING_INTEGER < int(text) < MISSING_INTEGER


def _is_float(text: str) -> bool:
    """Return whether a text is a finite number that Python writes again in the same way. -0.0 would equal 0.0."""
    try:
        return any(map(str.isdigit, text)) and text != "-0.0" and repr(float(text)) == text
    except ValueError:
        return False


def _as_text(values: NDArray[Any]) -> NDArray[np.str_]:
    return values if values.dtype.kind == "U" else np.where(values == MISSING_INTEGER, "", values.astype(np.str_))


def _as_whole(values: NDArray[Any]) -> NDArray[np.int64] | None:
    """Return floating point numbers as int64 if all are whole and exact, else None."""
    missing = np.isnan(values)
    whole = np.where(missing, 0.0, values)
    if not ((whole == np.round(whole)) & (np.abs(whole) <= 2.0**53)).all():
        return None
    return np.where(missing, MISSING_INTEGER, whole.astype(np.int64))


def _converted(cells: Cells, read: type[int] | type[float], missing: float, dtype: type[Any]) -> NDArray[Any]:
    values = [read(text) if text else missing for text in cells.distinct]
    return np.array(values or [missing], dtype)[cells.codes]


def _not_a_number(text: str) -> str:
    try:
        value = float(text if text.isascii() and "_" not in text else "no number")
    except ValueError:
        return "is no number"
    if not math.isfinite(value):
        return "is no finite number"
    again = str(int(text)) if re.fullmatch(r"\s*[+-]?[0-9]{1,300}\s*", text) else repr(value)
    return "is too long for a 64-bit integer" if again == text else f"would be written back as {_quoted(again)}"


def _written(value: Any) -> str:
    is_missing = value == MISSING_INTEGER or (isinstance(value, float) and math.isnan(value))
    return "" if is_missing else str(value)


def _quoted(text: str) -> str:
    return ascii(shorten(text, 30))
