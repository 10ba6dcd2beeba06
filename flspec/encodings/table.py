"""Encoding of a table's columns: fitted on the training rows alone, then the same for every row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.core.components import broken_promise
from flspec.core.text import and_more
from flspec.core.tokens import Tokens
from flspec.data.column_types import Cells
from flspec.data.tables import MOST_VALUES
from flspec.encodings.base import Column, Encoding, Unencodable
from flspec.encodings.steps import Steps, line_for, parse_steps, with_imputing
from flspec.encodings.texts import text_of
from flspec.errors import InputError, shorten

__all__ = ["Encoded", "encode", "encode_columns", "encode_table", "facts_of", "fit", "joined", "refuse_all"]

Rows = NDArray[np.int64]
_AT_ONCE = 2**19  # numbers that are encoded at a time, because they are wider than what is stored of them
_MOST_PROBLEMS = 20  # told of one table
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, eq=False)
class Encoded:
    """The features of each split, and what was fitted."""

    features: Mapping[str, NDArray[np.float32]]  # by split, [num_rows, num_outputs]
    fitted: tuple[Mapping[str, Any], ...]  # of each column: its name, its fitted encodings, the names of its outputs

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the features, in order."""
        return tuple(name for one in self.fitted for name in one["outputs"])

    @property
    def tokens(self) -> Tokens | None:
        """What the numbers of a text are to a model; None if features measure something."""
        found = text_of(self.fitted)
        return found and found.tokenizer.tokens_of


def encode_table(
    columns: Mapping[str, Column],
    wanted: Mapping[str, Steps],
    splits: Mapping[str, Rows],
    place: Callable[[int], str],
    problems: Sequence[str] = (),
) -> Encoded:
    """Fit the encodings of each column on the split `train`, and apply them to all splits.

    `columns` have all rows; `place` names a row in messages. `problems` are those of columns that could not be read.
    Raises InputError with these and with everything else that is wrong, a line each.
    """
    problems, fitted = list(problems), dict[str, Steps]()
    for name, values in columns.items():
        for rows in splits.values():  # the training rows come first
            part = _take(values, rows)
            try:
                if name not in fitted:
                    fitted[name] = fit(part, wanted[name])
                if fitted[name][-1].gives == "numbers":  # token numbers are always there, and small
                    _check(encode(part, fitted[name]), name, wanted[name])
            except Unencodable as error:
                source = place(int(rows[error.row or 0])) if error.row is not None else place(-1)
                problems.append(f"{source}: column {shorten(name)}: {error}")
                break
    refuse_all(problems)
    return _applied(columns, fitted, splits)


def refuse_all(problems: Iterable[str]) -> None:
    """Raise InputError with all problems, a line each, if there are any."""
    if problems := list(problems):
        rest = and_more(len(problems) - _MOST_PROBLEMS, "columns have problems")
        raise InputError("\n".join([*problems[:_MOST_PROBLEMS], *([rest] if rest else [])]))


def encode_columns(
    columns: Mapping[str, Column], fitted: Sequence[Mapping[str, Any]], place: Callable[[str, int | None], str]
) -> NDArray[np.float64]:
    """Return the features [num_rows, num_outputs] of any rows, by the encodings that a plan has of each column.

    `place` names a row of a column in messages, or the column. Raises InputError with everything that is wrong.
    """
    blocks, problems = list[NDArray[np.float64]](), list[str]()
    for name, steps in ((one["column"], parse_steps(one["steps"])) for one in fitted):
        try:
            blocks.append(encode(columns[name], steps))
            _check(blocks[-1], name, steps)
        except Unencodable as error:
            problems.append(f"{place(name, error.row)}: {error}")
    refuse_all(problems)
    return np.concatenate(blocks, axis=1)


def joined(parts: Sequence[Column]) -> Column:
    """Return the rows of several files, one below the other."""
    if len(parts) == 1:
        return parts[0]
    texts = [part for part in parts if isinstance(part, Cells)]
    if not texts:
        return np.concatenate([part for part in parts if not isinstance(part, Cells)])
    number: dict[str, int] = {}
    codes = []
    for part in texts:
        codes.append(np.array([number.setdefault(t, len(number)) for t in part.distinct] or [0], np.int64)[part.codes])
    return Cells(list(number), np.concatenate(codes))


def _applied(columns: Mapping[str, Column], fitted: Mapping[str, Steps], splits: Mapping[str, Rows]) -> Encoded:
    facts = tuple(facts_of(name, steps, _take(columns[name], splits["train"][:1])) for name, steps in fitted.items())
    width, num_rows = sum(len(one["outputs"]) for one in facts), sum(map(len, splits.values()))
    if width * num_rows > MOST_VALUES:
        raise InputError(
            f"dataset.features: {width:,} for each of {num_rows:,} rows are more than {MOST_VALUES:,} numbers"
        )
    features = {split: np.empty((len(rows), width), np.float32) for split, rows in splits.items()}
    start = 0
    for (name, steps), one in zip(fitted.items(), facts, strict=True):
        end = start + len(one["outputs"])
        num_rows = max(1, _AT_ONCE // (end - start))
        for split, rows in splits.items():
            for first in range(0, len(rows), num_rows):
                part = slice(first, first + num_rows)
                features[split][part, start:end] = encode(_take(columns[name], rows[part]), steps)
        start = end
    return Encoded(features, facts)


def _take(values: Column, rows: Rows) -> Column:
    """Return some rows; of a column of texts with those texts alone that they have."""
    if not isinstance(values, Cells):
        return values[rows]
    used, codes = np.unique(values.codes[rows], return_inverse=True)
    return Cells([values.distinct[code] for code in used.tolist()], codes.reshape(-1).astype(np.int64))


def fit(values: Column, steps: Steps) -> Steps:
    """Return the encodings of a column with what they take from its training examples. Raises Unencodable."""
    found: list[Encoding] = []
    for step in steps:
        values = _encoded(found[-1], values) if found else values
        if steps[-1].gives == "tokens" and step.beside(values) is not None:
            raise Unencodable("an indicator would stand beside token numbers, which it is not", "leave indicator out")
        fitted = step.fitted(values)
        if type(fitted) is not type(step):
            what = f"gave a {type(fitted).__name__}, not one of its own class"
            raise InputError(broken_promise(step, "fitted", what))
        found.append(fitted)
    return tuple(found)


def _encoded(step: Encoding, values: Column) -> Column:
    """Return what an encoding makes of values. Raises InputError if it has other rows."""
    given: Any = step.encoded(values)
    num_rows = len(values)
    if isinstance(given, Cells):
        if len(given) == num_rows:
            return given
    elif isinstance(given, np.ndarray) and given.ndim == 2 and len(given) == num_rows and given.dtype.kind in "fiub":
        return given
    is_array = isinstance(given, np.ndarray)
    got = f"{given.dtype} of shape {list(given.shape)}" if is_array else f"a {type(given).__name__}"
    raise InputError(broken_promise(step, "encoded", f"gave {got}, not numbers of shape [{num_rows}, any]"))


def encode(values: Column, steps: Steps) -> NDArray[np.float64]:
    """Return values by what was fitted, [num_rows, num_outputs]. Raises Unencodable."""
    beside = []
    for step in steps:
        beside.append(step.beside(values))
        values = _encoded(step, values)
    assert not isinstance(values, Cells), "takes_of has seen to it that numbers come out"
    return np.concatenate([values, *(extra for extra in beside if extra is not None)], axis=1)


def _check(block: NDArray[np.float64], name: str, steps: Steps) -> None:
    """Raise Unencodable if a value is missing, or no float32 number."""
    if (missing := np.isnan(block).any(axis=1)).any():
        count = int(missing.sum())
        many = f", and {count - 1:,} more of the column" if count > 1 else ""
        raise Unencodable(
            f"no value{many}", f"impute it: {line_for(name, with_imputing(steps))}", int(missing.argmax())
        )
    if (wrong := (np.abs(block) > _LARGEST).any(axis=1)).any():
        row = int(wrong.argmax())
        raise Unencodable(f"{block[row].max():g} is not a finite float32 number", "leave the row out", row)


def facts_of(name: str, steps: Steps, one_row: Column) -> dict[str, Any]:
    """Return what a plan keeps of a column: its name, its fitted encodings, the names of its outputs."""
    return {
        "column": name,
        "steps": [_document(step) for step in steps],
        "outputs": list(_outputs(name, steps, one_row)),
    }


def _document(step: Any) -> dict[str, Any]:
    parameters: dict[str, Any] = step.model_dump(mode="json", exclude={"kind"}, exclude_defaults=True)
    return {"kind": step.kind} | parameters


def _outputs(name: str, steps: Steps, values: Column) -> Iterator[str]:
    width = 1 if isinstance(values, Cells) else values.shape[1]
    names = [name] if width == 1 else [f"{name}[{number}]" for number in range(width)]
    beside = []
    for step in steps:
        extra = step.beside(values)
        beside += [] if extra is None else [f"{one} missing" for one in names]
        names, values = step.outputs(names), step.encoded(values)
    yield from names
    yield from beside
