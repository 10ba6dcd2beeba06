"""Cells of text that a model gets as numbers: spelt in any way that Python reads, in ASCII and without underscores."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.core.text import in_flow
from flspec.errors import shorten

__all__ = ["NO_VALUE", "read_numbers", "way_out", "why_no_number"]

NO_VALUE = {"na", "n/a", "nan", "null", "none", "?", "-", "--", ".", "missing", "unknown", "nil"}  # as others write it
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9.]*[0-9],[0-9]+")


def read_numbers(cells: Sequence[str]) -> NDArray[np.float32] | None:
    """Return cells as numbers, or None if one of them is no finite float32 number."""
    text = "".join(cells)
    if not text.isascii() or "_" in text:  # which Python would take for digits
        return None
    try:
        with np.errstate(over="ignore"):
            values = np.fromiter(map(float, cells), np.float64, len(cells)).astype(np.float32)
    except ValueError:
        return None
    return values if np.isfinite(values).all() else None


def why_no_number(cell: str) -> str | None:
    """Return why a cell is no finite float32 number, or None if it is one."""
    try:
        value = float(cell) if cell.isascii() and "_" not in cell else None
    except ValueError:
        value = None
    if value is None:
        return f"{shorten(repr(cell), 60)} is no number"
    with np.errstate(over="ignore"):
        return None if np.isfinite(np.float32(value)) else f"{value} is not a finite float32 number"


def way_out(cell: str, column: str, others: bool = True) -> str:
    """Return what to do about a cell of a feature that is no number; `others`: the spec does not name the features."""
    if not cell:
        return f"impute it: {_line(column, {'impute': 'median'}, others)}, or leave the row out"
    if _DECIMAL_COMMA.fullmatch(cell):
        return "set dataset.decimal: comma, or write decimals with a point"
    if cell.strip().lower() in NO_VALUE:
        given = _line(column, {"impute": "median"}, others)
        return f"if it means that there is no value, set dataset.missing: {in_flow([cell])} and {given}"
    return f"correct it, encode the column: {_line(column, 'one_hot', others)}, or leave it out of dataset.features"


def _line(column: str, encoding: Any, others: bool) -> str:
    return f"features: {in_flow({shorten(column): encoding} | ({'*': 'as_is'} if others else {}))}"
