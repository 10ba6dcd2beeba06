"""What rules of updates have in common: a server optimizer of any kind, and how they take an update of many tensors.

A rule is of the updates, never of the weights: differences of weights that are large and alike would lose their digits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated

import numpy as np
from pydantic import Field

from flspec.aggregators.base import Aggregator, ServerSide
from flspec.aggregators.vectors import Array, Tensors, Vectors, by_coordinate
from flspec.core.components import OneOf
from flspec.protocol.named_records import Weights
from flspec.protocol.records import Skew
from flspec.protocol.updates import ClientUpdate, Delta
from flspec.server_optimizers import ServerOptimizer
from flspec.server_optimizers.sgd import Sgd

__all__ = ["CoordinateRule", "NumByzantine", "Rule", "VectorRule", "median_of", "middle"]

NumByzantine = Annotated[
    int, Field(ge=0, le=10**6, description="byzantine updates a round that it withstands", examples=[1])
]
_SKEWED = 0.5  # mean label distance, of at most 2


class Rule(Aggregator, ABC):
    """A rule that combines updates, with a server optimizer of its own choice."""

    server_optimizer: Annotated[
        OneOf[ServerOptimizer],
        Field(description="how the combined update is applied; sgd with learning rate 1 adds it to the weights"),
    ] = Sgd()

    def combine(self, updates: Sequence[ClientUpdate]) -> Delta:
        return self.combine_with(updates, ServerSide())[0]

    def remarks(self, skew: Skew) -> Iterator[str]:
        if skew.emd.mean >= _SKEWED:
            yield (
                f"a robust rule takes clients for alike, and their labels are {skew.emd.mean:.2f} from all clients' on "
                "average (EMD, of at most 2), so it may leave out honest ones; compare with fedavg, without an attack"
            )


class CoordinateRule(Rule, ABC):
    """A rule of each coordinate by itself, statistics of batch norm included."""

    @abstractmethod
    def of_values(self, values: Array) -> Array:
        """Return what float64 [num_updates, num_values] are combined into, [num_values]."""

    def combine_with(self, updates: Sequence[ClientUpdate], server: ServerSide) -> tuple[Delta, Weights]:
        return by_coordinate([update.delta for update in updates], self.of_values), server.record


class VectorRule(Rule, ABC):
    """A rule of updates as vectors: all learned tensors of one together.

    Statistics of batch norm are no part of them: they have no gradient, and a variance that moves by 1 would outweigh
    all weights. They are combined by their coordinate median, whatever the rule, so that these are bounded, too.
    """

    @abstractmethod
    def of_vectors(self, updates: Sequence[ClientUpdate], record: Weights) -> Delta:
        """Return what updates are combined into, by their tensors that are learned."""

    def next_record(self, combined: Delta) -> Weights:
        """Return its record after a round."""
        return {}

    def combine_with(self, updates: Sequence[ClientUpdate], server: ServerSide) -> tuple[Delta, Weights]:
        learned = [replace(update, delta=_without(update.delta, server.statistics)) for update in updates]
        combined = self.of_vectors(learned, server.record)
        statistics = median_of([_without(update.delta, set(combined)) for update in updates])
        return {name: {**combined, **statistics}[name] for name in updates[0].delta}, self.next_record(combined)


def median_of(vectors: Vectors) -> Delta:
    """Return the median of each coordinate; of an even number of values the mean of the middle two."""
    return by_coordinate(vectors, middle)


def middle(values: Array) -> Array:
    """Return the median of each column; `numpy.median` takes twice as long."""
    ordered, num = np.sort(values, axis=0), len(values)
    return np.asarray((ordered[(num - 1) // 2] + ordered[num // 2]) / 2)


def _without(delta: Tensors, names: frozenset[str] | set[str]) -> Tensors:
    return {name: value for name, value in delta.items() if name not in names}
