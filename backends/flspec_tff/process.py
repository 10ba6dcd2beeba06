"""TFF's federated averaging with a client learning rate that is told in each round.

McMahan et al., AISTATS 2017, Algorithm 1, put together from the parts of `build_weighted_fed_avg`: TFF's own broadcast,
local training, weighting, mean and server step. Of TFF 0.87's two ready-made processes the one gives clients of a
functional model the same learning rate for ever, and the other, `build_weighted_fed_avg_with_optimizer_schedule`, does
not build for a functional model, since its loop begins with weights of one structure and goes on with another.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff
from tensorflow_federated.python.learning.templates import model_delta_client_work  # TFF's pin is exact

__all__ = ["build_federated_averaging"]

Optimizer: TypeAlias = tff.learning.optimizers.Optimizer


def build_federated_averaging(
    model: tff.learning.models.FunctionalModel,
    client_optimizer: Callable[[tf.Tensor], Optimizer],
    server_optimizer: Optimizer,
) -> tff.learning.templates.LearningProcess:
    """The process whose state's `client_work` is the clients' learning rate, float64, in its next round."""

    @tff.tensorflow.computation
    def initial_weights() -> tff.learning.models.ModelWeights:
        trainable, others = model.initial_weights
        return tff.learning.models.ModelWeights(
            tuple(map(tf.convert_to_tensor, trainable)), tuple(map(tf.convert_to_tensor, others))
        )

    weights_type = initial_weights.type_signature.result
    mean = tff.aggregators.MeanFactory().create(weights_type.trainable, tff.TensorType(np.float32))
    return tff.learning.templates.compose_learning_process(
        initial_weights,
        tff.learning.templates.build_broadcast_process(weights_type),
        _client_work(model, client_optimizer, weights_type),
        mean,
        tff.learning.templates.build_apply_optimizer_finalizer(server_optimizer, weights_type),
    )


def _client_work(
    model: tff.learning.models.FunctionalModel, client_optimizer: Callable[[tf.Tensor], Optimizer], weights_type: Any
) -> tff.learning.templates.ClientWorkProcess:
    """TFF's local training of a functional model, by the optimizer of the round's learning rate."""
    data_type = tff.SequenceType(tff.types.tensorflow_to_type(model.input_spec))
    update = model_delta_client_work.build_functional_model_delta_update(
        model,
        weighting=tff.learning.ClientWeighting.NUM_EXAMPLES,
        # Half the time of the default, dataset.reduce, for clients of a few batches.
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
