"""What each client measured in each round, from the table beside a run's result, a row at a time."""

from __future__ import annotations

import csv
import io
import math
import warnings
from collections.abc import Iterator
from pathlib import Path

from flspec.core.reading import open_regular
from flspec.errors import InputError, RunWarning, shorten
from flspec.protocol.records import Result

__all__ = ["client_values"]

_MOST_BYTES = 2**40  # of a file, which is read line by line
_TEXTS = ("name", "dropped")  # columns that are no values


def client_values(folder: Path, result: Result) -> Iterator[tuple[int, int, str, float | None]]:
    """Yield round, client, metric and value for each value that a run's engine told of a single client.

    The value is None where it is not finite.
    Raises InputError, with the line, for what is no such table. Warns where the result names one that is not there.
    """
    if result.clients is None or result.clients.path is None:
        return
    path = folder / Path(result.clients.path).name  # a result from elsewhere must not have other files read
    if not path.exists():
        warnings.warn(f"{path} is missing; values of single clients are left out", RunWarning, stacklevel=2)
        return
    with io.TextIOWrapper(open_regular(path, _MOST_BYTES), encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        try:
            columns = next(rows, [])
            for row in rows:
                yield from _values(dict(zip(columns, row, strict=True)))
        except (csv.Error, ValueError, KeyError) as error:
            why = shorten(str(error))
            raise InputError(f"{path}:{rows.line_num}: not a row of {', '.join(columns[:3])}, …: {why}") from None


def _values(row: dict[str, str]) -> Iterator[tuple[int, int, str, float | None]]:
    number, client = int(row.pop("round")), int(row.pop("client"))
    for metric, text in row.items():
        if metric not in _TEXTS and text:
            value = float(text)
            yield number, client, metric, value if math.isfinite(value) else None
