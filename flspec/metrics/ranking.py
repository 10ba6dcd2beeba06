"""Metrics of ranking: whether examples of a class, or with a label, are ranked above the others.

With two classes they are scikit-learn's. With many labels they are computed from sorted values on all cores. For
FLAIR's 1,628 labels of 44,000 pictures that takes 2 s a metric. scikit-learn, which sorts one column after the other,
takes 14 s.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.metrics.base import metric
from flspec.metrics.scores import Measure, Scores, Undefined, ratio

# (values of the examples that are of a class, and of the others, each ascending) -> value
_Sorted = Callable[[NDArray[Any], NDArray[Any]], float]


@metric(
    better="higher",
    description="area under the ROC curve: of class 1 of two, or the mean over classes against the rest",
)
def roc_auc(scores: Scores) -> float:
    """Return the area under the ROC curve: of class 1 with two classes, else the mean over classes against the rest."""
    from sklearn.metrics import roc_auc_score

    scores.of_one_class()
    if scores.num_classes == 2:
        scores.of_both_classes()
        return float(roc_auc_score(scores.labels, scores.ranks[:, 1]))
    if missing := set(range(scores.num_classes)) - set(np.unique(scores.labels).tolist()):
        raise Undefined(f"no example is of class {scores.called(min(missing))}")
    return macro_ranking("roc_auc")(scores)


@metric(better="higher", description="area under the precision-recall curve, by steps, of class 1 of two")
def average_precision(scores: Scores) -> float:
    """Return, with two classes, the sum over thresholds of (R_t - R_t-1) P_t, the precision and recall of class 1."""
    from sklearn.metrics import average_precision_score

    scores.of_both_classes()
    return float(average_precision_score(scores.labels, scores.ranks[:, 1]))


def macro_ranking(name: str) -> Measure:
    """Return a metric: the mean of `name` over the classes, or labels, for which it is defined.

    `average_precision` is defined if an example has the class or label; `roc_auc` if some examples have it and some do
    not.
    """

    def value(scores: Scores) -> float:
        def of(label: int) -> float | None:
            return _measured(name, scores.ranks[:, label], scores.targets[:, label])

        with ThreadPoolExecutor(os.cpu_count()) as pool:  # sorting takes most of the time, and releases the GIL
            found = [value for value in pool.map(of, range(scores.num_classes)) if value is not None]
        if not found:
            raise Undefined(f"none of {scores.num_classes:,} {_noun(scores)} has {_NEEDS[name]}")
        return float(np.mean(found))

    return value


def micro_ranking(name: str) -> Measure:
    """Return a metric: `name` of all classes, or labels, pooled. Every pair of an example and a class counts as an
    example.
    """

    def value(scores: Scores) -> float:
        found = _measured(name, scores.ranks.ravel(), scores.targets.ravel())
        if found is None:
            raise Undefined(f"none of {scores.num_classes:,} {_noun(scores)} has {_NEEDS[name]}")
        return found

    return value


def binned_average_precision(is_macro: bool) -> Measure:
    """Return FLAIR's average precision: over 200 thresholds, by Keras's AUC and its confusion counts.

    The thresholds t_i are i / 199 for i = 1, …, 198, one below zero and one above one. A probability above t_i counts
    as positive. With precision P_i and recall R_i, both 0 where they are 0/0, the value is -sum_i (R_i+1 - R_i) P_i.
    Macro is the mean over all labels; a label that no example has counts 0. Micro is the value of all labels pooled.
    """

    def value(scores: Scores) -> float:
        true, false = scores.histograms
        if not is_macro:
            true, false = true.sum(axis=0, keepdims=True), false.sum(axis=0, keepdims=True)
        above, wrong = (np.cumsum(counts[:, ::-1], axis=1)[:, ::-1] for counts in (true, false))
        precision, recall = ratio(above, above + wrong), ratio(above, np.broadcast_to(above[:, :1], above.shape))
        return float(-(np.diff(recall, axis=1) * precision[:, :-1]).sum(axis=1).mean())

    return value


def _measured(name: str, ranks: NDArray[Any], targets: NDArray[np.bool_]) -> float | None:
    """Return the metric of one class, or None if it is undefined."""
    positive, negative = np.sort(ranks[targets]), np.sort(ranks[~targets])
    if not len(positive) or (name == "roc_auc" and not len(negative)):
        return None
    return _SORTED[name](positive, negative)


def _roc_auc(positive: NDArray[Any], negative: NDArray[Any]) -> float:
    """Return the share of pairs in which the positive example ranks above the negative one; a tie counts half."""
    below, up_to = (np.searchsorted(negative, positive, side) for side in ("left", "right"))
    return float((below.sum() + up_to.sum()) / (2.0 * len(positive) * len(negative)))


def _average_precision(positive: NDArray[Any], negative: NDArray[Any]) -> float:
    """Return the sum, over the positive examples' values as thresholds, of added recall times the precision there."""
    thresholds, added = np.unique(positive, return_counts=True)
    true = len(positive) - np.searchsorted(positive, thresholds)  # at or above it
    false = len(negative) - np.searchsorted(negative, thresholds)
    return float((added * (true / (true + false))).sum() / len(positive))


def _noun(scores: Scores) -> str:
    return "labels" if scores.is_multi_label else "classes"


_SORTED: dict[str, _Sorted] = {"roc_auc": _roc_auc, "average_precision": _average_precision}
_NEEDS = {"roc_auc": "both an example that has it and one that has not", "average_precision": "an example"}

for _name in _SORTED:
    metric(
        name=f"macro_{_name}",
        better="higher",
        description=f"mean of the {_name} of each class, or label, that has it",
    )(macro_ranking(_name))
    metric(
        name=f"micro_{_name}",
        better="higher",
        description=f"{_name} of all classes, or labels, pooled",
    )(micro_ranking(_name))
for _how, _is_macro in (("macro", True), ("micro", False)):
    metric(
        name=f"binned_{_how}_average_precision",
        better="higher",
        description=f"{_how}_average_precision over 200 thresholds, by the rule of FLAIR's benchmark",
    )(binned_average_precision(_is_macro))
