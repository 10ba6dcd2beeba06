"""Base class of layers, which defines the shape of their output and their tensors."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from flspec.core.components import Component, OmitDefaults
from flspec.layers.initializers import Initializer

__all__ = ["INPUT", "BaseLayer", "BatchNormPolicy", "Placement", "Shape", "Tensor", "expect_rank", "expect_room"]

Shape = tuple[int, ...]  # of one example, without the batch axis: [features] or [channels, height, width]
Placement = Literal["server", "client", "plan"]
BatchNormPolicy = Literal["frozen", "averaged", "local"]  # see `flspec.layers.BatchNorm`
INPUT = "input"  # the name of the model's input in a layer's `inputs`


@dataclass(frozen=True)
class Tensor:
    """One tensor of a layer.

    The placement decides who has it. `server`: it is sent to clients, and their changes are aggregated. `client`: each
    client keeps its own from round to round, and never sends it. `plan`: it never changes and is never sent.
    """

    shape: Shape
    initializer: Initializer
    is_learned: bool = True  # by gradient; if not, it is a statistic that training updates, or a constant
    placement: Placement = "server"
    input_axis: int = 1  # of a kernel: its axis of input features or channels; the other of the first two has outputs


class BaseLayer(Component, OmitDefaults):
    """A node of a model's graph."""

    omitted: ClassVar[dict[str, Any]] = {"frozen": False}

    name: str
    inputs: tuple[str, ...] = ()
    frozen: bool = False  # whether its tensors are constants

    @abstractmethod
    def output_shape(self, shape: Shape, *others: Shape) -> Shape:
        """Return the shape of one example after this layer. Raises ValueError if the inputs' shapes do not fit."""

    def parameters(self, shape: Shape) -> dict[str, Tensor]:
        """Return the layer's tensors for an input of `shape`, by the last part of their name, as if not frozen."""
        return {}

    def tensor_name(self, suffix: str) -> str:
        """Return a tensor's name in its network."""
        return f"{self.name}.{suffix}"

    def inner_values(self, output: Shape) -> int:
        """Count the values of one example that are made on the way to an output of this shape."""
        return 0

    @property
    def has_tensors(self) -> bool:
        """Whether layers of this kind have tensors."""
        return type(self).parameters is not BaseLayer.parameters

    def count_multiply_adds(self, shape: Shape, output: Shape) -> int:
        """Count the multiplications for an example of `shape`, of which this layer makes one of shape `output`.

        By default each value of a tensor is used at every position of the output.
        """
        return sum(math.prod(tensor.shape) for tensor in self.parameters(shape).values()) * math.prod(output[1:])


def expect_rank(layer: BaseLayer, shape: Shape, rank: int, meaning: str) -> None:
    """Raise ValueError unless `shape` has `rank` axes, which mean `meaning`."""
    if len(shape) != rank:
        raise ValueError(f"layer {layer.name!r} takes {meaning}, but its input has shape {list(shape)}")


def expect_room(layer: BaseLayer, shape: Shape, smallest_side: int) -> None:
    """Raise ValueError if the layer's output for an image of `shape` would be empty."""
    if smallest_side < 1:
        raise ValueError(f"layer {layer.name!r} leaves nothing of an input of shape {list(shape)}")
