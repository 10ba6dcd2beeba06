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
    if (found := METRICS.get(name)) is None:
        raise InputError(f"evaluation.metrics: {choose(name, METRICS)}, or install the package that brings it")
    return found


def measure(measured: Measurable, metrics: Iterable[Metric | str]) -> tuple[dict[str, float], dict[str, str]]:
    """Return the value of each metric that is defined, and the reason for each that is not.

    To find one by its name takes a fifth of a millisecond, so who measures again and again finds it once.
    """
    values: dict[str, float] = {}
    reasons: dict[str, str] = {}
    for one in map(_found, metrics):
        try:
            if why := measured.why_unusable:
                raise Undefined(why)
            values[one.name] = one(measured)
        except Undefined as undefined:
            reasons[one.name] = str(undefined)
    return values, reasons


def _found(metric: Metric | str) -> Metric:
    return find_metric(metric) if isinstance(metric, str) else metric


METRICS = RegisteredMetrics()
register_family(__name__, __path__)
