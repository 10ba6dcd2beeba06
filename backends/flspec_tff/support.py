"""Capabilities of this backend, declared without importing TensorFlow."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from flspec.core.components import Component, comes_with_flspec
from flspec.core.part_files import is_from_part_file
from flspec.errors import InputError
from flspec.execution.parts import (
    aggregator_of,
    client_algorithm_of,
    compressor_of,
    faults_of,
    networks_of,
    phases_of,
    postprocessors_of,
    secure_aggregation_of,
)
from flspec.layers import Dropout, Network, trace
from flspec.losses import LossDocument
from flspec.protocol.plan import Plan
from flspec.protocol.settings import ComponentDocument, PlanSettings

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


def unsupported(plan: Plan) -> list[str]:
    """Return a message for each thing in a plan that this backend cannot do, field first."""
    elsewhere = list(_from_elsewhere(plan))
    return [
        *_unsupported_settings(plan.settings),
        *elsewhere,
        *_too_large(plan),
        *([] if elsewhere else _too_many(plan)),
    ]


def _unsupported_settings(settings: PlanSettings) -> list[str]:
    """Return a message for each setting without a translation to TFF, field first."""
    kinds = dict.fromkeys(layer["kind"] for layers in _graphs(settings) for layer in layers)
    losses = [_kind_of_loss(settings.loss)] if settings.loss is not None else []
    return [
        *_own_modules(settings),
        *_unknown("model: layer kind", [kind for kind in kinds if kind != "torch_module"], _LAYERS),
        *_unknown("client.loss:", losses, _LOSSES),
        *(problem for field, rule in _optimizers(settings) for problem in _unsupported_optimizer(field, rule)),
        *_noised_steps(settings),
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
    if schedule := rule.get("schedule"):
        yield (
            f"{field}.schedule: {schedule['kind']} follows what a client measures between its epochs, but "
            "TFF's clients measure nothing between their steps; choose a schedule by rounds"
        )


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


def _too_many(plan: Plan) -> list[str]:
    """Return a message if a client's examples, which its algorithm measures, are more than TFF can send to it."""
    data, sizes = plan.settings.data, np.diff(plan.arrays["client_ends"], prepend=0)
    if not client_algorithm_of(plan).measured_at_start:
        return []
    num = int(sizes[plan.participants].max())
    a_row = math.prod(data.input_shape) * np.dtype(data.feature_type).itemsize + _bytes_a_row(plan)
    if num * a_row <= _MOST_BYTES:
        return []
    return [
        f"client.algorithm: has a client measure its {num:,} examples, {num * a_row / 2**20:,.0f} MiB, but TFF sends "
        f"at most {_MOST_BYTES / 2**20:.0f} MiB to a client; use more clients, or another backend"
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


def _from_elsewhere(plan: Plan) -> Iterator[str]:
    """Yield a message for each part of another package: TFF's environment has none. Part files are in the plan."""
    acting: list[tuple[str, Callable[[Plan], Any]]] = [
        ("aggregator", aggregator_of),
        ("client.algorithm", client_algorithm_of),
        ("postprocessors", postprocessors_of),
        ("compression", compressor_of),
        ("faults", faults_of),
        ("secure_aggregation", secure_aggregation_of),
    ]
    for field, parts_of in acting:
        try:
            found = parts_of(plan)
        except InputError as error:
            yield f"{field}: {error}"
            continue
        for part in found if isinstance(found, tuple) else (found,):
            nested = [value for _, value in part if isinstance(value, Component)] if part else []
            for one in [part, *nested] if part else []:
                if not (comes_with_flspec(one) or is_from_part_file(type(one).__module__)):
                    yield f"{field}: {one.kind} is of another package, and TFF's environment has flspec's alone"


def _noised_steps(settings: PlanSettings) -> Iterator[str]:
    """Yield a message if each step of a client is private."""
    if settings.private_steps:
        yield (
            "privacy.kind: example has each client clip the gradient of every example, and TFF's clients have a "
            "batch's alone; choose local or flower, or privacy.kind central"
        )
