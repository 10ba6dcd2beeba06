"""The plan's client optimizers as `tff.learning.optimizers.Optimizer`.

TFF's own gradient descent is used where its definition is flspec's: v <- momentum * v + g; w <- w - learning_rate * v.
The other rules are written out here. TFF 0.87 has neither Nesterov momentum nor weight decay for SGD, and its Adam and
AdamW have only the form with epsilon_hat.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import tensorflow as tf
import tensorflow_federated as tff

from flspec.client_optimizers import ClientOptimizer
from flspec.client_optimizers.adam import Adam
from flspec.client_optimizers.adamw import AdamW
from flspec.client_optimizers.sgd import Sgd
from flspec.protocol.settings import ClipSettings

__all__ = ["build_client_optimizer", "record_of", "slots_of", "with_slots"]

Tensors = Sequence[tf.Tensor]  # float32, one for each weight, in TensorFlow's layout
Rate: TypeAlias = tf.Tensor | float  # the learning rate of a round
State = OrderedDict[str, Any]
Records = Mapping[str, Mapping[str, Any]]


def build_client_optimizer(
    rule: ClientOptimizer, learning_rate: Rate, clip: ClipSettings | None = None
) -> tff.learning.optimizers.Optimizer:
    """Build the optimizer of TFF's clients in a round, with gradient clipping if the plan has it."""
    optimizer = _build(rule, learning_rate)
    return _Clipped(optimizer, clip.norm, clip.by) if clip else optimizer


def with_slots(rule: ClientOptimizer, state: State, player: str, kept: Records) -> State:
    """Return an optimizer's initial state with what a client kept of it: records named as in `slots_of`."""
    changed, record = OrderedDict(state), record_of(player)
    for slot in rule.initial_slots():
        if tensors := kept.get(f"{record}/{slot}"):
            changed[_key(state, slot)] = tuple(tensors.values())
    if record in kept and rule.counts_steps:
        changed["step"] = tf.cast(kept[record]["step"], tf.int64)
    return changed


def slots_of(rule: ClientOptimizer, state: State, player: str, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return what a client keeps of an optimizer of the tensors `names`: a record for each slot, and its step count."""
    record = record_of(player)
    records = {
        f"{record}/{slot}": dict(zip(names, state[_key(state, slot)], strict=True)) for slot in rule.initial_slots()
    }
    return records | ({record: {"step": tf.cast(state["step"], tf.float32)}} if rule.counts_steps else {})


def record_of(player: str) -> str:
    """Return the record of a client's state that counts a player's steps; below it are its slots."""
    return f"optimizer/{player}" if player else "optimizer"


def _key(state: State, slot: str) -> str:
    """Return the key of a slot. TFF's own gradient descent calls its one `accumulator`, and a number `momentum`."""
    return "accumulator" if "accumulator" in state else slot


def _build(rule: ClientOptimizer, learning_rate: Rate) -> tff.learning.optimizers.Optimizer:
    match rule:
        case Sgd(nesterov=False, weight_decay=0.0):
            return tff.learning.optimizers.build_sgdm(tf.cast(learning_rate, tf.float32), rule.momentum or None)
        case Sgd():
            return _Descent(rule, learning_rate)
        case Adam() | AdamW():
            return _Moments(rule, learning_rate)
    raise ValueError(f"no TFF translation for client optimizer {rule!r}")


class _Clipped(tff.learning.optimizers.Optimizer):
    """Clipping before another optimizer's step: g * min(1, norm / ||g||_2), with the norm summed in float64."""

    def __init__(self, inner: tff.learning.optimizers.Optimizer, norm: float, by: str) -> None:
        self._inner, self._norm, self._by = inner, norm, by

    def initialize(self, specs: Sequence[tf.TensorSpec]) -> Any:
        return self._inner.initialize(specs)

    @tf.autograph.experimental.do_not_convert  # as in model.py
    def next(self, state: Any, weights: Tensors, gradients: Tensors) -> tuple[Any, Tensors]:
        squares = [tf.reduce_sum(tf.square(tf.cast(gradient, tf.float64))) for gradient in gradients]
        if self._by == "global":
            squares = [tf.add_n(squares)] * len(squares)
        scales = [tf.minimum(tf.constant(1.0, tf.float64), self._norm / tf.sqrt(square)) for square in squares]
        bounded = tuple(g * tf.cast(scale, tf.float32) for g, scale in zip(gradients, scales, strict=True))
        after: tuple[Any, Tensors] = self._inner.next(state, weights, bounded)
        return after


class _Stepwise(tff.learning.optimizers.Optimizer):
    """An optimizer that steps each weight tensor separately."""

    rule: ClientOptimizer

    def __init__(self, rule: Any, learning_rate: Rate) -> None:
        self.rule, self.learning_rate = rule, tf.cast(learning_rate, tf.float64)

    def initialize(self, specs: Sequence[tf.TensorSpec]) -> State:
        state: State = OrderedDict(step=tf.constant(0, tf.int64))
        for slot, start in self.rule.initial_slots().items():
            state[slot] = tuple(tf.fill(spec.shape, tf.constant(start, spec.dtype)) for spec in specs)
        return state

    @tf.autograph.experimental.do_not_convert
    def next(self, state: State, weights: Tensors, gradients: Tensors) -> tuple[State, Tensors]:
        number, slots = state["step"] + 1, list(self.rule.initial_slots())
        stepped = [
            self.step(tf.cast(number, tf.float64), weight, gradient, *own)
            for weight, gradient, *own in zip(weights, gradients, *(state[slot] for slot in slots), strict=True)
        ]
        after, *kept = (tuple(tensors) for tensors in zip(*stepped, strict=True))
        return OrderedDict([("step", number), *zip(slots, kept, strict=True)]), after

    @abstractmethod
    def step(self, number: tf.Tensor, weight: tf.Tensor, gradient: tf.Tensor, *slots: tf.Tensor) -> Tensors:
        """Return the weight and its slots after step `number`, from 1."""


class _Descent(_Stepwise):
    """`flspec.client_optimizers.sgd`, with its Nesterov momentum and coupled weight decay."""

    rule: Sgd

    def step(self, number: tf.Tensor, weight: tf.Tensor, gradient: tf.Tensor, *slots: tf.Tensor) -> Tensors:
        rule, direction = self.rule, gradient + self.rule.weight_decay * weight
        if rule.momentum:
            velocity = rule.momentum * slots[0] + direction
            direction, slots = direction + rule.momentum * velocity if rule.nesterov else velocity, (velocity,)
        return weight - tf.cast(self.learning_rate, tf.float32) * direction, *slots


class _Moments(_Stepwise):
    """`flspec.client_optimizers.adam` and `adamw`."""

    rule: Adam | AdamW

    def step(self, number: tf.Tensor, weight: tf.Tensor, gradient: tf.Tensor, *slots: tf.Tensor) -> Tensors:
        rule, (first, second) = self.rule, slots
        if isinstance(rule, AdamW):
            weight *= tf.cast(1 - self.learning_rate * rule.weight_decay, tf.float32)
        else:
            gradient += rule.weight_decay * weight
        first += (1 - rule.beta_1) * (gradient - first)
        second = rule.beta_2 * second + (1 - rule.beta_2) * tf.square(gradient)
        step_size = tf.cast(self.learning_rate / (1 - rule.beta_1**number), tf.float32)
        root = tf.cast(tf.sqrt(1 - rule.beta_2**number), tf.float32)
        epsilon = rule.epsilon / root if rule.epsilon_hat else rule.epsilon
        return weight - step_size * first / (tf.sqrt(second) / root + epsilon), first, second
