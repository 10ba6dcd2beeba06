"""The interface of an aggregator: how updates are combined, and how the server applies the result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from flspec.core.components import Component, OmitDefaults, OneOf
from flspec.protocol.named_records import Weights
from flspec.protocol.updates import ClientUpdate, Delta, weighted_mean
from flspec.schedules import Schedule
from flspec.server_optimizers import ServerOptimizer

if TYPE_CHECKING:
    from flspec.protocol.records import Skew

__all__ = ["Aggregator", "MeanAggregator", "Need", "ServerSide", "WeightedAggregator"]


@dataclass(frozen=True)
class Need:
    """How many updates a round must have, by one of an aggregator's fields."""

    field: str
    least: int
    formula: str  # that gives `least`, for messages: "2 f + 3"


@dataclass(frozen=True, eq=False)
class ServerSide:
    """What the server knows beside the updates of a round."""

    record: Weights = field(default_factory=dict)  # the aggregator's, from the round before
    statistics: frozenset[str] = frozenset()  # names of tensors that training updates without gradients


class Aggregator(Component, OmitDefaults, ABC):
    """A combining rule together with a server optimizer, under the name that papers give the pair.

    Every client counts the same in it. One in which they count by what they hold is a `WeightedAggregator`.
    """

    omitted: ClassVar[dict[str, Any]] = {"schedule": None, "implementation": "flspec"}

    implementation: Annotated[
        Literal["flspec", "native"],
        Field(
            description="whose code: flspec's, as defined here, or the engine's own algorithm of this name, whose "
            "deviation from the definition the result states; each cohort then trains twice"
        ),
    ] = "flspec"
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

    def combine_with(self, updates: Sequence[ClientUpdate], server: ServerSide) -> tuple[Delta, Weights]:
        """Combine the client updates likewise; return the update and the aggregator's record from now on.

        For a rule that needs more than the updates. The others have `combine` alone.
        """
        return self.combine(updates), server.record

    def initial_record(self, weights: Weights) -> Weights:
        """Return its record before the first round: float32 tensors by name. `weights` are the learned ones."""
        return {}

    def needs(self) -> Iterator[Need]:
        """Yield how many updates it needs in a round; with fewer a run ends."""
        yield from ()

    def unmet(self, num_updates: int) -> Need | None:
        """Return a need that so many updates do not meet, the largest."""
        return max((need for need in self.needs() if num_updates < need.least), key=lambda n: n.least, default=None)

    def remarks(self, skew: Skew) -> Iterator[str]:
        """Yield what to know of it before it combines the updates of clients that differ so much."""
        yield from ()

    @property
    def is_plain_mean(self) -> bool:
        """Whether updates are combined by their weighted mean, and clients are weighed as `weighting` says."""
        return False

    if TYPE_CHECKING:

        @property
        @abstractmethod
        def server_optimizer(self) -> ServerOptimizer:
            """The rule that applies the combined update to the weights."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Leave a class abstract that has no server optimizer, be it a property or a field."""
        super().__pydantic_init_subclass__(**kwargs)
        if not (hasattr(cls, "server_optimizer") or "server_optimizer" in cls.model_fields):
            cls.__abstractmethods__ |= {"server_optimizer"}

    def client_weight(self, num_examples: int) -> int:
        """Return the planned weight of a client that may train on `num_examples` in a round."""
        return 1


class WeightedAggregator(Aggregator, ABC):
    """An aggregator in which clients count by what they hold, or all the same."""

    weighting: Annotated[
        Literal["examples", "uniform"],
        Field(
            description="a client's share of the mean: the examples it holds, client.max_examples at most, whether or "
            "not its steps reach them all; or the same for all"
        ),
    ] = "examples"

    def client_weight(self, num_examples: int) -> int:
        return num_examples if self.weighting == "examples" else 1


class MeanAggregator(WeightedAggregator, ABC):
    """The weighted mean of the client updates (McMahan et al., AISTATS 2017, Algorithm 1)."""

    def combine(self, updates: Sequence[ClientUpdate]) -> Delta:
        return weighted_mean(updates)

    @property
    def is_plain_mean(self) -> bool:
        own, plain = type(self), MeanAggregator
        return all(getattr(own, name) is getattr(plain, name) for name in ("combine", "combine_with", "client_weight"))
