"""What a rule between sections is, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any, TypeVar

__all__ = ["Contradiction", "contradictions", "rule"]


@dataclass(frozen=True)
class Contradiction:
    """A contradiction between two fields."""

    path: tuple[str, ...]  # where to point
    other: tuple[str, ...] | None  # the other field
    message: str  # names both


Rule = TypeVar("Rule", bound=Callable[..., Iterable[Contradiction]])

_RULES: list[tuple[tuple[str, ...], Callable[..., Iterable[Contradiction]]]] = []  # with the sections they need


def rule(check: Rule) -> Rule:
    """Have specs held to a rule. Its parameters name the sections that it needs."""
    assert isinstance(check, FunctionType)
    code = check.__code__
    _RULES.append((code.co_varnames[: code.co_argcount], check))
    return check


def contradictions(sections: Mapping[str, Any]) -> list[Contradiction]:
    """Return the contradictions among the fields of a spec, or of those of its sections that are valid on their own."""
    found: list[Contradiction] = []
    for needed, check in _RULES:
        if all(name in sections for name in needed):
            found += check(**{name: sections[name] for name in needed})
    return list(dict.fromkeys(found))  # two rules may find the same
