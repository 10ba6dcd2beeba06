"""Federated averaging with server momentum."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from flspec.aggregators.base import MeanAggregator
from flspec.server_optimizers.sgd import Sgd, SgdParameters


class FedAvgM(SgdParameters, MeanAggregator):
    """The mean of the updates, then the server optimizer `sgd` with momentum (Hsu et al. 2019, arXiv 1909.06335)."""

    kind: Literal["fedavgm"] = "fedavgm"
    momentum: Annotated[float, Field(ge=0, lt=1, description="share of the last velocity that is kept")] = 0.9

    @property
    def server_optimizer(self) -> Sgd:
        return Sgd(**self.model_dump(include=set(SgdParameters.model_fields)))
