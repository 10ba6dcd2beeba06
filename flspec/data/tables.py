"""Conversion of table rows to examples: labels become classes, columns get one type, a test set is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.core.randomness import Stream
from flspec.data.classes import Classes, number_labels
from flspec.data.column_types import Cells, common_type
from flspec.data.examples import Data, Split
from flspec.errors import InputError, shorten

__all__ = [
    "LONGEST_TEXT",
    "MOST_TEXT",
    "MOST_VALUES",
    "Assembled",
    "Draw",
    "Rows",
    "as_float32",
    "assemble",
    "check_text",
    "combine",
    "data_of",
]

MOST_VALUES = 2**31  # features of one split: 8 GiB of float32
MOST_TEXT = 256  # characters of a label or value; numpy gives every row the space of the longest
LONGEST_TEXT = 2**20  # characters of a text that becomes tokens


@dataclass(frozen=True, eq=False)
class Rows:
    """Content of one file."""

    source: str  # name in messages
    features: NDArray[Any]  # [num_rows, *shape], uint8 or float32; or [num_rows] sources of pictures
    labels: NDArray[Any] | Cells  # [num_rows]: numbers or text
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)  # [num_rows] each: text, int64 or float64

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Draw:
    """How examples for evaluation are drawn where the files have none of their own."""

    share: float  # of each class
    seed: int = 0  # not the experiment's, so that its seeds share a test set


@dataclass(frozen=True, eq=False)
class Assembled:
    """The splits of a data set, with their common classes."""

    splits: Mapping[str, Split]
    num_classes: int
    label_names: tuple[str, ...]


def assemble(
    parts: Mapping[str, Sequence[Rows]],
    draw: Draw | None = None,
    divisor: float = 1.0,
    classes: Classes | None = None,
) -> Assembled:
    """Build each split from its files. Without test files, those for evaluation are drawn as `draw` says.

    Labels become classes as `flspec.data.classes` says. Raises InputError, which names file and row.
    """
    files = [rows for files in parts.values() for rows in files]
    labels = number_labels(
        {name: [(rows.source, rows.labels) for rows in files] for name, files in parts.items()}, classes
    )
    numbered = dict(zip(map(id, files), labels.codes, strict=True))
    columns = dict(zip(map(id, files), _columns_of_one_type(files), strict=True))
    splits = {
        name: _join([(rows, numbered[id(rows)], columns[id(rows)]) for rows in files], divisor)
        for name, files in parts.items()
        if files
    }
    if draw is not None and "test" not in splits:
        splits |= _split_test(splits["train"], draw.share, labels.num, Stream(draw.seed, "holdout"))
    return Assembled(splits, labels.num, labels.names)


def combine(
    parts: Mapping[str, Sequence[Rows]],
    draw: Draw | None = None,
    divisor: float = 1.0,
    client_column: str | None = None,
    classes: Classes | None = None,
) -> Data:
    """Build a data set from the splits of `assemble`. The client column is ignored if the train split lacks it."""
    return data_of(assemble(parts, draw, divisor, classes), client_column)


def data_of(made: Assembled, client_column: str | None) -> Data:
    """Return what was assembled as a data set. The client column is ignored if the train split lacks it."""
    return Data(
        made.splits["train"],
        made.splits["test"],
        made.num_classes,
        validation=made.splits.get("validation"),
        label_names=made.label_names,
        client_column=client_column if client_column in made.splits["train"].columns else None,
    )


def as_float32(values: NDArray[Any], names: Sequence[str], source: str, first_row: int = 0) -> NDArray[np.float32]:
    """Convert numbers [num_rows, ...] to float32. Raises InputError if one is not finite or too large for float32."""
    with np.errstate(over="ignore", invalid="ignore"):
        seen = values.astype(np.float32)
    if not (fine := np.isfinite(seen)).all():
        row, *inner = (int(index) for index in np.argwhere(~fine)[0])
        column = f"column {names[inner[-1]]}: " if inner and names else ""
        raise InputError(
            f"{source}: row {first_row + row + 1}: {column}{values[row][tuple(inner)]} is not a finite float32 number; "
            "leave the row out or put a number there"
        )
    return np.asarray(seen, np.float32)


def check_text(text: str, place: str, most: int = MOST_TEXT) -> str:
    """Return `text`. Raises InputError if it cannot be stored unchanged, or is longer than `most`."""
    if len(text) > most or "\0" in text:
        problem = "holds a NUL character" if "\0" in text else f"is longer than {most:,} characters"
        raise InputError(f"{place}: text {shorten(ascii(text), 40)} {problem}; shorten it")
    return text


def _columns_of_one_type(files: Sequence[Rows]) -> list[dict[str, NDArray[Any]]]:
    """Return the columns of each file; a column has one type over all files that have it."""
    typed: list[dict[str, NDArray[Any]]] = [{} for _ in files]
    for name in dict.fromkeys(name for rows in files for name in rows.columns):
        having = [number for number, rows in enumerate(files) if name in rows.columns]
        arrays = [files[number].columns[name] for number in having]
        if (common := common_type(arrays)) is None:
            texts, numbers = (
                next(
                    files[n].source for n, one in zip(having, arrays, strict=True) if (one.dtype.kind == "U") is is_text
                )
                for is_text in (True, False)
            )
            raise InputError(
                f"{texts}: column {shorten(name)} is text, but numbers in {numbers}; write it alike in both"
            )
        for number, values in zip(having, common, strict=True):
            typed[number][name] = values
    return typed


def _join(files: Sequence[tuple[Rows, NDArray[np.int64], Mapping[str, NDArray[Any]]]], divisor: float) -> Split:
    """Join the files of one split."""
    first, _, known = files[0]
    for rows, _, columns in files[1:]:
        ours, theirs = ((one.features.shape[1:], one.features.dtype.name) for one in (first, rows))
        if ours != theirs:
            raise InputError(f"{rows.source}: examples are {theirs}, but {ours} in {first.source}")
        if columns.keys() != known.keys():
            raise InputError(f"{rows.source}: its columns differ from those of {first.source}")
    return Split(
        np.concatenate([rows.features for rows, _, _ in files]) if len(files) > 1 else first.features,
        np.concatenate([codes for _, codes, _ in files]),
        divisor if first.features.dtype == np.uint8 else 1.0,
        columns={name: np.concatenate([columns[name] for _, _, columns in files]) for name in known},
    )


def _split_test(train: Split, share: float, num_classes: int, stream: Stream) -> dict[str, Split]:
    """Split into train and test: draw that share of each class, rounded but never all, for test. Keeps file order."""
    is_test = np.zeros(len(train), bool)
    for label in range(num_classes):
        members = np.flatnonzero(train.labels == label)
        count = min(int(share * len(members) + 0.5), max(0, len(members) - 1))
        is_test[members[stream.child(label).choice(len(members), count)]] = True
    if not is_test.any():
        raise InputError(f"dataset.holdout: {share:g} of {len(train):,} examples, class by class, is none; raise it")
    return {"train": _pick(train, ~is_test), "test": _pick(train, is_test)}


def _pick(split: Split, chosen: NDArray[np.bool_]) -> Split:
    columns = {name: values[chosen] for name, values in split.columns.items()}
    return replace(split, features=split.features[chosen], labels=split.labels[chosen], columns=columns)
