"""Synthetic examples of any number and size."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from flspec.core.randomness import Stream
from flspec.data.examples import Data, Split
from flspec.datasets.base import Dataset
from flspec.errors import InputError

_MOST_VALUES = 2**31  # 8 GiB of float32
_Count = Annotated[int, Field(ge=1, le=10**9)]


class Synthetic(Dataset):
    """Gaussian classes: x = separation * u_c + z, with u_c a random direction for each class and z standard normal.

    Example i has class i mod `classes`. Values are multiples of 2^-10, so they do not depend on the last bits of a
    platform's arithmetic.
    """

    kind: Literal["synthetic"] = "synthetic"
    classes: Annotated[int, Field(ge=2, le=10_000, description="number of classes")] = 10
    features: Annotated[_Count, Field(description="values in an example")] = 32
    train_examples: Annotated[_Count, Field(description="number of training examples")] = 10_000
    test_examples: Annotated[_Count, Field(description="number of test examples")] = 2_000
    separation: Annotated[float, Field(ge=0, le=1e6, description="distance of each class's centre from the origin")] = (
        3.0
    )

    def read(self, root: Path, stream: Stream) -> Data:
        values = (self.classes + self.train_examples + self.test_examples) * self.features
        if values > _MOST_VALUES:
            raise InputError(
                f"dataset: {values:,} values are more than the {_MOST_VALUES:,} allowed; lower the examples or features"
            )
        centres = stream.child("centres").normal(self.classes * self.features).reshape(self.classes, -1)
        centres *= self.separation / np.linalg.norm(centres, axis=1, keepdims=True)
        return Data(
            self._split(centres, self.train_examples, stream.child("train")),
            self._split(centres, self.test_examples, stream.child("test")),
            num_classes=self.classes,
        )

    def _split(self, centres: np.ndarray, count: int, stream: Stream) -> Split:
        labels = np.arange(count, dtype=np.int64) % self.classes
        features = stream.normal(count * self.features).reshape(count, self.features)
        features += centres[labels]
        return Split((np.rint(features * 1024.0) / 1024.0).astype(np.float32), labels)
