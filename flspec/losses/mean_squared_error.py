"""The loss of guesses at ones and zeros."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from flspec.losses.base import Loss, ScoredExamples

__all__ = ["MeanSquaredError"]


class MeanSquaredError(Loss):
    """Of the outputs' distance to one-hot or multi-hot labels t: mean over outputs j of (z_j - t_j)^2."""

    kind: Literal["mean_squared_error"] = "mean_squared_error"
    are_logits: ClassVar[bool] = False

    def value(self, scores: ScoredExamples) -> NDArray[np.float64]:
        return np.asarray(np.square(scores.outputs.astype(np.float64) - scores.targets).mean(axis=1))
