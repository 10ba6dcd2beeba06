"""How a backend that can score models does it."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from flspec.protocol.state import Weights

__all__ = ["Inputs", "Scorer"]


class Inputs(Protocol):
    """Examples to score, as a `flspec.data.examples.Split` has them."""

    def __len__(self) -> int: ...

    def inputs(self, indices: slice) -> NDArray[np.float32]:
        """Some of the examples as a model sees them: float32 [num, *input_shape]."""
        ...


class Scorer(Protocol):
    """Runs one plan's model forward; the same weights always give the same outputs."""

    def logits(self, weights: Weights, examples: Inputs) -> NDArray[np.float32]:
        """float32 [num_examples, num_outputs]; `weights` are all of the model's tensors but its constants."""
        ...
