"""What this backend can do, told without TensorFlow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from flspec.aggregators import Aggregator, MeanAggregator
from flspec.client_optimizers.sgd import Sgd as ClientSgd
from flspec.components import family_members, parse_component
from flspec.server_optimizers.adagrad import Adagrad
from flspec.server_optimizers.adam import Adam
from flspec.server_optimizers.sgd import Sgd
from flspec.server_optimizers.yogi import Yogi

__all__ = ["unsupported_settings"]

_LAYERS = ("flatten", "dense", "conv", "max_pool", "average_pool", "activation")  # translated in model.py
_LOSSES = ("cross_entropy",)
_CLIENT_OPTIMIZERS = (ClientSgd.model_fields["kind"].default,)  # translated in optimizers.py
_SERVER_OPTIMIZERS = (Sgd, Adam, Yogi, Adagrad)  # exactly these: a subclass may step otherwise


def unsupported_settings(settings: Mapping[str, Any]) -> list[str]:
    """What a plan's settings ask for that has no translation to TFF here, field first."""
    kinds = dict.fromkeys(layer["kind"] for layer in settings["layers"])
    return [
        *_unknown("model: layer kind", kinds, _LAYERS),
        *_unknown("client.loss:", [settings["loss"]], _LOSSES),
        *_unknown("client.optimizer:", [settings["client_optimizer"]["kind"]], _CLIENT_OPTIMIZERS),
        *_unsupported_aggregator(settings["aggregator"]),
    ]


def _unknown(field: str, wanted: Iterable[str], known: tuple[str, ...]) -> Iterator[str]:
    for kind in wanted:
        if kind not in known:
            yield f"{field} {kind} has no TFF translation; known: {', '.join(known)}"


def _unsupported_aggregator(document: dict[str, Any]) -> list[str]:
    kind = document["kind"]
    if kind not in family_members(Aggregator):
        return [f"aggregator: {kind} is not installed here"]
    aggregator = parse_component(Aggregator, document)
    if type(aggregator).combine is not MeanAggregator.combine:
        return [f"aggregator: {kind} does not combine updates by their weighted mean, as TFF does"]
    if type(optimizer := aggregator.server_optimizer) not in _SERVER_OPTIMIZERS:
        return [f"aggregator: {kind} has the server optimizer {type(optimizer).__name__}, which has no TFF translation"]
    return []
