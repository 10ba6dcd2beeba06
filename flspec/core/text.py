"""Short lists in messages: the first few names, and the number of the others; letters for what has no name; words that
several pages have.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from flspec.errors import printable, shorten

__all__ = [
    "and_more",
    "bytes_in_words",
    "first_steps_in_words",
    "in_flow",
    "join_all",
    "join_some",
    "letters",
    "natural",
    "seconds_in_words",
    "short_names",
]


_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")  # text that YAML takes for text without quotes, but for these words
_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}


def join_some(names: Sequence[str], most: int = 3) -> str:
    """Join the first `most` of `names`, each shortened, and say how many more there are."""
    shown = ", ".join(shorten(printable(name)) for name in names[:most])
    return " ".join(filter(None, (shown, and_more(len(names) - most))))


def join_all(words: Sequence[str]) -> str:
    """Return `a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def and_more(num: int, what: str = "") -> str:
    """Return `and 1,200 more labels`, where `what` is labels; an empty text if there are no more."""
    return f"and {num:,} more {what}".rstrip() if num > 0 else ""


def letters(index: int) -> str:
    """Return a, b, …, z, aa, …"""
    return (letters(index // 26 - 1) if index >= 26 else "") + chr(ord("a") + index % 26)


def natural(name: str) -> list[tuple[float, str]]:
    """Return a key by which run-2 comes before run-10, and 0.05 before 0.2."""
    parts = re.split(r"([0-9]+(?:\.[0-9]+)?)", name)
    return [(float(part), "") if number % 2 else (-1.0, part) for number, part in enumerate(parts)]


def first_steps_in_words(steps: int | None) -> str:
    """Say of what part of each client task a result is; empty if of all."""
    if not steps:
        return ""
    return f"of the first {f'{steps:,} steps' if steps > 1 else 'step'} of each task"


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """Return for each path its shortest suffix that no other path has."""
    ends = {path: _ends(path) for path in paths}
    times = Counter(end for every in ends.values() for end in every)
    return {path: next((end for end in every if times[end] == 1), path) for path, every in ends.items()}


def _ends(path: str) -> list[str]:
    """Return the last part of a path, the last two, and so on."""
    parts = path.split(".")
    return [".".join(parts[-length:]) for length in range(1, len(parts) + 1)]


def bytes_in_words(number: int) -> str:
    """Return a number of bytes in binary units, with three digits or more."""
    value, unit = float(number), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:,.0f} {unit}" if value >= 100 or unit == "bytes" else f"{value:.3g} {unit}"


def seconds_in_words(seconds: float) -> str:
    """Return a time with two digits or more, in the unit that suits."""
    if seconds < 100:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.2g} min" if seconds < 6000 else f"{seconds / 3600:,.3g} h"


def in_flow(value: Any) -> str:
    """Return a value as YAML in one line."""
    match value:
        case dict():
            return f"{{{', '.join(f'{in_flow(key)}: {in_flow(inner)}' for key, inner in value.items())}}}"
        case list():
            return f"[{', '.join(map(in_flow, value))}]"
        case str() if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
            return value
    return json.dumps(value, ensure_ascii=False)
