"""Clients made of several whole users, patients or identities."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from flspec.core.randomness import Stream
from flspec.data.examples import Examples
from flspec.errors import InputError
from flspec.partitioners.base import ClientIndices, Count, Partitioner
from flspec.partitioners.dealing import apportion, held_by
from flspec.partitioners.groups import group_by, group_column


class GroupedNatural(Partitioner):
    """A client has all examples of several values of a column, as an organisation of ten users.

    The values are put in order and dealt out, `ids_per_client` to each client in turn. With `ids_per_client: null` they
    are dealt to `clients` clients, as evenly as whole values allow. Examples without a value form one group.
    """

    kind: Literal["grouped_natural"] = "grouped_natural"
    column: Annotated[
        str | None, Field(description="column that names the owner of an example; the dataset's own if absent")
    ] = None
    ids_per_client: Annotated[
        Count | None, Field(description="values a client gets; null: all, dealt to `clients`")
    ] = 10
    clients: Annotated[
        int | None, Field(ge=1, le=10_000_000, description="number of clients; as many as the values make if absent")
    ] = None
    order: Annotated[
        Literal["first", "random", "sorted"],
        Field(description="order in which values are dealt: as they first appear, random, or sorted"),
    ] = "first"
    remainder: Annotated[
        Literal["smaller", "larger", "drop", "refuse"],
        Field(description="values left over: a smaller client, larger clients, no client, or an error"),
    ] = "smaller"

    @model_validator(mode="after")
    def _is_determined(self) -> GroupedNatural:
        if self.ids_per_client is None and self.clients is None:
            raise ValueError("ids_per_client is null, so clients is needed; give one of them")
        return self

    @property
    def num_clients(self) -> int | None:
        return self.clients

    def whole(self, examples: Examples) -> str | None:
        return group_column(examples, self.column)

    def split(self, examples: Examples, stream: Stream) -> ClientIndices:
        groups = group_by(examples.columns[group_column(examples, self.column)])
        order = np.arange(len(groups))
        if self.order == "random":
            order = stream.permutation(len(groups))
        elif self.order == "sorted":
            order = np.argsort(groups.values, kind="stable")
        nums = self._nums(len(groups))
        owner_of = np.full(len(groups), -1, np.int64)
        owner_of[order[: int(nums.sum())]] = np.repeat(np.arange(len(nums)), nums)
        return held_by(owner_of[groups.of], len(nums))

    def _nums(self, num_ids: int) -> NDArray[np.int64]:
        """Return how many values each client gets."""
        if self.ids_per_client is None:
            assert self.clients is not None
            if self.clients > num_ids:
                raise InputError(
                    f"partition.clients is {self.clients}, but the column has {num_ids} values, and a client holds one "
                    f"or more; lower it to {num_ids} or less"
                )
            return apportion(np.ones(self.clients), num_ids)
        each, (num, rest) = self.ids_per_client, divmod(num_ids, self.ids_per_client)
        if self.clients is not None:
            if self.clients > num:
                raise InputError(
                    f"partition: {self.clients} clients of {each} values need {self.clients * each:,}, but the column "
                    f"has {num_ids:,}; lower clients or ids_per_client"
                )
            return np.full(self.clients, each, np.int64)
        if rest and self.remainder == "refuse":
            raise InputError(
                f"partition.remainder: {num_ids:,} values make {num:,} clients of {each} and leave {rest}; "
                "allow smaller or larger clients, or drop them"
            )
        if rest and self.remainder == "smaller":
            return np.append(np.full(num, each), rest).astype(np.int64)
        if not num:
            raise InputError(
                f"partition.ids_per_client is {each}, but the column has {num_ids} values; lower it to that or less"
            )
        return apportion(np.ones(num), num_ids) if self.remainder == "larger" else np.full(num, each, np.int64)
