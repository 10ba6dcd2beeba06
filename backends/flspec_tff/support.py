"""What this backend can do, told without TensorFlow."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from flspec.aggregators import Aggregator, MeanAggregator
from flspec.client_optimizers.sgd import Sgd as ClientSgd
from flspec.components import comes_with_flspec, family_members, parse_component
from flspec.plan import Plan
from flspec.server_optimizers.adagrad import Adagrad
from flspec.server_optimizers.adam import Adam
from flspec.server_optimizers.sgd import Sgd
from flspec.server_optimizers.yogi import Yogi

__all__ = ["unsupported"]

_MOST_BYTES = 100 * 2**20  # of one client's data; a constant of TFF
_LAYERS = ("flatten", "dense", "conv", "max_pool", "average_pool", "activation")  # translated in model.py
_LOSSES = ("cross_entropy",)
_CLIENT_OPTIMIZERS = (ClientSgd.model_fields["kind"].default,)  # translated in optimizers.py
_SERVER_OPTIMIZERS = (Sgd, Adam, Yogi, Adagrad)  # exactly these: a subclass may step otherwise


def unsupported(plan: Plan) -> list[str]:
    """What a plan asks for that TFF cannot do here, field first."""
    return [*_unsupported_settings(plan.settings), *_too_large(plan)]


def _unsupported_settings(settings: Mapping[str, Any]) -> list[str]:
    """What a plan's settings ask for that has no translation to TFF here, field first."""
    kinds = dict.fromkeys(layer["kind"] for layer in settings["layers"])
    return [
        *_unknown("model: layer kind", kinds, _LAYERS),
        *_unknown("client.loss:", [settings["loss"]], _LOSSES),
        *_unknown("client.optimizer:", [settings["client_optimizer"]["kind"]], _CLIENT_OPTIMIZERS),
        *_unsupported_aggregator(settings["aggregator"]),
    ]


def _too_large(plan: Plan) -> list[str]:
    """What cannot be sent to a client; compared with what it holds, which is the most it can be sent.

    Of examples that are transformed, each is sent as often as it is trained on.
    """
    data = plan.settings["data"]
    most = int(np.diff(plan.arrays["client_ends"], prepend=0).max())
    if data.get("transforms", {}).get("train"):
        ends = plan.arrays["batch_ends"][plan.arrays["task_batch_ends"] - 1]
        most = int(np.diff(ends, prepend=0).max())
    size = most * math.prod(data["input_shape"]) * np.dtype(data["feature_type"]).itemsize
    if size <= _MOST_BYTES:
        return []
    return [
        f"partition: a client holds {most:,} examples of together {size / 2**20:,.0f} MiB, but TFF sends at most "
        f"{_MOST_BYTES / 2**20:.0f} MiB to a client; use more clients, or another backend"
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
    if not comes_with_flspec(aggregator):
        return [f"aggregator: {kind} does not come with flspec, and TFF's environment has nothing else"]
    if type(aggregator).combine is not MeanAggregator.combine:
        return [f"aggregator: {kind} does not combine updates by their weighted mean, as TFF does"]
    if type(optimizer := aggregator.server_optimizer) not in _SERVER_OPTIMIZERS:
        return [f"aggregator: {kind} has the server optimizer {type(optimizer).__name__}, which has no TFF translation"]
    return []
