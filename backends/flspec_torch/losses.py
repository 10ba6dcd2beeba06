"""The losses of `flspec.losses` in torch, and the number of correct predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

from flspec.execution.part_checks import PartCall
from flspec.losses import Loss
from flspec.losses.binary_cross_entropy import BinaryCrossEntropy
from flspec.losses.cross_entropy import CrossEntropy
from flspec.losses.huber import Huber
from flspec.losses.mean_squared_error import MeanSquaredError

__all__ = ["BatchLoss", "build_loss", "check_loss", "count_correct", "to_targets"]

BatchLoss = Callable[[Tensor, Tensor], Tensor]  # (outputs [batch, outputs], targets) -> the batch's mean loss


def build_loss(loss: Loss, label_weights: Sequence[float] = ()) -> BatchLoss:
    """Build a loss with these label weights; without them all labels count equally."""
    weights = torch.tensor(label_weights, dtype=torch.float32) if label_weights else None
    if type(loss).torch is not Loss.torch:  # its own translation
        return _checked(loss)
    match loss:
        case CrossEntropy() if weights is None:
            return F.cross_entropy
        case CrossEntropy():
            return lambda outputs, labels: F.cross_entropy(outputs, labels, weights, reduction="sum") / len(labels)
        case BinaryCrossEntropy():
            return lambda outputs, labels: F.binary_cross_entropy_with_logits(outputs, labels, pos_weight=weights)
        case MeanSquaredError():
            return F.mse_loss
        case Huber(delta=delta):
            return lambda outputs, labels: F.huber_loss(outputs, labels, delta=delta)
    raise ValueError(f"no torch translation for loss {loss!r}")


def _checked(loss: Loss) -> BatchLoss:
    """Return a loss's own translation. What it gives is checked at every step."""
    call = PartCall("client.loss", loss, "torch")

    def batch_loss(outputs: Tensor, targets: Tensor) -> Tensor:
        with call.guarded():
            given = loss.torch(outputs, targets)
        check_loss(call, given, outputs.requires_grad)
        return given  # type: ignore[no-any-return]

    return batch_loss


def check_loss(call: PartCall, loss: Any, trains: bool = True) -> None:
    """Raise RunError unless this is a tensor of no dimensions, in training one that depends on the weights."""
    if not isinstance(loss, Tensor):
        raise call.error(f"gave the loss as a {type(loss).__name__}, not as a tensor")
    if loss.ndim:
        raise call.error(f"gave a loss of shape {list(loss.shape)}, not of no dimensions")
    if trains and not loss.requires_grad:
        raise call.error("gave a loss that does not depend on the weights")


def to_targets(loss: Loss, labels: NDArray[Any], outputs: int) -> Tensor:
    """Return the targets of a loss as a tensor."""
    return torch.from_numpy(np.ascontiguousarray(loss.targets(labels, outputs)))


def count_correct(loss: Loss, outputs: Tensor, labels: Tensor, is_multi_label: bool) -> float:
    """Count the correct predictions in a batch. With several labels, sum each example's share of correct ones."""
    if labels.ndim == 1:  # classes
        return float((outputs.argmax(1) == labels).sum())
    if outputs.shape[1] > 1 and not is_multi_label:
        return float((outputs.argmax(1) == labels.argmax(1)).sum())
    boundary = 0.0 if loss.are_logits else 0.5
    return float(((outputs > boundary) == (labels > 0.5)).sum()) / outputs.shape[1]
