"""Scaling of images."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from flspec.core.randomness import Stream
from flspec.transforms.base import Images, Transform, sample


class Resize(Transform):
    """Scale an image to `size` by `size`, or its shorter side to `size`: bilinear, with half-pixel centres.

    It has no filter. To make images much smaller, set the dataset's size, by which they are scaled when decoded.
    """

    kind: Literal["resize"] = "resize"
    size: Annotated[int, Field(ge=1, le=4096, description="side length in pixels", examples=[224])]
    side: Annotated[
        Literal["both", "shorter"], Field(description="side set to size; with shorter, the aspect ratio stays")
    ] = "both"

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        channels, height, width = shape
        if self.side == "both":
            return channels, self.size, self.size
        shorter = min(height, width)
        return channels, self.size * height // shorter, self.size * width // shorter

    def apply(self, images: Images, stream: Stream) -> Images:
        _, height, width = self.output_shape(images.shape[1:])
        rows, columns = (
            np.clip((np.arange(new) + 0.5) * (old / new) - 0.5, 0, old - 1)
            for new, old in ((height, images.shape[2]), (width, images.shape[3]))
        )
        grid = np.broadcast_to(rows[None, :, None], (len(images), height, width))
        return sample(images, grid, np.broadcast_to(columns[None, None, :], grid.shape))
