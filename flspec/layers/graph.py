"""Networks: named graphs of layers, their shapes, their tensors, and the random draws for them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated, Any, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter

from flspec.core.components import parse_component
from flspec.core.randomness import Stream
from flspec.layers.attention import Attention, Positions
from flspec.layers.base import INPUT, BaseLayer, Shape, Tensor
from flspec.layers.initializers import draw_initial
from flspec.layers.linear import Conv, Dense, Flatten, TransposedConv
from flspec.layers.normalisation import BatchNorm, GroupNorm, LayerNorm
from flspec.layers.own import OwnLayer
from flspec.layers.pointwise import Activation, Add, Dropout, Multiply
from flspec.layers.pooling import AveragePool, GlobalAveragePool, MaxPool
from flspec.layers.sequences import Embedding, Gru, LastStep, Lstm, MeanStep
from flspec.layers.torch_module import TorchModule

__all__ = [
    "Layer",
    "Network",
    "chain",
    "count_multiply_adds",
    "count_parameters",
    "describe_network",
    "draw_masks",
    "draws_in_training",
    "initial_tensors",
    "one_network",
    "parameters_of",
    "parse_layers",
    "parse_network",
    "trace",
]

_FlspecsOwn = (
    Flatten
    | Dense
    | Conv
    | TransposedConv
    | MaxPool
    | AveragePool
    | GlobalAveragePool
    | GroupNorm
    | BatchNorm
    | Activation
    | Add
    | Multiply
    | Dropout
    | Embedding
    | Lstm
    | Gru
    | LastStep
    | MeanStep
    | Positions
    | LayerNorm
    | Attention
    | TorchModule
)
Layer = _FlspecsOwn | OwnLayer
_KINDS = {layer.model_fields["kind"].default for layer in get_args(_FlspecsOwn)}


T = TypeVar("T")


@dataclass(frozen=True)
class Network:
    """A graph of layers, each after its inputs. The last layer's value is the network's output.

    Its tensors are named NETWORK.LAYER.SUFFIX. The one network of a model that has no other is named "", and its
    tensors LAYER.SUFFIX.
    """

    name: str
    inputs: Mapping[str, Shape]  # of one example, by the name that layers give in their `inputs`
    layers: tuple[Layer, ...]

    @property
    def output(self) -> str:
        """The name of the value that is the output."""
        return self.layers[-1].name

    @property
    def prefix(self) -> str:
        """What the names of its tensors begin with."""
        return f"{self.name}." if self.name else ""

    def own(self, tensors: Mapping[str, T]) -> Mapping[str, T]:
        """Return this network's part of `tensors`, which are named as in a plan, by LAYER.SUFFIX."""
        if not self.name:
            return tensors
        return {name.removeprefix(self.prefix): t for name, t in tensors.items() if name.startswith(self.prefix)}


def one_network(layers: Sequence[Layer], input_shape: Shape) -> Network:
    """Return the network of a model that has no other: its one input is an example."""
    return Network("", {INPUT: input_shape}, tuple(layers))


def chain(layers: Iterable[Layer], start: str = INPUT) -> tuple[Layer, ...]:
    """Connect each layer to the one before it, and the first to `start`. Layers that name inputs keep them."""
    linked: list[Layer] = []
    for layer in layers:
        before = linked[-1].name if linked else start
        linked.append(layer if layer.inputs else layer.model_copy(update={"inputs": (before,)}))
    return tuple(linked)


def parse_layers(documents: Sequence[Mapping[str, Any]]) -> tuple[Layer, ...]:
    """Return the layers that a plan describes."""
    if all(document["kind"] in _KINDS for document in documents):
        return _layers().validate_json(json.dumps(documents))
    return tuple(_parsed(document) for document in documents)


@cache
def _layers() -> TypeAdapter[tuple[_FlspecsOwn, ...]]:
    return TypeAdapter(tuple[Annotated[_FlspecsOwn, Field(discriminator="kind")], ...])


def _parsed(document: Mapping[str, Any]) -> Layer:
    return parse_component(BaseLayer, document)  # type: ignore[return-value]  # a member is flspec's own, or an OwnLayer


def parse_network(name: str, document: Mapping[str, Any]) -> Network:
    """Return a network that a plan describes: `inputs`, the shape of each, and `layers`."""
    inputs = {given: tuple(map(int, shape)) for given, shape in document["inputs"].items()}
    return Network(name, inputs, parse_layers(document["layers"]))


def describe_network(network: Network) -> dict[str, Any]:
    """Return a network as a plan describes it."""
    return {"inputs": dict(network.inputs), "layers": [layer.model_dump(mode="json") for layer in network.layers]}


def trace(network: Network) -> dict[str, Shape]:
    """Return the shape of one example after each layer, by name, inputs first. Raises ValueError if one cannot fit."""
    shapes = dict(network.inputs)
    for layer in network.layers:
        shapes[layer.name] = layer.output_shape(*(shapes[source] for source in layer.inputs))
    return shapes


def parameters_of(network: Network) -> dict[str, Tensor]:
    """Return every tensor of a network by its full name. Tensors of frozen layers are constants."""
    return {
        f"{network.prefix}{layer.tensor_name(suffix)}": replace(tensor, is_learned=False, placement="plan")
        if layer.frozen
        else tensor
        for layer, suffix, tensor in _tensors(network)
    }


def count_parameters(network: Network) -> int:
    """Count the weights, with frozen ones but without statistics. Raises ValueError if a layer does not fit."""
    return sum(math.prod(tensor.shape) for _, _, tensor in _tensors(network) if tensor.is_learned)


def count_multiply_adds(network: Network) -> int:
    """Count the multiplications in a forward pass of one example."""
    shapes = trace(network)
    return sum(layer.count_multiply_adds(shapes[layer.inputs[0]], shapes[layer.name]) for layer in network.layers)


def _tensors(network: Network) -> Iterator[tuple[Layer, str, Tensor]]:
    """Yield each tensor as if its layer were not frozen: its layer, the last part of its name, what it is."""
    shapes = trace(network)
    for layer in network.layers:
        for suffix, tensor in layer.parameters(shapes[layer.inputs[0]]).items():
            yield layer, suffix, tensor


def initial_tensors(parameters: Mapping[str, Tensor], stream: Stream) -> dict[str, NDArray[np.float32]]:
    """Draw each tensor's initial value, by name. Each tensor has its own stream."""
    return {
        name: draw_initial(tensor.initializer, tensor.shape, stream.child(*name.rsplit(".", 1)), tensor.input_axis)
        for name, tensor in parameters.items()
    }


def draws_in_training(network: Network) -> bool:
    """Return whether training draws random numbers for a network."""
    return any(isinstance(one, Dropout) or (isinstance(one, TorchModule) and one.draws) for one in network.layers)


def draw_masks(network: Network, num_examples: int, stream: Stream) -> dict[str, NDArray[Any]]:
    """Draw what chance does in one step, by the layer's name: the factors of each dropout, seeds of a torch module."""
    seeds = {
        layer.name: layer.seeds(num_examples, stream.child("module", layer.name))
        for layer in network.layers
        if isinstance(layer, TorchModule) and layer.draws
    }
    drops = [layer for layer in network.layers if isinstance(layer, Dropout)]
    shapes = trace(network) if drops else {}
    return seeds | {
        layer.name: layer.mask(shapes[layer.name], num_examples, stream.child("dropout", layer.name)) for layer in drops
    }
