"""What a model is shown of a picture: crops, flips, turns and normalisation, pixel by pixel.

Every draw of a picture's transforms is derived from the task's planned seed: step s, transform k has the stream
`[seed, "step", s, "transform", k, use]`, with one uniform value for each picture of the batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.by_hand import draws

Picture = NDArray[np.uint8]  # [height, width] of one channel
NORMALISATIONS = {"none": (0.0, 1.0), "half": (0.5, 0.5)}  # mean and deviation of pixels from 0 to 1


def shown(
    pictures: Sequence[Picture],
    transforms: Sequence[Mapping[str, Any]],
    normalise: str,
    largest: int,
    name: tuple[draws.Name, ...] = (),
) -> NDArray[np.float64]:
    """The model's input, [batch, 1, height, width], of a batch whose draws come from the streams below `name`."""
    for number, document in enumerate(transforms):
        drawn = _Drawn(len(pictures), (*name, "transform", number))
        pictures = [TRANSFORMS[document["kind"]](one, document, drawn, i) for i, one in enumerate(pictures)]
    mean, deviation = NORMALISATIONS[normalise]
    return (np.stack(pictures)[:, None] / float(largest) - mean) / deviation


class _Drawn:
    """The uniform values of one transform in one step, by their use."""

    def __init__(self, number: int, name: tuple[draws.Name, ...]) -> None:
        self.number, self.name = number, name

    def __call__(self, picture: int, *use: str) -> float:
        seed, *rest = self.name
        return draws.uniforms(self.number, int(seed), *rest, *use)[picture]


def centre_crop(picture: Picture, of: Mapping[str, Any], drawn: _Drawn, number: int) -> Picture:
    size = of["size"]
    top, left = (picture.shape[0] - size) // 2, (picture.shape[1] - size) // 2
    return picture[top : top + size, left : left + size]


def random_crop(picture: Picture, of: Mapping[str, Any], drawn: _Drawn, number: int) -> Picture:
    """Black pixels on every side, then any position with equal chance."""
    size, padding = of["size"], of["padding"]
    around = np.zeros((picture.shape[0] + 2 * padding, picture.shape[1] + 2 * padding), np.uint8)
    around[padding : padding + picture.shape[0], padding : padding + picture.shape[1]] = picture
    top = int(drawn(number, "top") * (around.shape[0] - size + 1))
    left = int(drawn(number, "left") * (around.shape[1] - size + 1))
    return around[top : top + size, left : left + size]


def horizontal_flip(picture: Picture, of: Mapping[str, Any], drawn: _Drawn, number: int) -> Picture:
    return picture[:, ::-1] if drawn(number) < of["probability"] else picture


def vertical_flip(picture: Picture, of: Mapping[str, Any], drawn: _Drawn, number: int) -> Picture:
    return picture[::-1] if drawn(number) < of["probability"] else picture


def rotation(picture: Picture, of: Mapping[str, Any], drawn: _Drawn, number: int) -> Picture:
    """Each new pixel is taken from where it was before a turn about the middle, against the clock."""
    angle = math.radians((2 * drawn(number) - 1) * of["degrees"])
    sine, cosine = round(math.sin(angle), 9), round(math.cos(angle), 9)
    height, width = picture.shape
    turned = np.zeros_like(picture)
    for row in range(height):
        for column in range(width):
            y, x = row - (height - 1) / 2, column - (width - 1) / 2
            old_row = cosine * y + sine * x + (height - 1) / 2
            turned[row, column] = between(picture, old_row, cosine * x - sine * y + (width - 1) / 2)
    return turned


def random_resized_crop(picture: Picture, of: Mapping[str, Any], drawn: _Drawn, number: int) -> Picture:
    """Szegedy et al. 2015: a part of uniform area and log-uniform shape, anywhere, scaled bilinearly."""
    (height, width), (small, large), (narrow, wide) = picture.shape, of["scale"], of["ratio"]
    area = height * width * (small + drawn(number, "area") * (large - small))
    ratio = math.exp(round(math.log(narrow) + drawn(number, "shape") * (math.log(wide) - math.log(narrow)), 9))
    rows = min(max(round(math.sqrt(area / ratio)), 1), height)
    columns = min(max(round(math.sqrt(area * ratio)), 1), width)
    top = int(drawn(number, "top") * (height - rows + 1))
    left = int(drawn(number, "left") * (width - columns + 1))
    return _scaled(picture, of["size"], top, rows, left, columns)


def resize(picture: Picture, of: Mapping[str, Any], drawn: _Drawn, number: int) -> Picture:
    return _scaled(picture, of["size"], 0, picture.shape[0], 0, picture.shape[1])


def _scaled(picture: Picture, size: int, top: int, rows: int, left: int, columns: int) -> Picture:
    """A part, scaled to `size` by `size`: the middles of equal pixels that cover it, kept within it."""
    scaled = np.zeros((size, size), np.uint8)
    for i in range(size):
        for j in range(size):
            row = min(max(top + (i + 0.5) * (rows / size) - 0.5, top), top + rows - 1)
            column = min(max(left + (j + 0.5) * (columns / size) - 0.5, left), left + columns - 1)
            scaled[i, j] = between(picture, row, column)
    return scaled


def between(picture: Picture, row: float, column: float) -> int:
    """The value at a point between four pixels, bilinearly, rounded half up; outside a picture all is black."""
    top, left = math.floor(row), math.floor(column)
    down, right = row - top, column - left
    total = 0.0
    for i, of_row in ((top, 1 - down), (top + 1, down)):
        for j, of_column in ((left, 1 - right), (left + 1, right)):
            if 0 <= i < picture.shape[0] and 0 <= j < picture.shape[1]:
                total += of_row * of_column * int(picture[i, j])
    return min(max(math.floor(total + 0.5), 0), 255)


TRANSFORMS = {
    rule.__name__: rule
    for rule in (
        centre_crop,
        horizontal_flip,
        random_crop,
        random_resized_crop,
        resize,
        rotation,
        vertical_flip,
    )
}
