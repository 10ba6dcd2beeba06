"""A loss of an example's outputs. In a spec:

parts: [my_loss.py]
client: {loss: {kind: my_loss, width: 2.0}}
"""

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flspec.losses import Loss, ScoredExamples


class MyLoss(Loss):
    """Of each output the square of what it lacks of being on its side by `width`: max(0, width - (2 t - 1) z)^2."""

    kind: Literal["my_loss"] = "my_loss"
    are_logits: ClassVar[bool] = False  # True if outputs determine probabilities
    width: Annotated[float, Field(gt=0, le=1e6, description="how far")] = 1.0

    def value(self, scores: ScoredExamples) -> NDArray[np.float64]:
        """Return the loss of each example: the definition, by which it is evaluated."""
        side = 2.0 * scores.targets - 1
        lacking: NDArray[np.float64] = (np.maximum(0, self.width - side * scores.outputs) ** 2).mean(axis=1)
        return lacking

    def torch(self, outputs: Any, targets: Any) -> Any:
        """Return the mean over a batch, from tensors [batch, outputs]: what a client minimises."""
        return ((self.width - (2 * targets - 1) * outputs).clamp(min=0) ** 2).mean()
