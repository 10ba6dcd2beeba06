"""The interface of a backend that can score models, or have them make pictures."""

from __future__ import annotations

from collections.abc import Mapping
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

    def pictures(self, weights: Weights, drawn: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return the pictures that a model makes of what was drawn for its `sample`: float32 [num, *input_shape]."""
        ...

    def features(self, pictures: Inputs) -> NDArray[np.float32]:
        """Return the features of pictures in the plan's feature space: float32 [num_pictures, num_features]."""
        ...
