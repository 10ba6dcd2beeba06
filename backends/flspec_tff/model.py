"""A plan's model as a `tff.learning.models.FunctionalModel`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from flspec.layers import INPUT, Activation, AveragePool, Conv, Dense, Flatten, Layer, MaxPool, Shape, trace
from flspec.state import Weights
from flspec_tff.clients import Inputs, Target
from flspec_tff.layout import Layout, to_tensorflow

__all__ = ["Forward", "build_forward", "build_model"]

# Nothing here needs autograph, TensorFlow's rewriting of Python source: without it a model is built in half the time.

Forward = Callable[[Mapping[str, tf.Tensor], tf.Tensor], tf.Tensor]  # (weights, inputs [batch, ...]) -> logits
Metrics = OrderedDict[str, tf.Tensor]


def build_model(
    weights: Weights, layouts: Mapping[str, Layout], forward: Forward, spec: tuple[Inputs, Target], cohort_size: int
) -> tff.learning.models.FunctionalModel:
    """The model that starts at `weights` and is trained by cross entropy on elements of `spec`.

    Its output is (carrier, logits). TFF counts as a client's examples, which are its weight in the mean, the rows of
    whatever comes first in the outputs of its steps. The carrier has as many rows as the plan gives weight to the
    step, so TFF's own weighting adds up to the planned weight.
    """

    @tf.function(autograph=False)
    def predict(weights: tuple[Sequence[tf.Tensor], Any], x: Inputs, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        examples, step = x
        features = tf.gather(examples.features, step.rows[: step.size])
        # These numbers come with the data because TensorFlow turns division by a constant into a product, which
        # rounds otherwise.
        inputs = (tf.cast(features, tf.float32) / examples.divisor - examples.mean) / examples.std
        return tf.zeros([step.weight], tf.bool), forward(dict(zip(layouts, weights[0], strict=True)), inputs)

    @tf.autograph.experimental.do_not_convert
    def loss(output: tuple[tf.Tensor, tf.Tensor], label: Target, sample_weight: None = None) -> tf.Tensor:
        _, logits = output
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(_labels(label, logits), logits))

    return tff.learning.models.FunctionalModel(
        initial_weights=(to_tensorflow(layouts, weights), ()),
        predict_on_batch_fn=predict,
        loss_fn=loss,
        metrics_fns=_metrics(cohort_size),
        input_spec=spec,
    )


def build_forward(layers: Sequence[Layer], input_shape: Shape) -> Forward:
    """The function that leads from examples, channels last, to logits, given weights by tensor name."""
    shapes = trace(layers, input_shape)
    steps = [(layer.name, layer.inputs[0], _translate(layer, shapes[layer.name])) for layer in layers]

    def forward(weights: Mapping[str, tf.Tensor], inputs: tf.Tensor) -> tf.Tensor:
        values = {INPUT: inputs}
        for name, source, apply in steps:
            values[name] = apply(weights, values[source])
        return values[steps[-1][0]]

    return forward


def _translate(layer: Layer, output_shape: Shape) -> Forward:
    weight, bias = f"{layer.name}.weight", f"{layer.name}.bias"
    match layer:
        case Flatten():
            return lambda _, x: tf.reshape(x, [-1, *output_shape])
        case Dense():
            return lambda w, x: tf.matmul(x, w[weight]) + w[bias]
        case Conv():
            pads = [[0, 0], [layer.padding] * 2, [layer.padding] * 2, [0, 0]]
            return lambda w, x: tf.nn.conv2d(x, w[weight], 1, pads) + w[bias]
        case MaxPool():
            return lambda _, x: tf.nn.max_pool2d(x, layer.size, layer.size, "VALID")
        case AveragePool():
            return lambda _, x: tf.nn.avg_pool2d(x, layer.size, layer.size, "VALID")
        case Activation(function="relu"):
            return lambda _, x: tf.nn.relu(x)
        case Activation(function="tanh"):
            return lambda _, x: tf.tanh(x)
    raise ValueError(f"no TensorFlow translation for layer {layer!r}")


def _metrics(cohort_size: int) -> tuple[Callable[..., Metrics], ...]:
    """Sums over the examples of a client that TFF then adds up over clients, each batch before its step.

    `num_trained` has an entry for each place in the cohort. TFF leaves a client whose update is not finite out of the
    mean and empties its metrics without a word, so a place that ends with 0 names such a client.
    """

    @tf.function(autograph=False)
    def initialize() -> Metrics:
        return OrderedDict(
            loss_sum=tf.zeros([], tf.float64),
            num_correct=tf.zeros([], tf.int64),
            num_trained=tf.zeros([cohort_size], tf.int64),
        )

    @tf.function(autograph=False)
    def update(state: Metrics, labels: Target, batch_output: Any, sample_weight: None = None) -> Metrics:
        _, logits = batch_output.predictions
        size = tf.shape(logits, tf.int64)[0]
        # Of equal logits top_k, unlike argmax, is documented to take the first.
        correct = tf.equal(tf.math.top_k(logits, k=1).indices[:, 0], _labels(labels, logits))
        place = tf.one_hot(labels.position, cohort_size, dtype=tf.int64)
        return OrderedDict(
            loss_sum=state["loss_sum"] + tf.cast(batch_output.loss, tf.float64) * tf.cast(size, tf.float64),
            num_correct=state["num_correct"] + tf.math.count_nonzero(correct),
            num_trained=state["num_trained"] + place * size,
        )

    @tf.function(autograph=False)
    def finalize(state: Metrics) -> Metrics:
        return state

    return initialize, update, finalize


def _labels(target: Target, logits: tf.Tensor) -> tf.Tensor:
    """The labels that count, int32 [batch]."""
    return target.labels[: tf.shape(logits)[0]]
