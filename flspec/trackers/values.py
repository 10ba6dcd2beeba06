"""A run's values and settings under names of their own, as trackers of other projects take them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flspec.protocol.records import RoundRecord

__all__ = ["settings_by_path", "values_of"]


def values_of(record: RoundRecord) -> dict[str, float]:
    """Return the measured values of a round by `split/metric`, with what it cost: bytes, seconds, epsilon.

    An undefined value is left out, as is epsilon after rounds for which it is not accounted.
    """
    groups: dict[str, Mapping[str, float]] = {"train": record.train, **(record.evaluation or {})}
    groups["bytes"] = {"down": record.bytes_down, "up": record.bytes_up}
    groups["seconds"] = record.seconds
    values = {f"{group}/{name}": value for group, of in groups.items() for name, value in of.items()}
    return values if record.epsilon is None else {**values, "epsilon": record.epsilon}


def settings_by_path(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return a spec's settings by dotted path; lists are values, and `{}` and null are left out."""
    return dict(_settings(spec, ""))


def _settings(section: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in section.items():
        if isinstance(value, Mapping):
            yield from _settings(value, f"{prefix}{key}.")
        elif value is not None:
            yield f"{prefix}{key}", value
