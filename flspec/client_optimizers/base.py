"""The interface of a client optimizer: a description that each engine turns into its own optimizer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from flspec.core.components import Component, OmitDefaults, OneOf
from flspec.schedules import Schedule

__all__ = ["ClientOptimizer"]


class ClientOptimizer(Component, OmitDefaults, ABC):
    """The rule of a client's steps.

    Its class states the rule. Engines implement it, and refuse by `kind` those that they do not know. One that does not
    come with flspec brings its own translation, `torch`.
    """

    omitted: ClassVar[dict[str, Any]] = {"state": None, "schedule": None}
    if TYPE_CHECKING:
        learning_rate: float  # every rule has one, with a description of its own
    counts_steps: ClassVar[bool] = False  # whether a step depends on the number of steps before it

    state: Annotated[
        Literal["reset", "kept"] | None,
        Field(description="start afresh each round, or go on; absent: reset if federated, else kept"),
    ] = None
    schedule: Annotated[
        OneOf[Schedule] | None, Field(description="how the learning rate changes; absent: it does not")
    ] = None

    @classmethod
    def lacks(cls) -> list[str]:
        return [*super().lacks(), *(["torch"] if cls.torch is ClientOptimizer.torch else [])]

    @abstractmethod
    def initial_slots(self) -> dict[str, float]:
        """Return the optimizer's slots by name, each with the value that its entries start with; {} if it has none."""

    def torch(self, number: int, gradient: Any, weight: Any, slots: Mapping[str, Any], rate: float) -> Any:
        """Return what step `number`, from 1, adds to one weight, a tensor; those in `slots` are updated in place.

        `rate` is the learning rate of this step, schedules included. `number` counts on only with `counts_steps`;
        without, it is from the start of the round.
        """
        raise NotImplementedError(f"{type(self).__name__} has no torch translation")
