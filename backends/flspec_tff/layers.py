"""A plan's layers as TensorFlow functions of named tensors. Images are channels last, because its CPU kernels need it.

This module needs TensorFlow, not TFF.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, MutableMapping, Sequence

import numpy as np
import tensorflow as tf

from flspec.layers import (
    INPUT,
    Activation,
    Add,
    Attention,
    AveragePool,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GlobalAveragePool,
    GroupNorm,
    LastStep,
    Layer,
    LayerNorm,
    MaxPool,
    MeanStep,
    Multiply,
    Network,
    Positions,
    Recurrent,
    Shape,
    TransposedConv,
    trace,
)
from flspec_tff.sequences import attention, embedding, last_step, mean_step, recurrent

__all__ = ["Evaluate", "Forward", "build_forward", "build_network"]

Tensors = MutableMapping[str, tf.Tensor]
Masks = Mapping[str, tf.Tensor]  # by a dropout layer's name: bool, True for values that stay
# (tensors by name, inputs [batch, ...], in training the masks) -> outputs. Training replaces running statistics.
Forward = Callable[[Tensors, tf.Tensor, Masks | None], tf.Tensor]
# The same for any network, with its inputs by name.
Evaluate = Callable[[Tensors, Mapping[str, tf.Tensor], Masks | None], tf.Tensor]
_Apply = Callable[[Tensors, Sequence[tf.Tensor], Masks | None], tf.Tensor]

_Function = Callable[[tf.Tensor], tf.Tensor]
_Convolve = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]

_FUNCTIONS: dict[str, _Function] = {
    "relu": tf.nn.relu,
    "relu6": tf.nn.relu6,
    "tanh": tf.tanh,
    "sigmoid": tf.sigmoid,
    "silu": lambda x: x * tf.sigmoid(x),  # tf.nn.silu has a gradient in Python, which the worker cannot run
    "gelu": lambda x: x * (1 + tf.math.erf(x * math.sqrt(0.5))) / 2,
}


def build_forward(network: Network) -> Forward:
    """Build the function from a model's tensors by name and examples to outputs, if it has one network."""
    evaluate = build_network(network)

    def forward(tensors: Tensors, inputs: tf.Tensor, masks: Masks | None = None) -> tf.Tensor:
        return evaluate(tensors, {INPUT: inputs}, masks)

    return forward


def build_network(network: Network) -> Evaluate:
    """Build the function from tensors by name and a network's inputs, images channels last, to its output."""
    shapes = trace(network)
    steps = [(layer.name, layer.inputs, _translate(layer, shapes[layer.inputs[0]])) for layer in network.layers]

    def evaluate(tensors: Tensors, inputs: Mapping[str, tf.Tensor], masks: Masks | None = None) -> tf.Tensor:
        own, values = dict(network.own(tensors)), dict(inputs)
        for name, sources, apply in steps:
            values[name] = apply(own, [values[source] for source in sources], masks)
        tensors.update({f"{network.prefix}{name}": value for name, value in own.items()})
        return values[steps[-1][0]]

    return evaluate


def _translate(layer: Layer, shape: Shape) -> _Apply:
    """Translate a layer. `shape` is the plan's shape of its first input, so channels first."""
    weight, bias = f"{layer.name}.weight", f"{layer.name}.bias"
    match layer:
        case Flatten():
            return lambda _, x, __: _flatten(x[0], shape)
        case Dense():
            return lambda w, x, _: tf.tensordot(x[0], w[weight], 1) + w[bias]
        case Conv():
            return _with_bias(layer, _convolution(layer, shape[0]))
        case TransposedConv():
            return _with_bias(layer, _transposed_convolution(layer, shape))
        case MaxPool() | AveragePool() | GlobalAveragePool():
            pool = _pooling(layer)
            return lambda _, x, __: pool(x[0])
        case GroupNorm():
            return lambda w, x, _: _normalise_groups(x[0], shape, layer) * w[weight] + w[bias]
        case BatchNorm():
            return _batch_norm(layer)
        case Activation():
            function = _activation(layer)
            return lambda _, x, __: function(x[0])
        case Add():
            return lambda _, x, __: x[0] + x[1]
        case Multiply():
            return lambda _, x, __: x[0] * x[1]
        case Dropout():
            scale = np.float32(1.0 / (1.0 - layer.rate))
            return lambda _, x, masks: (
                x[0] if masks is None else x[0] * (tf.cast(masks[layer.name], tf.float32) * scale)
            )
        case Embedding() | LayerNorm() | Recurrent() | LastStep() | MeanStep() | Positions() | Attention():
            return _of_steps(layer)
    raise ValueError(f"no TensorFlow translation for layer {layer!r}")


def _of_steps(layer: Embedding | LayerNorm | Recurrent | LastStep | MeanStep | Positions | Attention) -> _Apply:
    weight, bias = f"{layer.name}.weight", f"{layer.name}.bias"
    match layer:
        case Embedding():
            return lambda w, x, _: embedding(w[weight], x[0])
        case Positions():
            return lambda w, x, _: x[0] + tf.transpose(w[weight])
        case Attention():
            return lambda _, x, __: attention(layer, *x)
        case LayerNorm():
            return lambda w, x, _: _normalise_features(x[0], layer) * w[weight] + w[bias]
        case Recurrent():
            return lambda w, x, _: recurrent(layer, w, x[0])
        case LastStep():
            return lambda _, x, __: last_step(*x)
    return lambda _, x, __: mean_step(*x)


def _flatten(images: tf.Tensor, shape: Shape) -> tf.Tensor:
    """Flatten images to vectors in the plan's order, channels first. `shape` is the plan's."""
    if len(shape) == 3 and shape[0] > 1 and shape[1] * shape[2] > 1:  # else both orders are the same
        images = tf.transpose(images, (0, 3, 1, 2))
    return tf.reshape(images, [-1, int(np.prod(shape))])


def _with_bias(layer: Conv | TransposedConv, convolve: _Convolve) -> _Apply:
    weight, bias = f"{layer.name}.weight", f"{layer.name}.bias"
    if not layer.bias:
        return lambda w, x, _: convolve(x[0], w[weight])
    return lambda w, x, _: convolve(x[0], w[weight]) + w[bias]


def _convolution(layer: Conv, num_channels: int) -> _Convolve:
    """Build the function (images, kernel [height, width, in / groups, out]) -> the convolution, without a bias."""
    pads, stride, groups, size = _pads(layer.padding), layer.stride, layer.groups, layer.kernel_size
    if groups == 1:
        return lambda x, kernel: tf.nn.conv2d(x, kernel, stride, pads)
    if groups == num_channels:
        depthwise = (size, size, groups, layer.channels // groups)
        return lambda x, kernel: tf.nn.depthwise_conv2d(x, tf.reshape(kernel, depthwise), (1, stride, stride, 1), pads)

    def convolve(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        # TensorFlow has no CPU gradient of a grouped convolution.
        parts = zip(tf.split(x, groups, axis=3), tf.split(kernel, groups, axis=3), strict=True)
        return tf.concat([tf.nn.conv2d(part, own, stride, pads) for part, own in parts], axis=3)

    return convolve


def _transposed_convolution(layer: TransposedConv, shape: Shape) -> _Convolve:
    """Build the function (images of `shape`, kernel [height, width, out, in]) -> the larger images, without a bias."""
    whole = [(size - 1) * layer.stride + layer.kernel_size for size in shape[1:]]
    rows, columns = (slice(layer.padding, size - layer.padding) for size in whole)

    def enlarge(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        # "VALID" and cut off afterwards: "SAME" has another place for what is cut off.
        size = (tf.shape(x)[0], *whole, layer.channels)
        return tf.nn.conv2d_transpose(x, kernel, size, layer.stride, "VALID")[:, rows, columns]

    return enlarge


def _batch_norm(layer: BatchNorm) -> _Apply:
    names = [f"{layer.name}.{suffix}" for suffix in ("running_mean", "running_var", "weight", "bias")]

    def apply(tensors: Tensors, inputs: Sequence[tf.Tensor], masks: Masks | None) -> tf.Tensor:
        mean, var, weight, bias = (tensors[name] for name in names)
        if masks is not None and layer.statistics != "frozen" and not layer.frozen:
            running, (mean, var) = (mean, var), tf.nn.moments(inputs[0], (0, 1, 2))
            count = tf.cast(tf.reduce_prod(tf.shape(inputs[0])[:3]), tf.float32)
            for name, kept, seen in zip(names[:2], running, (mean, var * (count / (count - 1))), strict=True):
                tensors[name] = (1 - layer.momentum) * kept + layer.momentum * tf.stop_gradient(seen)
        return (inputs[0] - mean) * (weight / tf.sqrt(var + layer.epsilon)) + bias

    return apply


def _activation(layer: Activation) -> _Function:
    if (slope := layer.slope) is not None:
        return lambda x: tf.nn.leaky_relu(x, slope)
    return _FUNCTIONS[layer.function]


def _pooling(layer: MaxPool | AveragePool | GlobalAveragePool) -> _Function:
    match layer:
        case MaxPool():
            pads = _pads(layer.padding) if layer.padding else "VALID"
            return lambda x: tf.nn.max_pool2d(x, layer.size, layer.stride or layer.size, pads)
        case AveragePool():
            return lambda x: tf.nn.avg_pool2d(x, layer.size, layer.size, "VALID")
    return lambda x: tf.reduce_mean(x, (1, 2), keepdims=True)


def _normalise_groups(images: tf.Tensor, shape: Shape, layer: GroupNorm) -> tf.Tensor:
    channels, height, width = shape
    grouped = tf.reshape(images, (-1, height, width, layer.groups, channels // layer.groups))
    mean, var = tf.nn.moments(grouped, (1, 2, 4), keepdims=True)
    return tf.reshape((grouped - mean) / tf.sqrt(var + layer.epsilon), (-1, height, width, channels))


def _normalise_features(x: tf.Tensor, layer: LayerNorm) -> tf.Tensor:
    mean, var = tf.nn.moments(x, (-1,), keepdims=True)
    return (x - mean) / tf.sqrt(var + layer.epsilon)


def _pads(padding: int) -> list[list[int]]:
    """Return equal padding on every side. "SAME" would pad less at the top and left for even sizes and stride 2."""
    return [[0, 0], [padding, padding], [padding, padding], [0, 0]]
