"""Why values are not there, in words: for terminals and pages, which show results without numpy."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["undefined_in_words"]


def undefined_in_words(
    values: Mapping[str, Mapping[str, float]], undefined: Mapping[str, Mapping[str, str]]
) -> list[str]:
    """The reasons, each told once a set: `test/sex=f has no recall, f1: no example is of class 1`.

    Of a value that is the mean over those clients that have one: `test recall: 1 of 4 clients have no value; …`.
    """
    told: dict[tuple[str, str], list[str]] = {}
    for name, reasons in undefined.items():
        for metric, why in reasons.items():
            of = name if metric in values.get(name, {}) else f"{name} has no"
            told.setdefault((of, why), []).append(metric)
    return [f"{of} {', '.join(metrics)}: {why}" for (of, why), metrics in told.items()]
