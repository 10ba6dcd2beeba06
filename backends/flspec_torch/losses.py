"""The losses of `flspec.losses` in torch, and the number of correct predictions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cache, lru_cache, partial
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
from flspec_torch.devices import HOST, TorchDevice

__all__ = ["LossGradient", "TorchLoss", "build_loss", "check_loss", "count_correct", "is_correct", "to_targets"]

_aten: Any = torch.ops.aten
_nll_loss: Callable[..., Tensor] = torch._C._nn.nll_loss_nd  # what `F.nll_loss` calls
_square_backward, _huber_backward = _aten.mse_loss_backward.default, _aten.huber_loss_backward.default
_MEAN = 1  # torch's number for this reduction

# Of a batch's outputs [batch, outputs]: their mean loss, and its gradient.
LossGradient = Callable[[Tensor], tuple[Tensor, Tensor]]


@cache
def _one(dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the gradient of a loss with respect to itself."""
    return torch.ones((), dtype=dtype, device=device)


class TorchLoss(ABC):
    """A loss in torch: the mean over a batch, differentiable by autograd."""

    @abstractmethod
    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of outputs [batch, outputs]."""

    def gradients(self, targets: Tensor, sizes: Sequence[int], like: Tensor) -> Sequence[LossGradient]:
        """Return the mean loss and its gradient of each of several batches, whose targets lie one after the other.

        They call the kernels that autograd calls, in its order. What does not depend on outputs is computed here, once
        for all batches. `like` has the outputs' type, and their number in its last dimension.
        """
        raise NotImplementedError(f"{type(self).__name__} has no derivative")

    @property
    def has_gradients(self) -> bool:
        """Whether `gradients` is written out. Without it, a step goes through autograd."""
        return type(self).gradients is not TorchLoss.gradients


class _CrossEntropy(TorchLoss):
    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets)

    def gradients(self, targets: Tensor, sizes: Sequence[int], like: Tensor) -> Sequence[LossGradient]:
        return _of_classes(self._mean_of, targets, _shares(tuple(sizes), like.dtype, like.device), sizes, like)

    def _mean_of(self, log_p: Tensor, classes: Tensor) -> Tensor:
        return _nll_loss(log_p, classes, None, _MEAN)


class _WeightedCrossEntropy(TorchLoss):
    def __init__(self, weights: Tensor) -> None:
        self._weights = weights

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets, self._weights, reduction="sum") / len(targets)

    def gradients(self, targets: Tensor, sizes: Sequence[int], like: Tensor) -> Sequence[LossGradient]:
        shares = self._weights[targets] * _shares(tuple(sizes), like.dtype, like.device)
        return _of_classes(self._mean_of, targets, shares, sizes, like)

    def _mean_of(self, log_p: Tensor, classes: Tensor) -> Tensor:
        return F.nll_loss(log_p, classes, self._weights, reduction="sum") / len(classes)


@lru_cache(maxsize=16)
def _shares(sizes: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return minus the share of each example in the mean of its batch: [examples]."""
    return torch.repeat_interleave(-1 / torch.tensor(sizes, dtype=dtype), torch.tensor(sizes)).to(device)


def _of_classes(
    mean_of: Callable[[Tensor, Tensor], Tensor], classes: Tensor, shares: Tensor, sizes: Sequence[int], like: Tensor
) -> Sequence[LossGradient]:
    """Return for each batch its loss, and the gradient of sum_i share_i log p_i(class_i)."""
    of_log_p = like.new_zeros(len(classes), like.shape[-1]).scatter_(1, classes.unsqueeze(1), shares.unsqueeze(1))

    def of_batch(of_log_p: Tensor, classes: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
        log_p = torch.log_softmax(outputs, 1)
        return mean_of(log_p, classes), torch._log_softmax_backward_data(of_log_p, log_p, 1, log_p.dtype)

    parts = (torch.split_with_sizes(of_all, sizes) for of_all in (of_log_p, classes))
    return [partial(of_batch, *its) for its in zip(*parts, strict=True)]


class _BinaryCrossEntropy(TorchLoss):
    def __init__(self, weights: Tensor | None) -> None:
        self._weights = weights  # of each label

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(outputs, targets, pos_weight=self._weights)

    def gradients(self, targets: Tensor, sizes: Sequence[int], like: Tensor) -> Sequence[LossGradient]:
        return [partial(self._of_batch, its) for its in torch.split_with_sizes(targets, sizes)]

    def _of_batch(self, targets: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
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

    def gradients(self, targets: Tensor, sizes: Sequence[int], like: Tensor) -> Sequence[LossGradient]:
        return [partial(self._of_batch, its) for its in torch.split_with_sizes(targets, sizes)]

    def _of_batch(self, targets: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
        return self(outputs, targets), _square_backward(_one(outputs.dtype, outputs.device), outputs, targets, _MEAN)


class _Huber(TorchLoss):
    def __init__(self, delta: float) -> None:
        self._delta = delta

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.huber_loss(outputs, targets, delta=self._delta)

    def gradients(self, targets: Tensor, sizes: Sequence[int], like: Tensor) -> Sequence[LossGradient]:
        return [partial(self._of_batch, its) for its in torch.split_with_sizes(targets, sizes)]

    def _of_batch(self, targets: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
        gradient = _huber_backward(_one(outputs.dtype, outputs.device), outputs, targets, _MEAN, self._delta)
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


def build_loss(loss: Loss, label_weights: Sequence[float] = (), device: TorchDevice = HOST) -> TorchLoss:
    """Build a loss with these label weights; without them all labels count equally."""
    weights = device.put(np.array(label_weights, np.float32)) if label_weights else None
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


def to_targets(loss: Loss, labels: NDArray[Any], outputs: int, device: TorchDevice = HOST) -> Tensor:
    """Return the targets of a loss as a tensor."""
    return device.put(np.ascontiguousarray(loss.targets(labels, outputs)))


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
