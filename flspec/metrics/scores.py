"""A model's outputs beside the true labels: all that a metric is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from flspec.errors import printable
from flspec.losses import Loss, LossDocument, parse_loss

__all__ = ["THRESHOLDS", "Counts", "Measure", "Scores", "Undefined", "ratio"]

THRESHOLDS = 200  # of the binned average precision

_MOST_VALUES = 2**18  # outputs processed at once: 2 MiB in float64, which fit into a processor's cache


class Undefined(ValueError):
    """An error that says why a metric has no value for these examples."""


@dataclass(frozen=True, eq=False)
class Counts:
    """Confusion counts of each class or label on its own: int64 [num_classes] each."""

    true_positives: NDArray[np.int64]
    false_positives: NDArray[np.int64]
    false_negatives: NDArray[np.int64]
    true_negatives: NDArray[np.int64]


def ratio(over: NDArray[np.int64], under: NDArray[np.int64]) -> NDArray[np.float64]:
    """Divide one array of counts by another of the same shape; 0 where both are 0."""
    return np.divide(over, under, out=np.zeros(over.shape), where=under > 0)


@dataclass(frozen=True, eq=False)
class Scores:
    """A model's outputs for examples that have one class each, or any number of labels.

    A single output for two classes is the logit z of class 1. It is treated as the two outputs [0, z], which have the
    same probabilities. The loss used in training decides what outputs are: with `cross_entropy`, logits of a softmax;
    with `binary_cross_entropy`, logits of a sigmoid each; with `mean_squared_error`, estimates of zeros and ones.
    """

    are: ClassVar[Literal["scores", "pictures"]] = "scores"

    outputs: NDArray[np.floating[Any]]  # [num_examples, num_outputs]
    labels: NDArray[np.int64] | NDArray[np.uint8]  # int64 [num_examples], or ones and zeros uint8 [num_examples, *]
    loss: LossDocument = "cross_entropy"  # as a plan has it
    class_names: tuple[str, ...] = ()  # empty where classes have numbers alone

    def __post_init__(self) -> None:
        if self.labels.ndim == 1 and self.outputs.shape[1] == 1:
            object.__setattr__(self, "outputs", np.hstack([np.zeros_like(self.outputs), self.outputs]))

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        """The number of classes or labels."""
        return int(self.outputs.shape[1])

    @property
    def is_multi_label(self) -> bool:
        """Whether an example may have several labels."""
        return self.labels.ndim == 2

    @property
    def are_logits(self) -> bool:
        """Whether outputs determine probabilities."""
        return self.rule.are_logits

    @cached_property
    def rule(self) -> Loss:
        """The loss that the model learned by."""
        return parse_loss(self.loss)

    @cached_property
    def are_finite(self) -> bool:
        """Whether every output is finite."""
        return bool(np.isfinite(self.outputs).all())

    @property
    def why_unusable(self) -> str | None:
        """Why no metric has a value, or None."""
        if not self.are_finite:
            return "the model's scores are not finite"
        return None if len(self) else "there are no examples"

    def called(self, label: int) -> str:
        """Return what a class is called in a message: its name, or its number from 0."""
        return printable(self.class_names[label]) if self.class_names else str(label)

    def part(self, rows: NDArray[Any] | slice) -> Scores:
        """Return the scores of some of the examples."""
        return replace(self, outputs=self.outputs[rows], labels=self.labels[rows])

    def parts(self) -> Iterator[Scores]:
        """Yield all scores, a few examples at a time, because many labels take gigabytes in float64."""
        rows = max(1, _MOST_VALUES // max(1, self.num_classes))
        if len(self) <= rows:
            yield self
            return
        yield from (self.part(slice(start, start + rows)) for start in range(0, len(self), rows))

    def mean(self, of: Callable[[Scores], NDArray[Any]]) -> float:
        """Return the mean over the examples of a value that `of` gives for each example of a part."""
        return float(sum(of(part).sum() for part in self.parts()) / len(self))

    @cached_property
    def targets(self) -> NDArray[np.bool_]:
        """[num_examples, num_classes]: whether an example is of a class, or has a label."""
        if self.is_multi_label:
            return self.labels.astype(np.bool_)
        return np.asarray(self.labels[:, None] == np.arange(self.num_classes))

    @cached_property
    def log_probabilities(self) -> NDArray[np.float64]:
        """The log softmax of the outputs, for examples of one class each."""
        outputs = self.outputs.astype(np.float64)
        shifted = outputs - outputs.max(axis=1, keepdims=True)
        log_probabilities: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        return log_probabilities

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """[num_examples, num_classes]: of each class, summing to one, or of each label on its own."""
        if not self.are_logits:
            raise Undefined(f"outputs that learned by {self.rule.kind} are no probabilities")  # type: ignore[attr-defined]
        if not self.is_multi_label:
            return np.exp(self.log_probabilities)
        with np.errstate(over="ignore"):  # where e^-z overflows, the probability is 0, as it should be
            probabilities: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-self.outputs.astype(np.float64)))
        return probabilities

    @cached_property
    def ranks(self) -> NDArray[np.floating[Any]]:
        """[num_examples, num_classes]: grows with the probability that an example is of a class, or has a label.

        Outputs are used instead of probabilities where both have the same order, because rounding makes no ties of
        outputs. With two classes it is the difference of the two outputs, which `predicted` uses too.
        """
        if self.is_multi_label:
            return self.outputs
        if self.num_classes == 2:
            margin = np.subtract(*self.outputs.astype(np.float64).T[::-1])
            return np.stack([-margin, margin], axis=1)
        return self.log_probabilities if self.are_logits else self.outputs

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """The class of the largest output, the first if several are equal; for examples of one class each."""
        return np.asarray(self.outputs.argmax(axis=1), np.int64)

    @property
    def taken(self) -> NDArray[np.bool_]:
        """[num_examples, num_classes]: whether a class is predicted, or a label's probability is above one half."""
        if self.is_multi_label:
            return np.asarray(self.outputs > (0.0 if self.are_logits else 0.5))
        return np.asarray(self.predicted[:, None] == np.arange(self.num_classes))

    @cached_property
    def counts(self) -> Counts:
        """The confusion counts of each class or label."""
        taken, true, right = (np.zeros(self.num_classes, np.int64) for _ in range(3))
        for part in self.parts():
            found = part.taken
            taken += found.sum(axis=0)
            true += part.targets.sum(axis=0)
            right += (found & part.targets).sum(axis=0)
        return Counts(right, taken - right, true - right, len(self) - taken - true + right)

    @cached_property
    def histograms(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """[num_classes, 200] each: examples that are of a class, and those that are not, by its probability.

        Column i counts probabilities above i / 199 and at most (i + 1) / 199. Column 0 counts zeros, too.
        """
        num = self.num_classes * THRESHOLDS
        every, true = np.zeros(num, np.int64), np.zeros(num, np.int64)
        first = np.arange(self.num_classes) * THRESHOLDS
        for part in self.parts():
            columns = np.maximum(np.ceil(part.probabilities * (THRESHOLDS - 1)).astype(np.int64) - 1, 0) + first
            every += np.bincount(columns.ravel(), minlength=num)
            true += np.bincount(columns[part.targets], minlength=num)
        shape = self.num_classes, THRESHOLDS
        return true.reshape(shape), (every - true).reshape(shape)

    def of_one_class(self) -> None:
        """Raise Undefined unless each example has one class."""
        if self.is_multi_label:
            raise Undefined("it needs one class an example, but an example may have several labels")

    def of_two_classes(self) -> None:
        """Raise Undefined unless each example has one of two classes."""
        if self.is_multi_label:
            raise Undefined("it needs two classes, but an example may have several labels; name macro_ or micro_")
        if self.num_classes != 2:
            raise Undefined(f"it needs two classes, but there are {self.num_classes}")

    def of_both_classes(self) -> None:
        """Raise Undefined unless there are examples of each of two classes."""
        self.of_two_classes()
        if len(np.unique(self.labels)) < 2:
            raise Undefined(f"all {len(self):,} examples are of class {self.called(int(self.labels[0]))}")


Measure = Callable[[Scores], float]
