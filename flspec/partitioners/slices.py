"""Clients as slices of a list of examples or of groups, such as patients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from flspec.core.randomness import Stream
from flspec.data.examples import Examples
from flspec.errors import InputError
from flspec.partitioners.base import ClientIndices, Counted
from flspec.partitioners.dealing import apportion, held_by, members_of
from flspec.partitioners.groups import group_by, least_of

_Place = Annotated[int, Field(ge=0, le=10**9)]
_Slice = tuple[_Place, _Place]


class Slices(Counted):
    """Put the examples, or groups of them, in one list, or in one list a stratum; a client is a slice of each list.

    With `groups`, an entry of a list is a group: all examples of one value, as of a patient. The stratum of a group is
    the lowest of its examples' strata. So with label 0 for benign and 1 for melanoma, `strata: label` makes one list of
    patients with a benign image, and one of patients with melanomas alone. A slice [a, b] has the entries a to b - 1 of
    a list, counted from 0. Entries outside of all slices belong to no client.
    """

    kind: Literal["slices"] = "slices"
    slices: Annotated[
        tuple[Annotated[tuple[_Slice, ...], Field(min_length=1, max_length=100_000)], ...] | None,
        Field(
            max_length=1_000_000, description="a row a client: its slice of each list; equal slices of all if absent"
        ),
    ] = None
    order: Annotated[
        Literal["file", "random", "stratified"],
        Field(description="order of a list: as in the file, random, or random with each label spread evenly"),
    ] = "file"
    groups: Annotated[str | None, Field(description="column whose values are the entries, as patient_id")] = None
    strata: Annotated[
        str | None, Field(description="column with one list for each of its values, in their order; or label")
    ] = None

    @model_validator(mode="after")
    def _is_consistent(self) -> Slices:
        if self.order == "stratified" and self.groups is not None:
            raise ValueError("order: stratified needs lists of examples, but groups makes lists of groups; remove one")
        for client, row in enumerate(self.slices or ()):
            if empty := [one for one in row if one[0] > one[1]]:
                raise ValueError(
                    f"slices: client {client} has {list(empty[0])}, which ends before it begins; give [start, end]"
                )
            if all(start == end for start, end in row):
                raise ValueError(f"slices: client {client} gets nothing; widen one of its slices")
        if self.slices is not None and len(self.slices) != self.clients:
            raise ValueError(f"slices has {len(self.slices)} rows for {self.clients} clients; give a row a client")
        return self

    def whole(self, examples: Examples) -> str | None:
        return self.groups

    def split(self, examples: Examples, stream: Stream) -> ClientIndices:
        entry_of = np.arange(len(examples))
        if self.groups is not None:
            entry_of = group_by(examples.column(self.groups, "partition.groups")).of
        lists = self._lists(examples, entry_of, stream)
        owner_of = np.full(int(entry_of.max(initial=-1)) + 1, -1, np.int64)
        for stratum, entries in enumerate(lists):
            for client, (start, end) in enumerate(self._cuts(stratum, [len(one) for one in lists])):
                taken = entries[start:end]
                if (others := owner_of[taken][owner_of[taken] >= 0]).size:
                    raise InputError(
                        f"partition.slices: client {client} has entries {start} to {end - 1} of list {stratum}, of "
                        f"which client {others[0]} has {others.size} too; give each to one client"
                    )
                owner_of[taken] = client
        return held_by(owner_of[entry_of], self.clients)

    def _lists(self, examples: Examples, entry_of: NDArray[np.int64], stream: Stream) -> list[NDArray[np.int64]]:
        """Return the entries of each list, in order."""
        num_entries = int(entry_of.max(initial=-1)) + 1
        strata, num_strata = self._strata(examples, entry_of, num_entries)
        if self.order == "stratified":
            codes, num_classes = examples.classes("partition.order")
            order = _spread(members_of(codes, num_classes), stream)
        elif self.order == "random":
            order = stream.child("order").permutation(num_entries)
        else:
            order = np.arange(num_entries)
        return [order[of_stratum] for of_stratum in members_of(strata[order], num_strata)]

    def _strata(
        self, examples: Examples, entry_of: NDArray[np.int64], num_entries: int
    ) -> tuple[NDArray[np.int64], int]:
        """Return the list of each entry, and the number of lists."""
        if self.strata is None:
            return np.zeros(num_entries, np.int64), 1
        is_label = self.strata == "label" and "label" not in examples.columns
        codes, num_strata = examples.classes("partition.strata", None if is_label else self.strata)
        return least_of(codes, entry_of, num_entries), num_strata

    def _cuts(self, stratum: int, lengths: list[int]) -> list[tuple[int, int]]:
        """Return where each client's slice of a list begins and ends."""
        length = lengths[stratum]
        if self.slices is None:
            if self.clients > max(lengths):
                raise InputError(
                    f"partition.clients is {self.clients}, but the longest list has {max(lengths)} entries; "
                    f"lower it to {max(lengths)} or less"
                )
            ends = np.cumsum(apportion(np.ones(self.clients), length)).tolist()
            return list(zip([0, *ends[:-1]], ends, strict=True))
        for client, row in enumerate(self.slices):
            if len(row) != len(lengths):
                raise InputError(
                    f"partition.slices: client {client} has {len(row)} slices, but there are {len(lengths)} lists "
                    f"(of {', '.join(map(str, lengths[:10]))} entries); give one of each"
                )
            if row[stratum][1] > length:
                raise InputError(
                    f"partition.slices: client {client} has {list(row[stratum])} of list {stratum}, which has "
                    f"{length:,} entries; end it at {length} or before"
                )
        return [row[stratum] for row in self.slices]


def _spread(members: Sequence[NDArray[np.int64]], stream: Stream) -> NDArray[np.int64]:
    """Return all examples in an order in which every stretch has each class in about its share.

    The j-th example of a class of n, in random order, gets the place (j + u) / n, where u is random too.
    """
    places = np.empty(sum(map(len, members)), np.float64)
    for label, examples in enumerate(members):
        order = stream.child("order", label).permutation(len(examples))
        offset = stream.child("offset", label).uniform(1)[0]
        places[examples[order]] = (np.arange(len(examples)) + offset) / max(1, len(examples))
    return np.argsort(places, kind="stable")
