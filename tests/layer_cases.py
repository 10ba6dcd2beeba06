"""A graph for each layer with shapes that tell its axes apart, and tensors, inputs and masks for any graph.

It needs numpy and flspec alone, so that every engine's translation can be held to `numpy_layers` in its own Python.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.core.randomness import Stream
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
    Gru,
    LastStep,
    Layer,
    LayerNorm,
    Lstm,
    MaxPool,
    MeanStep,
    Multiply,
    Network,
    Positions,
    Shape,
    TransposedConv,
    chain,
    draw_masks,
    one_network,
    parameters_of,
)

IMAGE = (6, 7, 5)  # channels, height, width
SEQUENCE = (5, 3)  # steps, features

Arrays = dict[str, NDArray[np.float32]]


def conv(**fields: int) -> list[Layer]:
    settings: dict[str, Any] = {"name": "l", "channels": 4, "kernel_size": 3} | fields
    return [Conv(**settings)]


def transposed(**fields: int) -> list[Layer]:
    settings: dict[str, Any] = {"name": "l", "channels": 4, "kernel_size": 3} | fields
    return [TransposedConv(**settings)]


def gate() -> list[Layer]:
    """An image times a factor a channel that is made of it, as squeeze and excitation has it."""
    factor: list[Layer] = [GlobalAveragePool(name="p"), Conv(name="c", channels=6, kernel_size=1)]
    return [*chain(factor), Multiply(name="l", inputs=("input", "c"))]


def residual() -> list[Layer]:
    return [Conv(name="c", channels=6, kernel_size=3, padding=1), Add(name="l", inputs=("c", "input"))]


def attending(**fields: Any) -> list[Layer]:
    """Of normalised steps, as in a transformer: where one step has all the weight, its gradient is rounding alone."""
    return [LayerNorm(name="n"), Dense(name="m", units=12), Attention(name="l", **fields)]


def text(*layers: Layer) -> tuple[Layer, ...]:
    """These layers behind an embedding of the tokens of `TEXTS`."""
    return chain([Embedding(name="embedding", tokens=7, features=3), *layers])


def attending_to_a_text(causal: bool) -> tuple[Layer, ...]:
    """What the steps that count give, since padding attends as well, and nobody asks it."""
    attention = Attention(name="l", heads=2, causal=causal, inputs=("m", INPUT))
    return text(Dense(name="m", units=12), attention, MeanStep(name="o", inputs=("l", INPUT)))


CASES: dict[str, tuple[list[Layer], Shape]] = {
    "flatten and dense": ([Flatten(name="f"), Dense(name="l", units=3)], IMAGE),
    "conv": (conv(), IMAGE),
    "conv, even kernel": (conv(kernel_size=2), IMAGE),
    "conv, 1x1": (conv(kernel_size=1, stride=2), IMAGE),
    "conv, padding": (conv(padding=2), IMAGE),
    "conv, stride": (conv(stride=2, padding=1), IMAGE),
    "conv, stride on even sides": (conv(stride=2, padding=1), (6, 8, 6)),
    "conv, stride past the kernel": (conv(kernel_size=1, stride=3), IMAGE),
    "conv, no bias": (conv(bias=False), IMAGE),
    "conv, groups": (conv(groups=2, channels=8), IMAGE),
    "conv, depthwise": (conv(groups=6, channels=6, padding=1), IMAGE),
    "conv, depthwise with stride": (conv(groups=6, channels=12, kernel_size=5, padding=2, stride=2), IMAGE),
    "transposed_conv": (transposed(), IMAGE),
    "transposed_conv, as in DCGAN": (transposed(kernel_size=4, stride=2, padding=1, bias=False), IMAGE),
    "transposed_conv, of one pixel": (transposed(kernel_size=4, bias=False), (6, 1, 1)),
    "transposed_conv, odd kernel": (transposed(stride=2, padding=1), (6, 5, 3)),
    "transposed_conv, gaps": (transposed(kernel_size=2, stride=3), IMAGE),
    "transposed_conv, cut into the input": (transposed(kernel_size=2, stride=2, padding=3), IMAGE),
    "max_pool": ([MaxPool(name="l", size=2)], IMAGE),
    "max_pool, overlapping": ([MaxPool(name="l", size=3, stride=2, padding=1)], IMAGE),
    "max_pool, gaps": ([MaxPool(name="l", size=1, stride=2)], IMAGE),
    "average_pool": ([AveragePool(name="l", size=2)], IMAGE),
    "global_average_pool": ([GlobalAveragePool(name="l")], IMAGE),
    "group_norm": ([GroupNorm(name="l", groups=3)], IMAGE),
    "group_norm, one group": ([GroupNorm(name="l", groups=1, epsilon=1e-3)], IMAGE),
    "group_norm, a group a channel": ([GroupNorm(name="l", groups=6)], IMAGE),
    "batch_norm, frozen": ([BatchNorm(name="l", statistics="frozen", epsilon=1e-3)], IMAGE),
    "batch_norm, averaged": ([BatchNorm(name="l", statistics="averaged")], IMAGE),
    "batch_norm, local": ([BatchNorm(name="l", statistics="local", momentum=0.3)], IMAGE),
    "batch_norm, frozen layer": ([BatchNorm(name="l", statistics="averaged", frozen=True)], IMAGE),
    "relu": ([Activation(name="l", function="relu")], IMAGE),
    "relu6": ([Activation(name="l", function="relu6")], IMAGE),
    "tanh": ([Activation(name="l", function="tanh")], IMAGE),
    "sigmoid": ([Activation(name="l", function="sigmoid")], IMAGE),
    "silu": ([Activation(name="l", function="silu")], IMAGE),
    "leaky_relu": ([Activation(name="l", function="leaky_relu", slope=0.2)], IMAGE),
    "leaky_relu, steeper": ([Activation(name="l", function="leaky_relu", slope=0.7)], IMAGE),
    "add": (residual(), IMAGE),
    "multiply": (gate(), IMAGE),
    "lstm": ([Lstm(name="l", units=4)], SEQUENCE),
    "lstm, two": ([Lstm(name="l", units=4), Lstm(name="m", units=2)], SEQUENCE),
    "gru": ([Gru(name="l", units=4)], SEQUENCE),
    "gru, two": ([Gru(name="l", units=4), Gru(name="m", units=2)], SEQUENCE),
    "last_step": ([Lstm(name="m", units=4), LastStep(name="l")], SEQUENCE),
    "mean_step": ([MeanStep(name="l")], SEQUENCE),
    "gelu": ([Activation(name="l", function="gelu")], IMAGE),
    "dense, each step": ([Dense(name="l", units=4)], SEQUENCE),
    "layer_norm": ([LayerNorm(name="l")], SEQUENCE),
    "layer_norm, no steps": ([LayerNorm(name="l", epsilon=1e-3)], (7,)),
    "positions": ([Positions(name="l")], SEQUENCE),
    "attention": (attending(heads=2), SEQUENCE),
    "attention, causal": (attending(heads=2, causal=True), SEQUENCE),
    "attention, one head": (attending(heads=1, causal=True), SEQUENCE),
    "dropout": ([Dropout(name="l", rate=0.4)], IMAGE),
    "dropout of examples": ([Dropout(name="l", rate=0.4, drops="example")], IMAGE),
}


# Texts of up to 5 of 7 tokens, with padding behind them; the last is empty.
TOKENS = np.array([[3, 1, 4, 1, 5], [2, 6, 0, 0, 0], [5, 0, 0, 0, 0], [0, 0, 0, 0, 0]], np.float32)
TEXTS = {
    "last step of a text": text(Lstm(name="m", units=4), LastStep(name="l", inputs=("m", INPUT))),
    "mean step of a text": text(Gru(name="m", units=4), MeanStep(name="l", inputs=("m", INPUT))),
    "attention to a text": attending_to_a_text(causal=False),
    "causal attention to a text": attending_to_a_text(causal=True),
}


def graph_of(case: str) -> tuple[tuple[Layer, ...], Shape]:
    layers, shape = CASES[case]
    return chain(layers), shape


def random_tensors(layers: Sequence[Layer], shape: Shape, seed: int = 0) -> Arrays:
    """Those of a model's one network."""
    return tensors_of(one_network(layers, shape), seed)


def tensors_of(network: Network, seed: int = 0) -> Arrays:
    """Every tensor with values that keep a deep graph's outputs near 1, and none of them 0 or 1 by rule."""
    rng, drawn = np.random.default_rng(seed), {}
    for name, tensor in parameters_of(network).items():
        normal = rng.standard_normal(tensor.shape)
        if name.endswith("running_var"):
            value = np.exp(0.3 * normal)
        elif len(tensor.shape) > 1:
            value = normal * math.sqrt(2.0 / math.prod(tensor.shape[1:]))
        else:
            value = 0.3 * normal + name.endswith("weight")
        drawn[name] = value.astype(np.float32)
    return drawn


def random_inputs(shape: Shape, num_examples: int = 4, scale: float = 4.0, seed: int = 1) -> NDArray[np.float32]:
    """Values on both sides of 0 and of relu6's 6."""
    return (scale * np.random.default_rng(seed).standard_normal((num_examples, *shape))).astype(np.float32)


def random_masks(layers: Sequence[Layer], shape: Shape, num_examples: int = 4) -> Arrays:
    """The factors of each dropout, as a task's own stream would draw them."""
    return draw_masks(one_network(layers, shape), num_examples, Stream(3))
