"""How tensors start: words for the published rules, and distributions with parameters."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flspec.core.components import Document
from flspec.core.randomness import Stream

__all__ = ["Constant", "Initializer", "InitializerName", "Normal", "Uniform", "draw_initial"]

InitializerName = Literal["zeros", "ones", "glorot_uniform", "he_normal"]


class _Distribution(Document):
    """An initializer with parameters of its own. It does not depend on the layer's shapes."""

    @abstractmethod
    def draw(self, count: int, stream: Stream) -> NDArray[np.float64]:
        """Draw `count` values."""


class Normal(_Distribution):
    """Independent normal values, not cut off."""

    kind: Literal["normal"] = "normal"
    std: Annotated[float, Field(gt=0)]
    mean: float = 0.0

    def draw(self, count: int, stream: Stream) -> NDArray[np.float64]:
        return self.mean + self.std * stream.normal(count)


class Uniform(_Distribution):
    """Independent values, each as likely as any other from -`bound` to `bound`."""

    kind: Literal["uniform"] = "uniform"
    bound: Annotated[float, Field(gt=0)]

    def draw(self, count: int, stream: Stream) -> NDArray[np.float64]:
        return (2.0 * stream.uniform(count) - 1.0) * self.bound


class Constant(_Distribution):
    """One value everywhere."""

    kind: Literal["constant"] = "constant"
    value: float

    def draw(self, count: int, stream: Stream) -> NDArray[np.float64]:
        return np.full(count, self.value)


Initializer = InitializerName | Annotated[Normal | Uniform | Constant, Field(discriminator="kind")]


def draw_initial(
    initializer: Initializer, shape: tuple[int, ...], stream: Stream, input_axis: int = 1
) -> NDArray[np.float32]:
    """Draw a tensor's initial value. `input_axis`, 0 or 1, is a kernel's axis of input features or channels."""
    if initializer in ("zeros", "ones"):
        return np.full(shape, 0.0 if initializer == "zeros" else 1.0, np.float32)
    count = math.prod(shape)
    if isinstance(initializer, str):
        values = _by_fans(initializer, count, shape, input_axis, stream)
    else:
        values = initializer.draw(count, stream)
    return values.reshape(shape).astype(np.float32)


def _by_fans(
    name: InitializerName, count: int, shape: tuple[int, ...], input_axis: int, stream: Stream
) -> NDArray[np.float64]:
    # fan_in and fan_out of a kernel include its positions.
    inputs, outputs, positions = shape[input_axis], shape[1 - input_axis], math.prod(shape[2:])
    if name == "he_normal":  # He et al., ICCV 2015, Eq. (10): N(0, 2 / fan_in)
        return stream.normal(count) * math.sqrt(2.0 / (inputs * positions))
    # Glorot and Bengio, AISTATS 2010, Eq. (16): U(-a, a), a = sqrt(6 / (fan_in + fan_out))
    return (2.0 * stream.uniform(count) - 1.0) * math.sqrt(6.0 / ((inputs + outputs) * positions))
