"""Layers of sequences in TensorFlow. A weight of two axes is transposed here, see layout.py."""

from __future__ import annotations

import math
from collections.abc import Mapping

import tensorflow as tf

from flspec.layers import Attention, Lstm, Recurrent

__all__ = ["attention", "embedding", "last_step", "mean_step", "recurrent"]

_State = tuple[tf.Tensor, tf.Tensor]  # the output, and what else goes on to the next step


def embedding(weight: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
    """Return the column of weight [features, tokens] for each token number [batch, steps]: [batch, steps, features]."""
    return tf.gather(tf.transpose(weight), tf.cast(tokens, tf.int32))


def recurrent(layer: Recurrent, tensors: Mapping[str, tf.Tensor], x: tf.Tensor) -> tf.Tensor:
    """Return the state after each step of x [batch, steps, features]: [batch, steps, units]."""
    w_ih, w_hh, b_ih, b_hh = (
        tensors[f"{layer.name}.{suffix}"] for suffix in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    step = _lstm if isinstance(layer, Lstm) else _gru
    given = tf.transpose(tf.tensordot(x, w_ih, 1) + b_ih, (1, 0, 2))  # a step after the other
    zeros = tf.zeros([tf.shape(x)[0], layer.units])
    # A loop, since a graph of 80 steps one by one takes ten seconds to build; its steps take twice as long.
    states, _ = tf.scan(
        lambda state, now: step(now, tf.matmul(state[0], w_hh) + b_hh, state), given, initializer=(zeros, zeros)
    )
    return tf.transpose(states, (1, 0, 2))


def _lstm(given: tf.Tensor, carried: tf.Tensor, state: _State) -> _State:
    i, f, g, o = tf.split(given + carried, 4, axis=1)
    cell = tf.sigmoid(f) * state[1] + tf.sigmoid(i) * tf.tanh(g)
    return tf.sigmoid(o) * tf.tanh(cell), cell


def _gru(given: tf.Tensor, carried: tf.Tensor, state: _State) -> _State:
    (r, z, n), (r_, z_, n_) = tf.split(given, 3, axis=1), tf.split(carried, 3, axis=1)
    update = tf.sigmoid(z + z_)
    output = (1 - update) * tf.tanh(n + tf.sigmoid(r + r_) * n_) + update * state[0]
    return output, output


def attention(layer: Attention, x: tf.Tensor, tokens: tf.Tensor | None = None) -> tf.Tensor:
    """Return what the heads give of x [batch, steps, 3 width]: [batch, steps, width]."""
    _, steps, features = x.shape
    size = features // 3 // layer.heads
    parts = tf.reshape(x, (-1, steps, 3, layer.heads, size))
    query, key, value = tf.unstack(tf.transpose(parts, (2, 0, 3, 1, 4)))
    scores = tf.matmul(query, key, transpose_b=True) / math.sqrt(size)  # [batch, heads, steps, steps]
    if layer.causal:
        places = tf.range(steps)
        scores = tf.where(places[:, tf.newaxis] >= places, scores, -math.inf)
    if tokens is not None:
        scores = tf.where(_counts(tokens)[:, tf.newaxis, tf.newaxis, :], scores, -math.inf)
    heads = tf.matmul(tf.nn.softmax(scores), value)
    return tf.reshape(tf.transpose(heads, (0, 2, 1, 3)), (-1, steps, features // 3))


def last_step(x: tf.Tensor, tokens: tf.Tensor | None = None) -> tf.Tensor:
    """Return the last step of x [batch, steps, features] before padding: [batch, features]."""
    return x[:, -1] if tokens is None else tf.gather(x, _lengths(tokens) - 1, batch_dims=1)


def mean_step(x: tf.Tensor, tokens: tf.Tensor | None = None) -> tf.Tensor:
    """Return the mean of x [batch, steps, features] over the steps before padding: [batch, features]."""
    if tokens is None:
        return tf.reduce_mean(x, 1)
    counted = tf.where(_counts(tokens)[:, :, tf.newaxis], x, 0.0)
    return tf.reduce_sum(counted, 1) / tf.cast(_lengths(tokens), tf.float32)[:, tf.newaxis]


def _lengths(tokens: tf.Tensor) -> tf.Tensor:
    """Return how many steps of each text count: int32 [batch]."""
    return tf.maximum(tf.reduce_sum(tf.cast(tf.not_equal(tokens, 0.0), tf.int32), 1), 1)


def _counts(tokens: tf.Tensor) -> tf.Tensor:
    """Return which steps count: bool [batch, steps]."""
    return tf.range(tokens.shape[1]) < _lengths(tokens)[:, tf.newaxis]
