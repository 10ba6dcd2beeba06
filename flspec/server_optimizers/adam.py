"""Adam on the server."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from flspec.core.components import Document
from flspec.server_optimizers.base import Array, ServerOptimizer


class AdamParameters(Document):
    """Parameters of the server's Adam, shared with `fedadam`."""

    learning_rate: Annotated[float, Field(gt=0, le=1e6, description="server step size, eta", examples=[0.03])]
    beta_1: Annotated[float, Field(ge=0, lt=1, description="decay of the first moment")] = 0.9
    beta_2: Annotated[float, Field(ge=0, lt=1, description="decay of the second moment")] = 0.99
    epsilon: Annotated[
        float, Field(gt=0, le=1e6, description="added to the root of the second moment; tau in Reddi et al.")
    ] = 1e-3
    epsilon_hat: Annotated[
        bool, Field(description="add epsilon before the second moment's bias is corrected, as Keras does, not after")
    ] = False
    initial_accumulator: Annotated[
        float, Field(ge=0, le=1e6, description="where every entry of the second moment starts")
    ] = 0.0
    bias_correction: Annotated[
        bool, Field(description="divide each moment by 1 - beta^t, t the number of the update")
    ] = True

    @model_validator(mode="after")
    def _hat_needs_correction(self) -> AdamParameters:
        if self.epsilon_hat and not self.bias_correction:
            raise ValueError(
                "epsilon_hat is true, but bias_correction is false; set bias_correction: true or remove epsilon_hat"
            )
        return self


class MomentOptimizer(AdamParameters, ServerOptimizer, ABC):
    """A step along the first moment of Delta, scaled by the root of its second:

    m <- beta_1 m + (1 - beta_1) Delta;  v <- next_second(v, Delta^2);
    w <- w + learning_rate * m' / (sqrt(v') + epsilon'), where m' = m / (1 - beta_1^t) and v' = v / (1 - beta_2^t)
    at update t with bias_correction, and m' = m, v' = v without. (A v that does not start at 0 is divided too.)
    epsilon' = epsilon, or epsilon / sqrt(1 - beta_2^t) with epsilon_hat: with beta_2 = 0.999 that is 31.6 times as
    much at the first update. It is Kingma and Ba's second form (the end of their Section 2, before 2.1), and Keras's:
    w <- w + learning_rate * sqrt(1 - beta_2^t) / (1 - beta_1^t) * m / (sqrt(v) + epsilon).
    """

    @abstractmethod
    def next_second(self, second: Array, square: Array) -> Array:
        """Return the second moment after an update whose square is `square`."""

    def initial_slots(self) -> dict[str, float]:
        return {"first_moment": 0.0, "second_moment": self.initial_accumulator}

    def step(self, number: int, delta: Array, slots: Mapping[str, Array]) -> tuple[Array, dict[str, Array]]:
        first = self.beta_1 * slots["first_moment"] + (1 - self.beta_1) * delta
        second = self.next_second(slots["second_moment"], delta**2)
        first_scale = second_scale = 1.0
        if self.bias_correction:
            first_scale, second_scale = 1 - self.beta_1**number, 1 - self.beta_2**number
        epsilon = self.epsilon / np.sqrt(second_scale) if self.epsilon_hat else self.epsilon
        change = self.learning_rate * (first / first_scale) / (np.sqrt(second / second_scale) + epsilon)
        return change, {"first_moment": first, "second_moment": second}


class Adam(MomentOptimizer):
    """Kingma and Ba, ICLR 2015, Algorithm 1, with g = -Delta: v <- beta_2 v + (1 - beta_2) Delta^2.

    Without bias_correction this is FedAdam of Reddi et al. 2021, Algorithm 2.
    """

    kind: Literal["adam"] = "adam"
    is_elementwise: ClassVar[bool] = True

    def next_second(self, second: Array, square: Array) -> Array:
        return self.beta_2 * second + (1 - self.beta_2) * square
