"""Poisson sampling by turns: groups of clients, of which each round draws from the next one."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from flspec.core.randomness import Stream
from flspec.samplers.base import Sampler, Sampling


class CyclicPoisson(Sampler):
    """Groups of clients take turns, and in its turn each client of a group takes part by a coin of its own.

    The probability is groups * size / clients, and a client comes at most once in `groups` rounds. Every `groups`
    clients, in order, are dealt into different groups, in an order of their own. So the group of a client depends on
    its number and the seed alone, and who else is there moves nobody to another group.
    """

    kind: Literal["cyclic_poisson"] = "cyclic_poisson"
    may_be_empty = True
    size: Annotated[PositiveInt, Field(description="expected number of clients a round", examples=[2])]
    groups: Annotated[PositiveInt, Field(description="groups that take turns", examples=[2])]

    def cohort(self, num_clients: int, stream: Stream) -> NDArray[np.int64]:
        """Return whose coin says yes, of all groups."""
        return np.flatnonzero(stream.uniform(num_clients) < self.groups * self.size / num_clients)

    def cohort_of(self, number: int, num_clients: int, stream: Stream) -> NDArray[np.int64]:
        willing = super().cohort_of(number, num_clients, stream)
        groups = self.group_of(num_clients, stream)
        return np.asarray(willing[groups[willing] == (number - 1) % self.groups])

    def group_of(self, num_clients: int, stream: Stream) -> NDArray[np.int64]:
        """[clients]: the group of each, counted from 0."""
        deals = stream.child("groups").words(-(-num_clients // self.groups) * self.groups).reshape(-1, self.groups)
        return np.argsort(deals, axis=1, kind="stable").ravel()[:num_clients]

    def why_invalid(self, num_clients: int) -> str | None:
        if self.groups * self.size <= num_clients:
            return None
        return (
            f"cohort.size is {self.size} in {self.groups} groups, {self.groups * self.size} clients, but "
            f"partition.clients is {num_clients}; lower size or groups, or add clients"
        )

    def sampling(self, num_clients: int) -> Sampling:
        return Sampling("cyclic_poisson", self.size, groups=self.groups)
