"""Clients of given sizes that share no patient."""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flspec.core.randomness import Stream
from flspec.data.examples import Examples
from flspec.errors import InputError
from flspec.partitioners.base import ClientIndices, Count, Partitioner
from flspec.partitioners.dealing import held_by
from flspec.partitioners.groups import group_by, group_column


class GroupSizes(Partitioner):
    """Client i has about `sizes[i]` examples, and all examples of one value of a column go to one client.

    The groups, in random order, go to each client in turn while the next one fits. Then each client takes the largest
    group left that still fits, again and again, and one more if the total comes nearer to its size. Examples beyond the
    sizes belong to no client. `flspec plan` reports the deviations.
    """

    kind: Literal["group_sizes"] = "group_sizes"
    sizes: Annotated[
        tuple[Count, ...],
        Field(
            min_length=1,
            max_length=10_000_000,
            description="about how many examples each client holds, a number a client",
            examples=[[50, 50, 50, 50, 50, 100, 100, 100, 100, 200]],
        ),
    ]
    column: Annotated[str | None, Field(description="column whose values stay whole; the dataset's own if absent")] = (
        None
    )
    tolerance: Annotated[
        float, Field(ge=0, le=1, description="largest deviation of a size, as a share of it; more is an error")
    ] = 0.05

    @property
    def num_clients(self) -> int:
        return len(self.sizes)

    def whole(self, examples: Examples) -> str | None:
        return group_column(examples, self.column)

    def remarks(self, sizes: NDArray[np.int64]) -> Sequence[str]:
        off = np.abs(sizes - np.array(self.sizes))
        if not off.any():
            return ()
        worst = int(off.argmax())
        return (
            f"{int((off > 0).sum()):,} of {len(sizes):,} are not the size asked for, since groups stay whole; "
            f"furthest off is client {worst}, with {int(sizes[worst]):,} of {self.sizes[worst]:,}",
        )

    def split(self, examples: Examples, stream: Stream) -> ClientIndices:
        if sum(self.sizes) > len(examples):
            raise InputError(
                f"partition.sizes sum to {sum(self.sizes):,}, but there are {len(examples):,} examples; lower them"
            )
        name = group_column(examples, self.column)
        groups = group_by(examples.columns[name])
        left = _Left(groups.sizes, stream.permutation(len(groups)))
        hands = [left.take_in_order(wanted) for wanted in self.sizes]
        owner_of = np.full(len(groups), -1, np.int64)
        for client, (wanted, hand) in enumerate(zip(self.sizes, hands, strict=True)):
            taken = hand + left.take_fitting(wanted - int(groups.sizes[hand].sum()))
            owner_of[taken] = client
            held = int(groups.sizes[taken].sum())
            if not held or abs(held - wanted) > self.tolerance * wanted:
                raise InputError(
                    f"partition.sizes: client {client} is to hold {wanted:,} examples, and whole values of {name} come "
                    f"no nearer than {held:,}, which is {abs(held - wanted) / wanted:.1%} off (tolerance "
                    f"{self.tolerance:.1%}; the largest value has {int(groups.sizes.max()):,}); raise tolerance, or "
                    "change the size"
                )
        return held_by(owner_of[groups.of], len(self.sizes))


class _Left:
    """The groups that no client has yet."""

    def __init__(self, sizes: NDArray[np.int64], order: NDArray[np.int64]) -> None:
        self._sizes: list[int] = sizes.tolist()
        self._order: list[int] = order.tolist()
        self._next = 0
        self._is_taken = [False] * len(sizes)
        self._of_size: dict[int, list[int]] = defaultdict(list)  # used from the end; may contain groups that are taken
        for group in self._order:
            self._of_size[self._sizes[group]].append(group)
        self._ladder = sorted(self._of_size)  # the sizes of the groups left; may contain some that are gone

    def take_in_order(self, wanted: int) -> list[int]:
        """Take the next groups, as many as together have at most so many examples."""
        taken: list[int] = []
        while self._next < len(self._order) and self._sizes[group := self._order[self._next]] <= wanted:
            taken.append(self._mark(group))
            wanted -= self._sizes[group]
            self._next += 1
        return taken

    def take_fitting(self, wanted: int) -> list[int]:
        """Take any groups that together come near to so many examples."""
        taken: list[int] = []
        while wanted and (group := self._largest_up_to(wanted)) is not None:
            taken.append(self._mark(group))
            wanted -= self._sizes[group]
        if wanted and (group := self._smallest()) is not None and self._sizes[group] - wanted < wanted:
            taken.append(self._mark(group))
        return taken

    def _mark(self, group: int) -> int:
        self._is_taken[group] = True
        return group

    def _largest_up_to(self, most: int) -> int | None:
        while rung := bisect.bisect_right(self._ladder, most):
            if (group := self._last_of(self._ladder[rung - 1])) is not None:
                return group
            del self._ladder[rung - 1]
        return None

    def _smallest(self) -> int | None:
        while self._ladder:
            if (group := self._last_of(self._ladder[0])) is not None:
                return group
            del self._ladder[0]
        return None

    def _last_of(self, size: int) -> int | None:
        groups = self._of_size[size]
        while groups and self._is_taken[groups[-1]]:
            groups.pop()
        return groups[-1] if groups else None
