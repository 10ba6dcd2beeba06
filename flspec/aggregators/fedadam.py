"""Federated averaging with Adam on the server."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from flspec.aggregators.base import MeanAggregator
from flspec.server_optimizers.adam import Adam, AdamParameters


class FedAdam(AdamParameters, MeanAggregator):
    """The mean of the updates, then the server optimizer `adam`.

    By default it has bias correction and v starts at 0, as in Kingma and Ba. `bias_correction: false` is FedAdam of
    Reddi et al. 2021, who start v at epsilon^2 or above. `epsilon_hat: true` is Keras's Adam.
    """

    omitted: ClassVar[dict[str, Any]] = MeanAggregator.omitted | {"epsilon_hat": False}
    kind: Literal["fedadam"] = "fedadam"

    @property
    def server_optimizer(self) -> Adam:
        return Adam(**self.model_dump(include=set(AdamParameters.model_fields)))
