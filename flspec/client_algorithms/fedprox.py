"""FedProx: Li et al., Federated Optimization in Heterogeneous Networks, MLSys 2020, https://arxiv.org/abs/1812.06127."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from flspec.client_algorithms.base import ClientAlgorithm


class FedProx(ClientAlgorithm):
    """Each client minimises its loss plus (mu / 2) ||w - w_t||^2, where w_t are the weights that the server sent.

    This is the paper's Equation 2. The gradient of the second term is mu (w - w_t). The client's planned steps are the
    paper's inexact solution.
    """

    kind: Literal["fedprox"] = "fedprox"
    mu: Annotated[
        float,
        Field(gt=0, le=1e6, description="how strongly a client is held near the server's weights", examples=[0.01]),
    ]

    def correct(self, gradient: Any, weight: Any, start: Any, server: Mapping[str, Any], own: Mapping[str, Any]) -> Any:
        return gradient + self.mu * (weight - start)
