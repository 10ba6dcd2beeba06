"""Mean squared error of outputs that approximate 0 and 1."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from flspec.losses.base import Loss, ScoredExamples

__all__ = ["MeanSquaredError"]


class MeanSquaredError(Loss):
    """Mean over outputs j of (z_j - t_j)^2, with t the one-hot or multi-hot labels."""

    kind: Literal["mean_squared_error"] = "mean_squared_error"
    are_logits: ClassVar[bool] = False

    def value(self, scores: ScoredExamples) -> NDArray[np.float64]:
        return np.asarray(np.square(scores.outputs.astype(np.float64) - scores.targets).mean(axis=1))
