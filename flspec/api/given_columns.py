"""Arrays, tensors, torch data sets and frames as columns of values, and all that is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.api.columns import is_no_value
from flspec.errors import InputError, shorten

__all__ = ["as_array", "cells_of", "column_problems", "examples_of", "feature_problems"]


def as_array(values: Any) -> NDArray[Any]:
    """Return values as numpy's; a tensor is taken from its device. Texts and numbers keep their type."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    array = np.asarray(values)
    if array.dtype.kind == "O" and all(isinstance(value, str) for value in array.ravel().tolist()):
        array = array.astype(np.str_)
    return array


def examples_of(dataset: Any, which: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the features and labels of a data set of pairs, such as torch's, each of which is asked for once."""
    if hasattr(dataset, "shape") or not (hasattr(dataset, "__getitem__") or hasattr(dataset, "__iter__")):
        raise InputError(f"{which}y: there are no labels; give one for each row of {which}x")
    pairs = map(dataset.__getitem__, range(len(dataset))) if hasattr(dataset, "__len__") else iter(dataset)
    xs, ys = list[NDArray[Any]](), list[Any]()
    for number, pair in enumerate(pairs):
        if not (isinstance(pair, tuple | list) and len(pair) == 2):
            raise InputError(f"{which}x: item {number} is a {type(pair).__name__}, not a pair of features and label")
        xs.append(as_array(pair[0]))
        ys.append(as_array(pair[1]).tolist())
    if len(shapes := {array.shape for array in xs}) > 1:
        raise InputError(f"{which}x: items have the shapes {shorten(str(sorted(shapes)))}; give them one shape")
    return np.stack(xs) if xs else np.zeros((0, 1)), np.array(ys)


def feature_problems(x: NDArray[Any], name: str) -> Iterator[str]:
    """Yield what is wrong with features."""
    if x.dtype.kind not in "biuf":
        yield f"{name}: {x.dtype} is not a type of numbers; encode it, or give a frame and its features"
    elif x.ndim < 2 or not x.size:
        yield f"{name}: shape {list(x.shape)} has no rows of values; give it as [rows, values]"
    elif x.dtype.kind == "f" and not np.isfinite(x).all():
        row = int(np.argwhere(~np.isfinite(x))[0][0])
        yield f"{name}: row {row} has a value that is missing or not finite; leave it out, or impute it in a frame"


def column_problems(values: NDArray[Any], name: str, num_rows: int, is_needed: bool) -> Iterator[str]:
    """Yield what is wrong with a column of one value a row; `is_needed` if none may be missing."""
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        way_out = "for one-hot rows give their argmax(axis=1)" if values.ndim == 2 else "give it as [rows]"
        yield f"{name}: shape {list(values.shape)} is not one value a row; {way_out}"
        return
    if len(values) != num_rows:
        yield f"{name}: has {len(values):,} rows, but x has {num_rows:,}; each is one of an example"
    if values.dtype.kind not in "biufU":
        yield f"{name}: {values.dtype} is neither numbers nor text; convert it to one of them"
    elif values.dtype.kind == "f" and is_needed and not np.isfinite(values).all():
        yield f"{name}: row {int(np.argmin(np.isfinite(values)))} is missing; every example needs a value"
    elif values.dtype.kind == "f" and name.endswith("y") and (values != np.round(values)).any():
        row = int(np.argmax(values != np.round(values)))
        yield f"{name}: row {row} is {values[row]:g}, but labels are whole numbers or names; put a measure into classes"
    elif values.dtype.kind == "U" and is_needed and (values == "").any():
        yield f"{name}: row {int(np.argmax(values == ''))} is empty; every example needs a value"


def cells_of(frame: Any, which: str, needed: set[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Return a frame's columns as the cells of a table, and what is wrong with it."""
    cells: dict[str, list[str]] = {}
    problems: list[str] = []
    for key in list(frame if isinstance(frame, Mapping) else frame.columns):
        values = frame[key]
        if len(getattr(values, "shape", (0,))) > 1:
            problems.append(f"{which}frame: column {shorten(str(key))!r} is no single column; give each a name")
            continue
        if hasattr(values, "detach"):
            values = values.detach().cpu().numpy()
        column = values.tolist() if hasattr(values, "tolist") else list(values)
        is_true = {True: "1", False: "0"} if str(key) not in needed else {True: "True", False: "False"}
        written = [is_true[one] if isinstance(one, bool) else "" if is_no_value(one) else str(one) for one in column]
        if str(key) in needed and "" in written:
            problems.append(f"{which}{key}: row {written.index('')} is missing; every example needs a value")
        if nested := next((one for one in column if isinstance(one, list | dict | tuple | np.ndarray)), None):
            problems.append(f"{which}{key}: holds a {type(nested).__name__}; give numbers or texts, one a row")
        cells[str(key)] = written
    lengths = {name: len(column) for name, column in cells.items()}
    if len(set(lengths.values())) > 1:
        problems.append(f"{which}frame: columns of {shorten(str(lengths))} rows; make them alike")
    if not any(lengths.values()):
        problems.append(f"{which}frame: has no rows; give some")
    return cells, problems
