"""A plan's layers as torch functions of named tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flspec.layers import INPUT, Network, trace
from flspec_torch.layers import Masks, Tensors, Translation, translate

__all__ = ["Evaluate", "Forward", "Masks", "build_forward", "build_network", "to_tensors", "translations_of"]

# (tensors by name, inputs [batch, *shape], in training the masks) -> outputs. Training changes running statistics.
Forward = Callable[[Tensors, Tensor, Masks | None], Tensor]
# The same for any network, with its inputs by name.
Evaluate = Callable[[Tensors, Mapping[str, Tensor], Masks | None], Tensor]


def build_forward(network: Network) -> Forward:
    """Build the function from a model's tensors by name and examples to outputs, if it has one network."""
    evaluate = build_network(network)

    def forward(tensors: Tensors, inputs: Tensor, masks: Masks | None = None) -> Tensor:
        return evaluate(tensors, {INPUT: inputs}, masks)

    return forward


def build_network(network: Network) -> Evaluate:
    """Build the function from tensors by name and a network's inputs to its output."""
    steps = [(one.layer.name, one.layer.inputs, one) for one in translations_of(network)]
    uses = Counter(source for layer in network.layers for source in layer.inputs)

    def evaluate(tensors: Tensors, inputs: Mapping[str, Tensor], masks: Masks | None = None) -> Tensor:
        tensors = network.own(tensors)
        values, left = dict(inputs), Counter(uses)
        for name, sources, apply in steps:
            values[name] = apply(tensors, [values[source] for source in sources], masks)
            left.subtract(sources)
            for source in set(sources):
                if not left[source]:
                    del values[source]  # no later layer needs it, and images are large
        return values[steps[-1][0]]

    return evaluate


def translations_of(network: Network) -> list[Translation[Any]]:
    """Return the translation of each layer, in order."""
    shapes = trace(network)
    return [translate(layer, [shapes[source] for source in layer.inputs]) for layer in network.layers]


def to_tensors(weights: Mapping[str, NDArray[np.float32]]) -> dict[str, Tensor]:
    """Copy `weights` to tensors that torch may change."""
    return {name: torch.from_numpy(value.copy()) for name, value in weights.items()}
