"""LeNet-5 (LeCun et al., Proceedings of the IEEE 1998), in its present form."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from flspec.layers import Activation, AveragePool, Conv, Dense, Flatten, Layer, MaxPool, Shape, chain
from flspec.models.base import Model


class LeNet(Model):
    """Two 5x5 convolutions of 6 and 16 channels, each pooled by 2, and dense layers of 120 and 84 units.

    LeCun et al., Fig. 2, with every channel connected to every other and a dense output: 61,706 parameters on MNIST
    padded by 2 to the paper's 32 pixels, 62,006 on CIFAR-10. Glorot uniform, biases zero.
    """

    kind: Literal["lenet"] = "lenet"
    padding: Annotated[
        int, Field(ge=0, le=32, description="zeros on every side of the image; 2 gives MNIST the paper's 32 pixels")
    ] = 0
    pool: Annotated[Literal["max", "average"], Field(description="value taken from each 2 by 2 pixels")] = "max"
    activation: Annotated[
        Literal["relu", "tanh"], Field(description="function after each convolution and hidden dense layer")
    ] = "relu"

    def layers(self, input_shape: Shape, num_outputs: int) -> tuple[Layer, ...]:
        pool = MaxPool if self.pool == "max" else AveragePool
        return chain(
            [
                Conv(name="conv_1", channels=6, kernel_size=5, padding=self.padding),
                Activation(name="conv_activation_1", function=self.activation),
                pool(name="pool_1", size=2),
                Conv(name="conv_2", channels=16, kernel_size=5),
                Activation(name="conv_activation_2", function=self.activation),
                pool(name="pool_2", size=2),
                Flatten(name="flatten"),
                Dense(name="dense_1", units=120),
                Activation(name="dense_activation_1", function=self.activation),
                Dense(name="dense_2", units=84),
                Activation(name="dense_activation_2", function=self.activation),
                Dense(name="output", units=num_outputs),
            ]
        )
