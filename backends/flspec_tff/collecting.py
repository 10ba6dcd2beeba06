"""TFF's mean of updates, and beside it the updates themselves, to which flspec's definition is applied as well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff
from numpy.typing import NDArray

from flspec.protocol.plan import Plan
from flspec.protocol.updates import ClientUpdate, as_tensors
from flspec_tff.layout import all_from_tensorflow, all_to_tensorflow
from flspec_tff.process import build_weighted_mean

__all__ = ["build_collecting_mean", "read_updates"]

Tensors: TypeAlias = Sequence[tf.Tensor]


def build_collecting_mean(update_type: Any) -> tff.templates.AggregationProcess:
    """Build TFF's weighted mean, whose measurements are float32 [num_clients, num_values + 1].

    A row is one client's update, all tensors in a vector, and its weight. Rows are in no order.
    """
    mean = build_weighted_mean(update_type)
    width = sum(int(np.prod(tensor.shape)) for tensor in update_type) + 1
    rows_type = tff.TensorType(np.float32, [None, width])

    @tff.tensorflow.computation(update_type, np.float32)
    def as_row(update: Tensors, weight: tf.Tensor) -> tf.Tensor:
        return tf.concat([*(tf.reshape(tensor, [-1]) for tensor in update), [weight]], 0)

    @tff.tensorflow.computation
    def no_rows() -> tf.Tensor:
        # Its type must leave the number of rows open, which that of zeros does not.
        none = tf.compat.v1.placeholder_with_default(tf.zeros([0, width]), [None, width])
        return tf.ensure_shape(none, [None, width])

    @tff.tensorflow.computation(rows_type, tff.TensorType(np.float32, [width]))
    def with_row(rows: tf.Tensor, row: tf.Tensor) -> tf.Tensor:
        return tf.concat([rows, row[tf.newaxis]], 0)

    @tff.tensorflow.computation(rows_type, rows_type)
    def together(ones: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
        return tf.concat([ones, others], 0)

    @tff.tensorflow.computation(rows_type)
    def unchanged(rows: tf.Tensor) -> tf.Tensor:
        return tf.identity(rows)

    @tff.federated_computation
    def initialize() -> Any:
        return mean.initialize()

    @tff.federated_computation(
        initialize.type_signature.result,
        tff.FederatedType(update_type, tff.CLIENTS),
        tff.FederatedType(np.float32, tff.CLIENTS),
    )
    def next_round(state: Any, updates: Any, weights: Any) -> tff.templates.MeasuredProcessOutput:
        output = mean.next(state, updates, weights)
        rows = tff.federated_map(as_row, (updates, weights))
        every = tff.federated_aggregate(rows, no_rows(), with_row, together, unchanged)
        return tff.templates.MeasuredProcessOutput(output.state, output.result, every)

    return tff.templates.AggregationProcess(initialize, next_round)


def read_updates(plan: Plan, rows: NDArray[np.float32]) -> list[ClientUpdate]:
    """Return the updates of a round that count. TFF's update is flspec's -Delta; whose each is, no row says."""
    like = dict(zip(plan.weights, all_to_tensorflow(plan.weights), strict=True))
    counting = [row for row in rows if row[-1] > 0]  # what is not finite has the weight 0
    return [
        ClientUpdate(place, all_from_tensorflow(list(like), [*as_tensors(-row[:-1], like).values()]), row[-1], 0, {})
        for place, row in enumerate(counting)
    ]
