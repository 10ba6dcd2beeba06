"""Clients of given sizes."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from flspec.core.randomness import Stream
from flspec.data.examples import Examples
from flspec.errors import InputError
from flspec.partitioners.base import ClientIndices, Partitioner
from flspec.partitioners.dealing import cut


class Sizes(Partitioner):
    """Client i has `sizes[i]` examples, drawn at random or the next in file order.

    Examples beyond the sizes belong to no client. If sizes are shares, they are rounded so that their sum is as exact
    as whole examples allow.
    """

    kind: Literal["sizes"] = "sizes"
    sizes: Annotated[
        tuple[Annotated[float, Field(gt=0, le=1e9)], ...],
        Field(
            min_length=1,
            max_length=10_000_000,
            description="size of each client, an entry a client",
            examples=[[50, 50, 50, 50, 50, 100, 100, 100, 100, 200]],
        ),
    ]
    unit: Annotated[
        Literal["examples", "shares"], Field(description="unit of sizes: numbers of examples, or shares of 1")
    ] = "examples"
    shuffle: Annotated[bool, Field(description="whether examples are drawn at random, or taken in file order")] = True

    @model_validator(mode="after")
    def _fits_the_unit(self) -> Sizes:
        if self.unit == "examples" and (broken := [size for size in self.sizes if size % 1]):
            raise ValueError(f"sizes: {broken[0]:g} is no number of examples; give whole numbers, or unit: shares")
        if self.unit == "shares" and (total := round(sum(self.sizes), 9)) > 1:
            raise ValueError(f"sizes sum to {total:g}, but shares sum to at most 1; lower them")
        return self

    @property
    def num_clients(self) -> int:
        return len(self.sizes)

    def split(self, examples: Examples, stream: Stream) -> ClientIndices:
        total = len(examples)
        exact = np.array(self.sizes, np.float64) * (total if self.unit == "shares" else 1)
        # Ends are rounded, not sizes, so that shares of 1 together leave nothing over.
        ends: NDArray[np.int64] = np.rint(np.round(np.cumsum(exact), 6)).astype(np.int64)
        sizes = np.diff(ends, prepend=np.int64(0))
        if sizes.sum() > total:
            raise InputError(
                f"partition.sizes sum to {int(sizes.sum()):,}, but there are {total:,} examples; lower them"
            )
        if not sizes.all():
            client = int(np.flatnonzero(sizes == 0)[0])
            raise InputError(
                f"partition.sizes: client {client} has a share of {self.sizes[client]:g}, which is "
                f"{exact[client]:.2f} of {total:,} examples; raise it"
            )
        return cut(stream.permutation(total) if self.shuffle else np.arange(total), sizes, total)
