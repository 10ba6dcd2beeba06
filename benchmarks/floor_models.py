"""The models of the floor: torch's own modules, one for each layer of a plan's network."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from flspec.layers import (
    Activation,
    Add,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePool,
    GroupNorm,
    Layer,
    MaxPool,
    Network,
    Shape,
    TransposedConv,
    trace,
)

__all__ = ["module_of", "tensors_of"]


def module_of(network: Network) -> nn.Module:
    """Return the network as a chain of modules, or as a graph if it is none."""
    shapes = trace(network)
    modules = [_module(layer, shapes[layer.inputs[0]]) for layer in network.layers]
    names = [*network.inputs, *(layer.name for layer in network.layers)]
    is_chain = all(
        layer.inputs == (before,) for layer, (before, _) in zip(network.layers, pairwise(names), strict=True)
    )
    return nn.Sequential(*modules) if is_chain else _Graph(network, modules)


def tensors_of(model: nn.Module) -> list[torch.Tensor]:
    """Return the tensors that are sent, in the order of a plan: of each layer its weights, then its statistics."""
    return [
        tensor
        for module in model.modules()
        for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False))
        if tensor.is_floating_point()  # not batch norm's count of batches
    ]


class _Graph(nn.Module):
    def __init__(self, network: Network, modules: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(modules)
        (self._input,) = network.inputs
        self._output = network.output
        self._places = [(layer.name, layer.inputs) for layer in network.layers]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values = {self._input: x}
        for (name, inputs), layer in zip(self._places, self.layers, strict=True):
            values[name] = layer(*(values[source] for source in inputs))
        return values[self._output]


class _Sum(nn.Module):
    def forward(self, *values: torch.Tensor) -> torch.Tensor:
        return torch.stack(values).sum(0) if len(values) > 2 else values[0] + values[1]


def _module(layer: Layer, shape: Shape) -> nn.Module:
    channels = shape[0]
    match layer:
        case Flatten():
            return nn.Flatten()
        case Dense():
            return nn.Linear(channels, layer.units)
        case Conv() | TransposedConv():
            kind = nn.Conv2d if isinstance(layer, Conv) else nn.ConvTranspose2d
            return kind(channels, layer.channels, layer.kernel_size, layer.stride, layer.padding, bias=layer.bias)
        case MaxPool():
            return nn.MaxPool2d(layer.size, layer.stride, layer.padding)
        case GlobalAveragePool():
            return nn.AdaptiveAvgPool2d(1)
        case GroupNorm():
            return nn.GroupNorm(layer.groups, channels)
        case BatchNorm():
            return nn.BatchNorm2d(channels)
        case Dropout():
            return nn.Dropout(layer.rate)
        case Add():
            return _Sum()
        case Activation(function="relu"):
            return nn.ReLU()
        case Activation(function="leaky_relu"):
            return nn.LeakyReLU(layer.slope or 0.0)
        case Activation(function="tanh"):
            return nn.Tanh()
    raise ValueError(f"the floor has no {layer!r}; add it to {__name__}")
