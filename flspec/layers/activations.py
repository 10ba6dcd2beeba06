"""Numbers of activation values for one example: those that training stores for gradients, and those for scoring."""

from __future__ import annotations

import math
from collections.abc import Sequence

from flspec.layers.base import INPUT, Shape
from flspec.layers.graph import Layer, trace
from flspec.layers.linear import Flatten

__all__ = ["count_values_at_once", "count_values_made"]


def count_values_made(layers: Sequence[Layer], input_shape: Shape) -> int:
    """Count the values of one example and of each layer's output. A flatten shares the memory of its input."""
    shapes = trace(layers, input_shape)
    made = [INPUT, *(layer.name for layer in layers if not isinstance(layer, Flatten))]
    return sum(math.prod(shapes[name]) for name in made)


def count_values_at_once(layers: Sequence[Layer], input_shape: Shape) -> int:
    """Count the most values needed at once: a layer's inputs and output, and the inputs of later layers."""
    shapes = trace(layers, input_shape)
    last_use = {source: layer.name for layer in layers for source in layer.inputs}
    alive, most = {INPUT}, 0
    for layer in layers:
        alive.add(layer.name)
        most = max(most, sum(math.prod(shapes[name]) for name in alive))
        alive -= {source for source in layer.inputs if last_use[source] == layer.name}
    return most
