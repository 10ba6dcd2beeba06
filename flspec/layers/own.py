"""A layer of somebody else's, which brings its torch translation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from flspec.layers.base import BaseLayer

__all__ = ["OwnLayer"]


class OwnLayer(BaseLayer, ABC):
    """A layer of a part file or of another package. Engines that have torch compute it, others refuse it by its kind.

    Beside `torch` a member has its `kind`, `output_shape`, and where it has tensors `parameters`.
    """

    kind: str

    @abstractmethod
    def torch(self, tensors: Mapping[str, Any], inputs: tuple[Any, ...], training: bool) -> Any:
        """Return the outputs of a batch, float32 [batch, *output_shape].

        `tensors` are the layer's, by the names that `parameters` gives them, and `inputs` the values of its inputs,
        each [batch, ...]. It may not draw: a model takes its chances from a layer `Dropout`. In training it may change
        tensors that are not learned, in place.
        """
