"""The gradient of a network's mean loss over a batch: written out where all layers and the loss have a derivative.

Written out, each layer's derivative follows that of the layer after it, and gradients of a value that several layers
use are added in autograd's order, so the bits are autograd's. There is no graph, which for small models takes longer to
build and to follow than the arithmetic does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flspec.layers import INPUT
from flspec_torch.layers import Backward, Masks, Translation, Wanted
from flspec_torch.losses import TorchLoss
from flspec_torch.model import Forward

__all__ = ["BatchGradient", "ByAutograd", "LossGradient", "WrittenOut", "has_derivatives", "require_gradients"]

# (inputs [batch, ...], targets, masks) -> the mean loss, the outputs, and in order the gradient of each learned tensor,
# None where the loss does not depend on it.
BatchGradient = Callable[[Tensor, Tensor, Masks], tuple[Tensor, Tensor, Sequence[Tensor | None]]]


class LossGradient(ABC):
    """The gradient of a loss of a model of one network, whose one input is an example."""

    @abstractmethod
    def __call__(self, tensors: Mapping[str, Tensor], learned: Sequence[str]) -> BatchGradient:
        """Return the function of a batch, for tensors that are changed in place from step to step.

        `learned` names those whose gradient is wanted.
        """


class ByAutograd(LossGradient):
    """That which autograd finds. `tensors` require gradients where they are learned, and nowhere else."""

    def __init__(self, forward: Forward, loss: TorchLoss) -> None:
        self._forward, self._loss = forward, loss

    def __call__(self, tensors: Mapping[str, Tensor], learned: Sequence[str]) -> BatchGradient:
        variables = require_gradients(tensors, learned)

        @torch.enable_grad()
        def of_batch(inputs: Tensor, targets: Tensor, masks: Masks) -> tuple[Tensor, Tensor, Sequence[Tensor | None]]:
            outputs = self._forward(tensors, inputs, masks)
            mean = self._loss(outputs, targets)
            gradients = torch.autograd.grad(mean, variables, allow_unused=True)
            return mean.detach(), outputs.detach(), gradients

        return of_batch


def require_gradients(tensors: Mapping[str, Tensor], learned: Iterable[str]) -> list[Tensor]:
    """Have autograd follow the learned tensors, which are returned, and no others."""
    for tensor in tensors.values():
        tensor.requires_grad_(False)
    return [tensors[name].requires_grad_() for name in learned]


def has_derivatives(translations: Sequence[Translation[Any]], loss: TorchLoss) -> bool:
    """Return whether the loss and each layer have a derivative that is written out."""
    return loss.has_vjp and all(one.has_vjp for one in translations)


@dataclass(frozen=True, slots=True)
class _Step:
    """One layer among the others."""

    name: str
    translation: Translation[Any]
    wanted: Wanted
    given: tuple[str, ...]  # the names of its inputs, and of its mask
    done: tuple[str, ...]  # those of them that no later layer needs
    inputs: tuple[str, ...]  # of its inputs those whose gradient is wanted; "" in place of others
    places: tuple[int | None, ...]  # of the tensors that it learns, among all learned ones


class WrittenOut(LossGradient):
    """That of layers and a loss which all have derivatives."""

    def __init__(self, translations: Sequence[Translation[Any]], loss: TorchLoss) -> None:
        self._translations, self._loss = translations, loss
        self._steps: dict[tuple[str, ...], list[_Step]] = {}  # by what is learned

    def __call__(self, tensors: Mapping[str, Tensor], learned: Sequence[str]) -> BatchGradient:
        names = tuple(learned)
        if names not in self._steps:
            self._steps[names] = _steps(self._translations, names)
        steps, num, loss = self._steps[names], len(names), self._loss.vjp
        forwards = [(step, step.translation.vjp(tensors, step.wanted)) for step in steps]
        output = steps[-1].name

        def of_batch(inputs: Tensor, targets: Tensor, masks: Masks) -> tuple[Tensor, Tensor, list[Tensor | None]]:
            values = {INPUT: inputs}
            for name, mask in masks.items():
                values[_mask_of(name)] = mask
            backwards = []
            for step, forward in forwards:
                values[step.name], backward = forward(*[values[name] for name in step.given])
                backwards.append(backward)
                for name in step.done:
                    del values[name]
            outputs = values[output]
            mean, gradient = loss(outputs, targets)
            return mean, outputs, _backward(steps, backwards, {output: gradient}, num)

        return of_batch


def _backward(
    steps: Sequence[_Step], backwards: list[Backward], gradients: dict[str, Tensor], num: int
) -> list[Tensor | None]:
    """Return the gradients of the learned tensors. What a layer remembers is let go once its gradients are known."""
    found: list[Tensor | None] = [None] * num
    for step in reversed(steps):
        backward = backwards.pop()
        if step.name not in gradients:  # no tensor before it is learned
            continue
        of_inputs, of_learned = backward(gradients.pop(step.name))
        for place, own in zip(step.places, of_learned, strict=True):
            if place is not None:
                found[place] = own
        for name, gradient in zip(step.inputs, of_inputs, strict=True):
            if name:
                known = gradients.get(name)
                gradients[name] = gradient if known is None else known + gradient
    return found


def _steps(translations: Sequence[Translation[Any]], learned: Sequence[str]) -> list[_Step]:
    layers = [one.layer for one in translations]
    last_use = {name: layer.name for layer in layers for name in layer.inputs}
    places = {name: place for place, name in enumerate(learned)}
    behind: set[str] = set()  # values that learned tensors are behind
    steps = []
    for one in translations:
        layer = one.layer
        own = tuple(places.get(layer.tensor_name(suffix)) for suffix in one.learns)
        inputs = tuple(name if name in behind else "" for name in layer.inputs)
        if any(inputs) or any(place is not None for place in own):
            behind.add(layer.name)
        mask = (_mask_of(layer.name),) if one.takes_mask else ()
        done = tuple(name for name in dict.fromkeys(layer.inputs) if last_use[name] == layer.name)
        wanted = Wanted(tuple(map(bool, inputs)), tuple(place is not None for place in own))
        steps.append(_Step(layer.name, one, wanted, (*layer.inputs, *mask), (*done, *mask), inputs, own))
    return steps


def _mask_of(layer: str) -> str:
    """Return the name of a dropout's factors among the values, which no layer has."""
    return f"{layer}/mask"
