"""TFF's federated averaging with a client learning rate that can change in each round.

McMahan et al., AISTATS 2017, Algorithm 1, composed of the parts of `build_weighted_fed_avg`: TFF's own broadcast, local
training, weighting, mean and server step. TFF 0.87 has two ready-made processes, and neither works here. The first
fixes the learning rate of a functional model's clients. The second, `build_weighted_fed_avg_with_optimizer_schedule`,
does not build for a functional model, because its loop starts with weights of one structure and continues with another.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff
from tensorflow_federated.python.learning.templates import model_delta_client_work  # TFF's pin is exact

__all__ = ["build_federated_averaging", "build_weighted_mean"]

Optimizer: TypeAlias = tff.learning.optimizers.Optimizer


def build_federated_averaging(
    model: tff.learning.models.FunctionalModel,
    client_optimizer: Callable[[tf.Tensor], Optimizer],
    server_optimizer: Optimizer,
    build_aggregation: Callable[[Any], tff.templates.AggregationProcess],
) -> tff.learning.templates.LearningProcess:
    """Build the process. Its state's `client_work` is the clients' learning rate in the next round, float64.

    `build_aggregation` is given the type of an update; `build_weighted_mean` is TFF's.
    """

    @tff.tensorflow.computation
    def initial_weights() -> tff.learning.models.ModelWeights:
        trainable, others = model.initial_weights
        return tff.learning.models.ModelWeights(
            tuple(map(tf.convert_to_tensor, trainable)), tuple(map(tf.convert_to_tensor, others))
        )

    weights_type = initial_weights.type_signature.result
    return tff.learning.templates.compose_learning_process(
        initial_weights,
        tff.learning.templates.build_broadcast_process(weights_type),
        _client_work(model, client_optimizer, weights_type),
        build_aggregation(weights_type.trainable),
        tff.learning.templates.build_apply_optimizer_finalizer(server_optimizer, weights_type),
    )


def build_weighted_mean(update_type: Any) -> tff.templates.AggregationProcess:
    """Build TFF's mean of updates, weighted by the clients' planned weights."""
    return tff.aggregators.MeanFactory().create(update_type, tff.TensorType(np.float32))


def _client_work(
    model: tff.learning.models.FunctionalModel, client_optimizer: Callable[[tf.Tensor], Optimizer], weights_type: Any
) -> tff.learning.templates.ClientWorkProcess:
    """Build TFF's local training of a functional model, with the optimizer of the round's learning rate."""
    data_type = tff.SequenceType(tff.types.tensorflow_to_type(model.input_spec))
    update = model_delta_client_work.build_functional_model_delta_update(
        model,
        weighting=tff.learning.ClientWeighting.NUM_EXAMPLES,
        # For clients with few batches it takes half the time of the default, dataset.reduce.
        loop_implementation=tff.learning.LoopImplementation.DATASET_ITERATOR,
    )

    @tff.tensorflow.computation(np.float64, weights_type, data_type)
    def train(learning_rate: tf.Tensor, weights: Any, dataset: tf.data.Dataset) -> Any:
        return update(client_optimizer(learning_rate), (weights.trainable, weights.non_trainable), dataset)

    @tff.federated_computation
    def initialize() -> Any:
        return tff.federated_value(np.float64(0.0), tff.SERVER)

    @tff.federated_computation(
        initialize.type_signature.result,
        tff.FederatedType(weights_type, tff.CLIENTS),
        tff.FederatedType(data_type, tff.CLIENTS),
    )
    def next_round(learning_rate: Any, weights: Any, data: Any) -> tff.templates.MeasuredProcessOutput:
        result, sums = tff.federated_map(train, (tff.federated_broadcast(learning_rate), weights, data))
        metrics = tff.learning.metrics.sum_then_finalize(model.finalize_metrics)(sums)
        return tff.templates.MeasuredProcessOutput(learning_rate, result, tff.federated_zip(OrderedDict(train=metrics)))

    return tff.learning.templates.ClientWorkProcess(initialize, next_round)
