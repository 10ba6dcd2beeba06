"""Modes of one spec: the same data, model and client work, learned together, pooled, or by each client alone.

- `federated` is the spec as written.
- `centralized` gives the examples of all clients to one client, which is the cohort of every round. The server takes
  its result, up to rounding. `client.steps` are this client's steps. `client.max_examples` still caps the examples of
  each pooled client, and the holdout of each pooled client is evaluated separately.
- `local_only` leaves every tensor with each client, so the server learns nothing and nothing is sent.

In the last two modes a client's optimizer state carries over from round to round by default, because nothing there
interrupts the training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flspec.aggregators.fedavg import FedAvg
from flspec.client_optimizers import ClientOptimizer
from flspec.core.ragged import Ragged
from flspec.protocol.batch_rule import BatchRule
from flspec.samplers.all import All
from flspec.spec.spec import Spec

__all__ = ["TrainedOn", "as_carried_out", "keeps"]


@dataclass(frozen=True, eq=False)
class TrainedOn:
    """The examples of each client that trains, in parts: one part, or if pooled one for each original client."""

    parts: Ragged
    is_pooled: bool

    def __len__(self) -> int:
        return 1 if self.is_pooled else len(self.parts)

    @property
    def whole(self) -> Ragged:
        """The examples of each client, its parts together."""
        return Ragged.cut(self.parts.values, np.array([len(self.parts.values)])) if self.is_pooled else self.parts

    def of(self, client: int) -> Sequence[NDArray[np.int64]]:
        """Return a client's parts."""
        return self.parts if self.is_pooled else (self.parts[client],)

    def num_used(self, rule: BatchRule) -> NDArray[np.int64]:
        """[clients]: how many of its examples each trains on at most in a round."""
        used = rule.num_used(self.parts.sizes)
        return np.array([used.sum()]) if self.is_pooled else used


def as_carried_out(spec: Spec) -> Spec:
    """Return the spec, without the settings that only clients that learn together have, if its mode is another one."""
    if spec.mode == "federated":
        return spec
    client = spec.client.model_copy(update={"algorithm": None})
    together = {"cohort": All(), "aggregator": FedAvg(), "postprocessors": (), "client": client}
    together |= {"compression": None, "secure_aggregation": None, "faults": (), "min_clients": 1}
    return spec.model_copy(update=together)


def keeps(spec: Spec, optimizer: ClientOptimizer) -> bool:
    """Return whether the state of a client's optimizer carries over from round to round."""
    return (optimizer.state or ("reset" if spec.mode == "federated" else "kept")) == "kept"
