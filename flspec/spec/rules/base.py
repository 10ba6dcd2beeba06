"""What a rule between sections is, and what it finds."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

__all__ = ["Contradiction", "contradictions", "rule"]


@dataclass(frozen=True)
class Contradiction:
    """A contradiction between two fields."""

    path: tuple[str, ...]  # where to point
    other: tuple[str, ...] | None  # the other field
    message: str  # names both


Rule = TypeVar("Rule", bound=Callable[..., Iterable[Contradiction]])

_RULES: list[Callable[..., Iterable[Contradiction]]] = []


def rule(check: Rule) -> Rule:
    """Have specs held to a rule. Its parameters name the sections that it needs."""
    _RULES.append(check)
    return check


def contradictions(sections: Mapping[str, Any]) -> list[Contradiction]:
    """Return the contradictions among the fields of a spec, or of those of its sections that are valid on their own."""
    found: list[Contradiction] = []
    for check in _RULES:
        needed = inspect.signature(check).parameters
        if set(needed) <= set(sections):
            found += check(**{name: sections[name] for name in needed})
    return list(dict.fromkeys(found))  # two rules may find the same
