"""Pointwise layers: they act on each value, or on the values at the same position of several inputs."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from flspec.core.randomness import Stream
from flspec.layers.base import BaseLayer, Shape

__all__ = ["Activation", "Add", "Dropout", "Multiply"]


class Activation(BaseLayer):
    """relu max(x, 0); relu6 min(max(x, 0), 6); tanh; sigmoid s(x) = 1 / (1 + e^-x); silu x s(x); gelu; or leaky_relu.

    gelu is x Phi(x) with the normal distribution function Phi(x) = (1 + erf(x / sqrt(2))) / 2 (Hendrycks and Gimpel,
    2016, arXiv:1606.08415), not GPT-2's approximation of it by tanh.
    leaky_relu is x where x > 0 and `slope` times x elsewhere, so `slope` is also its derivative at 0.
    """

    omitted: ClassVar[dict[str, Any]] = BaseLayer.omitted | {"slope": None}

    kind: Literal["activation"] = "activation"
    function: Literal["relu", "relu6", "tanh", "sigmoid", "silu", "gelu", "leaky_relu"]
    slope: Annotated[float, Field(ge=0, lt=1)] | None = None  # of leaky_relu alone, which needs it

    @model_validator(mode="after")
    def _slope_belongs_to_leaky_relu(self) -> Activation:
        if (self.function == "leaky_relu") != (self.slope is not None):
            needs = "needs a slope" if self.slope is None else f"has no slope, but is given {self.slope}"
            raise ValueError(f"layer {self.name!r}: {self.function} {needs}")
        return self

    def output_shape(self, shape: Shape, *others: Shape) -> Shape:
        return shape


class Add(BaseLayer):
    """The sum of two inputs of one shape."""

    kind: Literal["add"] = "add"

    def output_shape(self, shape: Shape, *others: Shape) -> Shape:
        if others != (shape,):
            raise ValueError(
                f"layer {self.name!r} adds two inputs of one shape, not {[list(s) for s in (shape, *others)]}"
            )
        return shape


class Multiply(BaseLayer):
    """An image [channels, height, width] times a factor for each channel [channels, 1, 1]."""

    kind: Literal["multiply"] = "multiply"

    def output_shape(self, shape: Shape, *others: Shape) -> Shape:
        if others != ((shape[0], 1, 1),):
            raise ValueError(
                f"layer {self.name!r} takes an image and a factor a channel, not {[list(s) for s in (shape, *others)]}"
            )
        return shape


class Dropout(BaseLayer):
    """In training, set each value to zero with probability `rate` or divide it by 1 - rate. Does nothing in evaluation.

    Srivastava et al., JMLR 2014, scaled in training. Dropping a whole `example` is stochastic depth (Huang et al., ECCV
    2016). The draws are planned, so every engine drops the same values.
    """

    kind: Literal["dropout"] = "dropout"
    rate: Annotated[float, Field(gt=0, le=0.999)]
    drops: Literal["value", "example"] = "value"

    def output_shape(self, shape: Shape, *others: Shape) -> Shape:
        return shape

    def mask_shape(self, shape: Shape) -> Shape:
        """Return the shape of one example's factors, for an input of `shape`."""
        return shape if self.drops == "value" else (1,) * len(shape)

    def mask(self, shape: Shape, num_examples: int, stream: Stream) -> NDArray[np.float32]:
        """Draw the factors of inputs of `shape`, 0 or 1 / (1 - rate): float32 [num_examples, *mask_shape]."""
        whole = (num_examples, *self.mask_shape(shape))
        count = math.prod(whole)
        # Each draw takes half a word, so the rate is exact to within 2^-32.
        draws = stream.words(-(-count // 2)).astype("<u8").view("<u4")[:count]
        kept = draws >= np.uint32(round(self.rate * 2**32))
        return (kept * np.float32(1.0 / (1.0 - self.rate))).reshape(whole)
