"""The losses of `flspec.losses` in TensorFlow, and the number of correct predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from flspec.losses import Loss
from flspec.losses.binary_cross_entropy import BinaryCrossEntropy
from flspec.losses.cross_entropy import CrossEntropy
from flspec.losses.huber import Huber
from flspec.losses.mean_squared_error import MeanSquaredError

__all__ = ["BatchLoss", "build_loss", "count_correct"]

# (outputs float32 [batch, outputs], labels int32 [batch] or uint8 [batch, outputs]) -> the batch's mean loss
BatchLoss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def build_loss(loss: Loss, label_weights: Sequence[float] = ()) -> BatchLoss:
    """Build a loss with these label weights; without them all labels count equally."""
    weights = tuple(label_weights) or None
    match loss:
        case CrossEntropy():
            return lambda outputs, labels: _cross_entropy(outputs, labels, weights)
        case BinaryCrossEntropy():
            return lambda outputs, labels: _binary_cross_entropy(outputs, _targets(outputs, labels), weights)
        case MeanSquaredError():
            return lambda outputs, labels: tf.reduce_mean(tf.square(outputs - _targets(outputs, labels)))
        case Huber(delta=delta):
            return lambda outputs, labels: _huber(outputs - _targets(outputs, labels), delta)
    raise ValueError(f"no TensorFlow translation for loss {loss!r}")


def count_correct(loss: Loss, outputs: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Count the correct predictions in a batch, float64. With several labels, sum the share correct of each example."""
    if labels.shape.rank == 1 and outputs.shape[1] > 1:
        # top_k, unlike argmax, is documented to take the first of equal outputs.
        right = tf.equal(tf.math.top_k(outputs, k=1).indices[:, 0], labels)
        return tf.reduce_sum(tf.cast(right, tf.float64))
    boundary = 0.0 if loss.are_logits else 0.5
    right = tf.equal(outputs > boundary, _targets(outputs, labels) > 0.5)
    return tf.reduce_sum(tf.cast(right, tf.float64)) / outputs.shape[1]


def _huber(distance: tf.Tensor, delta: float) -> tf.Tensor:
    size = tf.abs(distance)
    return tf.reduce_mean(tf.where(size <= delta, tf.square(size) / 2, delta * (size - delta / 2)))


def _cross_entropy(outputs: tf.Tensor, labels: tf.Tensor, weights: tuple[float, ...] | None) -> tf.Tensor:
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, outputs)
    return tf.reduce_mean(losses if weights is None else losses * tf.gather(tf.constant(weights, tf.float32), labels))


def _binary_cross_entropy(outputs: tf.Tensor, targets: tf.Tensor, weights: tuple[float, ...] | None) -> tf.Tensor:
    if weights is None:
        return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(targets, outputs))
    return tf.reduce_mean(tf.nn.weighted_cross_entropy_with_logits(targets, outputs, tf.constant(weights, tf.float32)))


def _targets(outputs: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Convert labels to float32 in the outputs' shape, as `Loss.targets` does."""
    if labels.shape.rank == 2:
        return tf.cast(labels, tf.float32)
    if outputs.shape[1] == 1:
        return tf.cast(labels[:, tf.newaxis], tf.float32)
    return tf.one_hot(labels, outputs.shape[1])
