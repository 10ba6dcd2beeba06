"""A plan's private mean as an aggregation of TFF: DP-FedAvg with a fixed or an adaptive clip, in float64.

Each client bounds its update; TFF sums; the server divides by the expected cohort, adds noise, and adapts the clip.
All of that is written out here, so a certificate compares it with flspec's. The noise alone is flspec's, and is set as
part of the aggregation's state before each round: TFF 0.87's own mechanisms draw noise that no seed repeats.

TFF's update is flspec's -Delta, so the noise is negated.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from flspec.execution.postprocessing import named_postprocessors, streams_of
from flspec.postprocessors.private_mean import PrivateMean
from flspec.protocol.named_records import Records
from flspec.protocol.plan import Plan
from flspec.protocol.state import ServerState
from flspec.update_clips import UpdateClip
from flspec.update_clips.adaptive import Adaptive
from flspec_tff.layout import all_to_tensorflow

__all__ = ["PrivateAggregation", "bounded", "released"]

Tensors: TypeAlias = Sequence[tf.Tensor]
State: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class PrivateAggregation:
    """The private mean of a plan that `unsupported` accepts, in place of TFF's weighted mean."""

    plan: Plan
    name: str  # of its record in a server state
    rule: PrivateMean

    @classmethod
    def of(cls, plan: Plan) -> PrivateAggregation | None:
        """Return a plan's private mean, or None if it has none."""
        parts = named_postprocessors(plan).items()
        return next((cls(plan, name, part) for name, part in parts if isinstance(part, PrivateMean)), None)

    def build(self, update_type: Any) -> tff.templates.AggregationProcess:
        """Build the process for updates of a type."""
        return _build(self.rule, update_type)

    def write(self, number: int, state: ServerState) -> State:
        """Return the process's state for round `number`: the clip that `state` has, and the noise of that round."""
        shapes = {name: weight.shape for name, weight in self.plan.weights.items()}
        record = state.records[self.name]
        noise, noise_on_share = self.rule.noise(record, shapes, streams_of(self.plan, number, self.name))
        return OrderedDict(
            clip=np.float32(record["clip"]),
            noise=tuple(-tensor for tensor in all_to_tensorflow(noise)),
            noise_on_share=np.float64(noise_on_share),
        )

    def read(self, written: State) -> Records:
        """Invert `write`: return the records that a server state has."""
        return {self.name: {"clip": np.array(written["clip"], np.float32)}}


def _build(rule: PrivateMean, update_type: Any) -> tff.templates.AggregationProcess:
    """Build the aggregation. Its state has the clip, and the noise of the next round."""

    @tff.tensorflow.computation
    def initial_state() -> State:
        shapes = [tensor.shape for tensor in update_type]
        return OrderedDict(
            clip=tf.constant(rule.clip.first_norm, tf.float32),
            noise=tuple(tf.zeros(shape, tf.float64) for shape in shapes),
            noise_on_share=tf.constant(0.0, tf.float64),
        )

    @tff.tensorflow.computation(np.float32, update_type, np.float32)
    def bound(clip: tf.Tensor, update: Tensors, weight: tf.Tensor) -> State:
        return bounded(clip, update, weight)

    @tff.tensorflow.computation(initial_state.type_signature.result, bound.type_signature.result)
    def release(state: State, sums: State) -> tuple[State, Tensors]:
        return released(rule, state, sums)

    @tff.federated_computation
    def initialize() -> Any:
        return tff.federated_eval(initial_state, tff.SERVER)

    @tff.federated_computation(
        initialize.type_signature.result,
        tff.FederatedType(update_type, tff.CLIENTS),
        tff.FederatedType(np.float32, tff.CLIENTS),
    )
    def next_round(state: Any, updates: Any, weights: Any) -> tff.templates.MeasuredProcessOutput:
        clips = tff.federated_broadcast(state["clip"])
        sums = tff.federated_sum(tff.federated_map(bound, (clips, updates, weights)))
        after, mean = tff.federated_map(release, (state, sums))
        return tff.templates.MeasuredProcessOutput(after, mean, tff.federated_value((), tff.SERVER))

    return tff.templates.AggregationProcess(initialize, next_round)


def bounded(clip: tf.Tensor, update: Tensors, weight: tf.Tensor) -> State:
    """Return a client's part of the sums: its bounded `update`, and `within`, 1/2 if it was within the bound or -1/2.

    TFF gives a client whose update is not finite the weight 0 and zeros in its place: it has no part in either sum.
    """
    precise, norm = [tf.cast(tensor, tf.float64) for tensor in update], tf.cast(clip, tf.float64)
    length = tf.sqrt(tf.add_n([tf.reduce_sum(tf.square(tensor)) for tensor in precise]))
    is_within, counts = length <= norm, tf.cast(weight > 0, tf.float64)
    factor = counts * tf.where(is_within, tf.ones_like(length), norm / length)
    return OrderedDict(
        update=tuple(tensor * factor for tensor in precise),
        within=counts * tf.where(is_within, 0.5 * tf.ones_like(length), -0.5 * tf.ones_like(length)),
    )


def released(rule: PrivateMean, state: State, sums: State) -> tuple[State, Tensors]:
    """Return the aggregation's next state, and the noised mean for TFF's server optimizer."""
    mean = [total / rule.clients + noise for total, noise in zip(sums["update"], state["noise"], strict=True)]
    share = 0.5 + sums["within"] / rule.clients + state["noise_on_share"]
    after = OrderedDict(state, clip=_next_norm(rule.clip, state["clip"], share))
    return after, tuple(tf.cast(tensor, tf.float32) for tensor in mean)


def _next_norm(clip: UpdateClip, norm: tf.Tensor, share_within: tf.Tensor) -> tf.Tensor:
    """`flspec.update_clips`: the next round's bound."""
    if not isinstance(clip, Adaptive):  # fixed
        return norm
    excess = tf.clip_by_value(share_within, 0.0, 1.0) - clip.quantile
    return tf.cast(tf.cast(norm, tf.float64) * tf.exp(-clip.rate * excess), tf.float32)
