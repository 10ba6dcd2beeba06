"""Small graphs with every layer in each of its ways, and digits with other labels or as texts; no spec names them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from flspec.core.randomness import Stream
from flspec.core.tokens import Tokens
from flspec.data.examples import Data, Split
from flspec.datasets.base import ImageDataset
from flspec.datasets.digits import Digits
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
    Normal,
    Positions,
    Shape,
    TransposedConv,
    chain,
)
from flspec.models import Model

__all__ = ["GRAPHS", "Graph", "Pictures", "Relabelled", "Texts"]


class Graph(Model):
    """These layers, then a dense one for as many outputs as are due."""

    graph: tuple[Layer, ...]

    def layers(self, input_shape: Shape, num_outputs: int) -> tuple[Layer, ...]:
        return chain([*self.graph, Dense(name="output", units=num_outputs)])


class Relabelled(ImageDataset):
    """Digits that are small or large; or that may be even, prime, and small."""

    multi_label: bool

    def read(self, root: Path, stream: Stream) -> Data:
        data = Digits().read(root, stream)
        train, test = (self._relabelled(split) for split in (data.train, data.test))
        return replace(data, train=train, test=test, num_classes=3 if self.multi_label else 2)

    def _relabelled(self, split: Split) -> Split:
        digits = split.labels
        small = digits < 5
        if not self.multi_label:
            return replace(split, labels=small.astype(np.int64))
        labels = np.stack([digits % 2 == 0, np.isin(digits, (2, 3, 5, 7)), small], axis=1)
        return replace(split, labels=labels.astype(np.uint8))


class Pictures(ImageDataset):
    """Digits of three colours, by default of 32 by 32 pixels: large enough for the published networks."""

    times: int = 4

    def read(self, root: Path, stream: Stream) -> Data:
        data = Digits().read(root, stream)
        train, test = (_enlarged(split, self.times) for split in (data.train, data.test.part(slice(20))))
        return replace(data, train=train, test=test)


class Texts(ImageDataset):
    """The two middle rows of digits, pixel by pixel, as texts of 16 tokens at most: those that are not black."""

    def read(self, root: Path, stream: Stream) -> Data:
        data = Digits().read(root, stream)
        train, test = (_written(split) for split in (data.train, data.test))
        return replace(data, train=train, test=test, tokens=Tokens(17, are_padded=True))


def _written(split: Split) -> Split:
    rows = split.features[:, 0, 3:5].reshape(len(split), -1)
    order = np.argsort(rows == 0, axis=1, kind="stable")
    return Split(np.take_along_axis(rows, order, axis=1).astype(np.uint8), split.labels)


def _enlarged(split: Split, times: int) -> Split:
    images = split.features.repeat(times, axis=2).repeat(times, axis=3)
    return replace(split, features=np.concatenate([images, 16 - images, images // 2], axis=1))


def _conv(name: str, channels: int, size: int, stride: int = 1, groups: int = 1, **more: Any) -> Conv:
    return Conv(name=name, channels=channels, kernel_size=size, stride=stride, groups=groups, padding=size // 2, **more)


# Without kinks, as far as that goes: a ReLU whose input is nearly zero opens in one engine and not in the other.
_RESIDUAL = (
    _conv("stem", 8, 3, stride=2, bias=False),
    GroupNorm(name="norm_1", groups=2),
    Activation(name="tanh", function="tanh"),
    _conv("conv", 8, 3),
    GroupNorm(name="norm_2", groups=4),
    Add(name="sum", inputs=("norm_2", "tanh")),
    Activation(name="silu", function="silu"),
    GlobalAveragePool(name="mean"),
    Flatten(name="flatten"),
)
_EXCITED = (
    _conv("stem", 6, 1),
    BatchNorm(name="norm", statistics="frozen"),
    Activation(name="tanh", function="tanh"),
    _conv("depthwise", 12, 5, stride=2, groups=6, bias=False),
    Activation(name="silu", function="silu"),
    GlobalAveragePool(name="mean"),
    _conv("squeeze", 3, 1),
    Activation(name="squeezed", function="silu"),
    _conv("excite", 12, 1),
    Activation(name="gate", function="sigmoid"),
    Multiply(name="excited", inputs=("silu", "gate")),
    Flatten(name="flatten"),
)
_POOLED = (
    _conv("stem", 8, 3),
    Activation(name="relu6", function="relu6"),
    MaxPool(name="pool", size=3, stride=2, padding=1),
    _conv("grouped", 12, 3, groups=4),
    Activation(name="sigmoid", function="sigmoid"),
    AveragePool(name="average", size=2),
    Flatten(name="flatten"),
)
_DROPPED = (
    _conv("stem", 8, 3, stride=2),
    Activation(name="tanh", function="tanh"),
    Dropout(name="values", rate=0.25),
    _conv("conv", 8, 3),
    Dropout(name="examples", rate=0.3, drops="example"),
    Add(name="sum", inputs=("examples", "values")),
    Flatten(name="flatten"),
    Dense(name="dense", units=16),
    Activation(name="dense_tanh", function="tanh"),
    Dropout(name="features", rate=0.5),
)
_AVERAGED = (
    _conv("stem", 8, 3, stride=2, bias=False),
    BatchNorm(name="norm_1", statistics="averaged"),
    Activation(name="tanh", function="tanh"),
    Dropout(name="values", rate=0.25),
    _conv("conv", 8, 3, bias=False),  # which a norm would take away again, so that its gradient were rounding alone
    BatchNorm(name="norm_2", statistics="averaged", momentum=0.3),
    Flatten(name="flatten"),
)
_ENLARGED = (
    _conv("stem", 8, 4, stride=2),
    Activation(name="tanh", function="tanh"),
    TransposedConv(name="enlarged", channels=4, kernel_size=4, stride=2, padding=1, initializer=Normal(std=0.2)),
    Activation(name="leaky", function="leaky_relu", slope=0.2),
    TransposedConv(name="cut", channels=2, kernel_size=3, padding=2, bias=False, initializer="he_normal"),
    Flatten(name="flatten"),
)
_FROZEN = (
    _conv("stem", 8, 3, frozen=True),
    BatchNorm(name="norm", statistics="averaged", frozen=True),
    Activation(name="tanh", function="tanh"),
    Flatten(name="flatten"),
    Dense(name="dense", units=16, frozen=True),
    Activation(name="dense_tanh", function="tanh"),
)
_READ = (
    Embedding(name="embedding", tokens=17, features=6, inputs=(INPUT,)),
    Positions(name="positions"),
    Dropout(name="values", rate=0.25),
    LayerNorm(name="norm"),
    Dense(name="given", units=18),
    Attention(name="attention", heads=2, inputs=("given", INPUT)),
    Dense(name="joined", units=6),
    Add(name="sum", inputs=("joined", "values")),
    Activation(name="gelu", function="gelu"),
    Lstm(name="lstm", units=5),
    MeanStep(name="mean", inputs=("lstm", INPUT)),
    Gru(name="gru", units=5, inputs=("lstm",)),
    LastStep(name="last", inputs=("gru", INPUT)),
    Add(name="both", inputs=("mean", "last")),
)
GRAPHS = {
    name: Graph(graph=chain(layers))
    for name, layers in {
        "residual": _RESIDUAL,
        "excited": _EXCITED,
        "pooled": _POOLED,
        "dropped": _DROPPED,
        "frozen": _FROZEN,
        "averaged": _AVERAGED,
        "enlarged": _ENLARGED,
        "read": _READ,
    }.items()
}
