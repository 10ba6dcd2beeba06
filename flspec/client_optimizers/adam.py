"""Adam on the client: Kingma and Ba, ICLR 2015, https://arxiv.org/abs/1412.6980, Algorithm 1."""

from __future__ import annotations

from abc import ABC
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from flspec.client_optimizers.base import ClientOptimizer


class MomentRule(ClientOptimizer, ABC):
    """The common part of Adam and AdamW: their parameters, two moments of each weight's gradient, a count of steps."""

    omitted: ClassVar[dict[str, Any]] = ClientOptimizer.omitted | {"epsilon_hat": False}
    counts_steps: ClassVar[bool] = True

    learning_rate: Annotated[float, Field(gt=0, le=1e6, description="step size", examples=[0.001])]
    beta_1: Annotated[float, Field(ge=0, lt=1, description="decay of the first moment")] = 0.9
    beta_2: Annotated[float, Field(ge=0, lt=1, description="decay of the second moment")] = 0.999
    epsilon: Annotated[float, Field(gt=0, le=1e6, description="added to the root of the second moment")] = 1e-8
    epsilon_hat: Annotated[
        bool, Field(description="add epsilon before the second moment's bias is corrected, as Keras does, not after")
    ] = False

    def initial_slots(self) -> dict[str, float]:
        return {"first_moment": 0.0, "second_moment": 0.0}


class Adam(MomentRule):
    """Adam, with weight decay where asked for.

    m <- beta_1 m + (1 - beta_1) g;  v <- beta_2 v + (1 - beta_2) g^2;
    w <- w - learning_rate * (m / (1 - beta_1^t)) / (sqrt(v / (1 - beta_2^t)) + epsilon) at step t, from 1,
    where g is the batch's mean gradient plus weight_decay * w: coupled, an L2 penalty. Torch's definition.
    With epsilon_hat, epsilon / sqrt(1 - beta_2^t) stands in the place of epsilon. That is the paper's second form (the
    end of its Section 2, before 2.1), and Keras's definition:
    w <- w - learning_rate * sqrt(1 - beta_2^t) / (1 - beta_1^t) * m / (sqrt(v) + epsilon).
    """

    kind: Literal["adam"] = "adam"
    weight_decay: Annotated[float, Field(ge=0, le=1e6, description="L2 penalty on every weight")] = 0.0
