"""Graphs of layers: their shapes, their tensors, and the random draws for them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter

from flspec.core.randomness import Stream
from flspec.layers.base import INPUT, Shape, Tensor
from flspec.layers.initializers import draw_initial
from flspec.layers.linear import Conv, Dense, Flatten, TransposedConv
from flspec.layers.normalisation import BatchNorm, GroupNorm
from flspec.layers.pointwise import Activation, Add, Dropout, Multiply
from flspec.layers.pooling import AveragePool, GlobalAveragePool, MaxPool

__all__ = [
    "Layer",
    "chain",
    "count_multiply_adds",
    "count_parameters",
    "draw_masks",
    "initial_tensors",
    "parameters_of",
    "parse_layers",
    "trace",
]

Layer = (
    Flatten
    | Dense
    | Conv
    | TransposedConv
    | MaxPool
    | AveragePool
    | GlobalAveragePool
    | GroupNorm
    | BatchNorm
    | Activation
    | Add
    | Multiply
    | Dropout
)
_layers: TypeAdapter[tuple[Layer, ...]] = TypeAdapter(tuple[Annotated[Layer, Field(discriminator="kind")], ...])


def chain(layers: Iterable[Layer], start: str = INPUT) -> tuple[Layer, ...]:
    """Connect each layer to the one before it, and the first to `start`. Layers that name inputs keep them."""
    linked: list[Layer] = []
    for layer in layers:
        before = linked[-1].name if linked else start
        linked.append(layer if layer.inputs else layer.model_copy(update={"inputs": (before,)}))
    return tuple(linked)


def parse_layers(documents: Sequence[Mapping[str, Any]]) -> tuple[Layer, ...]:
    """Return the layers that a plan describes."""
    return _layers.validate_json(json.dumps(documents))


def trace(layers: Sequence[Layer], input_shape: Shape) -> dict[str, Shape]:
    """Return the shape of one example after each layer, by name, `input` first. Raises ValueError if one cannot fit."""
    shapes = {INPUT: input_shape}
    for layer in layers:
        shapes[layer.name] = layer.output_shape(*(shapes[source] for source in layer.inputs))
    return shapes


def parameters_of(layers: Sequence[Layer], input_shape: Shape) -> dict[str, Tensor]:
    """Return every tensor of a model by its full name. Tensors of frozen layers are constants."""
    shapes = trace(layers, input_shape)
    return {
        f"{layer.name}.{suffix}": replace(tensor, is_learned=False, placement="plan") if layer.frozen else tensor
        for layer in layers
        for suffix, tensor in layer.parameters(shapes[layer.inputs[0]]).items()
    }


def count_parameters(layers: Sequence[Layer], input_shape: Shape) -> int:
    """Count the weights, with frozen ones but without statistics. Raises ValueError if a layer does not fit."""
    shapes = trace(layers, input_shape)
    return sum(
        math.prod(tensor.shape)
        for layer in layers
        for tensor in layer.parameters(shapes[layer.inputs[0]]).values()
        if tensor.is_learned
    )


def count_multiply_adds(layers: Sequence[Layer], input_shape: Shape) -> int:
    """Count the multiplications in a forward pass of one example."""
    shapes = trace(layers, input_shape)
    return sum(layer.count_multiply_adds(shapes[layer.inputs[0]], shapes[layer.name]) for layer in layers)


def initial_tensors(parameters: Mapping[str, Tensor], stream: Stream) -> dict[str, NDArray[np.float32]]:
    """Draw each tensor's initial value, by name. Each tensor has its own stream."""
    return {
        name: draw_initial(tensor.initializer, tensor.shape, stream.child(*name.rsplit(".", 1)), tensor.input_axis)
        for name, tensor in parameters.items()
    }


def draw_masks(
    layers: Sequence[Layer], input_shape: Shape, num_examples: int, stream: Stream
) -> dict[str, NDArray[np.float32]]:
    """Draw the factors of each dropout layer in one step, by the layer's name. Empty without dropout."""
    drops = [layer for layer in layers if isinstance(layer, Dropout)]
    shapes = trace(layers, input_shape) if drops else {}
    return {
        layer.name: layer.mask(shapes[layer.name], num_examples, stream.child("dropout", layer.name)) for layer in drops
    }
