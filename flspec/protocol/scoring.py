"""The interface of a backend that can score models."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from flspec.protocol.state import Weights

__all__ = ["Inputs", "Scorer"]


class Inputs(Protocol):
    """Examples to score, such as a `flspec.data.examples.Split`."""

    def __len__(self) -> int: ...

    def inputs(self, indices: slice) -> NDArray[np.float32]:
        """Return some examples as model inputs: float32 [num, *input_shape]."""
        ...


class Scorer(Protocol):
    """Forward pass of one plan's model. The same weights always give the same outputs."""

    def logits(self, weights: Weights, examples: Inputs) -> NDArray[np.float32]:
        """Return float32 [num_examples, num_outputs]. `weights` has all of the model's tensors except its constants."""
        ...
