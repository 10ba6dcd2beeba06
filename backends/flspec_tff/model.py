"""A plan's model as a `tff.learning.models.FunctionalModel`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from flspec.execution.parts import loss_of, network_of
from flspec.layers import Dropout
from flspec.losses import Loss
from flspec.protocol.plan import Plan
from flspec_tff.clients import Inputs, Target, inputs_of, labels_of
from flspec_tff.layers import build_forward
from flspec_tff.layout import all_to_tensorflow, to_tensorflow
from flspec_tff.losses import build_loss, count_correct

__all__ = ["build_model"]

# Autograph, TensorFlow's rewriting of Python source, is not needed here. Without it a model builds in half the time.

Metrics = OrderedDict[str, Any]


def build_model(plan: Plan, spec: tuple[Inputs, Target], cohort_size: int) -> tff.learning.models.FunctionalModel:
    """Build the plan's model, with the plan's loss, for elements of `spec`.

    Its output is (carrier, outputs). TFF weights a client in the mean by its number of examples, and counts these as
    the rows of the first tensor in the outputs of its steps. The carrier has as many rows as the planned weight of the
    step, so TFF's own weighting gives the planned weight.
    """
    network = network_of(plan)
    forward = build_forward(network)
    objective = build_loss(loss_of(plan), plan.settings.label_weights)
    constants = {name: to_tensorflow(tensor) for name, tensor in plan.constants.items()}
    drops = [layer.name for layer in network.layers if isinstance(layer, Dropout)]

    @tf.function(autograph=False)
    def predict(weights: tuple[Sequence[tf.Tensor], Any], x: Inputs, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        masks = {name: mask[: x.step.size] for name, mask in zip(drops, x.step.planned, strict=True)}
        fixed = {name: tf.constant(tensor) for name, tensor in constants.items()}
        tensors = fixed | dict(zip(plan.weights, weights[0], strict=True))
        return tf.zeros([x.step.weight], tf.bool), forward(tensors, inputs_of(x), masks)

    @tf.autograph.experimental.do_not_convert
    def loss(output: tuple[tf.Tensor, tf.Tensor], label: Target, sample_weight: None = None) -> tf.Tensor:
        _, outputs = output
        return objective(outputs, labels_of(label, outputs))

    return tff.learning.models.FunctionalModel(
        initial_weights=(all_to_tensorflow(plan.weights), ()),
        predict_on_batch_fn=predict,
        loss_fn=loss,
        metrics_fns=_metrics(loss_of(plan), cohort_size),
        input_spec=spec,
    )


def _metrics(loss: Loss, cohort_size: int) -> tuple[Callable[..., Metrics], ...]:
    """Return functions of TFF's metrics: sums over a client's examples, each batch measured before its step.

    TFF then adds them up over clients. `num_trained` has an entry for each position in the cohort. TFF silently drops
    a client whose update is not finite from the mean and clears its metrics, so an entry of 0 identifies such a client.
    """

    @tf.function(autograph=False)
    def initialize() -> Metrics:
        return OrderedDict(
            loss=tf.zeros([], tf.float64),
            accuracy=tf.zeros([], tf.float64),
            num_trained=tf.zeros([cohort_size], tf.int64),
        )

    @tf.function(autograph=False)
    def update(state: Metrics, labels: Target, batch_output: Any, sample_weight: None = None) -> Metrics:
        _, outputs = batch_output.predictions
        size = tf.shape(outputs, tf.int64)[0]
        place = tf.one_hot(labels.position, cohort_size, dtype=tf.int64)
        return OrderedDict(
            loss=state["loss"] + tf.cast(batch_output.loss, tf.float64) * tf.cast(size, tf.float64),
            accuracy=state["accuracy"] + count_correct(loss, outputs, labels_of(labels, outputs)),
            num_trained=state["num_trained"] + place * size,
        )

    @tf.function(autograph=False)
    def finalize(state: Metrics) -> Metrics:
        sums = OrderedDict(accuracy=state["accuracy"], loss=state["loss"])
        return OrderedDict(num_trained=state["num_trained"], sums=sums)

    return initialize, update, finalize
