"""The interface of a fault: which tasks it hits, and what becomes of their examples, of their updates or of themselves.

Which tasks are hit is drawn by compile and stands in the plan. The clients of an attack are therefore the same for each
rule that is compared, and on every backend.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt, model_validator

from flspec.core.components import Component
from flspec.core.randomness import Stream
from flspec.protocol.updates import Delta

if TYPE_CHECKING:
    from flspec.protocol.plan import ClientTask

__all__ = ["ExampleFault", "Fault", "Loss", "UpdateFault"]

Client = Annotated[int, Field(ge=0)]


class Fault(Component, ABC):
    """What goes wrong with the tasks that one of `clients`, `count`, `rate` and `at` names; else with one client."""

    hits_all: ClassVar[bool] = False  # whether it is every task that it hits where none of them is given
    loses_update: ClassVar[bool] = False  # whether an update never counts that no later fault hits

    clients: Annotated[
        tuple[Client, ...] | None, Field(min_length=1, max_length=100_000, description="these clients, in every round")
    ] = None
    count: Annotated[
        PositiveInt | None,
        Field(description="so many clients, drawn once, in every round; 1 if nothing says whom", examples=[2]),
    ] = None
    rate: Annotated[
        float | None, Field(gt=0, le=1, description="each task by a coin of its own, with this probability")
    ] = None
    at: Annotated[
        tuple[tuple[Client, PositiveInt], ...] | None,
        Field(min_length=1, max_length=100_000, description="pairs of a client and a round", examples=[[[3, 1]]]),
    ] = None
    rounds: Annotated[
        tuple[PositiveInt, PositiveInt] | None,
        Field(description="first and last round in which it happens; absent: all", examples=[[5, 10]]),
    ] = None

    @model_validator(mode="after")
    def _names_tasks_once(self) -> Fault:
        given = [name for name in ("clients", "count", "rate", "at") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} both say which tasks it hits; give one")
        if self.rounds and self.rounds[0] > self.rounds[1]:
            raise ValueError(f"rounds is {list(self.rounds)}; the first is not after the last")
        return self

    def hits(self, number: int, num_clients: int, stream: Stream) -> NDArray[np.bool_]:
        """[num_clients]: which clients' tasks it hits in round `number`, from 1; `stream` is this fault's."""
        if self.rounds and not self.rounds[0] <= number <= self.rounds[1]:
            return np.zeros(num_clients, bool)
        if self.rate is not None:
            return stream.child("coins", number).uniform(num_clients) < self.rate
        hit = np.zeros(num_clients, bool)
        hit[self._named(number, num_clients, stream)] = True
        return hit

    def _named(self, number: int, num_clients: int, stream: Stream) -> Any:
        if self.at is not None:
            return [client for client, at in self.at if at == number]
        if self.clients is not None:
            return list(self.clients)
        if self.count is None and self.hits_all:
            return slice(None)
        return stream.child("clients").choice(num_clients, self.count or 1)

    def why_invalid(self, num_clients: int, num_rounds: int) -> Iterator[tuple[str, str]]:
        """Yield the field and what is wrong with it, where it names clients or rounds that there are none of."""
        at = self.at or ()
        for field, named in (("clients", self.clients or ()), ("at", [client for client, _ in at])):
            if max(named, default=0) >= num_clients:
                yield field, f"{max(named)} is no client; there are {num_clients}, counted from 0"
        for field, numbers in (("rounds", self.rounds or ()), ("at", [number for _, number in at])):
            if max(numbers, default=0) > num_rounds:
                yield field, f"round {max(numbers)} is after the last; rounds is {num_rounds}"
        if (self.count or 0) > num_clients:
            yield "count", f"is {self.count}, but there are {num_clients} clients; lower it or add clients"

    @property
    def title(self) -> str:
        """The words by which results count it."""
        return str(getattr(self, "kind", "fault"))


class ExampleFault(Fault, ABC):
    """A task trains on examples that are not what they should be."""

    @abstractmethod
    def labels(self, labels: NDArray[Any], num_classes: int) -> NDArray[Any]:
        """Return the labels that take the place of these; of several labels an example, uint8 [num, num_classes]."""


class UpdateFault(Fault, ABC):
    """An update arrives that is not the outcome of the task. The server cannot tell by anything but its values.

    Attackers that know what honest clients send (`knows_all`) are the strongest that papers consider.
    """

    knows_all: ClassVar[bool] = False  # False: it is given no honest updates
    is_random: ClassVar[bool] = False  # whether it draws

    @abstractmethod
    def updates(self, own: Sequence[Delta], honest: Sequence[Delta], streams: Sequence[Stream]) -> Sequence[Delta]:
        """Return what the attacked tasks of one round send in place of `own`, float64, in client order.

        `honest` are the updates of the round's other tasks, and each of `streams` is one attacked task's.
        """


class Loss(Fault, ABC):
    """A task does not take place, or its update does not arrive."""

    loses_update = True

    @property
    def when(self) -> Literal["before_training", "after_training"]:
        """Whether the client trains in vain."""
        return "after_training"

    def loses(self, task: ClientTask, stream: Stream) -> bool:
        """Return whether a task that is hit is lost; `stream` is the client's, the same in every round."""
        return True
