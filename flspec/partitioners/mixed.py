"""Some clients alike, the others not."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, field_validator

from flspec.core.components import OneOfOthers
from flspec.core.randomness import Stream
from flspec.data.examples import Examples
from flspec.errors import InputError
from flspec.partitioners.base import ClientIndices, Partitioner


class Mixed(Partitioner):
    """The first clients hold random examples in equal numbers; the others, what `rest` makes of the other examples.

    With `iid_share` absent, the first clients together hold the part of the examples that they are of all clients.
    """

    model_config = ConfigDict(defer_build=True)  # only when all kinds are known can it hold any of them

    kind: Literal["mixed"] = "mixed"
    iid_clients: Annotated[int, Field(ge=1, le=10_000_000, description="how many clients are alike", examples=[5])]
    rest: Annotated[
        Annotated[Partitioner, OneOfOthers("mixed")],
        Field(
            description="how the other clients are made, and how many",
            examples=[{"kind": "dirichlet", "clients": 5, "alpha": 0.1}],
        ),
    ]
    iid_share: Annotated[
        float | None,
        Field(
            gt=0, lt=1, description="part of the examples that the first clients hold; that of the clients if absent"
        ),
    ] = None

    @field_validator("rest")
    @classmethod
    def _holds_nothing_out(cls, rest: Partitioner) -> Partitioner:
        if rest.holdout or rest.holdout_by:
            raise ValueError("holdout and holdout_by are of all clients; give them beside rest, not in it")
        return rest

    @property
    def num_clients(self) -> int | None:
        others = self.rest.num_clients
        return None if others is None else self.iid_clients + others

    def split(self, examples: Examples, stream: Stream) -> ClientIndices:
        order = stream.child("order").permutation(len(examples))
        num = self._num_iid(len(examples))
        others = np.sort(order[num:])
        try:
            held = self.rest.split(_only(examples, others), stream.child("rest"))
        except InputError as error:
            raise InputError(str(error).replace("partition", "partition.rest", 1)) from None
        return [*map(np.sort, np.array_split(order[:num], self.iid_clients)), *(others[one] for one in held)]

    def _num_iid(self, num_examples: int) -> int:
        """How many examples the clients that are alike hold together."""
        if self.iid_share is not None:
            num = round(self.iid_share * num_examples)
        elif self.num_clients is None:
            raise InputError("partition.iid_share: how many clients rest makes is not known beforehand; give a share")
        else:
            num = round(num_examples * self.iid_clients / self.num_clients)
        if not self.iid_clients <= num < num_examples:
            raise InputError(
                f"partition: {self.iid_clients} clients that are alike would hold {num:,} of {num_examples:,} "
                "examples; lower the clients, or give another iid_share"
            )
        return num


def _only(examples: Examples, indices: NDArray[np.int64]) -> Examples:
    columns = {name: column[indices] for name, column in examples.columns.items()}
    return replace(examples, labels=examples.labels[indices], columns=columns)
