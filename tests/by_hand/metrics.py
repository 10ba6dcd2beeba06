"""Metrics of one class an example, counted example by example, and their distribution over clients."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Values = dict[str, float]


def measured(scores: NDArray[np.float64], labels: Sequence[int]) -> Values:
    """Every metric below of some examples' scores [num, classes]; one that has no value is left out."""
    rows = [[float(z) for z in row] for row in scores]
    chances = [softmax(row) for row in rows]
    found = {
        "loss": sum(-math.log(p[y]) for p, y in zip(chances, labels, strict=True)) / len(rows),
        "accuracy": sum(best(row) == y for row, y in zip(rows, labels, strict=True)) / len(rows),
        "balanced_accuracy": balanced_accuracy(rows, labels),
        "macro_f1": macro_f1(rows, labels),
        "top_3_accuracy": sum(sum(z >= row[y] for z in row) <= 3 for row, y in zip(rows, labels, strict=True))
        / len(rows),
        "brier": sum(sum((p[k] - (k == y)) ** 2 for k in range(len(p))) for p, y in zip(chances, labels, strict=True))
        / len(rows),
        "calibration_error": calibration_error(chances, labels),
    }
    auc = macro_roc_auc(chances, labels)
    return found | ({} if auc is None else {"macro_roc_auc": auc})


def softmax(row: Sequence[float]) -> list[float]:
    powers = [math.exp(z - max(row)) for z in row]
    return [power / sum(powers) for power in powers]


def best(row: Sequence[float]) -> int:
    return max(range(len(row)), key=lambda k: (row[k], -k))


def balanced_accuracy(rows: Sequence[Sequence[float]], labels: Sequence[int]) -> float:
    """The mean over the classes that occur of the share of a class's examples that are right."""
    recalls = []
    for k in sorted(set(labels)):
        own = [row for row, y in zip(rows, labels, strict=True) if y == k]
        recalls.append(sum(best(row) == k for row in own) / len(own))
    return sum(recalls) / len(recalls)


def macro_f1(rows: Sequence[Sequence[float]], labels: Sequence[int]) -> float:
    """The mean of 2 TP / (2 TP + FP + FN) over the classes that are somebody's or predicted."""
    taken = [best(row) for row in rows]
    scores = []
    for k in sorted({*labels, *taken}):
        both = sum(y == k == t for y, t in zip(labels, taken, strict=True))
        scores.append(2 * both / (list(labels).count(k) + taken.count(k)))
    return sum(scores) / len(scores)


def calibration_error(chances: Sequence[Sequence[float]], labels: Sequence[int], num_bins: int = 15) -> float:
    """Guo et al. 2017, Eq. (3): the distance of confidence from accuracy in 15 bins, weighted by their sizes."""
    error = 0.0
    for number in range(num_bins):
        own = [i for i, p in enumerate(chances) if min(int(max(p) * num_bins), num_bins - 1) == number]
        error += abs(sum(max(chances[i]) - (best(chances[i]) == labels[i]) for i in own))
    return error / len(labels)


def macro_roc_auc(chances: Sequence[Sequence[float]], labels: Sequence[int]) -> float | None:
    """The mean over classes of the share of pairs, one of the class and one not, that are ranked rightly."""
    areas = []
    for k in range(len(chances[0])):
        own = [p[k] for p, y in zip(chances, labels, strict=True) if y == k]
        other = [p[k] for p, y in zip(chances, labels, strict=True) if y != k]
        if own and other:
            areas.append(sum((a > b) + (a == b) / 2 for a in own for b in other) / (len(own) * len(other)))
    return sum(areas) / len(areas) if areas else None


def over_clients(name: str, each: Sequence[Values], sizes: Sequence[int]) -> dict[str, Values]:
    """How the clients' own values are distributed, of those that have one."""
    found: dict[str, Values] = {}
    for metric in dict.fromkeys(metric for own in each for metric in own):
        pairs = [(own[metric], size) for own, size in zip(each, sizes, strict=True) if metric in own]
        values = sorted(value for value, _ in pairs)
        lower_is_better = metric in ("loss", "brier", "calibration_error")
        statistics = {
            "num_clients": len(values),
            "mean": sum(values) / len(values),
            "weighted_mean": sum(value * size for value, size in pairs) / sum(size for _, size in pairs),
            "worst": max(values) if lower_is_better else min(values),
            "p10": quantile(values, 0.1),
            "median": quantile(values, 0.5),
            "p90": quantile(values, 0.9),
            "gini": gini(values),
        }
        for statistic, value in statistics.items():
            found.setdefault(f"{name}/{statistic}", {})[metric] = float(value)
    return found


def quantile(values: Sequence[float], share: float) -> float:
    """Between the two values around the place `share` of the way, in proportion."""
    place = share * (len(values) - 1)
    low = int(place)
    return values[low] + (place - low) * (values[min(low + 1, len(values) - 1)] - values[low])


def gini(values: Sequence[float]) -> float:
    """The mean distance of two values, over twice the mean."""
    mean = sum(values) / len(values)
    return sum(abs(a - b) for a in values for b in values) / (2 * len(values) ** 2 * mean) if mean else 0.0
