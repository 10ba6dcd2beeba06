"""Federated averaging with Adagrad on the server."""

from __future__ import annotations

from typing import Literal

from flspec.aggregators.base import MeanAggregator
from flspec.server_optimizers.adagrad import Adagrad, AdagradParameters


class FedAdagrad(AdagradParameters, MeanAggregator):
    """The mean of the updates, then the server optimizer `adagrad` (Reddi et al. 2021)."""

    kind: Literal["fedadagrad"] = "fedadagrad"

    @property
    def server_optimizer(self) -> Adagrad:
        return Adagrad(**self.model_dump(include=set(AdagradParameters.model_fields)))
