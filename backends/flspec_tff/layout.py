"""The exact map between the plan's layout of every weight, which is torch's, and TensorFlow's.

TensorFlow holds images channels last, [height, width, channels], and multiplies a dense layer from the right:

    dense               [units, features]                       -> [features, units]
    dense on a flatten  [units, channels * height * width]      -> [height * width * channels, units]
    conv                [out, in, height, width]                -> [height, width, in, out]
    bias                [units]                                 -> [units]

The map only reorders, so it is its own proof of exactness, and it holds for whatever has a weight's shape: the
weight, its gradient, a slot of an optimizer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.layers import INPUT, Activation, Conv, Dense, Flatten, Layer, Shape, trace

__all__ = ["Layout", "from_tensorflow", "image_to_tensorflow", "to_tensorflow", "weight_layouts"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Layout:
    """One tensor's two layouts: split its axes into `grid`, order those by `axes`, join them to `tf_shape`."""

    shape: Shape  # in the plan
    grid: Shape  # as `shape`, with the axes that a flatten joined taken apart
    axes: tuple[int, ...]  # of the grid, in TensorFlow's order
    tf_shape: Shape

    def to_tensorflow(self, values: Array) -> Array:
        """`values` [*shape] as TensorFlow holds them, [*tf_shape]."""
        return np.ascontiguousarray(values.reshape(self.grid).transpose(self.axes)).reshape(self.tf_shape)

    def from_tensorflow(self, values: Array) -> Array:
        """The inverse of `to_tensorflow`."""
        ordered = values.reshape([self.grid[axis] for axis in self.axes])
        return np.ascontiguousarray(ordered.transpose(np.argsort(self.axes))).reshape(self.shape)


def weight_layouts(layers: Sequence[Layer], input_shape: Shape) -> dict[str, Layout]:
    """The layout of every weight of a model by tensor name, in the plan's order."""
    shapes, images = trace(layers, input_shape), _flattened_images(layers, input_shape)
    return {
        f"{layer.name}.{suffix}": _layout(layer, parameter.shape, images[layer.inputs[0]])
        for layer in layers
        for suffix, parameter in layer.parameters(shapes[layer.inputs[0]]).items()
    }


def to_tensorflow(layouts: Mapping[str, Layout], tensors: Mapping[str, Array]) -> tuple[Array, ...]:
    """A tensor a weight, by name, as TensorFlow holds them, in the order of `layouts`."""
    return tuple(layout.to_tensorflow(tensors[name]) for name, layout in layouts.items())


def from_tensorflow(layouts: Mapping[str, Layout], tensors: Sequence[Array]) -> dict[str, Array]:
    """The inverse of `to_tensorflow`."""
    return {
        name: layout.from_tensorflow(np.asarray(tensor))
        for (name, layout), tensor in zip(layouts.items(), tensors, strict=True)
    }


def image_to_tensorflow(examples: Array) -> Array:
    """Examples [num, channels, height, width] as [num, height, width, channels]; others as they are."""
    return np.ascontiguousarray(examples.transpose(0, 2, 3, 1)) if examples.ndim == 4 else examples


def _flattened_images(layers: Sequence[Layer], input_shape: Shape) -> dict[str, Shape | None]:
    """For the output of each layer, the [channels, height, width] that was flattened to it, if any."""
    shapes = trace(layers, input_shape)
    images: dict[str, Shape | None] = {INPUT: None}
    for layer in layers:
        source = layer.inputs[0]
        match layer:
            case Flatten() if len(shapes[source]) == 3:
                images[layer.name] = shapes[source]
            case Flatten() | Activation():  # neither moves a value
                images[layer.name] = images[source]
            case _:
                images[layer.name] = None
    return images


def _layout(layer: Layer, shape: Shape, image: Shape | None) -> Layout:
    match layer:
        case Dense() | Conv() if len(shape) == 1:
            return Layout(shape, shape, (0,), shape)
        case Dense() if image:
            return Layout(shape, (shape[0], *image), (2, 3, 1, 0), (math.prod(image), shape[0]))
        case Dense():
            return Layout(shape, shape, (1, 0), shape[::-1])
        case Conv():
            outputs, inputs, height, width = shape
            return Layout(shape, shape, (2, 3, 1, 0), (height, width, inputs, outputs))
    raise ValueError(f"no TensorFlow layout for the weights of layer {layer!r}")
