"""What a client optimizer is: a description that each engine turns into its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from flspec.core.components import Component, OmitDefaults, OneOf
from flspec.schedules import Schedule

__all__ = ["ClientOptimizer"]


class ClientOptimizer(Component, OmitDefaults, ABC):
    """The rule of a client's steps.

    Its class states the rule; engines implement it and refuse, by `kind`, those they do not know.
    """

    omitted: ClassVar[dict[str, Any]] = {"state": None, "schedule": None}
    counts_steps: ClassVar[bool] = False  # whether a step depends on how many there were before it

    state: Annotated[
        Literal["reset", "kept"] | None,
        Field(description="start afresh each round, or go on; absent: reset if federated, else kept"),
    ] = None
    schedule: Annotated[
        OneOf[Schedule] | None, Field(description="how the learning rate changes; absent: it does not")
    ] = None

    @abstractmethod
    def initial_slots(self) -> dict[str, float]:
        """What is remembered for each weight, by name, and the value every entry of it starts with; {} if nothing."""
