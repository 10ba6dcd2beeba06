"""Labels as classes: what the training labels are called decides which classes there are, and in which order.

Labels 0 to k - 1 are their classes. Other whole numbers, such as 1, 2, 3, and texts are names: the classes are in their
order, and no output is made for a number that does not occur. A label that only a test set has would never be learned,
so it is refused, unless the spec names all classes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.core.text import join_some
from flspec.data.column_types import Cells, is_whole
from flspec.errors import InputError, shorten

__all__ = ["Classes", "NumberedLabels", "class_names", "number_labels"]

_MOST = 100_000
_WHOLE_FLOAT = re.compile(r"(0|-?[1-9][0-9]{0,15})\.0+")  # as pandas writes whole numbers of a column with missing ones

Labels = Sequence[tuple[str, NDArray[Any] | Cells]]  # of each file: its name in messages, its labels

Files = Sequence[tuple[str, Cells]]


@dataclass(frozen=True)
class Classes:
    """Classes that are known before the files are read: in their order, as they are spelt."""

    names: tuple[str, ...]
    are_positions: bool = False  # whether a number in the files is a position among the names, from 0


@dataclass(frozen=True, eq=False)
class NumberedLabels:
    """The classes of the files' rows."""

    codes: Sequence[NDArray[np.int64]]  # of each file, [num_rows], from 0
    num: int
    names: tuple[str, ...]  # empty if they are the numbers from 0


def number_labels(parts: Mapping[str, Labels], known: Classes | None = None) -> NumberedLabels:
    """Number the labels of all files, split by split, in their order; the split `train` decides unless `known` does.

    Raises InputError, which names file and row, for a label that is missing or that is no class.
    """
    files: Files = [(source, _spelt(labels, source)) for files in parts.values() for source, labels in files]
    if are_whole := all(_whole(text) is not None for _, cells in files for text in cells.distinct):
        files = [(source, Cells([str(_whole(t)) for t in cells.distinct], cells.codes)) for source, cells in files]
    else:
        _refuse_measures(files)
    if known and known.are_positions and are_whole:
        known_as = [str(number) for number in range(len(known.names))]
    else:
        known_as = list(known.names) if known else _classes(files[: len(parts["train"])], are_whole)
    place = {name: number for number, name in enumerate(known_as)}
    _refuse_strangers(files, place, known)
    codes = [np.array([place[text] for text in cells.distinct], np.int64)[cells.codes] for _, cells in files]
    names = known.names if known else tuple(known_as)
    if names == tuple(map(str, range(len(names)))) and not (known and known.are_positions):
        names = ()  # they say no more than the numbers of the classes
    return NumberedLabels(codes, len(known_as), names)


def class_names(labels: NDArray[Any] | Cells, source: str, known: Classes | None = None) -> tuple[str, ...]:
    """Return the names of the classes that the labels of a training file give. Raises as `number_labels` does."""
    made = number_labels({"train": [(source, labels)]}, known)
    return made.names or tuple(map(str, range(made.num)))


def _spelt(labels: NDArray[Any] | Cells, source: str) -> Cells:
    cells = labels if isinstance(labels, Cells) else Cells.of(labels)
    if (row := cells.first_row("")) is not None:
        raise InputError(f"{source}: row {row + 1}: label '' is empty; every example needs one")
    return cells


def _whole(text: str) -> int | None:
    """Return the whole number that a label is, or None: `1` is one, and `1.0`, but not `01`."""
    if is_whole(text):
        return int(text)
    return int(text.partition(".")[0]) if _WHOLE_FLOAT.fullmatch(text) else None


def _classes(files: Files, are_whole: bool) -> list[str]:
    """Return the training labels in the order of their classes."""
    found = {text for _, cells in files for text in cells.distinct}
    if len(found) > _MOST:
        raise InputError(f"{files[0][0]}: {len(found):,} different labels; more than {_MOST:,} are no classes")
    if not are_whole:
        return sorted(found)
    if min(numbers := sorted(map(int, found))) < 0:
        raise InputError(
            f"{_place(files, str(numbers[0]))} is negative, as for an example without one; leave the row out, or name "
            "all classes with dataset.classes"
        )
    return [str(number) for number in numbers]


def _refuse_measures(files: Files) -> None:
    """Raise InputError if the labels are numbers of which some are fractions: a measure has no classes."""
    values = {text: _number(text) for _, cells in files for text in cells.distinct}
    if any(value is None for value in values.values()):
        return
    if fractions := [text for text, value in values.items() if value is not None and not value.is_integer()]:
        raise InputError(
            f"{_place(files, fractions[0])} is not an integer; a label is a whole number or a name, so put a measure "
            "into classes first"
        )


def _number(text: str) -> float | None:
    try:
        value = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _refuse_strangers(files: Files, classes: Mapping[str, int], known: Classes | None) -> None:
    """Raise InputError if a label is no class."""
    strange = list(dict.fromkeys(text for _, cells in files for text in cells.distinct if text not in classes))
    if not strange:
        return
    place = _place(files, strange[0])
    if known and known.are_positions and strange[0].lstrip("-").isdecimal():
        raise InputError(f"{place} is outside 0..{len(classes) - 1:,}, the classes that the files declare")
    if known:
        raise InputError(f"{place} is none of the {len(classes):,} classes that are declared: {_some(list(classes))}")
    others = f" {_some(strange[1:])} neither;" if strange[1:] else ""
    raise InputError(
        f"{place} is no training label;{others} those are {_some(list(classes))}; write labels alike in all files, "
        "leave such rows out, or name all classes with dataset.classes"
    )


def _place(files: Files, text: str) -> str:
    """Return the file and row of the first label with a text, as the beginning of an error."""
    source, row = next((source, row) for source, cells in files if (row := cells.first_row(text)) is not None)
    shown = text if _number(text) is not None else repr(text)
    return f"{source}: row {row + 1}: label {shorten(shown, 40)}"


def _some(labels: Sequence[str]) -> str:
    return join_some([repr(label) if _number(label) is None else label for label in labels], 6)
