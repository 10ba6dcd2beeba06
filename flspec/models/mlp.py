"""Multilayer perceptron."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PositiveInt

from flspec.models.base import MOST_LAYERS, Model

if TYPE_CHECKING:
    from flspec.layers import Layer, Shape


class Mlp(Model):
    """Dense layers with an activation between them, on the flattened example; Glorot uniform, biases zero."""

    kind: Literal["mlp"] = "mlp"
    hidden: Annotated[
        tuple[PositiveInt, ...], Field(min_length=1, max_length=MOST_LAYERS, description="units of each hidden layer")
    ] = (200,)
    activation: Annotated[Literal["relu", "tanh"], Field(description="function after each hidden layer")] = "relu"

    def layers(self, input_shape: Shape, num_outputs: int) -> tuple[Layer, ...]:
        from flspec.layers import Activation, Dense, Flatten, chain

        graph: list[Layer] = [Flatten(name="flatten")]
        for number, units in enumerate(self.hidden, start=1):
            graph += [
                Dense(name=f"hidden_{number}", units=units),
                Activation(name=f"activation_{number}", function=self.activation),
            ]
        return chain([*graph, Dense(name="output", units=num_outputs)])
