"""Layers of models: what each computes, its shapes, its tensors, and their initial values and placement.

A model has one or several networks. Each is a graph: layers, each after its inputs, and the last gives the output.
Images are channels first. Tensors have torch's layouts and names (`conv_1.weight` is [out, in, height, width],
`output.weight` [out, in]). A flatten runs over [channels, height, width]. A backend translates each layer, and refuses
by name those for which it has no translation.
"""

from flspec.core.families import register_family
from flspec.layers.activations import count_values_at_once, count_values_made
from flspec.layers.attention import Attention, Positions
from flspec.layers.base import INPUT, BaseLayer, BatchNormPolicy, Placement, Shape, Tensor
from flspec.layers.graph import (
    Layer,
    Network,
    chain,
    count_multiply_adds,
    count_parameters,
    describe_network,
    draw_masks,
    draws_in_training,
    initial_tensors,
    one_network,
    parameters_of,
    parse_layers,
    parse_network,
    trace,
)
from flspec.layers.initializers import Constant, Initializer, InitializerName, Normal, Uniform
from flspec.layers.linear import Conv, Dense, Flatten, TransposedConv
from flspec.layers.normalisation import BatchNorm, GroupNorm, LayerNorm
from flspec.layers.own import OwnLayer
from flspec.layers.pointwise import Activation, Add, Dropout, Multiply
from flspec.layers.pooling import AveragePool, GlobalAveragePool, MaxPool
from flspec.layers.sequences import Embedding, Gru, LastStep, Lstm, MeanStep, Recurrent
from flspec.layers.torch_module import ModuleTensor, TorchModule

register_family(__name__, __path__)

__all__ = [
    "INPUT",
    "Activation",
    "Add",
    "Attention",
    "AveragePool",
    "BaseLayer",
    "BatchNorm",
    "BatchNormPolicy",
    "Constant",
    "Conv",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "GlobalAveragePool",
    "GroupNorm",
    "Gru",
    "Initializer",
    "InitializerName",
    "LastStep",
    "Layer",
    "LayerNorm",
    "Lstm",
    "MaxPool",
    "MeanStep",
    "ModuleTensor",
    "Multiply",
    "Network",
    "Normal",
    "OwnLayer",
    "Placement",
    "Positions",
    "Recurrent",
    "Shape",
    "Tensor",
    "TorchModule",
    "TransposedConv",
    "Uniform",
    "chain",
    "count_multiply_adds",
    "count_parameters",
    "count_values_at_once",
    "count_values_made",
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
