"""A plan's layers as torch functions of named tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

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
    OwnLayer,
    Positions,
    Recurrent,
    Shape,
    TorchModule,
    TransposedConv,
    trace,
)
from flspec_torch.own_layer import translate_own
from flspec_torch.own_module import build_module
from flspec_torch.sequences import attention, last_step, mean_step, recurrent

__all__ = ["Evaluate", "Forward", "Masks", "build_forward", "build_network", "to_tensors"]

Tensors = Mapping[str, Tensor]
Masks = Mapping[str, Tensor]  # the factors of each dropout, by the layer's name
# (tensors by name, inputs [batch, *shape], in training the masks) -> outputs. Training changes running statistics.
Forward = Callable[[Tensors, Tensor, Masks | None], Tensor]
# The same for any network, with its inputs by name.
Evaluate = Callable[[Tensors, Mapping[str, Tensor], Masks | None], Tensor]
_Apply = Callable[[Tensors, Sequence[Tensor], Masks | None], Tensor]

_Function = Callable[[Tensor], Tensor]

_FUNCTIONS: dict[str, _Function] = {
    "relu": F.relu,
    "relu6": F.relu6,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "gelu": F.gelu,
}


def build_forward(network: Network) -> Forward:
    """Build the function from a model's tensors by name and examples to outputs, if it has one network."""
    evaluate = build_network(network)

    def forward(tensors: Tensors, inputs: Tensor, masks: Masks | None = None) -> Tensor:
        return evaluate(tensors, {INPUT: inputs}, masks)

    return forward


def build_network(network: Network) -> Evaluate:
    """Build the function from tensors by name and a network's inputs to its output."""
    shapes = trace(network)
    steps = [
        (layer.name, layer.inputs, _function_of(layer, [shapes[source] for source in layer.inputs]))
        for layer in network.layers
    ]
    uses = Counter(source for layer in network.layers for source in layer.inputs)

    def evaluate(tensors: Tensors, inputs: Mapping[str, Tensor], masks: Masks | None = None) -> Tensor:
        tensors = network.own(tensors)
        values, left = dict(inputs), Counter(uses)
        for name, sources, apply in steps:
            values[name] = apply(tensors, [values[source] for source in sources], masks)
            left.subtract(sources)
            for source in set(sources):
                if not left[source]:
                    del values[source]  # no later layer needs it, and images are large
        return values[steps[-1][0]]

    return evaluate


def to_tensors(weights: Mapping[str, NDArray[np.float32]]) -> dict[str, Tensor]:
    """Copy `weights` to tensors that torch may change."""
    return {name: torch.from_numpy(value.copy()) for name, value in weights.items()}


def _function_of(layer: Layer, inputs: Sequence[Shape]) -> _Apply:
    match layer:
        case TorchModule():
            return build_module(layer)
        case OwnLayer():
            return translate_own(layer, inputs)
    return _translate(layer)


def _translate(layer: Layer) -> _Apply:
    weight, bias = f"{layer.name}.weight", f"{layer.name}.bias"
    match layer:
        case Flatten():
            return lambda _, x, __: x[0].flatten(1)
        case Dense():
            return lambda w, x, _: F.linear(x[0], w[weight], w[bias])
        case Conv():
            return lambda w, x, _: F.conv2d(
                x[0], w[weight], w.get(bias), layer.stride, layer.padding, groups=layer.groups
            )
        case TransposedConv():
            return lambda w, x, _: F.conv_transpose2d(x[0], w[weight], w.get(bias), layer.stride, layer.padding)
        case MaxPool() | AveragePool() | GlobalAveragePool():
            pool = _pooling(layer)
            return lambda _, x, __: pool(x[0])
        case GroupNorm():
            return lambda w, x, _: F.group_norm(x[0], layer.groups, w[weight], w[bias], layer.epsilon)
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
            return lambda _, x, masks: x[0] if masks is None else x[0] * masks[layer.name]
        case Embedding() | LayerNorm() | Recurrent() | LastStep() | MeanStep() | Positions() | Attention():
            return _of_steps(layer)
    raise ValueError(f"no torch translation for layer {layer!r}")


def _of_steps(layer: Embedding | LayerNorm | Recurrent | LastStep | MeanStep | Positions | Attention) -> _Apply:
    weight, bias = f"{layer.name}.weight", f"{layer.name}.bias"
    match layer:
        case Embedding():
            return lambda w, x, _: F.embedding(x[0].long(), w[weight])
        case Positions():
            return lambda w, x, _: x[0] + w[weight]
        case Attention():
            return lambda _, x, __: attention(layer, *x)
        case LayerNorm():
            return lambda w, x, _: F.layer_norm(x[0], x[0].shape[-1:], w[weight], w[bias], layer.epsilon)
        case Recurrent():
            return lambda w, x, _: recurrent(layer, w, x[0])
        case LastStep():
            return lambda _, x, __: last_step(*x)
    return lambda _, x, __: mean_step(*x)


def _activation(layer: Activation) -> _Function:
    if (slope := layer.slope) is not None:
        return lambda x: F.leaky_relu(x, slope)
    return _FUNCTIONS[layer.function]


def _pooling(layer: MaxPool | AveragePool | GlobalAveragePool) -> _Function:
    match layer:
        case MaxPool():
            return lambda x: F.max_pool2d(x, layer.size, layer.stride, layer.padding)
        case AveragePool():
            return lambda x: F.avg_pool2d(x, layer.size)
    return lambda x: x.mean((2, 3), keepdim=True)


def _batch_norm(layer: BatchNorm) -> _Apply:
    names = [f"{layer.name}.{suffix}" for suffix in ("running_mean", "running_var", "weight", "bias")]

    def apply(tensors: Tensors, inputs: Sequence[Tensor], masks: Masks | None) -> Tensor:
        from_batch = masks is not None and layer.statistics != "frozen" and not layer.frozen
        mean, variance, weight, bias = (tensors[name] for name in names)
        return F.batch_norm(inputs[0], mean, variance, weight, bias, from_batch, layer.momentum, layer.epsilon)

    return apply
