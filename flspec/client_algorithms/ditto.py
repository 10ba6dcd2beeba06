"""Ditto: Li et al., Fair and Robust Federated Learning Through Personalization, ICML 2021, arXiv:2012.04221."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from flspec.client_algorithms.base import ClientAlgorithm, ClientOutcome, LocalWork, Need, Pass
from flspec.protocol.named_records import Records, Weights


class Ditto(ClientAlgorithm):
    """Beside the model that all learn together, each client trains one of its own, which is held near it.

    The paper's Algorithm 1. A client takes its planned steps from the server's w_t and sends them, as without Ditto.
    Then it takes as many, on the same batches, for its own weights,

        v <- v - eta (grad F(v) + lambda (v - w_t)),

    with an optimizer of its own, and keeps v, which starts at the server's first weights. What is evaluated is v, as
    where a part of a model stays with each client; what is measured in training is of w.
    """

    kind: Literal["ditto"] = "ditto"
    strength: Annotated[
        float, Field(ge=0, le=1e6, description="lambda: how strongly v is held near the server's", examples=[0.1])
    ]
    client_slots: ClassVar[Mapping[str, float]] = {"personal": 0.0}
    personal = "personal"

    @property
    def needs(self) -> tuple[Need, ...]:
        return ("fresh_optimizer", "public_steps", "sent_model")

    def initial_client(self, weights: Weights) -> Records:
        return {"personal": {name: np.array(weight) for name, weight in weights.items()}}

    def passes(self, num_steps: int, epochs: int) -> Sequence[Pass]:
        return Pass(is_corrected=False), Pass(record="personal")

    def correct(self, gradient: Any, weight: Any, start: Any, server: Mapping[str, Any], own: Mapping[str, Any]) -> Any:
        return gradient + self.strength * (weight - start)

    def finish(self, work: LocalWork) -> ClientOutcome:
        return ClientOutcome(super().finish(work).delta, work.passed)
