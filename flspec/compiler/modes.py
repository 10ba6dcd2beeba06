"""What the modes make of one spec: the same data, model and client work, learned together, pooled, or each alone.

`federated` is what the spec says. `centralized` gives all that its clients hold to one client, the only one of every
round, whose result the server takes, up to rounding: `client.steps` are then its steps, `client.max_examples` still
caps each of the clients it stands for, and what each of them holds out is evaluated by itself. `local_only` leaves
every tensor with each client, so the server learns nothing and nothing is sent. In these two a client's optimizer goes
on from round to round unless told otherwise, as it does where nobody interrupts it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from flspec.aggregators.fedavg import FedAvg
from flspec.layers import Tensor
from flspec.partitioners import ClientIndices
from flspec.samplers.all import All
from flspec.spec.spec import Spec

__all__ = ["as_carried_out", "keeps_optimizer", "placements", "pooled"]


def as_carried_out(spec: Spec) -> Spec:
    """The spec with what its mode puts in the place of what only clients that learn together have."""
    if spec.mode == "federated":
        return spec
    client = spec.client.model_copy(update={"algorithm": None})
    together = {"cohort": All(), "aggregator": FedAvg(), "postprocessors": (), "client": client}
    return spec.model_copy(update=together)


def pooled(spec: Spec, client_indices: ClientIndices) -> list[ClientIndices]:
    """What each client that trains has, in parts that were held apart: its own, or in client order those of all."""
    return [client_indices] if spec.mode == "centralized" else [[held] for held in client_indices]


def placements(spec: Spec, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A model's tensors, where they live: those of the server with each client, if the mode leaves them there."""
    if spec.mode != "local_only":
        return dict(parameters)
    return {
        name: replace(tensor, placement="client") if tensor.placement == "server" else tensor
        for name, tensor in parameters.items()
    }


def keeps_optimizer(spec: Spec) -> bool:
    """Whether a client's optimizer goes on from round to round."""
    return (spec.client.optimizer.state or ("reset" if spec.mode == "federated" else "kept")) == "kept"
