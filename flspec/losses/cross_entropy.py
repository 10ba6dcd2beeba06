"""Cross entropy, for mutually exclusive classes."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from flspec.losses.base import Loss, ScoredExamples

__all__ = ["CrossEntropy"]


class CrossEntropy(Loss):
    """-w_y log softmax(z)_y, where y is the class.

    The weights w are `client.label_weights`, by default 1. The batch mean is not divided by their sum, unlike torch's,
    so an example's weight does not depend on the other examples of its batch.
    """

    kind: Literal["cross_entropy"] = "cross_entropy"
    weighs: ClassVar[Literal["class", "label"] | None] = "class"

    def value(self, scores: ScoredExamples) -> NDArray[np.float64]:
        return np.asarray(-scores.log_probabilities[np.arange(len(scores.labels)), scores.labels])

    def why_invalid(self, num_classes: int, is_multi_label: bool) -> str | None:
        if not is_multi_label:
            return None
        return (
            f"cross_entropy learns one label an example, but an example of this dataset may have several of "
            f"{num_classes}; use binary_cross_entropy"
        )

    def targets(self, labels: NDArray[Any], outputs: int) -> NDArray[Any]:
        """Return the class itself: int64 [batch]."""
        return labels.astype(np.int64, copy=False)
