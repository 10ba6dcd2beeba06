"""A data set. In a spec:

parts: [my_dataset.py]
dataset: {kind: my_dataset, examples: 90}
"""

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from flspec.core.randomness import Stream
from flspec.data.examples import Data, Split
from flspec.datasets import Dataset


class MyDataset(Dataset):
    """Points around three centres."""

    kind: Literal["my_dataset"] = "my_dataset"
    examples: Annotated[int, Field(ge=3, le=10_000_000, description="training examples")] = 300

    def read(self, root: Path, stream: Stream) -> Data:
        """Return the examples, read from files below `root`, or drawn from `stream` and nothing else."""
        return Data(
            train=_points(self.examples, stream.child("train")),
            test=_points(60, stream.child("test")),
            num_classes=3,
        )


def _points(count: int, stream: Stream) -> Split:
    labels = np.arange(count, dtype=np.int64) % 3
    values = stream.normal(count * 4).reshape(count, 4)
    values[np.arange(count), labels] += 4.0
    # Features are float32 [num_examples, ...], or uint8 pixels; labels int64 [num_examples]. `columns` name natural
    # clients and groups.
    return Split(values.astype(np.float32), labels)
