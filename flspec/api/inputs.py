"""What a model is asked about, as examples of its plan: encoded, transformed and scaled as its test set is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.api.columns import as_columns, as_texts, raw_column
from flspec.core.components import parse_component
from flspec.core.text import join_some
from flspec.data.examples import Split
from flspec.data.raw_columns import Spelling
from flspec.data.store import planned_split
from flspec.datasets import Dataset
from flspec.encodings import Unencodable, parse_steps
from flspec.encodings.table import encode_columns, refuse_all
from flspec.errors import InputError, shorten, suggestion
from flspec.execution.parts import network_of
from flspec.layers import INPUT, Embedding
from flspec.protocol.plan import Plan
from flspec.protocol.settings import DataSettings

__all__ = ["examples_of", "no_labels"]

Features = NDArray[Any]  # [num_examples, *stored shape], of the plan's `feature_type`


def examples_of(plan: Plan, x: Any, encoded: bool = False) -> Split:
    """Return examples without labels. Raises InputError, which says what was expected, if `x` is nothing of the kind.

    `x` is what the data set's file has: columns by name of a table whose columns are encoded, texts of a data set of
    texts, otherwise an array [num_examples, *shape] as it is stored, before it is divided and normalised. With
    `encoded` the array has columns or texts as the numbers that they become.
    """
    features = _features(plan, x, encoded)
    return planned_split(plan.settings.data, "test", features, no_labels(plan.settings.data, len(features)))


def no_labels(data: DataSettings, num: int) -> NDArray[np.int64] | NDArray[np.uint8]:
    """Return what stands for the labels of examples that have none, in the form of the data set's."""
    return np.zeros((num, data.num_classes), np.uint8) if data.multi_label else np.zeros(num, np.int64)


def _features(plan: Plan, x: Any, encoded: bool) -> Features:
    data = plan.settings.data
    if isinstance(x, str):
        raise InputError("x: one text; give a list of them, [x]")
    if not encoded and (texts := as_texts(x)) is not None:
        return _of_texts(plan, texts)
    if not encoded and (columns := as_columns(x)) is not None:
        return _of_columns(plan, columns)
    if data.encodings and not encoded:
        names = join_some([str(one["column"]) for one in data.encodings], 6)
        raise InputError(f"x: give columns by name ({names}); or, with encoded=True, the numbers that they become")
    return _of_array(plan, x)


# ------------------------------------------------------------------------------------------------------- texts, columns


def _of_texts(plan: Plan, texts: list[str]) -> Features:
    data, section = plan.settings.data, plan.spec["dataset"]
    if len(data.encodings) == 1:
        return _of_columns(plan, {data.encodings[0]["column"]: texts})
    try:
        features = parse_component(Dataset, section).features_of_texts(texts)
    except ValueError as error:
        raise InputError(f"x: {error}; give texts as the data set has them") from None
    if features is None:
        raise InputError(f"x: texts, but {section['kind']} has {_expected(data)}; give an array of that shape")
    return features


def _of_columns(plan: Plan, columns: Mapping[str, Any]) -> Features:
    data = plan.settings.data
    if not data.encodings:
        return _of_array(plan, _stacked(plan, columns))
    names = [one["column"] for one in data.encodings]
    _check_columns(columns, names)
    spelling = _spelling(plan.spec["dataset"])
    raw, problems = {}, list[str]()
    for name, steps in ((one["column"], parse_steps(one["steps"])) for one in data.encodings):
        try:
            raw[name] = raw_column(columns[name], steps, spelling)
        except Unencodable as error:
            problems.append(f"{_place(name, error.row)}: {error}")
    refuse_all(problems)
    features = encode_columns(raw, data.encodings, _place)
    return features.astype(data.feature_type).reshape(-1, *data.input_shape)


def _stacked(plan: Plan, columns: Mapping[str, Any]) -> Features:
    """Return the columns of a table that is taken as it is, side by side, as far as the plan knows their names."""
    section = plan.spec["dataset"]
    names = section.get("features")
    if not isinstance(names, Sequence) or isinstance(names, str):
        why = "its spec names no features" if "label" in section else f"{section['kind']} has no columns"
        raise InputError(f"x: columns by name, but {why}; give an array {_expected(plan.settings.data)}")
    _check_columns(columns, names)
    try:
        return np.stack([np.asarray(columns[name], np.float64) for name in names], axis=1)
    except (TypeError, ValueError) as error:
        raise InputError(f"x: its columns are no numbers: {error}; give numbers alone") from None


def _check_columns(columns: Mapping[str, Any], names: Sequence[str]) -> None:
    """Raise InputError unless all columns are there and of one length."""
    missing = [name for name in names if name not in columns]
    refuse_all(f"x: no column {shorten(name)!r}; {suggestion(name, list(columns))}add it" for name in missing)
    if scalars := [name for name in names if np.ndim(columns[name]) == 0]:
        raise InputError(f"x[{scalars[0]!r}]: one value; give a list of them")
    sizes = {name: len(columns[name]) for name in names}
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{shorten(name)} {num:,}" for name, num in list(sizes.items())[:6])
        raise InputError(f"x: columns of different lengths ({told}); give one row for each example")


def _spelling(section: Mapping[str, Any]) -> Spelling:
    return Spelling(frozenset(section.get("missing", ())), section.get("decimal") == "comma")


def _place(column: str, row: int | None) -> str:
    return f"x[{shorten(column)!r}]" + ("" if row is None else f"[{row}]")


# --------------------------------------------------------------------------------------------------------------- arrays


def _of_array(plan: Plan, x: Any) -> Features:
    data = plan.settings.data
    try:
        values = np.asarray(x)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged lists, tensors of other devices
        raise InputError(
            f"x: {' '.join(str(error).split()).partition('. ')[0]}; give an array {_expected(data)}"
        ) from None
    if values.dtype.kind not in "biuf":
        raise InputError(f"x: {values.dtype} values; give numbers {_expected(data)}")
    if values.ndim == 0 or not _fits(data, values.shape[1:]):
        raise InputError(f"x: an array {list(values.shape)}; give {_expected(data)}{_hint(data, values.shape)}")
    features = _stored(data, values)
    _check_tokens(plan, features)
    return features


def _expected(data: DataSettings) -> str:
    shape = ", ".join(map(str, data.input_shape))
    if data.transforms.get("test"):
        return f"[num_examples, …] that the test transforms bring to [{shape}]"
    return f"[num_examples, {shape}]"


def _fits(data: DataSettings, shape: Sequence[int]) -> bool:
    """Return whether examples of this shape become model inputs."""
    split = planned_split(data, "test", np.zeros((0, *shape), np.uint8), np.zeros(0, np.int64))
    try:
        return split.input_shape == tuple(data.input_shape)
    except (ValueError, IndexError):
        return False


def _hint(data: DataSettings, shape: tuple[int, ...]) -> str:
    """Return how an array of another shape would fit, if that can be seen."""
    ways = {"x[None]": shape}
    if len(shape) == 4:
        ways["channels first, np.moveaxis(x, -1, 1)"] = (shape[3], *shape[1:3])
    ways["x[:, None]"] = (1, *shape[1:])
    if shape and math.prod(shape[1:]) == math.prod(data.input_shape) and not data.transforms.get("test"):
        ways[f"x.reshape({', '.join(map(str, (-1, *data.input_shape)))})"] = tuple(data.input_shape)
    return next((f", as {way}" for way, inner in ways.items() if _fits(data, inner)), "")


def _stored(data: DataSettings, values: NDArray[Any]) -> Features:
    """Return numbers in the type in which examples are stored. Raises InputError for one that it cannot hold."""
    with np.errstate(over="ignore", invalid="ignore"):
        features = values.astype(data.feature_type)
        wrong = features != values if data.feature_type == "uint8" else ~np.isfinite(features)
    if wrong.any():
        place = tuple(int(index) for index in np.argwhere(wrong)[0])
        due = "whole numbers from 0 to 255, as stored" if data.feature_type == "uint8" else "finite numbers"
        scaled = f"; the model divides by {data.divisor:g} itself" if data.divisor != 1 else ""
        raise InputError(f"x[{', '.join(map(str, place))}]: {values[place]:g}; give {due}{scaled}")
    return features


def _check_tokens(plan: Plan, features: Features) -> None:
    """Raise InputError for a number that stands for no token: an embedding has no row for it."""
    for layer in network_of(plan).layers:
        if isinstance(layer, Embedding) and layer.inputs == (INPUT,):
            wrong = (features < 0) | (features >= layer.tokens) | (features != np.floor(features))
            if wrong.any():
                place = tuple(int(index) for index in np.argwhere(wrong)[0])
                raise InputError(f"x{list(place)}: {features[place]:g} is no token; give 0 to {layer.tokens - 1:,}")
