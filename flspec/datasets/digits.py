"""Handwritten digits that need no download."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from flspec.core.randomness import Stream
from flspec.data.examples import Data, Split
from flspec.datasets.base import ImageDataset


class Digits(ImageDataset):
    """The 1,797 images of 8 by 8 pixels that come with scikit-learn. Every fifth is for evaluation."""

    kind: Literal["digits"] = "digits"

    def read(self, root: Path, stream: Stream) -> Data:
        from sklearn.datasets import load_digits

        bunch = load_digits()
        images = bunch.images[:, np.newaxis].astype(np.uint8)  # [num, 1, 8, 8], 0..16
        labels = bunch.target.astype(np.int64)
        is_test = np.arange(len(labels)) % 5 == 4
        return Data(
            train=Split(images[~is_test], labels[~is_test], divisor=16.0),
            test=Split(images[is_test], labels[is_test], divisor=16.0),
            num_classes=10,
        )
