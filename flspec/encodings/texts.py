"""The texts of a data set whose features are their tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from flspec.encodings.steps import parse_steps
from flspec.encodings.tokenizer import Tokenizer

__all__ = ["Text", "text_of"]


class Text(NamedTuple):
    """The column of texts whose tokens are the features."""

    column: str
    tokenizer: Tokenizer  # fitted


def text_of(encodings: Sequence[Mapping[str, Any]]) -> Text | None:
    """Return the texts of a data set with these encodings, as its plan has them; None if its features are no tokens."""
    for one in encodings:
        *_, last = parse_steps(one["steps"])
        if isinstance(last, Tokenizer):
            return Text(one["column"], last)
    return None
