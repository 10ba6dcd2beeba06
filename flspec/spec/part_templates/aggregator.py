"""An aggregator: how updates become one, and how the server applies it. In a spec:

parts: [my_aggregator.py]
aggregator: {kind: my_aggregator, trim: 1}
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from flspec.aggregators import Aggregator
from flspec.protocol.updates import ClientUpdate, Delta
from flspec.server_optimizers import ServerOptimizer
from flspec.server_optimizers.sgd import Sgd


class MyAggregator(Aggregator):
    """The mean of each value without the `trim` smallest and largest; with too few updates, of all."""

    kind: Literal["my_aggregator"] = "my_aggregator"
    trim: Annotated[int, Field(ge=0, description="updates left out at either end")] = 1

    def combine(self, updates: Sequence[ClientUpdate]) -> Delta:
        """Return one update, float64 by name, from those that are finite, in client order, at least one."""
        trim = self.trim if len(updates) > 2 * self.trim else 0
        values = {name: np.stack([update.delta[name] for update in updates]) for name in updates[0].delta}
        ordered = {name: np.sort(value.astype(np.float64), axis=0) for name, value in values.items()}
        return {name: value[trim : len(updates) - trim].mean(axis=0) for name, value in ordered.items()}

    @property
    def server_optimizer(self) -> ServerOptimizer:
        return Sgd(learning_rate=1.0)  # the update is added to the weights
