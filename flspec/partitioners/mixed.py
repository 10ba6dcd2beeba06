"""Some clients with i.i.d. examples, the others by another partition."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from flspec.core.components import OneOfOthers
from flspec.core.randomness import Stream
from flspec.data.examples import Examples
from flspec.errors import InputError
from flspec.partitioners.base import ClientIndices, Partitioner


class Mixed(Partitioner):
    """The first clients have random examples in equal numbers; `rest` splits the other examples over the other clients.

    If `iid_share` is absent, the first clients' share of the examples is their share of the clients.
    """

    kind: Literal["mixed"] = "mixed"
    iid_clients: Annotated[
        int, Field(ge=1, le=10_000_000, description="number of clients with random examples", examples=[5])
    ]
    rest: Annotated[
        Annotated[Partitioner, OneOfOthers("mixed")],
        Field(
            description="how the other clients are made, and how many",
            examples=[{"kind": "dirichlet", "clients": 5, "alpha": 0.1}],
        ),
    ]
    iid_share: Annotated[
        float | None,
        Field(gt=0, lt=1, description="first clients' share of the examples; their share of the clients if absent"),
    ] = None

    @field_validator("rest")
    @classmethod
    def _holds_nothing_out(cls, rest: Partitioner) -> Partitioner:
        if rest.holdout or rest.holdout_by:
            raise ValueError("holdout and holdout_by apply to all clients; give them beside rest, not in it")
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
        """Return how many examples the i.i.d. clients have together."""
        if self.iid_share is not None:
            num = round(self.iid_share * num_examples)
        elif self.num_clients is None:
            raise InputError("partition.iid_share: the number of clients of rest is not known beforehand; give a share")
        else:
            num = round(num_examples * self.iid_clients / self.num_clients)
        if not self.iid_clients <= num < num_examples:
            raise InputError(
                f"partition: the {self.iid_clients} i.i.d. clients would have {num:,} of {num_examples:,} "
                "examples; lower iid_clients, or give another iid_share"
            )
        return num


def _only(examples: Examples, indices: NDArray[np.int64]) -> Examples:
    columns = {name: column[indices] for name, column in examples.columns.items()}
    return replace(examples, labels=examples.labels[indices], columns=columns)
