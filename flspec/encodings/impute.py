"""Values in place of missing ones."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from flspec.data.column_types import Cells
from flspec.encodings.base import Column, Encoding, Takes, Unencodable, in_order

_Value = int | float | str


class Impute(Encoding):
    """A value in place of each missing one: the mean, the median or the most frequent of training examples, or yours.

    Of several that are most frequent, the first in order.
    """

    kind: Literal["impute"] = "impute"
    main: ClassVar[str] = "by"
    by: Annotated[
        Literal["mean", "median", "most_frequent", "constant"],
        Field(description="which value of the training examples; constant: the one in `value`", examples=["median"]),
    ]
    value: Annotated[
        _Value | Annotated[tuple[float, ...], Field(max_length=100_000)] | None,
        Field(description="the value itself; if absent, that of the training examples", examples=["unknown"]),
    ] = None
    indicator: Annotated[bool, Field(description="a number besides: 1 where the value was missing, else 0")] = False

    @model_validator(mode="after")
    def _constant_is_given(self) -> Impute:
        if self.by == "constant" and self.value is None:
            raise ValueError("constant needs a value; write {impute: constant, value: 0}")
        return self

    @property
    def takes(self) -> Takes:
        return "numbers" if self.by in ("mean", "median") else "either"

    def fitted(self, values: Column) -> Self:
        if self.value is not None:
            return self
        if isinstance(values, Cells):
            return self.model_copy(update={"value": _most_frequent_text(values)})
        found = [_of_known(self.by, column[~np.isnan(column)]) for column in values.T]
        return self.model_copy(update={"value": found[0] if len(found) == 1 else tuple(found)})

    def encoded(self, values: Column) -> Column:
        if isinstance(values, Cells):
            return Cells([text or str(self.value) for text in values.distinct], values.codes)
        if isinstance(self.value, str):
            raise Unencodable(f"the value {self.value!r} is no number", "give a number, or let one_hot follow it")
        return np.where(np.isnan(values), np.array(self.value, np.float64), values)

    def beside(self, values: Column) -> NDArray[np.float64] | None:
        if not self.indicator:
            return None
        if isinstance(values, Cells):
            return np.array([[not text] for text in values.distinct] or [[True]], np.float64)[values.codes]
        return np.isnan(values).astype(np.float64)


def _of_known(by: str, known: NDArray[np.float64]) -> float:
    if not len(known):
        raise Unencodable(
            "no training example has a value", "leave the column out, or give {impute: constant, value: …}"
        )
    match by:
        case "mean":
            return math.fsum(known) / len(known)  # exact, so that all machines get the same
        case "median":
            return float(np.median(known))
    values, counts = np.unique(known, return_counts=True)
    return float(values[counts.argmax()])


def _most_frequent_text(values: Cells) -> str:
    counts = dict(zip(values.distinct, values.counts(), strict=True))
    counts.pop("", None)
    if not any(counts.values()):
        raise Unencodable(
            "no training example has a value", "leave the column out, or give {impute: constant, value: …}"
        )
    return max(in_order(text for text, num in counts.items() if num), key=counts.__getitem__)
