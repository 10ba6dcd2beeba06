"""Federated averaging with Yogi on the server."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from flspec.aggregators.base import MeanAggregator
from flspec.server_optimizers.yogi import Yogi, YogiParameters


class FedYogi(YogiParameters, MeanAggregator):
    """The mean of the updates, then the server optimizer `yogi` (Reddi et al. 2021)."""

    omitted: ClassVar[dict[str, Any]] = MeanAggregator.omitted | {"epsilon_hat": False}
    kind: Literal["fedyogi"] = "fedyogi"

    @property
    def server_optimizer(self) -> Yogi:
        return Yogi(**self.model_dump(include=set(YogiParameters.model_fields)))
