"""The interface of a client optimizer: a description that each engine turns into its own optimizer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from flspec.core.components import Component, OmitDefaults, OneOf
from flspec.schedules import Schedule

__all__ = ["ClientOptimizer"]


class ClientOptimizer(Component, OmitDefaults, ABC):
    """The rule of a client's steps.

    Its class states the rule. Engines implement it, and refuse by `kind` those that they do not know.
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

    @abstractmethod
    def initial_slots(self) -> dict[str, float]:
        """Return the optimizer's slots by name, each with the value that its entries start with; {} if it has none."""
