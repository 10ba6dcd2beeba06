"""How good a model's scores are: metrics by name, of examples that have one class each or any number of labels.

Where a metric is not defined, as the area under a curve of examples that are all of one class, it raises `Undefined`
with the reason, and is told as unknown for that reason, never as zero or NaN.
"""

from __future__ import annotations

from collections.abc import Iterable

from flspec.core.components import load_family
from flspec.errors import InputError, choose
from flspec.metrics.base import Better, Metric, metric, registered_metrics
from flspec.metrics.confusion import Confusion, confusion_of
from flspec.metrics.scores import Scores, Undefined

__all__ = [
    "METRICS",
    "Better",
    "Confusion",
    "Metric",
    "Scores",
    "Undefined",
    "confusion_of",
    "find_metric",
    "measure",
    "metric",
]


def find_metric(name: str) -> Metric:
    """The metric of that name; raises InputError where none is installed, as a plan from elsewhere may ask for it."""
    if name not in METRICS:
        raise InputError(f"evaluation.metrics: {choose(name, METRICS)}, or install the package that brings it")
    return METRICS[name]


def measure(scores: Scores, names: Iterable[str]) -> tuple[dict[str, float], dict[str, str]]:
    """The value of each metric that has one, and why the others have none."""
    values: dict[str, float] = {}
    reasons: dict[str, str] = {}
    for name in names:
        try:
            if not scores.are_finite:
                raise Undefined("the model's scores are not finite")
            if not len(scores):
                raise Undefined("there are no examples")
            values[name] = find_metric(name)(scores)
        except Undefined as undefined:
            reasons[name] = str(undefined)
    return values, reasons


METRICS = registered_metrics(load_family(__name__, __path__))  # last: what is loaded may use what stands above
