"""What each client measured when it last trained, from the run's own table of clients.

The long table has all of it; here a table of millions of rows is looked through for one row a client.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flspec.core.reading import open_regular
from flspec.errors import InputError
from flspec.runs.result import Result

__all__ = ["LastValues", "last_values"]

_MOST_BYTES = 2**30
_OTHERS = ("round", "client", "name", "examples", "trained", "seconds", "update_norm", "dropped")


@dataclass(frozen=True)
class LastValues:
    """By client: its values in the last round in which it trained, by column."""

    metrics: tuple[str, ...]  # columns that are training metrics
    last: Mapping[int, Mapping[str, float]]
    problem: str = ""  # why there are none


def last_values(folder: Path, result: Result) -> LastValues:
    """Read a run's table of clients; what cannot be read is the problem, in words."""
    rows = result.clients
    if rows is None or rows.path is None:
        return LastValues((), {}, rows.note or "" if rows else "")
    if rows.path != Path(rows.path).name:
        return LastValues((), {}, "the result names a table of clients outside of its folder")
    try:
        with open_regular(folder / rows.path, _MOST_BYTES) as file:
            return _read(csv.reader(io.TextIOWrapper(file, "utf-8", "replace", newline="")))
    except (InputError, OSError, ValueError, csv.Error) as error:
        return LastValues((), {}, f"the table of clients cannot be read: {error}")


def _read(table: Iterator[list[str]]) -> LastValues:
    columns = next(table, [])
    metrics = tuple(name for name in columns if name not in _OTHERS)
    client, places = columns.index("client"), [columns.index(name) for name in metrics]
    last: dict[int, list[str]] = {}
    for row in table:  # there may be millions, so numbers are read of the last ones alone
        if len(row) == len(columns) and any(row[place] for place in places):
            last[int(row[client])] = row
    return LastValues(metrics, {one: dict(_numbers(columns, row)) for one, row in last.items()})


def _numbers(columns: Sequence[str], row: Sequence[str]) -> Iterator[tuple[str, float]]:
    for name, text in zip(columns, row, strict=True):
        if name not in ("client", "name", "dropped") and text and not math.isnan(value := float(text)):
            yield name, value
