"""Clients along a covariate, such as age."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flspec.core.randomness import Stream
from flspec.data.examples import Examples, as_numbers, is_missing
from flspec.errors import InputError
from flspec.partitioners.base import ClientIndices, Counted
from flspec.partitioners.dealing import apportion, cut


class Continuous(Counted):
    """Sort the examples by a number plus noise, and give each client the next equal part.

    The sort key is b = strictness × z + (1 - strictness) × e, where z is the column less its mean and divided by its
    standard deviation, and e ~ N(0, 1). Strictness 1 follows the column, strictness 0 is i.i.d. This is Flower
    Datasets' ContinuousPartitioner.
    """

    kind: Literal["continuous"] = "continuous"
    column: Annotated[str, Field(description="column of numbers to sort by", examples=["age"])]
    strictness: Annotated[
        float, Field(ge=0, le=1, description="how much of the order is the column's, from 0 to 1", examples=[0.5])
    ]

    def split(self, examples: Examples, stream: Stream) -> ClientIndices:
        self.check_enough(len(examples))
        values = self._standardised(examples)
        noise = stream.child("noise").normal(len(examples))
        # Rounded, because the last bits may differ between machines, and sorting would turn that into another order.
        blend = np.round(self.strictness * values + (1 - self.strictness) * noise, 9)
        sizes = apportion(np.ones(self.clients), len(examples))
        return cut(np.argsort(blend, kind="stable"), sizes, len(examples))

    def _standardised(self, examples: Examples) -> NDArray[np.float64]:
        column = examples.column(self.column, "partition.column")
        try:
            values = as_numbers(column)
        except ValueError:
            raise InputError(
                f"partition.column: {self.column} is text, but sorting needs numbers; name another"
            ) from None
        if missing := int(is_missing(column).sum()):
            raise InputError(
                f"partition.column: {missing:,} of {len(column):,} examples have no {self.column}, so no place "
                "in its order; name another"
            )
        if not np.isfinite(values).all():
            raise InputError(f"partition.column: {self.column} is infinite for some examples; name another")
        deviation = float(values.std())
        if not deviation > 0.0:
            raise InputError(
                f"partition.column: {self.column} is {values[0]:g} for every example, so it orders none; name another"
            )
        return np.asarray((values - values.mean()) / deviation)
