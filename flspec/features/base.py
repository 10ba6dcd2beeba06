"""The interface of a feature space: a graph of layers from a picture to its features, with where its tensors are from.

The plan holds the layers and the tensors, so that a digest covers both and whoever scores models computes the features.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flspec.core.components import Component, OmitDefaults
from flspec.core.randomness import Stream

if TYPE_CHECKING:
    from flspec.layers import Layer, Shape, Tensor
    from flspec.models import Model

__all__ = ["FeatureSpace", "Normalise", "Taken"]


@dataclass(frozen=True)
class Taken:
    """What becomes of pictures before the layers. They come as bytes, as they would be written into a file."""

    size: int | None = None  # side to which they are scaled; None: they stay as they are
    normalise: str = "half"  # of pixels from 0 to 1, by `flspec.data.examples.NORMALISATIONS`


class FeatureSpace(Component, OmitDefaults, ABC):
    """A rule that turns a picture into numbers, by which pictures are compared."""

    omitted: ClassVar[dict[str, Any]] = {"standardise": False}

    standardise: Annotated[
        bool,
        Field(
            description="less the real pictures' mean, divided by their deviation, of each feature; for features with "
            "large values, as kid's kernel is cubic"
        ),
    ] = False

    @property
    @abstractmethod
    def title(self) -> str:
        """The words that a value is told with: kid by `title`."""

    @property
    def takes(self) -> Taken:
        """What the layers take."""
        return Taken()

    @property
    def trained(self) -> Model | None:
        """The model whose file has the tensors, if they are from a file."""
        return None

    @abstractmethod
    def layers(self, shape: Shape) -> tuple[Layer, ...]:
        """Return the graph for pictures of `shape`, whose last layer gives [num_features].

        Raises ValueError if there is none.
        """

    def tensors(self, parameters: Mapping[str, Tensor]) -> dict[str, NDArray[np.float32]]:
        """Return the value of each tensor, if they are from no file."""
        from flspec.layers import initial_tensors

        return initial_tensors(parameters, Stream(0, "features"))


Normalise = Annotated[
    Literal["none", "half", "imagenet"],
    Field(description="of pixels from 0 to 1: none; half to -1..1; imagenet by ImageNet's mean and deviation"),
]
