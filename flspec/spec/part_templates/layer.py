"""A layer, and a model that has it. In a spec:

parts: [my_layer.py]
model: {kind: my_layer_model, width: 8}
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from flspec.layers import Dense, Flatten, Layer, OwnLayer, Shape, Tensor, chain
from flspec.models import Model


class MyLayer(OwnLayer):
    """x + s tanh(x), with a scale s for each feature."""

    kind: Literal["my_layer"] = "my_layer"

    def output_shape(self, shape: Shape, *others: Shape) -> Shape:
        """Return the shape of an example after it, without the batch axis. Raises ValueError if it cannot take it."""
        if len(shape) != 1:
            raise ValueError(f"layer {self.name!r} takes a list of features, but its input has shape {list(shape)}")
        return shape

    def parameters(self, shape: Shape) -> dict[str, Tensor]:
        """Return its tensors by name, with how each begins: "ones", "zeros", or one of flspec.layers' initializers."""
        return {"scale": Tensor(shape, "ones")}

    def torch(self, tensors: Mapping[str, Any], inputs: tuple[Any, ...], training: bool) -> Any:
        """Return the outputs of a batch, float32 [batch, ...], by its tensors and the values of its inputs."""
        (x,) = inputs
        return x + tensors["scale"] * x.tanh()


class MyLayerModel(Model):
    """Two dense layers with the layer between them."""

    kind: Literal["my_layer_model"] = "my_layer_model"
    width: Annotated[int, Field(ge=1, le=100_000, description="values between the layers")] = 16

    def layers(self, input_shape: Shape, num_outputs: int) -> tuple[Layer, ...]:
        return chain(
            [
                Flatten(name="flatten"),
                Dense(name="hidden", units=self.width),
                MyLayer(name="own"),
                Dense(name="output", units=num_outputs),
            ]
        )
