"""The acting parts of a plan, for whoever carries it out."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any, TypeVar

from flspec.aggregators import Aggregator
from flspec.client_algorithms import ClientAlgorithm
from flspec.client_optimizers import ClientOptimizer
from flspec.core.components import Component, parse_component
from flspec.layers import Layer, Shape, parse_layers
from flspec.losses import Loss, parse_loss
from flspec.objectives import Objective
from flspec.objectives.supervised import Supervised
from flspec.postprocessors import Postprocessor
from flspec.protocol.plan import Plan
from flspec.protocol.settings import ComponentDocument

__all__ = [
    "aggregator_of",
    "bytes_per_client",
    "client_algorithm_of",
    "client_optimizer_of",
    "graph_of",
    "layers_of",
    "loss_of",
    "objective_of",
    "postprocessors_of",
]

C = TypeVar("C", bound=Component)


def layers_of(plan: Plan) -> tuple[Layer, ...]:
    """The model's graph."""
    return parse_layers(plan.settings.layers)


def graph_of(plan: Plan) -> tuple[tuple[Layer, ...], Shape]:
    """The model's graph, and the shape of one example that it is given."""
    return layers_of(plan), plan.settings.data.input_shape


def client_optimizer_of(plan: Plan) -> ClientOptimizer:
    """The rule of a client's steps."""
    return _part(ClientOptimizer, plan.settings.client_optimizer)


def client_algorithm_of(plan: Plan) -> ClientAlgorithm:
    """What a client does otherwise than plain steps; plain steps where the plan says nothing."""
    document = plan.settings.client_algorithm
    return _part(ClientAlgorithm, document) if document else ClientAlgorithm()


def loss_of(plan: Plan) -> Loss:
    """What the outputs of an example cost."""
    return parse_loss(plan.settings.loss)


def objective_of(plan: Plan) -> Objective:
    """What a client minimises in a step."""
    document = plan.settings.objective
    return _part(Objective, document) if document else Supervised()


def postprocessors_of(plan: Plan) -> tuple[Postprocessor, ...]:
    """What is done to updates, in order."""
    return tuple(_part(Postprocessor, document) for document in plan.settings.postprocessors)


def aggregator_of(plan: Plan) -> Aggregator:
    """What combines updates, and what applies them."""
    return _part(Aggregator, plan.settings.aggregator)


def bytes_per_client(plan: Plan) -> tuple[int, int]:
    """Bytes of tensors that one client is sent in a round, and those that it sends back."""
    algorithm = client_algorithm_of(plan)
    weights = sum(weight.nbytes for weight in plan.weights.values())
    a_slot = sum(weight.nbytes for name, weight in plan.weights.items() if name not in plan.statistics)
    return weights + len(algorithm.server_slots) * a_slot, weights + len(algorithm.sends) * a_slot


def _part(family: type[C], document: ComponentDocument) -> C:
    part: C = _parsed(family, json.dumps(document, sort_keys=True))
    return part


@lru_cache(maxsize=256)
def _parsed(family: type[Component], document: str) -> Any:
    return parse_component(family, json.loads(document))
