"""Independent and identically distributed clients."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from flspec.core.ragged import Ragged
from flspec.core.randomness import Stream
from flspec.data.examples import Examples
from flspec.errors import InputError
from flspec.partitioners.base import ClientIndices, Count, Counted


class Iid(Counted):
    """Shuffle all examples and deal out equal shares; the first clients get one more if they do not divide evenly."""

    kind: Literal["iid"] = "iid"
    examples_per_client: Annotated[
        Count | None,
        Field(description="how many examples each client is dealt; all are dealt out if absent"),
    ] = None

    def split(self, examples: Examples, stream: Stream) -> ClientIndices:
        self.check_enough(len(examples))
        order = stream.permutation(len(examples))
        if self.examples_per_client is None:
            size, more = divmod(len(order), self.clients)
            return Ragged.cut(order, size + (np.arange(self.clients) < more))
        needed = self.clients * self.examples_per_client
        if needed > len(examples):
            raise InputError(
                f"partition.examples_per_client is {self.examples_per_client}, so {self.clients} clients need "
                f"{needed:,} examples, but there are {len(examples):,}; lower it to "
                f"{len(examples) // self.clients} or less, or lower clients"
            )
        return Ragged.cut(order, np.full(self.clients, self.examples_per_client))
