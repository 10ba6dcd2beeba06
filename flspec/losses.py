"""What a client minimises: losses by name, each the mean over a batch of what an example's outputs cost.

With outputs z, label y of K classes, t the one-hot or multi-hot form of the labels, s(x) = 1 / (1 + e^-x):

    cross_entropy          w_y * -log softmax(z)_y
    binary_cross_entropy   mean over labels j of  -(w_j t_j log s(z_j) + (1 - t_j) log(1 - s(z_j)))
    mean_squared_error     mean over outputs j of (z_j - t_j)^2

The weights w are 1 unless given. (The mean over a batch is not divided by their sum, as torch's weighted cross entropy
is: an example's weight then does not depend on those it shares a batch with.) For two classes, binary cross entropy has
one output, of class 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Loss", "num_outputs", "targets", "why_invalid"]

Loss = Literal["cross_entropy", "binary_cross_entropy", "mean_squared_error"]


def num_outputs(loss: Loss, num_classes: int, is_multi_label: bool) -> int:
    """How many outputs a model needs."""
    return 1 if loss == "binary_cross_entropy" and not is_multi_label else num_classes


def why_invalid(
    loss: Loss, label_weights: Sequence[float] | None, num_classes: int, is_multi_label: bool
) -> tuple[str, str] | None:
    """The field of `client` that does not suit the labels, and why; None if all does."""
    if loss == "cross_entropy" and is_multi_label:
        return "loss", (
            f"cross_entropy learns one label an example, but an example of this dataset may have several of "
            f"{num_classes}; use binary_cross_entropy"
        )
    if loss == "binary_cross_entropy" and not is_multi_label and num_classes != 2:
        return "loss", (
            f"binary_cross_entropy learns one of two classes or several labels an example, but this dataset has one of "
            f"{num_classes} classes; use cross_entropy"
        )
    outputs = num_outputs(loss, num_classes, is_multi_label)
    if label_weights is not None and len(label_weights) != outputs:
        what = "class" if loss == "cross_entropy" else "label"
        return "label_weights", f"has {len(label_weights)} weights, but there should be {outputs}, one a {what}"
    return None


def targets(loss: Loss, labels: NDArray[Any], outputs: int) -> NDArray[Any]:
    """What a batch's outputs are held against: int64 [batch] for cross entropy, else float32 [batch, outputs]."""
    if loss == "cross_entropy":
        return labels.astype(np.int64, copy=False)
    if labels.ndim == 2:
        return labels.astype(np.float32)
    if outputs == 1:
        return labels.astype(np.float32)[:, None]
    hot: NDArray[np.float32] = (labels[:, None] == np.arange(outputs)).astype(np.float32)
    return hot
