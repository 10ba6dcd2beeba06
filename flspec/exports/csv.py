"""The long table as comma-separated values."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from typing import IO, Any

from flspec.exports.base import LongTable
from flspec.measurements import Measurements

__all__ = ["Csv"]


class Csv(LongTable):
    """UTF-8, a header, lines ended by a line feed, numbers with all their digits, no value as an empty cell.

    Lists in axes are JSON.
    """

    def write_rows(self, measured: Measurements, rows: Iterator[tuple[Any, ...]], file: IO[Any]) -> None:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(measured.columns)
        writer.writerows(map(_cells, rows))


def _cells(row: tuple[Any, ...]) -> list[Any]:
    return [json.dumps(cell) if isinstance(cell, bool | list | dict) else cell for cell in row]
