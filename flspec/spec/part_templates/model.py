"""A model, as a graph of layers. In a spec:

parts: [my_model.py]
model: {kind: my_model, width: 8}
"""

from typing import Annotated, Literal

from pydantic import Field

from flspec.layers import Activation, Dense, Flatten, Layer, Shape, chain
from flspec.models import Model


class MyModel(Model):
    """Two dense layers on the flattened example."""

    kind: Literal["my_model"] = "my_model"
    width: Annotated[int, Field(ge=1, le=100_000, description="values between the layers")] = 16

    def layers(self, input_shape: Shape, num_outputs: int) -> tuple[Layer, ...]:
        return chain(
            [
                Flatten(name="flatten"),
                Dense(name="hidden", units=self.width),
                Activation(name="hidden_relu", function="relu"),
                Dense(name="output", units=num_outputs),  # the last layer gives the logits
            ]
        )
