"""Clients that drop out of a round."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from flspec.faults.base import Loss


class Dropout(Loss):
    """A client is drawn and then gone: before it trains, or after it trained and before its update arrives.

    A cohort then has an update less; nobody takes the client's place. What the client keeps from round to round stays
    as it was before the round.
    """

    kind: Literal["dropout"] = "dropout"
    phase: Annotated[
        Literal["before_training", "after_training"], Field(description="when it drops out; after costs its work")
    ] = "after_training"

    @property
    def when(self) -> Literal["before_training", "after_training"]:
        return self.phase

    @property
    def title(self) -> str:
        return f"dropped out {self.phase.replace('_', ' ')}"
