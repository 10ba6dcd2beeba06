"""What a client algorithm needs of the places where a model's tensors live."""

from __future__ import annotations

from collections.abc import Mapping

from flspec.errors import Problem, SpecError
from flspec.layers import Tensor
from flspec.spec.spec import Spec

__all__ = ["check_algorithm"]


def check_algorithm(spec: Spec, parameters: Mapping[str, Tensor]) -> None:
    """Raise SpecError if the algorithm needs a part that stays with clients, or none. `parameters` are placed."""
    if (algorithm := spec.client.algorithm) is None:
        return
    kind, needs = str(getattr(algorithm, "kind", "")), algorithm.needs
    stays = [name for name, tensor in parameters.items() if tensor.placement == "client"]
    statistics = [n for n, tensor in parameters.items() if tensor.placement == "server" and not tensor.is_learned]
    if "local_part" in needs and not any(parameters[name].is_learned for name in stays):
        message = f"{kind} trains a part that stays with each client; name it, as in model.local: [output]"
        raise SpecError([Problem(message, "client.algorithm")])
    if "sent_model" in needs and (others := stays + statistics):
        message = (
            f"{kind} trains a second model of all weights, but {others[0]} is no weight that is sent; choose a model "
            "without batch norm, or batch_norm: frozen, and no model.local"
        )
        raise SpecError([Problem(message, "client.algorithm")])
