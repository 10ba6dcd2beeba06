"""TFF's federated averaging with a client learning rate that can change in each round.

McMahan et al., AISTATS 2017, Algorithm 1, composed of the parts of `build_weighted_fed_avg`: TFF's own broadcast, local
training, weighting, mean and server step. TFF 0.87 has two ready-made processes, and neither works here. The first
fixes the learning rate of a functional model's clients. The second, `build_weighted_fed_avg_with_optimizer_schedule`,
does not build for a functional model, because its loop starts with weights of one structure and continues with another.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff
from tensorflow_federated.python.learning.templates import model_delta_client_work  # TFF's pin is exact

__all__ = ["ClientTraining", "build_federated_averaging", "build_weighted_mean", "train_functional_model"]

Optimizer: TypeAlias = tff.learning.optimizers.Optimizer
# (factor of the clients' learning rates, the server's tensors, a client's dataset) -> its `ClientResult`, and its
# metrics, which TFF sums over the clients
ClientTraining = Callable[[tf.Tensor, tff.learning.models.ModelWeights, tf.data.Dataset], tuple[Any, Any]]


def build_federated_averaging(
    weights: Sequence[Any],
    train: ClientTraining,
    element: Any,
    server_optimizer: Optimizer,
    build_aggregation: Callable[[Any], tff.templates.AggregationProcess],
) -> tff.learning.templates.LearningProcess:
    """Build the process. Its state's `client_work` is the factor of learning rates in the next round, float64.

    `element` is the type of an element of a client's dataset. `build_aggregation` is given the type of an update;
    `build_weighted_mean` is TFF's.
    """

    @tff.tensorflow.computation
    def initial_weights() -> tff.learning.models.ModelWeights:
        return tff.learning.models.ModelWeights(tuple(map(tf.convert_to_tensor, weights)), ())

    weights_type = initial_weights.type_signature.result
    return tff.learning.templates.compose_learning_process(
        initial_weights,
        tff.learning.templates.build_broadcast_process(weights_type),
        _client_work(train, tff.SequenceType(tff.types.tensorflow_to_type(element)), weights_type),
        build_aggregation(weights_type.trainable),
        tff.learning.templates.build_apply_optimizer_finalizer(server_optimizer, weights_type),
    )


def train_functional_model(
    model: tff.learning.models.FunctionalModel, client_optimizer: Callable[[tf.Tensor], Optimizer]
) -> ClientTraining:
    """Return TFF's local training of a functional model, with the optimizer of the round's learning rate."""
    update = model_delta_client_work.build_functional_model_delta_update(
        model,
        weighting=tff.learning.ClientWeighting.NUM_EXAMPLES,
        # For clients with few batches it takes half the time of the default, dataset.reduce.
        loop_implementation=tff.learning.LoopImplementation.DATASET_ITERATOR,
    )

    def train(rate: tf.Tensor, weights: tff.learning.models.ModelWeights, dataset: tf.data.Dataset) -> tuple[Any, Any]:
        result, metrics = update(client_optimizer(rate), (weights.trainable, weights.non_trainable), dataset)
        return result, model.finalize_metrics(metrics)

    return train


def build_weighted_mean(update_type: Any) -> tff.templates.AggregationProcess:
    """Build TFF's mean of updates, weighted by the clients' planned weights."""
    return tff.aggregators.MeanFactory().create(update_type, tff.TensorType(np.float32))


def _client_work(
    train: ClientTraining, data_type: tff.SequenceType, weights_type: Any
) -> tff.learning.templates.ClientWorkProcess:
    """Build the clients' part of a round: TFF sends what they need, has them train, and sums their metrics."""
    local = tff.tensorflow.computation(train, (np.float64, weights_type, data_type))

    @tff.federated_computation
    def initialize() -> Any:
        return tff.federated_value(np.float64(0.0), tff.SERVER)

    @tff.federated_computation(
        initialize.type_signature.result,
        tff.FederatedType(weights_type, tff.CLIENTS),
        tff.FederatedType(data_type, tff.CLIENTS),
    )
    def next_round(rate: Any, weights: Any, data: Any) -> tff.templates.MeasuredProcessOutput:
        result, measured = tff.federated_map(local, (tff.federated_broadcast(rate), weights, data))
        metrics = tff.federated_sum(measured)
        return tff.templates.MeasuredProcessOutput(rate, result, tff.federated_zip(OrderedDict(train=metrics)))

    return tff.learning.templates.ClientWorkProcess(initialize, next_round)
