"""The simple network of pfl-research's CIFAR-10 benchmark."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from flspec.layers import Activation, Conv, Dense, Flatten, Layer, MaxPool, Shape, chain
from flspec.models.base import MOST_LAYERS, Model
from flspec.models.blocks import Rate, dropout


class CifarCnn(Model):
    """Convolutions without padding, one pooling by 2, and a dense layer, each part followed by dropout.

    Granqvist et al., NeurIPS 2024, compare simulators with it: 1,626,442 parameters on CIFAR-10. Glorot uniform,
    biases zero.
    """

    kind: Literal["cifar_cnn"] = "cifar_cnn"
    channels: Annotated[
        tuple[PositiveInt, ...],
        Field(min_length=1, max_length=MOST_LAYERS, description="output channels of each convolution"),
    ] = (32, 64)
    kernel_size: Annotated[PositiveInt, Field(description="height and width of each kernel, in pixels")] = 3
    dense: Annotated[PositiveInt, Field(description="units of the dense layer before the output")] = 128
    dropout: Annotated[
        tuple[Rate, Rate],
        Field(description="shares of values dropped in training: after pooling, and before the output"),
    ] = (0.25, 0.5)

    def layers(self, input_shape: Shape, num_outputs: int) -> tuple[Layer, ...]:
        graph: list[Layer] = []
        for number, channels in enumerate(self.channels, start=1):
            graph += [
                Conv(name=f"conv_{number}", channels=channels, kernel_size=self.kernel_size),
                Activation(name=f"conv_activation_{number}", function="relu"),
            ]
        return chain(
            [
                *graph,
                MaxPool(name="pool", size=2),
                *dropout("dropout_1", self.dropout[0]),
                Flatten(name="flatten"),
                Dense(name="dense", units=self.dense),
                Activation(name="dense_activation", function="relu"),
                *dropout("dropout_2", self.dropout[1]),
                Dense(name="output", units=num_outputs),
            ]
        )
