"""Base class of transforms, and bilinear sampling.

Every engine runs the same code on the same draws, so all get the same pixels. Transforms work on bytes, element by
element, and round their result, so pixels are also the same on any machine and with any version of numpy.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from flspec.core.components import Component
from flspec.core.randomness import Stream

__all__ = ["Images", "Transform", "sample"]

Images = NDArray[np.uint8]  # [num_images, channels, height, width]


class Transform(Component, ABC):
    """A rule that converts images to images of one shape."""

    is_random: ClassVar[bool] = False  # whether it draws random numbers, which is allowed in training only

    @abstractmethod
    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return [channels, height, width] after the transform. Raises ValueError if the image is too small."""

    @abstractmethod
    def apply(self, images: Images, stream: Stream) -> Images:
        """Transform a batch of images. `stream` is for this batch and this transform alone."""


def sample(images: Images, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> Images:
    """Sample each image bilinearly at its own points, with zeros outside: [num_images, channels, height, width].

    `rows` and `columns` are float64 [num_images, height, width], in pixels. Whole numbers are the centres of pixels.
    """
    height, width = images.shape[2:]
    top, left = np.floor(rows), np.floor(columns)
    down, right = rows - top, columns - left
    total = np.zeros((*images.shape[:2], *rows.shape[1:]))
    numbers = np.arange(len(images))[:, None, None]
    for row, row_share in ((top, 1.0 - down), (top + 1.0, down)):
        for column, column_share in ((left, 1.0 - right), (left + 1.0, right)):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            y, x = (np.where(inside, place, 0).astype(np.int64) for place in (row, column))
            share = np.where(inside, row_share * column_share, 0.0)
            total += images[numbers, :, y, x].transpose(0, 3, 1, 2) * share[:, None]
    return _rounded(total)


def _rounded(values: NDArray[Any]) -> Images:
    return np.clip(np.floor(values + 0.5), 0, 255).astype(np.uint8)
