"""Axes: the settings in which experiments differ, whether a matrix names them or not.

A section that has a kind is one setting, its kind, and those inside it; a list of such sections is their kinds. These
are compared among experiments of the same kind alone: that FedAdam has a beta and FedAvg has none is said by their
kinds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import JsonValue

__all__ = ["axes_of", "settings_by_path"]

_NO_AXES = ("flspec", "name", "backend", "track", "seed")


def settings_by_path(spec: Mapping[str, Any]) -> dict[str, JsonValue]:
    """Return each setting of a spec by its path: `client.epochs`; a section with a kind as that kind, too."""
    return dict(_settings(spec, ""))


def axes_of(every: Sequence[Mapping[str, JsonValue]]) -> list[str]:
    """Return the paths whose values differ, of several specs' settings, in the specs' order."""
    paths = dict.fromkeys(path for settings in every for path in settings if path not in _NO_AXES)
    return [path for path in paths if _differs(path, every)]


def _settings(section: Mapping[str, Any], path: str) -> Iterator[tuple[str, JsonValue]]:
    for key, value in section.items():
        place = f"{path}.{key}" if path else key
        if isinstance(value, Mapping):
            if "kind" in value:
                yield place, value["kind"]
            yield from _settings({name: one for name, one in value.items() if name != "kind"}, place)
        elif isinstance(value, Sequence) and value and all(isinstance(one, Mapping) and "kind" in one for one in value):
            yield place, " + ".join(str(one["kind"]) for one in value)
            for number, one in enumerate(value):
                yield from _settings(
                    {name: inner for name, inner in one.items() if name != "kind"}, f"{place}.{number}"
                )
        else:
            yield place, value if value != [] else "none"


def _differs(path: str, every: Sequence[Mapping[str, JsonValue]]) -> bool:
    """Return whether a setting differs among any experiments whose sections around it are of the same kinds."""
    parts = path.split(".")
    around = [".".join(parts[:length]) for length in range(1, len(parts))]
    values: dict[str, set[str]] = {}
    for settings in every:
        values.setdefault(repr([settings.get(one) for one in around]), set()).add(repr(settings.get(path)))
    return any(len(of_a_kind) > 1 for of_a_kind in values.values())
