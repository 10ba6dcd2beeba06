"""Categories in an order of their own."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from flspec.core.text import join_some
from flspec.data.column_types import Cells
from flspec.encodings.base import Encoding, Takes, Unencodable
from flspec.encodings.one_hot import Category


class Ordinal(Encoding):
    """The position of a category in a given order, from 0. A category that is not in the order is refused."""

    kind: Literal["ordinal"] = "ordinal"
    main: ClassVar[str] = "order"
    order: Annotated[
        tuple[Category, ...],
        Field(min_length=2, max_length=10_000, description="all categories", examples=[["low", "middle", "high"]]),
    ]

    @field_validator("order")
    @classmethod
    def _once_each(cls, order: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(order)) < len(order):
            raise ValueError("a category is named twice; remove one")
        return order

    @property
    def takes(self) -> Takes:
        return "categories"

    def encoded(self, values: Cells) -> NDArray[np.float64]:
        for text in values.distinct:
            if text and text not in self.order and (row := values.first_row(text)) is not None:
                raise Unencodable(f"{text!r} is none of {join_some(list(self.order), 6)}", "add it to the order", row)
        places = [float(self.order.index(text)) if text in self.order else np.nan for text in values.distinct]
        return np.array(places or [np.nan])[values.codes][:, np.newaxis]
