"""The plan's server optimizers as `tff.learning.optimizers.Optimizer`.

TFF's own gradient descent is used, because its definition is flspec's. The other rules are written out here, unless a
plan asks for TFF's own: TFF 0.87's Adam and Yogi have only the form with epsilon_hat, and its Adagrad has epsilon
inside the root.

TFF's gradient g is flspec's -Delta.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from flspec.protocol.state import OptimizerState
from flspec.server_optimizers import ServerOptimizer
from flspec.server_optimizers.adagrad import Adagrad
from flspec.server_optimizers.adam import Adam, MomentOptimizer
from flspec.server_optimizers.sgd import Sgd
from flspec.server_optimizers.yogi import Yogi
from flspec_tff.layout import all_from_tensorflow, all_to_tensorflow

__all__ = ["build_server_optimizer", "read_server_state", "write_server_state"]

Tensors = Sequence[tf.Tensor]  # one for each weight, in TensorFlow's layout
State = Mapping[str, Any]
Slots = Mapping[str, tf.Tensor]  # of one weight, float64


def build_server_optimizer(
    rule: ServerOptimizer, learned: Sequence[bool], native: bool = False
) -> tff.learning.optimizers.Optimizer:
    """Build the optimizer of TFF's server. `learned` says of each tensor that is sent whether the rule is for it."""
    optimizer = _build_native(rule) if native else _build(rule)
    return optimizer if all(learned) else _BesideStatistics(optimizer, learned)


def _build(rule: ServerOptimizer) -> tff.learning.optimizers.Optimizer:
    match rule:
        case Sgd():
            return tff.learning.optimizers.build_sgdm(rule.learning_rate, rule.momentum or None)
        case MomentOptimizer() | Adagrad():
            return _ServerStep(rule)
    raise ValueError(f"no TFF translation for server optimizer {rule!r}")


def _build_native(rule: ServerOptimizer) -> tff.learning.optimizers.Optimizer:
    """Build TFF's own optimizer of a rule; `natives` says which fields it has."""
    optimizers = tff.learning.optimizers
    match rule:
        case Sgd():
            return _build(rule)
        case Yogi():
            moments = (rule.beta_1, rule.beta_2, rule.epsilon)
            return optimizers.build_yogi(rule.learning_rate, *moments, rule.initial_accumulator)
        case Adam():
            return optimizers.build_adam(rule.learning_rate, rule.beta_1, rule.beta_2, rule.epsilon)
        case Adagrad():
            return optimizers.build_adagrad(rule.learning_rate, rule.initial_accumulator, rule.epsilon)
    raise ValueError(f"TFF has no server optimizer of its own for {rule!r}")


def write_server_state(rule: ServerOptimizer, blank: State, state: OptimizerState, rate: float) -> State:
    """Convert `state` to the state of TFF's server optimizer in a round. `blank` is the latter's initial state.

    `rate` is the factor of the learning rate in the round.
    """
    written = OrderedDict(blank)
    if _is_of_tff(blank):
        written["learning_rate"] = np.float32(rule.learning_rate * rate)  # type: ignore[attr-defined]
        written |= {"step": np.int32(state.step)} if "step" in blank else {}
    else:
        written |= {"step": np.int64(state.step), "rate": np.float64(rate)}
    for slot, tensors in state.slots.items():
        key, sign = _place(blank, slot)
        written[key] = tuple(sign * tensor for tensor in all_to_tensorflow(tensors))
    return written


def read_server_state(rule: ServerOptimizer, written: State, step: int, names: Sequence[str]) -> OptimizerState:
    """Invert `write_server_state`. `step` is a parameter, because TFF's own optimizers do not count steps."""
    slots = {}
    for slot in rule.initial_slots():
        key, sign = _place(written, slot)
        slots[slot] = all_from_tensorflow(names, [sign * np.asarray(tensor) for tensor in written[key]])
    return OptimizerState(step, slots)


# Where TFF's own optimizers have a slot, and its sign there: TFF's sums are of gradients, flspec's of Deltas.
_OF_TFF = {
    "momentum": ("accumulator", np.float32(-1)),
    "first_moment": ("accumulator", np.float32(-1)),
    "second_moment": ("preconditioner", np.float32(1)),
    "accumulator": ("preconditioner", np.float32(1)),
}


def _is_of_tff(state: State) -> bool:
    """Return whether a state is of an optimizer of TFF's own, not of one that is written out here."""
    return "learning_rate" in state


def _place(state: State, slot: str) -> tuple[str, np.float32]:
    """Return the key of a slot in a state of TFF's server, and its sign there."""
    return _OF_TFF[slot] if _is_of_tff(state) else (slot, np.float32(1))


class _BesideStatistics(tff.learning.optimizers.Optimizer):
    """Another optimizer for the learned tensors; to statistics their mean change is added as it is."""

    def __init__(self, inner: tff.learning.optimizers.Optimizer, learned: Sequence[bool]) -> None:
        self._inner, self._learned = inner, tuple(learned)

    def initialize(self, specs: Sequence[tf.TensorSpec]) -> Any:
        return self._inner.initialize(self._only_learned(specs))

    @tf.autograph.experimental.do_not_convert
    def next(self, state: Any, weights: Tensors, gradients: Tensors) -> tuple[Any, Tensors]:
        state, learned = self._inner.next(state, self._only_learned(weights), self._only_learned(gradients))
        stepped = iter(learned)
        triples = zip(self._learned, weights, gradients, strict=True)
        return state, tuple(next(stepped) if is_learned else w - g for is_learned, w, g in triples)

    def _only_learned(self, tensors: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(tensor for tensor, is_learned in zip(tensors, self._learned, strict=True) if is_learned)


class _ServerStep(tff.learning.optimizers.Optimizer):
    """flspec's adaptive server optimizers: computed in float64 and stored in float32, as in flspec.

    The state also has the factor of the learning rate in the round.
    """

    def __init__(self, rule: MomentOptimizer | Adagrad) -> None:
        self._rule = rule

    def initialize(self, specs: Sequence[tf.TensorSpec]) -> State:
        state: OrderedDict[str, Any] = OrderedDict(rate=tf.constant(1.0, tf.float64), step=tf.constant(0, tf.int64))
        for slot, start in self._rule.initial_slots().items():
            state[slot] = tuple(tf.fill(spec.shape, tf.constant(start, spec.dtype)) for spec in specs)
        return state

    @tf.autograph.experimental.do_not_convert
    def next(self, state: State, weights: Tensors, gradients: Tensors) -> tuple[State, Tensors]:
        rate, step, slots = state["rate"], state["step"] + 1, list(self._rule.initial_slots())
        stepped = [
            self._step(rate, tf.cast(step, tf.float64), weight, -gradient, dict(zip(slots, own, strict=True)))
            for weight, gradient, *own in zip(weights, gradients, *(state[slot] for slot in slots), strict=True)
        ]
        kept = [(slot, tuple(after[slot] for _, after in stepped)) for slot in slots]
        return OrderedDict([("rate", rate), ("step", step), *kept]), tuple(weight for weight, _ in stepped)

    def _step(
        self, rate: tf.Tensor, number: tf.Tensor, weight: tf.Tensor, delta: tf.Tensor, slots: Slots
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        precise = {slot: tf.cast(value, tf.float64) for slot, value in slots.items()}
        rule, given = self._rule, (number, tf.cast(delta, tf.float64), precise)
        change, after = _adagrad(rule, *given) if isinstance(rule, Adagrad) else _moments(rule, *given)
        stepped = tf.cast(weight, tf.float64) + rate * change
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
    epsilon = rule.epsilon / tf.sqrt(second_scale) if rule.epsilon_hat else rule.epsilon
    change = rule.learning_rate * (first / first_scale) / (tf.sqrt(second / second_scale) + epsilon)
    return change, {"first_moment": first, "second_moment": second}


def _adagrad(
    rule: Adagrad, number: tf.Tensor, delta: tf.Tensor, slots: Slots
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """`flspec.server_optimizers.adagrad.Adagrad.step`."""
    accumulator = slots["accumulator"] + tf.square(delta)
    change = rule.learning_rate * delta / (tf.sqrt(accumulator) + rule.epsilon)
    return change, {"accumulator": accumulator}
