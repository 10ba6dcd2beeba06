"""q-FedAvg: Li et al., Fair Resource Allocation in Federated Learning, ICLR 2020, arXiv:1905.10497."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from flspec.client_algorithms.base import (
    ClientAlgorithm,
    ClientOutcome,
    CohortWork,
    LocalWork,
    Measurement,
    Need,
    Tensors,
)
from flspec.protocol.updates import Delta


class QFedAvg(ClientAlgorithm):
    """Clients with a larger loss move the server more, which evens out what clients get.

    The paper's Algorithm 2, with L = 1 / eta of the client's steps. With F_k the client's loss at the server's w and
    dw_k = L (w - w_k) after its steps, it sends Delta_k = F_k^q dw_k and h_k = q F_k^(q - 1) ||dw_k||^2 + L F_k^q, and
    the server moves by - sum_k Delta_k / sum_k h_k. F_k is the mean of `client.loss` over all of the client's training
    examples, as they are evaluated. A client whose loss is 0 counts nothing, unless q is 0. With q = 0 this is FedAvg
    in which clients count alike, as they must here. Statistics of batch norm are averaged as they are.
    """

    kind: Literal["qfedavg"] = "qfedavg"
    goes_with: ClassVar[dict[str, Any]] = {"aggregator": {"weighting": "uniform"}}
    q: Annotated[
        float, Field(ge=0, le=100, description="0: plain averaging; the larger, the more even", examples=[1.0])
    ]
    sends_numbers: ClassVar[tuple[str, ...]] = ("h",)

    @property
    def needs(self) -> tuple[Need, ...]:
        return ("uniform_mean", "plain_sgd")

    @property
    def measured_at_start(self) -> tuple[Measurement, ...]:
        return ("loss",)

    def finish(self, work: LocalWork) -> ClientOutcome:
        assert work.start_loss is not None, "it is measured"
        loss, delta = work.start_loss, super().finish(work).delta
        smoothness = 1 / work.learning_rate if work.learning_rate else 0.0  # L; without a rate nothing moves
        learned = {name: value.astype(np.float64) for name, value in delta.items() if name not in work.statistics}
        weight = _power(loss, self.q) * smoothness
        squared = smoothness**2 * sum(float(np.square(value).sum()) for value in learned.values())
        h = weight + (self.q * _power(loss, self.q - 1) * squared if self.q and loss else 0.0)
        weighed = {name: (weight * value).astype(np.float32) for name, value in learned.items()}
        return ClientOutcome({**delta, **weighed}, numbers={"h": h})

    def combine(self, work: CohortWork) -> tuple[Delta, Mapping[str, Tensors]]:
        total = sum(numbers["h"] for numbers in work.numbers)
        scale = len(work.numbers) / total if total else 0.0  # the mean is the sum divided by their number
        return {name: v if name in work.statistics else scale * v for name, v in work.mean.items()}, {}


def _power(base: float, exponent: float) -> float:
    """Return base ** exponent, infinite where that overflows: the update then does not count."""
    with np.errstate(over="ignore"):
        return float(np.float64(base) ** exponent)
