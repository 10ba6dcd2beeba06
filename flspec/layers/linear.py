"""Linear layers: dense, convolution and its transpose, and flatten."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PositiveInt

from flspec.layers.base import BaseLayer, Shape, Tensor, expect_rank, expect_room
from flspec.layers.initializers import Initializer

__all__ = ["Conv", "Dense", "Flatten", "TransposedConv"]


class Flatten(BaseLayer):
    """Reshape [channels, height, width] to [features], in that order."""

    kind: Literal["flatten"] = "flatten"

    def output_shape(self, shape: Shape, *others: Shape) -> Shape:
        return (math.prod(shape),)


class Dense(BaseLayer):
    """y = W x + b, with W of shape [units, features]; of [steps, features] for each step alike."""

    kind: Literal["dense"] = "dense"
    units: PositiveInt
    initializer: Initializer = "glorot_uniform"  # of W; b starts at zero

    def output_shape(self, shape: Shape, *others: Shape) -> Shape:
        expect_rank(self, shape[-1:] if len(shape) == 2 else shape, rank=1, meaning="[features] or [steps, features]")
        return (*shape[:-1], self.units)

    def parameters(self, shape: Shape) -> dict[str, Tensor]:
        return {
            "weight": Tensor((self.units, shape[-1]), self.initializer),
            "bias": Tensor((self.units,), "zeros"),
        }

    def count_multiply_adds(self, shape: Shape, output: Shape) -> int:
        return (shape[-1] + 1) * math.prod(output)


class Conv(BaseLayer):
    """Cross-correlation with a square kernel every `stride` pixels, with `padding` zeros on every side.

    Channels are split into `groups`. Each group uses only its own part of the input's channels, so as many groups as
    channels make a depthwise convolution. With `bias`, a bias is added to each channel.
    """

    omitted: ClassVar[dict[str, Any]] = BaseLayer.omitted | {"stride": 1, "groups": 1, "bias": True}

    kind: Literal["conv"] = "conv"
    channels: PositiveInt
    kernel_size: PositiveInt
    padding: Annotated[int, Field(ge=0)] = 0
    initializer: Initializer = "glorot_uniform"
    stride: PositiveInt = 1
    groups: PositiveInt = 1
    bias: bool = True

    def output_shape(self, shape: Shape, *others: Shape) -> Shape:
        expect_rank(self, shape, rank=3, meaning="[channels, height, width]")
        if shape[0] % self.groups or self.channels % self.groups:
            raise ValueError(f"layer {self.name!r} cannot split {shape[0]} channels into {self.groups} groups")
        height, width = ((size + 2 * self.padding - self.kernel_size) // self.stride + 1 for size in shape[1:])
        expect_room(self, shape, min(height, width))
        return (self.channels, height, width)

    def parameters(self, shape: Shape) -> dict[str, Tensor]:
        kernel = (self.channels, shape[0] // self.groups, self.kernel_size, self.kernel_size)
        weight = {"weight": Tensor(kernel, self.initializer)}
        return weight | ({"bias": Tensor((self.channels,), "zeros")} if self.bias else {})


class TransposedConv(BaseLayer):
    """The transpose of `Conv` as a linear map, which enlarges an image about `stride` times.

    Each input pixel adds its value times the kernel to the output, `stride` pixels further on than its neighbour, and
    `padding` pixels of every side are cut off:
    out[o, y * stride + i - padding, x * stride + j - padding] += in[c, y, x] * weight[c, o, i, j].
    """

    omitted: ClassVar[dict[str, Any]] = BaseLayer.omitted | {"stride": 1, "padding": 0, "bias": True}

    kind: Literal["transposed_conv"] = "transposed_conv"
    channels: PositiveInt
    kernel_size: PositiveInt
    stride: PositiveInt = 1
    padding: Annotated[int, Field(ge=0)] = 0
    initializer: Initializer = "glorot_uniform"
    bias: bool = True

    def output_shape(self, shape: Shape, *others: Shape) -> Shape:
        expect_rank(self, shape, rank=3, meaning="[channels, height, width]")
        height, width = ((size - 1) * self.stride + self.kernel_size - 2 * self.padding for size in shape[1:])
        expect_room(self, shape, min(height, width))
        return (self.channels, height, width)

    def parameters(self, shape: Shape) -> dict[str, Tensor]:
        kernel = (shape[0], self.channels, self.kernel_size, self.kernel_size)
        weight = {"weight": Tensor(kernel, self.initializer, input_axis=0)}
        return weight | ({"bias": Tensor((self.channels,), "zeros")} if self.bias else {})

    def count_multiply_adds(self, shape: Shape, output: Shape) -> int:
        """Count each value of the kernel at every position of the input, and the bias at every one of the output."""
        kernel = math.prod(self.parameters(shape)["weight"].shape) * math.prod(shape[1:])
        return kernel + (math.prod(output) if self.bias else 0)
