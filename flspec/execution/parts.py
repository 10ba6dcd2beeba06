"""Components that a plan describes, as objects for its execution."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from flspec.aggregators import Aggregator
from flspec.client_algorithms import ClientAlgorithm
from flspec.client_optimizers import ClientOptimizer
from flspec.compiler.acting_parts import engine_parts, optimizer_alone, read_part
from flspec.compressors import Compressor
from flspec.core.components import Component, comes_with_flspec, full_name, is_offered
from flspec.core.part_files import PartFiles, part_files_in_use
from flspec.errors import InputError, shorten
from flspec.execution.part_checks import PartCall
from flspec.faults import Fault
from flspec.layers import (
    Network,
    count_multiply_adds,
    count_values_made,
    one_network,
    parse_layers,
    parse_network,
    trace,
)
from flspec.losses import Loss, parse_loss
from flspec.objectives import Objective
from flspec.objectives.supervised import Supervised
from flspec.phases import (
    Phase,
    Sample,
    check_phases,
    check_sample,
    count_step_multiply_adds,
    count_step_values,
    parse_phases,
    parse_sample,
)
from flspec.postprocessors import Postprocessor
from flspec.protocol.part_scope import using_parts_of
from flspec.protocol.plan import Plan
from flspec.protocol.settings import ComponentDocument
from flspec.secure_aggregation import SecureAggregation
from flspec.server_optimizers import ServerOptimizer

__all__ = [
    "acting_parts",
    "acts_without_updates",
    "aggregator_of",
    "bytes_per_client",
    "client_algorithm_of",
    "client_optimizer_of",
    "compressor_of",
    "faults_of",
    "feature_network_of",
    "keeps_optimizer",
    "learned_weights",
    "loss_of",
    "network_of",
    "networks_of",
    "objective_of",
    "optimizers_of",
    "out_of_reach",
    "payload_bytes",
    "phases_of",
    "players_of",
    "postprocessors_of",
    "remembers_updates",
    "sample_of",
    "scored_networks",
    "secure_aggregation_of",
    "server_optimizer_of",
    "step_multiply_adds",
    "step_values",
]

C = TypeVar("C", bound=Component)
_FLOAT64 = 8


def acting_parts(plan: Plan) -> dict[str, Component]:
    """Return the parts that act in a run, by the spec's field. Raises InputError if one cannot be read here."""
    try:
        for network in networks_of(plan).values():
            _ = trace(network)[network.output]
        _check_phases(plan)
        return engine_parts(plan.settings)
    except InputError:
        raise
    except Exception as error:  # a plan of somebody else's may hold anything
        why = shorten(" ".join(f"{type(error).__name__}: {error}".split()), 300)
        raise InputError(f"the plan cannot be carried out here: {why}; compile its spec again") from None


def _check_phases(plan: Plan) -> None:
    networks, shape = networks_of(plan), plan.settings.data.input_shape
    if plan.settings.phases:
        check_phases(phases_of(plan), networks, players_of(plan), shape)
    if sample := sample_of(plan):
        check_sample(sample, networks, shape)


def out_of_reach(plan: Plan) -> list[str]:
    """Return a message for each part that other processes cannot find, field first: those of no installed package."""
    # A server optimizer that no plan names is made by its aggregator, which finds it.
    made = "" if "server_optimizer" in plan.settings.aggregator else "aggregator.server_optimizer"
    return [
        f"{field}: {getattr(part, 'kind', '')} ({full_name(type(part))}) is of no installed "
        "package, so no other process can find it; offer it in an entry point, or run it on local"
        for field, part in acting_parts(plan).items()
        if not (field == made or comes_with_flspec(part) or is_offered(part))
    ]


def networks_of(plan: Plan) -> dict[str, Network]:
    """Return the model's networks by name; the one network of most models is named ""."""
    settings = plan.settings
    with using_parts_of(settings):
        if not settings.networks:
            return {"": one_network(parse_layers(settings.layers), settings.data.input_shape)}
        return {name: parse_network(name, document) for name, document in settings.networks.items()}


def network_of(plan: Plan) -> Network:
    """Return the network of a model that has no other."""
    (network,) = networks_of(plan).values()
    return network


def feature_network_of(plan: Plan) -> Network:
    """Return the layers of the feature space that pictures are compared in."""
    pictures = plan.settings.evaluation.pictures
    assert pictures, "only a plan that has pictures evaluated has a feature space"
    with using_parts_of(plan.settings):
        return one_network(parse_layers(pictures.features.layers), pictures.features.input_shape)


def client_optimizer_of(plan: Plan) -> ClientOptimizer:
    """Return the client optimizer."""
    return _part(plan, ClientOptimizer, plan.settings.client_optimizer)


def optimizers_of(plan: Plan) -> dict[str, ClientOptimizer]:
    """Return the client optimizer of each player; the one of a plan without players is named ""."""
    if plan not in _optimizers:
        _optimizers[plan] = {
            player: _part(plan, ClientOptimizer, optimizer_alone(document))
            for player, document in plan.settings.optimizers.items()
        } or {"": client_optimizer_of(plan)}
    return _optimizers[plan]


_optimizers: WeakKeyDictionary[Plan, dict[str, ClientOptimizer]] = WeakKeyDictionary()  # each task asks for them


def keeps_optimizer(plan: Plan, player: str = "") -> bool:
    """Return whether a player's optimizer goes on from round to round."""
    return dict(plan.settings.optimizers.get(player, plan.settings.client_optimizer)).get("state") == "kept"


def players_of(plan: Plan) -> dict[str, tuple[str, ...]]:
    """Return the networks that each optimizer trains; the one optimizer of a plan without players trains all."""
    players = {player: tuple(document["networks"]) for player, document in plan.settings.optimizers.items()}
    return players or {"": tuple(networks_of(plan))}


def phases_of(plan: Plan) -> tuple[Phase, ...]:
    """Return the phases of a step; none if a step is of one loss."""
    return parse_phases(plan.settings.phases)


def sample_of(plan: Plan) -> Sample | None:
    """Return how a picture is made; None if the model makes none."""
    return parse_sample(plan.settings.sample) if plan.settings.sample else None


def scored_networks(plan: Plan) -> list[Network]:
    """Return the networks that are evaluated: the model, or those that make a picture and those that measure it."""
    if (sample := sample_of(plan)) is None:
        return [network_of(plan)]
    networks = networks_of(plan)
    return [*(networks[name] for name in sample.networks), feature_network_of(plan)]


def step_multiply_adds(plan: Plan) -> int:
    """Count the multiplications of the forward passes of one example in a step."""
    networks = networks_of(plan)
    if plan.settings.phases:
        return count_step_multiply_adds(phases_of(plan), networks)
    return sum(map(count_multiply_adds, networks.values()))


def step_values(plan: Plan) -> int:
    """Count the values of one example that a step needs at once for its gradients."""
    networks = networks_of(plan)
    if plan.settings.phases:
        return count_step_values(phases_of(plan), networks)
    return sum(map(count_values_made, networks.values()))


def client_algorithm_of(plan: Plan) -> ClientAlgorithm:
    """Return the client algorithm. By default it is plain steps of the client optimizer."""
    document = plan.settings.client_algorithm
    return _part(plan, ClientAlgorithm, document) if document else ClientAlgorithm()


def loss_of(plan: Plan) -> Loss:
    """Return the loss of an example's outputs."""
    with using_parts_of(plan.settings):
        return parse_loss(plan.settings.loss)


def objective_of(plan: Plan) -> Objective:
    """Return the objective that a client minimises in a step. By default it is the loss."""
    document = plan.settings.objective
    return _part(plan, Objective, document) if document else Supervised()


def postprocessors_of(plan: Plan) -> tuple[Postprocessor, ...]:
    """Return the postprocessors of updates, in the order in which they are applied."""
    return tuple(_part(plan, Postprocessor, document) for document in plan.settings.postprocessors)


def compressor_of(plan: Plan) -> Compressor | None:
    """Return what compresses updates; None if they are sent whole."""
    return _part(plan, Compressor, document) if (document := plan.settings.compression) else None


def remembers_updates(plan: Plan) -> bool:
    """Return whether each client remembers what compression has left out: error feedback."""
    compressor = compressor_of(plan)
    return compressor is not None and compressor.error_feedback


def faults_of(plan: Plan) -> tuple[Fault, ...]:
    """Return the faults, by number."""
    return tuple(_part(plan, Fault, document) for document in plan.settings.faults)


def secure_aggregation_of(plan: Plan) -> SecureAggregation | None:
    """Return the simulated arithmetic of the updates' sum; None if their mean is taken in floating point."""
    document = plan.settings.secure_aggregation
    return _part(plan, SecureAggregation, document) if document else None


def acts_without_updates(plan: Plan) -> bool:
    """Return whether a round of which no update counts still changes the weights, as one that adds noise does."""
    return any(part.acts_without_updates for part in postprocessors_of(plan))


def aggregator_of(plan: Plan) -> Aggregator:
    """Return the aggregator, which combines updates, with its server optimizer, which applies them."""
    return _part(plan, Aggregator, plan.settings.aggregator)


def server_optimizer_of(plan: Plan) -> ServerOptimizer:
    """Return the aggregator's server optimizer. Raises RunError if there is none to be had."""
    aggregator = aggregator_of(plan)
    call = PartCall("aggregator", aggregator, "server_optimizer")
    with call.guarded():
        optimizer = aggregator.server_optimizer
    if not isinstance(optimizer, ServerOptimizer):
        raise call.error(f"gave a {type(optimizer).__name__}, not a ServerOptimizer")
    return optimizer


def bytes_per_client(plan: Plan) -> tuple[int, int]:
    """Return the bytes sent to one client in a round, and those that it sends back: of tensors and of numbers."""
    algorithm = client_algorithm_of(plan)
    weights = sum(weight.nbytes for weight in plan.weights.values())
    a_slot = sum(weight.nbytes for weight in learned_weights(plan).values())
    numbers = _FLOAT64 * len(algorithm.sends_numbers)
    update = weights - a_slot + payload_bytes(plan) if plan.settings.compression else weights
    if masked := secure_aggregation_of(plan):
        update = masked.num_bytes(sum(weight.size for weight in plan.weights.values()))
    return weights + len(algorithm.server_slots) * a_slot, update + len(algorithm.sends) * a_slot + numbers


def learned_weights(plan: Plan) -> dict[str, NDArray[np.float32]]:
    """Return the server's initial weights without statistics: a record of an algorithm has a tensor for each."""
    return {name: weight for name, weight in plan.weights.items() if name not in plan.statistics}


def payload_bytes(plan: Plan) -> int:
    """Return the bytes that a client's compressed update takes; 0 if there is nothing to compress."""
    compressor, like = compressor_of(plan), learned_weights(plan)
    if compressor is None or not like:
        return 0
    if plan not in _payload_bytes:
        with PartCall("compression", compressor, "compress").guarded():
            _payload_bytes[plan] = compressor.num_bytes(like)
    return _payload_bytes[plan]


_payload_bytes: WeakKeyDictionary[Plan, int] = WeakKeyDictionary()  # each update is held to it


def _part(plan: Plan, family: type[C], document: ComponentDocument) -> C:
    with using_parts_of(plan.settings):
        part: C = _parsed(family, json.dumps(document, sort_keys=True), part_files_in_use())
    return part


@lru_cache(maxsize=256)
def _parsed(family: type[Component], document: str, files: PartFiles | None) -> Any:
    return read_part(family, json.loads(document))
