"""The one question a model answers: which layers lead from an example to its outputs?"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Any, ClassVar

from pydantic import Field

from flspec.components import Component, Sparse
from flspec.layers import Layer, Shape
from flspec.locations import Location

__all__ = ["Model"]


class Model(Component, Sparse, ABC):
    """A recipe for a graph of layers."""

    untold: ClassVar[dict[str, Any]] = {"pretrained": None, "keep_head": False}
    head: ClassVar[tuple[str, ...]] = (
        "output",
    )  # the layers, or what their names begin with, that suit one task alone

    pretrained: Annotated[
        Location | None,
        Field(
            description="weights to start from, by name: a .safetensors file, or a .pt or .pth of torch, below the "
            "data root or absolute; ${env:NAME} is replaced when it is read"
        ),
    ] = None
    keep_head: Annotated[
        bool, Field(description="take the last layers from the file too, instead of drawing them anew")
    ] = False

    @abstractmethod
    def layers(self, input_shape: Shape, num_outputs: int) -> tuple[Layer, ...]:
        """The graph for examples of `input_shape`; its last layer gives `num_outputs` values, as logits."""
