"""Pixels themselves as features."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from flspec.features.base import FeatureSpace
from flspec.layers import AveragePool, Flatten, Layer, Shape, chain

__all__ = ["Pixels"]


class Pixels(FeatureSpace):
    """Values of pixels, or their means over squares. Also for examples that are no pictures.

    They miss what makes a picture look real: on small faces noise came out ahead of other faces.
    """

    omitted: ClassVar[dict[str, Any]] = FeatureSpace.omitted | {"side": None}

    kind: Literal["pixels"] = "pixels"
    side: Annotated[
        int | None,
        Field(ge=1, le=64, description="means of squares, as many a side; absent: each pixel", examples=[8]),
    ] = None

    @property
    def title(self) -> str:
        return f"pixels, {self.side} a side" if self.side else "pixels"

    def layers(self, shape: Shape) -> tuple[Layer, ...]:
        if self.side is None:
            return chain([Flatten(name="flatten")])
        if len(shape) != 3:
            raise ValueError(f"side: {self.side} is for pictures, these examples have shape {list(shape)}; remove it")
        if shape[1] % self.side or shape[2] % self.side or shape[1] != shape[2]:
            raise ValueError(f"side: {self.side} squares a side do not fill {shape[1]} by {shape[2]} pixels")
        return chain([AveragePool(name="means", size=shape[1] // self.side), Flatten(name="flatten")])
