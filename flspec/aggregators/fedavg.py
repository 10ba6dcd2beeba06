"""Federated averaging."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from flspec.aggregators.base import MeanAggregator
from flspec.server_optimizers.sgd import Sgd


class FedAvg(MeanAggregator):
    """The mean of the client updates is added to the weights (McMahan et al., AISTATS 2017, Algorithm 1)."""

    kind: Literal["fedavg"] = "fedavg"
    learning_rate: Annotated[
        float,
        Field(gt=0, le=1e6, description="server step size; 1 replaces the weights by the clients' mean"),
    ] = 1.0

    @property
    def server_optimizer(self) -> Sgd:
        return Sgd(learning_rate=self.learning_rate)
