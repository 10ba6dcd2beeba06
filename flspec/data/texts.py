"""The words of a text."""

from __future__ import annotations

import re

__all__ = ["words_of"]

_WORDS = re.compile(r"[\w']+|[.,!?;]")


def words_of(text: str, lower: bool = True) -> list[str]:
    """Return the words of a text, by default without regard to case, and its marks . , ! ? ;."""
    return _WORDS.findall(text.lower() if lower else text)
