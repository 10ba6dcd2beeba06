"""Crops: parts of an image."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from flspec.core.randomness import Stream
from flspec.transforms.base import Images, Transform, sample

_Size = Annotated[int, Field(ge=1, le=4096, description="height and width of the crop, in pixels", examples=[224])]
_PerBatch = Annotated[
    bool, Field(description="one draw for all images of a batch, like TensorFlow's and batched torchvision layers")
]


class CentreCrop(Transform):
    """Crop the middle `size` by `size` pixels. If the rest is odd, one more is cut at the bottom and right."""

    kind: Literal["centre_crop"] = "centre_crop"
    size: _Size

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return _cropped(shape, self.size)

    def apply(self, images: Images, stream: Stream) -> Images:
        top, left = ((side - self.size) // 2 for side in images.shape[2:])
        return images[:, :, top : top + self.size, left : left + self.size]


class RandomCrop(Transform):
    """Crop `size` by `size` pixels at a uniformly random position, after adding `padding` black pixels on each side."""

    is_random: ClassVar[bool] = True
    kind: Literal["random_crop"] = "random_crop"
    size: _Size
    padding: Annotated[int, Field(ge=0, le=1024, description="black pixels added on each side first")] = 0
    per_batch: _PerBatch = False

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        channels, height, width = shape
        return _cropped((channels, height + 2 * self.padding, width + 2 * self.padding), self.size)

    def apply(self, images: Images, stream: Stream) -> Images:
        around = (self.padding, self.padding)
        padded = np.pad(images, ((0, 0), (0, 0), around, around))
        tops, lefts = (
            (_draw(stream, name, len(images), self.per_batch) * (side - self.size + 1)).astype(np.int64)
            for name, side in (("top", padded.shape[2]), ("left", padded.shape[3]))
        )
        within = np.arange(self.size)
        rows, columns = tops[:, None, None] + within[:, None], lefts[:, None, None] + within
        return padded[np.arange(len(images))[:, None, None], :, rows, columns].transpose(0, 3, 1, 2)


class RandomResizedCrop(Transform):
    """Crop a part of random area and shape, and scale it to `size` by `size` (Szegedy et al., CVPR 2015, Section 6).

    The area is a share of the image's, uniform in `scale`. Width over height is log-uniform in `ratio`. The position is
    uniform. A side that would be longer than the image's is cut to it.
    """

    is_random: ClassVar[bool] = True
    kind: Literal["random_resized_crop"] = "random_resized_crop"
    size: _Size
    scale: Annotated[
        tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]],
        Field(description="smallest and largest share of the image's area"),
    ] = (0.08, 1.0)
    ratio: Annotated[
        tuple[Annotated[float, Field(ge=0.01, le=100)], Annotated[float, Field(ge=0.01, le=100)]],
        Field(description="smallest and largest width over height"),
    ] = (0.75, 4 / 3)
    per_batch: _PerBatch = False

    @model_validator(mode="after")
    def _least_comes_first(self) -> RandomResizedCrop:
        for name, (least, most) in (("scale", self.scale), ("ratio", self.ratio)):
            if least > most:
                raise ValueError(f"{name} is [{least}, {most}], but the smaller value comes first; swap them")
        return self

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape[0], self.size, self.size

    def apply(self, images: Images, stream: Stream) -> Images:
        count, (height, width) = len(images), images.shape[2:]
        drawn = {name: _draw(stream, name, count, self.per_batch) for name in ("area", "shape", "top", "left")}
        area = height * width * (self.scale[0] + drawn["area"] * (self.scale[1] - self.scale[0]))
        low, high = map(math.log, self.ratio)
        ratio = np.exp(np.round(low + drawn["shape"] * (high - low), 9))  # rounded: last bits vary by machine
        tall = np.clip(np.rint(np.sqrt(area / ratio)), 1.0, height)
        wide = np.clip(np.rint(np.sqrt(area * ratio)), 1.0, width)
        tops, lefts = np.floor(drawn["top"] * (height - tall + 1)), np.floor(drawn["left"] * (width - wide + 1))
        rows, columns = _points(tops, tall, self.size), _points(lefts, wide, self.size)
        shape = (count, self.size, self.size)
        return sample(images, np.broadcast_to(rows[:, :, None], shape), np.broadcast_to(columns[:, None, :], shape))


def _points(starts: NDArray[np.float64], lengths: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Return the centres of `size` equal pixels that cover each span: float64 [num_spans, size]."""
    points = starts[:, None] + (np.arange(size) + 0.5) * (lengths / size)[:, None] - 0.5
    return np.clip(points, starts[:, None], (starts + lengths - 1)[:, None])


def _draw(stream: Stream, name: str, count: int, once: bool) -> NDArray[np.float64]:
    """Draw a uniform value for each image, or one for all of them."""
    drawn = stream.child(name).uniform(1 if once else count)
    return np.broadcast_to(drawn, count)


def _cropped(shape: tuple[int, ...], size: int) -> tuple[int, ...]:
    channels, height, width = shape
    if size > min(height, width):
        raise ValueError(f"{size} by {size} pixels cannot be cut from {height} by {width}; lower size")
    return channels, size, size
