"""Handwritten digits that need no download."""

from __future__ import annotations

from importlib.metadata import distribution
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
        table = np.loadtxt(_file(), delimiter=",", dtype=np.uint8)
        images, labels = table[:, :-1].reshape(-1, 1, 8, 8), table[:, -1].astype(np.int64)  # pixels are 0..16
        is_test = np.arange(len(labels)) % 5 == 4
        return Data(
            train=Split(images[~is_test], labels[~is_test], divisor=16.0),
            test=Split(images[is_test], labels[is_test], divisor=16.0),
            num_classes=10,
        )


def _file() -> Path:
    """Return the file that `sklearn.datasets.load_digits` reads; importing scikit-learn takes longer than training."""
    return Path(str(distribution("scikit-learn").locate_file("sklearn/datasets/data/digits.csv.gz")))
