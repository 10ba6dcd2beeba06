"""Reasons for undefined values, in words: for terminals and pages, which show results without numpy."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["undefined_in_words"]


def undefined_in_words(
    values: Mapping[str, Mapping[str, float]], undefined: Mapping[str, Mapping[str, str]]
) -> list[str]:
    """Return the reasons, each once for a set: `test/sex=f has no recall, f1: no example is of class 1`.

    For a mean over those clients that have a value: `test recall: 1 of 4 clients have no value; …`.
    """
    metrics_of: dict[tuple[str, str], list[str]] = {}
    for name, reasons in undefined.items():
        for metric, why in reasons.items():
            of = name if metric in values.get(name, {}) else f"{name} has no"
            metrics_of.setdefault((of, why), []).append(metric)
    return [f"{of} {', '.join(metrics)}: {why}" for (of, why), metrics in metrics_of.items()]
