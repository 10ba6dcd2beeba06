"""The one question a transform answers: what becomes of a batch of images?

Every engine calls the same code on the same draws, so all see the same pixels. To hold on any machine and under any
version of numpy, it works on bytes, element by element, and rounds at its end.
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
    """A rule that turns images into images of one shape."""

    is_random: ClassVar[bool] = False  # whether it draws, which only training may

    @abstractmethod
    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """What [channels, height, width] become; raises ValueError where they do not suffice."""

    @abstractmethod
    def apply(self, images: Images, stream: Stream) -> Images:
        """The images after it; `stream` belongs to this batch and transform alone."""


def sample(images: Images, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> Images:
    """Each image read at its own points, bilinearly, with zeros outside: [num_images, channels, *points' shape].

    `rows` and `columns` are float64 [num_images, height, width], in pixels, whole numbers being pixels' centres.
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
