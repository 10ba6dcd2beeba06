"""Lists in messages: the first few, and how many more there are."""

from __future__ import annotations

from collections.abc import Sequence

from flspec.errors import printable, shorten

__all__ = ["and_more", "join_some"]


def join_some(names: Sequence[str], most: int = 3) -> str:
    """The first of `names`, each shortened, and how many more there are."""
    shown = ", ".join(shorten(printable(name)) for name in names[:most])
    return " ".join(filter(None, (shown, and_more(len(names) - most))))


def and_more(num: int, what: str = "") -> str:
    """`and 1,200 more labels`, where `what` is labels; nothing where there are none more."""
    return f"and {num:,} more {what}".rstrip() if num > 0 else ""
