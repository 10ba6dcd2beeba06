"""Federated averaging with Adam on the server."""

from __future__ import annotations

from typing import Literal

from flspec.aggregators.base import MeanAggregator
from flspec.server_optimizers.adam import Adam, AdamParameters


class FedAdam(AdamParameters, MeanAggregator):
    """The mean of the updates, then the server optimizer `adam` (Reddi et al. 2021)."""

    kind: Literal["fedadam"] = "fedadam"

    @property
    def server_optimizer(self) -> Adam:
        return Adam(**self.model_dump(include=set(AdamParameters.model_fields)))
