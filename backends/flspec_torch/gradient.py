"""The gradient of a network's mean loss over a batch: written out where all layers and the loss have a derivative.

Written out, each layer's derivative follows that of the layer after it, and gradients of a value that several layers
use are added in autograd's order, so the bits are autograd's. There is no graph, which for small models takes longer to
build and to follow than the arithmetic does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from flspec.layers import INPUT
from flspec_torch.layers import Backward, Masks, Translation, Vjp, Wanted
from flspec_torch.losses import LossGradient, TorchLoss
from flspec_torch.model import Forward

__all__ = ["Batches", "BatchesOf", "ByAutograd", "ModelGradient", "WrittenOut", "has_derivatives", "require_gradients"]


class Batches(ABC):
    """Consecutive batches. Called with the inputs and masks of one after the other, it gives gradients of its loss.

    They are those of each learned tensor, in order, and None where the loss does not depend on it.
    """

    def __init__(self) -> None:
        self.outputs: list[Tensor] = []  # of the batches so far, [batch, outputs] each
        self.means: list[Tensor] = []  # of their loss

    @abstractmethod
    def __call__(self, inputs: Tensor, masks: Masks) -> Sequence[Tensor | None]:
        """Return the gradients of the next batch, [batch, ...]. Tensors are changed in place from one to the next."""


BatchesOf = Callable[[Tensor, Sequence[int]], Batches]  # of the targets of all of them, and of their sizes


class ModelGradient(ABC):
    """The gradient of a loss of a model of one network, whose one input is an example."""

    @abstractmethod
    def __call__(self, tensors: Mapping[str, Tensor], learned: Sequence[str]) -> BatchesOf:
        """Return the gradients for these tensors. `learned` names those whose gradient is wanted."""


class ByAutograd(ModelGradient):
    """That which autograd finds. `tensors` require gradients where they are learned, and nowhere else."""

    def __init__(self, forward: Forward, loss: TorchLoss) -> None:
        self._forward, self._loss = forward, loss

    def __call__(self, tensors: Mapping[str, Tensor], learned: Sequence[str]) -> BatchesOf:
        variables = require_gradients(tensors, learned)

        def outputs_of(inputs: Tensor, masks: Masks) -> Tensor:
            return self._forward(tensors, inputs, masks)

        return lambda targets, sizes: _Differentiated(
            outputs_of, variables, self._loss, torch.split_with_sizes(targets, sizes)
        )


class _Differentiated(Batches):
    def __init__(
        self,
        outputs_of: Callable[[Tensor, Masks], Tensor],
        variables: Sequence[Tensor],
        loss: TorchLoss,
        targets: Sequence[Tensor],
    ) -> None:
        super().__init__()
        self._outputs_of, self._variables, self._loss, self._targets = outputs_of, variables, loss, iter(targets)

    @torch.enable_grad()
    def __call__(self, inputs: Tensor, masks: Masks) -> Sequence[Tensor | None]:
        outputs = self._outputs_of(inputs, masks)
        mean = self._loss(outputs, next(self._targets))
        self.outputs.append(outputs.detach())
        self.means.append(mean.detach())
        return torch.autograd.grad(mean, self._variables, allow_unused=True)


def require_gradients(tensors: Mapping[str, Tensor], learned: Iterable[str]) -> list[Tensor]:
    """Have autograd follow the learned tensors, which are returned, and no others."""
    for tensor in tensors.values():
        tensor.requires_grad_(False)
    return [tensors[name].requires_grad_() for name in learned]


def has_derivatives(translations: Sequence[Translation[Any]], loss: TorchLoss) -> bool:
    """Return whether the loss and each layer have a derivative that is written out."""
    return loss.has_gradients and all(one.has_vjp for one in translations)


@dataclass(frozen=True, slots=True)
class _Step:
    """One layer among the others."""

    name: str
    translation: Translation[Any]
    wanted: Wanted
    given: tuple[str, ...]  # the names of its inputs, and of its mask
    done: tuple[str, ...]  # those of them that no later layer needs
    inputs: tuple[tuple[int, str], ...]  # those whose gradient is wanted, by their places among all
    places: tuple[tuple[int, int], ...]  # of the tensors that it learns: among its own, and among all learned ones
    is_behind: bool  # whether the gradient of its output is wanted


class _Layer(NamedTuple):
    """A step of a model's tensors, as it is taken apart for each batch."""

    forward: Vjp
    name: str
    given: tuple[str, ...]
    source: str  # what is given, if it is one value alone
    done: tuple[str, ...]
    step: _Step

    @classmethod
    def of(cls, step: _Step, forward: Vjp) -> _Layer:
        source = step.given[0] if len(step.given) == 1 else ""
        return cls(forward, step.name, step.given, source, step.done, step)


class WrittenOut(ModelGradient):
    """That of layers and a loss which all have derivatives."""

    def __init__(self, translations: Sequence[Translation[Any]], loss: TorchLoss) -> None:
        self._translations, self._loss = translations, loss
        self._steps: dict[tuple[str, ...], list[_Step]] = {}  # by what is learned
        last = translations[-1]
        self._num_outputs = last.layer.output_shape(*last.inputs)[0]

    def __call__(self, tensors: Mapping[str, Tensor], learned: Sequence[str]) -> BatchesOf:
        names = tuple(learned)
        if names not in self._steps:
            self._steps[names] = _steps(self._translations, names)
        layers = [_Layer.of(step, step.translation.vjp(tensors, step.wanted)) for step in self._steps[names]]
        like = next(iter(tensors.values())).new_empty(0, self._num_outputs)
        num_learned = len(names)

        def of_batches(targets: Tensor, sizes: Sequence[int]) -> Batches:
            return _Written(layers, self._loss.gradients(targets, sizes, like), num_learned)

        return of_batches


class _Written(Batches):
    def __init__(self, layers: Sequence[_Layer], of_loss: Sequence[LossGradient], num_learned: int) -> None:
        super().__init__()
        self._layers, self._of_loss, self._num_learned = layers, iter(of_loss), num_learned

    def __call__(self, inputs: Tensor, masks: Masks) -> Sequence[Tensor | None]:
        values = {INPUT: inputs}
        behind: list[tuple[_Step, Backward]] = []
        for name, mask in masks.items():
            values[_mask_of(name)] = mask
        for forward, name, given, source, done, step in self._layers:
            y, backward = forward(values[source]) if source else forward(*[values[one] for one in given])
            values[name] = y
            if step.is_behind:
                behind.append((step, backward))
            for one in done:
                del values[one]
        mean, gradient = next(self._of_loss)(y)
        self.outputs.append(y)
        self.means.append(mean)
        return _backward(behind, {name: gradient}, self._num_learned)


def _backward(behind: list[tuple[_Step, Backward]], gradients: dict[str, Tensor], num: int) -> list[Tensor | None]:
    """Return the gradients of the learned tensors. What a layer remembers is let go once its gradients are known."""
    found: list[Tensor | None] = [None] * num
    while behind:
        step, backward = behind.pop()
        if step.name not in gradients:
            continue
        of_inputs, of_learned = backward(gradients.pop(step.name))
        for own, place in step.places:
            found[place] = of_learned[own]
        for own, name in step.inputs:
            known = gradients.get(name)
            gradients[name] = of_inputs[own] if known is None else known + of_inputs[own]
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
        wanted = Wanted(tuple(name in behind for name in layer.inputs), tuple(place is not None for place in own))
        inputs = tuple((number, name) for number, name in enumerate(layer.inputs) if name in behind)
        learns = tuple((number, place) for number, place in enumerate(own) if place is not None)
        is_behind = bool(inputs or learns)
        behind |= {layer.name} if is_behind else set()
        mask = (_mask_of(layer.name),) if one.takes_mask else ()
        done = tuple(name for name in dict.fromkeys(layer.inputs) if last_use[name] == layer.name)
        steps.append(_Step(layer.name, one, wanted, (*layer.inputs, *mask), (*done, *mask), inputs, learns, is_behind))
    return steps


def _mask_of(layer: str) -> str:
    """Return the name of a dropout's factors among the values, which no layer has."""
    return f"{layer}/mask"
