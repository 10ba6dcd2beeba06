"""The features of two sets of pictures: all that a metric of pictures is given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from flspec.core.randomness import Stream

__all__ = ["ComparedPictures", "Features", "Subsets", "blocks"]

Features = NDArray[np.floating[Any]]  # [num_pictures, num_features]

_BLOCK = 1024  # rows: two blocks make a table of 8 MiB in float64, however many pictures there are


def blocks(features: Features) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Yield rows in float64, some at a time, each part with the number of its first row."""
    for start in range(0, len(features), _BLOCK):
        yield start, features[start : start + _BLOCK].astype(np.float64)


@dataclass(frozen=True)
class Subsets:
    """Subsets of both sets over which some tools average; planned, so that every run draws the same."""

    count: int
    size: int
    seed: int

    def rows(self, num_real: int, num_fake: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Yield the rows of each subset: of real and of generated pictures, without repetition."""
        for number in range(self.count):
            stream = Stream(self.seed, "subset", number)
            yield (
                stream.child("real").choice(num_real, self.size),
                stream.child("generated").choice(num_fake, self.size),
            )


@dataclass(frozen=True, eq=False)
class ComparedPictures:
    """Features of real pictures, and of those that are held against them."""

    are: ClassVar[Literal["scores", "pictures"]] = "pictures"

    real: Features
    fake: Features
    subsets: Subsets | None = None  # None: metrics are of all pictures

    def __len__(self) -> int:
        return len(self.real)

    @cached_property
    def why_unusable(self) -> str | None:
        """Why no metric has a value, or None."""
        if not np.isfinite(self.fake).all():
            return "the generated pictures are not finite"
        return None if len(self.real) and len(self.fake) else "there are no pictures"

    def part(self, rows: NDArray[Any] | slice) -> ComparedPictures:
        """Return some of the real pictures, with all that they are compared with."""
        return replace(self, real=self.real[rows])

    def standardised(self) -> ComparedPictures:
        """Return both sets less the real ones' mean and divided by their deviation; constant features are kept."""
        mean, deviation = self.real.mean(axis=0, dtype=np.float64), self.real.std(axis=0, dtype=np.float64)
        scale = np.where(deviation > 0, deviation, 1.0)
        return replace(self, real=(self.real - mean) / scale, fake=(self.fake - mean) / scale)
