"""Tables of comma-separated values."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from flspec.core.locations import Location, locate_file
from flspec.core.randomness import Stream
from flspec.data.examples import Data
from flspec.data.synthetic.twins import TwinSize, class_points, held_labels
from flspec.data.tables import MOST_VALUES, Rows, as_float32, check_text, combine, type_cells
from flspec.datasets.base import Twinned
from flspec.datasets.table import TableColumns
from flspec.errors import InputError, shorten

_MOST_CHARACTERS = 2**24  # of one row
_MOST_COLUMNS = 100_000
_AT_ONCE = 4096  # rows
_SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t"}
_TWIN_CLASSES, _TWIN_FEATURES = 4, 8


class CsvTable(Twinned, TableColumns):
    """A table in a text file with a header: `train.csv` and `test.csv`, or one file with a share of it for evaluation.

    Every cell of a feature must be a finite number. Rows with another number of cells, columns with the same name, and
    bytes that are not UTF-8 are errors, which name the row.
    """

    kind: Literal["csv"] = "csv"
    file: Annotated[
        Location | None,
        Field(
            description="the training table, below the data root or absolute; if absent, train.csv, or the only "
            ".csv, in csv/ or in the root; ${env:NAME} is replaced when it is read"
        ),
    ] = None
    test_file: Annotated[
        Location | None, Field(description="the table for evaluation; if absent, test.csv beside train.csv")
    ] = None
    separator: Annotated[Literal["comma", "semicolon", "tab"], Field(description="separator of the cells of a row")] = (
        "comma"
    )

    @model_validator(mode="after")
    def _one_source_of_test(self) -> CsvTable:
        if self.test_file and self.holdout:
            raise ValueError("test_file and holdout both define the test set; remove one")
        return self

    def read(self, root: Path, stream: Stream) -> Data:
        paths = self._paths(root)
        headers = {name: _header(path, self._separator) for name, path in paths.items()}
        features = self._features(headers["train"], str(paths["train"]))
        columns = self.kept(headers["train"])
        tables = []
        for name, path in paths.items():
            there = columns if name == "train" else [column for column in columns if column in headers[name]]
            self.check_names(headers[name], str(path), [*features, self.label, *there])
            tables.append(_read(path, self._separator, features, [self.label, *there]))
        client = self.client_in(headers["train"])
        _check_clients(tables, client)
        rows = [
            Rows(table.source, self.shaped(table.features, table.source), labels, columns)
            for table, labels, columns in zip(tables, *_typed(tables, self.label, columns), strict=True)
        ]
        parts = {name: [one] for name, one in zip(paths, rows, strict=True)}
        return combine(parts, stream, self.holdout, client_column=client)

    @classmethod
    def write_twin(cls, folder: Path, size: TwinSize, stream: Stream) -> None:
        """Write train.csv and test.csv. Every fifth example is for evaluation."""
        holders, labels = held_labels(size.clients, size.examples, _TWIN_CLASSES, stream)
        points = class_points(labels, _TWIN_CLASSES, _TWIN_FEATURES, stream)
        header = ["client", *(f"x{number}" for number in range(_TWIN_FEATURES)), "label"]
        is_test = np.arange(len(labels)) % 5 == 4
        for name, chosen in (("train", ~is_test), ("test", is_test)):
            with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
                table = csv.writer(file, lineterminator="\n")
                table.writerow(header)
                for holder, point, label in zip(holders[chosen], points[chosen], labels[chosen], strict=True):
                    table.writerow([f"client-{holder}", *point.tolist(), int(label)])

    @property
    def _separator(self) -> str:
        return _SEPARATORS[self.separator]

    def _paths(self, root: Path) -> dict[str, Path]:
        train = locate_file(self.file, root, "dataset.file") if self.file else self._found(root)
        if self.test_file:
            return {"train": train, "test": locate_file(self.test_file, root, "dataset.test_file")}
        if self.holdout:
            return {"train": train}
        if train.name == "train.csv" and (test := train.with_name("test.csv")).is_file():
            return {"train": train, "test": test}
        raise InputError(
            f"dataset: no table for evaluation beside {train}; name it with dataset.test_file, or give the share of "
            "the rows to use with dataset.holdout, e.g. 0.2"
        )

    def _found(self, root: Path) -> Path:
        for folder in (places := self.places(root)):
            if (train := folder / "train.csv").is_file():
                return train
            if len(every := sorted(folder.glob("*.csv"))) == 1:
                return every[0]
        raise InputError(
            f"dataset: neither train.csv nor a single .csv is in {' or '.join(map(str, places))}; name the table with "
            "dataset.file, --data-root or FLSPEC_DATA"
        )

    def _features(self, header: Sequence[str], source: str) -> list[str]:
        if self.features is not None:
            return list(self.features)
        others = {self.label, *self.kept(header)}
        features = [name for name in header if name not in others]
        if features and len(header) > 1:
            return features
        raise InputError(f"{source}: no column is left for features; is {self.separator} the separator of its cells?")


# ------------------------------------------------------------------------------------------------------------- reading


@dataclass(frozen=True, eq=False)
class _Table:
    """Content of one file."""

    source: str
    features: NDArray[np.float32]  # [num_rows, num_features]
    cells: dict[str, list[str]]  # of each other column, as text


def _header(path: Path, separator: str) -> list[str]:
    """Read the names of a file's columns."""
    header = next(_rows(path, separator), [])
    for number, name in enumerate(header, start=1):
        if not name:
            raise InputError(f"{path}: column {number} has no name in the header; give it one, or leave it out")
        if header.index(name) != number - 1:
            raise InputError(
                f"{path}: the header names {shorten(name)!r} twice, columns {header.index(name) + 1} and {number}"
            )
        check_text(name, f"{path}: column {number}")
    if not header:
        raise InputError(f"{path}: empty; the first row names the columns")
    return header


def _read(path: Path, separator: str, features: Sequence[str], others: Sequence[str]) -> _Table:
    """Read a file's features, and its other columns as text."""
    rows = _rows(path, separator)
    header, source = next(rows), str(path)
    where, beside = [header.index(name) for name in features], {name: header.index(name) for name in others}
    cells: dict[str, list[str]] = {name: [] for name in others}
    seen: dict[str, str] = {}  # equal texts share one object
    parts, count = [], 0
    while chunk := list(islice(rows, _AT_ONCE)):
        for number, row in enumerate(chunk, start=count + 1):
            if len(row) != len(header):
                raise InputError(f"{source}: row {number}: {len(row)} cells, but the header names {len(header)}")
            for name, position in beside.items():
                cells[name].append(seen.setdefault(row[position], row[position]))
        parts.append(_numbers(chunk, where, features, source, count))
        count += len(chunk)
        if count * len(features) > MOST_VALUES:
            raise InputError(f"{source}: more than {MOST_VALUES:,} numbers; name fewer columns with dataset.features")
    if not count:
        raise InputError(f"{source}: no rows below its header")
    for name, position in beside.items():
        for text in set(cells[name]):
            check_text(text, f"{source}: column {header[position]}")
    return _Table(source, np.concatenate(parts), cells)


def _numbers(
    rows: Sequence[Sequence[str]], where: Sequence[int], names: Sequence[str], source: str, first: int
) -> NDArray[np.float32]:
    """Convert the features of some rows. Refuses 1_000 and digits of other scripts, which Python reads as numbers."""
    picked = [[row[position] for position in where] for row in rows]
    try:
        text = "".join(map("".join, picked))
        if not text.isascii() or "_" in text:
            raise ValueError
        values = np.array([list(map(float, row)) for row in picked])
    except ValueError:
        raise _wrong_cell(picked, names, source, first) from None
    return as_float32(values, names, source, first)


def _wrong_cell(rows: Sequence[Sequence[str]], names: Sequence[str], source: str, first: int) -> InputError:
    for number, row in enumerate(rows, start=first + 1):
        for name, cell in zip(names, row, strict=True):
            try:
                is_number = cell.isascii() and "_" not in cell and float(cell) is not None
            except ValueError:
                is_number = False
            if not is_number:
                return InputError(
                    f"{source}: row {number}: column {shorten(name)}: {shorten(repr(cell), 60)} is no number; fix it, "
                    "or leave the column out of dataset.features"
                )
    raise AssertionError("no cell is wrong")


def _rows(path: Path, separator: str) -> Iterator[list[str]]:
    """Yield the rows of a file, its header first. Empty lines at its end do not count."""
    used = 0

    def lines() -> Iterator[str]:
        nonlocal used
        with path.open(encoding="utf-8-sig", newline="") as file:
            while line := file.readline(_MOST_CHARACTERS + 1):
                used += len(line)
                if used > _MOST_CHARACTERS:
                    raise InputError(f"{path}: a row is longer than {_MOST_CHARACTERS:,} characters; is it a table?")
                yield line

    number, empty = 0, 0
    try:
        for number, row in enumerate(csv.reader(lines(), delimiter=separator, strict=True)):
            used = 0
            if not row:
                empty = empty or number
                continue
            if empty:
                raise InputError(f"{path}: row {empty}: empty, with rows below it; remove it")
            if len(row) > _MOST_COLUMNS:
                raise InputError(f"{path}: more than {_MOST_COLUMNS:,} columns; is it a table?")
            yield row
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 below row {number}; save it as UTF-8") from None
    except csv.Error as error:
        raise InputError(f"{path}: below row {number}: {error}") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{path}: cannot be read: {reason}") from None


def _typed(
    tables: Sequence[_Table], label: str, kept: Sequence[str]
) -> tuple[list[NDArray[np.generic]], list[dict[str, NDArray[np.generic]]]]:
    """Return the labels of each file and its columns. A column has one type over all files."""
    columns: list[dict[str, NDArray[np.generic]]] = [{} for _ in tables]
    for name in kept:
        there = [number for number, table in enumerate(tables) if name in table.cells]
        for number, values in zip(there, type_cells([tables[number].cells[name] for number in there]), strict=True):
            columns[number][name] = values
    return type_cells([table.cells[label] for table in tables]), columns


def _check_clients(tables: Sequence[_Table], client: str | None) -> None:
    for table in tables:
        if client in table.cells and "" in table.cells[client]:
            row = table.cells[client].index("") + 1
            raise InputError(f"{table.source}: row {row}: column {client} is empty; every example needs a client")
