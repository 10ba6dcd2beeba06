"""FedRep: Collins et al., Exploiting Shared Representations for Personalized FL, ICML 2021, arXiv:2102.07078."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from flspec.client_algorithms.base import ClientAlgorithm, Need, Pass


class FedRep(ClientAlgorithm):
    """A client first trains its own head on the representation that it was sent, then that with its head at rest.

    The paper's Algorithm 1. The head is what stays with each client (`model.local`), the representation what is sent.
    The first planned steps are the head's, of `head_epochs` of client.epochs or `head_steps` of client.steps, the rest
    are the representation's. The part at rest has no gradient, weight decay or momentum; each part starts with an
    optimizer of its own. Without this algorithm both parts take every step, which is FedPer (arXiv:1912.00818).
    """

    kind: Literal["fedrep"] = "fedrep"
    head_epochs: Annotated[
        int | None,
        Field(
            ge=1, description="of client.epochs, those in which the head is trained, 1 if absent; or give head_steps"
        ),
    ] = None
    head_steps: Annotated[
        int | None, Field(ge=1, description="of client.steps, those in which the head is trained; or give head_epochs")
    ] = None
    counts_epochs = True
    goes_with: ClassVar[dict[str, Any]] = {"client": {"epochs": 2}}

    @model_validator(mode="after")
    def _one_of_two(self) -> FedRep:
        if self.head_epochs is not None and self.head_steps is not None:
            raise ValueError("head_epochs and head_steps both say when its head is trained; give one")
        return self

    @property
    def needs(self) -> tuple[Need, ...]:
        return ("fresh_optimizer", "public_steps", "local_part")

    def why_invalid(self, epochs: int | None, steps: int | None) -> str | None:
        unit, mine, given = (
            ("steps", self.head_steps, steps) if self.head_steps else ("epochs", self.head_epochs or 1, epochs)
        )
        if given is None:
            return f"has head_{unit}, which are of client.{unit}; give these"
        if mine >= given:
            return f"has head_{unit}: {mine}, which leaves nothing of client.{unit}: {given} to what is sent; lower it"
        return None

    def passes(self, num_steps: int, epochs: int) -> Sequence[Pass]:
        head = self.head_steps or num_steps * (self.head_epochs or 1) // epochs
        return Pass(0, head, trains="local"), Pass(head, trains="sent")
