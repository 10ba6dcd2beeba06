"""A trained network up to one of its layers as features."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from flspec.core.components import OneOf
from flspec.errors import suggestion
from flspec.features.base import FeatureSpace, Normalise, Taken
from flspec.layers import Flatten, Layer, Shape
from flspec.models import Model

__all__ = ["NetworkFeatures"]


class NetworkFeatures(FeatureSpace):
    """The outputs of a layer of a trained network, from a file of weights."""

    omitted: ClassVar[dict[str, Any]] = FeatureSpace.omitted | {"size": None, "normalise": "none"}

    kind: Literal["network"] = "network"
    model: Annotated[
        OneOf[Model],
        Field(
            description="the network, with its file",
            examples=[{"kind": "resnet18", "pretrained": "weights/resnet18.safetensors"}],
        ),
    ]
    layer: Annotated[
        str, Field(max_length=200, description="the layer whose outputs are features", examples=["avgpool"])
    ]
    size: Annotated[
        int | None,
        Field(
            ge=1, le=1024, description="side to which pictures are scaled first; absent: as they are", examples=[224]
        ),
    ] = None
    normalise: Normalise = "none"

    @model_validator(mode="after")
    def _has_its_weights(self) -> NetworkFeatures:
        if self.model.pretrained is None:
            raise ValueError("model has no weights; add model.pretrained, or use kind random_conv")
        if self.model.keep_head:
            raise ValueError("model.keep_head: true, but the head is not used; remove keep_head")
        return self

    @property
    def title(self) -> str:
        return f"{self.model.kind} {self.layer}"  # type: ignore[attr-defined]

    @property
    def takes(self) -> Taken:
        return Taken(self.size, self.normalise)

    @property
    def trained(self) -> Model:
        return self.model

    def layers(self, shape: Shape) -> tuple[Layer, ...]:
        if len(self.model.network_names) > 1:
            raise ValueError(f"model: {self.model.kind} has several networks; name a model of one")  # type: ignore[attr-defined]
        graph = self.model.layers(shape, 1)
        names = [layer.name for layer in graph]
        if self.layer not in names:
            meant = suggestion(self.layer, names)
            raise ValueError(f"layer: {self.layer!r} is none of {len(names)} layers; {meant}the last is {names[-1]}")
        if any(f"{self.layer}.".startswith(f"{head}.") for head in self.model.head_layers):
            raise ValueError(f"layer: {self.layer} belongs to the head, which fits one task; name one before it")
        return (*_up_to(graph, self.layer), Flatten(name="features", inputs=(self.layer,)))


def _up_to(graph: tuple[Layer, ...], name: str) -> tuple[Layer, ...]:
    """Return the layers that a layer follows from, and itself."""
    needed = {name}
    for layer in reversed(graph):
        if layer.name in needed:
            needed |= set(layer.inputs)
    return tuple(layer for layer in graph if layer.name in needed)
