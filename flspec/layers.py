"""The layers a model is made of: what each computes, its shapes, its weights and how they start.

A model is a graph: a tuple of layers in an order in which each comes after its inputs; the last one gives the
logits. Images are channels first, weights have torch's layouts and names (`conv_1.weight` is [out, in, height,
width], `output.weight` [out, in]), and a flatten runs over [channels, height, width]. A backend translates each
layer; those without a translation are refused by it, by name.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt, TypeAdapter

from flspec.components import Document
from flspec.randomness import Stream

__all__ = [
    "INPUT",
    "Activation",
    "AveragePool",
    "Conv",
    "Dense",
    "Flatten",
    "Initializer",
    "Layer",
    "MaxPool",
    "Parameter",
    "Shape",
    "chain",
    "count_multiply_adds",
    "count_parameters",
    "initial_weights",
    "parse_layers",
    "trace",
]

Shape = tuple[int, ...]  # of one example, without the batch: [features] or [channels, height, width]
Initializer = Literal["zeros", "glorot_uniform"]
INPUT = "input"  # the name by which layers refer to the example itself


@dataclass(frozen=True)
class Parameter:
    """One weight tensor of a layer."""

    shape: Shape
    initializer: Initializer


class _Layer(Document):
    name: str
    inputs: tuple[str, ...] = ()

    @abstractmethod
    def output_shape(self, shape: Shape) -> Shape:
        """The shape of one example after this layer; raises ValueError when `shape` does not fit it."""

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        """The layer's weights for an input of `shape`, by the last part of their name."""
        return {}


class Flatten(_Layer):
    """[channels, height, width] to [features], in that order."""

    kind: Literal["flatten"] = "flatten"

    def output_shape(self, shape: Shape) -> Shape:
        return (math.prod(shape),)


class Dense(_Layer):
    """y = W x + b, with W of shape [units, features]."""

    kind: Literal["dense"] = "dense"
    units: PositiveInt
    initializer: Initializer = "glorot_uniform"  # of W; b starts at zero

    def output_shape(self, shape: Shape) -> Shape:
        _expect(self, shape, rank=1, meaning="[features]")
        return (self.units,)

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        return {
            "weight": Parameter((self.units, shape[0]), self.initializer),
            "bias": Parameter((self.units,), "zeros"),
        }


class Conv(_Layer):
    """Cross-correlation with a square kernel, stride 1, `padding` zeros on every side, plus a bias a channel."""

    kind: Literal["conv"] = "conv"
    channels: PositiveInt
    kernel_size: PositiveInt
    padding: Annotated[int, Field(ge=0)] = 0
    initializer: Initializer = "glorot_uniform"

    def output_shape(self, shape: Shape) -> Shape:
        _expect(self, shape, rank=3, meaning="[channels, height, width]")
        height, width = (size + 2 * self.padding - self.kernel_size + 1 for size in shape[1:])
        _expect_room(self, shape, min(height, width))
        return (self.channels, height, width)

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        kernel = (self.channels, shape[0], self.kernel_size, self.kernel_size)
        return {
            "weight": Parameter(kernel, self.initializer),
            "bias": Parameter((self.channels,), "zeros"),
        }


class _Pool(_Layer):
    size: PositiveInt  # of the window and of its step; a last incomplete window is left out

    def output_shape(self, shape: Shape) -> Shape:
        _expect(self, shape, rank=3, meaning="[channels, height, width]")
        _expect_room(self, shape, min(shape[1:]) // self.size)
        return (shape[0], shape[1] // self.size, shape[2] // self.size)


class MaxPool(_Pool):
    """The largest value of each window."""

    kind: Literal["max_pool"] = "max_pool"


class AveragePool(_Pool):
    """The mean of each window."""

    kind: Literal["average_pool"] = "average_pool"


class Activation(_Layer):
    """A function of each value alone: relu max(x, 0), or tanh."""

    kind: Literal["activation"] = "activation"
    function: Literal["relu", "tanh"]

    def output_shape(self, shape: Shape) -> Shape:
        return shape


Layer = Flatten | Dense | Conv | MaxPool | AveragePool | Activation
_layers: TypeAdapter[tuple[Layer, ...]] = TypeAdapter(tuple[Annotated[Layer, Field(discriminator="kind")], ...])


def chain(layers: Iterable[Layer]) -> tuple[Layer, ...]:
    """Feed each layer the output of the one before it, the first the example."""
    linked: list[Layer] = []
    for layer in layers:
        linked.append(layer.model_copy(update={"inputs": (linked[-1].name if linked else INPUT,)}))
    return tuple(linked)


def parse_layers(documents: Sequence[dict[str, Any]]) -> tuple[Layer, ...]:
    """The layers that a plan describes."""
    return _layers.validate_json(TypeAdapter(list[dict[str, Any]]).dump_json(list(documents)))


def trace(layers: Sequence[Layer], input_shape: Shape) -> dict[str, Shape]:
    """The shape of one example after each layer, by name, `input` first; raises ValueError where one does not fit."""
    shapes = {INPUT: input_shape}
    for layer in layers:
        shapes[layer.name] = layer.output_shape(shapes[layer.inputs[0]])
    return shapes


def count_parameters(layers: Sequence[Layer], input_shape: Shape) -> int:
    """The number of weights; raises ValueError where a layer does not fit its input."""
    shapes = trace(layers, input_shape)
    return sum(
        math.prod(parameter.shape)
        for layer in layers
        for parameter in layer.parameters(shapes[layer.inputs[0]]).values()
    )


def count_multiply_adds(layers: Sequence[Layer], input_shape: Shape) -> int:
    """Multiplications in one forward pass of one example: each weight is used at every position of its output."""
    shapes = trace(layers, input_shape)
    return sum(
        math.prod(parameter.shape) * math.prod(shapes[layer.name][1:])
        for layer in layers
        for parameter in layer.parameters(shapes[layer.inputs[0]]).values()
    )


def initial_weights(layers: Sequence[Layer], input_shape: Shape, stream: Stream) -> dict[str, NDArray[np.float32]]:
    """The first global model by tensor name; each tensor has a stream of its own."""
    shapes = trace(layers, input_shape)
    return {
        f"{layer.name}.{suffix}": _draw(parameter, stream.child(layer.name, suffix))
        for layer in layers
        for suffix, parameter in layer.parameters(shapes[layer.inputs[0]]).items()
    }


def _draw(parameter: Parameter, stream: Stream) -> NDArray[np.float32]:
    if parameter.initializer == "zeros":
        return np.zeros(parameter.shape, np.float32)
    # Glorot and Bengio, AISTATS 2010, Eq. (16): U(-a, a), a = sqrt(6 / (fan_in + fan_out)). A kernel's fans
    # count its positions.
    outputs, inputs, *kernel = parameter.shape
    limit = math.sqrt(6.0 / ((inputs + outputs) * math.prod(kernel)))
    values = (2.0 * stream.uniform(math.prod(parameter.shape)) - 1.0) * limit
    return values.reshape(parameter.shape).astype(np.float32)


def _expect(layer: _Layer, shape: Shape, rank: int, meaning: str) -> None:
    if len(shape) != rank:
        raise ValueError(f"layer {layer.name!r} takes {meaning}, but its input has shape {list(shape)}")


def _expect_room(layer: _Layer, shape: Shape, smallest_side: int) -> None:
    if smallest_side < 1:
        raise ValueError(f"layer {layer.name!r} leaves nothing of an input of shape {list(shape)}")
