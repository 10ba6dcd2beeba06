"""How many values a model's layers make of one example: what training keeps for its gradients, what scoring needs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from flspec.layers.base import INPUT, Shape
from flspec.layers.graph import Layer, trace
from flspec.layers.linear import Flatten

__all__ = ["count_values_at_once", "count_values_made"]


def count_values_made(layers: Sequence[Layer], input_shape: Shape) -> int:
    """Those of one example and of what each layer makes of it; a flattened tensor is the same memory."""
    shapes = trace(layers, input_shape)
    made = [INPUT, *(layer.name for layer in layers if not isinstance(layer, Flatten))]
    return sum(math.prod(shapes[name]) for name in made)


def count_values_at_once(layers: Sequence[Layer], input_shape: Shape) -> int:
    """The most values of one example that are needed at once: what a layer takes, makes, and what later ones take."""
    shapes = trace(layers, input_shape)
    last_use = {source: layer.name for layer in layers for source in layer.inputs}
    alive, most = {INPUT}, 0
    for layer in layers:
        alive.add(layer.name)
        most = max(most, sum(math.prod(shapes[name]) for name in alive))
        alive -= {source for source in layer.inputs if last_use[source] == layer.name}
    return most
