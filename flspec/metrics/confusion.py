"""Confusion tables. A table is no number, so it stands beside the metrics in a result."""

from __future__ import annotations

import numpy as np

from flspec.core.components import Document
from flspec.metrics.scores import Scores

__all__ = ["Confusion", "confusion_of"]

_MOST_CLASSES = 100
_MOST_LABELS = 2_000


class Confusion(Document):
    """A confusion table: `matrix` if an example has one class, `labels` if it may have several."""

    matrix: tuple[tuple[int, ...], ...] | None = None  # [class, predicted class]: examples
    labels: tuple[tuple[int, int, int, int], ...] | None = None  # [label]: true neg., false pos., false neg., true pos.
    names: tuple[str, ...] = ()  # of the classes or labels; empty where they are numbers


def confusion_of(scores: Scores, names: tuple[str, ...] = ()) -> Confusion | None:
    """Return the table of some examples, or None if there are no examples, more than 100 classes or 2,000 labels, or
    scores that are not finite.

    `names` are the names of the classes or labels, if they have any.
    """
    if not len(scores) or not scores.are_finite:
        return None
    if scores.is_multi_label:
        return _of_labels(scores, names) if scores.num_classes <= _MOST_LABELS else None
    if (num := scores.num_classes) > _MOST_CLASSES:
        return None
    counts = np.bincount(scores.labels * num + scores.predicted, minlength=num * num).reshape(num, num)
    return Confusion(matrix=tuple(map(tuple, counts.tolist())), names=names)


def _of_labels(scores: Scores, names: tuple[str, ...]) -> Confusion:
    counts = scores.counts
    columns = counts.true_negatives, counts.false_positives, counts.false_negatives, counts.true_positives
    return Confusion(labels=tuple(zip(*(column.tolist() for column in columns), strict=True)), names=names)
