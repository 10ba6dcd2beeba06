"""Features by which pictures that a model makes are compared with real ones. In a spec:

parts: [my_feature_space.py]
dataset:
  kind: mnist
  twin: {clients: 4, examples: 80}
  train_transforms: [{kind: resize, size: 16}]
  test_transforms: [{kind: resize, size: 16}]
model: {kind: dcgan, latent: 4, width: 2, batch_norm: averaged}
client: {objective: {kind: gan}}
evaluation:
  metrics: [kid]
  generated: 20
  images: {rows: 2, columns: 2}
  features: {kind: my_feature_space, width: 8}
"""

from typing import Annotated, Literal

from pydantic import Field

from flspec.features import FeatureSpace
from flspec.layers import Activation, AveragePool, Dense, Flatten, Layer, Shape, chain


class MyFeatureSpace(FeatureSpace):
    """Means over squares of two pixels a side, then a random dense layer."""

    kind: Literal["my_feature_space"] = "my_feature_space"
    width: Annotated[int, Field(ge=1, le=8192, description="number of features")] = 64

    @property
    def title(self) -> str:
        return f"{self.width} random features"  # values by other features do not compare, so each is told with them

    def layers(self, shape: Shape) -> tuple[Layer, ...]:
        """Return the layers from a picture of `shape`, [channels, height, width], to a list of features.

        Their initial tensors are drawn once, the same for every plan.
        """
        return chain(
            [
                AveragePool(name="means", size=2),
                Flatten(name="flatten"),
                Dense(name="features", units=self.width),
                Activation(name="squashed", function="tanh"),
            ]
        )
