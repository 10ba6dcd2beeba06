"""Few classes a client, in given amounts."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flspec.core.randomness import Stream
from flspec.errors import InputError
from flspec.partitioners.power_law import Rolled

_Weight = Annotated[float, Field(ge=0, le=1e12)]


class Distribution(Rolled):
    """Client i has classes i, i + 1, ..., modulo the number of classes, each in an amount that a table gives.

    Row c of `weights` is for class c, with one entry for each client that has the class, in client order. With 10
    classes, 20 clients and 2 classes a client, row 0 is for clients 0, 9, 10 and 19. With `rescale`, the examples of a
    class beyond the minimums are shared in proportion to its row. Without it, the entries are numbers of examples.
    """

    kind: Literal["distribution"] = "distribution"
    weights: Annotated[
        tuple[Annotated[tuple[_Weight, ...], Field(max_length=10_000_000)], ...],
        Field(
            min_length=1,
            max_length=1_000_000,
            description="a row a class: the amount for each client that has the class",
            examples=[[[3, 1]] * 10],
        ),
    ]
    rescale: Annotated[
        bool, Field(description="whether weights are proportions; if not, they are numbers of examples")
    ] = True

    @property
    def _too_little(self) -> str:
        return super()._too_little if self.rescale else "its entries of weights"

    def _weights(self, num_holders: list[int], stream: Stream) -> list[NDArray[np.float64]]:
        if len(self.weights) != len(num_holders):
            raise InputError(
                f"partition.weights has {len(self.weights)} rows, but there are {len(num_holders)} classes; "
                "give a row a class"
            )
        for label, (row, num) in enumerate(zip(self.weights, num_holders, strict=True)):
            if len(row) != num:
                raise InputError(
                    f"partition.weights: row {label} has {len(row)} entries, but {num} of {self.clients} clients have "
                    f"class number {label}; give an entry a client"
                )
            if self.rescale and num and not sum(row) > 0:
                raise InputError(
                    f"partition.weights: row {label} is all 0, so no client would have that class; raise one"
                )
        return [np.array(row, np.float64) for row in self.weights]

    def _sizes(self, label: int, weights: NDArray[np.float64], num_examples: int) -> NDArray[np.int64]:
        if self.rescale:
            return super()._sizes(label, weights, num_examples)
        if (weights % 1).any():
            raise InputError(f"partition.weights: row {label} has a fraction, but rescale: false needs whole numbers")
        if weights.sum() > num_examples:
            raise InputError(
                f"partition.weights: row {label} sums to {weights.sum():,.0f}, but class number {label} has "
                f"{num_examples:,} examples; lower it, or use rescale: true"
            )
        return weights.astype(np.int64)
