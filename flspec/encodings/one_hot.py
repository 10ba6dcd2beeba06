"""A number for each category."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, PositiveInt

from flspec.core.text import join_some
from flspec.data.column_types import Cells
from flspec.encodings.base import Column, Encoding, Takes, Unencodable, in_order

_TO_LEAVE_OUT = "leave the column out of dataset.features"


def _spelt(category: Any) -> Any:
    return str(category) if type(category) is int else category


Category = Annotated[str, BeforeValidator(_spelt, json_schema_input_type=str | int), Field(min_length=1)]


class OneHot(Encoding):
    """A number for each category, 1 where an example has it, else 0; all 0 for a category that training does not have.

    Categories are in the order of their texts, or of their numbers if all are whole.
    """

    kind: Literal["one_hot"] = "one_hot"
    main: ClassVar[str] = "categories"
    categories: Annotated[
        tuple[Category, ...] | None,
        Field(
            min_length=1,
            max_length=10_000,
            description="all categories in order; if absent, those of the training examples",
        ),
    ] = None
    most: Annotated[PositiveInt, Field(description="more categories than these are refused")] = 100

    @property
    def takes(self) -> Takes:
        return "categories"

    def fitted(self, values: Column) -> Self:
        assert isinstance(values, Cells)
        found = in_order(set(values.distinct) - {""})
        if self.categories is None:
            self._check_number(values, len(found))
            return self.model_copy(update={"categories": tuple(found)})
        for text in values.distinct:
            if text and text not in self.categories:
                named = join_some(list(self.categories), 6)
                raise Unencodable(f"{text!r} is none of {named}", "add it to its categories", values.first_row(text))
        return self

    def encoded(self, values: Cells) -> NDArray[np.float64]:
        place = {category: number for number, category in enumerate(self.categories or ())}
        codes = np.array([place.get(text, -1) for text in values.distinct] or [-1], np.int64)[values.codes]
        hot: NDArray[np.float64] = (codes[:, np.newaxis] == np.arange(len(place))).astype(np.float64)
        if "" in values.distinct:
            hot[values.codes == values.distinct.index("")] = np.nan  # missing, which is no category
        return hot

    def outputs(self, names: list[str]) -> list[str]:
        return [f"{names[0]}={category}" for category in self.categories or ()]

    def _check_number(self, values: Cells, num: int) -> None:
        if not num:
            raise Unencodable("no training example has a value", _TO_LEAVE_OUT)
        if num > self.most:
            some = join_some([repr(text) for text in values.distinct[:3]], 3)
            way_out = f"{_TO_LEAVE_OUT}, or allow as many with {{kind: one_hot, most: {num}}}"
            raise Unencodable(f"{num:,} categories, as {some}, are more than {self.most:,}", way_out)
