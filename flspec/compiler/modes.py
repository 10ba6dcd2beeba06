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

from flspec.aggregators.fedavg import FedAvg
from flspec.client_optimizers import ClientOptimizer
from flspec.partitioners import ClientIndices
from flspec.samplers.all import All
from flspec.spec.spec import Spec

__all__ = ["as_carried_out", "keeps", "pooled"]


def as_carried_out(spec: Spec) -> Spec:
    """Return the spec, without the settings that only clients that learn together have, if its mode is another one."""
    if spec.mode == "federated":
        return spec
    client = spec.client.model_copy(update={"algorithm": None})
    together = {"cohort": All(), "aggregator": FedAvg(), "postprocessors": (), "client": client}
    together |= {"compression": None, "secure_aggregation": None, "faults": (), "min_clients": 1}
    return spec.model_copy(update=together)


def pooled(spec: Spec, client_indices: ClientIndices) -> list[ClientIndices]:
    """Return the examples of each client that trains, in parts: one part, or if pooled one for each original client."""
    return [client_indices] if spec.mode == "centralized" else [[examples] for examples in client_indices]


def keeps(spec: Spec, optimizer: ClientOptimizer) -> bool:
    """Return whether the state of a client's optimizer carries over from round to round."""
    return (optimizer.state or ("reset" if spec.mode == "federated" else "kept")) == "kept"
