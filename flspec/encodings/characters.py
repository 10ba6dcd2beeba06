"""Characters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from flspec.encodings.tokenizer import MOST_TOKENS, Vocabulary


class Characters(Vocabulary):
    """Token numbers of a text's characters, spaces and marks included, as Unicode has them."""

    kind: Literal["characters"] = "characters"
    vocabulary: Annotated[
        int, Field(ge=1, le=MOST_TOKENS, description="how many characters have a number of their own, at most")
    ] = 1_000

    def pieces(self, text: str) -> Sequence[str]:
        return text
