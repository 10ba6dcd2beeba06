"""The client optimizers in torch.

The rules are written out here. The first use of `torch.optim` imports torch's compiler, which takes a second in every
process. Tests compare these rules with `torch.optim` bit for bit.

They step one tensor after the other. For large models, torch's operations on lists of tensors are not faster, because
each goes through all of the model's memory before the next begins.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from flspec.client_optimizers import ClientOptimizer
from flspec.client_optimizers.adam import Adam
from flspec.client_optimizers.adamw import AdamW
from flspec.client_optimizers.sgd import Sgd
from flspec.execution.part_checks import PartCall
from flspec.protocol.named_records import Records, Weights

__all__ = ["Stepper", "build_stepper"]

_NOTHING: Records = {}

Rule = TypeVar("Rule", bound=ClientOptimizer)


class Stepper(ABC, Generic[Rule]):
    """A client's optimizer with its state. Calling it with the gradients, in the order of the weights, takes a step.

    `rate` is the factor of the optimizer's learning rate, and may be set between steps.
    """

    def __init__(
        self, rule: Rule, weights: Mapping[str, Tensor], rate: float, carried: Records, player: str = ""
    ) -> None:
        self.rate, self._record = rate, f"optimizer/{player}" if player else "optimizer"
        self._rule, self._names = rule, list(weights)
        self._weights = [weight.detach() for weight in weights.values()]  # the same memory, which autograd leaves alone
        self._num_steps = int(carried.get(self._record, {}).get("step", 0))
        self._slots = {
            slot: self._begin(start, carried.get(f"{self._record}/{slot}"))
            for slot, start in rule.initial_slots().items()
        }

    @abstractmethod
    def __call__(self, gradients: Sequence[Tensor]) -> None:
        """Update the weights in place, and the optimizer's state."""

    def carry(self) -> dict[str, Weights]:
        """Return the state for the next stepper: a record for each slot, and the step count if the rule has one."""
        slots: dict[str, Weights] = {
            f"{self._record}/{slot}": {
                name: np.array(value.cpu().numpy(), np.float32) for name, value in zip(self._names, values, strict=True)
            }
            for slot, values in self._slots.items()
        }
        return slots | (
            {self._record: {"step": np.array(self._num_steps, np.float32)}} if self._rule.counts_steps else {}
        )

    def _begin(self, start: float, carried: Weights | None) -> list[Tensor]:
        """Return a slot's tensors, in the order of the weights: carried over, or at their initial value."""
        if carried is None:
            return [torch.full_like(weight, start) for weight in self._weights]
        return [
            torch.tensor(carried[name], dtype=weight.dtype, device=weight.device)
            for name, weight in zip(self._names, self._weights, strict=True)
        ]


def build_stepper(
    optimizer: ClientOptimizer,
    weights: Mapping[str, Tensor],
    rate: float = 1.0,
    carried: Records = _NOTHING,
    player: str = "",
) -> Stepper[Any]:
    """Build a client's stepper for a round, from the state of its last one if that carries over.

    `player` names it where a client has several.
    """
    match optimizer:
        case Sgd():
            return _SgdStepper(optimizer, weights, rate, carried, player)
        case Adam() | AdamW():
            return _AdamStepper(optimizer, weights, rate, carried, player)
    return _OwnStepper(optimizer, weights, rate, carried, player)


class _OwnStepper(Stepper[ClientOptimizer]):
    """The translation that an optimizer brings itself. What it gives is checked at every step."""

    def __call__(self, gradients: Sequence[Tensor]) -> None:
        self._num_steps += 1
        call = PartCall("client.optimizer", self._rule, "torch")
        rate = self._rule.learning_rate * self.rate
        for number, (name, weight, gradient) in enumerate(zip(self._names, self._weights, gradients, strict=True)):
            slots = {slot: values[number] for slot, values in self._slots.items()}
            shapes = {slot: value.shape for slot, value in slots.items()}
            with call.guarded():
                change = self._rule.torch(self._num_steps, gradient, weight, slots, rate)
            if not isinstance(change, Tensor):
                raise call.error(f"gave a {type(change).__name__} for {name}, not a tensor")
            for what, value, shape in [("", change, weight.shape), *((f"{s} ", slots[s], shapes[s]) for s in shapes)]:
                if value.shape != shape:
                    raise call.error(f"gave {what}{name} of shape {list(value.shape)}, not {list(shape)}")
            weight.add_(change)


class _SgdStepper(Stepper[Sgd]):
    def __call__(self, gradients: Sequence[Tensor]) -> None:
        if decay := self._rule.weight_decay:
            gradients = [g.add(w, alpha=decay) for g, w in zip(gradients, self._weights, strict=True)]
        if self._rule.momentum:
            gradients = self._accelerate(gradients)
        step_size = self._rule.learning_rate * self.rate
        for weight, direction in zip(self._weights, gradients, strict=True):
            weight.add_(direction, alpha=-step_size)

    def _accelerate(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        velocities, momentum = self._slots["momentum"], self._rule.momentum
        for velocity, gradient in zip(velocities, gradients, strict=True):
            velocity.mul_(momentum).add_(gradient)
        if not self._rule.nesterov:
            return velocities
        return [g.add(v, alpha=momentum) for g, v in zip(gradients, velocities, strict=True)]


class _AdamStepper(Stepper[Adam | AdamW]):
    """Adam and AdamW, in the order of torch's own operations."""

    def __call__(self, gradients: Sequence[Tensor]) -> None:
        self._num_steps += 1
        rule, learning_rate = self._rule, self._rule.learning_rate * self.rate
        step_size = learning_rate / (1 - rule.beta_1**self._num_steps)
        root = (1 - rule.beta_2**self._num_steps) ** 0.5
        epsilon = rule.epsilon / root if rule.epsilon_hat else rule.epsilon
        gradients = self._decay(gradients, learning_rate)
        firsts, seconds = self._slots["first_moment"], self._slots["second_moment"]
        for weight, gradient, first, second in zip(self._weights, gradients, firsts, seconds, strict=True):
            first.lerp_(gradient, 1 - rule.beta_1)
            second.mul_(rule.beta_2).addcmul_(gradient, gradient, value=1 - rule.beta_2)
            weight.addcdiv_(first, second.sqrt().div_(root).add_(epsilon), value=-step_size)

    def _decay(self, gradients: Sequence[Tensor], learning_rate: float) -> Sequence[Tensor]:
        """Apply weight decay: AdamW shrinks the weights, Adam adds the gradient of an L2 penalty."""
        if not (decay := self._rule.weight_decay):
            return gradients
        if isinstance(self._rule, Adam):
            return [g.add(w, alpha=decay) for g, w in zip(gradients, self._weights, strict=True)]
        for weight in self._weights:
            weight.mul_(1 - learning_rate * decay)
        return gradients
