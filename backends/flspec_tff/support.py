"""Capabilities of this backend, declared without importing TensorFlow."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from flspec.aggregators import Aggregator, MeanAggregator
from flspec.core.components import comes_with_flspec, family_members, parse_component
from flspec.execution.parts import networks_of, phases_of
from flspec.layers import Dropout, Network, trace
from flspec.losses import LossDocument
from flspec.protocol.plan import Plan
from flspec.protocol.settings import ComponentDocument, PlanSettings
from flspec.server_optimizers.adagrad import Adagrad
from flspec.server_optimizers.adam import Adam
from flspec.server_optimizers.sgd import Sgd
from flspec.server_optimizers.yogi import Yogi

__all__ = ["unsupported"]

_MOST_BYTES = 100 * 2**20  # limit on one client's data, a constant of TFF
_LAYERS = (  # translated in layers.py
    "flatten",
    "dense",
    "conv",
    "transposed_conv",
    "max_pool",
    "average_pool",
    "global_average_pool",
    "group_norm",
    "batch_norm",
    "activation",
    "add",
    "multiply",
    "dropout",
    "embedding",
    "lstm",
    "gru",
    "last_step",
    "mean_step",
    "positions",
    "layer_norm",
    "attention",
)
_LOSSES = ("binary_cross_entropy", "cross_entropy", "huber", "mean_squared_error")  # translated in losses.py
_CLIENT_OPTIMIZERS = ("sgd", "adam", "adamw")  # translated in client_optimizers.py
_UPDATE_CLIPS = ("fixed", "adaptive")  # translated in private_mean.py
_NOISED_BY_CLIENTS = {  # kinds of privacy, and why TFF does not have them
    "local": "has each client noise its update, and TFF's clients have no noise of flspec's",
    "example": "has each client clip the gradient of every example, and TFF's clients have a batch's alone",
}
_SERVER_OPTIMIZERS = (Sgd, Adam, Yogi, Adagrad)  # exactly these classes: a subclass may have another rule
_NOTHING_KEPT = "TFF's clients carry nothing from round to round"


def unsupported(plan: Plan) -> list[str]:
    """Return a message for each thing in a plan that this backend cannot do, field first."""
    return [*_unsupported_settings(plan.settings), *_unsupported_postprocessors(plan), *_too_large(plan)]


def _unsupported_settings(settings: PlanSettings) -> list[str]:
    """Return a message for each setting without a translation to TFF, field first."""
    kinds = dict.fromkeys(layer["kind"] for layers in _graphs(settings) for layer in layers)
    losses = [_kind_of_loss(settings.loss)] if settings.loss is not None else []
    return [
        *_own_modules(settings),
        *_unknown("model: layer kind", [kind for kind in kinds if kind != "torch_module"], _LAYERS),
        *_unknown("client.loss:", losses, _LOSSES),
        *_kept_by_clients(settings),
        *(problem for field, rule in _optimizers(settings) for problem in _unsupported_optimizer(field, rule)),
        *_unsupported_aggregator(settings.aggregator),
    ]


def _own_modules(settings: PlanSettings) -> list[str]:
    """Return a message for a model that is written in torch."""
    named = [layer["module"] for layers in _graphs(settings) for layer in layers if layer["kind"] == "torch_module"]
    return [
        f"model.module: {module} is a torch module, which TFF cannot run; choose local or flower" for module in named
    ]


def _graphs(settings: PlanSettings) -> list[Sequence[ComponentDocument]]:
    """Return the layers of each network."""
    return [network["layers"] for network in settings.networks.values()] or [settings.layers]


def _optimizers(settings: PlanSettings) -> list[tuple[str, ComponentDocument]]:
    """Return each client optimizer, with the field of a spec that it is from."""
    players = [(f"client.optimizers.{player}", rule) for player, rule in settings.optimizers.items()]
    return players or [("client.optimizer", settings.client_optimizer)]


def _unsupported_optimizer(field: str, rule: ComponentDocument) -> Iterator[str]:
    """Yield a message for each thing that a client optimizer would need."""
    yield from _unknown(f"{field}:", [rule["kind"]], _CLIENT_OPTIMIZERS)
    if rule.get("state") == "kept":
        yield f"{field}.state: kept, but {_NOTHING_KEPT}; choose reset"
    if schedule := rule.get("schedule"):
        yield (
            f"{field}.schedule: {schedule['kind']} follows what a client measures between its epochs, but "
            "TFF's clients only train; choose a schedule by rounds"
        )


def _kept_by_clients(settings: PlanSettings) -> Iterator[str]:
    """Yield a message for each kind of tensor that would stay with clients."""
    if not settings.weights:
        yield f"mode: local_only leaves every tensor with its client, but {_NOTHING_KEPT}"
    elif whole := [name for name in settings.networks if _stays(name, settings)]:
        yield f"model.local: {', '.join(whole)} stays with each client, but {_NOTHING_KEPT}; leave it out"
    elif parts := [name for name in settings.local if not _has_statistics(name, settings)]:
        yield f"model.local: {parts[0]} stays with each client, but {_NOTHING_KEPT}; leave it out"
    elif settings.local:
        yield f"model.batch_norm: local statistics stay with each client, but {_NOTHING_KEPT}; choose averaged"


def _has_statistics(name: str, settings: PlanSettings) -> bool:
    """Return whether a tensor that stays with clients does so because of its layer's batch norm."""
    return f"{name.rpartition('.')[0]}.running_mean" in settings.local


def _stays(network: str, settings: PlanSettings) -> bool:
    """Return whether nothing of a network is with the server."""
    return not any(name.startswith(f"{network}.") for name in settings.weights)


def _kind_of_loss(document: LossDocument) -> str:
    return document if isinstance(document, str) else str(document["kind"])


def _too_large(plan: Plan) -> list[str]:
    """Return a message if a task may need more data than TFF can send to a client. The bound is not too low."""
    data, arrays = plan.settings.data, plan.arrays
    num_steps, num_examples = np.diff(arrays["task_batch_ends"], prepend=0), plan.num_trained
    if not data.transforms.get("train"):  # else an example is sent once per use
        num_examples = np.minimum(num_examples, np.diff(arrays["client_ends"], prepend=0)[arrays["task_clients"]])
    an_example = math.prod(data.input_shape) * np.dtype(data.feature_type).itemsize
    num_rows = num_steps * np.minimum(num_examples, plan.largest_batch)  # of the data that differ from step to step
    bytes_sent = num_examples * an_example + num_rows * _bytes_a_row(plan)
    most = int(bytes_sent.argmax())
    if bytes_sent[most] <= _MOST_BYTES:
        return []
    return [
        f"partition: a client is sent {num_examples[most]:,} examples for {num_steps[most]:,} steps, together "
        f"{bytes_sent[most] / 2**20:,.0f} MiB, but TFF sends at most {_MOST_BYTES / 2**20:.0f} MiB to a client; "
        "use more clients, or another backend"
    ]


def _bytes_a_row(plan: Plan) -> int:
    """Return the bytes of a step for each of its examples: row number, labels, and draws of phases and dropout."""
    data, networks = plan.settings.data, networks_of(plan)
    phases = phases_of(plan)
    called = [call.network for phase in phases for call in phase.calls] or list(networks)
    drawn = sum(4 * math.prod(draw.shape) for phase in phases for draw in phase.draws.values())
    return 4 + (data.num_classes if data.multi_label else 4) + drawn + sum(_dropped(networks[name]) for name in called)


def _dropped(network: Network) -> int:
    """Return the bytes of a row's dropout masks in one call of a network."""
    shapes = trace(network)
    return sum(
        math.prod(layer.mask_shape(shapes[layer.name])) for layer in network.layers if isinstance(layer, Dropout)
    )


def _unknown(field: str, wanted: Iterable[str], known: tuple[str, ...]) -> Iterator[str]:
    for kind in wanted:
        if kind not in known:
            yield f"{field} {kind} has no TFF translation; known: {', '.join(known)}"


def _unsupported_aggregator(document: ComponentDocument) -> list[str]:
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


def _unsupported_postprocessors(plan: Plan) -> Iterator[str]:
    """Yield a message for each thing done to updates other than one private mean of clients that count alike."""
    documents, privacy = plan.settings.postprocessors, plan.settings.privacy
    asked_for = privacy is not None
    if privacy and (who := _NOISED_BY_CLIENTS.get(privacy.mechanism)):
        yield f"privacy.kind: {privacy.mechanism} {who}; choose local or flower, or privacy.kind central"
        return
    private = [document for document in documents if document["kind"] == "private_mean"]
    field = "privacy: mechanism" if asked_for else "postprocessors:"
    yield from _unknown(field, [document["kind"] for document in documents], ("private_mean",))
    if not private:
        return
    field = "privacy.clip:" if asked_for else "postprocessors: private_mean.clip:"
    yield from _unknown(field, [part["clip"]["kind"] for part in private], _UPDATE_CLIPS)
    if len(private) > 1:
        yield f"postprocessors: private_mean is listed {len(private)} times, but TFF combines updates once; keep one"
    if (plan.arrays["task_weights"] != 1).any():
        yield "aggregator.weighting: examples, but TFF's private mean counts clients alike; choose uniform"
