"""The client optimizers in torch.

Written out instead of taken from `torch.optim`, whose first use imports torch's compiler: a second in every
process, and these rules are what an experiment is about. A test holds them to `torch.optim` bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from flspec.client_optimizers import ClientOptimizer
from flspec.client_optimizers.sgd import Sgd

Step = Callable[[Sequence[Tensor]], None]  # takes the gradients and changes the weights in place


def build_step(optimizer: ClientOptimizer, weights: Sequence[Tensor]) -> Step:
    """The step of a client that starts now, with fresh optimizer state."""
    match optimizer:
        case Sgd():
            return _sgd_step(optimizer, weights)
    raise ValueError(f"no torch translation for client optimizer {optimizer!r}")


def _sgd_step(sgd: Sgd, weights: Sequence[Tensor]) -> Step:
    velocities: list[Tensor] = []

    @torch.no_grad()
    def step(gradients: Sequence[Tensor]) -> None:
        directions = list(gradients)
        if sgd.weight_decay:
            directions = [g.add(w, alpha=sgd.weight_decay) for g, w in zip(directions, weights, strict=True)]
        if sgd.momentum:
            directions = accelerate(directions)
        for weight, direction in zip(weights, directions, strict=True):
            weight.add_(direction, alpha=-sgd.learning_rate)

    def accelerate(gradients: list[Tensor]) -> list[Tensor]:
        if not velocities:
            velocities.extend(gradient.clone() for gradient in gradients)
        else:
            for velocity, gradient in zip(velocities, gradients, strict=True):
                velocity.mul_(sgd.momentum).add_(gradient)
        if not sgd.nesterov:
            return velocities
        return [g.add(v, alpha=sgd.momentum) for g, v in zip(gradients, velocities, strict=True)]

    return step
