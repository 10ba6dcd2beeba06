"""Data sets of tables whose columns are encoded. What is fitted needs the training rows, so these are drawn before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from flspec.data.cell_numbers import way_out
from flspec.data.classes import Classes
from flspec.data.examples import Data
from flspec.data.tables import Draw, Rows, assemble, data_of
from flspec.encodings import Column, Steps
from flspec.encodings.table import encode_table, joined
from flspec.errors import shorten

__all__ = ["RawFile", "encoded_data"]


@dataclass(frozen=True, eq=False)
class RawFile:
    """The columns of one file before they are encoded."""

    source: str  # name in messages
    num_rows: int
    columns: Mapping[str, Column]  # those that could be read
    wrong: Mapping[str, tuple[int, str, str]] = field(default_factory=dict)  # others: a row from 0, why, its cell


def encoded_data(
    parts: Mapping[str, Sequence[Rows]],
    raw: Mapping[str, Sequence[RawFile]],
    wanted: Mapping[str, Steps],
    shaped: Callable[[NDArray[np.float32], str], NDArray[np.float32]],
    draw: Draw | None,
    client: str | None,
    classes: Classes | None,
) -> Data:
    """Return a data set whose features are encoded columns; `parts` have labels and columns of the same files."""
    files = [file for of_split in raw.values() for file in of_split]
    problems = [_problem(file, name) for file in files for name in file.wrong]
    good = [name for name in wanted if not any(name in file.wrong for file in files)]
    made = assemble(_numbered(parts), draw, classes=classes)
    rows = {name: split.features[:, 0].astype(np.int64) for name, split in made.splits.items()}
    columns = {name: joined([file.columns[name] for file in files]) for name in good}
    encoded = encode_table(columns, wanted, rows, _Place(files), problems)
    splits = {
        name: replace(split, features=shaped(encoded.features[name], files[0].source))
        for name, split in made.splits.items()
    }
    data = data_of(replace(made, splits=splits), client)
    return replace(data, encodings=encoded.fitted, feature_names=encoded.names, tokens=encoded.tokens)


def _numbered(parts: Mapping[str, Sequence[Rows]]) -> dict[str, list[Rows]]:
    """Return files whose only feature is the number of each row, counted over all files."""
    numbered: dict[str, list[Rows]] = {}
    start = 0
    for split, files in parts.items():
        numbered[split] = []
        for rows in files:
            numbers = np.arange(start, start + len(rows), dtype=np.int64)[:, np.newaxis]
            numbered[split].append(replace(rows, features=numbers))
            start += len(rows)
    return numbered


class _Place:
    """The name of a row, counted over all files, in messages; -1 is all of the first file."""

    def __init__(self, files: Sequence[RawFile]) -> None:
        self._files, self._ends = files, np.cumsum([file.num_rows for file in files])

    def __call__(self, row: int) -> str:
        if row < 0:
            return self._files[0].source
        number = int(np.searchsorted(self._ends, row, side="right"))
        start = int(self._ends[number - 1]) if number else 0
        return f"{self._files[number].source}: row {row - start + 1}"


def _problem(file: RawFile, name: str) -> str:
    row, why, cell = file.wrong[name]
    return f"{file.source}: row {row + 1}: column {shorten(name)}: {why}; {way_out(cell, name, others=False)}"
