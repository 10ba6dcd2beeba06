"""Conversion of table rows to examples: labels are numbered, each column gets one type, a test share is drawn."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.core.randomness import Stream
from flspec.data.examples import Data, Split
from flspec.errors import InputError, shorten

__all__ = ["MOST_VALUES", "Assembled", "Rows", "as_float32", "assemble", "check_text", "combine", "type_cells"]

MOST_VALUES = 2**31  # features of one split: 8 GiB of float32
_MOST_CLASSES = 100_000
_MOST_TEXT = 256  # characters of a label or value; numpy gives every row the space of the longest
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)?\.?[0-9]*([eE][+-]?[0-9]{1,3})?")


@dataclass(frozen=True, eq=False)
class Rows:
    """Content of one file."""

    source: str  # name in messages
    features: NDArray[Any]  # [num_rows, *shape], uint8 or float32; or [num_rows] sources of pictures
    labels: NDArray[Any]  # [num_rows], int64 or text
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)  # [num_rows] each: text, int64 or float64

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Assembled:
    """The splits of a data set, with their common classes."""

    splits: Mapping[str, Split]
    num_classes: int
    label_names: tuple[str, ...]


def assemble(
    parts: Mapping[str, Sequence[Rows]],
    stream: Stream,
    holdout: float | None = None,
    divisor: float = 1.0,
    label_names: Sequence[str] = (),
) -> Assembled:
    """Build each split from its files. Without test files, the share `holdout` of each class becomes the test set.

    Integer labels are classes from 0, below the number of `label_names` if these are given. Text labels are numbered
    in alphabetical order. Raises InputError, which names file and row.
    """
    every = [rows for files in parts.values() for rows in files]
    codes, names, num_classes = _number_labels(every, label_names)
    numbered = dict(zip(map(id, every), codes, strict=True))
    splits = {
        name: _join([(rows, numbered[id(rows)]) for rows in files], divisor) for name, files in parts.items() if files
    }
    if "test" not in splits:
        # The stream keeps the key's old name, because the draws, and so every digest, depend on it.
        splits |= _split_test(splits["train"], holdout or 0.0, num_classes, stream.child("test_share"))
    return Assembled(splits, num_classes, names)


def combine(
    parts: Mapping[str, Sequence[Rows]],
    stream: Stream,
    holdout: float | None = None,
    divisor: float = 1.0,
    client_column: str | None = None,
    label_names: Sequence[str] = (),
) -> Data:
    """Build a data set from the splits of `assemble`. The client column is ignored if the train split lacks it."""
    made = assemble(parts, stream, holdout, divisor, label_names)
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


def type_cells(cells: Sequence[Sequence[str]]) -> list[NDArray[Any]]:
    """Convert one column of several files: to int64 if all are integers, float64 if all are numbers, else text."""
    distinct = set().union(*cells)
    if distinct and all(map(_INTEGER.fullmatch, distinct)):
        return [np.array([int(cell) for cell in file], np.int64) for file in cells]
    if distinct and all(any(map(str.isdigit, cell)) and _NUMBER.fullmatch(cell) for cell in distinct):
        return [np.array([float(cell) for cell in file], np.float64) for file in cells]
    return [np.array(file, dtype=np.str_) for file in cells]


def check_text(text: str, place: str) -> str:
    """Return `text`. Raises InputError if it cannot be stored unchanged."""
    if len(text) > _MOST_TEXT or "\0" in text:
        problem = "holds a NUL character" if "\0" in text else f"is longer than {_MOST_TEXT} characters"
        raise InputError(f"{place}: text {shorten(ascii(text), 40)} {problem}; shorten it")
    return text


def _number_labels(files: Sequence[Rows], names: Sequence[str]) -> tuple[list[NDArray[np.int64]], tuple[str, ...], int]:
    """Return the class of each row of each file, the class names if there are any, and the number of classes."""
    kinds = {rows.labels.dtype.kind for rows in files}
    if len(kinds) > 1:
        raise InputError(f"{files[0].source}: labels are numbers in some files and text in others; write them alike")
    if kinds == {"U"}:
        for rows in files:
            _refuse_where(rows, rows.labels == "", "is empty; every example needs one")
        known = sorted(set(names) or set().union(*(np.unique(rows.labels).tolist() for rows in files)))
        for rows in files:
            _refuse_where(rows, ~np.isin(rows.labels, known), f"is none of the {len(known)} that the files declare")
        codes = [np.searchsorted(np.array(known), rows.labels).astype(np.int64) for rows in files]
        return codes, tuple(known), len(known)
    if kinds != {"i"}:
        raise InputError(
            f"{files[0].source}: label {files[0].labels[0]!s} is not an integer; a label is one from 0, or text"
        )
    most = len(names) or _MOST_CLASSES
    for rows in files:
        _refuse_where(rows, (rows.labels < 0) | (rows.labels >= most), f"is outside 0..{most - 1:,}")
    num_classes = len(names) or 1 + max(int(rows.labels.max(initial=0)) for rows in files)
    return [rows.labels for rows in files], tuple(names), num_classes


def _refuse_where(rows: Rows, wrong: NDArray[np.bool_], reason: str) -> None:
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(f"{rows.source}: row {row + 1}: label {shorten(repr(rows.labels[row].item()), 40)} {reason}")


def _join(files: Sequence[tuple[Rows, NDArray[np.int64]]], divisor: float) -> Split:
    """Join the files of one split."""
    first = files[0][0]
    for rows, _ in files[1:]:
        ours, theirs = ((one.features.shape[1:], one.features.dtype.name) for one in (first, rows))
        if ours != theirs:
            raise InputError(f"{rows.source}: examples are {theirs}, but {ours} in {first.source}")
        kinds = [{name: one.columns[name].dtype.kind for name in sorted(one.columns)} for one in (first, rows)]
        if kinds[0] != kinds[1]:
            raise InputError(f"{rows.source}: its columns differ from those of {first.source}")
    return Split(
        np.concatenate([rows.features for rows, _ in files]) if len(files) > 1 else first.features,
        np.concatenate([codes for _, codes in files]),
        divisor if first.features.dtype == np.uint8 else 1.0,
        columns={name: np.concatenate([rows.columns[name] for rows, _ in files]) for name in first.columns},
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
