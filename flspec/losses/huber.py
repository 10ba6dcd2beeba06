"""Huber's loss: squared error with less weight on large errors (Huber 1964)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flspec.losses.base import Loss, ScoredExamples

__all__ = ["Huber"]


class Huber(Loss):
    """Mean over outputs of r^2 / 2, or linear beyond delta, with r the distance to one-hot or multi-hot labels.

    For |r| > delta it is delta (|r| - delta / 2), so the slope is delta there.
    """

    kind: Literal["huber"] = "huber"
    are_logits: ClassVar[bool] = False
    delta: Annotated[float, Field(gt=0, le=1e6, description="distance beyond which the loss is linear")] = 1.0

    def value(self, scores: ScoredExamples) -> NDArray[np.float64]:
        distance = np.abs(scores.outputs.astype(np.float64) - scores.targets)
        linear = self.delta * (distance - self.delta / 2)
        return np.asarray(np.where(distance <= self.delta, np.square(distance) / 2, linear).mean(axis=1))
