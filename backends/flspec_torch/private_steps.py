"""The gradient of a private step: DP-SGD, Abadi et al., CCS 2016, arXiv:1607.00133, Algorithm 1."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from flspec.analysis.memory_estimate import MOST_GRADIENT_VALUES
from flspec.core.randomness import Stream
from flspec.layers import TorchModule
from flspec.protocol.settings import PrivateSteps
from flspec_torch.clipping import norm_of
from flspec_torch.step import StepInputs

__all__ = ["Sums", "add_noise", "sum_of_clipped", "warm_up"]

Sums = dict[str, Tensor]  # by tensor name, float64


def warm_up() -> None:
    """Have torch import what its first gradient of many examples needs: a second that is not a step's."""
    torch.func.vmap(torch.func.grad(torch.sin))(torch.zeros(1))


def sum_of_clipped(step: StepInputs, learned: Mapping[str, Tensor], norm: float) -> tuple[Sums, dict[str, float]]:
    """Return sum_i g_i min(1, norm / ||g_i||) over the batch's examples, in float64, and the sums of its metrics.

    ||g_i|| is the Euclidean norm of an example's gradient of the loss in all tensors together. A gradient with a value
    that is not finite has none, and counts as zero, because nothing would bound what it adds.
    """
    one = _gradient_of_one(step)
    weights = {name: tensor.detach() for name, tensor in learned.items()}
    size = max(1, MOST_GRADIENT_VALUES // sum(tensor.numel() for tensor in weights.values()))
    is_own = any(isinstance(layer, TorchModule) for layer in step.parts.network.layers)
    each = _in_turn(one) if is_own else torch.func.vmap(one, in_dims=(None, 0, 0, 0))
    sums = {name: torch.zeros_like(tensor, dtype=torch.float64) for name, tensor in weights.items()}
    losses, outputs = [], []
    arguments = (step.inputs, step.targets, step.masks)
    for start in range(0, len(step.inputs), size):
        gradients, (loss, output) = each(weights, *_part(arguments, slice(start, start + size)))
        _add_clipped(sums, gradients, norm)
        del gradients  # or two parts' gradients would be held at once
        losses.append(loss)
        outputs.append(output)
    loss_sum = float(torch.cat(losses).double().sum())
    return sums, {"loss": loss_sum, "accuracy": step.num_correct(torch.cat(outputs))}


def add_noise(sums: Sums, bound: PrivateSteps, divisor: float, stream: Stream) -> Sequence[Tensor]:
    """Return (sum + N(0, (z C)^2)) / divisor for each tensor, in float32: the gradient that an optimizer is given."""
    deviation = bound.noise_multiplier * bound.norm
    noised = []
    for name, value in sums.items():
        noise = torch.from_numpy(stream.child(name).normal(math.prod(value.shape)).reshape(value.shape))
        noised.append(((value + deviation * noise.to(value.device)) / divisor).float())
    return noised


def _gradient_of_one(step: StepInputs) -> Callable[..., tuple[dict[str, Tensor], tuple[Tensor, Tensor]]]:
    """Return the function from weights and one example to its gradient, its loss and its outputs."""
    parts, constant = step.parts, step.tensors

    def loss_of_one(
        weights: Mapping[str, Tensor], example: Tensor, target: Tensor, masks: Mapping[str, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        rows = {name: mask.unsqueeze(0) for name, mask in masks.items()}
        outputs = parts.forward({**constant, **weights}, example.unsqueeze(0), rows)
        loss = parts.batch_loss(outputs, target.unsqueeze(0))
        return loss, (loss, outputs.squeeze(0))

    gradient: Any = torch.func.grad(loss_of_one, has_aux=True)
    return gradient  # type: ignore[no-any-return]


def _in_turn(one: Callable[..., Any]) -> Callable[..., Any]:
    """Return what `vmap` gives, example by example: somebody's module may branch, and draws by a seed of each."""

    def each(
        weights: Mapping[str, Tensor], inputs: Tensor, targets: Tensor, masks: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor]]:
        rows = [
            one(weights, inputs[row], targets[row], {name: mask[row] for name, mask in masks.items()})
            for row in range(len(inputs))
        ]
        gradients = {name: torch.stack([own[name] for own, _ in rows]) for name in weights}
        return gradients, (torch.stack([loss for _, (loss, _) in rows]), torch.stack([out for _, (_, out) in rows]))

    return each


def _part(arguments: tuple[Tensor, Tensor, Mapping[str, Tensor]], rows: slice) -> tuple[Any, ...]:
    inputs, targets, masks = arguments
    return inputs[rows], targets[rows], {name: mask[rows] for name, mask in masks.items()}


def _add_clipped(sums: Sums, gradients: Mapping[str, Tensor], norm: float) -> None:
    for own in zip(*gradients.values(), strict=True):  # one example at a time: copies in float64 stay small
        length = math.hypot(*map(norm_of, own))
        if not math.isfinite(length):
            continue
        for total, gradient in zip(sums.values(), own, strict=True):
            total.add_(gradient.double(), alpha=min(1.0, norm / length) if length else 1.0)
