"""Metrics of a model's scores, for examples with one class each or any number of labels, and of pictures; by name.

A metric may be undefined, such as the area under a curve when all examples are of one class. It then raises `Undefined`
with the reason. The result records the reason, never zero or NaN.
"""

from __future__ import annotations

from collections.abc import Iterable

from flspec.core.families import register_family
from flspec.errors import InputError, choose
from flspec.metrics.base import Better, Measurable, Metric, RegisteredMetrics, metric
from flspec.metrics.confusion import Confusion, confusion_of
from flspec.metrics.scores import Scores, Undefined

__all__ = [
    "METRICS",
    "Better",
    "Confusion",
    "Measurable",
    "Metric",
    "Scores",
    "Undefined",
    "confusion_of",
    "find_metric",
    "measure",
    "metric",
]


def find_metric(name: str) -> Metric:
    """Return the metric of that name; raises InputError if none is installed, as a plan from another machine may name
    one.
    """
    if name not in METRICS:
        raise InputError(f"evaluation.metrics: {choose(name, METRICS)}, or install the package that brings it")
    return METRICS[name]


def measure(measured: Measurable, names: Iterable[str]) -> tuple[dict[str, float], dict[str, str]]:
    """Return the value of each metric that is defined, and the reason for each that is not."""
    values: dict[str, float] = {}
    reasons: dict[str, str] = {}
    for name in names:
        try:
            if why := measured.why_unusable:
                raise Undefined(why)
            values[name] = find_metric(name)(measured)
        except Undefined as undefined:
            reasons[name] = str(undefined)
    return values, reasons


METRICS = RegisteredMetrics()
register_family(__name__, __path__)
