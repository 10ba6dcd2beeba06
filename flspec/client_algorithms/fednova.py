"""FedNova: Wang et al., Tackling the Objective Inconsistency Problem, NeurIPS 2020, arXiv:2007.07481."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from flspec.client_algorithms.base import ClientAlgorithm, ClientOutcome, CohortWork, LocalWork, Need, Tensors
from flspec.client_optimizers.sgd import Sgd
from flspec.protocol.updates import Delta


class FedNova(ClientAlgorithm):
    """Updates are divided by how far their steps reach, so that clients of many steps do not outweigh the others.

    A client's update is -eta sum_k a_k g_k over its gradients g_k (the paper's Equation 4). With ||a_i||_1 the sum of
    its a_k and p_i its share of the mean, the server moves by

        tau_eff sum_i p_i update_i / ||a_i||_1, where tau_eff = sum_i p_i ||a_i||_1,

    which is what FedAvg's update is without its bias to long work. The a_k follow from the optimizer: 1 each for SGD,
    (1 - rho^(tau - k)) / (1 - rho) for k = 0, 1, ... with momentum rho, and (1 - eta mu)^(tau - 1 - k) with the
    proximal term mu (w - w_t). ||a_i||_1 is computed as what they are: how far the steps lead if each gradient is 1,
    in units of eta. So nesterov, and momentum with a proximal term, are covered by the same definition. A weight decay
    is part of the gradient. Statistics of batch norm are averaged as they are.
    """

    kind: Literal["fednova"] = "fednova"
    mu: Annotated[float, Field(ge=0, le=1e6, description="of a proximal term, as in fedprox; 0: none")] = 0.0
    sends_numbers: ClassVar[tuple[str, ...]] = ("length",)  # ||a_i||_1

    @property
    def needs(self) -> tuple[Need, ...]:
        return ("mean", "sgd", "no_clip") if self.mu else ("mean", "sgd")

    def correct(self, gradient: Any, weight: Any, start: Any, server: Mapping[str, Any], own: Mapping[str, Any]) -> Any:
        return gradient + self.mu * (weight - start) if self.mu else gradient

    def finish(self, work: LocalWork) -> ClientOutcome:
        assert isinstance(work.optimizer, Sgd), "no other is permitted"
        length = length_of(work.num_steps, work.optimizer, work.learning_rate * self.mu)
        plain = super().finish(work).delta
        each = {name: value if name in work.statistics else value / np.float32(length) for name, value in plain.items()}
        return ClientOutcome(each, numbers={"length": length})

    def combine(self, work: CohortWork) -> tuple[Delta, Mapping[str, Tensors]]:
        effective = sum(p * numbers["length"] for p, numbers in zip(work.shares, work.numbers, strict=True))
        moved = {name: v if name in work.statistics else effective * v for name, v in work.mean.items()}
        return moved, {}


def length_of(num_steps: int, optimizer: Sgd, pull: float) -> float:
    """Return ||a||_1 of so many steps; `pull` is eta mu. It is 1 if there are none, whose update is 0."""
    reached = velocity = 0.0
    for _ in range(num_steps):
        gradient = 1.0 - pull * reached
        velocity = optimizer.momentum * velocity + gradient
        reached += gradient + optimizer.momentum * velocity if optimizer.nesterov else velocity
    return reached if num_steps else 1.0
