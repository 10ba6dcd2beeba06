"""What a loss is: the mean over a batch of what each example's outputs cost."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import SerializerFunctionWrapHandler, model_serializer

from flspec.core.components import Component

__all__ = ["Loss", "ScoredExamples"]


class ScoredExamples(Protocol):
    """Examples and a model's outputs for them, as `flspec.metrics.Scores` has them.

    One output for examples of two classes is there as the two outputs [0, z], which have the same probabilities.
    """

    @property
    def outputs(self) -> NDArray[np.floating[Any]]: ...  # [num_examples, num_outputs]

    @property
    def labels(self) -> NDArray[Any]: ...  # int64 [num_examples], or ones and zeros uint8 [num_examples, num_outputs]

    @property
    def targets(self) -> NDArray[np.bool_]: ...  # [num_examples, num_outputs]: whether it is of a class, or has a label

    @property
    def log_probabilities(self) -> NDArray[np.float64]: ...  # of the softmax, of examples of one class each

    @property
    def is_multi_label(self) -> bool: ...


class Loss(Component, ABC):
    """What a client minimises: the mean over a batch of what an example's outputs cost.

    Engines have a translation of each loss that comes with flspec; one from elsewhere brings its own, `torch`. An
    engine without a translation refuses the plan by the loss's kind.
    """

    # Whether outputs stand for probabilities: by a softmax where an example has one class, by a sigmoid each where it
    # may have several labels. Otherwise they are guesses at ones and zeros.
    are_logits: ClassVar[bool] = True
    weighs: ClassVar[Literal["class", "label"] | None] = None  # what `client.label_weights` has a weight for, if it may

    @abstractmethod
    def value(self, scores: ScoredExamples) -> NDArray[np.float64]:
        """The definition, without label weights: what each example costs, float64 [num_examples]."""

    def why_invalid(self, num_classes: int, is_multi_label: bool) -> str | None:
        """Why it does not suit such labels, and a way out; None if it does."""
        return None

    def num_outputs(self, num_classes: int, is_multi_label: bool) -> int:
        """How many outputs a model needs."""
        return num_classes

    def targets(self, labels: NDArray[Any], outputs: int) -> NDArray[Any]:
        """What a batch's outputs are held against, of labels as stored: float32 [batch, outputs], ones and zeros."""
        if labels.ndim == 2:
            return labels.astype(np.float32)
        if outputs == 1:
            return labels.astype(np.float32)[:, None]
        hot: NDArray[np.float32] = (labels[:, None] == np.arange(outputs)).astype(np.float32)
        return hot

    def torch(self, outputs: Any, targets: Any) -> Any:
        """The mean over the batch, a tensor of no dimensions; of outputs [batch, outputs], `targets` as a tensor."""
        raise NotImplementedError(f"{type(self).__name__} has no torch translation")

    @model_serializer(mode="wrap")
    def _briefly(self, handler: SerializerFunctionWrapHandler) -> Any:
        told = handler(self)
        return told["kind"] if set(told) == {"kind"} else told  # a name alone, as specs have it
