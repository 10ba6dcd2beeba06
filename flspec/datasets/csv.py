"""Tables of comma-separated values."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from flspec.core.locations import Location, locate_file, searching_below
from flspec.core.randomness import Stream
from flspec.data.column_types import type_cells
from flspec.data.csv_files import CsvColumns, read_columns, read_header, read_texts
from flspec.data.examples import Data
from flspec.data.raw_columns import Spelling, read_raw_columns
from flspec.data.readings import ColumnProfile, FileFacts, Reading, count_endings
from flspec.data.synthetic.twins import TwinSize, class_points, held_labels
from flspec.data.tables import Rows, combine
from flspec.data.text_files import opened_text
from flspec.datasets.base import Twinned
from flspec.datasets.encoded import RawFile
from flspec.datasets.guesses import guess_spelling
from flspec.datasets.table import TableColumns, unnamed_indices
from flspec.datasets.table_remarks import size_remarks, table_remarks
from flspec.datasets.text_remarks import remarks_on_column
from flspec.encodings import Column, Steps, takes_of
from flspec.errors import InputError

_SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t"}
_TWIN_CLASSES, _TWIN_FEATURES = 4, 8
_LONGEST_HEADER = 2**24  # characters


class CsvTable(Twinned, TableColumns):
    """A table in a text file with a header: `train.csv` and `test.csv`, or one file with a share of it for evaluation.

    Every cell of a feature must be a finite number, spelt in any way: `1`, `1.0`, `1e0`, `01`. Labels and other columns
    are text unless each number in them would be written again as it is: `01`, `1` and `E1` are three clients. An empty
    cell of such a column is missing. Rows with another number of cells, columns with the same name, and bytes that are
    not UTF-8 are errors, which name the line.
    """

    copies_while_read: ClassVar[float] = 2.2  # the table, and its parts once a test set is drawn
    kind: Literal["csv"] = "csv"
    file: Annotated[
        Location | None,
        Field(
            description="the training table, below the data root, beside the spec, or absolute; "
            "if absent, train.csv, or the only "
            ".csv, in csv/ or in the root; ${env:NAME} is replaced when it is read"
        ),
    ] = None
    test_file: Annotated[
        Location | None, Field(description="the table for evaluation; if absent, test.csv beside train.csv")
    ] = None
    separator: Annotated[Literal["comma", "semicolon", "tab"], Field(description="separator of the cells of a row")] = (
        "comma"
    )

    missing: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=64)], ...],
        Field(
            max_length=64,
            description="cells that mean that there is no value, as an empty one does",
            examples=[["NA", "?"]],
        ),
    ] = ()
    decimal: Annotated[Literal["point", "comma"], Field(description="mark of decimals in numbers: 1.5 or 1,5")] = (
        "point"
    )

    @model_validator(mode="after")
    def _one_source_of_test(self) -> CsvTable:
        if self.test_file and self.holdout:
            raise ValueError("test_file and holdout both define the test set; remove one")
        return self

    def read(self, root: Path, stream: Stream) -> Data:
        paths = self._paths(root)
        headers = {name: read_header(path, self._separator) for name, path in paths.items()}
        features = self._features(headers["train"], str(paths["train"]))
        columns = self.kept(headers["train"])
        tables: dict[str, CsvColumns] = {}
        for name, path in paths.items():
            there = columns if name == "train" else [column for column in columns if column in headers[name]]
            self.check_names(headers[name], str(path), [*features, self.label, *there])
            numbers = () if self.is_encoded else tuple(features)
            tables[name] = self._spelt(read_columns(path, self._separator, numbers, [self.label, *there]))
        client = self.client_in(headers["train"])
        for name, path in paths.items():
            _check_clients(tables[name], client, str(path))
        parts = {
            name: [Rows(str(path), self._inputs(table, str(path)), table.texts[self.label], typed)]
            for (name, path), table, typed in zip(paths.items(), tables.values(), _typed(tables, columns), strict=True)
        }
        if self.is_encoded:
            raw = self._raw(paths, features)
            with searching_below(root):
                return self.encoded(parts, raw, features, client, self.known_classes)
        data = combine(parts, self.draw, client_column=client, classes=self.known_classes)
        return replace(data, feature_names=tuple(features))

    def reading(self, root: Path) -> Reading:
        paths = self._paths(root)
        header = read_header(train := paths["train"], self._separator)
        beside = train.parent.glob(f"*{train.suffix}") if self.file is None else ()
        return Reading(
            columns=tuple(self.column_facts(header, unnamed_indices(header))),
            files_left_out=count_endings(path for path in beside if path not in paths.values()),
        )

    def suited_to(self, path: Path) -> CsvTable:
        """Return this data set with what nobody gave: separator, mark of decimals, cells that mean no value."""
        separator = self.separator if "separator" in self.model_fields_set else _separator_of(path)
        found = {"separator": separator} | guess_spelling(path, _SEPARATORS[separator])
        if separator == "comma" and "separator" not in self.model_fields_set:
            del found["separator"]
        return type(self).model_validate_json(json.dumps(found | self.model_dump(mode="json", exclude_unset=True)))

    def remarks(self, data: Data) -> list[str]:
        return list(table_remarks(data, self.features))

    def urgent_remarks(self, data: Data) -> list[str]:
        return list(size_remarks(data, self.features))

    def as_read_from(self, path: Path) -> dict[str, Any]:
        section = self.section_for(path)
        has_test = self.test_file or (path.name == "train.csv" and path.with_name("test.csv").is_file())
        return {key: value for key, value in section.items() if key != "holdout" or self.holdout or not has_test}

    def file_facts(self, path: Path) -> FileFacts:
        header = read_header(path, self._separator)
        roles = self.column_facts(header, unnamed_indices(header))
        takes = {name: takes_of(steps) for name, steps in self.feature_columns(header, unnamed_indices(header)).items()}
        profiles = [
            ColumnProfile(one.role in ("feature", "left out") and takes.get(one.name, "numbers") == "numbers")
            for one in roles
        ]
        plain = self._spelling.plain if self._spelling != Spelling() else None
        for cells in read_texts(path, self._separator):
            for profile, column in zip(profiles, cells, strict=True):
                profile.add(column if plain is None else list(map(plain, column)))
        columns = [profile.facts(one.name, one.role, one.why) for profile, one in zip(profiles, roles, strict=True)]
        labels = None
        if self.label in header:
            labels = read_columns(path, self._separator, (), [self.label]).texts[self.label]
        has_texts = self.text is not None and self.text[0] in header
        with searching_below(path.parent):
            texts = list(remarks_on_column(self.text if has_texts else None, lambda name: self._texts(path, name)))
        num_rows = profiles[0].num_rows
        return self.facts_of(path, num_rows, columns, labels, self.problems(columns, num_rows), texts)

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
    def is_encoded(self) -> bool:
        return super().is_encoded or self._spelling != Spelling()

    @property
    def _spelling(self) -> Spelling:
        return Spelling(frozenset(self.missing), self.decimal == "comma")

    def _spelt(self, table: CsvColumns) -> CsvColumns:
        """Return columns of text with missing cells and decimals as Python reads them, but labels as they are."""
        texts = {
            name: cells if name == self.label else self._spelling.cells(cells) for name, cells in table.texts.items()
        }
        return replace(table, texts=texts)

    def _inputs(self, table: CsvColumns, source: str) -> NDArray[np.float32]:
        return table.features if self.is_encoded else self.shaped(table.features, source)

    def _raw(self, paths: Mapping[str, Path], features: Mapping[str, Steps]) -> dict[str, Sequence[RawFile]]:
        takes = {name: takes_of(steps) for name, steps in features.items()}
        found = {split: read_raw_columns(path, self._separator, takes, self._spelling) for split, path in paths.items()}
        return {
            split: [RawFile(str(paths[split]), raw.num_rows, raw.values, raw.wrong)] for split, raw in found.items()
        }

    def _texts(self, path: Path, name: str) -> Column:
        return read_raw_columns(path, self._separator, {name: "texts"}, self._spelling).values[name]

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

    def _features(self, header: Sequence[str], source: str) -> dict[str, Steps]:
        features = self.feature_columns(header, unnamed_indices(header))
        if self.features is not None or (features and len(header) > 1):
            return features
        raise InputError(f"{source}: no column is left for features; is {self.separator} the separator of its cells?")


def _separator_of(path: Path) -> str:
    """Return the separator that divides a table's header into most columns."""
    with opened_text(path) as text:
        line = text.readline(_LONGEST_HEADER)
    counts = {name: len(next(csv.reader([line], delimiter=mark), [])) for name, mark in _SEPARATORS.items()}
    return max(counts, key=lambda name: counts[name])


def _typed(tables: Mapping[str, CsvColumns], columns: Sequence[str]) -> list[dict[str, NDArray[Any]]]:
    """Return the columns to keep of each file. A column has one type over all files."""
    typed: list[dict[str, NDArray[Any]]] = [{} for _ in tables]
    for name in columns:
        having = [(number, table.texts[name]) for number, table in enumerate(tables.values()) if name in table.texts]
        for (number, _), values in zip(having, type_cells([cells for _, cells in having]), strict=True):
            typed[number][name] = values
    return typed


def _check_clients(table: CsvColumns, client: str | None, source: str) -> None:
    if client in table.texts and (row := table.texts[client].first_row("")) is not None:
        raise InputError(f"{source}: row {row + 1}: column {client} is empty; every example needs a client")
