"""The one question a model answers: which layers lead from an example to its logits?"""

from __future__ import annotations

from abc import ABC, abstractmethod

from flspec.components import Component
from flspec.layers import Layer, Shape

__all__ = ["Model"]


class Model(Component, ABC):
    """A recipe for a classifier."""

    @abstractmethod
    def layers(self, input_shape: Shape, num_classes: int) -> tuple[Layer, ...]:
        """The graph for examples of `input_shape`; its last layer gives `num_classes` logits."""
