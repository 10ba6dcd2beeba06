"""Base class of losses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import SerializerFunctionWrapHandler, model_serializer

from flspec.core.components import Component

__all__ = ["Loss", "ScoredExamples"]


class ScoredExamples(Protocol):
    """Examples and a model's outputs for them, such as `flspec.metrics.Scores`.

    A single output z for two classes appears here as the two outputs [0, z], which have the same probabilities.
    """

    @property
    def outputs(self) -> NDArray[np.floating[Any]]: ...  # [num_examples, num_outputs]

    @property
    def labels(self) -> NDArray[Any]: ...  # int64 [num_examples], or ones and zeros uint8 [num_examples, num_outputs]

    @property
    def targets(self) -> NDArray[np.bool_]: ...  # [num_examples, num_outputs]: True at an example's class or labels

    @property
    def log_probabilities(self) -> NDArray[np.float64]: ...  # of the softmax, for examples with one class each

    @property
    def is_multi_label(self) -> bool: ...


class Loss(Component, ABC):
    """A function of each example's outputs and labels, whose mean over a batch a client minimises.

    Engines have a translation of each loss that comes with flspec. A loss of another package has its own, the method
    `torch`. An engine without a translation refuses the plan and names the loss.
    """

    # Whether outputs are logits: of a softmax if an example has one class, of a sigmoid for each label if it may have
    # several. Otherwise outputs approximate the targets 0 and 1 directly.
    are_logits: ClassVar[bool] = True
    weighs: ClassVar[Literal["class", "label"] | None] = None  # what `client.label_weights` weighs; None: not allowed

    @classmethod
    def lacks(cls) -> list[str]:
        return [*super().lacks(), *(["torch"] if cls.torch is Loss.torch else [])]

    @abstractmethod
    def value(self, scores: ScoredExamples) -> NDArray[np.float64]:
        """Return the loss of each example without label weights, float64 [num_examples]. This is its definition."""

    def why_invalid(self, num_classes: int, is_multi_label: bool) -> str | None:
        """Return why the loss does not suit such labels, with a way out; None if it does."""
        return None

    def num_outputs(self, num_classes: int, is_multi_label: bool) -> int:
        """Return how many outputs a model needs."""
        return num_classes

    def targets(self, labels: NDArray[Any], outputs: int) -> NDArray[Any]:
        """Convert stored labels to the targets of a batch's outputs: float32 [batch, outputs], ones and zeros."""
        if labels.ndim == 2:
            return labels.astype(np.float32)
        if outputs == 1:
            return labels.astype(np.float32)[:, None]
        hot: NDArray[np.float32] = (labels[:, None] == np.arange(outputs)).astype(np.float32)
        return hot

    def torch(self, outputs: Any, targets: Any) -> Any:
        """Return the mean over a batch of outputs [batch, outputs], as a torch scalar. `targets` is a tensor."""
        raise NotImplementedError(f"{type(self).__name__} has no torch translation")

    @model_serializer(mode="wrap")
    def _briefly(self, handler: SerializerFunctionWrapHandler) -> Any:
        document = handler(self)
        return document["kind"] if set(document) == {"kind"} else document  # a name alone, as in specs
