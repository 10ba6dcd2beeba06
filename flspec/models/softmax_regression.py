"""Multinomial logistic regression."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from flspec.layers import Dense, Flatten, InitializerName, Layer, Shape, chain
from flspec.models.base import Model


class SoftmaxRegression(Model):
    """One dense layer on the flattened example. The loss is convex, so every start leads to the same optimum."""

    kind: Literal["softmax_regression"] = "softmax_regression"
    initializer: Annotated[InitializerName, Field(description="initial weight matrix; the bias starts at zero")] = (
        "zeros"
    )

    def layers(self, input_shape: Shape, num_outputs: int) -> tuple[Layer, ...]:
        output = Dense(name="output", units=num_outputs, initializer=self.initializer)
        return chain([Flatten(name="flatten"), output])
