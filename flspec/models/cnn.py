"""A small convolutional network."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, field_validator

from flspec.layers import Activation, AveragePool, Conv, Dense, Flatten, Layer, MaxPool, Shape, chain
from flspec.models.base import MOST_LAYERS, Model


class Cnn(Model):
    """Blocks of convolution (same size), activation and pooling by 2, then dense layers.

    With channels [32, 64], kernel_size 5 and dense [512] this is the network of McMahan et al., AISTATS 2017,
    section 3: 1,663,370 parameters on MNIST. Glorot uniform, biases zero.
    """

    kind: Literal["cnn"] = "cnn"
    channels: Annotated[
        tuple[PositiveInt, ...],
        Field(min_length=1, max_length=MOST_LAYERS, description="output channels of each convolution"),
    ] = (32, 64)
    kernel_size: Annotated[
        int, Field(ge=1, le=99, description="height and width of each kernel, in pixels; odd, to keep an image's size")
    ] = 5
    pool: Annotated[Literal["max", "average"], Field(description="value taken from each 2 by 2 pixels")] = "max"
    activation: Annotated[
        Literal["relu", "tanh"], Field(description="function after each convolution and hidden dense layer")
    ] = "relu"
    dense: Annotated[
        tuple[PositiveInt, ...],
        Field(max_length=MOST_LAYERS, description="units of each dense layer before the output"),
    ] = (512,)

    @field_validator("kernel_size")
    @classmethod
    def _is_odd(cls, kernel_size: int) -> int:
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}; try {kernel_size + 1}")
        return kernel_size

    def layers(self, input_shape: Shape, num_outputs: int) -> tuple[Layer, ...]:
        pool = MaxPool if self.pool == "max" else AveragePool
        graph: list[Layer] = []
        for number, channels in enumerate(self.channels, start=1):
            graph += [
                Conv(
                    name=f"conv_{number}",
                    channels=channels,
                    kernel_size=self.kernel_size,
                    padding=self.kernel_size // 2,
                ),
                Activation(name=f"conv_activation_{number}", function=self.activation),
                pool(name=f"pool_{number}", size=2),
            ]
        graph.append(Flatten(name="flatten"))
        for number, units in enumerate(self.dense, start=1):
            graph += [
                Dense(name=f"dense_{number}", units=units),
                Activation(name=f"dense_activation_{number}", function=self.activation),
            ]
        return chain([*graph, Dense(name="output", units=num_outputs)])
