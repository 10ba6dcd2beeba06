"""Pooling layers, which shrink an image."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PositiveInt

from flspec.layers.base import BaseLayer, Shape, expect_rank, expect_room

__all__ = ["AveragePool", "GlobalAveragePool", "MaxPool"]


class _Pool(BaseLayer):
    size: PositiveInt  # of the window, and of its step without `stride`; incomplete windows are dropped

    def output_shape(self, shape: Shape, *others: Shape) -> Shape:
        return self._pooled(shape, self.size, 0)

    def _pooled(self, shape: Shape, stride: int, padding: int) -> Shape:
        expect_rank(self, shape, rank=3, meaning="[channels, height, width]")
        height, width = ((side + 2 * padding - self.size) // stride + 1 for side in shape[1:])
        expect_room(self, shape, min(height, width))
        return (shape[0], height, width)


class MaxPool(_Pool):
    """The largest value of each window. Windows may reach `padding` pixels beyond the image, which are ignored."""

    omitted: ClassVar[dict[str, Any]] = _Pool.omitted | {"stride": None, "padding": 0}

    kind: Literal["max_pool"] = "max_pool"
    stride: PositiveInt | None = None
    padding: Annotated[int, Field(ge=0)] = 0  # at most half of `size`

    def output_shape(self, shape: Shape, *others: Shape) -> Shape:
        if 2 * self.padding > self.size:
            raise ValueError(f"layer {self.name!r} pads by {self.padding}, more than half of its window of {self.size}")
        return self._pooled(shape, self.stride or self.size, self.padding)


class AveragePool(_Pool):
    """The mean of each window."""

    kind: Literal["average_pool"] = "average_pool"


class GlobalAveragePool(BaseLayer):
    """The mean of each channel: [channels, height, width] to [channels, 1, 1]."""

    kind: Literal["global_average_pool"] = "global_average_pool"

    def output_shape(self, shape: Shape, *others: Shape) -> Shape:
        expect_rank(self, shape, rank=3, meaning="[channels, height, width]")
        return (shape[0], 1, 1)
