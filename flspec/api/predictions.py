"""Predictions of a run's model for files: the pictures of a folder, or the rows of a table.

A file is read as the data set of the plan reads its own: pictures decoded to its size and colours, cells spelt as its
spec says. Examples go through the model some at a time, so a table of any length needs little memory beside its own.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from flspec.api.models import Model
from flspec.core.components import parse_component
from flspec.core.reading import read_regular
from flspec.data.csv_files import read_columns, read_header, read_rows
from flspec.data.images import Decoding, UnreadableImage, decode, silence_decoder
from flspec.data.store import open_data
from flspec.datasets import Dataset
from flspec.datasets.image_folder import is_picture
from flspec.datasets.pictures import PictureDataset
from flspec.datasets.table import TableColumns, unnamed_indices
from flspec.errors import InputError, printable, shorten
from flspec.execution.parts import sample_of
from flspec.metrics import Undefined

__all__ = ["write_predictions"]

_PICTURES_AT_ONCE, _ROWS_AT_ONCE = 256, 4096
_MOST_BYTES = 2**28  # of a picture
_SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t"}
_PLACE = re.compile(r"x\[('(?:[^'\\]|\\.)*'|\"[^\"]*\")\](?:\[(\d+)\])?")  # of a value in a message

_Batch = tuple[Sequence[str], Any]  # names, and what a model takes


def write_predictions(model: Model, path: Path, file: TextIO) -> int:
    """Write a table of predictions as CSV, and return how many there are.

    Its columns are `file`, below the folder, or `row`, from 1; `predicted`, the class by its name, or the labels with
    a | between; and `p(CLASS)` for each class, unless the outputs are no probabilities. Raises InputError, which names
    the file, and the row or the picture, for what cannot be read.
    """
    if sample_of(model.plan):
        raise InputError("predict: the model makes pictures and predicts nothing")
    table = csv.writer(file, lineterminator="\n")
    is_table, batches = path.is_file() and not is_picture(path), _batches(model, path)
    num = 0
    for names, x in batches:
        try:
            predicted, probabilities = _predicted(model, x)
        except InputError as error:
            raise InputError(_located(str(error), path, num)) from None
        if not num:
            classes = [] if probabilities is None else [f"p({name})" for name in model.classes]
            table.writerow(["row" if is_table else "file", "predicted", *classes])
        values = np.zeros((len(names), 0)) if probabilities is None else probabilities
        rows = zip(names, predicted, values.tolist(), strict=True)
        table.writerows([name, one, *numbers] for name, one, numbers in rows)
        num += len(names)
    return num


def _batches(model: Model, path: Path) -> Iterator[_Batch]:
    dataset = parse_component(Dataset, dict(model.plan.spec["dataset"]))
    if path.is_dir() or is_picture(path):
        return _pictures(_decoding(model, dataset), path)
    if not path.is_file():
        raise InputError(f"{path} does not exist; name a folder of pictures, or a table")
    if not isinstance(dataset, TableColumns):
        raise InputError(f"{path}: {_kind(dataset)} has no tables; flspec.load_model(RUN).predict takes arrays")
    return _rows(model, dataset, path)


def _predicted(model: Model, x: Any) -> tuple[list[Any], Any]:
    """Return the classes, or labels, of examples; and [num_examples, num_classes] probabilities, or None."""
    scores = model.scores(x)
    if scores.is_multi_label:
        names = np.array(model.classes).astype(str)
        predicted = ["|".join(names[taken]) for taken in scores.taken]
    else:
        predicted = np.array(model.classes)[scores.predicted].tolist()
    try:
        return predicted, scores.probabilities
    except Undefined:
        return predicted, None


def _kind(dataset: Dataset) -> str:
    return str(getattr(dataset, "kind", "this data set"))


# ------------------------------------------------------------------------------------------------------------- pictures


def _decoding(model: Model, dataset: Dataset) -> Decoding:
    if isinstance(dataset, PictureDataset):
        return dataset.decoding
    data = model.plan.settings.data
    if data.feature_type == "uint8" and data.divisor == 255 and len(data.input_shape) == 3:
        channels, height, width = data.input_shape
        if channels in (1, 3):
            return Decoding(height, width, colour="grey" if channels == 1 else "rgb")
    raise InputError(f"{_kind(dataset)} has no pictures of 0 to 255; name a table, or use flspec.load_model in Python")


def _pictures(decoding: Decoding, path: Path) -> Iterator[_Batch]:
    """Yield the pictures in a folder, and in folders below it, in alphabetical order."""
    files = sorted(filter(is_picture, path.rglob("*"))) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path}: no pictures in it; name a folder that has some")
    folder = path if path.is_dir() else path.parent
    with silence_decoder():
        for first in range(0, len(files), _PICTURES_AT_ONCE):
            some = files[first : first + _PICTURES_AT_ONCE]
            names = [file.relative_to(folder).as_posix() for file in some]
            yield names, np.stack([_decoded(file, decoding) for file in some])


def _decoded(file: Path, decoding: Decoding) -> Any:
    try:
        return decode(read_regular(file, _MOST_BYTES), decoding)
    except UnreadableImage as error:
        raise InputError(f"{printable(str(file))} {error}; replace it, or take it away") from None


# --------------------------------------------------------------------------------------------------------------- tables


def _rows(model: Model, dataset: TableColumns, path: Path) -> Iterator[_Batch]:
    separator = _SEPARATORS[getattr(dataset, "separator", "comma")]
    names = _features(model, dataset, read_header(path, separator), path)
    if model.plan.settings.data.encodings:
        return _encoded(model, path, separator, names)
    return _numbers(dataset, path, separator, names)


def _features(model: Model, dataset: TableColumns, header: list[str], path: Path) -> list[str]:
    """Return the columns that the model gets, all of which are there."""
    names: list[str] = [str(one["column"]) for one in model.plan.settings.data.encodings]
    with suppress(InputError):  # the data are not on this machine
        names = names or list(open_data(model.plan.settings.data).feature_names)
    names = names or list(dataset.feature_columns(header, unnamed_indices(header)))
    dataset.check_names(header, str(path), names)
    return names


def _numbers(dataset: TableColumns, path: Path, separator: str, names: list[str]) -> Iterator[_Batch]:
    features = dataset.shaped(read_columns(path, separator, names, ()).features, str(path))
    for first in range(0, len(features), _ROWS_AT_ONCE):
        some = features[first : first + _ROWS_AT_ONCE]
        yield [str(first + number) for number in range(1, len(some) + 1)], some


def _encoded(model: Model, path: Path, separator: str, names: list[str]) -> Iterator[_Batch]:
    rows = read_rows(path, separator)
    header = next(rows)[1]
    places = {name: header.index(name) for name in names}
    first = 0
    while some := list(islice(_whole(rows, len(header), path), _ROWS_AT_ONCE)):
        x = {name: [cells[place] for cells in some] for name, place in places.items()}
        yield [str(first + number) for number in range(1, len(some) + 1)], x
        first += len(some)
    if not first:
        raise InputError(f"{path}: no rows below its header")


def _whole(rows: Iterator[tuple[int, list[str]]], width: int, path: Path) -> Iterator[list[str]]:
    for line, cells in rows:
        if cells and len(cells) != width:
            raise InputError(f"{path}:{line}: {len(cells)} cells, but the header has {width}")
        if cells:
            yield cells


def _located(message: str, path: Path, first: int) -> str:
    """Return a message on values in memory as one on a file's, whose rows before `first` are done."""

    def place(found: re.Match[str]) -> str:
        row = f"row {first + int(found[2]) + 1:,}, " if found[2] else ""
        return f"{shorten(str(path), 200)}: {row}column {found[1]}"

    return _PLACE.sub(place, message).replace("None for no value", "an empty cell for no value")
