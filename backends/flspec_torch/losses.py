"""The losses of `flspec.losses` in torch, and the number of correct predictions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
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

__all__ = ["TorchLoss", "build_loss", "check_loss", "count_correct", "is_correct", "to_targets"]

_aten: Any = torch.ops.aten
_nll_loss, _nll_loss_backward = _aten.nll_loss_forward.default, _aten.nll_loss_backward.default
_square_backward, _huber_backward = _aten.mse_loss_backward.default, _aten.huber_loss_backward.default
_MEAN, _SUM = 1, 2  # torch's numbers for reductions
_ONES = {dtype: torch.ones((), dtype=dtype) for dtype in (torch.float32, torch.float64)}  # the gradient of a loss
_NO_CLASS = -100  # torch's default for a label to ignore


class TorchLoss(ABC):
    """A loss in torch: the mean over a batch, differentiable by autograd."""

    @abstractmethod
    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of outputs [batch, outputs]."""

    def vjp(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean loss and its gradient, by the kernels that autograd calls, in its order."""
        raise NotImplementedError(f"{type(self).__name__} has no derivative")

    @property
    def has_vjp(self) -> bool:
        """Whether `vjp` is written out. Without it, a step goes through autograd."""
        return type(self).vjp is not TorchLoss.vjp


class _CrossEntropy(TorchLoss):
    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets)

    def vjp(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return _of_classes(outputs, targets, None, _MEAN, _ONES[outputs.dtype])


class _WeightedCrossEntropy(TorchLoss):
    def __init__(self, weights: Tensor) -> None:
        self._weights = weights

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets, self._weights, reduction="sum") / len(targets)

    def vjp(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        share = torch.full((), 1 / len(targets), dtype=outputs.dtype)
        total, gradient = _of_classes(outputs, targets, self._weights, _SUM, share)
        return total / len(targets), gradient


def _of_classes(
    outputs: Tensor, classes: Tensor, weights: Tensor | None, reduction: int, factor: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the cross entropy, and a factor times its gradient."""
    log_p = torch.log_softmax(outputs, 1)
    loss, divisor = _nll_loss(log_p, classes, weights, reduction, _NO_CLASS)
    gradient = _nll_loss_backward(factor, log_p, classes, weights, reduction, _NO_CLASS, divisor)
    return loss, torch._log_softmax_backward_data(gradient, log_p, 1, outputs.dtype)


class _BinaryCrossEntropy(TorchLoss):
    def __init__(self, weights: Tensor | None) -> None:
        self._weights = weights  # of each label

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(outputs, targets, pos_weight=self._weights)

    def vjp(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        chances = outputs.sigmoid()
        if self._weights is None:
            gradient = chances.sub_(targets)
        else:
            weighted = self._weights * targets
            gradient = weighted.add(1).sub_(targets).mul_(chances).sub_(weighted)
        return self(outputs, targets), gradient.div_(outputs.numel())


class _MeanSquaredError(TorchLoss):
    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.mse_loss(outputs, targets)

    def vjp(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return self(outputs, targets), _square_backward(_ONES[outputs.dtype], outputs, targets, _MEAN)


class _Huber(TorchLoss):
    def __init__(self, delta: float) -> None:
        self._delta = delta

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.huber_loss(outputs, targets, delta=self._delta)

    def vjp(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        gradient = _huber_backward(_ONES[outputs.dtype], outputs, targets, _MEAN, self._delta)
        return self(outputs, targets), gradient


class _OwnLoss(TorchLoss):
    """A loss's own translation. What it gives is checked at every step."""

    def __init__(self, loss: Loss) -> None:
        self._loss, self._call = loss, PartCall("client.loss", loss, "torch")

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        with self._call.guarded():
            given = self._loss.torch(outputs, targets)
        check_loss(self._call, given, outputs.requires_grad)
        return given  # type: ignore[no-any-return]


def build_loss(loss: Loss, label_weights: Sequence[float] = ()) -> TorchLoss:
    """Build a loss with these label weights; without them all labels count equally."""
    weights = torch.tensor(label_weights, dtype=torch.float32) if label_weights else None
    if type(loss).torch is not Loss.torch:
        return _OwnLoss(loss)
    match loss:
        case CrossEntropy():
            return _CrossEntropy() if weights is None else _WeightedCrossEntropy(weights)
        case BinaryCrossEntropy():
            return _BinaryCrossEntropy(weights)
        case MeanSquaredError():
            return _MeanSquaredError()
        case Huber(delta=delta):
            return _Huber(delta)
    raise ValueError(f"no torch translation for loss {loss!r}")


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
    correct = is_correct(loss, outputs, labels, is_multi_label)
    return float(correct.sum()) / (1 if correct.ndim == 1 else correct.shape[1])


def is_correct(loss: Loss, outputs: Tensor, labels: Tensor, is_multi_label: bool) -> Tensor:
    """Return whether predictions are correct: bool [batch], or of several labels [batch, labels]."""
    if labels.ndim == 1:  # classes
        return outputs.argmax(1) == labels
    if outputs.shape[1] > 1 and not is_multi_label:
        return outputs.argmax(1) == labels.argmax(1)
    boundary = 0.0 if loss.are_logits else 0.5
    return (outputs > boundary) == (labels > 0.5)
