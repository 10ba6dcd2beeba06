"""Base class of models, which defines their networks of layers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from flspec.core.components import Component, OmitDefaults
from flspec.core.locations import Location
from flspec.core.randomness import Stream
from flspec.core.tokens import Tokens

if TYPE_CHECKING:
    from flspec.layers import Layer, Network, Shape, Tensor

__all__ = ["MOST_LAYERS", "Model", "TextModel"]

MOST_LAYERS = 100  # of one kind in one model


class Model(Component, OmitDefaults, ABC):
    """A recipe for one network of layers, or for several.

    A subclass defines `layers`, or if it has several networks `network_names` and `networks`.
    """

    omitted: ClassVar[dict[str, Any]] = {"pretrained": None, "keep_head": False, "local": ()}
    network_names: ClassVar[tuple[str, ...]] = ("",)  # the one network of a model that has no other is named ""
    head_layers: ClassVar[tuple[str, ...]] = ("output",)  # first parts of the names of layers that fit one task only

    pretrained: Annotated[
        Location | None,
        Field(
            description="weights to start from, by name: a .safetensors file, or a .pt or .pth of torch, below the "
            "data root, beside the spec, or absolute; ${env:NAME} is replaced when it is read"
        ),
    ] = None
    keep_head: Annotated[
        bool, Field(description="also read the last layers from the file; by default they are drawn anew")
    ] = False

    local: Annotated[
        tuple[str, ...],
        Field(
            max_length=100,
            description="what stays with each client, and is never sent: networks, layers or modules, or tensors, by "
            "name, with * for any text",
        ),
    ] = ()

    @classmethod
    def lacks(cls) -> list[str]:
        has_layers = cls.layers is not Model.layers or cls.networks is not Model.networks
        return [*super().lacks(), *([] if has_layers else ["layers"])]

    @model_validator(mode="after")
    def _has_a_head_to_keep(self) -> Model:
        if self.keep_head and self.pretrained is None:
            raise ValueError("keep_head: true needs a file to read them from; add pretrained, or leave it out")
        if self.keep_head and not self.head_layers:
            raise ValueError("keep_head: true has no effect, as the model has no head; leave it out")
        return self

    def initial_tensors(
        self, networks: Mapping[str, Network], parameters: Mapping[str, Tensor], stream: Stream
    ) -> dict[str, NDArray[np.float32]]:
        """Draw the initial value of each of `parameters`, tensors of the networks, by name."""
        from flspec.layers import initial_tensors

        return initial_tensors(parameters, stream)

    def layers(self, input_shape: Shape, num_outputs: int) -> tuple[Layer, ...]:
        """Return the graph for examples of `input_shape`. Its last layer gives `num_outputs` logits."""
        raise NotImplementedError(f"{type(self).__name__} has neither `layers` nor `networks`")

    def networks(self, input_shape: Shape, num_outputs: int) -> Mapping[str, Network]:
        """Return the networks for examples of `input_shape`, by name: those of `network_names`, in that order."""
        from flspec.layers import one_network

        return {"": one_network(self.layers(input_shape, num_outputs), input_shape)}


class TextModel(Model, ABC):
    """A recipe for one network that reads token numbers. A subclass defines `text_layers`.

    One that reads numbers, too, defines `layers` as well.
    """

    @abstractmethod
    def text_layers(self, tokens: Tokens, num_steps: int, num_outputs: int) -> tuple[Layer, ...]:
        """Return the graph for texts of `num_steps` tokens. Its last layer gives `num_outputs` logits."""

    def layers(self, input_shape: Shape, num_outputs: int) -> tuple[Layer, ...]:
        raise ValueError("it reads texts, but these examples are numbers; choose another model")
