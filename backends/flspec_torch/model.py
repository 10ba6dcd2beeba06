"""A plan's layers as torch functions of named weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

from flspec.layers import INPUT, Activation, AveragePool, Conv, Dense, Flatten, Layer, MaxPool

Forward = Callable[[Mapping[str, Tensor], Tensor], Tensor]  # (weights, inputs [batch, *shape]) -> logits


def build_forward(layers: Sequence[Layer]) -> Forward:
    """The function that leads from examples to logits, given weights by tensor name."""
    steps = [(layer.name, layer.inputs[0], _translate(layer)) for layer in layers]

    def forward(weights: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        values = {INPUT: inputs}
        for name, source, apply in steps:
            values[name] = apply(weights, values[source])
        return values[steps[-1][0]]

    return forward


def to_tensors(weights: Mapping[str, NDArray[np.float32]], requires_grad: bool = False) -> dict[str, Tensor]:
    """Copies of `weights` that torch may change."""
    return {name: torch.from_numpy(value.copy()).requires_grad_(requires_grad) for name, value in weights.items()}


def _translate(layer: Layer) -> Forward:
    weight, bias = f"{layer.name}.weight", f"{layer.name}.bias"
    match layer:
        case Flatten():
            return lambda _, x: x.flatten(1)
        case Dense():
            return lambda w, x: F.linear(x, w[weight], w[bias])
        case Conv():
            return lambda w, x: F.conv2d(x, w[weight], w[bias], padding=layer.padding)
        case MaxPool():
            return lambda _, x: F.max_pool2d(x, layer.size)
        case AveragePool():
            return lambda _, x: F.avg_pool2d(x, layer.size)
        case Activation(function="relu"):
            return lambda _, x: F.relu(x)
        case Activation(function="tanh"):
            return lambda _, x: torch.tanh(x)
    raise ValueError(f"no torch translation for layer {layer!r}")
