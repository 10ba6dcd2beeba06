"""Numbers of activation values for one example: those that training stores for gradients, and those for scoring."""

from __future__ import annotations

import math

from flspec.layers.graph import Network, trace
from flspec.layers.linear import Flatten

__all__ = ["count_values_at_once", "count_values_made"]


def count_values_made(network: Network) -> int:
    """Count the values of one example and of each layer's output. A flatten shares the memory of its input."""
    shapes = trace(network)
    made = [*network.inputs, *(layer.name for layer in network.layers if not isinstance(layer, Flatten))]
    return sum(math.prod(shapes[name]) for name in made) + sum(
        layer.inner_values(shapes[layer.name]) for layer in network.layers
    )


def count_values_at_once(network: Network) -> int:
    """Count the most values needed at once: a layer's inputs and output, and the inputs of later layers."""
    shapes = trace(network)
    last_use = {source: layer.name for layer in network.layers for source in layer.inputs}
    alive, most = set(network.inputs), 0
    for layer in network.layers:
        alive.add(layer.name)
        most = max(most, sum(math.prod(shapes[name]) for name in alive) + layer.inner_values(shapes[layer.name]))
        alive -= {source for source in layer.inputs if last_use[source] == layer.name}
    return most
