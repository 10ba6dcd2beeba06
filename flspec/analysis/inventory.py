"""Numbers of a data set, and its synthetic twin in a folder of the user's choice."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from flspec.core.components import Document
from flspec.core.files import check_new_folder
from flspec.core.randomness import Stream
from flspec.data.examples import Data, Split
from flspec.data.readings import Reading
from flspec.data.synthetic.twins import TwinSize
from flspec.datasets import Dataset
from flspec.errors import InputError, shorten

__all__ = ["Inventory", "NaturalClientCounts", "make_twin", "take_inventory", "untested_labels"]


class NaturalClientCounts(Document):
    """The natural clients of a data set, among its training examples."""

    column: str
    num: int
    min_examples: int
    median_examples: float
    max_examples: int


class Inventory(Document):
    """A data set in numbers."""

    kind: str
    digest: str
    shape: tuple[int, ...]  # of one example, as the model's input
    stored_as: str  # uint8 or float32
    num_classes: int
    multi_label: bool
    examples: dict[str, int]  # of each split
    labels: dict[str, list[int]]  # for each split, the number of examples of each label
    label_names: tuple[str, ...]
    columns: dict[str, int]  # the number of different values of each, among the training examples
    clients: NaturalClientCounts | None
    untested: tuple[str, ...] = ()  # labels that no test example has
    reading: Reading | None = None  # the columns that were read and left out, of tables


def take_inventory(kind: str, data: Data, reading: Reading | None = None) -> Inventory:
    """Return the numbers of `data` that need no partition, and what was read."""
    return Inventory(
        kind=kind,
        digest=data.digest,
        shape=data.input_shape,
        stored_as=data.train.features.dtype.name,
        num_classes=data.num_classes,
        multi_label=data.is_multi_label,
        examples={name: len(split) for name, split in data.splits.items()},
        labels={name: _histogram(split, data.num_classes) for name, split in data.splits.items()},
        label_names=data.label_names,
        columns={name: len(np.unique(values)) for name, values in sorted(data.train.columns.items())},
        clients=_clients(data),
        untested=untested_labels(data),
        reading=reading,
    )


def untested_labels(data: Data) -> tuple[str, ...]:
    """Return the labels that training examples have and no test example has."""
    train, test = (_histogram(split, data.num_classes) for split in (data.train, data.test))
    names = data.label_names or tuple(map(str, range(data.num_classes)))
    return tuple(name for name, trained, tested in zip(names, train, test, strict=True) if trained and not tested)


def make_twin(dataset: type[Dataset], folder: Path, size: TwinSize, seed: int) -> list[str]:
    """Write the synthetic twin of a kind into a new or empty folder, whole or not at all; returns its files' names."""
    check_new_folder(folder)
    parent = folder.absolute().parent
    stream = Stream(seed, "twin", str(dataset.model_fields["kind"].default))
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name[:100]}-", dir=parent) as beside:
            twin = Path(beside) / "twin"  # a folder inside, because the temporary one is readable by its owner alone
            twin.mkdir()
            dataset.write_twin(twin, size, stream)
            if folder.is_dir():
                folder.rmdir()
            shutil.move(twin, folder)
    except OSError as error:
        raise InputError(f"{shorten(str(folder), 200)} cannot be written: {error.strerror or error}") from None
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _histogram(split: Split, num_classes: int) -> list[int]:
    if split.labels.ndim == 2:
        return [int(count) for count in split.labels.sum(axis=0, dtype=np.int64)]
    return [int(count) for count in np.bincount(split.labels.astype(np.int64), minlength=num_classes)]


def _clients(data: Data) -> NaturalClientCounts | None:
    column = data.client_column
    if column is None or column not in data.train.columns:
        return None
    _, counts = np.unique(data.train.columns[column], return_counts=True)
    facts: dict[str, Any] = {"min_examples": int(counts.min()), "max_examples": int(counts.max())}
    return NaturalClientCounts(column=column, num=len(counts), median_examples=float(np.median(counts)), **facts)
