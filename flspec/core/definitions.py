"""Classes and functions by name: whether a module still has them, and whether an installed package offers them."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

from flspec.core.families import offered_to

__all__ = ["is_current", "is_offered_as"]


def is_current(definition: Any) -> bool:
    """Return whether a class or function is still what its module has by its name, unlike one of a cell run again."""
    found, names = sys.modules.get(definition.__module__), definition.__qualname__.split(".")
    if found is None or "<locals>" in names:
        return True
    for name in names:
        found = getattr(found, name, None)
    return found is definition or getattr(found, "of", None) is definition


def is_offered_as(group: str, definition: Any) -> bool:
    """Return whether an installed package offers a class or function by the name that its module has for it."""
    return f"{definition.__module__}:{definition.__qualname__}" in _offered(group)


@cache
def _offered(group: str) -> frozenset[str]:
    return frozenset(entry.value for entry in offered_to(group))
