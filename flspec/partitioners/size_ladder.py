"""Clients of growing sizes."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from flspec.core.randomness import Stream
from flspec.data.examples import Examples
from flspec.errors import InputError
from flspec.partitioners.base import ClientIndices, Counted
from flspec.partitioners.dealing import cut


class SizeLadder(Counted):
    """Client i of 1, 2, ... has examples in proportion to i, i² or e^i; every example is used.

    Sizes are rounded down, and the last client, the largest, takes the examples that are left.
    """

    kind: Literal["size_ladder"] = "size_ladder"
    growth: Annotated[
        Literal["linear", "square", "exponential"],
        Field(description="how a client's size grows with its number", examples=["linear"]),
    ]
    shuffle: Annotated[bool, Field(description="whether examples are drawn at random, or taken in file order")] = True

    def split(self, examples: Examples, stream: Stream) -> ClientIndices:
        total, number = len(examples), np.arange(1, self.clients + 1, dtype=np.float64)
        self.check_enough(total)
        steps = {"linear": number, "square": number**2, "exponential": np.exp(number - self.clients)}[self.growth]
        exact = steps / steps.sum() * total
        sizes = np.floor(np.round(exact, 6)).astype(np.int64)
        sizes[-1] += total - sizes.sum()
        if not sizes.all():
            empty = int((sizes == 0).sum())
            raise InputError(
                f"partition: growth {self.growth} over {self.clients} clients gives the smallest {exact[0]:.2g} of "
                f"{total:,} examples, and {empty} of them none; lower clients, or use a slower growth"
            )
        return cut(stream.permutation(total) if self.shuffle else np.arange(total), sizes, total)
