"""The interface of an aggregator: how updates are combined, and how the server applies the result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from flspec.core.components import Component, OmitDefaults, OneOf
from flspec.protocol.updates import ClientUpdate, Delta, weighted_mean
from flspec.schedules import Schedule
from flspec.server_optimizers import ServerOptimizer

__all__ = ["Aggregator", "MeanAggregator"]


class Aggregator(Component, OmitDefaults, ABC):
    """A combining rule together with a server optimizer, under the name that papers give the pair."""

    omitted: ClassVar[dict[str, Any]] = {"schedule": None}

    weighting: Annotated[
        Literal["examples", "uniform"],
        Field(
            description="a client's share of the mean: the examples it holds, client.max_examples at most, whether or "
            "not its steps reach them all; or the same for all"
        ),
    ] = "examples"
    schedule: Annotated[
        OneOf[Schedule] | None, Field(description="how the server's learning rate changes; absent: it does not")
    ] = None

    @field_validator("schedule")
    @classmethod
    def _is_known_before_training(cls, schedule: Schedule | None) -> Schedule | None:
        if schedule is not None and not schedule.is_planned:
            raise ValueError(
                "it depends on what a client measures, and the server measures nothing; use it as "
                "client.optimizer.schedule, or another one here"
            )
        return schedule

    @abstractmethod
    def combine(self, updates: Sequence[ClientUpdate]) -> Delta:
        """Combine the client updates, which are finite, in client order and at least one, into one update."""

    @property
    def is_plain_mean(self) -> bool:
        """Whether updates are combined by their weighted mean, and clients are weighed as `weighting` says."""
        return False

    @property
    @abstractmethod
    def server_optimizer(self) -> ServerOptimizer:
        """The rule that applies the combined update to the weights."""

    def client_weight(self, num_examples: int) -> int:
        """Return the planned weight of a client that may train on `num_examples` in a round."""
        return num_examples if self.weighting == "examples" else 1


class MeanAggregator(Aggregator, ABC):
    """The weighted mean of the client updates (McMahan et al., AISTATS 2017, Algorithm 1)."""

    def combine(self, updates: Sequence[ClientUpdate]) -> Delta:
        return weighted_mean(updates)

    @property
    def is_plain_mean(self) -> bool:
        own = type(self)
        return own.combine is MeanAggregator.combine and own.client_weight is Aggregator.client_weight
