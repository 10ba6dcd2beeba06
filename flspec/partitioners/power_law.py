"""Few classes a client, in amounts that differ by orders of magnitude.

Li et al. Federated Optimization in Heterogeneous Networks (FedProx). MLSys 2020, Section 5.1 and its code.
https://arxiv.org/abs/1812.06127
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flspec.core.randomness import Stream
from flspec.data.examples import Examples
from flspec.errors import InputError
from flspec.partitioners.base import ByClass, ClientIndices, Count
from flspec.partitioners.dealing import apportion, check_classes, deal_classes, members_of


class Rolled(ByClass, ABC):
    """Client i has classes i, i + 1, ..., modulo the number of classes; weights decide how much of each."""

    classes_per_client: Annotated[Count, Field(description="how many classes each client has")] = 2
    min_per_class: Annotated[
        int, Field(ge=0, le=10**9, description="examples a client has of each of its classes, before weights apply")
    ] = 5

    def split(self, examples: Examples, stream: Stream) -> ClientIndices:
        members = [of_class for of_class in members_of(*self.classes(examples)) if len(of_class)]
        check_classes(self.classes_per_client, len(members))
        counts = np.zeros((self.clients, len(members)), np.int64)
        holders = [self._holders(label, len(members)) for label in range(len(members))]
        for label, weights in enumerate(self._weights([len(of_class) for of_class in holders], stream)):
            counts[holders[label], label] = self._sizes(label, weights, len(members[label]))
        if not counts.any(axis=1).all():
            empty = np.flatnonzero(~counts.any(axis=1))
            raise InputError(
                f"partition: {len(empty)} of {self.clients} clients would hold nothing, as client {empty[0]}; "
                f"raise {self._too_little}, or lower clients"
            )
        return deal_classes(members, counts, stream)

    @property
    def _too_little(self) -> str:
        """The setting that may leave a client without examples."""
        return "min_per_class to 1 or more"

    @abstractmethod
    def _weights(self, num_holders: list[int], stream: Stream) -> list[NDArray[np.float64]]:
        """Return, for each class, the weights of the clients that have it, in client order."""

    def _holders(self, label: int, num_classes: int) -> NDArray[np.int64]:
        """Return the clients that have a class, ascending."""
        clients = np.arange(self.clients)
        return clients[(label - clients) % num_classes < self.classes_per_client]

    def _sizes(self, label: int, weights: NDArray[np.float64], num_examples: int) -> NDArray[np.int64]:
        """Return how many examples of a class each of its clients has: a minimum, and the rest by weight."""
        if not len(weights):
            return np.zeros(0, np.int64)
        left = num_examples - self.min_per_class * len(weights)
        if left < 0:
            raise InputError(
                f"partition: {len(weights)} clients with min_per_class {self.min_per_class} need "
                f"{self.min_per_class * len(weights):,} examples of class number {label}, but there are "
                f"{num_examples:,}; lower min_per_class, clients or classes_per_client"
            )
        return self.min_per_class + apportion(weights, left)


class PowerLaw(Rolled):
    """Client i has classes i, i + 1, ..., counted round, each in an amount from a log-normal distribution.

    The k-th client of a class holds min_per_class + r w_k / sum(w) of its examples, r being what the minimums leave and
    ln w_k ~ N(0, sigma²). FedProx on MNIST: 1,000 clients, 2 classes, sigma 2, at least 5 of each.
    """

    kind: Literal["power_law"] = "power_law"
    sigma: Annotated[
        float, Field(ge=0, le=20, description="deviation of the logarithm of an amount; 0 gives equal parts")
    ] = 2.0

    def _weights(self, num_holders: list[int], stream: Stream) -> list[NDArray[np.float64]]:
        drawn = [self.sigma * stream.child("weights", label).normal(num) for label, num in enumerate(num_holders)]
        return [np.exp(logs - logs.max(initial=-np.inf)) for logs in drawn]
