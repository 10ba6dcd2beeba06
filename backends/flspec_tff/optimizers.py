"""The plan's client and server optimizers as `tff.learning.optimizers.Optimizer`.

TFF's own gradient descent is used where its definition is flspec's: v <- momentum * v + g; w <- w - learning_rate * v.
Elsewhere flspec's rule is written out, because TFF 0.87 has neither Nesterov momentum nor weight decay, its Adam and
Yogi always correct the bias of the moments but never of epsilon, and its Adagrad has epsilon inside the root.

On the server, TFF's gradient g is what flspec calls -Delta.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from flspec.client_optimizers import ClientOptimizer
from flspec.client_optimizers.sgd import Sgd as ClientSgd
from flspec.server_optimizers import ServerOptimizer
from flspec.server_optimizers.adagrad import Adagrad
from flspec.server_optimizers.adam import MomentOptimizer
from flspec.server_optimizers.sgd import Sgd
from flspec.server_optimizers.yogi import Yogi
from flspec.state import OptimizerState
from flspec_tff.layout import Layout, from_tensorflow, to_tensorflow

__all__ = ["build_client_optimizer", "build_server_optimizer", "read_server_state", "write_server_state"]

Tensors = Sequence[tf.Tensor]  # one a weight, as TensorFlow holds them
State = Mapping[str, Any]
Slots = Mapping[str, tf.Tensor]  # of one weight, float64


def build_client_optimizer(rule: ClientOptimizer) -> tff.learning.optimizers.Optimizer:
    """What TFF's clients descend by."""
    match rule:
        case ClientSgd(nesterov=False, weight_decay=0.0):
            return tff.learning.optimizers.build_sgdm(rule.learning_rate, rule.momentum or None)
        case ClientSgd():
            return _ClientSgd(rule)
    raise ValueError(f"no TFF translation for client optimizer {rule!r}")


def build_server_optimizer(rule: ServerOptimizer) -> tff.learning.optimizers.Optimizer:
    """What TFF's server steps by."""
    match rule:
        case Sgd():
            return tff.learning.optimizers.build_sgdm(rule.learning_rate, rule.momentum or None)
        case MomentOptimizer() | Adagrad():
            return _ServerStep(rule)
    raise ValueError(f"no TFF translation for server optimizer {rule!r}")


def write_server_state(
    rule: ServerOptimizer, blank: State, state: OptimizerState, layouts: Mapping[str, Layout]
) -> OrderedDict[str, Any]:
    """`state` as TFF's server optimizer holds it; `blank` is what that starts with."""
    written = OrderedDict(blank)
    if "step" in blank:
        written["step"] = np.int64(state.step)
    for slot, tensors in state.slots.items():
        key, sign = _place(rule, slot)
        written[key] = tuple(sign * tensor for tensor in to_tensorflow(layouts, tensors))
    return written


def read_server_state(
    rule: ServerOptimizer, written: State, step: int, layouts: Mapping[str, Layout]
) -> OptimizerState:
    """The inverse of `write_server_state`; `step` is told, since TFF's own optimizers do not count."""
    slots = {}
    for slot in rule.initial_slots():
        key, sign = _place(rule, slot)
        slots[slot] = from_tensorflow(layouts, [sign * np.asarray(tensor) for tensor in written[key]])
    return OptimizerState(step, slots)


def _place(rule: ServerOptimizer, slot: str) -> tuple[str, np.float32]:
    """Where TFF's state has a slot, and the sign it has there."""
    # TFF's velocity is a sum of gradients, flspec's one of Deltas.
    return ("accumulator", np.float32(-1)) if isinstance(rule, Sgd) else (slot, np.float32(1))


class _ClientSgd(tff.learning.optimizers.Optimizer):
    """`flspec.client_optimizers.sgd`, with its Nesterov momentum and coupled weight decay, in float32."""

    def __init__(self, rule: ClientSgd) -> None:
        self._rule = rule

    def initialize(self, specs: Sequence[tf.TensorSpec]) -> Tensors:
        return tuple(tf.zeros(spec.shape, spec.dtype) for spec in specs)

    @tf.autograph.experimental.do_not_convert  # as in model.py
    def next(self, state: Tensors, weights: Tensors, gradients: Tensors) -> tuple[Tensors, Tensors]:
        stepped = [self._step(*tensors) for tensors in zip(state, weights, gradients, strict=True)]
        velocities, weights = zip(*stepped, strict=True)
        return velocities, weights

    def _step(self, velocity: tf.Tensor, weight: tf.Tensor, gradient: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        gradient += self._rule.weight_decay * weight
        velocity = self._rule.momentum * velocity + gradient
        direction = gradient + self._rule.momentum * velocity if self._rule.nesterov else velocity
        return velocity, weight - self._rule.learning_rate * direction


class _ServerStep(tff.learning.optimizers.Optimizer):
    """flspec's adaptive server optimizers: computed in float64 and kept in float32, as flspec does."""

    def __init__(self, rule: MomentOptimizer | Adagrad) -> None:
        self._rule = rule

    def initialize(self, specs: Sequence[tf.TensorSpec]) -> State:
        state: OrderedDict[str, Any] = OrderedDict(step=tf.constant(0, tf.int64))
        for slot, start in self._rule.initial_slots().items():
            state[slot] = tuple(tf.fill(spec.shape, tf.constant(start, spec.dtype)) for spec in specs)
        return state

    @tf.autograph.experimental.do_not_convert
    def next(self, state: State, weights: Tensors, gradients: Tensors) -> tuple[State, Tensors]:
        step, slots = state["step"] + 1, list(self._rule.initial_slots())
        stepped = [
            self._step(tf.cast(step, tf.float64), weight, -gradient, dict(zip(slots, held, strict=True)))
            for weight, gradient, *held in zip(weights, gradients, *(state[slot] for slot in slots), strict=True)
        ]
        kept = [(slot, tuple(after[slot] for _, after in stepped)) for slot in slots]
        return OrderedDict([("step", step), *kept]), tuple(weight for weight, _ in stepped)

    def _step(
        self, number: tf.Tensor, weight: tf.Tensor, delta: tf.Tensor, slots: Slots
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        precise = {slot: tf.cast(value, tf.float64) for slot, value in slots.items()}
        formula = _adagrad if isinstance(self._rule, Adagrad) else _moments
        change, after = formula(self._rule, number, tf.cast(delta, tf.float64), precise)
        stepped = tf.cast(weight, tf.float64) + change
        return tf.cast(stepped, weight.dtype), {slot: tf.cast(value, weight.dtype) for slot, value in after.items()}


def _moments(
    rule: MomentOptimizer, number: tf.Tensor, delta: tf.Tensor, slots: Slots
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """`flspec.server_optimizers.adam.MomentOptimizer.step`."""
    square = tf.square(delta)
    first = rule.beta_1 * slots["first_moment"] + (1 - rule.beta_1) * delta
    second = slots["second_moment"]
    if isinstance(rule, Yogi):
        second -= (1 - rule.beta_2) * square * tf.sign(second - square)
    else:
        second = rule.beta_2 * second + (1 - rule.beta_2) * square
    first_scale = second_scale = tf.ones([], tf.float64)
    if rule.bias_correction:
        first_scale, second_scale = 1 - rule.beta_1**number, 1 - rule.beta_2**number
    change = rule.learning_rate * (first / first_scale) / (tf.sqrt(second / second_scale) + rule.epsilon)
    return change, {"first_moment": first, "second_moment": second}


def _adagrad(
    rule: Adagrad, number: tf.Tensor, delta: tf.Tensor, slots: Slots
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """`flspec.server_optimizers.adagrad.Adagrad.step`."""
    accumulator = slots["accumulator"] + tf.square(delta)
    change = rule.learning_rate * delta / (tf.sqrt(accumulator) + rule.epsilon)
    return change, {"accumulator": accumulator}
