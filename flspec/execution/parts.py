"""The acting parts of a plan, for whoever carries it out."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any, TypeVar

from flspec.aggregators import Aggregator
from flspec.client_optimizers import ClientOptimizer
from flspec.core.components import Component, parse_component
from flspec.layers import Layer, parse_layers
from flspec.protocol.plan import Plan
from flspec.protocol.settings import ComponentDocument

__all__ = ["aggregator_of", "client_optimizer_of", "layers_of"]

C = TypeVar("C", bound=Component)


def layers_of(plan: Plan) -> tuple[Layer, ...]:
    """The model's graph."""
    return parse_layers(plan.settings.layers)


def client_optimizer_of(plan: Plan) -> ClientOptimizer:
    """The rule of a client's steps."""
    return _part(ClientOptimizer, plan.settings.client_optimizer)


def aggregator_of(plan: Plan) -> Aggregator:
    """What combines updates, and what applies them."""
    return _part(Aggregator, plan.settings.aggregator)


def _part(family: type[C], document: ComponentDocument) -> C:
    part: C = _parsed(family, json.dumps(document, sort_keys=True))
    return part


@lru_cache(maxsize=256)
def _parsed(family: type[Component], document: str) -> Any:
    return parse_component(family, json.loads(document))
