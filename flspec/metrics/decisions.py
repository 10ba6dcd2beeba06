"""Metrics of decisions: the class of the largest output, or each label with a probability above one half.

With two classes, class 1 is the positive one. A `macro` average counts each class or label the same, a `micro` average
counts each decision the same. Both are of the classes or labels that occur: an example has it, or it is predicted for
one. Of these, 0/0 is 0, as scikit-learn has it by default. FLAIR's own macro averages (`flair_macro_…`) are of all
labels, and one that does not occur counts 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.metrics.base import metric
from flspec.metrics.scores import Counts, Measure, Scores, Undefined, ratio


@metric(better="higher", description="share of the examples whose class is predicted, or of the labels predicted right")
def accuracy(scores: Scores) -> float:
    """Return the share of examples whose class is predicted, or of the labels that are predicted right."""
    if not scores.is_multi_label:
        return float((scores.predicted == scores.labels).mean())
    counts = scores.counts
    return float((counts.true_positives + counts.true_negatives).mean() / len(scores))


@metric(better="higher", description="share of the examples predicted right as a whole: all labels, or the class")
def exact_match(scores: Scores) -> float:
    """Return the share of examples predicted right as a whole: all labels, or the class."""
    return scores.mean(lambda part: (part.taken == part.targets).all(axis=1))


def top(k: int) -> Measure:
    """Return a metric: the share of examples whose class has one of the k largest outputs; ties count against it."""

    def share(scores: Scores) -> float:
        scores.of_one_class()
        if scores.num_classes <= k:
            raise Undefined(f"there are only {scores.num_classes} classes")
        own = scores.outputs[np.arange(len(scores)), scores.labels]
        return float(((scores.outputs >= own[:, None]).sum(axis=1) <= k).mean())

    return share


@metric(better="higher", description="recall of each class that occurs, averaged over these classes")
def balanced_accuracy(scores: Scores) -> float:
    """Return the recall of each class that occurs, averaged over these classes."""
    from sklearn.metrics import recall_score

    scores.of_one_class()
    occurring = np.unique(scores.labels)
    return float(recall_score(scores.labels, scores.predicted, labels=occurring, average="macro", zero_division=0))


@metric(better="higher", description="share of the examples predicted as class 1 of two that are of it")
def precision(scores: Scores) -> float:
    """Return the share of the examples predicted as class 1 that are of it: TP / (TP + FP)."""
    counts = _of_class_1(scores)
    return _share(counts.true_positives, counts.false_positives, f"no example is predicted as class {scores.called(1)}")


@metric(better="higher", description="share of the examples of class 1 of two that are predicted as it; sensitivity")
def recall(scores: Scores) -> float:
    """Return the share of the examples of class 1 that are predicted as it: TP / (TP + FN).

    It is also called sensitivity, or the true positive rate.
    """
    counts = _of_class_1(scores)
    return _share(counts.true_positives, counts.false_negatives, f"no example is of class {scores.called(1)}")


@metric(better="higher", description="share of the examples of class 0 of two that are predicted as it")
def specificity(scores: Scores) -> float:
    """Return the share of the examples of class 0 that are predicted as it: TN / (TN + FP)."""
    counts = _of_class_1(scores)
    return _share(counts.true_negatives, counts.false_positives, f"no example is of class {scores.called(0)}")


@metric(better="lower", description="share of the examples of class 0 of two that are predicted as class 1")
def false_positive_rate(scores: Scores) -> float:
    """Return the share of the examples of class 0 that are predicted as class 1: FP / (TN + FP)."""
    counts = _of_class_1(scores)
    return _share(counts.false_positives, counts.true_negatives, f"no example is of class {scores.called(0)}")


@metric(
    better="neither",
    description="share of the examples that are predicted as class 1 of two; between groups, demographic parity",
)
def positive_rate(scores: Scores) -> float:
    """Return the share of all examples that are predicted as class 1: (TP + FP) / n."""
    counts = _of_class_1(scores)
    return float((counts.true_positives + counts.false_positives) / len(scores))


@metric(better="higher", description="harmonic mean of precision and recall of class 1 of two")
def f1(scores: Scores) -> float:
    """Return 2 TP / (2 TP + FP + FN) of class 1."""
    counts = _of_class_1(scores)
    wrong = counts.false_positives + counts.false_negatives
    return _share(2 * counts.true_positives, wrong, f"no example is of class {scores.called(1)} or predicted as it")


def macro(name: str) -> Measure:
    """Return a metric: the mean of `name` over the classes, or labels, that occur."""
    return lambda scores: float(_EACH[name](_occurring(scores)).mean())


def micro(name: str) -> Measure:
    """Return a metric: `name` of the decisions on all classes, or all labels, pooled."""
    return lambda scores: float(_EACH[name](_pooled(_occurring(scores)))[0])


def flair_macro(name: str) -> Measure:
    """Return a metric: the mean of `name` over all classes, or all labels; 0 where it is 0/0, as in FLAIR's benchmark.

    A model without a mistake therefore has less than 1 on examples that lack a label.
    """
    return lambda scores: float(_EACH[name](scores.counts).mean())


@metric(better="higher", description="harmonic mean of flair_macro_precision and flair_macro_recall: FLAIR's macro F1")
def harmonic_f1(scores: Scores) -> float:
    """Return the harmonic mean of FLAIR's macro precision and macro recall, 0 if both are 0. FLAIR's benchmark calls it
    macro F1.

    `macro_f1`, the mean of F1 over the labels, is a different number.
    """
    both = [flair_macro("precision")(scores), flair_macro("recall")(scores)]
    return 2 * both[0] * both[1] / sum(both) if any(both) else 0.0


def _of_class_1(scores: Scores) -> Counts:
    """Return the counts of class 1 of two classes, as one number each."""
    scores.of_two_classes()
    counts = scores.counts
    return Counts(*(values[1] for values in vars(counts).values()))


def _share(part: Any, rest: Any, why: str) -> float:
    """Return part / (part + rest); raises Undefined with the reason if that is 0/0."""
    if not part + rest:
        raise Undefined(why)
    return float(part / (part + rest))


def _occurring(scores: Scores) -> Counts:
    """Return the counts of the classes or labels that an example has or that are predicted for one.

    Raises Undefined if none occurs: no example has a label, and none is predicted.
    """
    counts = scores.counts
    occurs = counts.true_positives + counts.false_positives + counts.false_negatives > 0
    if not occurs.any():
        raise Undefined(f"no example has one of the {scores.num_classes:,} labels, and none is predicted")
    return Counts(*(values[occurs] for values in vars(counts).values()))


def _pooled(counts: Counts) -> Counts:
    return Counts(*(values.sum(keepdims=True) for values in vars(counts).values()))


def _each_precision(counts: Counts) -> NDArray[np.float64]:
    return ratio(counts.true_positives, counts.true_positives + counts.false_positives)


def _each_recall(counts: Counts) -> NDArray[np.float64]:
    return ratio(counts.true_positives, counts.true_positives + counts.false_negatives)


def _each_f1(counts: Counts) -> NDArray[np.float64]:
    right = 2 * counts.true_positives
    return ratio(right, right + counts.false_positives + counts.false_negatives)


_EACH = {"precision": _each_precision, "recall": _each_recall, "f1": _each_f1}

for _k in (3, 5):
    metric(
        name=f"top_{_k}_accuracy",
        better="higher",
        description=f"share of the examples whose class has one of the {_k} largest outputs; ties count against it",
    )(top(_k))
for _name in _EACH:
    metric(
        name=f"macro_{_name}",
        better="higher",
        description=f"mean of the {_name} of each class, or label, that occurs: an example has it or it is predicted",
    )(macro(_name))
    metric(
        name=f"micro_{_name}",
        better="higher",
        description=f"{_name} of the decisions on all classes, or labels, pooled",
    )(micro(_name))
for _name in ("precision", "recall"):
    metric(
        name=f"flair_macro_{_name}",
        better="higher",
        description=f"mean of the {_name} of all classes, or labels, 0 where it is 0/0: the rule of FLAIR's benchmark",
    )(flair_macro(_name))
