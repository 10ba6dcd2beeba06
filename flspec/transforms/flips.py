"""Flips and rotations."""

from __future__ import annotations

from abc import ABC
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from flspec.core.randomness import Stream
from flspec.transforms.base import Images, Transform, sample


class _Flip(Transform, ABC):
    """A flip of each image along one axis with some probability."""

    is_random: ClassVar[bool] = True
    axis: ClassVar[int]  # of [num_images, channels, height, width]
    probability: Annotated[float, Field(ge=0, le=1, description="probability that an image is flipped")] = 0.5

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape

    def apply(self, images: Images, stream: Stream) -> Images:
        flipped = stream.uniform(len(images)) < self.probability
        return np.where(flipped[:, None, None, None], np.flip(images, self.axis), images)


class HorizontalFlip(_Flip):
    """Flip each image left to right with the given probability."""

    axis: ClassVar[int] = 3
    kind: Literal["horizontal_flip"] = "horizontal_flip"


class VerticalFlip(_Flip):
    """Flip each image upside down with the given probability."""

    axis: ClassVar[int] = 2
    kind: Literal["vertical_flip"] = "vertical_flip"


class Rotation(Transform):
    """Rotate each image about its middle by a random angle, with bilinear sampling. Empty corners become black."""

    is_random: ClassVar[bool] = True
    kind: Literal["rotation"] = "rotation"
    degrees: Annotated[
        float, Field(gt=0, le=180, description="largest angle; drawn uniformly from minus this to this", examples=[30])
    ]

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape

    def apply(self, images: Images, stream: Stream) -> Images:
        angles = np.deg2rad((2.0 * stream.uniform(len(images)) - 1.0) * self.degrees)
        # Rounded to nine digits, because the last bits of sine and cosine differ between machines.
        sine, cosine = (np.round(f(angles), 9)[:, None, None] for f in (np.sin, np.cos))
        height, width = images.shape[2:]
        y = (np.arange(height) - (height - 1) / 2)[:, None]
        x = (np.arange(width) - (width - 1) / 2)[None, :]
        rows, columns = cosine * y + sine * x + (height - 1) / 2, cosine * x - sine * y + (width - 1) / 2
        return sample(images, rows, columns)
