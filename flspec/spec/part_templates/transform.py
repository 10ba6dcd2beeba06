"""A transform of images. In a spec:

parts: [my_transform.py]
dataset: {kind: mnist, twin: {clients: 4, examples: 80}, train_transforms: [{kind: my_transform}]}
"""

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from flspec.core.randomness import Stream
from flspec.transforms import Transform
from flspec.transforms.base import Images


class MyTransform(Transform):
    """Blacken each pixel with some probability."""

    kind: Literal["my_transform"] = "my_transform"
    is_random: ClassVar[bool] = True  # it draws, so it is for training only
    probability: Annotated[float, Field(ge=0, le=1, description="probability that a pixel is blackened")] = 0.1

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape  # channels, height, width

    def apply(self, images: Images, stream: Stream) -> Images:
        """Return the images, uint8 [num_images, channels, height, width]."""
        stays = stream.uniform(images.size).reshape(images.shape) >= self.probability
        return np.where(stays, images, 0).astype(np.uint8)
