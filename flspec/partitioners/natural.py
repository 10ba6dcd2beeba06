"""Clients that the data set names itself: a user, a patient, a hospital."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from flspec.core.components import OmitDefaults
from flspec.core.randomness import Stream
from flspec.data.examples import Examples
from flspec.errors import InputError
from flspec.partitioners.base import ClientIndices, Count, Partitioner
from flspec.partitioners.dealing import held_by
from flspec.partitioners.groups import ValueGroups, group_by, group_column, least_of

__all__ = ["Natural", "NaturalClients"]


class NaturalClients(OmitDefaults):
    """A choice among the natural owners of examples."""

    omitted: ClassVar[dict[str, Any]] = {"order_by": None}

    column: Annotated[
        str | None, Field(description="column that names the owner of an example; the dataset's own if absent")
    ] = None
    min_examples: Annotated[Count, Field(description="fewest examples; a client with fewer is left out")] = 1
    max_examples: Annotated[
        Count | None, Field(description="most examples; of a client with more, so many are drawn")
    ] = None
    absent_from_test: Annotated[
        bool, Field(description="whether clients with an example in the test set are left out")
    ] = False
    order: Annotated[
        Literal["first", "random", "largest"],
        Field(description="order in which clients are taken: as they first appear, random, or largest first"),
    ] = "first"
    order_by: Annotated[
        str | None,
        Field(description="column to sort clients by, each by its least value; as they first appear if absent"),
    ] = None
    clients: Annotated[
        int | None, Field(ge=1, le=10_000_000, description="number of clients to take; all that qualify if absent")
    ] = None

    @model_validator(mode="after")
    def _has_one_order(self) -> NaturalClients:
        if self.order == "random" and self.order_by is not None:
            raise ValueError(f"order is random, but order_by is {self.order_by}; remove one")
        return self

    def client_indices(self, examples: Examples, stream: Stream) -> ClientIndices:
        """Return the examples of each client; raises InputError if there are too few clients."""
        groups = group_by(examples.columns[group_column(examples, self.column)])
        chosen = self._chosen(groups, examples, stream)
        owner_of = np.full(len(groups), -1, np.int64)
        owner_of[chosen] = np.arange(len(chosen))
        held = held_by(owner_of[groups.of], len(chosen))
        if self.max_examples is None:
            return held
        return [self._capped(of_client, stream.child("cap"), client) for client, of_client in enumerate(held)]

    def _chosen(self, groups: ValueGroups, examples: Examples, stream: Stream) -> NDArray[np.int64]:
        """Return the groups that are taken, in their order."""
        passes = groups.sizes >= self.min_examples
        if self.absent_from_test:
            name = group_column(examples, self.column)
            if name not in examples.test_columns:
                raise InputError(f"partition.absent_from_test: the test examples have no column {name}; remove it")
            passes &= ~np.isin(groups.values, examples.test_columns[name])
        order = self._order(groups, examples)
        chosen = order[passes[order]]
        if len(chosen) < (self.clients or 1):
            also = " and no example in the test set" if self.absent_from_test else ""
            raise InputError(
                f"partition.clients is {self.clients or 'not given'}, but of {len(groups):,} values of "
                f"{group_column(examples, self.column)} {len(chosen):,} have {self.min_examples} or more examples"
                f"{also} (the most is {groups.sizes.max():,}); lower clients or min_examples"
            )
        if self.order == "random":
            chosen = chosen[stream.child("chosen").permutation(len(chosen))]
        elif self.order == "largest":
            chosen = chosen[np.argsort(-groups.sizes[chosen], kind="stable")]
        return chosen[: self.clients]

    def _order(self, groups: ValueGroups, examples: Examples) -> NDArray[np.int64]:
        """Return all groups, in the order in which they are taken."""
        if self.order_by is None:
            return np.arange(len(groups))
        codes, _ = examples.classes("partition.order_by", self.order_by)
        return np.argsort(least_of(codes, groups.of, len(groups)), kind="stable")

    def _capped(self, held: NDArray[np.int64], stream: Stream, client: int) -> NDArray[np.int64]:
        if self.max_examples is None or len(held) <= self.max_examples:
            return held
        return held[stream.child(client).choice(len(held), self.max_examples)]


class Natural(NaturalClients, Partitioner):
    """A client for each value of a column, as a user or a patient, who holds all of its examples.

    Examples without a value form one group. What is left out, of clients or of a client's examples, is held by nobody.
    """

    kind: Literal["natural"] = "natural"

    def split(self, examples: Examples, stream: Stream) -> ClientIndices:
        return self.client_indices(examples, stream)

    @property
    def num_clients(self) -> int | None:
        return self.clients

    def whole(self, examples: Examples) -> str | None:
        return group_column(examples, self.column)
