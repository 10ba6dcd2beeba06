"""Binary cross entropy, for independent labels."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from flspec.losses.base import Loss, ScoredExamples

__all__ = ["BinaryCrossEntropy"]


class BinaryCrossEntropy(Loss):
    """Mean over labels j of -(w_j t_j log s(z_j) + (1 - t_j) log(1 - s(z_j))), with s the sigmoid.

    For examples with several labels, or for two classes with one output, that of class 1. The weights w are
    `client.label_weights`, by default 1.
    """

    kind: Literal["binary_cross_entropy"] = "binary_cross_entropy"
    weighs: ClassVar[Literal["class", "label"] | None] = "label"

    def value(self, scores: ScoredExamples) -> NDArray[np.float64]:
        if not scores.is_multi_label:
            return np.asarray(-scores.log_probabilities[np.arange(len(scores.labels)), scores.labels])
        outputs = scores.outputs.astype(np.float64)
        # -log s(z) is log(1 + e^-z), and -log(1 - s(z)) is z more; e^-|z| cannot overflow.
        costs = np.maximum(outputs, 0.0) - outputs * scores.targets + np.log1p(np.exp(-np.abs(outputs)))
        return np.asarray(costs.mean(axis=1))

    def why_invalid(self, num_classes: int, is_multi_label: bool) -> str | None:
        if is_multi_label or num_classes == 2:
            return None
        return (
            f"binary_cross_entropy learns one of two classes or several labels an example, but this dataset has one of "
            f"{num_classes} classes; use cross_entropy"
        )

    def num_outputs(self, num_classes: int, is_multi_label: bool) -> int:
        """Return 1 for two classes."""
        return num_classes if is_multi_label else 1
