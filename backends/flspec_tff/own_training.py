"""A client's training in TFF by a loop of flspec's own, for steps that TFF's own loop, of one loss, cannot take.

TFF still sends the weights, places the work, and combines what the clients send.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from flspec_tff.process import ClientTraining
from flspec_tff.program import Program

__all__ = ["train_program"]


def train_program(program: Program) -> ClientTraining:
    """Return the training that takes a program's steps, and sends the change of every tensor, statistics too."""

    def train(rate: tf.Tensor, weights: tff.learning.models.ModelWeights, dataset: tf.data.Dataset) -> tuple[Any, Any]:
        sent = weights.trainable
        carried = dataset.reduce(program.start(sent, rate), lambda state, element: program.step(state, element, rate))
        # TFF's updates have the sign of a gradient.
        update = tuple(before - after for before, after in zip(sent, program.weights(carried), strict=True))
        is_finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(tensor)) for tensor in update])
        metrics = OrderedDict(num_trained=carried["num_trained"], sums=program.metrics(carried))
        return (
            tff.learning.templates.ClientResult(
                update=_if(is_finite, update), update_weight=_if(is_finite, tf.cast(carried["weight"], tf.float32))
            ),
            _if(is_finite, metrics),
        )

    training: ClientTraining = tf.function(train, autograph=False)  # as in model.py
    return training


def _if(counts: tf.Tensor, values: Any) -> Any:
    """Return the values, or zeros of a client that does not count, as TFF's own loop does."""
    return tf.nest.map_structure(lambda value: tf.where(counts, value, tf.zeros_like(value)), values)
