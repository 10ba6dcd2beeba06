"""Base class of layers, which defines the shape of their output and their tensors."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from flspec.core.components import OmitDefaults

__all__ = ["INPUT", "BaseLayer", "Initializer", "Placement", "Shape", "Tensor", "expect_rank", "expect_room"]

Shape = tuple[int, ...]  # of one example, without the batch axis: [features] or [channels, height, width]
Initializer = Literal["zeros", "ones", "glorot_uniform", "he_normal"]
Placement = Literal["server", "client", "plan"]
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


class BaseLayer(OmitDefaults):
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


def expect_rank(layer: BaseLayer, shape: Shape, rank: int, meaning: str) -> None:
    """Raise ValueError unless `shape` has `rank` axes, which mean `meaning`."""
    if len(shape) != rank:
        raise ValueError(f"layer {layer.name!r} takes {meaning}, but its input has shape {list(shape)}")


def expect_room(layer: BaseLayer, shape: Shape, smallest_side: int) -> None:
    """Raise ValueError if the layer's output for an image of `shape` would be empty."""
    if smallest_side < 1:
        raise ValueError(f"layer {layer.name!r} leaves nothing of an input of shape {list(shape)}")
