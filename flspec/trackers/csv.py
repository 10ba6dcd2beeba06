"""A table of all measured values, for spreadsheets and data frames."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from flspec.protocol.plan import Plan
from flspec.protocol.records import RoundRecord
from flspec.trackers.base import Tracker

__all__ = ["Csv"]


class Csv(Tracker):
    """Writes `rounds.csv` into the run's folder: one value a row, as round, split, metric, value.

    `split` is `train` for what is measured during training, else the set of examples as in `result.json`. An undefined
    value has no row. Numbers are written with all their digits.
    """

    name: ClassVar[str] = "csv"

    def start(self, plan: Plan, folder: Path) -> None:
        self._path = folder / "rounds.csv"
        self._write("w", [("round", "split", "metric", "value")])

    def round(self, record: RoundRecord) -> None:
        self._write("a", _rows(record))

    def _write(self, mode: str, rows: Iterator[tuple[object, ...]] | list[tuple[object, ...]]) -> None:
        with self._path.open(mode, encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)


def _rows(record: RoundRecord) -> Iterator[tuple[object, ...]]:
    for split, values in {"train": record.train, **(record.evaluation or {})}.items():
        for metric, value in values.items():
            yield record.round, split, metric, repr(value)
