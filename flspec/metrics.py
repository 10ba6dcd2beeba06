"""How good scores are: metrics by name, each of examples that have one class each.

A metric is a function of `Scores`; its name is what a spec writes. Where one is not defined, as the area under a curve
of examples that are all of one class, it raises `Undefined` with the reason, and is told as unknown for that reason,
never as zero or NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LOWER_IS_BETTER", "METRICS", "Scores", "Undefined", "measure"]

_BINS = 15  # of confidence, for the calibration error: Guo et al., ICML 2017


class Undefined(ValueError):
    """A metric has no value for these examples; the text says why."""


@dataclass(frozen=True, eq=False)
class Scores:
    """What a model says of examples, and what they are."""

    logits: NDArray[np.floating[Any]]  # [num_examples, num_classes]
    labels: NDArray[np.int64]  # [num_examples]

    @cached_property
    def log_probabilities(self) -> NDArray[np.float64]:
        """log softmax of the logits."""
        logits = self.logits.astype(np.float64)
        shifted = logits - logits.max(axis=1, keepdims=True)
        log_probabilities: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        return log_probabilities

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        return np.exp(self.log_probabilities)

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """The class of the largest logit, the first if several are."""
        return np.asarray(self.logits.argmax(axis=1), np.int64)

    def positive(self) -> NDArray[np.float64]:
        """The probability of class 1 of two."""
        if self.logits.shape[1] != 2:
            raise Undefined(f"it is of two classes, and there are {self.logits.shape[1]}")
        return self.probabilities[:, 1]

    def has_both(self) -> None:
        """Raise Undefined unless examples of both classes are there."""
        self.positive()
        if len(np.unique(self.labels)) < 2:
            raise Undefined(f"all {len(self.labels):,} examples are of class {self.labels[0]}")


Metric = Callable[[Scores], float]


def measure(scores: Scores, names: Iterable[str]) -> tuple[dict[str, float], dict[str, str]]:
    """The value of each metric that has one, and why the others have none."""
    values: dict[str, float] = {}
    reasons: dict[str, str] = {}
    is_finite = bool(np.isfinite(scores.logits).all())
    for name in names:
        try:
            if not is_finite:
                raise Undefined("the model's scores are not finite")
            if not len(scores.labels):
                raise Undefined("there are no examples")
            values[name] = float(METRICS[name](scores))
        except Undefined as undefined:
            reasons[name] = str(undefined)
    return values, reasons


def _loss(scores: Scores) -> float:
    """Mean of -log softmax(logits)[label]."""
    return float(-scores.log_probabilities[np.arange(len(scores.labels)), scores.labels].mean())


def _accuracy(scores: Scores) -> float:
    """Share of the examples whose largest logit, the first if tied, is their class's."""
    return float((scores.predicted == scores.labels).mean())


def _top_5_accuracy(scores: Scores) -> float:
    """Share of the examples whose class has one of the five largest logits; ties count against it."""
    own = scores.logits[np.arange(len(scores.labels)), scores.labels]
    if scores.logits.shape[1] <= 5:
        raise Undefined(f"there are only {scores.logits.shape[1]} classes")
    return float(((scores.logits >= own[:, None]).sum(axis=1) <= 5).mean())


def _balanced_accuracy(scores: Scores) -> float:
    """Mean over the classes that occur of the share of their examples that are recognised."""
    from sklearn.metrics import recall_score

    occurring = np.unique(scores.labels)
    return float(recall_score(scores.labels, scores.predicted, labels=occurring, average="macro", zero_division=0))


def _macro(name: str) -> Metric:
    def metric(scores: Scores) -> float:
        from sklearn import metrics

        function = getattr(metrics, f"{name}_score")
        labels = np.arange(scores.logits.shape[1])
        return float(function(scores.labels, scores.predicted, labels=labels, average="macro", zero_division=0))

    metric.__doc__ = f"Mean over all classes of their {name}, zero where it is 0/0."
    return metric


def _precision(scores: Scores) -> float:
    """Of two classes: share of the examples taken for class 1 that are."""
    taken = scores.positive() > 0.5
    if not taken.any():
        raise Undefined("no example is taken for class 1")
    return float(scores.labels[taken].mean())


def _recall(scores: Scores) -> float:
    """Of two classes: share of the examples of class 1 that are taken for it; also called sensitivity."""
    taken, positive = scores.positive() > 0.5, scores.labels == 1
    if not positive.any():
        raise Undefined("no example is of class 1")
    return float(taken[positive].mean())


def _specificity(scores: Scores) -> float:
    """Of two classes: share of the examples of class 0 that are taken for it."""
    taken, negative = scores.positive() > 0.5, scores.labels == 0
    if not negative.any():
        raise Undefined("no example is of class 0")
    return float(1.0 - taken[negative].mean())


def _f1(scores: Scores) -> float:
    """Of two classes: 2 TP / (2 TP + FP + FN) of class 1."""
    taken, positive = scores.positive() > 0.5, scores.labels == 1
    if not taken.any() and not positive.any():
        raise Undefined("no example is of class 1 or taken for it")
    return float(2 * (taken & positive).sum() / (taken.sum() + positive.sum()))


def _roc_auc(scores: Scores) -> float:
    """Area under the ROC curve: of two classes that of class 1, of more the mean over classes against the rest."""
    from sklearn.metrics import roc_auc_score

    if scores.logits.shape[1] == 2:
        scores.has_both()
        return float(roc_auc_score(scores.labels, scores.positive()))
    if missing := set(range(scores.logits.shape[1])) - set(np.unique(scores.labels).tolist()):
        raise Undefined(f"no example is of class {min(missing)}")
    return float(roc_auc_score(scores.labels, scores.probabilities, multi_class="ovr"))


def _average_precision(scores: Scores) -> float:
    """Of two classes: area under the precision-recall curve of class 1, as a sum over thresholds."""
    from sklearn.metrics import average_precision_score

    scores.has_both()
    return float(average_precision_score(scores.labels, scores.positive()))


def _calibration_error(scores: Scores) -> float:
    """Mean distance of confidence and accuracy over 15 bins of confidence, by size (Guo et al., ICML 2017, Eq. 3)."""
    confidence = scores.probabilities.max(axis=1)
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    right = (scores.predicted == scores.labels).astype(np.float64)
    gaps = np.bincount(bins, weights=confidence - right, minlength=_BINS)
    return float(np.abs(gaps).sum() / len(right))


LOWER_IS_BETTER = ("loss", "calibration_error")
METRICS: dict[str, Metric] = {
    "loss": _loss,
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "top_5_accuracy": _top_5_accuracy,
    "macro_precision": _macro("precision"),
    "macro_recall": _macro("recall"),
    "macro_f1": _macro("f1"),
    "precision": _precision,
    "recall": _recall,
    "specificity": _specificity,
    "f1": _f1,
    "roc_auc": _roc_auc,
    "average_precision": _average_precision,
    "calibration_error": _calibration_error,
}
