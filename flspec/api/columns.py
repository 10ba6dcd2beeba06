"""Columns of a table that a caller has in memory, as the encodings of a plan take them: spelt as the file has them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.data.cell_numbers import why_no_number
from flspec.data.column_types import Cells
from flspec.data.raw_columns import Spelling
from flspec.encodings import Column, Steps, Unencodable, takes_of
from flspec.errors import shorten

__all__ = ["as_columns", "as_texts", "is_no_value", "raw_column"]

_GIVE_TEXT = "give the column as text, as the file has it"


def as_columns(x: Any) -> Mapping[str, Any] | None:
    """Return columns by name: of a mapping, a frame as of pandas, or a list of rows by name; None if x is none."""
    if isinstance(x, Mapping):
        return x
    if hasattr(x, "columns") and hasattr(x, "__getitem__"):
        return {str(name): x[name] for name in x.columns}
    if isinstance(x, Sequence) and x and all(isinstance(row, Mapping) for row in x):
        return {name: [row.get(name) for row in x] for name in dict.fromkeys(name for row in x for name in row)}
    return None


def as_texts(x: Any) -> list[str] | None:
    """Return a list of texts, in whatever they come; None if x is none."""
    kind = getattr(getattr(x, "dtype", None), "kind", None)
    values = np.asarray(x).tolist() if kind in ("O", "U", "T") else x
    are_texts = isinstance(values, list | tuple) and values and all(isinstance(value, str) for value in values)
    return list(values) if are_texts else None


def raw_column(values: Any, steps: Steps, spelling: Spelling) -> Column:
    """Return a column before it is encoded. Raises Unencodable for a value that cannot be what is needed."""
    array = np.asarray(values)
    if takes_of(steps) == "numbers":
        return _numbers(array, spelling)
    known = {text for step in steps for name in ("categories", "order") for text in getattr(step, name, None) or ()}
    return Cells.of(list(_texts(array, spelling, known)))


def _numbers(array: NDArray[Any], spelling: Spelling) -> NDArray[np.float64]:
    """Return numbers [num_rows, num_values], NaN where there is no value."""
    if array.dtype.kind not in "biuf":
        array = np.array([_number(value, row, spelling) for row, value in enumerate(array.tolist())], np.float64)
    numbers = array.astype(np.float64).reshape(len(array), -1)
    if (wrong := np.isinf(numbers).any(axis=1)).any():
        raise Unencodable("it is not finite", "give a number, or None for no value", int(wrong.argmax()))
    return numbers


def _number(value: Any, row: int, spelling: Spelling) -> float:
    if is_no_value(value):
        return math.nan
    plain = spelling.plain(value) if isinstance(value, str) else str(value)
    if plain and (why := why_no_number(plain)):
        raise Unencodable(why, "give a number, or None for no value", row)
    return float(plain) if plain else math.nan


def _texts(array: NDArray[Any], spelling: Spelling, known: Collection[str]) -> Iterator[str]:
    for row, value in enumerate(array.astype(object).tolist()):
        if isinstance(value, str):
            yield spelling.plain(value)
        elif is_no_value(value):
            yield ""
        else:
            yield _spelt(value, row, known)


def _spelt(value: Any, row: int, known: Collection[str]) -> str:
    """Return the text of a number. Readers of files make numbers of texts, and 01 or 1.0 would then be another one."""
    spelt = [str(value), str(value).lower()]
    if isinstance(value, int | float) and float(value).is_integer():
        spelt += [f"{value:.0f}", repr(float(value))]
    found = next((text for text in spelt if text in known), None)
    if found is None and known:
        raise Unencodable(f"{shorten(repr(value), 40)} is spelt as no category that was learned", _GIVE_TEXT, row)
    return found or spelt[0]


def is_no_value(value: Any) -> bool:
    """Return whether a cell of a frame or a list stands for no value."""
    is_nan = isinstance(value, float) and math.isnan(value)
    return value is None or is_nan or type(value).__name__ in ("NAType", "NaTType")  # the last two are pandas'
