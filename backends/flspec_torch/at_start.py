"""What a client measures before its first step: the loss of its examples and its gradient, where it is sent to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flspec.data.examples import Split
from flspec.metrics import Scores
from flspec_torch.scoring_batches import examples_at_once
from flspec_torch.supervised import SupervisedStep

__all__ = ["gradient_of", "scores_of"]


@torch.no_grad()
def scores_of(step: SupervisedStep, tensors: Mapping[str, Tensor], split: Split) -> Scores:
    """Return the scores of examples as they are evaluated: no dropout, and batch norm by its running statistics."""
    outputs = [step.forward(tensors, inputs, None).cpu().numpy() for inputs, _ in _batches(step, split)]
    return Scores(np.concatenate(outputs), split.labels, step.plan.settings.loss)


@torch.enable_grad()
def gradient_of(
    step: SupervisedStep, tensors: Mapping[str, Tensor], split: Split, names: Sequence[str]
) -> dict[str, NDArray[np.float32]]:
    """Return the gradient of the mean loss of examples as they are evaluated. Batches are summed in float64."""
    values = {name: tensor.detach() for name, tensor in tensors.items()}
    learned = {name: values[name].requires_grad_() for name in names}
    sums = [torch.zeros_like(tensor, dtype=torch.float64) for tensor in learned.values()]
    parts = step.parts
    for inputs, labels in _batches(step, split):
        outputs = step.forward(values, inputs, None)
        loss = parts.batch_loss(outputs, parts.targets(labels)) * (len(labels) / len(split))
        for total, gradient in zip(sums, torch.autograd.grad(loss, list(learned.values())), strict=True):
            total.add_(gradient)
    return {name: total.cpu().numpy().astype(np.float32) for name, total in zip(names, sums, strict=True)}


def _batches(step: SupervisedStep, split: Split) -> Iterator[tuple[Tensor, NDArray[np.int64] | NDArray[np.uint8]]]:
    size = examples_at_once(step.network)
    for start in range(0, len(split), size):
        rows = slice(start, start + size)
        yield step.device.put(split.inputs(rows)), split.labels[rows]
